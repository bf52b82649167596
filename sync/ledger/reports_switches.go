package ledger

import (
	"context"
	"fmt"
	"time"
)

// usageSwitch is when the reporting of an account's usage was turned off, or on.
type usageSwitch struct {
	at  int64 // Unix milliseconds
	off bool
}

// usageSwitches are an account's, oldest first.
type usageSwitches []usageSwitch

// off tells whether a call that ended at a time, in Unix milliseconds, is not to be reported. Before the first switch it is.
func (s usageSwitches) off(ended int64) bool {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i].at <= ended {
			return s[i].off
		}
	}
	return false
}

// isOff tells whether reporting is off now.
func (s usageSwitches) isOff() bool { return len(s) > 0 && s[len(s)-1].off }

// usageSwitches reads those of accounts.
func (tx *Tx) usageSwitches(ctx context.Context, accounts []string) (map[string]usageSwitches, error) {
	all := make(map[string]usageSwitches)
	err := tx.c.Query(ctx, tx.sql.UsageSwitches, []any{accounts}, func(row Scanner) error {
		var account string
		var at time.Time
		var s usageSwitch
		err := row.Scan(&account, &at, &s.off)
		s.at = at.UnixMilli()
		all[account] = append(all[account], s)
		return err
	})
	return all, err
}

// UsageReporting tells whether an account's usage is reported: it is, unless that was turned off.
func (l *Ledger) UsageReporting(ctx context.Context, account string) (bool, error) {
	var off bool
	err := l.view(ctx, func(tx *Tx) error {
		all, err := tx.usageSwitches(ctx, []string{account})
		off = all[account].isOff()
		return err
	})
	return !off, wrap(fmt.Sprintf("usage reporting of account %q", account), err)
}

// SetUsageReporting turns the reporting of an account's usage on or off from now on. A call counts by when it ended,
// whenever its record comes: those that ended while reporting was on are reported, those that ended while it was off never
// are. Errors: ErrNotFound (the account).
func (l *Ledger) SetUsageReporting(ctx context.Context, account string, on bool, now time.Time) error {
	err := l.Update(ctx, func(tx *Tx) error {
		if _, err := tx.lockTotals(ctx, account); err != nil {
			return err
		}
		all, err := tx.usageSwitches(ctx, []string{account})
		was := all[account]
		if err != nil || was.isOff() == !on {
			return err
		}
		at := now.UnixMilli()
		if n := len(was); n > 0 {
			at = max(at, was[n-1].at+1) // what has been decided stays so
		}
		_, err = tx.c.Exec(ctx, tx.sql.UsageSwitch, account, time.UnixMilli(at).UTC(), !on)
		return err
	})
	return wrap(fmt.Sprintf("set usage reporting of account %q", account), err)
}
