package stripe_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

// ask asks Stripe for something by hand, as from its dashboard.
func (r *rig) ask(method, path string, form url.Values) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(form.Encode()))
	check(r.t, err)
	req.SetBasicAuth(stripefake.Key, "")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := r.next.RoundTrip(req)
	check(r.t, err)
	body, err := io.ReadAll(resp.Body)
	check(r.t, errors.Join(err, resp.Body.Close()))
	if resp.StatusCode != http.StatusOK {
		r.t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, body)
	}
}

// The customer's balance at Stripe pays a part of a top-up's invoice, or all of it without any payment.
func TestTopUpFromBalance(t *testing.T) {
	for name, balance := range map[string]int64{"a part": -1000, "all": -100_000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			s, _ := r.start()
			acme, _ := r.saved(s, "acme", stripefake.CardVisa)
			b, err := r.ledger.Billing(t.Context(), acme)
			check(t, err)
			check(t, r.fake.SetBalance(b.Customer, balance))
			r.topUp(s, acme)
			r.balances.spend(acme, 90*minute)
			r.spendable(acme, 210*minute)
			r.quiet()
			if g := r.granted(acme); g != 300*minute {
				t.Errorf("granted %d", g)
			}
			if p, err := r.ledger.OpenTopUp(t.Context(), acme); !errors.Is(err, ledger.ErrNotFound) {
				t.Errorf("open is %+v, %v", p, err)
			}
			page, err := r.ledger.Purchases(t.Context(), acme, 1, 0)
			check(t, err)
			if len(page) != 1 || page[0].State != ledger.PurchasePaid || page[0].Gross != 1694 {
				t.Errorf("purchases are %+v", page)
			}
		})
	}
}

// An invoice that is marked as paid outside of Stripe grants nothing: somebody has to look. It hinders no later top-up.
func TestTopUpPaidOutside(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s, _ := r.start()
	acme, _ := r.saved(s, "acme", stripefake.CardAlwaysAsks)
	r.topUp(s, acme)
	r.balances.spend(acme, 90*minute)
	r.until(acme, func(u ledger.TopUp) bool { return u.PayURL != "" })
	open, err := r.ledger.OpenTopUp(t.Context(), acme)
	check(t, err)
	r.ask(http.MethodPost, "/v1/invoices/"+open.Invoice+"/pay", url.Values{"paid_out_of_band": {"true"}})
	services.Eventually(t, patience, func() error {
		p, err := r.ledger.Purchase(context.Background(), open.ID)
		if err == nil && p.State != ledger.PurchaseFailed {
			err = fmt.Errorf("purchase is %+v", p)
		}
		return err
	})
	if g := r.granted(acme); g != 100*minute {
		t.Errorf("granted %d", g)
	}
}

// Money of others on the same account at Stripe goes back: that is nobody's credit here, and nothing to wait for.
func TestForeignRefund(t *testing.T) {
	r := newRig(t)
	s, _ := r.start()
	r.ask(http.MethodPost, "/v1/customers", url.Values{"name": {"Somebody"}})
	customer := fmt.Sprint(r.fake.Objects("customer")[0]["id"])
	r.ask(http.MethodPost, "/v1/invoices", url.Values{"customer": {customer}})
	invoice := fmt.Sprint(r.fake.Objects("invoice")[0]["id"])
	r.ask(http.MethodPost, "/v1/invoiceitems", url.Values{"customer": {customer}, "invoice": {invoice}, "amount": {"500"}, "currency": {"eur"}})
	r.ask(http.MethodPost, "/v1/invoices/"+invoice+"/finalize", nil)
	check(t, r.fake.PayInvoice(invoice, stripefake.Payment{}))
	_, err := r.fake.Refund(invoice, 0)
	check(t, err)
	services.Eventually(t, patience, func() error {
		st, err := s.Status(context.Background())
		if err != nil {
			return err
		}
		for _, e := range st.Aside {
			if strings.HasPrefix(e.Type, "refund.") {
				return nil
			}
		}
		return fmt.Errorf("status is %+v", st)
	})
	r.quiet()
}

// An older purchase that is told again leaves the card of a newer one.
func TestOlderCard(t *testing.T) {
	r := newRig(t)
	s, _ := r.start()
	acme, _ := r.saved(s, "acme", stripefake.CardVisa)
	var told []string
	for _, e := range r.fake.Objects("event") {
		if e["type"] == "checkout.session.completed" || e["type"] == "invoice.paid" {
			told = append(told, fmt.Sprint(e["id"]))
		}
	}
	made := r.buy(s, acme, 100)
	check(t, r.fake.PayWith(made.Purchase.Session, stripefake.Payment{Card: stripefake.CardMastercard}))
	r.spendable(acme, 200*minute)
	r.quiet()
	for _, id := range told {
		check(t, s.Replay(t.Context(), id))
	}
	r.quiet()
	b, err := r.ledger.Billing(t.Context(), acme)
	check(t, err)
	if b.CardName != "mastercard 4444" {
		t.Errorf("kept card is %q", b.CardName)
	}
}

// Stripe fails, and repeats that for a day where it is asked the same.
func TestKeptFailures(t *testing.T) {
	for _, path := range []string{"/v1/customers", "/v1/tax_rates"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			s := r.shop()
			acme := r.account("acme")
			r.fake.Inject(stripefake.Fault{Method: http.MethodPost, Path: path, Status: http.StatusInternalServerError, Keep: true})
			r.buy(s, acme, 100)
		})
	}
}

// The same of the steps of a top-up: it is paid all the same, once.
func TestKeptFailuresOfTopUp(t *testing.T) {
	for _, path := range []string{"/v1/invoices", "/v1/invoices/*/finalize", "/v1/invoiceitems"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			s, _ := r.start()
			acme, _ := r.saved(s, "acme", stripefake.CardVisa)
			r.topUp(s, acme)
			r.fake.Inject(stripefake.Fault{Method: http.MethodPost, Path: path, Times: 1, Status: http.StatusInternalServerError, Keep: true})
			r.balances.spend(acme, 80*minute+1)
			r.spendable(acme, 220*minute-1)
			r.quiet()
		})
	}
}

// Somebody deletes a customer at Stripe: the next purchase finds out, and the one after it works.
func TestCustomerDeleted(t *testing.T) {
	r := newRig(t)
	s := r.shop()
	acme := r.account("acme")
	r.buy(s, acme, 100)
	was, err := r.ledger.Billing(t.Context(), acme)
	check(t, err)
	r.ask(http.MethodDelete, "/v1/customers/"+was.Customer, nil)
	order := stripe.Request{Order: stripe.Order{Minutes: "100"}, SuccessURL: site, CancelURL: site}
	if _, err := s.Checkout(t.Context(), acme, order); !errors.Is(err, stripe.ErrUnavailable) {
		t.Errorf("checkout: %v", err)
	}
	r.buy(s, acme, 100)
	now, err := r.ledger.Billing(t.Context(), acme)
	check(t, err)
	if now.Customer == was.Customer {
		t.Errorf("customer is %s still", now.Customer)
	}
}

// Stripe tells that a customer is deleted, if only by its list: it is made anew before anybody buys.
func TestCustomerDeletedByEvent(t *testing.T) {
	r := newRig(t)
	r.fake.SetDelivery(stripefake.Delivering{Drop: func(string) bool { return true }})
	r.start()
	acme := r.account("acme")
	was, err := r.desk.CustomerOf(t.Context(), acme)
	check(t, err)
	r.ask(http.MethodDelete, "/v1/customers/"+was, nil)
	services.Eventually(t, patience, func() error {
		b, err := r.ledger.Billing(context.Background(), acme)
		if err == nil && b.Customer == was {
			err = errors.Join(fmt.Errorf("customer is %s still", was), r.desk.Sync(context.Background()))
		}
		return err
	})
}

// Whoever knows the address of a PDF can read it: no error has it.
func TestPDFAddressIsSecret(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s, _ := r.start(func(c *stripe.Config) { c.Transport = dead{r.next, "/pdf"} })
	acme, _ := r.saved(s, "acme", stripefake.CardVisa)
	page, _, err := s.Invoices(t.Context(), acme, 1, 0)
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, _, err = s.PDF(ctx, acme, page[0].ID)
	if !errors.Is(err, stripe.ErrUnavailable) || strings.Contains(err.Error(), "/i/") || !strings.Contains(err.Error(), errDead.Error()) {
		t.Errorf("error is %v", err)
	}
}

// dead is a network that what is asked for under a path with this end does not come through.
type dead struct {
	next http.RoundTripper
	end  string
}

var errDead = errors.New("the line is dead")

func (x dead) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.HasSuffix(req.URL.Path, x.end) {
		return nil, errDead
	}
	return x.next.RoundTrip(req)
}
