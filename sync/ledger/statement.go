package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// pageSize is how many calls are read at a time where many are walked through. No transaction is open between pages,
// so that a slow reader neither holds a connection nor keeps the database from cleaning up.
const pageSize = 1000

// Statement calls fn with the lines of an account's statement for [from, to): the opening balance, grants and charged
// calls in the order of time, the closing balance; zero times mean no limit. Each line's balance is the one before
// plus its units, so that the statement adds up by construction. Calls that are recorded while it is read may be in
// it or not. Errors: ErrNotFound, and those of fn.
func (l *Ledger) Statement(ctx context.Context, account string, from, to time.Time, fn func(Line) error) error {
	from, to = bounds(from, to)
	s := statement{fn: fn}
	var t Totals
	err := l.view(ctx, func(tx *Tx) (err error) {
		if t, err = tx.Totals(ctx, account); err != nil {
			return err
		}
		granted, err := one(ctx, tx.c, tx.sql.GrantedBefore, []any{account, from}, column[credit.Units])
		if err != nil {
			return err
		}
		spent, err := tx.sum(ctx, &t, earliest, from)
		if err != nil {
			return err
		}
		s.line.Balance = granted - spent.Charged()
		if s.grants, err = tx.grants(ctx, tx.sql.GrantsBetween, account, from, to); err != nil {
			return err
		}
		s.hours, err = tx.droppedHours(ctx, &t, from, to)
		return err
	})
	if err != nil {
		return fmt.Errorf("statement of account %q: %w", account, err)
	}

	if err := s.emit(Line{Kind: LineOpening, At: from}); err != nil {
		return err
	}
	if t.KeptFrom.After(from) {
		from = t.KeptFrom
	}
	err = l.walk(ctx, account, usageStates, from, to, func(c Call) error {
		if err := s.before(time.UnixMilli(c.At).UTC()); err != nil {
			return err
		}
		return s.emit(Line{Kind: LineCall, At: time.UnixMilli(c.At).UTC(), Units: -c.Charged(), Call: &c})
	})
	if err != nil {
		return err
	}
	if err := s.before(to); err != nil {
		return err
	}
	return s.emit(Line{Kind: LineClosing, At: to})
}

// statement is one in the making.
type statement struct {
	fn     func(Line) error
	grants []authz.Grant // still to come
	hours  []droppedHour // still to come
	line   Line          // the last
}

type droppedHour struct {
	at  time.Time
	sum Sum
}

// emit hands out a line with the balance after it.
func (s *statement) emit(l Line) error {
	l.Balance = s.line.Balance + l.Units
	s.line = l
	return s.fn(l)
}

// before hands out the grants and the dropped hours up to a time. Grants come first: credit added at the very moment
// of a hangup was there for it.
func (s *statement) before(at time.Time) error {
	for {
		grant := len(s.grants) > 0 && !s.grants[0].At.After(at)
		hour := len(s.hours) > 0 && !s.hours[0].at.After(at)
		if grant && hour {
			grant = !s.grants[0].At.After(s.hours[0].at)
		}
		var l Line
		switch {
		case grant:
			g := s.grants[0]
			s.grants = s.grants[1:]
			l = Line{Kind: LineGrant, At: g.At, Units: g.Units, Grant: &g}
		case hour:
			h := s.hours[0]
			s.hours = s.hours[1:]
			l = Line{Kind: LineHour, At: h.at, Units: -h.sum.Charged(), Hour: &h.sum}
		default:
			return nil
		}
		if err := s.emit(l); err != nil {
			return err
		}
	}
}

// droppedHours returns the hours of a range whose calls retention has dropped.
func (tx *Tx) droppedHours(ctx context.Context, t *Totals, from, to time.Time) ([]droppedHour, error) {
	if !from.Before(t.KeptFrom) {
		return nil, nil
	}
	if to.After(t.KeptFrom) {
		to = t.KeptFrom
	}
	return list(ctx, tx.c, tx.sql.HoursBetween, []any{t.Account, from, to}, func(row Scanner) (droppedHour, error) {
		var h droppedHour
		s := &h.sum
		err := row.Scan(&h.at, &s.Calls, &s.Seconds, &s.Units, &s.Micros, &s.ExtraUnits, &s.ExtraMicros)
		return h, err
	})
}

// Selection says which calls to export.
type Selection struct {
	Account  string        // empty: all accounts, one after the other
	From, To time.Time     // of the hangup, release or rejection: [From, To); zero: no limit
	States   []authz.State // empty: all
}

// Export calls fn with each selected call, by account and then oldest first. Errors: those of fn.
func (l *Ledger) Export(ctx context.Context, sel Selection, fn func(Call) error) error {
	from, to := bounds(sel.From, sel.To)
	if sel.Account != "" {
		return l.walk(ctx, sel.Account, sel.States, from, to, fn)
	}
	return l.EachTotals(ctx, func(t Totals) error {
		if t.Calls.Of(sel.States...) == 0 {
			return nil
		}
		return l.walk(ctx, t.Account, sel.States, from, to, fn)
	})
}

// walk calls fn with an account's calls in [from, to), oldest first, a page at a time.
func (l *Ledger) walk(ctx context.Context, account string, states []authz.State, from, to time.Time, fn func(Call) error) error {
	after := uuid.Nil
	for {
		var page []Call
		err := l.view(ctx, func(tx *Tx) (err error) {
			page, err = tx.callsNext(ctx, account, states, from, to, after, pageSize)
			return err
		})
		if err != nil {
			return fmt.Errorf("calls of account %q from %v: %w", account, from, err)
		}
		for _, c := range page {
			if err := fn(c); err != nil {
				return err
			}
		}
		if len(page) < pageSize {
			return nil
		}
		last := page[len(page)-1]
		from, after = time.UnixMilli(last.At).UTC(), last.UID
	}
}
