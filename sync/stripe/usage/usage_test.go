package usage_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
	"github.com/hmsovereign/ringfence/sync/stripe/usage"
)

const events = "/v1/billing/meter_events"

// sent counts the requests that were to make an event.
func (r *rig) sent() int {
	n := 0
	for _, request := range r.fake.Requests() {
		if request.Method == http.MethodPost && request.Path == events {
			n++
		}
	}
	return n
}

// lastHour is the middle of the hour that was over last.
func (r *rig) lastHour() time.Time {
	return r.fake.Now().UTC().Add(-10 * time.Minute).Truncate(time.Hour).Add(-30 * time.Minute)
}

func TestReports(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.account(t), r.account(t)
	hour := r.lastHour()
	now := r.fake.Now()
	r.ingest(t, call(a, hour, 84), call(a, hour.Add(-time.Hour), 60), call(b, hour, 30), call(a, now, 1000))
	reg := prometheus.NewRegistry()
	reporter := usage.New(usage.Config{Book: r.ledger, Stripe: r.meter, Customer: r.customer, Rate: 1e6, Now: r.fake.Now, Metrics: usage.NewMetrics(reg)})
	must(t, reporter.Round(t.Context()))
	if r.has(t, a) != 144 || r.has(t, b) != 30 || r.sent() != 3 {
		t.Errorf("Stripe has %d and %d seconds, from %d events", r.has(t, a), r.has(t, b), r.sent())
	}
	must(t, reporter.Round(t.Context()))
	if r.sent() != 3 {
		t.Errorf("%d events were sent, 3 were due", r.sent())
	}
	for _, batch := range r.batches(t, a) {
		if batch.State != ledger.UsageSent || batch.Minute != batch.Hour || batch.Attempts != 1 {
			t.Errorf("batch %+v", batch)
		}
	}
	r.settled(t, reporter)
	if sum := r.totals(t, b); sum.Proven != 30 {
		t.Errorf("totals %+v", sum)
	}
	const want = `
# HELP ringfence_usage_seconds_proven_total Seconds of talk time in them.
# TYPE ringfence_usage_seconds_proven_total counter
ringfence_usage_seconds_proven_total 1174
`
	r.settled(t, reporter)
	r.fake.Advance(2 * time.Hour)
	r.settled(t, reporter)
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "ringfence_usage_seconds_proven_total"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// Whatever becomes of the first attempt, Stripe has the seconds once in the end; an attempt that may have arrived is
// repeated only after its minute was seen empty for an hour.
func TestFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault    stripefake.Fault
		attempts int
		wait     bool // for an hour's absence
	}{
		"too many requests": {stripefake.Fault{Kind: stripefake.Refuse, Status: 429}, 2, false},
		"refused":           {stripefake.Fault{Kind: stripefake.Refuse, Status: 400}, 2, false},
		"key refused":       {stripefake.Fault{Kind: stripefake.Refuse, Status: 401}, 2, false},
		"error":             {stripefake.Fault{Kind: stripefake.Refuse, Status: 500}, 2, true},
		"conflict":          {stripefake.Fault{Kind: stripefake.Refuse, Status: 409}, 2, true},
		"unavailable":       {stripefake.Fault{Kind: stripefake.Refuse, Status: 503}, 2, true},
		"lost request":      {stripefake.Fault{Kind: stripefake.Cut}, 2, true},
		"lost answer":       {stripefake.Fault{Kind: stripefake.Lose}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newFastRig(t)
			a := r.account(t)
			r.ingest(t, call(a, r.lastHour(), 84))
			reporter := r.reporter()
			c.fault.Path, c.fault.Method = events, http.MethodPost
			r.fake.Inject(c.fault)
			_ = reporter.Round(t.Context()) // some failures end a round
			begun := r.fake.Now()
			for r.sent() < c.attempts && r.fake.Now().Sub(begun) < 3*time.Hour {
				r.fake.Advance(time.Minute)
				must(t, reporter.Round(t.Context()))
			}
			if waited := r.fake.Now().Sub(begun); c.wait != (waited > time.Hour) || waited > 2*time.Hour {
				t.Errorf("the next attempt came after %v", waited)
			}
			r.settled(t, reporter)
			if got := r.has(t, a); got != 84 || r.sent() != c.attempts {
				t.Errorf("Stripe has %d seconds from %d attempts", got, r.sent())
			}
		})
	}
}

// Sums that lag behind are waited for.
func TestLag(t *testing.T) {
	t.Parallel()
	r := newFastRig(t)
	r.fake.SetMeterLag(69 * time.Minute)
	a := r.account(t)
	r.ingest(t, call(a, r.lastHour(), 84))
	r.settled(t, r.reporter())
	if got := r.has(t, a); got != 84 || r.sent() != 1 {
		t.Errorf("Stripe has %d seconds from %d attempts", got, r.sent())
	}
}

// One that lags longer is sent again, and refused under its identifier; then it is waited for, since Stripe forgets
// identifiers after a day.
func TestLongLag(t *testing.T) {
	t.Parallel()
	r := newFastRig(t)
	r.fake.SetMeterLag(30 * time.Hour)
	a := r.account(t)
	r.ingest(t, call(a, r.lastHour(), 84))
	r.settled(t, r.reporter())
	if got := r.has(t, a); got != 84 || r.sent() != 2 {
		t.Errorf("Stripe has %d seconds from %d attempts", got, r.sent())
	}
}

// An event may become too old for Stripe, or its identifier be forgotten, while its sum lags behind: it is waited for, since
// a repetition would count.
func TestLateLag(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		age   time.Duration // of the call's hour
		after time.Duration // until Stripe is asked again
	}{
		"too old before the second attempt": {34*24*time.Hour - time.Hour, 10 * time.Minute},
		"its identifier forgotten":          {2 * time.Hour, 26 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newFastRig(t)
			r.fake.SetMeterLag(30 * time.Hour)
			a := r.account(t)
			next := r.fake.Now().UTC().Truncate(time.Hour).Add(time.Hour)
			r.fake.Advance(next.Add(10 * time.Minute).Sub(r.fake.Now()))
			r.ingest(t, call(a, next.Add(-c.age).Add(5*time.Minute), 84))
			reporter := r.reporter()
			must(t, reporter.Round(t.Context()))
			r.fake.Advance(c.after)
			r.settled(t, reporter)
			if got := r.has(t, a); got != 84 || r.sent() != 1 {
				t.Errorf("Stripe has %d seconds, from %d attempts", got, r.sent())
			}
		})
	}
}

// After 40 days without Stripe the usage is reported with the present time, and keeps its hour in the ledger.
func TestOutage(t *testing.T) {
	t.Parallel()
	r := newFastRig(t)
	a := r.account(t)
	reporter := r.reporter()
	hour := r.lastHour()
	r.ingest(t, call(a, hour, 84), call(a, hour.Add(-time.Hour), 16))
	r.fake.Inject(stripefake.Fault{Kind: stripefake.Refuse, Status: 503, Times: 1 << 30})
	for range 40 {
		if err := reporter.Round(t.Context()); err == nil {
			t.Error("no word on Stripe being away")
		}
		r.fake.Advance(24 * time.Hour)
	}
	if got := r.has(t, a); got != 0 {
		t.Fatalf("Stripe has %d seconds while it is away", got)
	}
	r.settled(t, reporter)
	if got := r.has(t, a); got != 100 {
		t.Errorf("Stripe has %d seconds", got)
	}
	for _, b := range r.batches(t, a) {
		if b.Minute.Sub(hour) < 39*24*time.Hour || hour.Sub(b.Hour) > 2*time.Hour || b.State != ledger.UsageProven {
			t.Errorf("batch %+v", b)
		}
	}
}

// Something else in a batch's minute is shown, and not made worse.
func TestWrong(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.account(t), r.account(t)
	reporter := r.reporter()
	hour := r.lastHour()
	r.ingest(t, call(a, hour, 84), call(b, hour, 5))
	customer, err := r.customer(t.Context(), a)
	must(t, err)
	must(t, r.meter.Send(t.Context(), usage.Event{Identifier: "somebody's", Customer: customer, Seconds: 7, At: hour.Truncate(time.Hour)}))
	for range 5 {
		must(t, reporter.Round(t.Context()))
		r.fake.Advance(time.Hour)
	}
	batch := r.batches(t, a)[0]
	if batch.State != ledger.UsageWrong || !strings.Contains(batch.Problem, "91 seconds") || batch.Attempts != 1 {
		t.Errorf("batch %+v", batch)
	}
	if sum := r.totals(t, b); sum.Proven != 5 {
		t.Errorf("the other account's batch is %+v", sum)
	}
}

// A batch of a customer that Stripe does not know keeps no other back.
func TestCustomerGone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.account(t), r.account(t)
	customer, err := r.customer(t.Context(), a)
	must(t, err)
	_, err = r.ledger.SetCustomer(t.Context(), a, customer, "cus_gone")
	must(t, err)
	hour := r.lastHour()
	r.ingest(t, call(a, hour, 84), call(b, hour, 5))
	reporter := r.reporter()
	for range 3 {
		must(t, reporter.Round(t.Context()))
		r.fake.Advance(15 * time.Minute)
	}
	if sum := r.totals(t, b); sum.Proven != 5 {
		t.Errorf("the other account's batch is %+v", sum)
	}
	if batch := r.batches(t, a)[0]; !strings.Contains(batch.Problem, "cus_gone") {
		t.Errorf("batch %+v", batch)
	}
	// Stripe has taken the event and dropped it: it is sent again when it cannot be on its way any more.
	_, err = r.ledger.SetCustomer(t.Context(), a, "cus_gone", customer)
	must(t, err)
	for range 10 {
		must(t, reporter.Round(t.Context()))
		r.fake.Advance(12 * time.Hour)
	}
	r.settled(t, reporter)
	if got := r.has(t, a); got != 84 {
		t.Errorf("Stripe has %d seconds", got)
	}
}

func TestSidecars(t *testing.T) {
	t.Parallel()
	r := newFastRig(t)
	hour := r.lastHour()
	accounts := make([]string, 5)
	for i := range accounts {
		accounts[i] = r.account(t)
		for h := range 4 {
			r.ingest(t, call(accounts[i], hour.Add(-time.Duration(h)*time.Hour), 10))
		}
	}
	reporters := []*usage.Reporter{r.reporter(), r.reporter(), r.reporter()}
	for range 4 {
		var wg sync.WaitGroup
		for _, reporter := range reporters {
			wg.Go(func() {
				if err := reporter.Round(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		r.fake.Advance(10 * time.Minute)
	}
	r.settled(t, reporters...)
	for _, a := range accounts {
		if got := r.has(t, a); got != 40 {
			t.Errorf("Stripe has %d seconds", got)
		}
	}
	if r.sent() != 20 {
		t.Errorf("%d events were sent, 20 were due", r.sent())
	}
}

// A round without the turn does nothing; one with it begins no batch when that is over.
func TestTurn(t *testing.T) {
	t.Parallel()
	r := newFastRig(t)
	for range 7 {
		r.ingest(t, call(r.account(t), r.lastHour(), 10))
	}
	ours, lasted := false, time.Duration(0)
	why := error(nil)
	reporter := usage.New(usage.Config{Book: r.book, Stripe: r.meter, Rate: 1e6, Now: r.fake.Now,
		Customer: func(ctx context.Context, account string) (string, error) {
			r.fake.Advance(20 * time.Second)
			return r.customer(ctx, account)
		},
		Turn: func(_ context.Context, lasts time.Duration) (bool, error) {
			lasted = lasts
			return ours, why
		}})
	must(t, reporter.Round(t.Context()))
	if queue, err := r.ledger.UsageQueue(t.Context()); err != nil || len(queue) > 0 {
		t.Errorf("another's turn: %+v, %v", queue, err)
	}
	ours = true
	must(t, reporter.Round(t.Context()))
	if r.sent() != 3 || lasted >= time.Minute {
		t.Errorf("%d batches were sent in a turn of %v, each of which takes 20 s", r.sent(), lasted)
	}
	r.fake.Advance(time.Minute)
	must(t, reporter.Round(t.Context()))
	if r.sent() != 6 {
		t.Errorf("%d batches were sent in two turns", r.sent())
	}
	why = errors.New("the ledger is away")
	if err := reporter.Round(t.Context()); !errors.Is(err, why) {
		t.Errorf("the round ended with %v", err)
	}
}

// The sidecar dies, or the ledger, at each step of a batch: Stripe has its seconds once.
func TestBrokenOff(t *testing.T) {
	t.Parallel()
	const most = 12 // calls of the ledger, more than a batch takes
	for _, how := range []failure{fails, dies} {
		r := newFastRig(t)
		for step := range most {
			a := r.account(t)
			r.ingest(t, call(a, r.lastHour(), 84))
			plan := make([]failure, step+1)
			plan[step] = how
			r.book.set(plan...)
			for range 3 {
				_ = r.reporter().Round(t.Context()) // fails where the ledger does
				r.fake.Advance(15 * time.Minute)
			}
			r.settled(t, r.reporter())
			if got, sum := r.has(t, a), r.totals(t, a); got != 84 || sum.Proven != 84 {
				t.Errorf("failure %d at step %d: Stripe has %d seconds, the ledger %+v", how, step, got, sum)
			}
		}
	}
}

// A reporter that is stopped leaves its work to the next.
func TestStop(t *testing.T) {
	t.Parallel()
	r := newFastRig(t)
	a := r.account(t)
	r.ingest(t, call(a, r.lastHour(), 84))
	r.fake.Inject(stripefake.Fault{Kind: stripefake.Hang, Path: events})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.reporter().Run(ctx)
	}()
	for r.sent() == 0 {
		select {
		case <-done:
			t.Fatal("the reporter has ended by itself")
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	<-done
	r.fake.Advance(time.Hour)
	r.settled(t, r.reporter())
	if got := r.has(t, a); got != 84 {
		t.Errorf("Stripe has %d seconds", got)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	must(t, r.meter.Check(t.Context()))
	must(t, r.meter.Create(t.Context()))
	id, _ := r.fake.Objects("billing.meter")[0]["id"].(string)
	r.fake.AddPrice(id, "eur", 0)
	must(t, r.meter.Check(t.Context()))
	price := r.fake.AddPrice(id, "eur", 7)
	if err := r.meter.Check(t.Context()); !errors.Is(err, usage.ErrMeter) || !strings.Contains(err.Error(), price) {
		t.Errorf("a meter with a price: %v", err)
	}
	if _, err := r.post("/v1/billing/meters/"+id+"/deactivate", ""); err != nil {
		t.Fatal(err)
	}
	if err := r.meter.Check(t.Context()); !errors.Is(err, usage.ErrMeter) || !strings.Contains(err.Error(), usage.EventName) {
		t.Errorf("without a meter: %v", err)
	}
	a := r.account(t)
	r.ingest(t, call(a, r.lastHour(), 84))
	reporter := r.reporter()
	if err := reporter.Round(t.Context()); !errors.Is(err, usage.ErrMeter) {
		t.Errorf("without a meter: %v", err)
	}
	for name, settings := range map[string]string{
		"counts":         "default_aggregation[formula]=count",
		"pre-aggregates": "default_aggregation[formula]=sum&event_time_window=hour",
	} {
		id, err := r.post("/v1/billing/meters", "display_name=x&event_name="+usage.EventName+"&"+settings+
			"&customer_mapping[type]=by_id&customer_mapping[event_payload_key]=stripe_customer_id&value_settings[event_payload_key]=value")
		must(t, err)
		if err := r.meter.Check(t.Context()); !errors.Is(err, usage.ErrMeter) {
			t.Errorf("a meter that %s: %v", name, err)
		}
		_, err = r.post("/v1/billing/meters/"+id+"/deactivate", "")
		must(t, err)
	}
	if _, err := r.post("/v1/billing/meters/"+id+"/reactivate", ""); err != nil {
		t.Fatal(err)
	}
	r.fake.Advance(time.Hour)
	r.settled(t, reporter)
	if got := r.has(t, a); got != 84 {
		t.Errorf("Stripe has %d seconds", got)
	}
}

// For whatever calls, late records, corrections and failures: in the end Stripe has the seconds of the ledger's settled
// calls, once.
func TestProperty(t *testing.T) {
	t.Parallel()
	r := newFastRig(t)
	ctx := t.Context()
	reporters := []*usage.Reporter{r.reporter(), r.reporter()}
	rapid.Check(t, func(t *rapid.T) {
		accounts := []string{r.account(t), r.account(t)}
		var unsettled []authz.Record
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			a := rapid.SampledFrom(accounts).Draw(t, "account")
			switch rapid.IntRange(0, 11).Draw(t, "step") {
			case 0, 1, 2:
				ago := time.Duration(rapid.IntRange(0, 6*3600).Draw(t, "ago")) * time.Second
				if rapid.IntRange(0, 3).Draw(t, "old") == 0 {
					ago += 33*24*time.Hour + 20*time.Hour // Stripe takes those of up to 34 days
				}
				c := call(a, r.fake.Now().Add(-ago), rapid.Int64Range(0, 500).Draw(t, "seconds"))
				if rapid.Bool().Draw(t, "lost") {
					c.State = authz.StateLost
					unsettled = append(unsettled, c)
				}
				r.ingest(t, c)
			case 3:
				if len(unsettled) > 0 {
					c := unsettled[0]
					unsettled = unsettled[1:]
					c.State, c.TalkMS = authz.StateSettled, 1000*rapid.Int64Range(0, 500).Draw(t, "settled seconds")
					r.ingest(t, c)
				}
			case 4:
				fault := stripefake.Fault{Kind: rapid.SampledFrom([]stripefake.FaultKind{stripefake.Refuse, stripefake.Cut, stripefake.Lose}).Draw(t, "fault"),
					Status: rapid.SampledFrom([]int{400, 409, 429, 500, 503}).Draw(t, "status"), Times: rapid.IntRange(1, 5).Draw(t, "times"),
					Skip: rapid.IntRange(0, 2).Draw(t, "skip")}
				if rapid.Bool().Draw(t, "of events") {
					fault.Path = events
				}
				r.fake.Inject(fault)
			case 5:
				r.book.set(rapid.SliceOfN(rapid.SampledFrom([]failure{works, works, fails, dies}), 1, 8).Draw(t, "ledger")...)
			case 6:
				r.fake.SetMeterLag(time.Duration(rapid.IntRange(0, 80).Draw(t, "lag")) * rapid.SampledFrom([]time.Duration{time.Minute, 30 * time.Minute}).Draw(t, "of"))
			case 7:
				days := rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2, 36}).Draw(t, "days")
				r.fake.Advance(time.Duration(days)*24*time.Hour + time.Duration(rapid.IntRange(1, 180).Draw(t, "minutes"))*time.Minute)
			default:
				_ = reporters[rapid.IntRange(0, 1).Draw(t, "sidecar")].Round(ctx) // fails where Stripe does
			}
		}
		// A last call pays back what may be owed.
		for _, a := range accounts {
			r.ingest(t, call(a, r.fake.Now(), 20_000))
		}
		r.fake.SetMeterLag(0)
		r.fake.Advance(3 * time.Hour)
		r.settled(t, reporters...)
		for _, a := range accounts {
			sum := r.totals(t, a)
			if got := r.has(t, a); got != sum.Settled || sum.Proven != sum.Settled || sum.Owed != 0 {
				t.Fatalf("Stripe has %d seconds, the ledger %+v", got, sum)
			}
		}
	})
}
