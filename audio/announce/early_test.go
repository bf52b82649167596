package announce

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"

	"github.com/hmsovereign/ringfence/audio"
	"github.com/hmsovereign/ringfence/audio/audiotest"
)

func parseSDP(t testing.TB, res sip.Message) *sdp.SessionDescription {
	t.Helper()
	d := &sdp.SessionDescription{}
	// The library cannot read every media line it can write.
	text := strings.ReplaceAll(string(res.Body()), "m=image 0 udptl t38", "m=application 0 UDP x")
	if err := d.UnmarshalString(text); err != nil {
		t.Fatalf("%v in the session description\n%s", err, res.Body())
	}
	return d
}

// checkRTP checks that the packets are one unbroken stream, and returns its
// sound.
func checkRTP(t *testing.T, packets []heard) []int16 {
	t.Helper()
	for i, p := range packets {
		first := packets[0]
		if p.Version != 2 || p.Padding || p.Extension || len(p.CSRC) > 0 || len(p.Payload) != 160 {
			t.Fatalf("packet %d: %+v, want a plain one with 160 bytes", i, p.Header)
		}
		if p.SSRC != first.SSRC || p.PayloadType != first.PayloadType || p.from != first.from {
			t.Errorf("packet %d: source %x, type %d, from %v; the first has %x, %d, %v",
				i, p.SSRC, p.PayloadType, p.from, first.SSRC, first.PayloadType, first.from)
		}
		if want := first.SequenceNumber + uint16(i); p.SequenceNumber != want {
			t.Fatalf("packet %d has sequence %d, want %d", i, p.SequenceNumber, want)
		}
		if want := first.Timestamp + 160*uint32(i); p.Timestamp != want {
			t.Fatalf("packet %d has timestamp %d, want %d", i, p.Timestamp, want)
		}
		if p.Marker != (i == 0) {
			t.Errorf("packet %d has marker %v: it belongs on the first only", i, p.Marker)
		}
	}
	return decode(t, packets)
}

// checkPacing checks that the packets came neither as a burst nor far too
// slowly: loosely, since a busy machine delays them.
func checkPacing(t *testing.T, packets []heard) {
	t.Helper()
	n := len(packets)
	took, due := packets[n-1].at.Sub(packets[0].at), time.Duration(n-1)*frameTime
	if took < due/2 || took > due+10*time.Second {
		t.Errorf("%d packets took %v, want about %v", n, took, due)
	}
}

// The whole of it, once with the real recording: 183, early media that decodes
// to the prompt, final reply with its cause.
func TestEarlyMedia(t *testing.T) {
	t.Parallel()
	h := serve(t)
	p := newPhone(t, h.Addr())
	d := p.invite("sip:insufficient_credits@announcer.test;lang=nl", p.sdpOffer())
	progress := d.expect(183, sip.INVITE)
	answer := parseSDP(t, progress)
	if got := progress.Contact(); got == nil || got.Address.Port != int(h.Addr().Port()) {
		t.Errorf("183 has Contact %v", got)
	}
	m := answer.MediaDescriptions[0]
	if got := m.MediaName.String(); len(answer.MediaDescriptions) != 1 || !strings.HasSuffix(got, " RTP/AVP 8") {
		t.Errorf("answered %q, want the caller's first choice, 8, only", got)
	}
	if answer.ConnectionInformation.Address.Address != "127.0.0.1" {
		t.Errorf("answered with address %v, want the one towards the caller", answer.ConnectionInformation.Address)
	}

	refusal := d.expect(402, sip.INVITE)
	d.ack(refusal)
	if got, want := headerOf(refusal, "Reason"), `Q.850;cause=21;text="Call rejected"`; got != want {
		t.Errorf("Reason: %s, want %s", got, want)
	}
	if refusal.Reason != "Payment Required" || toTag(refusal) != toTag(progress) || toTag(refusal) == "" {
		t.Errorf("%d %s with tag %q, want Payment Required with %q", refusal.StatusCode, refusal.Reason, toTag(refusal), toTag(progress))
	}

	clip, _ := lib.Find(audio.InsufficientCredits, "", "nl")
	_, want, err := audio.DecodeWAV(clip.Bytes(audio.WAV))
	if err != nil {
		t.Fatal(err)
	}
	packets := p.waitRTP((len(want) + 159) / 160)
	if got := int(packets[0].from.Port()); got != m.MediaName.Port.Value {
		t.Errorf("RTP comes from port %d, the answer says %d", got, m.MediaName.Port.Value)
	}
	if db := audiotest.SNR(checkRTP(t, packets), want); db < 25 {
		t.Errorf("the caller hears the prompt with an SNR of %.1f dB, want above 25", db)
	} else {
		t.Logf("SNR %.1f dB", db)
	}
	checkPacing(t, packets)
	if n := p.silentFor(3 * frameTime); n > 0 {
		t.Errorf("%d packets after the final reply", n)
	}
	h.eventually(1, "ringfence_announcer_announcements_total", "played")
	h.eventually(float64(len(packets)), "ringfence_announcer_rtp_packets_total")
	h.eventually(1, "ringfence_announcer_replies_total", "402")
}

func headerOf(msg sip.Message, name string) string {
	for _, h := range msg.GetHeaders(name) {
		return h.Value()
	}
	return ""
}

func TestEarlyMediaInMuLawAndDynamicType(t *testing.T) {
	t.Parallel()
	h := serve(t)
	for name, media := range map[string][]string{
		"PCMU first":   {"m=audio PORT RTP/AVP 0 8"},
		"dynamic type": {"m=audio PORT RTP/AVP 97 96", "a=rtpmap:97 opus/48000/2", "a=rtpmap:96 pcmu/8000/1"},
		"feedback":     {"m=audio PORT RTP/AVPF 0"},
		"second audio": {"m=audio 0 RTP/AVP 0", "m=video PORT RTP/AVP 31", "m=audio PORT RTP/AVP 0", "m=image 4000 udptl t38", "a=T38FaxVersion:0"},
		"receive only": {"m=audio PORT RTP/AVP 0", "a=recvonly"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPhone(t, h.Addr())
			d := p.invite(briefPrompt, p.sdpOffer(media...))
			progress := d.expect(183, sip.INVITE)
			answer := parseSDP(t, progress)
			d.ack(d.expect(402, sip.INVITE))
			if db := audiotest.SNR(checkRTP(t, p.waitRTP(21)), brief); db < 25 {
				t.Errorf("SNR %.1f dB", db)
			}
			offered := 0
			for _, line := range media {
				if strings.HasPrefix(line, "m=") {
					offered++
				}
			}
			if len(answer.MediaDescriptions) != offered {
				t.Errorf("%d media lines answered, %d offered", len(answer.MediaDescriptions), offered)
			}
			if name == "second audio" && !strings.Contains(string(progress.Body()), "m=image 0 udptl t38\r\n") {
				t.Errorf("the fax is not refused as offered:\n%s", progress.Body())
			}
			open := 0
			for _, m := range answer.MediaDescriptions {
				if m.MediaName.Port.Value != 0 {
					open++
					direction := "sendrecv"
					if name == "receive only" {
						direction = "sendonly"
					}
					if _, ok := m.Attribute(direction); !ok {
						t.Errorf("the answer is not %s: %v", direction, m.Attributes)
					}
				}
			}
			if open != 1 {
				t.Errorf("%d media lines are open in the answer, want 1", open)
			}
		})
	}
}

// A caller who cannot hear the prompt gets the final reply at once.
func TestFinalReplyAtOnce(t *testing.T) {
	h := serve(t)
	p := newPhone(t, h.Addr())
	held := strings.Replace(p.sdpOffer(), "c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0", 1)
	for name, sdp := range map[string]string{
		"no SDP":            "",
		"no common codec":   p.sdpOffer("m=audio PORT RTP/AVP 9 18", "a=rtpmap:9 G722/8000"),
		"0 remapped":        p.sdpOffer("m=audio PORT RTP/AVP 0", "a=rtpmap:0 L16/8000"),
		"SRTP only":         p.sdpOffer("m=audio PORT RTP/SAVP 0 8", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x"),
		"DTLS only":         p.sdpOffer("m=audio PORT UDP/TLS/RTP/SAVPF 0 8"),
		"sendonly":          p.sdpOffer("m=audio PORT RTP/AVP 0", "a=sendonly"),
		"inactive":          p.sdpOffer("m=audio PORT RTP/AVP 0", "a=inactive"),
		"held as of old":    held,
		"video only":        p.sdpOffer("m=video PORT RTP/AVP 31"),
		"audio refused":     p.sdpOffer("m=audio 0 RTP/AVP 0"),
		"short packets":     p.sdpOffer("m=audio PORT RTP/AVP 0", "a=maxptime:10"),
		"multicast":         p.sdpOffer("m=audio PORT RTP/AVP 0", "c=IN IP4 224.2.1.1/127"),
		"a service's port":  p.sdpOffer("m=audio 53 RTP/AVP 0"),
		"a name":            p.sdpOffer("m=audio PORT RTP/AVP 0", "c=IN IP4 media.example.com"),
		"not SDP at all":    "hello\n",
		"nothing to answer": "v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nt=0 0\n",
	} {
		t.Run(name, func(t *testing.T) {
			d := newPhone(t, h.Addr()).invite("sip:too_many_calls@announcer.test", sdp)
			refusal := d.expect(486, sip.INVITE)
			d.ack(refusal)
			if got, want := headerOf(refusal, "Reason"), `Q.850;cause=17;text="User busy"`; got != want {
				t.Errorf("Reason: %s, want %s", got, want)
			}
		})
	}
	if n := p.silentFor(3 * frameTime); n > 0 {
		t.Errorf("%d RTP packets", n)
	}
	h.eventually(16, "ringfence_announcer_announcements_total", "no_media")
}

func TestFinalReplies(t *testing.T) {
	h := serve(t)
	for _, tc := range []struct {
		uri    string
		status int
		reason string
	}{
		{"sip:insufficient_credits@x", 402, `Q.850;cause=21;text="Call rejected"`},
		{"sip:low_credit@x", 480, `Q.850;cause=31;text="Normal, unspecified"`},
		{"sip:service_unavailable@x", 503, `Q.850;cause=41;text="Temporary failure"`},
		{"sip:number_not_in_service@x", 404, `Q.850;cause=1;text="Unallocated (unassigned) number"`},
		{"sip:too_many_calls@x", 486, `Q.850;cause=17;text="User busy"`},
		{"sips:too_many_calls@x", 486, `Q.850;cause=17;text="User busy"`},
		{"sip:too%5Fmany%5Fcalls@x", 486, `Q.850;cause=17;text="User busy"`},
		{"sip:insufficient_credits@x;code=480", 480, `Q.850;cause=18;text="No user responding"`},
		{"sip:insufficient_credits@x;CODE=603;Cause=34", 603, `Q.850;cause=34;text="No circuit/channel available"`},
		{"sip:insufficient_credits@x;cause=99", 402, `Q.850;cause=99`},
		{"sip:insufficient_credits@x;code=200;cause=128", 402, `Q.850;cause=21;text="Call rejected"`},
		{"sip:insufficient_credits@x;code=302", 402, `Q.850;cause=21;text="Call rejected"`},
		{"sip:insufficient_credits@x;code=407", 402, `Q.850;cause=21;text="Call rejected"`},
		{"sip:insufficient_credits@x;code=;cause=abc;lang=%%;mode=loud;account", 402, `Q.850;cause=21;text="Call rejected"`},
		{"sip:no_such_prompt@x", 404, `Q.850;cause=1;text="Unallocated (unassigned) number"`},
		{"sip:x", 404, `Q.850;cause=1;text="Unallocated (unassigned) number"`},
	} {
		t.Run(tc.uri, func(t *testing.T) {
			d := newPhone(t, h.Addr()).invite(tc.uri, "") // no SDP: the reply comes at once
			refusal := d.expect(tc.status, sip.INVITE)
			d.ack(refusal)
			if got := headerOf(refusal, "Reason"); got != tc.reason {
				t.Errorf("Reason: %s, want %s", got, tc.reason)
			}
		})
	}
	h.eventually(2, "ringfence_announcer_announcements_total", "unknown_prompt")
}

func TestCancelStopsAtOnce(t *testing.T) {
	h := serve(t)
	p := newPhone(t, h.Addr())
	d := p.invite(longPrompt, p.sdpOffer())
	progress := d.expect(183, sip.INVITE)
	p.waitRTP(5)
	d.cancel()
	ok := d.expect(200, sip.CANCEL)
	terminated := d.expect(487, sip.INVITE)
	d.ack(terminated)
	if n := p.silentFor(5 * frameTime); n > 0 {
		t.Errorf("%d packets after the 487", n)
	}
	for _, res := range []*sip.Response{ok, terminated} {
		if toTag(res) != toTag(progress) {
			t.Errorf("%d has To tag %q, the 183 had %q", res.StatusCode, toTag(res), toTag(progress))
		}
	}
	h.eventually(1, "ringfence_announcer_announcements_total", "cancelled")
	h.eventually(0, "ringfence_announcer_active")
	p.nothing(50 * time.Millisecond)
}

func TestByeInEarlyDialogStopsAtOnce(t *testing.T) {
	h := serve(t)
	p := newPhone(t, h.Addr())
	d := p.invite(longPrompt, p.sdpOffer())
	progress := d.expect(183, sip.INVITE)
	p.waitRTP(3)
	d.bye(progress)
	var statuses []string
	for range 2 { // in either order
		res, ok := d.receive().(*sip.Response)
		if !ok {
			t.Fatal("got a request")
		}
		statuses = append(statuses, fmt.Sprint(res.StatusCode, " ", res.CSeq().MethodName))
		if res.CSeq().MethodName == sip.INVITE {
			d.ack(res)
		}
	}
	slices.Sort(statuses)
	if want := []string{"200 BYE", "487 INVITE"}; !slices.Equal(statuses, want) {
		t.Errorf("got %v, want %v", statuses, want)
	}
	if n := p.silentFor(5 * frameTime); n > 0 {
		t.Errorf("%d packets after the BYE", n)
	}
	h.eventually(1, "ringfence_announcer_announcements_total", "hung_up")
}

// A retransmitted INVITE gets the 183 again, not a second stream.
func TestRetransmittedInvite(t *testing.T) {
	h := serve(t)
	p := newPhone(t, h.Addr())
	d := p.invite(briefPrompt, p.sdpOffer())
	first := d.expect(183, sip.INVITE)
	for range 3 {
		d.sendInvite()
		again := d.expect(183, sip.INVITE)
		if toTag(again) != toTag(first) || string(again.Body()) != string(first.Body()) {
			t.Error("the 183 to the retransmission differs")
		}
	}
	refusal := d.expect(402, sip.INVITE)
	d.sendInvite() // late, before the ACK
	if got := toTag(d.expect(402, sip.INVITE)); got != toTag(refusal) {
		t.Errorf("the final reply has tag %q, then %q", toTag(refusal), got)
	}
	d.ack(refusal)
	packets := p.waitRTP(21)
	if n := p.silentFor(3 * frameTime); n > 0 || len(packets) != 21 {
		t.Errorf("%d packets and %d more, want 21", len(packets), n)
	}
	checkRTP(t, packets)
	h.eventually(1, "ringfence_announcer_announcements_total")
}

// The final reply is repeated until it is acknowledged.
func TestFinalReplyIsRepeatedUntilAcknowledged(t *testing.T) {
	t.Parallel()
	h := serve(t)
	d := newPhone(t, h.Addr()).invite("sip:low_credit@x", "")
	first := d.expect(480, sip.INVITE)
	second := d.expect(480, sip.INVITE)
	if first.String() != second.String() {
		t.Errorf("the repetition differs:\n%s\n%s", first, second)
	}
	d.ack(second)
	d.nothing(1500 * time.Millisecond) // the next would come after a second
}

func TestSymmetricRTP(t *testing.T) {
	h := serve(t)
	p := newPhone(t, h.Addr())
	wrong := loopback(t) // where the SDP says, and nobody is
	defer wrong.Close()
	d := p.invite(longPrompt, p.sdpOffer(fmt.Sprintf("m=audio %d RTP/AVP 0", portOf(wrong))))
	answer := parseSDP(t, d.expect(183, sip.INVITE))
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(answer.MediaDescriptions[0].MediaName.Port.Value))

	// What is no RTP does not count.
	if _, err := p.rtp.WriteToUDPAddrPort([]byte("hello, is there anybody"), to); err != nil {
		t.Fatal(err)
	}
	if n := p.silentFor(3 * frameTime); n > 0 {
		t.Fatalf("%d packets without RTP from here", n)
	}
	packet, err := (&rtp.Packet{Header: rtp.Header{Version: 2, SSRC: 1}, Payload: make([]byte, 160)}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.rtp.WriteToUDPAddrPort(packet, to); err != nil {
		t.Fatal(err)
	}
	p.waitRTP(5)

	// Only the first: a second sender gets nothing.
	if _, err := wrong.WriteToUDPAddrPort(packet, to); err != nil {
		t.Fatal(err)
	}
	n := len(p.log())
	p.waitRTP(n + 5)
	h.eventually(1, "ringfence_announcer_latched_total")
	d.cancel()
	d.expect(200, sip.CANCEL)
	d.ack(d.expect(487, sip.INVITE))
}

func TestTrustedSources(t *testing.T) {
	for _, tc := range []struct {
		from, signalled string
		want            bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"203.0.113.9", "192.0.2.1", false}, // a public address is what it says
		{"203.0.113.9", "10.1.2.3", true},   // behind NAT
		{"203.0.113.9", "100.64.7.7", true}, // behind the carrier's
		{"2001:db8::1", "fd00::1", true},
		{"2001:db8::1", "2001:db8::2", false},
	} {
		if got := trusted(netip.MustParseAddr(tc.from), netip.MustParseAddr(tc.signalled)); got != tc.want {
			t.Errorf("from %s, signalled %s: %v, want %v", tc.from, tc.signalled, got, tc.want)
		}
	}
}

// Many at once: each caller hears all of it, on a port of its own.
func TestConcurrentAnnouncements(t *testing.T) {
	h := serve(t)
	const callers = 40
	phones := make([]*phone, callers)
	calls := make([]*dialling, callers)
	for i := range phones {
		phones[i] = newPhone(t, h.Addr())
		calls[i] = phones[i].invite(briefPrompt, phones[i].sdpOffer())
	}
	used := make(map[int]bool)
	for i, d := range calls {
		port := parseSDP(t, d.expect(183, sip.INVITE)).MediaDescriptions[0].MediaName.Port.Value
		if used[port] || port%2 != 0 {
			t.Errorf("port %d is odd or used twice", port)
		}
		used[port] = true
		_ = phones[i]
	}
	for i, d := range calls {
		d.ack(d.expect(402, sip.INVITE))
		packets := phones[i].waitRTP(21)
		if db := audiotest.SNR(checkRTP(t, packets), brief); db < 25 {
			t.Errorf("caller %d: SNR %.1f dB", i, db)
		}
		checkPacing(t, packets)
	}
	h.eventually(callers, "ringfence_announcer_announcements_total", "played")
	h.eventually(0, "ringfence_announcer_active")
}

func TestSNRNoticesWrongSound(t *testing.T) {
	shifted := append(make([]int16, 160), brief...)
	if db := audiotest.SNR(shifted, brief); db > 10 {
		t.Errorf("the prompt late by a packet has an SNR of %.1f dB", db)
	}
	if db := audiotest.SNR(brief, brief); !math.IsInf(db, 1) {
		t.Errorf("equal sound has an SNR of %.1f dB", db)
	}
}
