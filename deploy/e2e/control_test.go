package e2e

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/deploy/services"
)

// kill asks the sidecar for the end of a call.
func (a account) kill(t *testing.T, direction, callID string) {
	t.Helper()
	a.s.admin(t, http.MethodPost, "calls/kill", map[string]any{"call": "kamailio:" + direction + ":" + callID, "account": a.id}, nil)
}

func killedWhileTalking(t *testing.T, s *stack) {
	a, b := s.open(t, "killed-a", credit), s.open(t, "killed-b", credit)
	caller := s.call(t, "caller-stays.xml", ring{from: a.number, to: b.number})
	id := caller.id()
	s.awaitDialog(id)
	b.awaitState(t, id, "live")
	b.kill(t, "inbound", id)
	caller.done()
	bye, _ := find(caller.messages(), false, "BYE")
	if !strings.Contains(bye.header("Reason"), "killed") {
		t.Errorf("the BYE says %q", bye.header("Reason"))
	}
	s.customers.awaitOf(id, false, "BYE")
	wantBilled(t, a.awaitCDR(t, id, "settled"), caller, false)
	wantTimed(t, b.awaitCDR(t, id, "settled"), caller, false)
}

func killedWhileRinging(t *testing.T, s *stack) {
	a := s.open(t, "killed-ringing", credit)
	caller := s.call(t, "caller-refused.xml", ring{from: a.number, to: nobody})
	id := caller.id()
	caller.await(false, "SIP/2.0 180")
	a.awaitState(t, id, "held")
	a.kill(t, "outbound", id)
	caller.done()
	s.trunk.awaitOf(id, false, "CANCEL")
	if c := a.awaitCDR(t, id, "released"); c.CostUnits != 0 {
		t.Errorf("the ledger has %+v", c)
	}
	a.wantBalanced(t, 0)
}

// awaitState waits until the sidecar has the call in a state.
func (a account) awaitState(t *testing.T, callID, state string) {
	t.Helper()
	services.Eventually(t, patience, func() error {
		var list struct {
			Calls []struct {
				CallID string `json:"call_id"`
				State  string
			}
		}
		a.s.admin(t, http.MethodGet, "calls?account="+a.id, nil, &list)
		for _, c := range list.Calls {
			if c.CallID == callID && c.State == state {
				return nil
			}
		}
		return fmt.Errorf("%s is not %s: %+v", callID, state, list.Calls)
	})
}

// limit is the time that Kamailio lets a leg have, in seconds.
func (d dialog) limit(t *testing.T, direction string) int {
	t.Helper()
	n, err := strconv.Atoi(d.variable("limit_" + direction))
	must(t, err)
	return n
}

// deadManRaised: while an account has several calls, each is given its share; the one that goes on is given more.
func deadManRaised(t *testing.T, s *stack) {
	a := s.open(t, "shares", 40*second)
	first := s.call(t, "caller.xml", ring{from: a.number, to: someone, talk: 2 * time.Second})
	s.awaitDialog(first.id())
	second := s.call(t, "caller-stays.xml", ring{from: a.number, to: someone})
	id := second.id()
	given := s.awaitDialog(id)
	if n := given.limit(t, "outbound"); n < 15 || n > 20 {
		t.Errorf("the second call got %d s of 40", n)
	}
	first.done()
	a.awaitCDR(t, first.id(), "settled")
	var raised dialog
	services.Eventually(t, patience, func() error {
		raised = s.awaitDialog(id)
		if was, is := given.limit(t, "outbound"), raised.limit(t, "outbound"); is <= was+10 {
			return fmt.Errorf("the limit was %d s and is %d", was, is)
		}
		return nil
	})
	// The timer was set accordingly: it runs out as many seconds later.
	later, more := raised.Timeout-given.Timeout, int64(raised.limit(t, "outbound")-given.limit(t, "outbound"))
	if later < more-2 || later > more+2 {
		t.Errorf("the limit was raised by %d s, the timer by %d", more, later)
	}
	a.kill(t, "outbound", id)
	second.done()
	wantTimed(t, a.awaitCDR(t, id, "settled"), second, false)
}

// taggedAddress: whose call it is, the address says, whatever the caller calls itself.
func taggedAddress(t *testing.T, s *stack) {
	a, b := s.open(t, "tagged", credit), s.open(t, "impersonated", credit)
	caller := s.call(t, "caller.xml", ring{from: b.number, to: someone, port: s.tagged, talk: 400 * time.Millisecond})
	caller.done()
	wantBilled(t, a.awaitCDR(t, caller.id(), "settled"), caller, true)
	if all := b.ledger(t); len(all) != 0 {
		t.Errorf("the other account's ledger has %+v", all)
	}
}
