package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// purchase is one of 500 credits for EUR 35.
func purchase(account string) ledger.Purchase {
	return ledger.Purchase{Account: account, Kind: ledger.PurchaseCheckout, Units: 500 * credit.PerCredit, Net: 35_000_000, Quoted: 4235, Currency: "EUR",
		SuccessURL: "https://example.com/paid", CancelURL: "https://example.com/", Tax: "txr_1", CreatedAt: noon, ExpiresAt: noon.Add(time.Hour), DueAt: noon.Add(time.Second)}
}

// payment pays it, with 21% VAT.
func payment(id string) ledger.Payment {
	return ledger.Payment{Intent: "pi_" + id, Charge: "ch_" + id, Invoice: "in_" + id, Currency: "eur", Net: 3500, Gross: 4235, At: noon}
}

func bought(t fataler, l *ledger.Ledger, account string) ledger.Purchase {
	t.Helper()
	p, err := l.AddPurchase(context.Background(), purchase(account))
	if err == nil {
		p, _, err = l.PayPurchase(context.Background(), p.ID, payment(p.ID.String()))
	}
	if err != nil {
		t.Fatalf("%v", err)
	}
	return p
}

func testPurchases(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	p, err := l.AddPurchase(ctx, purchase(a))
	must(t, err)
	equal(t, "state", p.State, ledger.PurchaseOpen)
	got, err := l.Purchase(ctx, p.ID)
	must(t, err)
	diff(t, "purchase", got, p)
	_, err = l.AddPurchase(ctx, purchase("nobody"))
	want(t, err, ledger.ErrNotFound)
	for _, spoil := range []func(*ledger.Purchase){
		func(p *ledger.Purchase) { p.Units = 0 },
		func(p *ledger.Purchase) { p.Net = 0 },
		func(p *ledger.Purchase) { p.Net = 5001 },
		func(p *ledger.Purchase) { p.Quoted = 3499 },
		func(p *ledger.Purchase) { p.Currency = "" },
		func(p *ledger.Purchase) { p.SuccessURL = "\x00" },
		func(p *ledger.Purchase) { p.Kind = "gift" },
	} {
		bad := purchase(a)
		spoil(&bad)
		_, err := l.AddPurchase(ctx, bad)
		want(t, err, ledger.ErrInvalid)
	}

	due, err := l.ClaimPurchase(ctx, time.Hour)
	must(t, err)
	equal(t, "claimed", due.ID, p.ID)
	equal(t, "attempts", due.Attempts, 1)
	_, err = l.ClaimPurchase(ctx, time.Hour)
	want(t, err, ledger.ErrNotFound)

	_, err = l.ChangePurchase(ctx, p.ID, func(p *ledger.Purchase) error { p.Session = "cs_" + p.ID.String(); return nil })
	must(t, err)
	_, err = l.ChangePurchase(ctx, p.ID, func(p *ledger.Purchase) error { p.Session = "cs_other"; return nil })
	want(t, err, ledger.ErrConflict)
	found, err := l.PurchaseOf(ctx, "cs_"+p.ID.String(), "", "")
	must(t, err)
	equal(t, "found by session", found.ID, p.ID)
	_, err = l.PurchaseOf(ctx, "", "", "")
	want(t, err, ledger.ErrNotFound)
	ended, err := l.ChangePurchase(ctx, p.ID, func(p *ledger.Purchase) error {
		p.State, p.DueAt, p.Units = ledger.PurchaseExpired, time.Time{}, 1
		return nil
	})
	must(t, err)
	if ended.State != ledger.PurchaseExpired || ended.Units != p.Units || !ended.DueAt.IsZero() {
		t.Errorf("ended purchase is %+v", ended)
	}
	// The money came after all.
	paid, first, err := l.PayPurchase(ctx, p.ID, payment("late-"+a))
	must(t, err)
	if !first || paid.State != ledger.PurchasePaid {
		t.Errorf("paid late: %v, %+v", first, paid)
	}
	kept, err := l.ChangePurchase(ctx, p.ID, func(p *ledger.Purchase) error { p.State = ledger.PurchaseExpired; return nil })
	must(t, err)
	equal(t, "state of a paid purchase", kept.State, ledger.PurchasePaid)
	page, err := l.Purchases(ctx, a, 10, 0)
	must(t, err)
	equal(t, "purchases", len(page), 1)
}

func testPayments(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	p, err := l.AddPurchase(ctx, purchase(a))
	must(t, err)
	good := payment(a)
	for name, spoil := range map[string]func(*ledger.Payment){
		"currency":    func(p *ledger.Payment) { p.Currency = "usd" },
		"net":         func(p *ledger.Payment) { p.Net = 3499 },
		"no VAT back": func(p *ledger.Payment) { p.Gross = 3499 },
		"too much":    func(p *ledger.Payment) { p.Gross = 7001 },
	} {
		bad := good
		spoil(&bad)
		if _, _, err := l.PayPurchase(ctx, p.ID, bad); !errors.Is(err, ledger.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, _, err = l.PayPurchase(ctx, uuid.New(), good)
	want(t, err, ledger.ErrNotFound)
	equal(t, "granted before", totals(t, l, a).Granted, 0)

	// Three sidecars, five deliveries each: once.
	var wg sync.WaitGroup
	var firsts atomic.Int64
	for range 3 {
		wg.Go(func() {
			for range 5 {
				_, first, err := l.PayPurchase(ctx, p.ID, good)
				if err != nil {
					t.Error(err)
				}
				if first {
					firsts.Add(1)
				}
			}
		})
	}
	wg.Wait()
	equal(t, "paid for the first time", firsts.Load(), 1)
	equal(t, "granted", totals(t, l, a).Granted, p.Units)
	paid, err := l.Purchase(ctx, p.ID)
	must(t, err)
	equal(t, "problem", paid.Problem, "")
	grants, err := l.Grants(ctx, a, 0, 0)
	must(t, err)
	if len(grants) != 1 || grants[0].Reference != "pi:"+good.Intent || grants[0].Kind != ledger.KindPurchase || grants[0].Reason != "purchase "+p.ID.String() {
		t.Errorf("grants are %+v", grants)
	}
	other := good
	other.Intent = "pi_other"
	_, _, err = l.PayPurchase(ctx, p.ID, other)
	want(t, err, ledger.ErrConflict)
	// One payment never pays two purchases.
	second, err := l.AddPurchase(ctx, purchase(a))
	must(t, err)
	_, _, err = l.PayPurchase(ctx, second.ID, good)
	want(t, err, ledger.ErrConflict)
	counts, err := l.ShopCounts(ctx)
	must(t, err)
	if counts.Open != 1 || counts.Paid != 1 {
		t.Errorf("counts are %+v", counts)
	}

	// Another total than was quoted is the customer's money all the same, and an operator hears of it.
	other = payment("other-total-" + a)
	other.Gross = 4234
	paid, _, err = l.PayPurchase(ctx, second.ID, other)
	must(t, err)
	equal(t, "granted", totals(t, l, a).Granted, 2*p.Units)
	aside, err := l.PurchasesAside(ctx, 10)
	must(t, err)
	if paid.Problem == "" || len(aside) != 1 || aside[0].ID != second.ID {
		t.Errorf("paid is %+v, aside are %+v", paid, aside)
	}

	// A statement tells what nobody has clicked for.
	automatic := purchase(a)
	automatic.Kind = ledger.PurchaseTopUp
	automatic, err = l.AddPurchase(ctx, automatic)
	must(t, err)
	_, _, err = l.PayPurchase(ctx, automatic.ID, payment("top-up-"+a))
	must(t, err)
	grants, err = l.Grants(ctx, a, 0, 0)
	must(t, err)
	equal(t, "reason", grants[len(grants)-1].Reason, "automatic top-up "+automatic.ID.String())
}

func testPaybacks(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	unpaid, err := l.AddPurchase(ctx, purchase(a))
	must(t, err)
	third := ledger.Payback{Reference: "re:1-" + a, Amount: 1412, Currency: "EUR", Reason: "refund"} // of 4235
	_, _, err = l.TakeBack(ctx, unpaid.ID, third)
	want(t, err, ledger.ErrConflict)

	p := bought(t, l, a)
	now, taken, err := l.TakeBack(ctx, p.ID, third)
	must(t, err)
	equal(t, "taken", taken, p.Units*1412/4235)
	equal(t, "back", now.Back, 1412)
	_, again, err := l.TakeBack(ctx, p.ID, third)
	must(t, err)
	equal(t, "taken again", again, 0)
	known, err := l.PaidBack(ctx, third.Reference)
	must(t, err)
	equal(t, "known", known, true)
	other := third
	other.Amount++
	_, _, err = l.TakeBack(ctx, p.ID, other)
	want(t, err, ledger.ErrConflict)
	other = ledger.Payback{Reference: "re:2-" + a, Amount: 1, Currency: "USD"}
	_, _, err = l.TakeBack(ctx, p.ID, other)
	want(t, err, ledger.ErrConflict)

	// A dispute of the whole takes the rest and no more; won, it brings that back and no more.
	dispute := ledger.Payback{Reference: "dp:1-" + a + ":withdrawn", Amount: 4235, Currency: "EUR", Reason: "dispute"}
	now, taken, err = l.TakeBack(ctx, p.ID, dispute)
	must(t, err)
	equal(t, "back after the dispute", now.Back, 4235)
	equal(t, "taken by the dispute", taken, p.Units-p.Units*1412/4235)
	equal(t, "granted after the dispute", totals(t, l, a).Granted, 0)
	dispute.Reference, dispute.Amount = "dp:1-"+a+":reinstated", -4235
	_, taken, err = l.TakeBack(ctx, p.ID, dispute)
	must(t, err)
	equal(t, "given again", -taken, p.Units-p.Units*1412/4235)
	equal(t, "granted in the end", totals(t, l, a).Granted, p.Units-p.Units*1412/4235)
	// More than was paid is all of it, and may come again.
	more := bought(t, l, a)
	before := totals(t, l, a).Granted
	dispute = ledger.Payback{Reference: "dp:2-" + a + ":withdrawn", Amount: 4300, Currency: "EUR"}
	for _, want := range []credit.Units{more.Units, 0} {
		_, taken, err = l.TakeBack(ctx, more.ID, dispute)
		must(t, err)
		equal(t, "taken by a dispute of more", taken, want)
	}
	dispute.Reference, dispute.Amount = "dp:2-"+a+":reinstated", -4300
	_, taken, err = l.TakeBack(ctx, more.ID, dispute)
	must(t, err)
	equal(t, "given again of more", -taken, more.Units)
	equal(t, "granted after all", totals(t, l, a).Granted, before)
}

// Whatever refunds, failed refunds and disputes come in whatever order and however often: what is granted is what was
// paid less what went back, never below zero or above what was bought.
func testPaybacksAnyOrder(t *testing.T, l *ledger.Ledger) {
	rapid.Check(t, func(rt *rapid.T) {
		a := account(rt, l)
		p := bought(rt, l, a)
		var all []ledger.Payback
		var net int64
		for i := range rapid.IntRange(1, 5).Draw(rt, "paybacks") {
			amount := rapid.Int64Range(1, p.Gross).Draw(rt, "amount")
			b := ledger.Payback{Reference: fmt.Sprintf("re:%d-%s", i, a), Amount: amount, Currency: "EUR"}
			all = append(all, b)
			net += amount
			if rapid.Bool().Draw(rt, "came again") {
				b.Reference, b.Amount = b.Reference+":failed", -amount
				all = append(all, b)
				net -= amount
			}
		}
		again := rapid.SliceOfN(rapid.SampledFrom(all), 0, len(all)).Draw(rt, "repeated")
		for _, b := range rapid.Permutation(append(all, again...)).Draw(rt, "order") {
			if _, _, err := l.TakeBack(context.Background(), p.ID, b); err != nil {
				rt.Fatalf("%v", err)
			}
			if g := totals(rt, l, a).Granted; g < 0 || g > p.Units {
				rt.Fatalf("granted %d of %d", g, p.Units)
			}
		}
		back := min(max(net, 0), p.Gross)
		if got, want := totals(rt, l, a).Granted, p.Units-p.Units*credit.Units(back)/credit.Units(p.Gross); got != want {
			rt.Fatalf("granted %d after %d of %d went back, want %d", got, back, p.Gross, want)
		}
	})
}

func testInvoices(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a, b := account(t, l), account(t, l)
	p := bought(t, l, a)
	v := ledger.Invoice{ID: "in_" + a, Account: a, Purchase: p.ID, Status: "open", Date: noon, Currency: "EUR", Net: 3500, VAT: 735, VATRate: 2100, Total: 4235}
	must(t, l.PutInvoice(ctx, v))
	v.Status, v.Number, v.PDFURL = "paid", "RF-0001", "https://stripe.example/pdf"
	must(t, l.PutInvoice(ctx, v))
	old := v
	old.Status = "open"
	must(t, l.PutInvoice(ctx, old)) // an old view of it
	got, err := l.Invoice(ctx, a, v.ID)
	must(t, err)
	diff(t, "invoice", got, v)
	_, err = l.Invoice(ctx, b, v.ID)
	want(t, err, ledger.ErrNotFound)
	page, total, err := l.Invoices(ctx, a, 10, 0)
	must(t, err)
	diff(t, "invoices", page, []ledger.Invoice{v})
	equal(t, "total", total, 1)
	v.ID, v.Purchase = "in_2", uuid.New()
	want(t, l.PutInvoice(ctx, v), ledger.ErrNotFound)
}

func testStripeEvents(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	low := ledger.StripeEvent{ID: "evt_low", Type: "customer.updated", Object: "cus_1", Need: 3, Body: []byte(`{}`), CreatedAt: noon}
	high := ledger.StripeEvent{ID: "evt_high", Type: "invoice.paid", Object: "in_1", Body: []byte("\xff\x00"), CreatedAt: noon}
	for i, e := range []ledger.StripeEvent{low, high, high, low} {
		created, err := l.AddEvent(ctx, e)
		must(t, err)
		equal(t, "created", created, i < 2)
	}
	_, err := l.AddEvent(ctx, ledger.StripeEvent{Type: "x"})
	want(t, err, ledger.ErrInvalid)

	first, err := l.ClaimEvent(ctx, time.Hour)
	must(t, err)
	if first.ID != "evt_high" || string(first.Body) != "\xff\x00" || first.Attempts != 1 {
		t.Errorf("first event is %+v", first)
	}
	second, err := l.ClaimEvent(ctx, time.Hour)
	must(t, err)
	equal(t, "second event", second.ID, "evt_low")
	_, err = l.ClaimEvent(ctx, time.Hour)
	want(t, err, ledger.ErrNotFound)
	must(t, l.FinishEvent(ctx, "evt_high", ledger.EventDone, "", time.Time{}))
	must(t, l.FinishEvent(ctx, "evt_low", ledger.EventAside, "nobody's \x00", time.Time{}))
	aside, failing, err := l.EventsAside(ctx, 10)
	must(t, err)
	if len(aside) != 1 || aside[0].Problem != "nobody's " || len(failing) != 0 {
		t.Errorf("aside %+v, failing %+v", aside, failing)
	}
	n, err := l.ShopCounts(ctx)
	must(t, err)
	if n.Waiting != 0 || n.Aside != 1 || n.Done != 1 || n.LastEvent.IsZero() {
		t.Errorf("counts are %+v", n)
	}
	want(t, l.ReplayEvent(ctx, "evt_none"), ledger.ErrNotFound)
	must(t, l.ReplayEvent(ctx, "evt_low"))
	must(t, l.FinishEvent(ctx, "evt_high", ledger.EventWaiting, "Stripe is away", time.Now().Add(time.Hour)))
	again, err := l.ClaimEvent(ctx, time.Hour)
	must(t, err)
	equal(t, "replayed", again.ID, "evt_low")
	_, failing, err = l.EventsAside(ctx, 10)
	must(t, err)
	equal(t, "failing", len(failing), 1)

	must(t, l.FinishEvent(ctx, "evt_low", ledger.EventDone, "", time.Time{}))
	pruned, err := l.PruneEvents(ctx, time.Now().Add(-time.Hour))
	must(t, err)
	equal(t, "pruned too early", pruned, 0)
	pruned, err = l.PruneEvents(ctx, time.Now().Add(time.Hour))
	must(t, err)
	equal(t, "pruned", pruned, 1)
	_, err = l.Event(ctx, "evt_low")
	want(t, err, ledger.ErrNotFound)

	// Many sidecars claim each event once.
	for i := range 20 {
		_, err := l.AddEvent(ctx, ledger.StripeEvent{ID: fmt.Sprint("evt_", i), Type: "x", Body: []byte{}})
		must(t, err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	claimed := map[string]int{}
	for range 4 {
		wg.Go(func() {
			for misses := 0; misses < 50; {
				e, err := l.ClaimEvent(ctx, time.Hour)
				if errors.Is(err, ledger.ErrNotFound) {
					misses++
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				claimed[e.ID]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	equal(t, "claimed events", len(claimed), 20)
	for id, n := range claimed {
		equal(t, id, n, 1)
	}
}

func testMarks(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	at, err := l.ClaimMark(ctx, "m", noon, time.Hour)
	must(t, err)
	equal(t, "first", at, noon)
	_, err = l.ClaimMark(ctx, "m", noon, time.Hour)
	want(t, err, ledger.ErrNotFound)
	must(t, l.MoveMark(ctx, "m", noon.Add(time.Minute)))
	must(t, l.MoveMark(ctx, "m", noon))
	got, due, err := l.Mark(ctx, "m")
	must(t, err)
	equal(t, "mark", got, noon.Add(time.Minute))
	if time.Until(due) < time.Minute {
		t.Errorf("due at %v", due)
	}
	_, _, err = l.Mark(ctx, "other")
	want(t, err, ledger.ErrNotFound)
}
