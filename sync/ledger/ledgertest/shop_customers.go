package ledgertest

import (
	"testing"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

// The card of a purchase is kept when it is paid for the first time, and only where the customer agreed.
func testKeptCards(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	pay := func(p ledger.Purchase, card, want string) {
		t.Helper()
		paid := payment(p.ID.String())
		paid.Card, paid.CardName = card, "visa "+card
		_, _, err := l.PayPurchase(ctx, p.ID, paid)
		must(t, err)
		b, err := l.Billing(ctx, a)
		must(t, err)
		equal(t, "kept card", b.Card, want)
	}
	add := func(save bool) ledger.Purchase {
		t.Helper()
		p := purchase(a)
		p.SaveCard = save
		p, err := l.AddPurchase(ctx, p)
		must(t, err)
		return p
	}
	older, newer := add(true), add(true)
	pay(add(false), "pm_0", "")
	pay(older, "pm_1", "pm_1")
	pay(newer, "pm_2", "pm_2")
	pay(older, "pm_1", "pm_2")

	// It went with the customer that had it.
	_, err := l.SetCustomer(ctx, a, "", "cus_1-"+a)
	must(t, err)
	pay(add(true), "pm_3", "pm_3")
	_, err = l.SetCustomer(ctx, a, "", "cus_2-"+a) // too late: nothing changes
	must(t, err)
	pay(add(false), "pm_4", "pm_3")
	_, err = l.SetCustomer(ctx, a, "cus_1-"+a, "cus_2-"+a)
	must(t, err)
	b, err := l.Billing(ctx, a)
	must(t, err)
	if b.Customer != "cus_2-"+a || b.Card != "" || b.CardName != "" {
		t.Errorf("billing details are %+v", b)
	}
}

// A new customer is told the account's details, even if whoever made it is gone; a result about a VAT ID outlives what
// was said before it.
func testCustomers(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	_, err := l.SetCustomer(ctx, a, "", "cus_1-"+a)
	must(t, err)
	s, err := l.BillingSync(ctx, a)
	must(t, err)
	if s.Revision != 1 || s.Synced != 0 || s.DueAt.IsZero() {
		t.Errorf("sync is %+v", s)
	}
	_, err = l.SetCustomer(ctx, a, "", "cus_2-"+a) // too late
	must(t, err)
	_, err = l.SetCustomer(ctx, a, "cus_1-"+a, "cus_3-"+a) // its sync is under way
	must(t, err)
	s, err = l.BillingSync(ctx, a)
	must(t, err)
	equal(t, "revision", s.Revision, 1)

	// What was changed at Stripe never overwrites what the account has said since.
	_, err = l.SetBilling(ctx, ledger.Billing{Account: a, VATID: "NL004495445B01"})
	must(t, err)
	_, err = l.AdoptBilling(ctx, ledger.Billing{Account: a, Company: "Stale"}, s.Revision)
	want(t, err, ledger.ErrConflict)
	adopted, err := l.AdoptBilling(ctx, ledger.Billing{Account: a, Company: "Fresh", VATID: "NL004495445B01"}, s.Revision+1)
	must(t, err)
	if adopted.Company != "Fresh" || adopted.VATID != "NL004495445B01" {
		t.Errorf("details are %+v", adopted)
	}
	for _, step := range []struct {
		taxID       string
		given, want ledger.VATStatus
	}{
		{"txi_1", ledger.VATPending, ledger.VATPending},
		{"txi_1", ledger.VATVerified, ledger.VATVerified},
		{"txi_1", ledger.VATPending, ledger.VATVerified},
		{"txi_2", ledger.VATPending, ledger.VATPending},
		{"txi_2", ledger.VATUnverified, ledger.VATUnverified},
		{"txi_2", ledger.VATPending, ledger.VATUnverified},
		{"txi_2", ledger.VATVerified, ledger.VATVerified},
	} {
		must(t, l.SetTaxID(ctx, a, "NL004495445B01", step.taxID, step.given))
		b, err := l.Billing(ctx, a)
		must(t, err)
		equal(t, "VAT status", b.VATStatus, step.want)
	}
}
