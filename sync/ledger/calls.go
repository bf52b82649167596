package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// Call returns a call by its uid. Errors: ErrNotFound.
func (l *Ledger) Call(ctx context.Context, uid uuid.UUID) (Call, error) {
	var c Call
	err := l.view(ctx, func(tx *Tx) (err error) {
		c, err = one(ctx, tx.c, tx.sql.Call, []any{uid}, readCall)
		return err
	})
	return c, wrap("call "+uid.String(), err)
}

// maxSameID bounds how many calls of one id are looked through: switches reuse ids seldom.
const maxSameID = 100

// CallsByID returns the calls that bore a switch's call id, newest first, at most 100: the legs of an on-net call
// share one, and some switches use an id again after a restart.
func (l *Ledger) CallsByID(ctx context.Context, callID string) ([]Call, error) {
	var found []Call
	err := l.view(ctx, func(tx *Tx) (err error) {
		found, err = list(ctx, tx.c, tx.sql.CallsById, []any{callID, int64(maxSameID)}, readCall)
		return err
	})
	return found, wrap(fmt.Sprintf("calls with id %q", callID), err)
}

// CallByKey returns the newest call of a key. Errors: ErrNotFound.
func (l *Ledger) CallByKey(ctx context.Context, key authz.Key) (Call, error) {
	found, err := l.CallsByID(ctx, key.CallID)
	if err != nil {
		return Call{}, err
	}
	for _, c := range found {
		if c.Key == key {
			return c, nil
		}
	}
	return Call{}, fmt.Errorf("call %s: %w", key, ErrNotFound)
}

// CallsAfterSeq returns an account's calls whose records bear a seq above one, in its order: what a balance store that
// went back has lost.
func (l *Ledger) CallsAfterSeq(ctx context.Context, account string, seq int64, limit int) ([]Call, error) {
	var found []Call
	err := l.view(ctx, func(tx *Tx) (err error) {
		found, err = list(ctx, tx.c, tx.sql.CallsAfterSeq, []any{account, seq, rows(limit)}, readCall)
		return err
	})
	return found, wrap(fmt.Sprintf("calls of account %q after seq %d", account, seq), err)
}

// Calls returns a page of an account's calls of some statuses (of all, where none is named), newest first, and how
// many there are in all. Errors: ErrNotFound.
func (l *Ledger) Calls(ctx context.Context, account string, states []authz.State, limit, offset int) (page []Call, total int64, err error) {
	err = l.view(ctx, func(tx *Tx) error {
		t, err := tx.Totals(ctx, account)
		if err != nil {
			return err
		}
		p := pager{tx: tx, totals: &t, states: states, from: earliest, to: latest, total: t.Calls.Of(states...)}
		total = p.total
		page, err = p.page(ctx, limit, offset)
		return err
	})
	return page, total, wrap(fmt.Sprintf("calls of account %q", account), err)
}

// Usage returns a page of an account's settled and lost calls that ended in [from, to), newest first, and what all
// calls of that time add up to. Zero times mean no limit. Errors: ErrNotFound.
func (l *Ledger) Usage(ctx context.Context, account string, from, to time.Time, limit, offset int) (page []Call, sum Sum, err error) {
	from, to = bounds(from, to)
	err = l.view(ctx, func(tx *Tx) error {
		t, err := tx.Totals(ctx, account)
		if err != nil {
			return err
		}
		if sum, err = tx.sum(ctx, &t, from, to); err != nil {
			return err
		}
		p := pager{tx: tx, totals: &t, states: usageStates, from: from, to: to, total: sum.Calls}
		page, err = p.page(ctx, limit, offset)
		return err
	})
	return page, sum, wrap(fmt.Sprintf("usage of account %q", account), err)
}

// Sum returns what an account's settled and lost calls that ended in [from, to) add up to; zero times mean no limit.
// It takes a few milliseconds however many calls there are. Where retention has dropped the calls of an hour, that
// hour counts whole, in the range that holds its beginning. Errors: ErrNotFound.
func (l *Ledger) Sum(ctx context.Context, account string, from, to time.Time) (Sum, error) {
	from, to = bounds(from, to)
	var sum Sum
	err := l.view(ctx, func(tx *Tx) error {
		t, err := tx.Totals(ctx, account)
		if err != nil {
			return err
		}
		sum, err = tx.sum(ctx, &t, from, to)
		return err
	})
	return sum, wrap(fmt.Sprintf("usage of account %q", account), err)
}

var usageStates = []authz.State{authz.StateSettled, authz.StateLost}

// bounds brings a range into the years that calls can have, and to whole milliseconds: a time between two of them
// leaves out the earlier.
func bounds(from, to time.Time) (time.Time, time.Time) {
	edge := func(t time.Time) time.Time {
		if k := kept(t); k.Before(t) {
			return k.Add(time.Millisecond)
		}
		return kept(t)
	}
	if from = edge(from); from.Before(earliest) {
		from = earliest
	}
	if to = edge(to); to.IsZero() || to.After(latest) {
		to = latest
	}
	return from, to
}

// span is the time [from, to).
type span struct{ from, to time.Time }

// split divides a range into whole hours and the partial ones at its ends; any part may be empty.
func split(from, to, keptFrom time.Time) (hours, head, tail span) {
	first := from.Truncate(time.Hour) // absolute hours: UTC
	if first.Before(from) {
		first = first.Add(time.Hour)
	}
	last := to.Truncate(time.Hour)
	if last.Before(keptFrom) && last.Before(to) {
		last = last.Add(time.Hour) // the calls of this hour are gone: it counts whole
	}
	if first.After(last) { // within one hour
		return span{from, from}, span{from, to}, span{to, to}
	}
	return span{first, last}, span{from, first}, span{last, to}
}

func (tx *Tx) sum(ctx context.Context, t *Totals, from, to time.Time) (Sum, error) {
	if !from.Before(to) {
		return Sum{}, nil
	}
	hours, head, tail := split(from, to, t.KeptFrom)
	if head.from.Before(t.KeptFrom) {
		head.to = head.from // counted in the range before
	}
	return tx.add(ctx, t.Account, hours, head, tail)
}

// add sums whole hours and the calls of two partial ones.
func (tx *Tx) add(ctx context.Context, account string, hours, head, tail span) (Sum, error) {
	args := []any{account, hours.from, hours.to, head.from, head.to, tail.from, tail.to}
	return one(ctx, tx.c, tx.sql.UsageSum, args, readSum)
}

func readSum(row Scanner) (Sum, error) {
	var s Sum
	err := row.Scan(&s.Calls, &s.Seconds, &s.Units, &s.Micros, &s.ExtraUnits, &s.ExtraMicros)
	return s, err
}

// rows is a number of rows as an argument: one below zero would mean no limit to SQLite.
func rows(n int) int64 { return int64(max(n, 0)) }

func callArgs(r *authz.Record, recorded time.Time) []any {
	p, d := &r.Price, &r.Detail
	var answered time.Time
	if r.AnsweredAt != 0 {
		answered = time.UnixMilli(r.AnsweredAt)
	}
	return []any{r.UID, r.Account, r.State.String(), r.Key.Switch, r.Key.Direction.String(), r.Key.CallID, r.Seq, r.Epoch,
		time.UnixMilli(r.At), time.UnixMilli(r.CreatedAt), answered,
		r.TalkMS, r.DurationSeconds(), int64(r.Units), int64(r.Micros), int64(r.ExtraUnits), int64(r.ExtraMicros),
		int64(r.Overrun), string(r.Flags), r.Reason,
		int64(p.Rate), int64(p.Connect), int64(p.MicrosRate), int64(p.MicrosConnect), p.Initial, p.Step, int64(p.CreditPrice), r.MaxSeconds,
		d.From, d.To, d.FromRaw, d.ToRaw, d.NumberID, d.Mode, d.Tariff, d.Prefix, d.Currency, recorded}
}

func readCall(row Scanner) (Call, error) {
	var c Call
	var status, direction string
	var at, authorized, answered time.Time
	var duration int64 // follows from TalkMS
	p, d := &c.Price, &c.Detail
	err := row.Scan(&c.UID, &c.Account, &status, &c.Key.Switch, &direction, &c.Key.CallID, &c.Seq, &c.Epoch,
		&at, &authorized, &answered,
		&c.TalkMS, &duration, &c.Units, &c.Micros, &c.ExtraUnits, &c.ExtraMicros,
		&c.Overrun, &c.Flags, &c.Reason,
		&p.Rate, &p.Connect, &p.MicrosRate, &p.MicrosConnect, &p.Initial, &p.Step, &p.CreditPrice, &c.MaxSeconds,
		&d.From, &d.To, &d.FromRaw, &d.ToRaw, &d.NumberID, &d.Mode, &d.Tariff, &d.Prefix, &d.Currency, &c.RecordedAt)
	if err != nil {
		return Call{}, err
	}
	c.At, c.CreatedAt = at.UnixMilli(), authorized.UnixMilli()
	if !answered.IsZero() {
		c.AnsweredAt = answered.UnixMilli()
	}
	c.State, c.Key.Direction, err = parseCallWords(status, direction)
	return c, err
}

// parseCallWords reads the two columns that are words of authz.
func parseCallWords(status, direction string) (authz.State, authz.Direction, error) {
	d, err := tariff.ParseDirection(direction)
	if err != nil {
		return 0, 0, err
	}
	for _, s := range allStates {
		if s.String() == status {
			return s, d, nil
		}
	}
	return 0, 0, fmt.Errorf("call status %q in the ledger is unknown", status)
}
