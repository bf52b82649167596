package announce

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/prometheus/client_golang/prometheus"
)

func TestOptions(t *testing.T) {
	h := serve(t)
	p := newPhone(t, h.Addr())
	res := p.other("OPTIONS", "sip:announcer.test", "Accept: application/sdp")
	if res.StatusCode != 200 || headerOf(res, "Allow") != allowed || headerOf(res, "Accept") != "application/sdp" {
		t.Errorf("OPTIONS is answered\n%s", res)
	}
	p.send("\n\n") // a keep-alive
	p.nothing(50 * time.Millisecond)
	if n := h.value("ringfence_announcer_malformed_datagrams_total"); n != 0 {
		t.Errorf("a keep-alive counts as malformed")
	}
}

func TestRefusedRequests(t *testing.T) {
	h := serve(t)
	for _, tc := range []struct {
		method, uri string
		extra       []string
		status      int
		header      string // and its value
	}{
		{"REGISTER", "sip:x", nil, 405, "Allow=" + allowed},
		{"SUBSCRIBE", "sip:x", nil, 405, "Allow=" + allowed},
		{"UPDATE", "sip:x", nil, 405, ""},
		{"NONSENSE", "sip:x", nil, 405, ""},
		{"BYE", "sip:x", nil, 481, ""},
		{"CANCEL", "sip:x", nil, 481, ""},
		{"INVITE", briefPrompt, []string{"Require: 100rel"}, 420, "Unsupported=100rel"},
		{"INVITE", briefPrompt, []string{"Require: 100rel, timer", "Require: x"}, 420, "Unsupported=100rel, timer, x"},
		{"OPTIONS", "sip:x", []string{"Require: x"}, 420, "Unsupported=x"},
		{"INVITE", "tel:+31850835037", nil, 416, ""},
		{"INVITE", briefPrompt, []string{"Content-Encoding: gzip", "Content-Type: application/sdp"}, 402, ""}, // no body
		{"OPTIONS", "sip:x", []string{"CSeq: 2 OPTIONS"}, 400, ""},
		{"OPTIONS", "sip:x", []string{"Call-ID: another"}, 400, ""},
		{"OPTIONS", "sip:x", []string{"f: <sip:someone@else>;tag=1"}, 400, ""},
		{"OPTIONS", "sip:x", []string{"Max-Forwards: 5"}, 400, ""},
	} {
		t.Run(tc.method+" "+strings.Join(tc.extra, " "), func(t *testing.T) {
			res := newPhone(t, h.Addr()).other(tc.method, tc.uri, tc.extra...)
			if res.StatusCode != tc.status {
				t.Errorf("got\n%s\nwant %d", res, tc.status)
			}
			if name, want, ok := strings.Cut(tc.header, "="); ok && headerOf(res, name) != want {
				t.Errorf("%s is %q, want %q", name, headerOf(res, name), want)
			}
		})
	}
}

func TestBodies(t *testing.T) {
	h := serve(t)
	sdp := newPhone(t, h.Addr()).sdpOffer("m=audio PORT RTP/AVP 0")
	parts := "--b1\nContent-Type: application/isup\n\nxx\n--b1\nContent-Type: application/sdp\n\n" + sdp + "--b1--\n"
	for _, tc := range []struct {
		name, kind, encoding, body string
		status                     int
	}{
		{"SDP among parts", "multipart/mixed;boundary=b1", "", parts, 183},
		{"parts without SDP", "multipart/mixed;boundary=b1", "", strings.ReplaceAll(parts, "/sdp", "/other"), 486},
		{"parts that are none", "multipart/mixed;boundary=b2", "", parts, 486},
		{"broken parts", "multipart/mixed;boundary=b1", "", "--b1\nno header", 415},
		{"parts without boundary", "multipart/mixed", "", parts, 415},
		{"another type", "text/plain", "", sdp, 415},
		{"no type", "", "", sdp, 415},
		{"compressed", "application/sdp", "gzip", sdp, 415},
		{"as it is", "application/SDP; charset=utf-8", "identity", sdp, 183},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var extra []string
			if tc.kind != "" {
				extra = append(extra, "c: "+tc.kind)
			}
			if tc.encoding != "" {
				extra = append(extra, "Content-Encoding: "+tc.encoding)
			}
			p := newPhone(t, h.Addr())
			body := strings.ReplaceAll(tc.body, "\n", "\r\n")
			d := p.invite("sip:too_many_calls@x", "", append(extra, fmt.Sprintf("l: %d\n\n%s", len(body), tc.body))...)
			d.expect(tc.status, sip.INVITE)
			if tc.status == 183 {
				d.cancel()
				d.expect(200, sip.CANCEL)
				d.ack(d.expect(487, sip.INVITE))
			} else {
				d.send(d.head("ACK", d.uri, d.branch, "x", 1) + "Content-Length: 0\n\n")
			}
		})
	}
}

// Only configured peers are heard; the others get no answer and are counted.
func TestStrangersGetNoAnswer(t *testing.T) {
	h := serve(t, func(c *Config) { c.Peers = []string{"192.0.2.0/24", "::1"} })
	p := newPhone(t, h.Addr())
	p.invite(briefPrompt, p.sdpOffer())
	p.send("no SIP either")
	h.eventually(2, "ringfence_announcer_refused_datagrams_total")
	p.nothing(50 * time.Millisecond)
	if n := h.value("ringfence_announcer_requests_total") + h.value("ringfence_announcer_malformed_datagrams_total"); n != 0 {
		t.Error("what a stranger sends is read")
	}
}

func TestMalformedDatagramsAreCounted(t *testing.T) {
	h := serve(t)
	p := newPhone(t, h.Addr())
	for _, msg := range []string{"hello", "INVITE\n\n", "INVITE sip:x SIP/2.0\nVia: x\n\n", "SIP/2.0 200 OK\n\n"} {
		p.send(msg)
	}
	h.eventually(3, "ringfence_announcer_malformed_datagrams_total") // the response is a message
	if res := p.other("OPTIONS", "sip:x"); res.StatusCode != 200 {
		t.Errorf("got\n%s", res)
	}
}

func TestLimit(t *testing.T) {
	h := serve(t, func(c *Config) { c.MaxConcurrent = 2; c.RetryAfter = 1500 * time.Millisecond })
	p := newPhone(t, h.Addr())
	first, second := p.invite(longPrompt, p.sdpOffer()), p.invite(longPrompt, p.sdpOffer())
	p.waitRTP(4)
	first.expect(183, sip.INVITE)
	second.expect(183, sip.INVITE)
	third := p.invite(longPrompt, p.sdpOffer())
	refusal := third.expect(503, sip.INVITE)
	third.ack(refusal)
	if got := headerOf(refusal, "Retry-After"); got != "2" {
		t.Errorf("Retry-After is %q, want 2", got)
	}
	h.eventually(1, "ringfence_announcer_announcements_total", "limit")
	h.eventually(2, "ringfence_announcer_active")

	// A place that becomes free is taken.
	first.cancel()
	first.expect(200, sip.CANCEL)
	first.ack(first.expect(487, sip.INVITE))
	h.eventually(1, "ringfence_announcer_active")
	fourth := p.invite(longPrompt, p.sdpOffer())
	fourth.expect(183, sip.INVITE)
}

func TestNoFreePort(t *testing.T) {
	taken := loopback(t)
	defer taken.Close()
	low := portOf(taken) &^ 1
	other, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: low})
	if err == nil {
		defer other.Close()
	}
	h := serve(t, func(c *Config) { c.PortMin, c.PortMax, c.MaxConcurrent = low, low, 1 })
	p := newPhone(t, h.Addr())
	d := p.invite(longPrompt, p.sdpOffer())
	d.ack(d.expect(486, sip.INVITE))
	h.eventually(1, "ringfence_announcer_announcements_total", "no_port")
}

// A stop lets a prompt finish, takes no new call, and tells probing switches.
func TestRunDrains(t *testing.T) {
	h := serve(t, func(c *Config) { c.StopTimeout = patience })
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error)
	go func() { ran <- h.Run(ctx) }()
	p := newPhone(t, h.Addr())
	d := p.invite(briefPrompt, p.sdpOffer())
	d.expect(183, sip.INVITE)
	p.waitRTP(1)
	stop()
	other := newPhone(t, h.Addr())
	for other.other("OPTIONS", "sip:x").StatusCode != 503 { // the stop is under way
	}
	late := other.invite(briefPrompt, "")
	late.ack(late.expect(503, sip.INVITE))
	d.ack(d.expect(402, sip.INVITE))
	if n := len(p.waitRTP(21)); n != 21 {
		t.Errorf("%d packets, want all 21", n)
	}
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if err := h.Start(); !errors.Is(err, ErrStarted) {
		t.Errorf("a second start: %v", err)
	}
}

// When the time is over, or Close hurries it, the caller gets the final reply
// in the middle of the prompt.
func TestStopInTheMiddle(t *testing.T) {
	for name, mode := range map[string]Mode{"early": Early, "answer": Answer} {
		for _, hurried := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s hurried=%v", name, hurried), func(t *testing.T) {
				h := serve(t, func(c *Config) {
					c.Mode, c.StopTimeout = mode, 50*time.Millisecond
					if hurried {
						c.StopTimeout = time.Hour
					}
				})
				ctx, stop := context.WithCancel(context.Background())
				ran := make(chan error)
				go func() { ran <- h.Run(ctx) }()
				p := newPhone(t, h.Addr())
				d := p.invite(longPrompt, p.sdpOffer())
				if mode == Answer {
					d.ack(d.expect(200, sip.INVITE))
				} else {
					d.expect(183, sip.INVITE)
				}
				p.waitRTP(3)
				stop()
				if hurried {
					go h.Close()
				}
				if mode == Answer {
					d.expectBye()
				} else {
					d.expect(486, sip.INVITE)
				}
				if n := p.silentFor(3 * frameTime); n > 0 {
					t.Errorf("%d packets after the end", n)
				}
				if err := <-ran; err != nil {
					t.Error(err)
				}
				h.eventually(1, "ringfence_announcer_announcements_total", "stopped")
			})
		}
	}
}

func TestRunReportsABrokenSocket(t *testing.T) {
	h := serve(t)
	ran := make(chan error)
	go func() { ran <- h.Run(context.Background()) }()
	h.conn.Close()
	select {
	case err := <-ran:
		if err == nil || !strings.Contains(err.Error(), "socket failed") {
			t.Errorf("got %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Run goes on without a socket")
	}
}

func TestAddressInUse(t *testing.T) {
	taken := loopback(t)
	defer taken.Close()
	s, err := New(Config{Listen: taken.LocalAddr().String()}, lib, discard, NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "listen for SIP") {
		t.Errorf("got %v", err)
	}
	s.Close() // harmless
}

// A panic while a message is parsed or handled costs that message only.
func TestPanicCostsOneMessage(t *testing.T) {
	h := serve(t)
	p := newPhone(t, h.Addr())
	h.mu.Lock()
	h.dialogs = nil // a bug: the next admission writes to a nil map
	h.mu.Unlock()
	d := p.invite(briefPrompt, p.sdpOffer())
	d.ack(d.expect(500, sip.INVITE))
	h.mu.Lock()
	h.dialogs = map[dialogID]*call{}
	h.mu.Unlock()
	if res := p.other("OPTIONS", "sip:x"); res.StatusCode != 200 {
		t.Errorf("got\n%s", res)
	}
	if n := h.value("ringfence_announcer_panics_total"); n != 1 {
		t.Errorf("%v panics are counted", n)
	}
}

func TestPanicInTheReader(t *testing.T) {
	conn := &panickyConn{PacketConn: loopback(t)}
	s, err := New(Config{}, lib, discard, NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.start(conn); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := newPhone(t, s.Addr())
	p.send("panic")
	if res := p.other("OPTIONS", "sip:x"); res.StatusCode != 200 {
		t.Errorf("got\n%s", res)
	}
}

// panickyConn fails as a parser with a bug does, in the reading goroutine.
type panickyConn struct{ net.PacketConn }

func (c *panickyConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.PacketConn.ReadFrom(b)
	if string(b[:n]) == "panic" {
		panic("a parser's bug")
	}
	return n, from, err
}

func TestConfigNamesEveryMistake(t *testing.T) {
	_, err := New(Config{
		Listen: "localhost:5092", Peers: []string{"10.0.0.0/33", "switch", "10.0.0.1"}, Mode: "loud", MediaIP: "0.0.0.0",
		Advertise: "host", PortMin: 80, PortMax: 70, MaxConcurrent: -1, RetryAfter: -1, AckTimeout: -1, StopTimeout: -1,
	}, lib, discard, nil)
	if err == nil {
		t.Fatal("accepted")
	}
	lines := strings.Split(err.Error(), "\n")
	for _, want := range []string{
		"Listen: localhost:5092", "Peers: 10.0.0.0/33", "Peers: switch", "Mode: loud", "MediaIP: 0.0.0.0", "Advertise: host",
		"PortMin, PortMax: 80 to 70", "MaxConcurrent: -1", "RetryAfter: -1ns", "AckTimeout: -1ns", "StopTimeout: -1ns",
	} {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, want) }) {
			t.Errorf("nothing says %q in\n%v", want, err)
		}
	}
	if len(lines) != 11 {
		t.Errorf("%d complaints, want 11:\n%v", len(lines), err)
	}
	if _, err := New(Config{PortMin: 61000, PortMax: 61009, MaxConcurrent: 6}, lib, discard, nil); err == nil {
		t.Error("more announcements than ports")
	}
}

// Addresses in SDP and Contact when the operator gives them.
func TestConfiguredAddresses(t *testing.T) {
	h := serve(t, func(c *Config) { c.MediaIP, c.Advertise, c.Listen = "203.0.113.5", "sip.example.com:5070", "0.0.0.0:0" })
	p := newPhone(t, onLoopback(h.Addr()))
	d := p.invite(longPrompt, p.sdpOffer())
	progress := d.expect(183, sip.INVITE)
	if got := parseSDP(t, progress).ConnectionInformation.Address.Address; got != "203.0.113.5" {
		t.Errorf("SDP says %s", got)
	}
	if got := headerOf(progress, "Contact"); got != "<sip:ringfence@sip.example.com:5070>" {
		t.Errorf("Contact says %s", got)
	}
	p.waitRTP(1)
	d.cancel()
	d.expect(200, sip.CANCEL)
	d.ack(d.expect(487, sip.INVITE))

	// On all addresses, the Contact is the one towards the switch, and BYE
	// leaves from the listening port.
	h = serve(t, func(c *Config) { c.Listen = ":0" })
	p = newPhone(t, onLoopback(h.Addr()))
	d = p.invite(briefPrompt+";mode=answer", p.sdpOffer())
	ok := d.expect(200, sip.INVITE)
	if got, want := headerOf(ok, "Contact"), fmt.Sprintf("<sip:ringfence@127.0.0.1:%d>", h.Addr().Port()); got != want {
		t.Errorf("Contact says %s, want %s", got, want)
	}
	d.ack(ok)
	bye := d.expectBye()
	if via := bye.Via(); via.Host != "127.0.0.1" || via.Port != int(h.Addr().Port()) {
		t.Errorf("the BYE's Via is %v", via)
	}
}

// onLoopback is where a server on all addresses is reached.
func onLoopback(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port())
}

func TestIPv6(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no IPv6 loopback address: %v", err)
		}
		t.Skipf("no IPv6 loopback address on this machine: %v", err)
	}
	conn.Close()
	h := serve(t, func(c *Config) { c.Listen = "[::1]:0" })
	p := newPhone(t, h.Addr())
	sdp := strings.ReplaceAll(p.sdpOffer("m=audio PORT RTP/AVP 0"), "IN IP4 127.0.0.1", "IN IP6 ::1")
	d := p.invite(briefPrompt, sdp)
	answer := parseSDP(t, d.expect(183, sip.INVITE))
	if c := answer.ConnectionInformation; c.AddressType != "IP6" || c.Address.Address != "::1" {
		t.Errorf("answered with %v", c)
	}
	d.ack(d.expect(402, sip.INVITE))
	checkRTP(t, p.waitRTP(21))
}
