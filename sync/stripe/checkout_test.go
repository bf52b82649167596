package stripe_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

// A request that is repeated under its key is one purchase with one page, and another request under that key is refused.
func TestIdempotencyKey(t *testing.T) {
	r := newRig(t)
	s, _ := r.start(withCaller)
	a := r.api(s.Routes())
	acme, other := r.account("acme"), r.account("other")
	const body = `{"amount_minutes":500,"success_url":"` + site + `/paid","cancel_url":"` + site + `"}`

	var mu sync.Mutex
	pages := map[string]int{}
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			x := a.do("POST", "/api/v1/checkout", acme, body, "Idempotency-Key", "order 1")
			mu.Lock()
			defer mu.Unlock()
			pages[fmt.Sprint(x.status, " ", x.field("id"), " ", x.field("url"))]++
		})
	}
	all.Wait()
	if len(pages) != 1 {
		t.Fatalf("five requests under one key gave %v", pages)
	}
	for page := range pages {
		if !strings.HasPrefix(page, "201 ") {
			t.Fatalf("checkout: %s", page)
		}
	}
	if n := len(r.fake.Objects("checkout.session")); n != 1 {
		t.Errorf("%d sessions were made", n)
	}
	if x := a.do("POST", "/api/v1/checkout", other, body, "Idempotency-Key", "order 1"); x.status != 201 || pages[fmt.Sprint(201, " ", x.field("id"), " ", x.field("url"))] > 0 {
		t.Errorf("another account's purchase under the same key: %d %s", x.status, x.body)
	}
	refused := func(body, key, code string, status int) {
		t.Helper()
		if x := a.do("POST", "/api/v1/checkout", acme, body, "Idempotency-Key", key); x.status != status || x.field("error", "code") != code || x.field("error", "param") != `"Idempotency-Key"` {
			t.Errorf("key %q: %d %s", key, x.status, x.body)
		}
	}
	refused(strings.Replace(body, "500", "501", 1), "order 1", `"conflict"`, 409)
	refused(strings.Replace(body, site+"/paid", site, 1), "order 1", `"conflict"`, 409)
	refused(body, strings.Repeat("x", 256), `"invalid_request"`, 400)
	refused(body, "é", `"invalid_request"`, 400)

	page, err := r.ledger.Purchases(t.Context(), acme, 10, 0)
	check(t, err)
	if len(page) != 1 {
		t.Fatalf("purchases are %+v", page)
	}
	check(t, r.fake.Pay(page[0].Session))
	r.spendable(acme, 500*minute)
	refused(body, "order 1", `"conflict"`, 409)
	if x := a.do("POST", "/api/v1/checkout", acme, body, "Idempotency-Key", "order 2"); x.status != 201 {
		t.Errorf("a new key: %d %s", x.status, x.body)
	}
}

// The sidecar dies before Stripe has made the page; the request that is repeated makes it.
func TestIdempotencyKeyAfterCrash(t *testing.T) {
	r := newRig(t)
	acme := r.account("acme")
	request := stripe.Request{Order: stripe.Order{Minutes: "500"}, SuccessURL: site, CancelURL: site, Key: "order 1"}
	ctx, cancel := context.WithCancel(t.Context())
	broken := r.shop(func(c *stripe.Config) { c.Transport = cancelling{r.next, "/v1/checkout/sessions", cancel} })
	if _, err := broken.Checkout(ctx, acme, request); err == nil {
		t.Fatal("the checkout worked")
	}
	s := r.shop()
	made, err := s.Checkout(t.Context(), acme, request)
	check(t, err)
	page, err := r.ledger.Purchases(t.Context(), acme, 10, 0)
	check(t, err)
	if len(page) != 1 || page[0].ID != made.Purchase.ID || page[0].Session != made.Purchase.Session || made.URL == "" {
		t.Errorf("made %+v, purchases are %+v", made, page)
	}
	r.fake.Advance(2 * time.Hour) // its page is closed, which the ledger has not heard of
	if _, err := s.Checkout(t.Context(), acme, request); !errors.Is(err, stripe.ErrUsed) {
		t.Errorf("a purchase whose page is closed: %v", err)
	}
}

// Visa, Mastercard and American Express are taken, and no other card.
func TestCardBrands(t *testing.T) {
	r := newRig(t)
	s, _ := r.start()
	acme := r.account("acme")
	made := r.buy(s, acme, 100)
	var refusal *stripefake.Error
	if err := r.fake.PayWith(made.Purchase.Session, stripefake.Payment{Card: stripefake.CardDiscover}); !errors.As(err, &refusal) || refusal.Code != "card_not_supported" {
		t.Errorf("a Discover card: %v", err)
	}
	check(t, r.fake.Pay(made.Purchase.Session))
	for _, number := range []string{stripefake.CardMastercard, stripefake.CardAmex} {
		check(t, r.fake.PayWith(r.buy(s, acme, 100).Purchase.Session, stripefake.Payment{Card: number}))
	}
	r.spendable(acme, 300*minute)
}

// A Stripe that does not know how to block brands sells all the same, one page a purchase.
func TestCardBrandsUnknown(t *testing.T) {
	r := newRig(t, func(c *stripefake.Config) { c.NoBrands = true })
	s, _ := r.start()
	acme := r.account("acme")
	r.pay(r.buy(s, acme, 100))
	r.pay(r.buy(s, acme, 100))
	r.spendable(acme, 200*minute)
	if n := len(r.fake.Objects("checkout.session")); n != 2 {
		t.Errorf("%d sessions for two purchases", n)
	}
}

// What the invoice says and the customer was not shown is granted, and an operator is told.
func TestAnotherTotalThanQuoted(t *testing.T) {
	r := newRig(t)
	s, _ := r.start(func(c *stripe.Config) {
		c.TaxMode, c.Transport = stripe.TaxStripe, rewriting{r.next, http.MethodPost, "/v1/tax/calculations", func(sum map[string]any) {
			sum["tax_amount_exclusive"], sum["amount_total"] = 734, 4234
		}}
	})
	acme := r.account("acme")
	made := r.buy(s, acme, 500)
	if made.Quote.Total != 4234 {
		t.Fatalf("quote is %+v", made.Quote)
	}
	r.pay(made)
	r.spendable(acme, 500*minute)
	r.quiet()
	st, err := s.Status(t.Context())
	check(t, err)
	if len(st.Suspicion) != 1 || !strings.Contains(st.Suspicion[0].Problem, "4235 cents were paid, but 4234 quoted") {
		t.Errorf("status is %+v", st)
	}
}

// Stripe Tax believes any VAT ID; VAT is charged all the same until it is verified, and the invoice is the quote.
func TestStripeTaxOfUnverified(t *testing.T) {
	for _, c := range []struct {
		name    string
		status  ledger.VATStatus
		tax     int64
		reverse bool
	}{{"pending", ledger.VATPending, 665, false}, {"unverified", ledger.VATUnverified, 665, false}, {"verified", ledger.VATVerified, 0, true}} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			s, _ := r.start(func(c *stripe.Config) { c.TaxMode = stripe.TaxStripe })
			r.fake.SetTaxIDStatus("DE811569869", string(c.status))
			acme := r.account("acme", func(b *ledger.Billing) { b.Country, b.VATID = "DE", "DE811569869" })
			r.vatIs(acme, c.status)
			made := r.buy(s, acme, 500)
			if q := made.Quote; q.VAT != c.tax || q.ReverseCharge != c.reverse {
				t.Errorf("quote is %+v", q)
			}
			r.pay(made)
			r.spendable(acme, 500*minute)
			r.quiet()
			page, _, err := s.Invoices(t.Context(), acme, 10, 0)
			check(t, err)
			if len(page) != 1 || page[0].VAT != c.tax || page[0].ReverseCharge != c.reverse || page[0].Total != made.Quote.Total {
				t.Errorf("quote is %+v, invoices are %+v", made.Quote, page)
			}
		})
	}
}

// Somebody deletes the customer at Stripe: its card is gone with it, and the top-up says so.
func TestDeletedCustomersCard(t *testing.T) {
	r := newRig(t)
	s, _ := r.start()
	acme := r.account("acme")
	r.pay(r.buy(s, acme, 500))
	r.spendable(acme, 500*minute)
	r.quiet()
	_, err := s.SetTopUp(t.Context(), acme, stripe.TopUpChange{Enabled: true, Below: 50 * minute, Units: 100 * minute})
	check(t, err)
	was, err := r.ledger.Billing(t.Context(), acme)
	check(t, err)
	r.ask(http.MethodDelete, "/v1/customers/"+was.Customer, nil)
	r.quiet()
	check(t, r.desk.Sync(t.Context()))
	now, err := r.ledger.Billing(t.Context(), acme)
	check(t, err)
	if now.Customer == was.Customer || now.Card != "" || now.CardName != "" {
		t.Errorf("billing details are %+v", now)
	}
	r.balances.spend(acme, 460*minute)
	services.Eventually(t, patience, func() error {
		top, err := s.TopUp(context.Background(), acme)
		if err == nil && (top.Enabled || top.Problem == "") {
			err = fmt.Errorf("top-up is %+v", top)
		}
		return err
	})
	if _, err := r.ledger.OpenTopUp(t.Context(), acme); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a top-up was begun: %v", err)
	}
}
