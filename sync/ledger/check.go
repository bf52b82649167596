package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// Check adds an account's rows up again and returns every sum that says something else: none, if the ledger is sound.
// It reads all rows of the account. Errors: ErrNotFound.
func (l *Ledger) Check(ctx context.Context, account string) ([]Mismatch, error) {
	c := checker{account: account}
	err := l.view(ctx, func(tx *Tx) error {
		t, err := tx.Totals(ctx, account)
		if err != nil {
			return err
		}
		if err := c.grants(ctx, tx, &t); err != nil {
			return err
		}
		if err := c.calls(ctx, tx, &t); err != nil {
			return err
		}
		return c.hours(ctx, tx, &t)
	})
	if err != nil {
		return nil, fmt.Errorf("check the sums of account %q: %w", account, err)
	}
	return c.found, nil
}

type checker struct {
	account string
	found   []Mismatch
}

func (c *checker) compare(hour time.Time, field string, kept, found int64) {
	if kept != found {
		c.found = append(c.found, Mismatch{Account: c.account, Field: field, Hour: hour, Kept: kept, Found: found})
	}
}

func (c *checker) grants(ctx context.Context, tx *Tx, t *Totals) error {
	return tx.c.Query(ctx, tx.sql.CheckGrants, []any{c.account}, func(row Scanner) error {
		var count, last, units int64
		err := row.Scan(&count, &last, &units)
		c.compare(time.Time{}, "grants", t.Grants, count)
		c.compare(time.Time{}, "last grant", t.Grants, last)
		c.compare(time.Time{}, "granted_units", int64(t.Granted), units)
		return err
	})
}

func (c *checker) calls(ctx context.Context, tx *Tx, t *Totals) error {
	var counts Counts
	settled, seq := t.DroppedUnits, int64(0)
	err := tx.c.Query(ctx, tx.sql.CheckCalls, []any{c.account}, func(row Scanner) error {
		var status string
		var count, highest int64
		var units credit.Units
		if err := row.Scan(&status, &count, &units, &highest); err != nil {
			return err
		}
		state, _, err := parseCallWords(status, authz.Inbound.String())
		if err != nil {
			return err
		}
		*counts.of(state) = count
		settled, seq = settled+units, max(seq, highest)
		return nil
	})
	c.compare(time.Time{}, "settled_units", int64(t.Settled), int64(settled))
	c.compare(time.Time{}, "seq", t.Seq, max(t.Seq, seq)) // a replaced or dropped record may have had the highest
	for _, s := range allStates {
		c.compare(time.Time{}, s.String(), *t.Calls.of(s), *counts.of(s))
	}
	return err
}

func (c *checker) hours(ctx context.Context, tx *Tx, t *Totals) error {
	from := t.KeptFrom
	if from.IsZero() {
		from = earliest
	}
	return tx.c.Query(ctx, tx.sql.CheckHours, []any{c.account, from}, func(row Scanner) error {
		var hour time.Time
		var n [2 * 9]int64
		dest := []any{&hour}
		for i := range n {
			dest = append(dest, &n[i])
		}
		err := row.Scan(dest...)
		for i, name := range []string{"settled", "lost", "released", "rejected", "seconds", "units", "micros", "extra_units", "extra_micros"} {
			c.compare(hour, name, n[2*i], n[2*i+1])
		}
		return err
	})
}
