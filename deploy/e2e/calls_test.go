package e2e

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/deploy/services"
)

// TestWire is what calls look like on the wire while everything works.
func TestWire(t *testing.T) {
	t.Parallel()
	s := deploy(t, options{kamailio: map[string]string{"RF_KEEPALIVE": "1"}})
	for _, test := range []struct {
		name string
		run  func(*testing.T, *stack)
	}{
		{"an answered call is billed to the second", answeredIsBilled},
		{"an outbound call without credit gets 402", outboundWithoutCredit},
		{"an inbound call without credit hears the prompt", inboundWithoutCredit},
		{"each denial of an inbound call has its prompt and its reply", inboundDenied},
		{"a call whose credit ends gets BYE at the right second", creditEnds},
		{"a callee that never answers costs nothing", neverAnswered},
		{"a re-INVITE does not restart the clock", reinvite},
		{"a lost BYE is noticed", lostBYE},
		{"an on-net call is charged to both", onNet},
		{"an on-net call to a customer without credit costs the caller nothing", onNetRefused},
		{"a killed call gets BYE", killedWhileTalking},
		{"a killed call that rings gets CANCEL", killedWhileRinging},
		{"the dead-man timer is raised", deadManRaised},
		{"an address pays for its account", taggedAddress},
		{"an INVITE that pretends to be within a call is refused", pretendedReinvite},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, s)
		})
	}
}

// seconds is talk time as it is billed.
func seconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }

// wantBilled checks a call's line in the ledger against what its caller saw: answered with the 200, over with the BYE.
func wantBilled(t *testing.T, c cdr, caller *phone, sentBYE bool) {
	t.Helper()
	if c.Flags != "" {
		t.Errorf("the call is flagged %q", c.Flags)
	}
	wantTimed(t, c, caller, sentBYE)
}

// wantTimed is wantBilled for a call that may be flagged.
func wantTimed(t *testing.T, c cdr, caller *phone, sentBYE bool) {
	t.Helper()
	all := caller.messages()
	answer, answered := find(all, false, "SIP/2.0 200")
	bye, over := find(all, sentBYE, "BYE")
	if !answered || !over {
		t.Fatalf("no 200 or no BYE:\n%s", caller.said())
	}
	wire, billed := bye.at.Sub(answer.at), c.talk(t)
	if off := (billed - wire).Abs(); off > stall {
		t.Errorf("the caller saw %v of talk, the ledger has %v", wire, billed)
	}
	if c.DurationSec != seconds(billed) || c.CostUnits != c.DurationSec*second {
		t.Errorf("%v of talk was billed as %d s, %d units", billed, c.DurationSec, c.CostUnits)
	}
}

func answeredIsBilled(t *testing.T, s *stack) {
	a := s.open(t, "answered", credit)
	caller := s.call(t, "caller.xml", ring{from: a.number, to: someone, talk: 2400 * time.Millisecond})
	caller.done()
	c := a.awaitCDR(t, caller.id(), "settled")
	wantBilled(t, c, caller, true)
	if c.From != a.number || c.To != someone || c.Direction != "outbound" {
		t.Errorf("the ledger has %+v", c)
	}
	s.trunk.awaitOf(caller.id(), false, "BYE")
	a.wantBalanced(t, c.CostUnits)
}

func outboundWithoutCredit(t *testing.T, s *stack) {
	a := s.open(t, "penniless", 0)
	caller := s.call(t, "caller-refused.xml", ring{from: a.number, to: someone})
	caller.done()
	if got, _ := find(caller.messages(), false, "SIP/2.0 402"); got.start != "SIP/2.0 402 Payment Required" {
		t.Errorf("the caller was told %d:\n%s", caller.final(), caller.said())
	}
	if len(of(s.trunk.messages(), caller.id())) > 0 {
		t.Error("the callee heard of it")
	}
	c := a.awaitCDR(t, caller.id(), "rejected")
	if c.CostUnits != 0 || c.Reason != "insufficient_credits" {
		t.Errorf("the ledger has %+v", c)
	}
}

func creditEnds(t *testing.T, s *stack) {
	a := s.open(t, "ends", 5*second)
	caller := s.call(t, "caller-stays.xml", ring{from: a.number, to: someone})
	caller.done()
	c := a.awaitCDR(t, caller.id(), "settled")
	wantBilled(t, c, caller, false)
	if c.DurationSec != 5 {
		t.Errorf("5 s of credit bought %v", c.talk(t))
	}
	bye, _ := find(caller.messages(), false, "BYE")
	if !strings.Contains(bye.header("Reason"), "insufficient_credits") {
		t.Errorf("the BYE says %q:\n%s", bye.header("Reason"), bye.text)
	}
	other := s.trunk.awaitOf(caller.id(), false, "BYE")
	if off := other.at.Sub(bye.at).Abs(); off > stall {
		t.Errorf("callee and caller were hung up %v apart", off)
	}
	a.wantBalanced(t, 5*second)
}

func neverAnswered(t *testing.T, s *stack) {
	a := s.open(t, "rings", credit)
	caller := s.call(t, "caller-gives-up.xml", ring{from: a.number, to: nobody, talk: 2 * time.Second})
	services.Eventually(t, patience, func() error { // while it rings, credit is held
		if b := a.balance(t); b.Held == 0 {
			return errNotYet
		}
		return nil
	})
	caller.done()
	if caller.final() != 487 {
		t.Errorf("the caller was told %d", caller.final())
	}
	c := a.awaitCDR(t, caller.id(), "released")
	if c.CostUnits != 0 || c.DurationSec != 0 {
		t.Errorf("the ledger has %+v", c)
	}
	a.wantBalanced(t, 0)
}

func reinvite(t *testing.T, s *stack) {
	a := s.open(t, "reinvites", 6*second)
	caller := s.call(t, "caller-reinvites.xml", ring{from: a.number, to: someone, talk: 2500 * time.Millisecond})
	id := caller.id()
	before := s.awaitDialog(id)
	caller.await(true, "INVITE sip:callee") // the second one
	caller.await(true, "ACK")
	if after := s.awaitDialog(id); after.Timeout > before.Timeout+1 { // whole seconds, of two clocks
		t.Errorf("the dead-man timer was to run out at %d, after the re-INVITE at %d", before.Timeout, after.Timeout)
	}
	caller.done()
	c := a.awaitCDR(t, id, "settled")
	wantBilled(t, c, caller, false)
	if c.DurationSec != 6 {
		t.Errorf("6 s of credit bought %v", c.talk(t))
	}
	a.wantBalanced(t, 6*second)
}

func lostBYE(t *testing.T, s *stack) {
	a := s.open(t, "vanishes", 10*credit)
	caller := s.call(t, "caller-vanishes.xml", ring{from: a.number, to: someone})
	caller.done()
	bye := s.trunk.awaitOf(caller.id(), false, "BYE")
	c := a.awaitCDR(t, caller.id(), "settled")
	answer, _ := find(caller.messages(), false, "SIP/2.0 200")
	if wire := bye.at.Sub(answer.at); (c.talk(t)-wire).Abs() > stall || wire > 70*time.Second {
		t.Errorf("the callee was hung up after %v, the ledger has %v", wire, c.talk(t))
	}
	a.wantBalanced(t, c.DurationSec*second)
}

func onNet(t *testing.T, s *stack) {
	a, b := s.open(t, "onnet-a", credit), s.open(t, "onnet-b", credit)
	caller := s.call(t, "caller.xml", ring{from: a.number, to: b.number, talk: 1400 * time.Millisecond})
	caller.done()
	out, in := a.awaitCDR(t, caller.id(), "settled"), b.awaitCDR(t, caller.id(), "settled")
	wantBilled(t, out, caller, true)
	wantBilled(t, in, caller, true)
	if out.Direction != "outbound" || in.Direction != "inbound" || out.CallID != in.CallID {
		t.Errorf("the ledger has %+v and %+v", out, in)
	}
	if len(of(s.trunk.messages(), caller.id())) > 0 {
		t.Error("the call went over the trunk")
	}
	a.wantBalanced(t, out.CostUnits)
	b.wantBalanced(t, in.CostUnits)
}

// pretendedReinvite carries a To tag and a Route of its own making, to get by without authorization.
func pretendedReinvite(t *testing.T, s *stack) {
	a := s.open(t, "pretends", credit)
	got, err := s.ask(fmt.Sprintf("INVITE sip:%[1]s@127.0.0.1:%[2]d SIP/2.0\r\nRoute: <sip:127.0.0.1:%[3]d;lr;rf=out>\r\nContact: <sip:%[4]s@127.0.0.1:9>\r\n"+
		"From: <sip:%[4]s@127.0.0.1>;tag=f\r\nTo: <sip:%[1]s@127.0.0.1>;tag=made-up\r\nCSeq: 2 INVITE\r\n", someone, s.trunk.port, s.sip, a.number))
	must(t, err)
	if !strings.HasPrefix(got, "SIP/2.0 481 ") {
		t.Errorf("the answer was:\n%s", got)
	}
	for _, m := range s.trunk.messages() {
		if strings.Contains(m.text, "made-up") {
			t.Errorf("the trunk got:\n%s", m.text)
		}
	}
}
