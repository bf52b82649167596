package stripe_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

// A customer buys 500 minutes: the credit is there at once, and the invoice is the quote.
func TestPurchase(t *testing.T) {
	r := newRig(t)
	s, _ := r.start()
	acme := r.account("acme")
	made := r.buy(s, acme, 500)
	q := made.Quote
	if q.Units != 500*minute || q.Net != 3500 || q.VATRate != 2100 || q.VAT != 735 || q.Total != 4235 || q.ReverseCharge {
		t.Errorf("quote is %+v", q)
	}
	if g := r.granted(acme); g != 0 {
		t.Errorf("%d are granted before anything is paid", g)
	}
	start := time.Now()
	r.pay(made)
	r.spendable(acme, 500*minute)
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("credit paid for could be spent after %s", took)
	}
	r.quiet()
	p, err := r.ledger.Purchase(t.Context(), made.Purchase.ID)
	check(t, err)
	if p.State != ledger.PurchasePaid || p.Gross != 4235 || p.Intent == "" || p.Charge == "" || p.Invoice == "" {
		t.Errorf("purchase is %+v", p)
	}
	page, total, err := s.Invoices(t.Context(), acme, 10, 0)
	check(t, err)
	if total != 1 || len(page) != 1 {
		t.Fatalf("%d invoices: %+v", total, page)
	}
	v := page[0]
	if v.Number == "" || v.Status != "paid" || v.Net != q.Net || v.VAT != q.VAT || v.VATRate != q.VATRate || v.Total != q.Total || v.Currency != "EUR" || v.Purchase != p.ID {
		t.Errorf("invoice is %+v, quoted was %+v", v, q)
	}
	if text := r.pdf(s, acme, v.ID); !bytes.HasPrefix(text, []byte("%PDF-")) {
		t.Errorf("the PDF is %.40q", text)
	}
	if _, _, err := s.PDF(t.Context(), r.account("other"), v.ID); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("another account's PDF: %v", err)
	}
	b, err := r.ledger.Billing(t.Context(), acme)
	check(t, err)
	if b.Card == "" || b.CardName != "visa 4242" {
		t.Errorf("kept card is %q, %q", b.Card, b.CardName)
	}
}

// Each kind of buyer: the quote's tax is the invoice's.
func TestTaxes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s, _ := r.start()
	for _, c := range []struct {
		name, country, vat string
		status             ledger.VATStatus // what Stripe finds
		rate, tax          int64
		reverse            bool
	}{
		{"home", "NL", "NL004495445B01", ledger.VATVerified, 2100, 735, false},
		{"abroad", "DE", "", ledger.VATNone, 1900, 665, false},
		{"pending", "DE", "DE136695976", ledger.VATPending, 1900, 665, false},
		{"unverified", "DE", "DE129273398", ledger.VATUnverified, 1900, 665, false},
		{"business", "DE", "DE811569869", ledger.VATVerified, 0, 0, true},
		{"finland", "FI", "", ledger.VATNone, 2550, 893, false},
		{"outside", "US", "", ledger.VATNone, 0, 0, false},
	} {
		if c.vat != "" {
			r.fake.SetTaxIDStatus(c.vat, string(c.status))
		}
		a := r.account(c.name, func(b *ledger.Billing) { b.Country, b.VATID = c.country, c.vat })
		r.vatIs(a, c.status)
		made := r.buy(s, a, 500)
		q := made.Quote
		if q.VATRate != c.rate || q.VAT != c.tax || q.ReverseCharge != c.reverse || q.Total != 3500+c.tax {
			t.Errorf("%s: quote is %+v", c.name, q)
		}
		r.pay(made)
		r.spendable(a, 500*minute)
		r.quiet()
		page, _, err := s.Invoices(t.Context(), a, 10, 0)
		check(t, err)
		if len(page) != 1 || page[0].VAT != q.VAT || page[0].VATRate != q.VATRate || page[0].Total != q.Total || page[0].ReverseCharge != q.ReverseCharge {
			t.Errorf("%s: quote is %+v, invoices are %+v", c.name, q, page)
		}
		// What the law wants to be read on it (Directive 2006/112/EC, Article 226, 11a).
		if said := bytes.Contains(r.pdf(s, a, page[0].ID), []byte("Reverse charge")); said != c.reverse {
			t.Errorf("%s: the PDF speaks of reverse charge: %v", c.name, said)
		}
	}
}

// pdf reads an invoice's.
func (r *rig) pdf(s *stripe.Service, account, id string) []byte {
	r.t.Helper()
	pdf, _, err := s.PDF(context.Background(), account, id)
	check(r.t, err)
	text, err := io.ReadAll(pdf)
	check(r.t, errors.Join(err, pdf.Close()))
	return text
}

// What cannot be bought is refused by field, and leaves nothing behind.
func TestBadOrders(t *testing.T) {
	r := newRig(t)
	s := r.shop()
	acme := r.account("acme")
	for name, c := range map[string]struct {
		req   stripe.Request
		field string
	}{
		"nothing":          {stripe.Request{}, "amount_minutes"},
		"both":             {stripe.Request{Order: stripe.Order{Minutes: "500", Money: "35"}}, "amount_eur"},
		"zero":             {stripe.Request{Order: stripe.Order{Minutes: "0"}}, "amount_minutes"},
		"negative":         {stripe.Request{Order: stripe.Order{Minutes: "-500"}}, "amount_minutes"},
		"negative euros":   {stripe.Request{Order: stripe.Order{Money: "-35"}}, "amount_eur"},
		"zero euros":       {stripe.Request{Order: stripe.Order{Money: "0.00"}}, "amount_eur"},
		"half a cent":      {stripe.Request{Order: stripe.Order{Money: "35.005"}}, "amount_eur"},
		"thousandths":      {stripe.Request{Order: stripe.Order{Minutes: "500.001"}}, "amount_minutes"},
		"exponent":         {stripe.Request{Order: stripe.Order{Money: "1e3"}}, "amount_eur"},
		"too little":       {stripe.Request{Order: stripe.Order{Money: "4.99"}}, "amount_eur"},
		"too much":         {stripe.Request{Order: stripe.Order{Money: "10000.01"}}, "amount_eur"},
		"huge":             {stripe.Request{Order: stripe.Order{Money: "9007199254.74"}}, "amount_eur"},
		"beyond counting":  {stripe.Request{Order: stripe.Order{Minutes: "99999999999999999999"}}, "amount_minutes"},
		"huge minutes":     {stripe.Request{Order: stripe.Order{Minutes: "9007199254.74"}}, "amount_minutes"},
		"elsewhere":        {stripe.Request{Order: stripe.Order{Minutes: "500"}, SuccessURL: "https://evil.example/"}, "success_url"},
		"another scheme":   {stripe.Request{Order: stripe.Order{Minutes: "500"}, SuccessURL: "http://customer.example/"}, "success_url"},
		"another port":     {stripe.Request{Order: stripe.Order{Minutes: "500"}, SuccessURL: site + ":8443/"}, "success_url"},
		"a user":           {stripe.Request{Order: stripe.Order{Minutes: "500"}, SuccessURL: "https://customer.example@evil.example/"}, "success_url"},
		"a longer host":    {stripe.Request{Order: stripe.Order{Minutes: "500"}, SuccessURL: site + ".evil.example/"}, "success_url"},
		"a backslash":      {stripe.Request{Order: stripe.Order{Minutes: "500"}, CancelURL: `https://evil.example\@customer.example/`}, "cancel_url"},
		"no scheme":        {stripe.Request{Order: stripe.Order{Minutes: "500"}, CancelURL: "//customer.example/"}, "cancel_url"},
		"a script":         {stripe.Request{Order: stripe.Order{Minutes: "500"}, CancelURL: "javascript:alert(1)"}, "cancel_url"},
		"a line break":     {stripe.Request{Order: stripe.Order{Minutes: "500"}, CancelURL: site + "/\r\nX: y"}, "cancel_url"},
		"longer than long": {stripe.Request{Order: stripe.Order{Minutes: "500"}, CancelURL: site + "/" + fmt.Sprintf("%03000d", 1)}, "cancel_url"},
	} {
		_, err := s.Checkout(t.Context(), acme, c.req)
		var field *ledger.FieldError
		if !errors.As(err, &field) || field.Field != c.field {
			t.Errorf("%s: %v", name, err)
		}
	}
	if page, err := r.ledger.Purchases(t.Context(), acme, 10, 0); err != nil || len(page) > 0 {
		t.Errorf("purchases are %+v, %v", page, err)
	}
	if n := len(r.fake.Objects("checkout.session")); n > 0 {
		t.Errorf("%d sessions were made", n)
	}
}

// Units are floored, and a cent never buys more than a cent's worth.
func TestAmounts(t *testing.T) {
	r := newRig(t)
	s := r.shop()
	acme := r.account("acme")
	for _, c := range []struct {
		order stripe.Order
		units int64
		net   int64
	}{
		{stripe.Order{Minutes: "500"}, 30_000_000, 3500},
		{stripe.Order{Minutes: "498.6"}, 29_916_000, 3491}, // 34.902, up
		{stripe.Order{Minutes: "71.43"}, 4_285_800, 501},
		{stripe.Order{Money: "35"}, 30_000_000, 3500},
		{stripe.Order{Money: "5.00"}, 4_285_714, 500}, // 71.428571..., down
		{stripe.Order{Money: "10000"}, 8_571_428_571, 1_000_000},
	} {
		q, err := s.Quote(t.Context(), acme, c.order)
		check(t, err)
		if int64(q.Units) != c.units || q.Net != c.net {
			t.Errorf("%+v: %d units for %d cents, want %d for %d", c.order, q.Units, q.Net, c.units, c.net)
		}
	}
}

// Without a key nothing is sold, and that is said.
func TestNotConfigured(t *testing.T) {
	r := newRig(t)
	s := r.shop(func(c *stripe.Config) { c.Key = "" })
	acme := r.account("acme")
	s.Run(t.Context())
	if _, err := s.Checkout(t.Context(), acme, stripe.Request{Order: stripe.Order{Minutes: "500"}}); !errors.Is(err, stripe.ErrNotConfigured) {
		t.Errorf("checkout: %v", err)
	}
	if _, err := s.SetTopUp(t.Context(), acme, stripe.TopUpChange{}); !errors.Is(err, stripe.ErrNotConfigured) {
		t.Errorf("top-up: %v", err)
	}
	if q, err := s.Quote(t.Context(), acme, stripe.Order{Minutes: "500"}); err != nil || q.Total != 4235 {
		t.Errorf("quote is %+v, %v", q, err)
	}
	st, err := s.Status(t.Context())
	if err != nil || st.Configured {
		t.Errorf("status is %+v, %v", st, err)
	}
}

// A declined card leaves the page open; nobody pays in time and the purchase expires, without any webhook.
func TestNobodyPays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.fake.SetDelivery(stripefake.Delivering{Drop: func(string) bool { return true }})
	s, _ := r.start(func(c *stripe.Config) { c.Expires = 40 * time.Minute }) // Stripe wants 30 from when it is asked
	acme := r.account("acme")
	made := r.buy(s, acme, 100)
	check(t, r.fake.Decline(made.Purchase.Session))
	r.fake.Advance(time.Hour)
	services.Eventually(t, patience, func() error {
		p, err := r.ledger.Purchase(context.Background(), made.Purchase.ID)
		if err == nil && p.State != ledger.PurchaseExpired {
			err = fmt.Errorf("purchase is %s", p.State)
		}
		return err
	})
	if g := r.granted(acme); g != 0 {
		t.Errorf("%d granted", g)
	}
}

// Money that takes days: granted when it is there, and not before.
func TestAsynchronousPayment(t *testing.T) {
	r := newRig(t)
	s, _ := r.start()
	acme := r.account("acme")
	good, bad := r.buy(s, acme, 100), r.buy(s, acme, 200)
	check(t, r.fake.PayAsync(good.Purchase.Session))
	check(t, r.fake.PayAsync(bad.Purchase.Session))
	r.quiet()
	if g := r.granted(acme); g != 0 {
		t.Errorf("%d granted while the payment is on its way", g)
	}
	check(t, r.fake.SettleAsync(good.Purchase.Session, true))
	check(t, r.fake.SettleAsync(bad.Purchase.Session, false))
	r.spendable(acme, 100*minute)
	r.quiet()
	p, err := r.ledger.Purchase(t.Context(), bad.Purchase.ID)
	check(t, err)
	if p.State != ledger.PurchaseFailed {
		t.Errorf("the purchase that was not paid is %s", p.State)
	}
}
