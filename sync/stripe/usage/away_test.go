package usage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
	"github.com/hmsovereign/ringfence/sync/stripe/usage"
)

// A Stripe that cannot be reached ends a round at its first batch, with an error and no word on that batch; the batch has
// not been sent.
func TestAway(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		found bool // the meter, before
		away  func(*rig) error
	}{
		"nobody listens":                  {true, func(r *rig) error { return r.fake.Close() }},
		"nobody listens, meter not found": {false, func(r *rig) error { return r.fake.Close() }},
		"no answer to what meters are":    {false, func(r *rig) error { return r.failing("/v1/billing/meters", 500) }},
		"a refusal to what meters are":    {false, func(r *rig) error { return r.failing("/v1/billing/meters", 400) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newFastRig(t)
			a := r.account(t)
			for range 3 {
				b := r.account(t)
				r.ingest(t, call(b, r.lastHour(), 84))
			}
			r.ingest(t, call(a, r.lastHour(), 84))
			meter := r.meter
			if !c.found {
				meter = r.fresh()
			}
			must(t, c.away(r))
			var log bytes.Buffer
			reporter := usage.New(usage.Config{Book: r.book, Stripe: meter, Customer: r.customer, Rate: 1e6, Now: r.fake.Now, Log: slog.New(slog.NewTextHandler(&log, nil))})
			if err := reporter.Round(t.Context()); !errors.Is(err, usage.ErrNotNow) || !errors.Is(err, usage.ErrRefused) {
				t.Errorf("the round ended with %v", err)
			}
			if log.Len() > 0 {
				t.Errorf("said of batches: %s", log.String())
			}
			queue, err := r.ledger.UsageQueue(t.Context())
			must(t, err)
			if len(queue) != 1 || queue[0].State != ledger.UsageFrozen || queue[0].Batches != 4 {
				t.Errorf("what waits is %+v", queue)
			}
		})
	}
}

// An account whose customer Stripe refuses keeps no other back; where no customer can be had, the round ends.
func TestNoCustomer(t *testing.T) {
	t.Parallel()
	r := newFastRig(t)
	a, b := r.account(t), r.account(t)
	r.ingest(t, call(a, r.lastHour().Add(-time.Hour), 84), call(b, r.lastHour(), 5))
	why := fmt.Errorf("%w: no", usage.ErrRefused)
	reporter := usage.New(usage.Config{Book: r.book, Stripe: r.meter, Rate: 1e6, Now: r.fake.Now, Customer: func(ctx context.Context, account string) (string, error) {
		if account == a {
			return "", why
		}
		return r.customer(ctx, account)
	}})
	must(t, reporter.Round(t.Context()))
	if r.has(t, a) != 0 || r.has(t, b) != 5 {
		t.Errorf("Stripe has %d and %d seconds", r.has(t, a), r.has(t, b))
	}
	why = errors.New("Stripe does not answer")
	r.fake.Advance(2 * time.Hour)
	if err := reporter.Round(t.Context()); !errors.Is(err, why) {
		t.Errorf("the round ended with %v", err)
	}
}

// A batch of a customer that stays gone is looked at less and less often; each time the customer is asked for.
func TestStaysGone(t *testing.T) {
	t.Parallel()
	r := newFastRig(t)
	a := r.account(t)
	customer, err := r.customer(t.Context(), a)
	must(t, err)
	_, err = r.ledger.SetCustomer(t.Context(), a, customer, "cus_gone")
	must(t, err)
	r.ingest(t, call(a, r.lastHour(), 84))
	asked := 0
	reporter := usage.New(usage.Config{Book: r.book, Stripe: r.meter, Customer: r.customer, Rate: 1e6, Now: r.fake.Now, Gone: func(_ context.Context, account string) error {
		if account != a {
			t.Errorf("asked for the customer of %s", account)
		}
		asked++
		return nil
	}})
	for range 6 * 60 {
		must(t, reporter.Round(t.Context()))
		r.fake.Advance(time.Minute)
	}
	looks := 0
	for _, request := range r.fake.Requests() {
		if strings.HasSuffix(request.Path, "/event_summaries") {
			looks++
		}
	}
	if looks < 6 || looks > 10 || asked != looks {
		t.Errorf("looked %d times in 6 hours, asked for the customer %d times", looks, asked)
	}
}

// away is a ledger that does not answer.
type away struct{ usage.Book }

func (away) FreezeUsage(context.Context, time.Time, time.Time) (int, error) {
	return 0, ledger.ErrUnavailable
}

func (away) UsageQueue(context.Context) ([]ledger.UsageQueue, error) {
	return nil, ledger.ErrUnavailable
}

// That usage is not reported is said once an hour, also by sidecars that take turns.
func TestSaidHourly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour-time.Second)
		defer cancel()
		var log bytes.Buffer
		ours := false
		usage.New(usage.Config{Book: away{}, Log: slog.New(slog.NewTextHandler(&log, nil)), Turn: func(context.Context, time.Duration) (bool, error) {
			ours = !ours
			return ours, nil
		}}).Run(ctx)
		if said := strings.Count(log.String(), "usage is not reported now"); said != 3 {
			t.Errorf("said %d times in 3 hours: %s", said, log.String())
		}
	})
}

// failing has Stripe refuse all requests for a path.
func (r *rig) failing(path string, status int) error {
	r.fake.Inject(stripefake.Fault{Kind: stripefake.Refuse, Method: http.MethodGet, Path: path, Status: status, Times: 1 << 30})
	return nil
}
