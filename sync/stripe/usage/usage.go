package usage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

// Stripe is the meter (type [Meter]).
type Stripe interface {
	Send(ctx context.Context, e Event) error
	Sum(ctx context.Context, customer string, minute time.Time) (int64, error)
}

// Book is the ledger (package sync/ledger).
type Book interface {
	FreezeUsage(ctx context.Context, now, over time.Time) (int, error)
	ClaimUsage(ctx context.Context, now time.Time, lease time.Duration, limit int) ([]ledger.UsageBatch, error)
	BeginUsage(ctx context.Context, b ledger.UsageBatch, now, oldest time.Time) (ledger.UsageBatch, error)
	SaveUsage(ctx context.Context, b ledger.UsageBatch) error
	UsageQueue(ctx context.Context) ([]ledger.UsageQueue, error)
}

// Config is what a Reporter works with. A zero value that has a default is that.
type Config struct {
	Book   Book
	Stripe Stripe
	// Customer gives an account's customer at Stripe, which is made where there is none. Errors: ErrRefused (that
	// account's); any other: none can be had now.
	Customer func(ctx context.Context, account string) (string, error)
	// Gone has an account's customer made anew, which Stripe does not have. Nil: nobody does.
	Gone func(ctx context.Context, account string) error
	// Turn gives this sidecar the turn for a time, in which no other has it, or tells that it is not given. Nil: always.
	Turn func(ctx context.Context, lasts time.Duration) (bool, error)

	Every  time.Duration // between two rounds, 1 min
	Settle time.Duration // after an hour's end, for its last records to arrive, 10 min
	Rate   float64       // requests to Stripe a second, 10; of all sidecars together, by Turn
	Look   time.Duration // after an event was sent, and between two looks at its minute, 10 min
	Absent time.Duration // how long a minute has to be empty for its event to be sent again, 1 h
	Known  time.Duration // the same where Stripe says that it has the event, or would not know it again, 3 days
	Oldest time.Duration // age up to which Stripe takes an event, 34 days: a day less than it says
	Lease  time.Duration // how long a batch is claimed, 5 min

	Now     func() time.Time
	Log     *slog.Logger
	Metrics *Metrics
}

func (c Config) withDefaults() Config {
	c.Every, c.Settle = cmp.Or(c.Every, time.Minute), cmp.Or(c.Settle, 10*time.Minute)
	c.Rate = cmp.Or(c.Rate, 10)
	c.Look, c.Absent = cmp.Or(c.Look, 10*time.Minute), cmp.Or(c.Absent, time.Hour)
	c.Known = cmp.Or(c.Known, 3*24*time.Hour)
	c.Oldest, c.Lease = cmp.Or(c.Oldest, 34*24*time.Hour), cmp.Or(c.Lease, 5*time.Minute)
	if c.Gone == nil {
		c.Gone = func(context.Context, string) error { return nil }
	}
	if c.Turn == nil {
		c.Turn = func(context.Context, time.Duration) (bool, error) { return true, nil }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	return c
}

const (
	// claimed is how many batches are claimed at once; each takes at most two requests.
	claimed = 5
	// oneRequest bounds a request and what waits for it, so that claimed batches are done within their lease.
	oneRequest = 20 * time.Second
	firstPause = time.Minute // after a failure
	longPause  = time.Hour
	unique     = 20 * time.Hour  // how long Stripe knows an event again by its identifier: 4 hours less than it says
	sayEvery   = time.Hour       // that usage cannot be reported
	saveTime   = 5 * time.Second // for a last word to the ledger when the work is stopped

	logError = "error"
	logBatch = "batch"
	logMade  = "batches"
)

// Reporter reports usage. Any number of sidecars may run one on one ledger.
type Reporter struct {
	cfg   Config
	limit *rate.Limiter
}

// New makes a Reporter; [Reporter.Run] makes it work.
func New(cfg Config) *Reporter {
	cfg = cfg.withDefaults()
	return &Reporter{cfg: cfg, limit: rate.NewLimiter(rate.Limit(cfg.Rate), 1)}
}

// Run reports in rounds until ctx is done.
func (r *Reporter) Run(ctx context.Context) {
	tick := time.NewTicker(r.cfg.Every)
	defer tick.Stop()
	var said time.Time // zero: all is well
	for {
		ours, err := r.round(ctx)
		switch now := r.cfg.Now(); {
		case err == nil && ours:
			said = time.Time{}
		case err == nil:
		case ctx.Err() == nil && now.Sub(said) >= sayEvery:
			r.cfg.Log.Warn("usage is not reported now; it waits in the ledger", logError, err)
			said = now
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Round freezes what is over, sends what is due and looks at what was sent, until nothing is due, its turn is over or
// Stripe does not answer. Where it is another's turn, it does nothing. Errors: why it stopped early.
func (r *Reporter) Round(ctx context.Context) error {
	_, err := r.round(ctx)
	return err
}

// round tells whether it had the turn.
func (r *Reporter) round(ctx context.Context) (ours bool, err error) {
	defer r.measure(ctx)
	lasts := r.cfg.Every - r.cfg.Every/10 // over when the next round begins
	over := r.cfg.Now().Add(lasts)
	if ours, err = r.cfg.Turn(ctx, lasts); err != nil || !ours {
		return ours, err
	}
	return true, r.report(ctx, over)
}

// report works until its turn is over.
func (r *Reporter) report(ctx context.Context, over time.Time) error {
	now := r.cfg.Now()
	made, err := r.cfg.Book.FreezeUsage(ctx, now, now.Add(-r.cfg.Settle).UTC().Truncate(time.Hour))
	if err != nil {
		return err
	}
	if made > 0 {
		r.cfg.Log.Debug("usage frozen", logMade, made)
	}
	for {
		batches, err := r.cfg.Book.ClaimUsage(ctx, r.cfg.Now(), r.cfg.Lease, claimed)
		if err != nil || len(batches) == 0 {
			return err
		}
		for i, b := range batches {
			if !r.cfg.Now().Before(over) {
				r.release(ctx, batches[i:])
				return nil
			}
			if err := r.work(ctx, b); err != nil {
				r.release(ctx, batches[i+1:])
				return err
			}
		}
	}
}

// release ends claims on batches that nothing was done with.
func (r *Reporter) release(ctx context.Context, batches []ledger.UsageBatch) {
	for _, b := range batches {
		b.DueAt = r.cfg.Now().Add(firstPause)
		if err := r.save(ctx, b); err != nil {
			return // the lease ends them
		}
	}
}

// save notes what became of a batch, even when the work is being stopped. Another's claim is no error.
func (r *Reporter) save(ctx context.Context, b ledger.UsageBatch) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTime)
	defer cancel()
	err := r.cfg.Book.SaveUsage(ctx, b)
	if errors.Is(err, ledger.ErrConflict) {
		return nil
	}
	return err
}

// work brings a batch one step on. Errors: neither Stripe nor the ledger can be worked with now.
func (r *Reporter) work(ctx context.Context, b ledger.UsageBatch) error {
	asking, cancel := context.WithTimeout(ctx, oneRequest)
	customer, err := r.cfg.Customer(asking, b.Account)
	cancel()
	if err != nil {
		return r.postpone(ctx, b, fmt.Errorf("customer of account %q: %w", b.Account, err), r.pause(&b, err))
	}
	if b.State == ledger.UsageFrozen {
		return r.send(ctx, b, customer)
	}
	return r.look(ctx, b, customer)
}

// postpone has a batch tried again later. A problem that is not its own ends the round.
func (r *Reporter) postpone(ctx context.Context, b ledger.UsageBatch, why error, pause time.Duration) error {
	if errors.Is(why, ErrCustomer) {
		if err := r.cfg.Gone(ctx, b.Account); err != nil {
			return err
		}
	}
	b.DueAt, b.Problem = r.cfg.Now().Add(pause), why.Error()
	if err := r.save(ctx, b); err != nil {
		return err
	}
	if !itsOwn(why) || ctx.Err() != nil {
		return why
	}
	r.cfg.Log.Warn("usage batch not reported yet", logBatch, b.Identifier, logError, why)
	return nil
}

// pause is how long a batch waits after a failure: if it is the batch's own, the longer, the longer that waits already.
func (r *Reporter) pause(b *ledger.UsageBatch, why error) time.Duration {
	if !itsOwn(why) {
		return firstPause
	}
	return min(max(r.cfg.Now().Sub(cmp.Or(b.SentAt, b.CreatedAt)), firstPause), longPause)
}

// send sends a batch that is known not to be with Stripe.
func (r *Reporter) send(ctx context.Context, was ledger.UsageBatch, customer string) error {
	if err := r.limit.Wait(ctx); err != nil {
		return r.postpone(ctx, was, err, firstPause)
	}
	now := r.cfg.Now()
	b, err := r.cfg.Book.BeginUsage(ctx, was, now, now.Add(-r.cfg.Oldest))
	if errors.Is(err, ledger.ErrConflict) {
		return nil // somebody else has it by now
	}
	if err != nil {
		return err
	}
	request, cancel := context.WithTimeout(ctx, oneRequest)
	err = r.cfg.Stripe.Send(request, Event{Identifier: b.Identifier, Attempt: b.Attempts, Customer: customer, Seconds: b.Seconds, At: b.Minute})
	cancel()
	switch {
	case err == nil:
		r.cfg.Metrics.attempts.WithLabelValues(taken).Inc()
		b.DueAt, b.Problem = r.cfg.Now().Add(r.cfg.Look), ""
		return r.save(ctx, b)
	case errors.Is(err, ErrKnown):
		r.cfg.Metrics.attempts.WithLabelValues(known).Inc()
		b.State, b.DueAt, b.Problem = ledger.UsageKnown, r.cfg.Now().Add(r.cfg.Look), "Stripe has the event, but does not count it yet"
		return r.save(ctx, b)
	case errors.Is(err, ErrRefused):
		// As before the attempt: what was known of earlier ones still is.
		r.cfg.Metrics.attempts.WithLabelValues(refused).Inc()
		b.State, b.SentAt, b.AbsentAt = was.State, was.SentAt, was.AbsentAt
		return r.postpone(ctx, b, err, r.pause(&b, err))
	}
	r.cfg.Metrics.attempts.WithLabelValues(unsure).Inc()
	return r.postpone(ctx, b, fmt.Errorf("nobody knows whether it arrived: %w", err), r.cfg.Look)
}

// itsOwn tells whether an error is that of one batch, and others may do better.
func itsOwn(err error) bool {
	return errors.Is(err, ErrRefused) && !errors.Is(err, ErrNotNow) && !errors.Is(err, ErrMeter)
}

// look looks for a batch that may be with Stripe in its minute.
func (r *Reporter) look(ctx context.Context, b ledger.UsageBatch, customer string) error {
	if err := r.limit.Wait(ctx); err != nil {
		return r.postpone(ctx, b, err, firstPause)
	}
	asking, cancel := context.WithTimeout(ctx, oneRequest)
	sum, err := r.cfg.Stripe.Sum(asking, customer, b.Minute)
	cancel()
	if err != nil {
		return r.postpone(ctx, b, err, r.pause(&b, err))
	}
	now := r.cfg.Now()
	switch {
	case sum == b.Seconds:
		r.cfg.Metrics.proven.Inc()
		r.cfg.Metrics.seconds.Add(float64(b.Seconds))
		b.State, b.ProvenAt, b.AbsentAt, b.DueAt, b.Problem = ledger.UsageProven, now, time.Time{}, time.Time{}, ""
		return r.save(ctx, b)
	case sum != 0:
		r.cfg.Metrics.wrong.Inc()
		r.cfg.Log.Error("Stripe holds something else than was reported", logBatch, b.Identifier, "reported_seconds", b.Seconds, "found_seconds", sum)
		b.State, b.AbsentAt, b.DueAt = ledger.UsageWrong, time.Time{}, now.Add(longPause)
		b.Problem = fmt.Sprintf("Stripe has %d seconds in its minute, %s", sum, b.Minute.Format(time.RFC3339))
		return r.save(ctx, b)
	case b.AbsentAt.IsZero():
		if b.State == ledger.UsageWrong {
			b.State = ledger.UsageSent
		}
		b.AbsentAt, b.DueAt = now, now.Add(min(r.cfg.Look, r.cfg.Absent))
		return r.save(ctx, b)
	case now.Sub(b.AbsentAt) < r.cfg.Absent:
		b.DueAt = now.Add(min(r.cfg.Look, b.AbsentAt.Add(r.cfg.Absent).Sub(now)))
		return r.save(ctx, b)
	case b.State == ledger.UsageSent && now.Sub(b.SentAt) < unique && !b.Minute.Before(now.Add(-r.cfg.Oldest)):
		return r.send(ctx, b, customer) // if it is on its way, Stripe knows it
	case now.Sub(b.AbsentAt) < r.cfg.Known:
		b.DueAt = now.Add(min(longPause, b.AbsentAt.Add(r.cfg.Known).Sub(now)))
		return r.save(ctx, b)
	}
	b.State, b.SentAt, b.AbsentAt = ledger.UsageFrozen, time.Time{}, time.Time{} // no attempt has arrived
	return r.send(ctx, b, customer)
}

// measure shows what waits.
func (r *Reporter) measure(ctx context.Context) {
	queue, err := r.cfg.Book.UsageQueue(ctx)
	if err != nil {
		return // the round has said so
	}
	waiting := make(map[ledger.UsageState]int64)
	var oldest time.Time
	for _, q := range queue {
		waiting[q.State] = q.Batches
		if oldest.IsZero() || q.Oldest.Before(oldest) {
			oldest = q.Oldest
		}
	}
	for _, state := range []ledger.UsageState{ledger.UsageFrozen, ledger.UsageSent, ledger.UsageKnown, ledger.UsageWrong} {
		r.cfg.Metrics.waiting.WithLabelValues(string(state)).Set(float64(waiting[state]))
	}
	age := 0.0
	if !oldest.IsZero() {
		age = r.cfg.Now().Sub(oldest).Seconds()
	}
	r.cfg.Metrics.oldest.Set(age)
}
