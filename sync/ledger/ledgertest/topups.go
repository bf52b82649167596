package ledgertest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

func testTopUps(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	_, err := l.TopUp(ctx, a)
	want(t, err, ledger.ErrNotFound)
	set := func(t0 *ledger.TopUp) error {
		*t0 = ledger.TopUp{Enabled: true, Below: 50 * credit.PerCredit, Units: 500 * credit.PerCredit, MaxPerDay: 2}
		return nil
	}
	made, err := l.ChangeTopUp(ctx, a, set)
	must(t, err)
	got, err := l.TopUp(ctx, a)
	must(t, err)
	diff(t, "top-up", got, made)
	_, err = l.ChangeTopUp(ctx, "nobody", set)
	want(t, err, ledger.ErrNotFound)
	page, err := l.TopUps(ctx, "", 10)
	must(t, err)
	diff(t, "enabled", page, []ledger.TopUp{made})

	troubled := func(want ...ledger.TopUp) {
		t.Helper()
		failing, err := l.TopUpsFailing(ctx, 10)
		must(t, err)
		diff(t, "with a problem", failing, want)
	}
	troubled()
	broken, err := l.ChangeTopUp(ctx, a, func(u *ledger.TopUp) error { u.Problem = "declined"; return nil })
	must(t, err)
	troubled(broken)
	made, err = l.ChangeTopUp(ctx, a, set)
	must(t, err)
	troubled()

	// One at a time, and so many a day.
	one := purchase(a)
	one.CreatedAt = time.Time{}
	one.ExpiresAt = time.Now().Add(time.Hour)
	first, err := l.AddTopUp(ctx, one, made, 0)
	must(t, err)
	equal(t, "kind", first.Kind, ledger.PurchaseTopUp)
	_, err = l.AddTopUp(ctx, one, made, 0)
	want(t, err, ledger.ErrExists)
	open, err := l.OpenTopUp(ctx, a)
	must(t, err)
	equal(t, "open", open.ID, first.ID)
	end := func(p *ledger.Purchase) error { p.State = ledger.PurchaseFailed; return nil }
	_, err = l.ChangePurchase(ctx, first.ID, func(p *ledger.Purchase) error { p.Problem = ledger.AwaitsCustomer; return nil })
	must(t, err)
	aside, err := l.PurchasesAside(ctx, 10)
	must(t, err)
	equal(t, "aside while the customer is awaited", len(aside), 0)
	_, err = l.ChangePurchase(ctx, first.ID, func(p *ledger.Purchase) error { p.Problem = "strange"; return nil })
	must(t, err)
	aside, err = l.PurchasesAside(ctx, 10)
	must(t, err)
	equal(t, "aside", len(aside), 1)
	_, err = l.ChangePurchase(ctx, first.ID, end)
	must(t, err)
	second, err := l.AddTopUp(ctx, one, made, 0)
	must(t, err)
	_, err = l.ChangePurchase(ctx, second.ID, end)
	must(t, err)
	_, err = l.AddTopUp(ctx, one, made, 0)
	want(t, err, ledger.ErrConflict)
	aside, err = l.PurchasesAside(ctx, 10)
	must(t, err)
	equal(t, "aside of those that ended", len(aside), 0)
	_, err = l.ChangePurchase(ctx, second.ID, func(p *ledger.Purchase) error { p.Problem = ledger.KeptAside + "paid otherwise"; return nil })
	must(t, err)
	aside, err = l.PurchasesAside(ctx, 10)
	must(t, err)
	equal(t, "aside although it ended", len(aside), 1)

	var told []ledger.Notice
	l.OnNotice(func(_ context.Context, _ *ledger.Tx, n ledger.Notice) error { told = append(told, n); return nil })
	_, err = l.DeclineTopUp(ctx, first.ID, "declined", func(*ledger.TopUp) { t.Error("a purchase that has ended is declined") })
	must(t, err)
	third := one
	third.Kind = ledger.PurchaseTopUp
	third, err = l.AddPurchase(ctx, third)
	must(t, err)
	decline := func(u *ledger.TopUp) { u.Decline(time.Now(), "declined") }
	for range 2 { // the second time changes nothing
		_, err = l.DeclineTopUp(ctx, third.ID, "card_declined", decline)
		must(t, err)
	}
	must(t, l.AwaitCustomer(ctx, third.ID, func(*ledger.TopUp) { t.Error("a declined purchase awaits its customer") }))
	third, err = l.Purchase(ctx, third.ID)
	must(t, err)
	equal(t, "declined", third.TopUpDeclined(), true)
	if len(told) != 1 || told[0].Event != ledger.NoticeTopUpFailed || told[0].Problem != "declined" {
		t.Errorf("told %+v", told)
	}
	page, err = l.TopUps(ctx, "", 10)
	must(t, err)
	equal(t, "enabled while backing off", len(page), 0)
}

// A payment that waits for the customer is told of with its change, all or nothing, and given up when the customer sets
// the top-up anew.
func testTopUpsAwaiting(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	set := ledger.TopUp{Enabled: true, Below: 50 * credit.PerCredit, Units: 500 * credit.PerCredit, MaxPerDay: 2}
	_, err := l.SetTopUp(ctx, a, set)
	must(t, err)
	_, err = l.SetTopUp(ctx, "nobody", set)
	want(t, err, ledger.ErrNotFound)
	p := purchase(a)
	p.Kind, p.CreatedAt, p.ExpiresAt = ledger.PurchaseTopUp, time.Time{}, time.Now().Add(time.Hour)
	p, err = l.AddPurchase(ctx, p)
	must(t, err)

	var told []ledger.Notice
	failing := true
	l.OnNotice(func(_ context.Context, _ *ledger.Tx, n ledger.Notice) error {
		if failing {
			return ledger.ErrUnavailable
		}
		told = append(told, n)
		return nil
	})
	confirm := func(u *ledger.TopUp) { u.Problem, u.PayURL = "confirm", "https://pay.example/i" }
	want(t, l.AwaitCustomer(ctx, p.ID, confirm), ledger.ErrUnavailable)
	now, err := l.Purchase(ctx, p.ID)
	must(t, err)
	equal(t, "problem", now.Problem, "")
	failing = false
	for range 2 {
		must(t, l.AwaitCustomer(ctx, p.ID, confirm))
	}
	u, err := l.TopUp(ctx, a)
	must(t, err)
	now, err = l.Purchase(ctx, p.ID)
	must(t, err)
	if now.Problem != ledger.AwaitsCustomer || u.PayURL == "" || len(told) != 1 || told[0].PayURL == "" {
		t.Errorf("purchase is %+v, top-up is %+v, told was %+v", now, u, told)
	}

	u, err = l.SetTopUp(ctx, a, set)
	must(t, err)
	now, err = l.Purchase(ctx, p.ID)
	must(t, err)
	if !now.TopUpDeclined() || now.DueAt.IsZero() || u.Problem != "" || u.PayURL != "" || len(told) != 1 {
		t.Errorf("purchase is %+v, top-up is %+v, told was %+v", now, u, told)
	}
}

// What was called off is none of those that there may be in a day; what was declined is.
func testTopUpsCalledOff(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	seen, err := l.SetTopUp(ctx, a, ledger.TopUp{Enabled: true, Below: 50 * credit.PerCredit, Units: 500 * credit.PerCredit, MaxPerDay: 2})
	must(t, err)
	add := func() (ledger.Purchase, error) {
		p := purchase(a)
		p.CreatedAt, p.ExpiresAt = time.Time{}, time.Now().Add(time.Hour)
		return l.AddTopUp(ctx, p, seen, 0)
	}
	end := func(p *ledger.Purchase) error { p.State = ledger.PurchaseFailed; return nil }
	for range 3 {
		p, err := add()
		must(t, err)
		off, err := l.CallOffTopUp(ctx, p.ID, "not wanted", func(*ledger.TopUp) {})
		must(t, err)
		equal(t, "closed", off.TopUpDeclined(), true)
		_, err = l.ChangePurchase(ctx, p.ID, end)
		must(t, err)
	}
	for range 2 {
		p, err := add()
		must(t, err)
		_, err = l.DeclineTopUp(ctx, p.ID, "no money", func(*ledger.TopUp) {})
		must(t, err)
		_, err = l.ChangePurchase(ctx, p.ID, end)
		must(t, err)
	}
	_, err = add()
	want(t, err, ledger.ErrConflict)
}

// Money that went back turns the top-up off: its card would pay for it again. What comes again does not turn it on.
func testTopUpsPaidBack(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	p := bought(t, l, a)
	_, err := l.SetTopUp(ctx, a, ledger.TopUp{Enabled: true, Below: 50 * credit.PerCredit, Units: 500 * credit.PerCredit, MaxPerDay: 2})
	must(t, err)
	var told []ledger.Notice
	l.OnNotice(func(_ context.Context, _ *ledger.Tx, n ledger.Notice) error {
		if n.Event == ledger.NoticeTopUpFailed {
			told = append(told, n)
		}
		return nil
	})
	for i, amount := range []int64{1412, 1000, -1412} {
		_, _, err = l.TakeBack(ctx, p.ID, ledger.Payback{Reference: fmt.Sprint("re:", i, "-", a), Amount: amount, Currency: "EUR", Reason: "refund"})
		must(t, err)
	}
	u, err := l.TopUp(ctx, a)
	must(t, err)
	if u.Enabled || u.Problem == "" || len(told) != 1 || told[0].Problem != u.Problem {
		t.Errorf("top-up is %+v, told was %+v", u, told)
	}
}

// What was due when the balance was looked at need not be due any more.
func testTopUpsNotDue(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	for name, c := range map[string]struct {
		change func(*ledger.TopUp)
		grants int64
		err    error
	}{
		"as it was":        {func(*ledger.TopUp) {}, 1, nil},
		"a wait that ends": {func(u *ledger.TopUp) { u.NotBefore = time.Now().Add(-time.Minute) }, 1, nil},
		"turned off":       {func(u *ledger.TopUp) { u.Enabled = false }, 1, ledger.ErrNotDue},
		"put off":          {func(u *ledger.TopUp) { u.Decline(time.Now(), "declined") }, 1, ledger.ErrNotDue},
		"other amount":     {func(u *ledger.TopUp) { u.Units++ }, 1, ledger.ErrNotDue},
		"other threshold":  {func(u *ledger.TopUp) { u.Below-- }, 1, ledger.ErrNotDue},
		"granted since":    {func(*ledger.TopUp) {}, 0, ledger.ErrNotDue},
		"fewer a day":      {func(u *ledger.TopUp) { u.MaxPerDay = 0 }, 1, ledger.ErrConflict},
	} {
		t.Run(name, func(t *testing.T) {
			a := account(t, l)
			_, _, err := l.AddGrant(ctx, authz.Grant{Account: a, Units: 5, Kind: ledger.KindPurchase, Reference: "first:" + a})
			must(t, err)
			seen, err := l.ChangeTopUp(ctx, a, func(u *ledger.TopUp) error {
				*u = ledger.TopUp{Enabled: true, Below: 50 * credit.PerCredit, Units: 500 * credit.PerCredit, MaxPerDay: 2}
				return nil
			})
			must(t, err)
			_, err = l.ChangeTopUp(ctx, a, func(u *ledger.TopUp) error { c.change(u); return nil })
			must(t, err)
			if c.err == ledger.ErrNotDue {
				want(t, l.PutOffTopUp(ctx, seen, c.grants, false, func(u *ledger.TopUp) { u.Problem = "not started" }), c.err)
			}
			p := purchase(a)
			p.CreatedAt, p.ExpiresAt = time.Time{}, time.Now().Add(time.Hour)
			_, err = l.AddTopUp(ctx, p, seen, c.grants)
			want(t, err, c.err)
			if err == nil { // under way
				want(t, l.PutOffTopUp(ctx, seen, c.grants, false, func(u *ledger.TopUp) { u.Problem = "not started" }), ledger.ErrNotDue)
			}
			now, err := l.TopUp(ctx, a)
			must(t, err)
			if now.Problem == "not started" {
				t.Error("it was put off")
			}
		})
	}
}

// A decline counts once for a purchase, whatever the customer sets meanwhile, and never for one that was paid.
func testTopUpDeclined(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	set := func(u *ledger.TopUp) error {
		*u = ledger.TopUp{Enabled: true, Below: 50 * credit.PerCredit, Units: 500 * credit.PerCredit, MaxPerDay: 2}
		return nil
	}
	seen, err := l.ChangeTopUp(ctx, a, set)
	must(t, err)
	p := purchase(a)
	p.CreatedAt, p.ExpiresAt = time.Time{}, time.Now().Add(time.Hour)
	p, err = l.AddTopUp(ctx, p, seen, 0)
	must(t, err)
	equal(t, "declined before", p.TopUpDeclined(), false)
	decline := func(u *ledger.TopUp) { u.Decline(time.Now(), "declined") }
	for range 2 {
		p, err = l.DeclineTopUp(ctx, p.ID, "no money", decline)
		must(t, err)
		equal(t, "declined", p.TopUpDeclined(), true)
		equal(t, "state", p.State, ledger.PurchaseOpen)
	}
	now, err := l.TopUp(ctx, a)
	must(t, err)
	equal(t, "declined times", now.Declined, 1)
	_, err = l.ChangeTopUp(ctx, a, set)
	must(t, err)
	_, err = l.DeclineTopUp(ctx, p.ID, "no money", decline)
	must(t, err)
	now, err = l.TopUp(ctx, a)
	must(t, err)
	equal(t, "declined times after the customer said again", now.Declined, 0)

	paid := bought(t, l, a)
	got, err := l.DeclineTopUp(ctx, paid.ID, "no money", decline)
	must(t, err)
	equal(t, "state", got.State, ledger.PurchasePaid)
	now, err = l.TopUp(ctx, a)
	must(t, err)
	equal(t, "declined times after a payment", now.Declined, 0)
}
