package e2e

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"

	"github.com/hmsovereign/ringfence/audio/audiotest"
	"github.com/hmsovereign/ringfence/deploy/services"
)

// ear takes RTP on a port of its own.
type ear struct {
	port int
	conn *net.UDPConn
	read sync.WaitGroup

	mu    sync.Mutex
	heard []packet
}

// packet is what was heard, with the time it was read.
type packet struct {
	at time.Time
	rtp.Packet
}

func listen(t *testing.T) *ear {
	t.Helper()
	e := &ear{port: services.FreePort(t)}
	var err error
	e.conn, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: e.port})
	must(t, err)
	must(t, e.conn.SetReadBuffer(1<<20))
	e.read.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, err := e.conn.Read(buf)
			if err != nil {
				return
			}
			p := packet{at: time.Now()}
			if err := p.Unmarshal(slices.Clone(buf[:n])); err != nil {
				t.Errorf("what came is no RTP: %v", err)
				return
			}
			e.mu.Lock()
			e.heard = append(e.heard, p)
			e.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		e.conn.Close()
		e.read.Wait()
	})
	return e
}

func (e *ear) packets() []packet {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.heard)
}

// linear decodes G.711 mu-law (ITU-T G.711, table 2a).
func linear(payload []byte) []int16 {
	samples := make([]int16, len(payload))
	for i, b := range payload {
		b = ^b
		magnitude := (int16(b&0x0f)<<3+0x84)<<(b>>4&7) - 0x84
		if b&0x80 != 0 {
			magnitude = -magnitude
		}
		samples[i] = magnitude
	}
	return samples
}

// prompt is the sound of a prompt, as the sidecar serves it to switches that play files: 16 bits, 8 kHz.
func (s *stack) prompt(t *testing.T, name, language string) []int16 {
	t.Helper()
	raw, err := s.get(fmt.Sprintf("%s/v1/audio/%s.%s.sln", s.hook, name, language))
	must(t, err)
	samples := make([]int16, len(raw)/2)
	for i := range samples {
		samples[i] = int16(binary.LittleEndian.Uint16(raw[2*i:]))
	}
	if len(samples) < 8000 {
		t.Fatalf("prompt %s.%s has %d bytes: %.200q", name, language, len(raw), raw)
	}
	return samples
}

// wantHeard checks that the ear heard a prompt, whole and in time.
func (s *stack) wantHeard(t *testing.T, e *ear, name, language string) {
	t.Helper()
	wantHeard(t, e, s.prompt(t, name, language))
}

func wantHeard(t *testing.T, e *ear, want []int16) {
	t.Helper()
	heard := e.packets()
	if len(heard) < 50 {
		t.Fatalf("%d packets of audio came", len(heard))
	}
	var samples []int16
	var gaps []time.Duration
	for i, p := range heard {
		if p.Version != 2 || p.PayloadType != 0 || p.SSRC != heard[0].SSRC || len(p.Payload) != 160 || p.Marker != (i == 0) {
			t.Errorf("packet %d: %v", i, p.Header)
		}
		if i > 0 {
			last := heard[i-1]
			if p.SequenceNumber != last.SequenceNumber+1 || p.Timestamp != last.Timestamp+160 {
				t.Errorf("packet %d: sequence %d after %d, timestamp %d after %d", i, p.SequenceNumber, last.SequenceNumber, p.Timestamp, last.Timestamp)
			}
			gaps = append(gaps, p.at.Sub(last.at))
		}
		samples = append(samples, linear(p.Payload)...)
	}
	if snr := audiotest.SNR(samples, want); snr < 25 {
		t.Errorf("%d packets were heard with an SNR of %.1f dB, want more than 25", len(heard), snr)
	} else {
		t.Logf("%d packets heard, SNR %.1f dB", len(heard), snr)
	}
	slices.Sort(gaps)
	mean := heard[len(heard)-1].at.Sub(heard[0].at) / time.Duration(len(gaps))
	// Never faster than 20 ms a packet; how much slower on a busy machine is no matter of right or wrong.
	if mean < 19*time.Millisecond || mean > 40*time.Millisecond {
		t.Errorf("a packet came every %v on average, want 20 ms", mean)
	}
	if median := gaps[len(gaps)/2]; (median - 20*time.Millisecond).Abs() > 5*time.Millisecond {
		t.Errorf("half of the packets came within %v, want 20 ms", median)
	}
}

// wantRefused checks what a rejected inbound caller saw: early media, then the reply of the denial with its Q.850 cause.
func wantRefused(t *testing.T, caller *phone, status string, cause int) {
	t.Helper()
	all := caller.messages()
	progress, early := find(all, false, "SIP/2.0 183")
	final, refused := find(all, false, "SIP/2.0 "+status)
	if !early || !refused || !strings.Contains(progress.text, "m=audio") {
		t.Fatalf("no 183 with SDP, or no %s:\n%s", status, caller.said())
	}
	if want := fmt.Sprintf("Q.850;cause=%d", cause); !strings.HasPrefix(final.header("Reason"), want) {
		t.Errorf("Reason is %q, want %s", final.header("Reason"), want)
	}
	if _, answered := find(all, false, "SIP/2.0 200"); answered {
		t.Errorf("the call was answered:\n%s", caller.said())
	}
}

func inboundWithoutCredit(t *testing.T, s *stack) {
	a := s.open(t, "unpaid", 0)
	e := listen(t)
	caller := s.call(t, "caller-refused.xml", ring{from: someone, to: a.number, port: s.fromTrunk[0], audio: e.port})
	caller.done()
	wantRefused(t, caller, "402 Payment Required", 21)
	s.wantHeard(t, e, "insufficient_credits", "en")
	if len(of(s.customers.messages(), caller.id())) > 0 {
		t.Error("the callee heard of it")
	}
	if c := a.awaitCDR(t, caller.id(), "rejected"); c.Direction != "inbound" || c.CostUnits != 0 || c.Reason != "insufficient_credits" {
		t.Errorf("the ledger has %+v", c)
	}
	if log := a.callLog(t); len(log) != 1 || log[0].Status != "rejected" || log[0].Direction != "inbound" || log[0].Caller != someone {
		t.Errorf("the customer's call log has %+v", log)
	}
	a.wantBalanced(t, 0)
}

func inboundDenied(t *testing.T, s *stack) {
	a := s.open(t, "suspended", credit)
	s.admin(t, http.MethodPost, "accounts/"+a.id+"/suspend", nil, nil)
	var calls [2]func()
	for i, c := range []struct {
		to, prompt, status string
		cause              int
	}{
		{a.number, "service_unavailable", "403 Forbidden", 21}, // alone the prompt would end with 503
		{"+31850835099", "number_not_in_service", "404 Not Found", 1},
	} {
		e := listen(t)
		caller := s.call(t, "caller-refused.xml", ring{from: someone, to: c.to, port: s.fromTrunk[1+i], audio: e.port})
		calls[i] = func() {
			caller.done()
			wantRefused(t, caller, c.status, c.cause)
			s.wantHeard(t, e, c.prompt, "en")
		}
	}
	for _, wait := range calls {
		wait()
	}
	a.wantBalanced(t, 0)
}

// TestAnsweredAnnouncement: where early media does not pass, the announcer answers the call, plays and hangs up. It is not
// on Kamailio's list of those who may talk to it. The prompt is the account's own, in its language.
func TestAnsweredAnnouncement(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	own := audiotest.Sweep(8000, 1500*time.Millisecond)
	audiotest.WriteWAV(t, filepath.Join(dir, "accounts/answered-refusal/insufficient_credits.nl.wav"), own, 8000)
	s := deploy(t, options{sidecar: settings{"audio.mode": "answer", "audio.dir": dir}, trunkOnly: true})
	a := s.openIn(t, "nl", "answered-refusal", 0)
	e := listen(t)
	caller := s.call(t, "caller-stays.xml", ring{from: someone, to: a.number, port: s.fromTrunk[0], audio: e.port})
	caller.done()
	if bye, _ := find(caller.messages(), false, "BYE"); !strings.HasPrefix(bye.header("Reason"), "Q.850;cause=21") {
		t.Errorf("the caller was hung up with %q:\n%s", bye.header("Reason"), caller.said())
	}
	wantHeard(t, e, own)
	if all := a.ledger(t); len(all) != 1 || all[0].Status != "rejected" || all[0].CostUnits != 0 {
		t.Errorf("the ledger has %+v", all)
	}
	a.wantBalanced(t, 0)
}

// logged is a call as the customer's own API shows it.
type logged struct {
	Direction string
	Caller    string `json:"caller_phone"`
	Status    string
}

// callLog asks for the account's calls as its customer does.
func (a account) callLog(t *testing.T) []logged {
	t.Helper()
	var made struct{ Key string }
	a.s.admin(t, http.MethodPost, "keys", map[string]any{"account": a.id}, &made)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.s.public+"/api/v1/calls", nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+made.Key)
	raw, err := a.s.do(req)
	must(t, err)
	var log struct{ Calls []logged }
	must(t, json.Unmarshal(raw, &log))
	return log.Calls
}

// onNetRefused: the callee's account cannot pay, so the caller hears why, and is not charged.
func onNetRefused(t *testing.T, s *stack) {
	a, b := s.open(t, "onnet-pays", credit), s.open(t, "onnet-unpaid", 0)
	e := listen(t)
	caller := s.call(t, "caller-refused.xml", ring{from: a.number, to: b.number, audio: e.port})
	caller.done()
	wantRefused(t, caller, "402 Payment Required", 21)
	s.wantHeard(t, e, "insufficient_credits", "en")
	if c := a.awaitCDR(t, caller.id(), "released"); c.CostUnits != 0 {
		t.Errorf("the caller's ledger has %+v", c)
	}
	b.awaitCDR(t, caller.id(), "rejected")
	a.wantBalanced(t, 0)
}
