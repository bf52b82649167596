package stripe_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
	"github.com/hmsovereign/ringfence/sync/stripe/usage"
)

// From billing details to the invoice, by Stripe's events alone: VAT is charged until the VAT ID is verified, then it is
// reversed. Both tax modes say the same, and the invoice says what the quote said.
func TestVATIDToInvoice(t *testing.T) {
	for _, mode := range []string{stripe.TaxTable, stripe.TaxStripe} {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t)
			desk := stripe.NewDesk(stripe.DeskConfig{Key: stripefake.Key, URL: r.url, Ledger: r.ledger, Transport: r.next, Every: 20 * time.Millisecond,
				Account: func(string) (*authz.Account, bool) { return nil, false }})
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() {
				defer close(done)
				desk.Run(ctx)
			}()
			t.Cleanup(func() {
				cancel()
				<-done
			})
			s, _ := r.start(func(c *stripe.Config) { c.Customers, c.TaxMode = desk, mode })
			bought := 0
			// buy buys, and holds the invoice against what was quoted.
			buy := func(account string, rate, vat int64, reverse bool) {
				t.Helper()
				bought++
				made := r.buy(s, account, 500)
				if q := made.Quote; q.VATRate != rate || q.VAT != vat || q.ReverseCharge != reverse || q.Total != 3500+vat || q.Note == "" {
					t.Errorf("%s: quote is %+v, want %d, %d", account, q, rate, vat)
				}
				r.pay(made)
				r.quiet()
				var page []ledger.Invoice
				services.Eventually(t, patience, func() (err error) {
					page, _, err = s.Invoices(context.Background(), account, 10, 0)
					if err == nil && (len(page) != bought || page[0].Status != "paid") {
						err = fmt.Errorf("invoices are %+v", page)
					}
					return err
				})
				if v := page[0]; v.VATRate != rate || v.VAT != vat || v.ReverseCharge != reverse || v.Total != 3500+vat {
					t.Errorf("%s: invoice is %+v, want %d, %d", account, v, rate, vat)
				}
			}
			give := func(account, country, vatID string, want ledger.VATStatus) {
				t.Helper()
				_, err := desk.SetBilling(ctx, ledger.Billing{Account: account, Company: "Your Company", Line1: "Street 1", PostalCode: "12345", City: "City", Country: country, VATID: vatID})
				check(t, err)
				services.Eventually(t, patience, func() error {
					b, err := desk.Billing(ctx, account)
					if err == nil && b.VATStatus != want {
						err = fmt.Errorf("VAT ID %s is %q", vatID, b.VATStatus)
					}
					return err
				})
			}
			a := r.account("acme")
			r.fake.SetTaxIDStatus("DE136695976", stripefake.TaxIDPending)
			give(a, "DE", "DE136695976", ledger.VATPending)
			services.Eventually(t, patience, func() error {
				b, err := desk.Billing(ctx, a)
				if err == nil && b.TaxID == "" {
					err = fmt.Errorf("the VAT ID has not reached Stripe")
				}
				return err
			})
			if mode == stripe.TaxTable { // Stripe Tax itself goes by the form of a tax id
				buy(a, 1900, 665, false)
			}
			r.fake.SetTaxIDStatus("DE136695976", stripefake.TaxIDVerified)
			check(t, r.fake.Flush(ctx))
			give(a, "DE", "DE136695976", ledger.VATVerified)
			buy(a, 0, 0, true)
			give(a, "FI", "", ledger.VATNone)
			buy(a, 2550, 893, false)
			give(a, "NL", "NL004495445B01", ledger.VATVerified)
			buy(a, 2100, 735, false)
		})
	}
}

// A request of a meter event is tried once, whatever the transport would do by itself.
func TestMeterTriesOnce(t *testing.T) {
	r := newRig(t)
	m, err := stripe.NewMeter(stripefake.Key, r.url, "", r.next)
	check(t, err)
	check(t, m.Create(t.Context()))
	check(t, m.Check(t.Context()))
	if _, err := stripe.NewMeter("", r.url, "", r.next); err == nil {
		t.Error("a meter without a key")
	}
	for _, fault := range []stripefake.Fault{{Kind: stripefake.Lose}, {Kind: stripefake.Cut}, {Kind: stripefake.Refuse, Status: 500}, {Kind: stripefake.Refuse, Status: 429}} {
		before := len(r.fake.Requests())
		fault.Method, fault.Path = http.MethodPost, "/v1/billing/meter_events"
		r.fake.Inject(fault)
		if err := m.Send(t.Context(), meterEvent(t, r)); err == nil {
			t.Errorf("fault %+v has no effect", fault)
		}
		if n := len(r.fake.Requests()) - before; n != 1 {
			t.Errorf("fault %+v: %d requests", fault, n)
		}
	}
}

func meterEvent(t *testing.T, r *rig) usage.Event {
	t.Helper()
	return usage.Event{Identifier: fmt.Sprint("event-", len(r.fake.Requests())), Attempt: 1, Customer: "cus_1", Seconds: 5, At: r.fake.Now()}
}
