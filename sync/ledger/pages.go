package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
)

// farOffset is the offset from which on the sums of the hours are asked where in time a page begins. Below it, the
// rows before the page are counted through.
const farOffset = 2000

// pager finds pages of an account's calls, newest first.
type pager struct {
	tx       *Tx
	totals   *Totals
	states   []authz.State // empty: all
	from, to time.Time
	total    int64 // calls in [from, to), dropped ones included
}

func (p *pager) page(ctx context.Context, limit, offset int) ([]Call, error) {
	from, to, skip := p.from, p.to, rows(offset)
	if from.Before(p.totals.KeptFrom) {
		from = p.totals.KeptFrom // what is left before is being dropped
	}
	if skip >= p.total || !from.Before(to) {
		return nil, nil
	}
	if skip >= farOffset {
		var err error
		if to, skip, err = p.seek(ctx, from, to, skip); err != nil {
			return nil, err
		}
	}
	args := append([]any{p.totals.Account}, switches(p.states, true, false)...)
	return list(ctx, p.tx.c, p.tx.sql.CallsPage, append(args, from, to, rows(limit), skip), readCall)
}

// seek brings the end of a range closer to its call with skip newer ones, and tells how many of those are left.
func (p *pager) seek(ctx context.Context, from, to time.Time, skip int64) (time.Time, int64, error) {
	hours, head, tail := split(from, to, time.Time{})
	last, err := p.count(ctx, tail)
	if err != nil || skip < last {
		return to, skip, err
	}
	var hour time.Time
	var newer int64
	args := append([]any{p.totals.Account}, switches(p.states, int64(1), int64(0))...)
	args = append(args, hours.from, hours.to, skip-last)
	_, err = one(ctx, p.tx.c, p.tx.sql.HourOfOffset, args, func(row Scanner) (struct{}, error) {
		return struct{}{}, row.Scan(&hour, &newer)
	})
	if err == nil {
		return hour.Add(time.Hour), skip - last - newer, nil
	}
	if !errors.Is(err, ErrNotFound) {
		return to, skip, err
	}
	first, err := p.count(ctx, head)
	return head.to, max(skip-(p.total-first), 0), err
}

// count counts the calls of a partial hour. Only usage has such: the log of all calls has no limits in time.
func (p *pager) count(ctx context.Context, s span) (int64, error) {
	if !s.from.Before(s.to) {
		return 0, nil
	}
	none := span{s.from, s.from}
	sum, err := p.tx.add(ctx, p.totals.Account, none, s, none)
	return sum.Calls, err
}

// callsNext returns up to limit calls of an account in [from, to), oldest first, that come after a call ended at from
// with the uid after.
func (tx *Tx) callsNext(ctx context.Context, account string, states []authz.State, from, to time.Time, after uuid.UUID, limit int) ([]Call, error) {
	args := append([]any{account}, switches(states, true, false)...)
	args = append(args, from, to, after, int64(limit))
	return list(ctx, tx.c, tx.sql.CallsNext, args, readCall)
}

// switches turns wanted statuses (none: all) into an argument for each status, on or off.
func switches(states []authz.State, on, off any) []any {
	var wanted Counts
	if len(states) == 0 {
		states = allStates
	}
	for _, s := range states {
		if p := wanted.of(s); p != nil {
			*p = 1
		}
	}
	args := make([]any, 0, len(allStates))
	for _, n := range []int64{wanted.Settled, wanted.Lost, wanted.Released, wanted.Rejected} {
		if n > 0 {
			args = append(args, on)
		} else {
			args = append(args, off)
		}
	}
	return args
}
