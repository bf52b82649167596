package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// DropCalls deletes the calls that ended before a time, rounded down to a UTC hour, batch by batch (of about so many
// calls, each its own transaction), and tells how many. Balances and the sums of whole hours stay. From then on, an
// unknown record of that time is refused, since the call may be one of the dropped.
func (l *Ledger) DropCalls(ctx context.Context, before time.Time, batch int) (int64, error) {
	before, batch = kept(before).Truncate(time.Hour), max(batch, 1)
	return l.retain(ctx, "drop calls", func(t *Totals) (int64, bool, error) {
		old, err := l.hasOld(ctx, t.Account, before)
		if err != nil || !old {
			return 0, true, err
		}
		return l.dropSome(ctx, t.Account, before, batch)
	})
}

// hasOld spares the accounts that have nothing to drop a transaction that locks them.
func (l *Ledger) hasOld(ctx context.Context, account string, before time.Time) (bool, error) {
	var found bool
	err := l.view(ctx, func(tx *Tx) error {
		found = false
		return tx.c.Query(ctx, tx.sql.OldCalls, []any{account, before, int64(1)}, func(Scanner) error {
			found = true
			return nil
		})
	})
	return found, err
}

// MaskCalls truncates the numbers of the calls that ended before a time, as authz.Mask does, batch by batch, and
// tells how many. A record of that time that comes later is truncated as it is taken in.
func (l *Ledger) MaskCalls(ctx context.Context, before time.Time, batch int) (int64, error) {
	before, batch = kept(before), max(batch, 1)
	var from time.Time
	after, current := uuid.Nil, ""
	return l.retain(ctx, "mask calls", func(t *Totals) (int64, bool, error) {
		if !t.MaskedBefore.Before(before) {
			return 0, true, nil
		}
		account := t.Account
		if account != current {
			current, from, after = account, time.Time{}, uuid.Nil
		}
		var done []Call
		err := l.Update(ctx, func(tx *Tx) error {
			t, err := tx.lockTotals(ctx, account)
			if err != nil {
				return err
			}
			if from.IsZero() {
				from, _ = bounds(t.MaskedBefore, before)
			}
			if done, err = tx.callsNext(ctx, account, nil, from, before, after, batch); err != nil {
				return err
			}
			return tx.maskCalls(ctx, &t, done, before, len(done) < batch)
		})
		if n := len(done); err == nil && n > 0 {
			from, after = time.UnixMilli(done[n-1].At), done[n-1].UID
		}
		return int64(len(done)), len(done) < batch, err
	})
}

// maskCalls truncates the numbers of calls and notes how far that has come.
func (tx *Tx) maskCalls(ctx context.Context, t *Totals, calls []Call, before time.Time, last bool) error {
	rows := make([][]any, 0, len(calls))
	for _, c := range calls {
		d := maskDetail(c.Detail)
		if d != c.Detail {
			rows = append(rows, []any{c.UID, d.From, d.To, d.FromRaw, d.ToRaw})
		}
	}
	if len(rows) > 0 {
		if _, err := tx.c.ExecEach(ctx, tx.sql.CallMask, rows); err != nil {
			return err
		}
	}
	if !last {
		before = time.UnixMilli(calls[len(calls)-1].At) // calls of that millisecond may be left
	}
	if !before.After(t.MaskedBefore) {
		return nil
	}
	_, err := tx.c.Exec(ctx, tx.sql.SumsMask, t.Account, before)
	return err
}

// retain works through all accounts, each until it is done.
func (l *Ledger) retain(ctx context.Context, what string, some func(*Totals) (n int64, done bool, err error)) (int64, error) {
	var all int64
	err := l.EachTotals(ctx, func(t Totals) error {
		if t.Calls.Of() == 0 {
			return nil
		}
		for {
			n, done, err := some(&t)
			all += n
			if err != nil {
				return fmt.Errorf("of account %q: %w", t.Account, err)
			}
			if done {
				return nil
			}
		}
	})
	return all, wrap(what, err)
}

// dropSome deletes at most batch of an account's old calls.
func (l *Ledger) dropSome(ctx context.Context, account string, before time.Time, batch int) (n int64, done bool, err error) {
	err = l.Update(ctx, func(tx *Tx) error {
		if _, err := tx.lockTotals(ctx, account); err != nil {
			return err
		}
		var uids []uuid.UUID
		var units credit.Units
		var counts Counts
		err := tx.c.Query(ctx, tx.sql.OldCalls, []any{account, before, int64(batch)}, func(row Scanner) error {
			var uid uuid.UUID
			var status string
			var charge credit.Units
			if err := row.Scan(&uid, &status, &charge); err != nil {
				return err
			}
			state, _, err := parseCallWords(status, authz.Inbound.String())
			if err != nil {
				return err
			}
			*counts.of(state)++
			uids, units = append(uids, uid), units+charge
			return nil
		})
		n, done = int64(len(uids)), len(uids) < batch
		if err != nil || n == 0 {
			return err
		}
		if _, err := tx.c.Exec(ctx, tx.sql.CallsDelete, uids); err != nil {
			return err
		}
		_, err = tx.c.Exec(ctx, tx.sql.SumsDrop, account, int64(units), n, before,
			counts.Settled, counts.Lost, counts.Released, counts.Rejected)
		return err
	})
	if err != nil {
		return 0, false, err
	}
	return n, done, nil
}
