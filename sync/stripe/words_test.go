package stripe_test

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

// An invoice is in the account's language, of a purchase and of a top-up.
func TestInvoiceLanguage(t *testing.T) {
	for _, c := range []struct{ language, country, vatID, says, topUp, reverse string }{
		{"nl", "DE", "DE811569869", "498,6 belminuten: ", "200 belminuten: ", "Btw verlegd (reverse charge)"},
		{"de-AT", "AT", "ATU12345675", "498,6 Gespr\xe4chsminuten: ", "200 Gespr\xe4chsminuten: ", "Steuerschuldnerschaft des Leistungsempf\xe4ngers"},
		{"fr", "FR", "", "498.6 call minutes: ", "200 call minutes: ", ""},
		{"", "US", "", "498.6 call minutes: ", "200 call minutes: ", ""},
	} {
		t.Run(c.language, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			s, _ := r.start(func(cfg *stripe.Config) {
				cfg.Account = func(id string) (*authz.Account, bool) { return &authz.Account{ID: id, Language: c.language}, true }
			})
			if c.vatID != "" {
				r.fake.SetTaxIDStatus(c.vatID, "verified")
			}
			acme := r.account("acme", func(b *ledger.Billing) { b.Country, b.VATID = c.country, c.vatID })
			if c.vatID != "" {
				r.vatIs(acme, ledger.VATVerified)
			}
			made, err := s.Checkout(t.Context(), acme, stripe.Request{Order: stripe.Order{Minutes: "498.6"}, SuccessURL: site, CancelURL: site, SaveCard: true})
			check(t, err)
			r.pay(made)
			r.spendable(acme, 4986*minute/10)
			r.topUp(s, acme)
			r.balances.spend(acme, 490*minute)
			r.spendable(acme, 4986*minute/10-290*minute)
			r.quiet()
			page, _, err := s.Invoices(t.Context(), acme, 10, 0)
			check(t, err)
			if len(page) != 2 {
				t.Fatalf("invoices are %+v", page)
			}
			for i, says := range []string{c.topUp, c.says} {
				text := r.pdf(s, acme, page[i].ID)
				if !bytes.Contains(text, []byte(says)) || !bytes.Contains(text, []byte(strings.NewReplacer("(", `\(`, ")", `\)`).Replace(c.reverse))) {
					t.Errorf("it has not %q and %q:\n%s", says, c.reverse, text)
				}
			}
		})
	}
}

// A request that is repeated says the same, whatever the account speaks by then.
func TestLanguageStays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var language atomic.Value
	language.Store("nl")
	s := r.shop(func(cfg *stripe.Config) {
		cfg.Account = func(id string) (*authz.Account, bool) {
			return &authz.Account{ID: id, Language: language.Load().(string)}, true
		}
	})
	acme := r.account("acme")
	ask := stripe.Request{Order: stripe.Order{Minutes: "500"}, SuccessURL: site, CancelURL: site, Key: uuid.NewString()}
	r.fake.Inject(stripefake.Fault{Kind: stripefake.Lose, Method: "POST", Path: "/v1/checkout/sessions", Times: 4})
	if _, err := s.Checkout(t.Context(), acme, ask); err == nil {
		t.Fatal("an answer that never came was heard")
	}
	language.Store("de")
	made, err := s.Checkout(t.Context(), acme, ask)
	check(t, err)
	p, err := r.ledger.Purchase(t.Context(), made.Purchase.ID)
	check(t, err)
	if p.Language != "nl" || len(r.fake.Objects("checkout.session")) != 1 {
		t.Errorf("purchase is %+v, sessions are %v", p, r.fake.Objects("checkout.session"))
	}
}
