package notify

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

// work delivers what is due of a lane, as far as its lease and its breaker allow, and tells whether anything was tried.
func (n *Notifier) work(ctx, hard context.Context, of ledger.Lane) (tried bool, err error) {
	started := n.now()
	e, got, err := n.ledger.LeaseEndpoint(ctx, of, n.cfg.Holder, started, started.Add(n.cfg.Lease))
	if err != nil || !got {
		return false, err
	}
	defer func() {
		note, cancel := context.WithTimeout(context.WithoutCancel(hard), noteWithin)
		defer cancel()
		if err := n.ledger.FreeEndpoint(note, of, n.cfg.Holder, n.now()); err != nil {
			n.log.Warn("an endpoint's lease is not given back; it runs out", "error", err)
		}
	}()
	r := &round{n: n, endpoint: e, was: e, until: started.Add(n.cfg.Lease / 2)}
	for ctx.Err() == nil && n.now().Before(r.until) {
		limit := batchSize
		if e.Failures >= tripAfter { // a probe
			limit = 1
		}
		due, err := n.ledger.DueDeliveries(ctx, of, n.now(), limit)
		if err != nil || len(due) == 0 {
			return tried, err
		}
		tried = true
		if err := r.deliver(ctx, hard, due); err != nil {
			return tried, err
		}
		if e = r.endpoint; e.OpenUntil.After(n.now()) {
			break
		}
	}
	return tried, nil
}

// round is one turn of work at an endpoint.
type round struct {
	n     *Notifier
	until time.Time

	mu       sync.Mutex
	endpoint ledger.Endpoint
	was      ledger.Endpoint // as the ledger has it
	err      error           // of the ledger
}

// deliver tries deliveries: those of one topic one after the other, some topics at once.
func (r *round) deliver(ctx, hard context.Context, due []ledger.Delivery) error {
	all := lanes(due)
	tried := make(chan []ledger.Delivery, len(all))
	var wg, noting sync.WaitGroup
	noting.Go(func() { r.writeDown(hard, tried) })
	slots := make(chan struct{}, perEndpoint)
	for _, lane := range all {
		slots <- struct{}{} // tries are bounded, so this is
		wg.Go(func() {
			defer func() { <-slots }()
			if some := r.lane(ctx, hard, lane); len(some) > 0 {
				tried <- some
			}
		})
	}
	wg.Wait()
	close(tried)
	noting.Wait()
	if r.err != nil {
		return r.err
	}
	return r.note(hard)
}

// lanes parts deliveries by topic, in the order of their first; those without are each for themselves.
func lanes(due []ledger.Delivery) [][]ledger.Delivery {
	var out [][]ledger.Delivery
	at := map[string]int{}
	for _, d := range due {
		i, known := at[d.Topic]
		if d.Topic == "" || !known {
			i = len(out)
			out = append(out, nil)
			at[d.Topic] = i
		}
		out[i] = append(out[i], d)
	}
	return out
}

// writeDown notes what was tried: all that has come while the one before was being written, in one transaction.
func (r *round) writeDown(hard context.Context, tried <-chan []ledger.Delivery) {
	for some := range tried {
	more:
		for {
			select {
			case next := <-tried: // nil once it is closed
				if next == nil {
					break more
				}
				some = append(some, next...)
			default:
				break more
			}
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(hard), noteWithin)
		err := r.n.ledger.NoteDeliveries(ctx, some)
		cancel()
		if err != nil {
			r.mu.Lock()
			r.err = errors.Join(r.err, err)
			r.mu.Unlock()
		}
	}
}

// lane delivers one topic's messages in order, up to the first that fails, and returns those that it tried.
func (r *round) lane(ctx, hard context.Context, lane []ledger.Delivery) (tried []ledger.Delivery) {
	for i := range lane {
		if ctx.Err() != nil || r.over() {
			break
		}
		d := lane[i]
		done := r.try(hard, &d)
		if hard.Err() != nil && !done { // stopped in the middle: it says nothing of the endpoint
			break
		}
		tried = append(tried, d)
		if d.State == ledger.DeliveryPending {
			break
		}
	}
	return tried
}

// over tells whether no further try may begin.
func (r *round) over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err != nil || r.endpoint.OpenUntil.After(r.n.now()) || !r.n.now().Before(r.until)
}

// try makes one try, and tells whether it arrived.
func (r *round) try(ctx context.Context, d *ledger.Delivery) bool {
	n := r.n
	way, begun := "webhook", n.now()
	var err error
	switch {
	case strings.HasPrefix(d.Endpoint, mailScheme):
		way = "mail"
		err = n.mailer.send(ctx, d)
	case d.Secret == "":
		d.State, d.DoneAt, d.Error = ledger.DeliveryDead, begun, "the webhook is gone"
		n.met.dead.Inc()
		return false
	default:
		err = n.sender.try(ctx, d)
	}
	now := n.now()
	n.met.seconds.Observe(now.Sub(begun).Seconds())
	d.Attempts++
	if err == nil {
		n.met.tries.WithLabelValues(way, "delivered").Inc()
		d.State, d.DoneAt, d.Error = ledger.DeliveryDelivered, now, ""
		r.succeeded()
		return true
	}
	if ctx.Err() != nil {
		return false
	}
	n.met.tries.WithLabelValues(way, "failed").Inc()
	n.log.Debug("a customer's message did not arrive", "account", d.Account, "event", d.Event, "delivery", d.ID, "attempt", d.Attempts, "error", err)
	var f *failure
	after := backoff(n.cfg.Backoff, d.Attempts, maxBackoff)
	if errors.As(err, &f) {
		after = max(after, f.after)
	}
	d.Error, d.Due = err.Error(), now.Add(after)
	if now.Sub(d.Since) >= n.cfg.GiveUp {
		d.State, d.DoneAt = ledger.DeliveryDead, now
		n.met.dead.Inc()
		n.log.Warn("a customer's message was given up; see: ringfence webhook list --dead", "account", d.Account, "event", d.Event, "delivery", d.ID, "attempts", d.Attempts)
	}
	r.failed(now)
	return false
}

// backoff doubles from a first pause up to a last one, a fifth more or less, so that what failed together does not
// come back together.
func backoff(first time.Duration, attempts int64, last time.Duration) time.Duration {
	d := last
	if shift := attempts - 1; shift < 30 && first<<shift < last {
		d = first << shift
	}
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

func (r *round) succeeded() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endpoint.Failures, r.endpoint.OpenUntil = 0, time.Time{}
}

func (r *round) failed(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endpoint.Failures++
	if r.endpoint.Failures >= tripAfter {
		r.endpoint.OpenUntil = now.Add(backoff(r.n.cfg.Cool, r.endpoint.Failures-tripAfter+1, maxCool))
	}
}

// note writes down what was found out about the endpoint.
func (r *round) note(hard context.Context) error {
	if r.endpoint == r.was {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(hard), noteWithin)
	defer cancel()
	n, e, was := r.n, r.endpoint, r.was
	if err := n.ledger.NoteEndpoint(ctx, e, n.cfg.Holder); err != nil {
		return err
	}
	r.was = e
	switch {
	case e.Failures >= tripAfter:
		n.met.opened.Inc()
		if was.Failures < tripAfter {
			n.log.Warn("a customer's endpoint fails; it is tried now and then", "endpoint", shown(e.Endpoint), "until", e.OpenUntil)
		}
		given, err := n.ledger.GiveUp(ctx, e.Lane, n.now().Add(-n.cfg.GiveUp), "the endpoint did not take messages for too long")
		n.met.dead.Add(float64(given))
		return err
	case was.Failures >= tripAfter:
		n.log.Info("a customer's endpoint takes messages again", "endpoint", shown(e.Endpoint))
		return n.ledger.Hasten(ctx, e.Lane, n.now())
	}
	return nil
}
