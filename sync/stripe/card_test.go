package stripe_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

// keeps waits until a customer's card is kept at Stripe, or is not.
func (r *rig) keeps(card string, want bool) {
	r.t.Helper()
	services.Eventually(r.t, patience, func() error {
		for _, m := range r.fake.Objects("payment_method") {
			if m["id"] == card && (m["customer"] != nil) == want {
				return nil
			}
		}
		return fmt.Errorf("card %s is to be kept at Stripe: %v", card, want)
	})
}

// A customer takes back that a card may be charged: Stripe, the ledger and the top-up go by it at once.
func TestCardRemoved(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s, _ := r.start(withCaller)
	acme, card := r.saved(s, "acme", stripefake.CardVisa)
	zeta, other := r.saved(s, "zeta", stripefake.CardVisa)
	r.topUp(s, acme)
	r.topUp(s, zeta)
	a := r.api(s.BillingRoutes(r.desk))
	if x := a.do("DELETE", "/api/v1/billing/card?all=true", acme, ""); x.status != http.StatusBadRequest || x.field("error", "param") != `"all"` {
		t.Errorf("a parameter that is not there: %d %s", x.status, x.body)
	}
	r.keeps(card, true)
	b, err := r.ledger.Billing(t.Context(), acme)
	check(t, err)
	left, err := r.fake.AddCard(b.Customer, stripefake.CardAmex) // of a sidecar that stopped before it took the older card off
	check(t, err)
	for range 2 {
		if x := a.do("DELETE", "/api/v1/billing/card", acme, ""); x.status != http.StatusOK || x.field("card") != `""` || x.field("company_name") != `"Your Company"` {
			t.Errorf("removed: %d %s", x.status, x.body)
		}
	}
	r.keeps(card, false)
	r.keeps(left, false)
	r.keeps(other, true)
	if u, err := s.TopUp(t.Context(), acme); err != nil || u.Enabled || u.Problem != "" || u.Units != 200*minute {
		t.Errorf("top-up is %+v, %v", u, err)
	}
	if _, err := s.SetTopUp(t.Context(), acme, stripe.TopUpChange{Enabled: true, Below: minute, Units: 200 * minute}); err == nil {
		t.Error("a top-up is set without a card")
	}
	r.balances.spend(acme, 90*minute)
	r.balances.spend(zeta, 90*minute)
	r.spendable(zeta, 210*minute) // a round that looks at both
	r.charged(3)
}

// While Stripe does not answer the card is kept, and not charged; where it has answered and the ledger was not told, or
// somebody has taken the card off in Stripe's dashboard, the next try ends it.
func TestCardRemovedInSteps(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s, _ := r.start()
	acme, card := r.saved(s, "acme", stripefake.CardVisa)
	zeta, _ := r.saved(s, "zeta", stripefake.CardVisa)
	r.topUp(s, acme)
	r.topUp(s, zeta)
	away := r.away("/v1/payment_methods/*/detach")
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.ForgetCard(short, acme); err == nil {
		t.Error("removed without Stripe")
	}
	r.balances.spend(acme, 90*minute)
	r.balances.spend(zeta, 90*minute)
	r.spendable(zeta, 210*minute) // a round that looks at both
	r.charged(3)
	away.back.Store(true)
	b, err := r.ledger.Billing(t.Context(), acme)
	check(t, err)
	if b.Card != card {
		t.Errorf("the card is %q, want %q", b.Card, card)
	}
	r.detach(card)
	check(t, s.ForgetCard(t.Context(), acme))
	if b, err = r.ledger.Billing(t.Context(), acme); err != nil || b.Card != "" || b.CardName != "" {
		t.Errorf("billing details are %+v, %v", b, err)
	}
}

// A purchase whose card is to be kept is paid while the one before is removed: that was taken back, whichever card it is.
func TestCardRemovedAndReplaced(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s, _ := r.start()
	acme, old := r.saved(s, "acme", stripefake.CardVisa)
	zeta, _ := r.saved(s, "zeta", stripefake.CardVisa)
	r.topUp(s, acme)
	r.topUp(s, zeta)
	var once sync.Once
	slow := r.shop(func(c *stripe.Config) {
		c.Transport = before{r.next, "/v1/payment_methods", func() { once.Do(func() { r.replace(s, acme, old) }) }}
	})
	check(t, slow.ForgetCard(t.Context(), acme))
	r.keeps(old, false)
	r.balances.spend(acme, 190*minute)
	r.balances.spend(zeta, 90*minute)
	r.spendable(zeta, 210*minute) // a round that looks at both
	r.charged(4)
	if u, err := s.TopUp(t.Context(), acme); err != nil || u.Enabled || u.Problem != "" {
		t.Errorf("top-up is %+v, %v", u, err)
	}
}

// replace buys with another card, which is kept when it returns.
func (r *rig) replace(s *stripe.Service, account, old string) {
	r.t.Helper()
	made := r.buy(s, account, 100)
	check(r.t, r.fake.PayWith(made.Purchase.Session, stripefake.Payment{Card: stripefake.CardMastercard, Proven: true}))
	services.Eventually(r.t, patience, func() error {
		b, err := r.ledger.Billing(context.Background(), account)
		if err == nil && b.Card == old {
			err = errors.New("the older card is kept still")
		}
		return err
	})
}

// An older purchase that is settled late does not put its card over a newer one's, and leaves none at Stripe.
func TestOlderCardComesLate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.shop(func(c *stripe.Config) { c.Transport = dead{r.next, "/v1/events"} }) // which would tell of both
	acme := r.account("acme")
	older, newer := r.buy(s, acme, 100), r.buy(s, acme, 200)
	check(t, r.fake.PayWith(older.Purchase.Session, stripefake.Payment{Card: stripefake.CardVisa, Proven: true}))
	check(t, r.fake.PayWith(newer.Purchase.Session, stripefake.Payment{Card: stripefake.CardMastercard, Proven: true}))
	due := func(made stripe.Started, at time.Time) {
		_, err := r.ledger.ChangePurchase(t.Context(), made.Purchase.ID, func(p *ledger.Purchase) error { p.DueAt = at; return nil })
		check(t, err)
	}
	due(older, time.Now().Add(time.Hour))
	for _, made := range []stripe.Started{newer, older} {
		due(made, time.Now())
		stop := r.run(s)
		services.Eventually(t, patience, func() error {
			p, err := r.ledger.Purchase(t.Context(), made.Purchase.ID)
			if err == nil && p.State != ledger.PurchasePaid {
				err = errors.New("not settled yet")
			}
			return err
		})
		stop()
	}
	b, err := r.ledger.Billing(t.Context(), acme)
	check(t, err)
	if b.CardName != "mastercard 4444" {
		t.Errorf("the card is %q", b.CardName)
	}
	for _, m := range r.fake.Objects("payment_method") {
		r.keeps(m["id"].(string), m["id"] == b.Card)
	}
}

// detach is somebody at Stripe's dashboard.
func (r *rig) detach(card string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.url+"/v1/payment_methods/"+card+"/detach", nil)
	check(r.t, err)
	req.Header.Set("Authorization", "Bearer "+stripefake.Key)
	req.Header.Set("Stripe-Version", stripe.APIVersion)
	resp, err := r.next.RoundTrip(req)
	check(r.t, err)
	check(r.t, resp.Body.Close())
	r.keeps(card, false)
}

// The card is replaced, or removed, at the moment that a top-up charges it: the newer one pays that, or none does.
func TestCardGoneWhileCharged(t *testing.T) {
	for name, path := range map[string]string{"replaced": "/v1/invoices/*/pay", "removed": "/v1/invoices/*/pay", "removed before": "/v1/invoices/*/finalize"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			removed := name != "replaced"
			r := newRig(t)
			var once sync.Once
			var meanwhile func()
			s, _ := r.start(func(c *stripe.Config) {
				c.Transport = before{r.next, path, func() { once.Do(func() { meanwhile() }) }}
			})
			acme, old := r.saved(s, "acme", stripefake.CardVisa)
			meanwhile = func() {
				if removed {
					check(t, s.ForgetCard(context.Background(), acme))
					return
				}
				r.replace(s, acme, old)
				r.detach(old)
			}
			_, err := s.SetTopUp(t.Context(), acme, stripe.TopUpChange{Enabled: true, Below: 500 * minute, Units: 1000 * minute})
			check(t, err)
			if removed {
				r.until(acme, func(u ledger.TopUp) bool { return !u.Enabled })
				r.closed(acme)
				r.charged(1)
			} else {
				r.spendable(acme, 1200*minute)
				r.charged(3)
			}
			if u, err := s.TopUp(t.Context(), acme); err != nil || u.Declined != 0 || u.Problem != "" || u.Enabled == removed {
				t.Errorf("top-up is %+v, %v", u, err)
			}
			r.keeps(old, false)
		})
	}
}

// A newer card takes the place of an older one, which is kept nowhere any more, and of its declines.
func TestCardReplaced(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s, _ := r.start()
	acme, old := r.saved(s, "acme", stripefake.CardFailsLater)
	r.topUp(s, acme)
	r.balances.spend(acme, 90*minute)
	r.until(acme, func(u ledger.TopUp) bool { return u.Declined == 1 })
	r.closed(acme)
	made := r.buy(s, acme, 100)
	check(t, r.fake.PayWith(made.Purchase.Session, stripefake.Payment{Card: stripefake.CardMastercard, Proven: true}))
	r.spendable(acme, 110*minute)
	r.quiet()
	b, err := r.ledger.Billing(t.Context(), acme)
	check(t, err)
	if b.CardName != "mastercard 4444" {
		t.Errorf("the card is %q", b.CardName)
	}
	r.keeps(old, false)
	r.keeps(b.Card, true)
	u := r.until(acme, func(u ledger.TopUp) bool { return u.Declined == 0 && u.NotBefore.IsZero() })
	if !u.Enabled || u.Problem != "" {
		t.Errorf("top-up is %+v", u)
	}
	r.balances.spend(acme, 100*minute)
	r.spendable(acme, 210*minute)
}
