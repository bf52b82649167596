package stripe_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
	"github.com/hmsovereign/ringfence/sync/stripe/usage"
)

// books is a rig on which usage is reported too, all by Stripe's clock.
type books struct {
	*rig
	reporters []*usage.Reporter
	shop      *stripe.Service
}

func newBooks(t *testing.T) *books {
	t.Helper()
	r := newRig(t)
	r.ledger = r.ledger.Clock(r.fake.Now)
	r.balances.ledger = r.ledger
	r.desk = stripe.NewDesk(stripe.DeskConfig{Key: stripefake.Key, URL: r.url, Ledger: r.ledger, Transport: r.next, Now: r.fake.Now})
	b := &books{rig: r}
	for range 2 {
		b.shop, _ = r.start(func(c *stripe.Config) { c.Now = r.fake.Now })
		meter, err := stripe.NewMeter(stripefake.Key, r.url, "", r.next)
		check(t, err)
		check(t, meter.Create(t.Context()))
		b.reporters = append(b.reporters, usage.New(usage.Config{Book: r.ledger, Stripe: meter, Customer: r.desk.CustomerOf, Rate: 1e6, Now: r.fake.Now}))
	}
	return b
}

// call keeps a call that has ended, and charges it; lost: nobody has said yet how long it was.
func (b *books) call(account string, ended time.Time, seconds int64, lost bool) authz.Record {
	uid := uuid.Must(uuid.NewV7())
	rec := authz.Record{
		State: authz.StateSettled, Account: account, UID: uid, Seq: 1, Epoch: 7, Key: authz.Key{Switch: "sw1", Direction: authz.Outbound, CallID: uid.String()},
		At: ended.UnixMilli(), AnsweredAt: ended.UnixMilli() - 1000*seconds, TalkMS: 1000 * seconds, Units: credit.Units(1000 * seconds),
		CreatedAt: ended.UnixMilli() - 1000*seconds - 5000, Price: tariff.Price{Rate: 60_000, Initial: 1, Step: 1, MicrosRate: 70_000, CreditPrice: 70_000},
		Detail: authz.Detail{From: "+31850835037", To: "+4930123456", Tariff: "default", Currency: "EUR"},
	}
	if lost {
		rec.State = authz.StateLost
	}
	b.ingest(rec)
	b.balances.spend(account, rec.Units)
	return rec
}

func (b *books) ingest(rec authz.Record) {
	results, err := b.ledger.Ingest(context.Background(), []authz.Record{rec})
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// owed is the credit that an account's payments at Stripe are worth now, less what went back: by Stripe's own objects.
func (b *books) owed(account string) (credit.Units, error) {
	page, err := b.ledger.Purchases(context.Background(), account, 1000, 0)
	if err != nil {
		return 0, err
	}
	back := map[any]int64{} // by charge
	for _, r := range b.fake.Objects("refund") {
		if r["status"] == "succeeded" {
			back[r["charge"]] += r["amount"].(int64)
		}
	}
	for _, d := range b.fake.Objects("dispute") {
		if d["status"] != "won" {
			back[d["charge"]] += d["amount"].(int64)
		}
	}
	var sum credit.Units
	for _, charge := range b.fake.Objects("charge") {
		if charge["status"] != "succeeded" {
			continue
		}
		for _, p := range page {
			if intent := b.fake.Object(charge["payment_intent"].(string)); p.Intent == intent["id"] || fmt.Sprint(intent["metadata"]) == fmt.Sprint(map[string]any{"account": account, "purchase": p.ID.String()}) {
				gross := charge["amount"].(int64)
				sum += p.Units - p.Units*credit.Units(min(back[charge["id"]], gross))/credit.Units(gross)
			}
		}
	}
	return sum, nil
}

// settled waits for a moment until an account's card is kept, which Stripe's faults may prevent.
func (b *books) settled(account string) {
	for range 30 {
		if d, err := b.ledger.Billing(context.Background(), account); err == nil && d.Card != "" {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
}

// topUps is how many an account has had.
func (b *books) topUps(account string) (n int) {
	page, err := b.ledger.Purchases(context.Background(), account, 1000, 0)
	check(b.t, err)
	for i := range page {
		if page[i].Kind == ledger.PurchaseTopUp {
			n++
		}
	}
	return n
}

// Whatever is bought, topped up, refunded, disputed, called, lost on the way, or done while Stripe is away: credit granted
// is paid less what went back, and Stripe's reported seconds are the ledger's settled ones. Whoever has removed the card is
// charged by no top-up.
func TestBooksProperty(t *testing.T) {
	b := newBooks(t)
	ctx := t.Context()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		accounts := []string{b.account(fmt.Sprint("books-", n, "-a")), b.account(fmt.Sprint("books-", n, "-b"))}
		sessions := map[string]bool{} // paid; true: disputed
		var paid, refunds, disputes []string
		var unsettled []authz.Record
		withdrawn := map[string]int{} // accounts that have removed their card -> top-ups so far
		still := func() {
			for a, n := range withdrawn {
				if now := b.topUps(a); now != n {
					rt.Fatalf("account %s had %d top-ups when its card was removed, and %d after that", a, n, now)
				}
			}
		}
		topUp := func(account string, on bool) {
			still()
			_, err := b.shop.SetTopUp(ctx, account, stripe.TopUpChange{Enabled: on, Below: credit.Units(rapid.SampledFrom([]int64{50, 3000}).Draw(rt, "below")) * minute,
				Units: 100 * minute, MaxPerDay: 3})
			if err == nil { // it fails without a card
				delete(withdrawn, account)
			}
		}
		pick := func(from []string, name string) string {
			if len(from) == 0 {
				return ""
			}
			return rapid.SampledFrom(from).Draw(rt, name)
		}
		for range rapid.IntRange(5, 30).Draw(rt, "steps") {
			a := rapid.SampledFrom(accounts).Draw(rt, "account")
			switch rapid.SampledFrom([]string{"buy", "buy", "buy", "abandon", "refund", "refund", "fail refund", "fail refund", "dispute", "close dispute", "top-up", "top-up", "top-up", "remove card", "remove card", "call", "call", "call", "settle late",
				"outage", "lose webhooks", "redeliver", "time", "report", "report"}).Draw(rt, "step") {
			case "buy":
				if made, err := b.order(rt, a); err == nil && b.fake.Pay(made.Purchase.Session) == nil {
					paid = append(paid, made.Purchase.Session)
				}
				if rapid.Bool().Draw(rt, "heard") { // else the card is kept some steps later, if at all
					b.settled(a)
				}
			case "abandon":
				_, _ = b.order(rt, a) // fails where Stripe does
			case "refund":
				if s := pick(paid, "sale"); s != "" && !sessions[s] {
					if id, err := b.fake.Refund(s, rapid.Int64Range(0, 3000).Draw(rt, "cents")); err == nil { // 0: all
						refunds = append(refunds, id)
					}
				}
			case "fail refund":
				if id := pick(refunds, "refund"); id != "" && !b.disputed(id) {
					check(t, b.fake.FailRefund(id))
				}
			case "dispute":
				if s := pick(paid, "sale"); s != "" {
					if id, err := b.fake.Dispute(s, rapid.Int64Range(0, 3000).Draw(rt, "cents")); err == nil {
						sessions[s] = true
						disputes = append(disputes, id)
					}
				}
			case "close dispute":
				if id := pick(disputes, "dispute"); id != "" {
					_ = b.fake.CloseDispute(id, rapid.Bool().Draw(rt, "won")) // may be closed
				}
			case "top-up":
				topUp(a, rapid.SampledFrom([]bool{true, true, true, false}).Draw(rt, "on"))
			case "remove card":
				if rapid.Bool().Draw(rt, "on") {
					topUp(a, true)
				}
				was, err := b.ledger.Billing(ctx, a)
				check(t, err)
				// That it is not charged any more does not depend on Stripe.
				if rapid.Bool().Draw(rt, "kept") {
					b.fake.Inject(stripefake.Fault{Kind: stripefake.Refuse, Path: "/v1/payment_methods/*/detach", Times: 8})
				}
				if _ = b.shop.ForgetCard(ctx, a); was.Card != "" {
					still()
					withdrawn[a] = b.topUps(a)
				}
			case "call":
				ended := b.fake.Now().Add(-time.Duration(rapid.IntRange(0, 6*3600).Draw(rt, "ago")) * time.Second)
				lost := rapid.Bool().Draw(rt, "lost")
				if rec := b.call(a, ended, rapid.Int64Range(0, 3600).Draw(rt, "seconds"), lost); lost {
					unsettled = append(unsettled, rec)
				}
			case "settle late":
				if len(unsettled) > 0 {
					rec := unsettled[0]
					unsettled = unsettled[1:]
					rec.State, rec.TalkMS = authz.StateSettled, 1000*rapid.Int64Range(0, 3600).Draw(rt, "seconds")
					b.ingest(rec)
				}
			case "outage":
				fault := stripefake.Fault{Kind: rapid.SampledFrom([]stripefake.FaultKind{stripefake.Refuse, stripefake.Cut, stripefake.Lose}).Draw(rt, "fault"),
					Status: rapid.SampledFrom([]int{409, 429, 500, 503}).Draw(rt, "status"), Times: rapid.IntRange(1, 8).Draw(rt, "times"),
					Method: rapid.SampledFrom([]string{"", http.MethodGet, http.MethodPost}).Draw(rt, "method")}
				fault.Keep = fault.Status >= 500 && rapid.Bool().Draw(rt, "keep") // Stripe keeps its own errors only
				b.fake.Inject(fault)
			case "lose webhooks":
				b.fake.Discard()
			case "redeliver":
				_ = b.fake.Redeliver(ctx, 1, 3)
			case "time":
				b.fake.Advance(time.Duration(rapid.IntRange(1, 20*60).Draw(rt, "minutes")) * time.Minute)
			case "report":
				_ = b.reporters[rapid.IntRange(0, 1).Draw(rt, "sidecar")].Round(ctx) // fails where Stripe does
			}
		}
		b.fake.ClearFaults()
		still()
		for _, a := range accounts { // a last call pays back what may be owed
			_, err := b.ledger.SetTopUp(ctx, a, ledger.TopUp{})
			check(t, err)
			b.call(a, b.fake.Now(), 40_000, false)
		}
		services.Eventually(t, patience, func() error {
			b.fake.Advance(5 * time.Minute)
			return b.compare(accounts)
		})
		b.quiet()
		if err := b.compare(accounts); err != nil {
			rt.Fatal(err)
		}
	})
}

func (b *books) order(rt *rapid.T, account string) (stripe.Started, error) {
	return b.shop.Checkout(context.Background(), account, stripe.Request{Order: stripe.Order{Money: fmt.Sprintf("%d.%02d", rapid.IntRange(5, 300).Draw(rt, "euros"),
		rapid.IntRange(0, 99).Draw(rt, "cents"))}, SuccessURL: site, CancelURL: site, SaveCard: true})
}

// disputed tells whether a refund's charge is: what a bank took leaves less to fail.
func (b *books) disputed(refund string) bool {
	charge := b.fake.Object(b.fake.Object(refund)["charge"].(string))
	return charge["disputed"] == true
}

// compare compares Stripe and the ledger.
func (b *books) compare(accounts []string) error {
	ctx := context.Background()
	var errs []error
	for _, reporter := range b.reporters {
		errs = append(errs, reporter.Round(ctx))
	}
	for _, a := range accounts {
		want, err := b.owed(a)
		if err != nil {
			return err
		}
		sums, err := b.ledger.Totals(ctx, a)
		if err != nil {
			return err
		}
		if sums.Granted != want {
			errs = append(errs, fmt.Errorf("account %s was granted %d, and has paid for %d", a, sums.Granted, want))
		}
		if _, err := b.ledger.OpenTopUp(ctx, a); !errors.Is(err, ledger.ErrNotFound) {
			errs = append(errs, fmt.Errorf("account %s has a top-up under way: %w", a, err))
		}
		details, err := b.ledger.Billing(ctx, a)
		if err != nil {
			return err
		}
		used, err := b.ledger.UsageTotals(ctx, a)
		if err != nil {
			return err
		}
		if got := b.fake.Usage(usage.EventName, details.Customer); got != used.Settled || used.Proven != used.Settled || used.Owed != 0 {
			errs = append(errs, fmt.Errorf("Stripe has %d seconds of account %s, the ledger %+v", got, a, used))
		}
	}
	return errors.Join(errs...)
}
