package ledgertest

import (
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz/credit"
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

// A card that the customer removed is gone with the top-up that charged it; a newer one is none of that.
func testForgottenCards(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	want(t, l.WithdrawCard(ctx, "nobody"), ledger.ErrNotFound)
	want(t, l.ForgetCard(ctx, "nobody", "pm_1"), ledger.ErrNotFound)
	must(t, l.WithdrawCard(ctx, a))
	must(t, l.ForgetCard(ctx, a, "pm_1"))
	save := func(card string, at time.Time) {
		t.Helper()
		p := purchase(a)
		p.SaveCard, p.CreatedAt = true, at
		p, err := l.AddPurchase(ctx, p)
		must(t, err)
		paid := payment(p.ID.String())
		paid.Card, paid.CardName = card, "visa 4242"
		_, _, err = l.PayPurchase(ctx, p.ID, paid)
		must(t, err)
	}
	now := func(card string) ledger.TopUp {
		t.Helper()
		b, err := l.Billing(ctx, a)
		must(t, err)
		equal(t, "card", b.Card, card)
		u, err := l.TopUp(ctx, a)
		must(t, err)
		return u
	}
	change := func(change func(*ledger.TopUp)) {
		t.Helper()
		_, err := l.ChangeTopUp(ctx, a, func(u *ledger.TopUp) error { change(u); return nil })
		must(t, err)
	}
	save("pm_1", noon)
	set := ledger.TopUp{Enabled: true, Below: 50 * credit.PerCredit, Units: 500 * credit.PerCredit, MaxPerDay: 2}
	_, err := l.SetTopUp(ctx, a, set)
	must(t, err)

	// A newer card is tried at once, whatever became of the older one, which comes too late.
	change(func(u *ledger.TopUp) { u.Decline(time.Now(), "declined") })
	save("pm_0", noon.Add(-time.Second))
	if u := now("pm_1"); u.Declined != 1 {
		t.Errorf("top-up is %+v", u)
	}
	save("pm_2", noon.Add(time.Second))
	if u := now("pm_2"); !u.Enabled || u.Declined != 0 || u.Problem != "" || !u.NotBefore.IsZero() {
		t.Errorf("top-up is %+v", u)
	}
	must(t, l.ForgetCard(ctx, a, "pm_1", ""))
	if u := now("pm_2"); !u.Enabled {
		t.Errorf("top-up is %+v", u)
	}
	change(func(u *ledger.TopUp) { u.Enabled, u.Declined, u.Problem = false, 1, "turned off" })
	save("pm_3", noon.Add(2*time.Second))
	if u := now("pm_3"); u.Problem != "turned off" {
		t.Errorf("top-up is %+v", u)
	}

	// One that waits for the customer is waited for no longer, and its page stays until then.
	_, err = l.SetTopUp(ctx, a, set)
	must(t, err)
	p := purchase(a)
	p.Kind, p.CreatedAt, p.ExpiresAt = ledger.PurchaseTopUp, time.Time{}, time.Now().Add(time.Hour)
	p, err = l.AddPurchase(ctx, p)
	must(t, err)
	must(t, l.AwaitCustomer(ctx, p.ID, func(u *ledger.TopUp) {
		u.Decline(time.Now(), "confirm")
		u.PayURL = "https://pay.example/i"
	}))
	save("pm_4", noon.Add(3*time.Second))
	if u := now("pm_4"); u.PayURL == "" || u.Declined != 1 {
		t.Errorf("top-up is %+v", u)
	}
	must(t, l.WithdrawCard(ctx, a))
	if u := now("pm_4"); u.Enabled || u.Units != set.Units || u.Declined != 0 || u.Problem != "" || u.PayURL != "" {
		t.Errorf("top-up is %+v", u)
	}
	p, err = l.Purchase(ctx, p.ID)
	must(t, err)
	if !p.TopUpDeclined() {
		t.Errorf("purchase is %+v", p)
	}
	must(t, l.ForgetCard(ctx, a, "pm_3", "pm_4"))
	now("")
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
