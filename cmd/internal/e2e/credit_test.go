package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/deploy/services"
)

// spendable waits until an account can spend so much, or less.
func (s *sidecar) spendable(a account, at func(authz.Balance) bool) {
	s.d.t.Helper()
	services.Eventually(s.d.t, patience, func() error {
		if b := s.credit(a); !at(b) {
			return fmt.Errorf("the balance is %+v", b)
		}
		return nil
	})
}

// selling is a deployment of one sidecar that sells credit, and an account without any.
func selling(t *testing.T, changes settings) (*deployment, *shop, *sidecar, account) {
	t.Helper()
	d := deploy(t, changes)
	d.share()
	x := d.sell()
	s := d.sidecar("only")
	x.sidecars = []*sidecar{s}
	s.ready()
	return d, x, s, d.open("acme", 0, s)
}

// A purchase is refunded while a call is on: the call goes on for what it holds, is cut off then, and nobody may call
// after it; the balance is below zero by what was talked.
func TestRefundOfSpentCredit(t *testing.T) {
	t.Parallel()
	d, x, s, acme := selling(t, settings{"calls.slice": "6s"})
	session := x.buy(s, acme)
	must(t, x.fake.Pay(session))
	s.spendable(acme, func(b authz.Balance) bool { return b.Available == 100*minute })
	c := d.out(acme, "spending")
	c.authorize(s)
	c.answer(s)
	_, err := x.fake.Refund(session, 0)
	must(t, err)
	s.spendable(acme, func(b authz.Balance) bool { return b.Granted == 0 })
	b := d.conserved(s, acme)
	if b.Available >= 0 || b.Held == 0 || b.Calls != 1 {
		t.Errorf("the balance after the refund is %+v", b)
	}
	if refused := s.post("/v1/authorize", d.out(acme, "one-more").fields(nil)); refused.status != http.StatusPaymentRequired || refused.code() != "insufficient_credits" {
		t.Errorf("a call after the refund: %v", refused)
	}
	hangup := d.pbx.await(t, c.id, "hangup")
	if talked := hangup.at.Sub(c.answered); talked < 5*time.Second || hangup.reason != "insufficient_credits" {
		t.Errorf("the call was cut off after %v, for %q", talked, hangup.reason)
	}
	c.ended = hangup.at.UTC().Truncate(time.Millisecond)
	c.report(s, c.endedEvent())
	if b := s.credit(acme); int64(b.Available) != -c.seconds()*second || b.Held != 0 {
		t.Errorf("the balance at last is %+v, after %d s of talk", b, c.seconds())
	}
}

// A call has credit for seconds; the card that was saved buys more while it is on, and it goes on.
func TestTopUpFeedsALiveCall(t *testing.T) {
	t.Parallel()
	d, x, s, acme := selling(t, nil)
	made := x.api(s, acme, http.MethodPost, "/api/v1/checkout", `{"amount_minutes":100,"save_card":true}`)
	if made.status != http.StatusCreated {
		t.Fatalf("checkout: %v", made)
	}
	must(t, x.fake.Pay(x.fake.Objects("checkout.session")[0]["id"].(string)))
	s.spendable(acme, func(b authz.Balance) bool { return b.Available == 100*minute })
	s.grant(acme, 8*second-100*minute, "spent")
	s.spendable(acme, func(b authz.Balance) bool { return b.Available == 8*second })
	c := d.out(acme, "going-on")
	c.sw = switchBeats // a switch that goes by heartbeats, not by the limit that it was given
	if got := c.authorize(s).number("max_seconds"); got != 8 {
		t.Errorf("max_seconds is %d, want the 8 that credit buys", got)
	}
	c.answer(s)
	defer c.beat(func() *sidecar { return s })()
	if set := x.api(s, acme, http.MethodPut, "/api/v1/top-up", `{"enabled":true,"threshold_minutes":1,"amount_minutes":100}`); set.status != http.StatusOK {
		t.Fatalf("top-up: %v", set)
	}
	c.awaitCall("bought beyond the credit that it began with", func(w authz.Call) bool { return w.UntilMS > 9000 })
	if n := len(d.pbx.given(c.id, "hangup")); n != 0 {
		t.Errorf("it was told to hang up %d times", n)
	}
	c.end(s)
	s.spendable(acme, func(b authz.Balance) bool {
		return int64(b.Available) == 100*minute+(8-c.seconds())*second && b.Held == 0
	})
	if page := x.api(s, acme, http.MethodGet, "/api/v1/invoices", ""); page.status != http.StatusOK || fmt.Sprint(page.body["pagination"].(map[string]any)["total"]) != "2" {
		t.Errorf("invoices: %v", page)
	}
}
