package stripe_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

// saved makes an account with credit and a card of a number that top-ups may charge.
func (r *rig) saved(s *stripe.Service, id, card string) (account, method string) {
	r.t.Helper()
	a := r.account(id)
	made := r.buy(s, a, 100)
	check(r.t, r.fake.PayWith(made.Purchase.Session, stripefake.Payment{Card: card, Proven: true}))
	r.spendable(a, 100*minute)
	r.quiet()
	b, err := r.ledger.Billing(context.Background(), a)
	check(r.t, err)
	if b.Card == "" {
		r.t.Fatal("no card was kept")
	}
	return a, b.Card
}

func (r *rig) topUp(s *stripe.Service, account string) {
	r.t.Helper()
	_, err := s.SetTopUp(context.Background(), account, stripe.TopUpChange{Enabled: true, Below: 20 * minute, Units: 200 * minute})
	check(r.t, err)
}

// until waits for what a top-up has become.
func (r *rig) until(account string, ok func(ledger.TopUp) bool) ledger.TopUp {
	r.t.Helper()
	var t ledger.TopUp
	services.Eventually(r.t, patience, func() (err error) {
		t, err = r.ledger.TopUp(context.Background(), account)
		if err == nil && !ok(t) {
			err = fmt.Errorf("top-up is %+v", t)
		}
		return err
	})
	return t
}

// The balance falls below the threshold: one top-up, with an invoice, whatever number of sidecars look.
func TestTopUp(t *testing.T) {
	r := newRig(t)
	s, _ := r.start()
	r.start()
	r.start()
	acme, _ := r.saved(s, "acme", stripefake.CardVisa)
	r.topUp(s, acme)
	r.balances.spend(acme, 80*minute) // 20 left: not below
	r.balances.spend(acme, 1)
	r.spendable(acme, 220*minute-1)
	r.quiet()
	page, total, err := s.Invoices(t.Context(), acme, 10, 0)
	check(t, err)
	if total != 2 || page[0].Status != "paid" || page[0].Number == "" || page[0].Net != 1400 || page[0].VAT != 294 || page[0].Total != 1694 {
		t.Errorf("invoices are %+v", page)
	}
	if n := len(r.fake.Objects("payment_intent")); n != 2 {
		t.Errorf("%d payments, want 2", n)
	}
	pdf, _, err := s.PDF(t.Context(), acme, page[0].ID)
	check(t, err)
	check(t, pdf.Close())

	// Three a day, then it waits and says so.
	for i := range 2 {
		r.balances.spend(acme, 200*minute)
		r.spendable(acme, 220*minute-1)
		_ = i
	}
	r.balances.spend(acme, 210*minute)
	r.until(acme, func(u ledger.TopUp) bool { return u.Problem != "" && u.NotBefore.After(time.Now()) })
	if g := r.granted(acme); g != 100*minute+3*200*minute {
		t.Errorf("granted %d", g)
	}
}

// A declined card: the invoice is void, the next try waits, and nothing is granted; then the customer says again.
func TestTopUpDeclined(t *testing.T) {
	r := newRig(t)
	s, _ := r.start()
	acme, method := r.saved(s, "acme", stripefake.CardFailsLater)
	r.topUp(s, acme)
	r.balances.spend(acme, 90*minute)
	u := r.until(acme, func(u ledger.TopUp) bool { return u.Declined == 1 })
	if wait := time.Until(u.NotBefore); wait < 50*time.Minute || wait > 70*time.Minute || u.Problem == "" || !u.Enabled {
		t.Errorf("top-up is %+v", u)
	}
	if st, err := s.Status(t.Context()); err != nil || len(st.TopUps) != 1 || st.TopUps[0] != (stripe.TopUpLine{Account: acme, Enabled: true, Problem: u.Problem, Declined: 1, Next: u.NotBefore}) {
		t.Errorf("the operator is shown %+v, %v", st.TopUps, err)
	}
	r.quiet()
	services.Eventually(t, patience, func() error {
		page, _, err := s.Invoices(context.Background(), acme, 10, 0)
		if err == nil && (len(page) != 2 || page[0].Status != "void") {
			err = fmt.Errorf("invoices are %+v", page)
		}
		return err
	})
	if g := r.granted(acme); g != 100*minute {
		t.Errorf("granted %d", g)
	}
	r.fake.SetCard(method, stripefake.Succeeds, stripefake.Succeeds)
	r.topUp(s, acme)
	r.spendable(acme, 210*minute)
	u = r.until(acme, func(u ledger.TopUp) bool { return u.Problem == "" })
	if u.Declined != 0 {
		t.Errorf("top-up is %+v", u)
	}
}

// The bank wants to see the customer: nothing is tried again, and the customer gets the page; paying there grants.
func TestTopUpNeedsTheCustomer(t *testing.T) {
	r := newRig(t)
	s, _ := r.start()
	acme, _ := r.saved(s, "acme", stripefake.CardAlwaysAsks)
	r.topUp(s, acme)
	r.balances.spend(acme, 90*minute)
	u := r.until(acme, func(u ledger.TopUp) bool { return u.PayURL != "" })
	if u.Problem == "" || u.Declined != 0 {
		t.Errorf("top-up is %+v", u)
	}
	r.quiet()
	paid := 0
	for _, req := range r.fake.Requests() {
		if req.Method == http.MethodPost && len(req.Path) > 4 && req.Path[len(req.Path)-4:] == "/pay" {
			paid++
		}
	}
	if paid != 1 {
		t.Errorf("%d payments were tried, want 1", paid)
	}
	open, err := r.ledger.OpenTopUp(t.Context(), acme)
	check(t, err)
	check(t, r.fake.PayInvoice(open.Invoice, stripefake.Payment{Proven: true}))
	r.spendable(acme, 210*minute)
	r.until(acme, func(u ledger.TopUp) bool { return u.PayURL == "" && u.Problem == "" })
}

// Whatever breaks on the way to Stripe: one invoice is paid, once.
func TestTopUpBrokenOff(t *testing.T) {
	for _, path := range []string{"/v1/invoices", "/v1/invoiceitems", "/v1/invoices/*/finalize", "/v1/invoices/*/pay"} {
		for _, kind := range []stripefake.FaultKind{stripefake.Cut, stripefake.Lose, stripefake.Refuse} {
			t.Run(fmt.Sprint(path, kind), func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				s, _ := r.start(func(c *stripe.Config) { c.TopUpEvery = 200 * time.Millisecond })
				acme, _ := r.saved(s, "acme", stripefake.CardVisa)
				r.fake.Inject(stripefake.Fault{Kind: kind, Method: http.MethodPost, Path: path, Status: http.StatusTooManyRequests, Times: 2})
				r.topUp(s, acme)
				r.balances.spend(acme, 90*minute)
				r.spendable(acme, 210*minute)
				r.quiet()
				if g := r.granted(acme); g != 300*minute {
					t.Errorf("granted %d", g)
				}
				if n := len(r.fake.Objects("invoice")); n != 2 {
					t.Errorf("%d invoices, want 2", n)
				}
			})
		}
	}
}

func TestBadTopUps(t *testing.T) {
	r := newRig(t)
	s := r.shop()
	acme := r.account("acme")
	good := stripe.TopUpChange{Enabled: true, Below: 20 * minute, Units: 200 * minute}
	for name, c := range map[string]struct {
		change func(*stripe.TopUpChange)
		field  string
	}{
		"no card":       {func(*stripe.TopUpChange) {}, "enabled"},
		"no threshold":  {func(c *stripe.TopUpChange) { c.Below = 0 }, "threshold_minutes"},
		"negative":      {func(c *stripe.TopUpChange) { c.Below = -1 }, "threshold_minutes"},
		"nothing":       {func(c *stripe.TopUpChange) { c.Units = 0 }, "amount_minutes"},
		"too little":    {func(c *stripe.TopUpChange) { c.Units = minute }, "amount_minutes"},
		"huge":          {func(c *stripe.TopUpChange) { c.Units = credit.Max }, "amount_minutes"},
		"beyond":        {func(c *stripe.TopUpChange) { c.Units = credit.Max + 1 }, "amount_minutes"},
		"every minute":  {func(c *stripe.TopUpChange) { c.MaxPerDay = 1440 }, "max_per_day"},
		"negative days": {func(c *stripe.TopUpChange) { c.MaxPerDay = -1 }, "max_per_day"},
	} {
		change := good
		c.change(&change)
		_, err := s.SetTopUp(t.Context(), acme, change)
		var field *ledger.FieldError
		if !errors.As(err, &field) || field.Field != c.field {
			t.Errorf("%s: %v", name, err)
		}
	}
	off, err := s.TopUp(t.Context(), acme)
	if err != nil || off.Enabled || off.MaxPerDay != 3 {
		t.Errorf("top-up is %+v, %v", off, err)
	}
}
