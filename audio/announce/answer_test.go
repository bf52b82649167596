package announce

import (
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/hmsovereign/ringfence/audio/audiotest"
)

func TestAnswerMode(t *testing.T) {
	h := serve(t)
	p := newPhone(t, h.Addr())
	d := p.invite(briefPrompt+";mode=answer;code=603", p.sdpOffer())
	ok := d.expect(200, sip.INVITE)
	parseSDP(t, ok)
	if n := p.silentFor(3 * frameTime); n > 0 {
		t.Errorf("%d packets before the ACK", n)
	}
	d.ack(ok)
	d.ack(ok) // a retransmission
	bye := d.expectBye()
	if got, want := headerOf(bye, "Reason"), `Q.850;cause=21;text="Call rejected"`; got != want {
		t.Errorf("BYE has Reason %s, want %s", got, want)
	}
	if bye.From().Params.GetOr("tag", "") != toTag(ok) || bye.To().Params.GetOr("tag", "") != d.fromTag || bye.CallID().Value() != d.callID {
		t.Errorf("the BYE is outside the dialog:\n%s", bye)
	}
	if want := p.sip.LocalAddr().String(); !strings.Contains(bye.Recipient.String(), want) {
		t.Errorf("the BYE goes to %s, the Contact is %s", bye.Recipient.String(), want)
	}
	packets := p.waitRTP(21)
	if db := audiotest.SNR(checkRTP(t, packets), brief); db < 25 {
		t.Errorf("SNR %.1f dB", db)
	}
	if n := p.silentFor(3 * frameTime); n > 0 {
		t.Errorf("%d packets after the BYE", n)
	}
	h.eventually(1, "ringfence_announcer_announcements_total", "played")
	h.eventually(0, "ringfence_announcer_active")
}

// Without SDP in the INVITE the 200 makes the offer, and the ACK answers it.
func TestDelayedOffer(t *testing.T) {
	h := serve(t, func(c *Config) { c.Mode = Answer })
	p := newPhone(t, h.Addr())
	d := p.invite(briefPrompt, "")
	ok := d.expect(200, sip.INVITE)
	offer := parseSDP(t, ok).MediaDescriptions
	if len(offer) != 1 || !strings.HasSuffix(offer[0].MediaName.String(), "RTP/AVP 8 0") {
		t.Errorf("offered %v, want G.711", offer)
	}
	d.ack(ok, p.sdpOffer("m=audio PORT RTP/AVP 0"))
	d.expectBye()
	packets := p.waitRTP(21)
	if db := audiotest.SNR(checkRTP(t, packets), brief); db < 25 || packets[0].PayloadType != 0 {
		t.Errorf("SNR %.1f dB, payload type %d", db, packets[0].PayloadType)
	}

	// In early mode there is nothing to play to: the final reply at once.
	d = p.invite(briefPrompt+";mode=early", "")
	d.ack(d.expect(402, sip.INVITE))
}

func TestDelayedOfferWithoutUsableAnswer(t *testing.T) {
	h := serve(t, func(c *Config) { c.Mode = Answer })
	for name, answer := range map[string][]string{
		"none":     nil,
		"refused":  {"m=audio 0 RTP/AVP 0"},
		"on hold":  {"m=audio PORT RTP/AVP 0", "a=inactive"},
		"nonsense": {"m=audio"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPhone(t, h.Addr())
			d := p.invite(briefPrompt, "")
			ok := d.expect(200, sip.INVITE)
			if answer == nil {
				d.ack(ok)
			} else {
				d.ack(ok, p.sdpOffer(answer...))
			}
			d.expectBye()
			if n := len(p.log()); n > 0 {
				t.Errorf("%d packets", n)
			}
		})
	}
	h.eventually(4, "ringfence_announcer_announcements_total", "no_media")
}

func TestByeStopsAnAnsweredAnnouncement(t *testing.T) {
	h := serve(t)
	p := newPhone(t, h.Addr())
	d := p.invite(longPrompt+";mode=answer", p.sdpOffer())
	ok := d.expect(200, sip.INVITE)
	d.ack(ok)
	p.waitRTP(3)

	// A re-INVITE (to hold, say) is refused and changes nothing.
	d.send(d.head("INVITE", ok.Contact().Address.String(), "z9hG4bKagain", toTag(ok), 2) + "Content-Length: 0\n\n")
	refusal := d.expect(488, sip.INVITE)
	d.send(d.head("ACK", d.uri, "z9hG4bKagain", toTag(refusal), 2) + "Content-Length: 0\n\n")
	p.waitRTP(len(p.log()) + 3)

	d.bye(ok)
	d.expect(200, sip.BYE)
	if n := p.silentFor(5 * frameTime); n > 0 {
		t.Errorf("%d packets after the BYE", n)
	}
	h.eventually(1, "ringfence_announcer_announcements_total", "hung_up")
	d.bye(ok)
	d.expect(481, sip.BYE) // the dialog is gone
}

func TestMissingAck(t *testing.T) {
	t.Parallel()
	h := serve(t, func(c *Config) { c.AckTimeout = 1200 * time.Millisecond })
	p := newPhone(t, h.Addr())
	d := p.invite(briefPrompt+";mode=answer", p.sdpOffer())
	first := d.expect(200, sip.INVITE)
	second := d.expect(200, sip.INVITE) // after T1
	if first.String() != second.String() {
		t.Error("the retransmission differs")
	}
	d.expectBye()
	h.eventually(1, "ringfence_announcer_announcements_total", "no_ack")
	if n := len(p.log()); n > 0 {
		t.Errorf("%d packets without an ACK", n)
	}
}

// The BYE follows the route set, but only to configured peers; whoever answers
// to it, or does not, the announcement is over.
func TestByeRoute(t *testing.T) {
	t.Parallel()
	h := serve(t)
	p := newPhone(t, h.Addr())
	here := p.sip.LocalAddr().String()
	for _, tc := range []struct {
		name, routes  string
		wantURI, want string
	}{
		{"loose", "Record-Route: <sip:" + here + ";lr;r2=on>, <sip:10.0.0.1;lr>", "sip:caller@" + here, "<sip:" + here + ";lr;r2=on> <sip:10.0.0.1;lr>"},
		{"strict", "Record-Route: <sip:" + here + ">\nRecord-Route: <sip:10.0.0.1;lr>", "sip:" + here, "<sip:10.0.0.1;lr> <sip:caller@" + here + ">"},
		{"stranger", "Record-Route: <sip:203.0.113.1;lr>", "sip:caller@" + here, "<sip:203.0.113.1;lr>"},
		{"name", "Record-Route: <sip:proxy.example.com;lr>", "sip:caller@" + here, "<sip:proxy.example.com;lr>"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := p.invite(briefPrompt+";mode=answer", p.sdpOffer(), tc.routes)
			ok := d.expect(200, sip.INVITE)
			if got := len(ok.GetHeaders("Record-Route")); got != strings.Count(tc.routes, "<") {
				t.Errorf("%d Record-Route headers come back", got)
			}
			d.ack(ok)
			bye := d.expectBye()
			var routes []string
			for _, r := range bye.GetHeaders("Route") {
				routes = append(routes, r.Value())
			}
			if got := strings.Join(routes, " "); got != tc.want || bye.Recipient.String() != tc.wantURI {
				t.Errorf("BYE %s with routes %s, want %s with %s", bye.Recipient.String(), got, tc.wantURI, tc.want)
			}
		})
	}
}

func TestCancelAfterTheAnswerChangesNothing(t *testing.T) {
	h := serve(t)
	p := newPhone(t, h.Addr())
	d := p.invite(briefPrompt+";mode=answer", p.sdpOffer())
	ok := d.expect(200, sip.INVITE)
	d.cancel()
	d.expect(200, sip.CANCEL)
	d.ack(ok)
	d.expectBye()
	if n := len(p.waitRTP(21)); n != 21 {
		t.Errorf("%d packets", n)
	}
	h.eventually(1, "ringfence_announcer_announcements_total", "played")
}
