package stripe_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

// Stripe Tax: the quote is a Tax Calculation, and the invoice says the same.
func TestStripeTax(t *testing.T) {
	r := newRig(t)
	s, _ := r.start(func(c *stripe.Config) { c.TaxMode = stripe.TaxStripe })
	for _, c := range []struct {
		name, country, vat string
		rate, tax          int64
		reverse            bool
	}{
		{"home", "NL", "", 2100, 735, false},
		{"abroad", "DE", "", 1900, 665, false},
		{"business", "DE", "DE811569869", 0, 0, true},
		{"outside", "US", "", 0, 0, false},
	} {
		a := r.account(c.name, func(b *ledger.Billing) { b.Country, b.VATID = c.country, c.vat })
		if c.vat != "" {
			r.vatIs(a, ledger.VATVerified)
		}
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
	}
	nowhere := r.account("nowhere", func(b *ledger.Billing) { *b = ledger.Billing{Account: b.Account, Company: "Nowhere"} })
	var field *ledger.FieldError
	if _, err := s.Quote(t.Context(), nowhere, stripe.Order{Minutes: "500"}); !errors.As(err, &field) || field.Field != "address.country" {
		t.Errorf("without an address: %v", err)
	}
}

// What is wrong at Stripe is told with its remedy.
func TestCheck(t *testing.T) {
	good := func(t *testing.T) (*rig, stripe.Config) {
		r := newRig(t)
		cfg := r.config()
		cfg.TaxMode = stripe.TaxStripe
		return r, cfg
	}
	for name, c := range map[string]struct {
		spoil func(*rig, *stripe.Config)
		part  string
		says  string
	}{
		"in order": {func(r *rig, c *stripe.Config) {
			r.fake.AddEndpoint(c.PublicURL+stripe.WebhookPath, secret, stripe.EventTypes()...)
		}, "", ""},
		"all events":  {func(r *rig, c *stripe.Config) { r.fake.AddEndpoint(c.PublicURL+stripe.WebhookPath, secret, "*") }, "", ""},
		"no endpoint": {func(*rig, *stripe.Config) {}, "stripe webhook", "no endpoint leads to https://pay.example/stripe/webhook"},
		"too few events": {func(r *rig, c *stripe.Config) {
			r.fake.AddEndpoint(c.PublicURL+stripe.WebhookPath, secret, "invoice.paid")
		}, "stripe webhook",
			"does not send charge.dispute.closed"},
		"no secret": {func(r *rig, c *stripe.Config) {
			r.fake.AddEndpoint(c.PublicURL+stripe.WebhookPath, secret, "*")
			c.WebhookSecret = ""
		}, "stripe secret", "stripe.webhook_secret is not set"},
		"another secret": {func(r *rig, c *stripe.Config) {
			r.fake.AddEndpoint(c.PublicURL+stripe.WebhookPath, secret, "*")
			body := event("evt_1", "invoice.paid", `{"id":"in_1"}`)
			post(r.shop(), body, stripefake.Sign(body, "whsec_another", time.Now()))
		}, "stripe secret", "take the signing secret of the endpoint"},
		"no address": {func(_ *rig, c *stripe.Config) { c.PublicURL = "" }, "stripe webhook", "public.url"},
		"wrong key":  {func(_ *rig, c *stripe.Config) { c.Key = "sk_test_wrong" }, "stripe key", "stripe.key"},
		"no tax": {func(r *rig, c *stripe.Config) {
			r.fake.AddEndpoint(c.PublicURL+stripe.WebhookPath, secret, "*")
			r.fake.SetTaxSettings("pending", "")
		}, "stripe tax", "stripe.tax.mode"},
	} {
		t.Run(name, func(t *testing.T) {
			r, cfg := good(t)
			c.spoil(r, &cfg)
			wrong := 0
			for _, f := range stripe.Check(t.Context(), cfg) {
				if f.Err == nil {
					continue
				}
				wrong++
				if f.Name != c.part || !strings.Contains(f.Err.Error(), c.says) || strings.Contains(f.Err.Error(), cfg.Key) {
					t.Errorf("%s: %v", f.Name, f.Err)
				}
			}
			if (wrong > 0) != (c.part != "") {
				t.Errorf("%d things are wrong", wrong)
			}
		})
	}
	// What has come shows whether the secret is the endpoint's.
	r, cfg := good(t)
	r.fake.AddEndpoint(cfg.PublicURL+stripe.WebhookPath, secret, "*")
	for _, step := range []struct{ signature, says, wrong string }{{"", "no webhook has come yet", ""}, {secret, "is the endpoint's", ""}, {"whsec_another", "", "the secret was rolled"}} {
		body := event("evt_1", "invoice.paid", `{"id":"in_1"}`)
		if step.signature != "" {
			post(r.shop(), body, stripefake.Sign(body, step.signature, time.Now()))
		}
		for _, f := range stripe.Check(t.Context(), cfg) {
			said := ""
			if f.Err != nil {
				said = f.Err.Error()
			}
			if f.Name == "stripe secret" && (!strings.Contains(f.Note, step.says) || !strings.Contains(said, step.wrong) || f.Open != (step.signature == "")) || f.Err != nil && step.wrong == "" {
				t.Errorf("after a webhook signed with %q: %+v", step.signature, f)
			}
		}
	}
	noLedger := cfg
	noLedger.Ledger = nil
	for _, f := range stripe.Check(t.Context(), noLedger) {
		if f.Err != nil || f.Open != (f.Name == "stripe secret") {
			t.Errorf("without a ledger: %+v", f)
		}
	}

	r, cfg = good(t)
	r.fake.Inject(stripefake.Fault{Kind: stripefake.Refuse, Status: 503, Times: 10})
	start := time.Now()
	if found := stripe.Check(t.Context(), cfg); len(found) != 1 || !errors.Is(found[0].Err, stripe.ErrUnavailable) {
		t.Errorf("Stripe away: %+v", found)
	}
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("it took %s", took)
	}
	cfg.Key = ""
	if found := stripe.Check(t.Context(), cfg); len(found) != 0 {
		t.Errorf("nothing to check: %+v", found)
	}
}
