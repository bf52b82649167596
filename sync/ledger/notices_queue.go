package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
)

// Lane is what an account has for one endpoint. Accounts that share an endpoint have a lane each.
type Lane struct {
	Account  string
	Endpoint string // a URL, or mailto:ADDRESS
}

// Endpoint is a lane as far as it is being worked on or fails.
type Endpoint struct {
	Lane
	Failures  int64 // in a row
	OpenUntil time.Time
}

// ReadyEndpoints returns at most limit lanes, of e-mail or of webhooks, that have something to try, whose breaker is
// closed (or may be tried), and that no sidecar works on: those that wait longest since they were worked on first.
func (l *Ledger) ReadyEndpoints(ctx context.Context, now time.Time, mail bool, limit int) ([]Lane, error) {
	var lanes []Lane
	err := l.view(ctx, func(tx *Tx) (err error) {
		lanes, err = list(ctx, tx.c, tx.sql.EndpointsReady, []any{kept(now), rows(limit), flag(mail)}, func(row Scanner) (Lane, error) {
			var of Lane
			err := row.Scan(&of.Account, &of.Endpoint)
			return of, err
		})
		return err
	})
	return lanes, wrap("endpoints with deliveries", err)
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// LeaseEndpoint takes a lane to work on until a time, unless somebody has it or its breaker has opened meanwhile.
func (l *Ledger) LeaseEndpoint(ctx context.Context, of Lane, holder string, now, until time.Time) (e Endpoint, got bool, err error) {
	err = l.Update(ctx, func(tx *Tx) (err error) {
		e, err = one(ctx, tx.c, tx.sql.EndpointLease, []any{of.Account, of.Endpoint, holder, kept(now), kept(until)}, func(row Scanner) (Endpoint, error) {
			var e Endpoint
			err := row.Scan(&e.Account, &e.Endpoint, &e.Failures, &e.OpenUntil)
			return e, err
		})
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return Endpoint{}, false, nil
	}
	return e, err == nil, wrap("lease endpoint", err)
}

// FreeEndpoint gives a lease back; the lane goes behind those that were not worked on since.
func (l *Ledger) FreeEndpoint(ctx context.Context, of Lane, holder string, now time.Time) error {
	return l.do(ctx, "free endpoint", l.sql.EndpointFree, of.Account, of.Endpoint, holder, kept(now))
}

// FreeEndpoints gives all leases of a holder back: those of its earlier life.
func (l *Ledger) FreeEndpoints(ctx context.Context, holder string) error {
	return l.do(ctx, "free endpoints", l.sql.EndpointsFree, holder)
}

// DropEndpoints forgets the endpoints that nothing waits for and that nobody works on, and tells how many.
func (l *Ledger) DropEndpoints(ctx context.Context, now time.Time) (n int64, err error) {
	err = l.Update(ctx, func(tx *Tx) (err error) {
		n, err = tx.c.Exec(ctx, tx.sql.EndpointsDrop, kept(now))
		return err
	})
	return n, wrap("drop endpoints", err)
}

// NoteEndpoint keeps what its holder has found out about a lane.
func (l *Ledger) NoteEndpoint(ctx context.Context, e Endpoint, holder string) error {
	return l.do(ctx, "note endpoint", l.sql.EndpointNote, e.Account, e.Endpoint, holder, e.Failures, kept(e.OpenUntil))
}

func (l *Ledger) do(ctx context.Context, what, sql string, args ...any) error {
	err := l.Update(ctx, func(tx *Tx) error {
		_, err := tx.c.Exec(ctx, sql, args...)
		return err
	})
	return wrap(what, err)
}

// DueDeliveries returns what is due of a lane, oldest first, with the secrets of the webhooks: nothing of a topic
// of which an earlier delivery waits for a later attempt.
func (l *Ledger) DueDeliveries(ctx context.Context, of Lane, now time.Time, limit int) ([]Delivery, error) {
	return l.deliveries(ctx, l.sql.DeliveriesDue, of.Account, of.Endpoint, kept(now), rows(limit))
}

func (l *Ledger) deliveries(ctx context.Context, sql string, args ...any) ([]Delivery, error) {
	var found []Delivery
	err := l.view(ctx, func(tx *Tx) (err error) {
		found, err = list(ctx, tx.c, sql, args, readDelivery)
		return err
	})
	return found, wrap("deliveries", err)
}

// NoteDeliveries keeps the State, Attempts, Due, Error and DoneAt of deliveries that were tried.
func (l *Ledger) NoteDeliveries(ctx context.Context, tried []Delivery) error {
	args := make([][]any, len(tried))
	for i, d := range tried {
		args[i] = []any{d.ID, d.State, d.Attempts, kept(d.Due), printable(d.Error), kept(d.DoneAt)}
	}
	err := l.Update(ctx, func(tx *Tx) error {
		_, err := tx.c.ExecEach(ctx, tx.sql.DeliveryDone, args)
		return err
	})
	return wrap("note deliveries", err)
}

// GiveUp makes dead letters of what has waited in a lane since a time or longer, and tells how many.
func (l *Ledger) GiveUp(ctx context.Context, of Lane, since time.Time, reason string) (n int64, err error) {
	err = l.Update(ctx, func(tx *Tx) (err error) {
		n, err = tx.c.Exec(ctx, tx.sql.DeliveriesGiveUp, of.Account, of.Endpoint, kept(since), l.timestamp(), printable(reason))
		return err
	})
	return n, wrap("give deliveries up", err)
}

// Delivery returns one delivery. Errors: ErrNotFound.
func (l *Ledger) Delivery(ctx context.Context, id uuid.UUID) (Delivery, error) {
	found, err := l.deliveries(ctx, l.sql.Delivery, id)
	if err == nil && len(found) == 0 {
		err = problem(ErrNotFound, "there is no delivery %s", id)
	}
	if err != nil {
		return Delivery{}, err
	}
	return found[0], nil
}

// Deliveries returns a page of the deliveries of an account (empty: of all) in one state (empty: in any), newest
// first, and how many there are in all.
func (l *Ledger) Deliveries(ctx context.Context, account, state string, limit, offset int) (page []Delivery, total int64, err error) {
	err = l.view(ctx, func(tx *Tx) error {
		if total, err = one(ctx, tx.c, tx.sql.DeliveriesCount, []any{account, state}, column[int64]); err != nil {
			return err
		}
		page, err = list(ctx, tx.c, tx.sql.DeliveriesPage, []any{account, state, rows(limit), rows(offset)}, readDelivery)
		return err
	})
	return page, total, wrap("deliveries", err)
}

func readDelivery(row Scanner) (Delivery, error) {
	var d Delivery
	err := row.Scan(&d.ID, &d.Account, &d.NumberID, &d.Endpoint, &d.Topic, &d.Event, &d.Body, &d.State, &d.Attempts, &d.Due, &d.Since,
		&d.Error, &d.CreatedAt, &d.DoneAt, &d.Secret)
	return d, err
}

// Replay queues a delivery again that was delivered or given up, to where its webhook is now.
// Errors: ErrNotFound, ErrConflict (it waits already).
func (l *Ledger) Replay(ctx context.Context, id uuid.UUID) error {
	err := l.Update(ctx, func(tx *Tx) error {
		n, err := tx.c.Exec(ctx, tx.sql.DeliveryAgain, id, l.timestamp())
		if err != nil || n > 0 {
			return err
		}
		if _, err := one(ctx, tx.c, tx.sql.Delivery, []any{id}, readDelivery); err != nil {
			if errors.Is(err, ErrNotFound) {
				err = problem(ErrNotFound, "there is no delivery %s", id)
			}
			return err
		}
		return problem(ErrConflict, "delivery %s is on its way already", id)
	})
	return wrap("replay", err)
}

// ReplayDead queues all dead letters of an account again, and tells how many.
func (l *Ledger) ReplayDead(ctx context.Context, account string) (n int64, err error) {
	err = l.Update(ctx, func(tx *Tx) (err error) {
		n, err = tx.c.Exec(ctx, tx.sql.DeliveriesAgain, account, l.timestamp())
		return err
	})
	return n, wrap("replay dead letters", err)
}

// DropDeliveries forgets what was delivered before one time and given up before another, batch by batch.
func (l *Ledger) DropDeliveries(ctx context.Context, delivered, dead time.Time, batch int) (int64, error) {
	var all int64
	for _, job := range []struct {
		state  string
		before time.Time
	}{{DeliveryDelivered, delivered}, {DeliveryDead, dead}} {
		for {
			var n int64
			err := l.Update(ctx, func(tx *Tx) (err error) {
				n, err = tx.c.Exec(ctx, tx.sql.DeliveriesDrop, job.state, kept(job.before), rows(max(batch, 1)))
				return err
			})
			all += n
			if err != nil {
				return all, wrap("drop deliveries", err)
			}
			if n < int64(max(batch, 1)) {
				break
			}
		}
	}
	return all, nil
}

// Queue is how much waits to be delivered.
type Queue struct {
	Pending, Dead int64
	Oldest        time.Time // of those pending; zero: none
}

// QueueDepth counts what waits and what was given up.
func (l *Ledger) QueueDepth(ctx context.Context) (q Queue, err error) {
	err = l.view(ctx, func(tx *Tx) (err error) {
		q, err = one(ctx, tx.c, tx.sql.QueueDepth, nil, func(row Scanner) (Queue, error) {
			var q Queue
			err := row.Scan(&q.Pending, &q.Oldest, &q.Dead)
			return q, err
		})
		return err
	})
	return q, wrap("queue depth", err)
}

// Hasten makes all that waits in a lane due.
func (l *Ledger) Hasten(ctx context.Context, of Lane, now time.Time) error {
	return l.do(ctx, "hasten deliveries", l.sql.DeliveriesHasten, of.Account, of.Endpoint, kept(now))
}
