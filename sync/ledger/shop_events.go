package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// EventState is how far an event of Stripe's is.
type EventState string

// The states of an event.
const (
	EventWaiting EventState = "waiting" // saved, to be worked
	EventDone    EventState = "done"
	EventAside   EventState = "aside" // nothing could be made of it: somebody has to look
)

// StripeEvent is what Stripe told, once.
type StripeEvent struct {
	ID       string // evt_...
	Type     string
	Object   string // id of what it is about
	Need     int64  // lower is worked first
	Body     []byte
	State    EventState
	Attempts int64
	Problem  string // of the last attempt; empty: none

	CreatedAt  time.Time // by Stripe's clock
	ReceivedAt time.Time
	DueAt      time.Time // when it is worked next
	DoneAt     time.Time // zero: not yet
}

// AddEvent keeps an event, to be worked from now on, and tells whether it is new: Stripe sends each at least once.
// Errors: ErrInvalid.
func (l *Ledger) AddEvent(ctx context.Context, e StripeEvent) (created bool, err error) {
	now := l.timestamp()
	e.CreatedAt, e.ReceivedAt, e.DueAt, e.State = l.keptOr(e.CreatedAt), now, now, EventWaiting
	what := fmt.Sprintf("keep event %q", e.ID)
	if err := errors.Join(checkGiven(field{"id", e.ID}, field{"type", e.Type}),
		checkTexts(field{"id", e.ID}, field{"type", e.Type}, field{"object", e.Object}), checkMoment("created", e.CreatedAt.UnixMilli())); err != nil {
		return false, wrap(what, err)
	}
	err = l.Update(ctx, func(tx *Tx) error {
		n, err := tx.c.Exec(ctx, tx.sql.EventInsert, e.ID, e.Type, e.Object, e.Need, e.Body, string(e.State), int64(0), "", e.CreatedAt, e.ReceivedAt, e.DueAt, time.Time{})
		created = n > 0
		return err
	})
	return created, wrap(what, err)
}

// ClaimEvent gives the event that is needed most, and to nobody else for so long. Errors: ErrNotFound (none is due).
func (l *Ledger) ClaimEvent(ctx context.Context, lease time.Duration) (StripeEvent, error) {
	var e StripeEvent
	now := l.timestamp()
	err := l.Update(ctx, func(tx *Tx) (err error) {
		e, err = one(ctx, tx.c, tx.sql.EventsClaim, []any{now, now.Add(lease)}, readEvent)
		return err
	})
	return e, wrap("claim an event", err)
}

// FinishEvent keeps what became of an event: done, aside with a problem, or waiting until due, with the problem why.
func (l *Ledger) FinishEvent(ctx context.Context, id string, state EventState, problem string, due time.Time) error {
	return l.changeEvent(ctx, id, func(e *StripeEvent) {
		e.State, e.Problem, e.DueAt = state, printable(problem), l.keptOr(due)
	})
}

// ReplayEvent has an event worked again, whatever became of it. Errors: ErrNotFound.
func (l *Ledger) ReplayEvent(ctx context.Context, id string) error {
	return l.changeEvent(ctx, id, func(e *StripeEvent) {
		e.State, e.Problem, e.DueAt, e.Attempts = EventWaiting, "", l.timestamp(), 0
	})
}

func (l *Ledger) changeEvent(ctx context.Context, id string, change func(*StripeEvent)) error {
	err := l.Update(ctx, func(tx *Tx) error {
		e, err := one(ctx, tx.c, tx.sql.Event, []any{id}, readEvent)
		if err != nil {
			return err
		}
		change(&e)
		e.DoneAt = time.Time{}
		if e.State == EventDone {
			e.DoneAt = l.timestamp()
		}
		_, err = tx.c.Exec(ctx, tx.sql.EventUpdate, e.ID, string(e.State), e.Problem, e.DueAt, e.DoneAt, e.Attempts)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		err = problem(ErrNotFound, "there is no event %q", id)
	}
	return wrap("event", err)
}

// PruneEvents forgets events that were worked before a time, and tells how many.
func (l *Ledger) PruneEvents(ctx context.Context, before time.Time) (n int64, err error) {
	err = l.Update(ctx, func(tx *Tx) (err error) {
		n, err = tx.c.Exec(ctx, tx.sql.EventsPrune, kept(before))
		return err
	})
	return n, wrap("prune events", err)
}

// Event returns an event. Errors: ErrNotFound.
func (l *Ledger) Event(ctx context.Context, id string) (StripeEvent, error) {
	var e StripeEvent
	err := l.view(ctx, func(tx *Tx) (err error) {
		e, err = one(ctx, tx.c, tx.sql.Event, []any{id}, readEvent)
		return err
	})
	return e, wrap(fmt.Sprintf("event %q", id), err)
}

// ShopCounts says how much there is of what.
type ShopCounts struct {
	Waiting, Aside, Done  int64 // events
	Open, Paid, Abandoned int64 // purchases; abandoned are those that failed or expired
	LastEvent             time.Time
}

// ShopCounts counts events and purchases.
func (l *Ledger) ShopCounts(ctx context.Context) (ShopCounts, error) {
	var n ShopCounts
	err := l.view(ctx, func(tx *Tx) error {
		_, err := one(ctx, tx.c, tx.sql.EventsCount, nil, func(row Scanner) (struct{}, error) {
			return struct{}{}, row.Scan(&n.Waiting, &n.Aside, &n.Done)
		})
		if err != nil {
			return err
		}
		_, err = one(ctx, tx.c, tx.sql.PurchasesCount, nil, func(row Scanner) (struct{}, error) {
			return struct{}{}, row.Scan(&n.Open, &n.Paid, &n.Abandoned)
		})
		if err != nil {
			return err
		}
		n.LastEvent, err = one(ctx, tx.c, tx.sql.EventNewest, nil, column[time.Time])
		if errors.Is(err, ErrNotFound) {
			err = nil
		}
		return err
	})
	return n, wrap("count events and purchases", err)
}

// EventsAside returns events that nothing could be made of, newest first, and those that fail and are tried again.
func (l *Ledger) EventsAside(ctx context.Context, limit int) (aside, failing []StripeEvent, err error) {
	err = l.view(ctx, func(tx *Tx) (err error) {
		if aside, err = list(ctx, tx.c, tx.sql.EventsAside, []any{rows(limit)}, readEvent); err != nil {
			return err
		}
		failing, err = list(ctx, tx.c, tx.sql.EventsFailing, []any{rows(limit)}, readEvent)
		return err
	})
	return aside, failing, wrap("events aside", err)
}

func readEvent(row Scanner) (StripeEvent, error) {
	var e StripeEvent
	err := row.Scan(&e.ID, &e.Type, &e.Object, &e.Need, &e.Body, &e.State, &e.Attempts, &e.Problem, &e.CreatedAt, &e.ReceivedAt, &e.DueAt, &e.DoneAt)
	return e, err
}

// ClaimMark lets one sidecar at a time do something, such as reading Stripe's list of events: it tells up to when that
// was done, first if never, and nobody else gets it for the interval. Errors: ErrNotFound (not due yet).
func (l *Ledger) ClaimMark(ctx context.Context, name string, first time.Time, interval time.Duration) (time.Time, error) {
	var at time.Time
	now := l.timestamp()
	err := l.Update(ctx, func(tx *Tx) (err error) {
		at, err = one(ctx, tx.c, tx.sql.MarkClaim, []any{name, kept(first), now, now.Add(interval)}, column[time.Time])
		return err
	})
	return at, wrap(fmt.Sprintf("claim mark %q", name), err)
}

// MoveMark notes that something is done up to a time. A mark never moves back.
func (l *Ledger) MoveMark(ctx context.Context, name string, at time.Time) error {
	err := l.Update(ctx, func(tx *Tx) error {
		_, err := tx.c.Exec(ctx, tx.sql.MarkMove, name, kept(at))
		return err
	})
	return wrap(fmt.Sprintf("move mark %q", name), err)
}

// Mark tells up to when something is done, and when it is due again. Errors: ErrNotFound (never claimed).
func (l *Ledger) Mark(ctx context.Context, name string) (at, due time.Time, err error) {
	err = l.view(ctx, func(tx *Tx) error {
		_, err := one(ctx, tx.c, tx.sql.Mark, []any{name}, func(row Scanner) (struct{}, error) {
			return struct{}{}, row.Scan(&at, &due)
		})
		return err
	})
	return at, due, wrap(fmt.Sprintf("mark %q", name), err)
}
