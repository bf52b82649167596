package stripe_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
	"github.com/hmsovereign/ringfence/sync/stripe/usage"
)

// talk makes a settled call of so many seconds that ended at a time.
func (r *deskRig) talk(ended time.Time, seconds int64) {
	r.t.Helper()
	at := ended.UnixMilli()
	results, err := r.ledger.Ingest(r.t.Context(), []authz.Record{{State: authz.StateSettled, Account: "acct", UID: uuid.Must(uuid.NewV7()), Seq: 1, Epoch: 1,
		Key: authz.Key{Switch: "sw", Direction: authz.Outbound, CallID: uuid.NewString()}, At: at, AnsweredAt: at - 1000*seconds, TalkMS: 1000 * seconds, CreatedAt: at - 1000*seconds}})
	deskMust(r.t, err)
	deskMust(r.t, results[0].Err)
}

// One sidecar at a time has the turn, until it is over.
func TestUsageTurn(t *testing.T) {
	t.Parallel()
	r := newDeskRig(t, stripefake.Config{})
	one, other := stripe.UsageTurn(r.ledger), stripe.UsageTurn(r.ledger)
	for i, c := range []struct {
		turn  func(context.Context, time.Duration) (bool, error)
		lasts time.Duration
		want  bool
	}{{one, 0, true}, {other, time.Hour, true}, {one, time.Hour, false}, {other, time.Hour, false}} {
		got, err := c.turn(t.Context(), c.lasts)
		deskMust(t, err)
		if got != c.want {
			t.Errorf("claim %d: %v", i, got)
		}
	}
}

// Details that Stripe does not take hinder no usage.
func TestUsageWithRefusedDetails(t *testing.T) {
	t.Parallel()
	r := newDeskRig(t, stripefake.Config{})
	r.set(details(func(b *ledger.Billing) { b.Email = "jörg@müller.example" }))
	r.fake.Inject(stripefake.Fault{Kind: stripefake.Refuse, Status: http.StatusBadRequest, Method: http.MethodPost, Path: "/v1/customers/*", Times: 1 << 20})
	id, err := r.desk.CustomerOf(t.Context(), "acct")
	deskMust(t, err)
	if id == "" || id != r.billing().Customer {
		t.Errorf("the customer is %q, kept is %q", id, r.billing().Customer)
	}
	if _, err := r.desk.CustomerOf(t.Context(), "nobody"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("nobody's customer: %v", err)
	}
}

// A customer that is gone from Stripe, with no event that says so, is made anew; what was not proven by then is reported
// under the new one, once, and what was proven stays so.
func TestUsageOfCustomerGone(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]bool{"deleted at Stripe": false, "deleted while an answer was lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newDeskRig(t, stripefake.Config{})
			r.set(details())
			r.sync()
			meter, err := stripe.NewMeter(stripefake.Key, r.fake.URL(), "", r.transport)
			deskMust(t, err)
			deskMust(t, meter.Create(t.Context()))
			reporter := usage.New(usage.Config{Book: r.ledger, Stripe: meter, Customer: r.desk.CustomerOf, Gone: r.desk.Gone, Rate: 1e6, Now: r.fake.Now})
			was := r.billing().Customer
			step := func(pass time.Duration) {
				if err := reporter.Round(t.Context()); err != nil && !lost {
					t.Fatal(err)
				}
				r.sync()
				r.fake.Advance(pass)
			}
			hour := r.fake.Now().Add(-10 * time.Minute).Truncate(time.Hour).Add(-time.Minute)
			r.talk(hour.Add(-time.Hour), 84)
			for range 3 {
				step(15 * time.Minute)
			}
			if sum, err := r.ledger.UsageTotals(t.Context(), "acct"); err != nil || sum.Proven != 84 {
				t.Fatalf("totals %+v, %v", sum, err)
			}
			r.talk(hour, 30)
			if lost {
				r.fake.Inject(stripefake.Fault{Kind: stripefake.Lose, Path: "/v1/billing/meter_events"})
			}
			step(time.Second)
			lost = false
			r.do(http.MethodDelete, "/v1/customers/"+was)
			r.talk(hour, 7) // a late record: in no batch yet
			for range 8 {
				step(15 * time.Minute)
			}
			now := r.billing()
			if now.Customer == was || r.fake.Object(now.Customer)["name"] != "Their Company" {
				t.Fatalf("the customer is %s still", now.Customer)
			}
			for range 100 {
				step(time.Hour)
			}
			sum, err := r.ledger.UsageTotals(t.Context(), "acct")
			deskMust(t, err)
			if has := r.fake.Usage(usage.EventName, now.Customer); sum != (ledger.UsageTotals{Settled: 121, Reported: 121, Proven: 121}) || has != 37 {
				t.Errorf("the new customer has %d seconds, the ledger says %+v", has, sum)
			}
		})
	}
}
