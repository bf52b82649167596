package stripe_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

// is waits until a purchase is in a state.
func (r *rig) is(made stripe.Started, want ledger.PurchaseState) ledger.Purchase {
	r.t.Helper()
	var p ledger.Purchase
	services.Eventually(r.t, patience, func() (err error) {
		p, err = r.ledger.Purchase(context.Background(), made.Purchase.ID)
		if err == nil && p.State != want {
			err = fmt.Errorf("purchase is %+v", p)
		}
		return err
	})
	return p
}

// The details change while a payment page is open: the page that has the old tax closes, and no other.
func TestDetailsChangeWhilePaying(t *testing.T) {
	for _, mode := range []string{stripe.TaxTable, stripe.TaxStripe} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			s, _ := r.start(func(c *stripe.Config) { c.TaxMode = mode })
			r.fake.SetTaxIDStatus("DE811569869", "verified")
			acme := r.account("acme", func(b *ledger.Billing) { b.Country, b.VATID = "DE", "DE811569869" })
			r.vatIs(acme, ledger.VATVerified)
			made := r.buy(s, acme, 500)
			now, err := r.ledger.Billing(t.Context(), acme)
			check(t, err)
			now.Company = "Another Name"
			now, err = r.desk.SetBilling(t.Context(), now) // the same tax
			check(t, err)
			services.Eventually(t, patience, func() error {
				p, err := r.ledger.Purchase(context.Background(), made.Purchase.ID)
				if err == nil && (p.Attempts == 0 || p.DueAt.Before(time.Now())) {
					err = fmt.Errorf("not looked at yet: %+v", p)
				}
				return err
			})
			if p := r.is(made, ledger.PurchaseOpen); p.Problem != "" {
				t.Errorf("purchase is %+v", p)
			}
			now.Country, now.VATID = "NL", ""
			_, err = r.desk.SetBilling(t.Context(), now)
			check(t, err)
			r.is(made, ledger.PurchaseExpired)
			if err := r.fake.Pay(made.Purchase.Session); err == nil {
				t.Error("a page with the tax of another country was paid")
			}
			again := r.buy(s, acme, 500)
			r.pay(again)
			r.spendable(acme, 500*minute)
			r.quiet()
			page, _, err := s.Invoices(t.Context(), acme, 10, 0)
			check(t, err)
			if len(page) != 1 || page[0].VAT != 735 || page[0].ReverseCharge {
				t.Errorf("invoices are %+v", page)
			}
		})
	}
}

// A VAT ID is verified while the page is open: it closes, and the next is without VAT.
func TestVerifiedWhilePaying(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s, _ := r.start()
	r.fake.SetTaxIDStatus("DE811569869", "pending")
	acme := r.account("acme", func(b *ledger.Billing) { b.Country, b.VATID = "DE", "DE811569869" })
	made := r.buy(s, acme, 500)
	if made.Quote.VAT != 665 {
		t.Errorf("quote is %+v", made.Quote)
	}
	r.fake.SetTaxIDStatus("DE811569869", "verified")
	r.vatIs(acme, ledger.VATVerified)
	r.is(made, ledger.PurchaseExpired)
	if q := r.buy(s, acme, 500).Quote; q.VAT != 0 || !q.ReverseCharge {
		t.Errorf("quote is %+v", q)
	}
}

// Details that Stripe does not take: the customer is told which, nothing is sold meanwhile, and an operator sees it.
func TestRefusedDetails(t *testing.T) {
	r := newRig(t)
	s, _ := r.start()
	acme := r.account("acme")
	r.fake.Inject(stripefake.Fault{Kind: stripefake.Refuse, Status: http.StatusBadRequest, Param: "email", Method: http.MethodPost, Path: "/v1/customers/*"})
	_, err := s.Checkout(t.Context(), acme, stripe.Request{Order: stripe.Order{Minutes: "500"}})
	var field *ledger.FieldError
	if !errors.As(err, &field) || field.Field != "email" || !strings.Contains(field.Message, "refused on purpose") {
		t.Fatalf("checkout: %v", err)
	}
	st, err := s.Status(t.Context())
	check(t, err)
	if len(st.Details) != 1 || st.Details[0].Account != acme || !strings.Contains(st.Details[0].Problem, "email") {
		t.Errorf("status is %+v", st.Details)
	}
	if n := len(r.fake.Objects("checkout.session")); n != 0 {
		t.Errorf("%d pages were made", n)
	}
	made := r.buy(s, acme, 500) // with the next try Stripe takes them
	r.pay(made)
	r.spendable(acme, 500*minute)
	if st, err = s.Status(t.Context()); err != nil || len(st.Details) != 0 {
		t.Errorf("status is %+v, %v", st.Details, err)
	}
}

// What Stripe refuses and the customer has no part in hinders no purchase.
func TestRefusedWithoutField(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s, _ := r.start()
	acme := r.account("acme")
	r.fake.Inject(stripefake.Fault{Kind: stripefake.Refuse, Status: http.StatusBadRequest, Param: "preferred_locales[0]", Method: http.MethodPost, Path: "/v1/customers/*"})
	r.pay(r.buy(s, acme, 500))
	r.spendable(acme, 500*minute)
}

// The VAT ID is verified between the quote and the purchase: the page closes all the same.
func TestVerifiedBetweenQuoteAndPurchase(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var verify sync.Once
	s, _ := r.start(func(c *stripe.Config) {
		c.Transport = before{gated{r}, "/v1/tax_rates", func() {
			verify.Do(func() {
				b, err := r.ledger.Billing(context.Background(), "acme")
				if err == nil {
					err = r.ledger.SetTaxID(context.Background(), "acme", b.VATID, b.TaxID, ledger.VATVerified)
				}
				check(t, err)
			})
		}}
	})
	r.fake.SetTaxIDStatus("DE811569869", "pending")
	acme := r.account("acme", func(b *ledger.Billing) { b.Country, b.VATID = "DE", "DE811569869" })
	made := r.buy(s, acme, 500)
	if made.Quote.VAT != 665 {
		t.Errorf("quote is %+v", made.Quote)
	}
	r.is(made, ledger.PurchaseExpired)
}

// before does something when a path is asked for, which may have a * in it.
type before struct {
	next http.RoundTripper
	path string
	do   func()
}

func (x before) RoundTrip(req *http.Request) (*http.Response, error) {
	if ok, err := path.Match(x.path, req.URL.Path); ok && err == nil {
		x.do()
	}
	return x.next.RoundTrip(req)
}

// Somebody corrects a customer in Stripe's dashboard: that is taken over, unless it cannot be.
func TestChangedAtStripe(t *testing.T) {
	r := newRig(t)
	s, _ := r.start()
	acme := r.account("acme")
	r.buy(s, acme, 500)
	r.quiet()
	b, err := r.ledger.Billing(t.Context(), acme)
	check(t, err)
	r.ask(http.MethodPost, "/v1/customers/"+b.Customer, url.Values{"name": {"Acme B.V."}, "address[line1]": {"Dam 2"}, "address[city]": {"Amsterdam"}, "address[country]": {"NL"},
		"address[postal_code]": {"1012 JS"}})
	r.quiet()
	check(t, r.desk.Sync(t.Context()))
	got, err := r.ledger.Billing(t.Context(), acme)
	check(t, err)
	if got.Company != "Acme B.V." || got.Line1 != "Dam 2" || got.City != "Amsterdam" || got.Email != b.Email {
		t.Errorf("details are %+v", got)
	}
	r.ask(http.MethodPost, "/v1/customers/"+b.Customer, url.Values{"name": {"Nowhere"}, "address[line1]": {""}, "address[city]": {""}, "address[postal_code]": {""}})
	r.quiet()
	same, err := r.ledger.Billing(t.Context(), acme)
	check(t, err)
	if same.Company != "Acme B.V." || same.Line1 != "Dam 2" {
		t.Errorf("details are %+v", same)
	}
}

// A refund is read as succeeded and fails before it is taken: what it took comes again.
func TestRefundFailsMeanwhile(t *testing.T) {
	r := newRig(t)
	r.fake.SetDelivery(stripefake.Delivering{Drop: func(kind string) bool { return kind == "charge.refunded" }})
	slow := &slowAnswer{next: r.next, prefix: "/v1/refunds/", read: make(chan struct{}), free: make(chan struct{})}
	s, _ := r.start(func(c *stripe.Config) { c.Transport, c.Poll = slow, time.Hour })
	acme := r.account("acme")
	made := r.buy(s, acme, 100)
	r.pay(made)
	r.spendable(acme, 100*minute)
	r.quiet()
	id, err := r.fake.Refund(made.Purchase.Session, 0)
	check(t, err)
	<-slow.read
	check(t, r.fake.FailRefund(id))
	services.Eventually(t, patience, func() error { // all that tells of it is worked, but what is slow
		n, err := r.ledger.ShopCounts(context.Background())
		if err == nil && n.Waiting > 1 {
			err = fmt.Errorf("%d events wait", n.Waiting)
		}
		return err
	})
	close(slow.free)
	r.quiet()
	if g := r.granted(acme); g != 100*minute {
		t.Errorf("granted %d though the refund failed", g)
	}
}

// slowAnswer keeps the first answer to requests of a path back.
type slowAnswer struct {
	next       http.RoundTripper
	prefix     string
	once       sync.Once
	read, free chan struct{}
}

func (x *slowAnswer) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := x.next.RoundTrip(req)
	if err == nil && strings.HasPrefix(req.URL.Path, x.prefix) {
		x.once.Do(func() {
			close(x.read)
			<-x.free
		})
	}
	return resp, err
}

// Neither the invoice nor the payment names the other: purchases, refunds and invoices are right all the same, whatever
// tells of them first.
func TestInvoiceWithoutPayment(t *testing.T) {
	for _, first := range []string{"invoice.paid", "checkout.session.completed"} {
		t.Run(first, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(c *stripefake.Config) { c.NoInvoiceIntent = true })
			r.fake.SetDelivery(stripefake.Delivering{Drop: func(kind string) bool {
				return strings.HasPrefix(kind, "invoice.") != (first == "invoice.paid") && kind != "refund.created"
			}})
			s, _ := r.start(func(c *stripe.Config) { c.Poll = time.Hour })
			acme := r.account("acme")
			made := r.buy(s, acme, 500)
			r.pay(made)
			r.spendable(acme, 500*minute)
			r.quiet()
			p := r.is(made, ledger.PurchasePaid)
			if !strings.HasPrefix(p.Intent, "pi_") || p.Invoice == "" {
				t.Errorf("purchase is %+v", p)
			}
			_, err := r.fake.Refund(made.Purchase.Session, 0)
			check(t, err)
			r.spendable(acme, 0)
			r.quiet()
			page, total, err := s.Invoices(t.Context(), acme, 10, 0)
			check(t, err)
			if total != 1 || page[0].Status != "paid" || page[0].Total != 4235 {
				t.Errorf("invoices are %+v", page)
			}
			if st, err := s.Status(t.Context()); err != nil || st.Events.Aside > 0 || len(st.Suspicion) > 0 {
				t.Errorf("status is %+v, %v", st, err)
			}
		})
	}
}

// Rates of three decimals, and several at once, are shown rounded and hinder nothing.
func TestOddRates(t *testing.T) {
	r := newRig(t)
	s := r.shop(func(c *stripe.Config) {
		c.TaxMode, c.Transport = stripe.TaxStripe, rewriting{r.next, http.MethodPost, "/v1/tax/calculations", func(sum map[string]any) {
			part := func(amount int, percent string) map[string]any {
				return map[string]any{"amount": amount, "inclusive": false, "taxability_reason": "standard_rated", "taxable_amount": 3500,
					"tax_rate_details": map[string]any{"country": "US", "state": "NY", "percentage_decimal": percent, "tax_type": "sales_tax"}}
			}
			sum["tax_breakdown"] = []any{part(298, "8.5"), part(13, "0.375"), part(0, "1.0"), part(1, "")}
			sum["tax_amount_exclusive"], sum["amount_total"] = 312, 3812
		}}
	})
	acme := r.account("acme", func(b *ledger.Billing) { b.Country, b.State, b.PostalCode = "US", "NY", "10001" })
	q, err := s.Quote(t.Context(), acme, stripe.Order{Minutes: "500"})
	check(t, err)
	if q.VATRate != 888 || q.VAT != 312 || q.Total != 3812 {
		t.Errorf("quote is %+v", q)
	}
}

// The Stripe account is another one than that of the session: the purchase ends some time after it could be paid.
func TestSessionGone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	acme := r.account("acme")
	made := r.buy(r.shop(), acme, 100)
	other, err := stripefake.New(stripefake.Config{})
	check(t, err)
	t.Cleanup(func() { check(t, other.Close()) })
	url, err := other.Start("")
	check(t, err)
	_, stop := r.start(func(c *stripe.Config) { c.URL = url })
	services.Eventually(t, patience, func() error {
		p, err := r.ledger.Purchase(context.Background(), made.Purchase.ID)
		if err == nil && (p.Attempts == 0 || p.DueAt.Before(time.Now())) {
			err = fmt.Errorf("not looked at yet: %+v", p)
		}
		return err
	})
	r.is(made, ledger.PurchaseOpen)
	stop()
	_, err = r.ledger.ChangePurchase(t.Context(), made.Purchase.ID, func(p *ledger.Purchase) error { p.DueAt = time.Now(); return nil })
	check(t, err)
	r.start(func(c *stripe.Config) {
		c.URL, c.Now = url, func() time.Time { return time.Now().Add(2 * time.Hour) }
	})
	r.is(made, ledger.PurchaseExpired)
}
