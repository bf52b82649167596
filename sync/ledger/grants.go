package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// AddGrant gives an account units (or takes them: negative) under the next number, once per account and reference. A
// reference that was used before answers with the grant that it made and created false, if units, kind and reason are
// the same. Number is ignored, a zero At becomes the present.
// Errors: ErrNotFound (the account), ErrConflict (the reference was used for something else), ErrInvalid.
func (l *Ledger) AddGrant(ctx context.Context, g authz.Grant) (grant authz.Grant, created bool, err error) {
	err = l.Update(ctx, func(tx *Tx) error {
		grant, created, err = tx.AddGrant(ctx, g)
		return err
	})
	if err != nil {
		return authz.Grant{}, false, err
	}
	return grant, created, nil
}

// AddGrant is [Ledger.AddGrant] as part of a transaction.
func (tx *Tx) AddGrant(ctx context.Context, g authz.Grant) (authz.Grant, bool, error) {
	grant, created, err := tx.addGrant(ctx, g)
	if err != nil {
		return authz.Grant{}, false, wrap(fmt.Sprintf("grant %q to account %q", g.Reference, g.Account), err)
	}
	return grant, created, nil
}

func (tx *Tx) addGrant(ctx context.Context, g authz.Grant) (authz.Grant, bool, error) {
	if err := checkGrant(&g); err != nil {
		return authz.Grant{}, false, err
	}
	totals, err := tx.lockTotals(ctx, g.Account)
	if err != nil {
		return authz.Grant{}, false, err
	}
	hash := grantHash(&g)
	var wasHash []byte
	was, err := one(ctx, tx.c, tx.sql.GrantByReference, []any{g.Account, g.Reference}, func(row Scanner) (authz.Grant, error) {
		return readGrant(row, &wasHash)
	})
	switch {
	case err == nil && bytes.Equal(wasHash, hash):
		return was, false, nil
	case err == nil:
		return authz.Grant{}, false, problem(ErrConflict, "the reference is that of grant %d already: %s of %s credits with the reason %q; use another",
			was.Number, was.Kind, was.Units.Credits(), was.Reason)
	case !errors.Is(err, ErrNotFound):
		return authz.Grant{}, false, err
	}
	if _, err := totals.Granted.Add(g.Units); err != nil {
		return authz.Grant{}, false, invalid("all grants of the account together would be more than can be counted: %v", err)
	}
	g.Number, g.At = totals.Grants+1, tx.l.keptOr(g.At)
	if _, err := tx.c.Exec(ctx, tx.sql.GrantInsert, g.Account, g.Number, int64(g.Units), g.Kind, g.Reference, g.Reason, g.At, hash); err != nil {
		return authz.Grant{}, false, err
	}
	if _, err := tx.c.Exec(ctx, tx.sql.SumsGrant, g.Account, int64(g.Units), g.Number); err != nil {
		return authz.Grant{}, false, err
	}
	if err := tx.Notify(ctx, Notice{Account: g.Account, Event: NoticeCreditsAdded, Grant: &g}); err != nil {
		return authz.Grant{}, false, err
	}
	return g, true, nil
}

func checkGrant(g *authz.Grant) error {
	if err := checkGiven(field{"account", g.Account}, field{"reference", g.Reference}); err != nil {
		return err
	}
	if !slices.Contains([]string{KindPurchase, KindBonus, KindAdjustment, KindRefund}, g.Kind) {
		return invalid("kind %q is none of %s, %s, %s and %s", g.Kind, KindPurchase, KindBonus, KindAdjustment, KindRefund)
	}
	if g.Units == 0 {
		return invalid("units are 0")
	}
	if err := checkRange("units", int64(g.Units), -credit.Max, credit.Max); err != nil {
		return err
	}
	if !g.At.IsZero() && (g.At.Before(earliest) || g.At.After(latest)) {
		return invalid("created_at %v is not in the years %d to %d", g.At, firstYear, lastYear)
	}
	return checkTexts(field{"account", g.Account}, field{"reference", g.Reference}, field{"reason", g.Reason})
}

// grantHash tells a repeated grant from another one: the time is left out, since a repetition may bring a later one.
func grantHash(g *authz.Grant) []byte {
	sum := sha256.New()
	for _, part := range []string{strconv.FormatInt(int64(g.Units), 10), g.Kind, g.Reason} {
		fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	return sum.Sum(nil)
}

// Grants returns at most limit of an account's grants with numbers above after, in order: what the balance store has
// still to apply. Limit 0 is all. An account that is not known has none.
func (l *Ledger) Grants(ctx context.Context, account string, after int64, limit int) ([]authz.Grant, error) {
	if limit == 0 {
		limit = math.MaxInt32
	}
	return l.grants(ctx, l.sql.GrantsAfter, account, after, rows(limit))
}

// NewestGrants returns a page of an account's grants, newest first.
func (l *Ledger) NewestGrants(ctx context.Context, account string, limit, offset int) ([]authz.Grant, error) {
	return l.grants(ctx, l.sql.GrantsNewest, account, rows(limit), rows(offset))
}

// LastGrants calls fn with the number of each account's last grant, by account; accounts without one are left out.
func (l *Ledger) LastGrants(ctx context.Context, fn func(account string, last int64) error) error {
	return l.EachTotals(ctx, func(t Totals) error {
		if t.Grants == 0 {
			return nil
		}
		return fn(t.Account, t.Grants)
	})
}

func (l *Ledger) grants(ctx context.Context, sql string, account string, args ...any) ([]authz.Grant, error) {
	var page []authz.Grant
	err := l.view(ctx, func(tx *Tx) (err error) {
		page, err = tx.grants(ctx, sql, account, args...)
		return err
	})
	return page, wrap(fmt.Sprintf("grants of account %q", account), err)
}

func (tx *Tx) grants(ctx context.Context, sql string, account string, args ...any) ([]authz.Grant, error) {
	return list(ctx, tx.c, sql, append([]any{account}, args...), func(row Scanner) (authz.Grant, error) {
		return readGrant(row)
	})
}

func readGrant(row Scanner, more ...any) (authz.Grant, error) {
	var g authz.Grant
	err := row.Scan(append([]any{&g.Account, &g.Number, &g.Units, &g.Kind, &g.Reference, &g.Reason, &g.At}, more...)...)
	return g, err
}

// Totals returns an account's sums in constant time. Errors: ErrNotFound.
func (l *Ledger) Totals(ctx context.Context, account string) (Totals, error) {
	var t Totals
	err := l.view(ctx, func(tx *Tx) (err error) {
		t, err = tx.Totals(ctx, account)
		return err
	})
	return t, wrap(fmt.Sprintf("totals of account %q", account), err)
}

// Totals is [Ledger.Totals] within a transaction: after what it has changed so far.
func (tx *Tx) Totals(ctx context.Context, account string) (Totals, error) {
	return tx.readTotals(ctx, tx.sql.Sums, account, account)
}

// EachTotals calls fn with the sums of every account, by id. No transaction is open while fn runs.
func (l *Ledger) EachTotals(ctx context.Context, fn func(Totals) error) error {
	const pageSize = 1000
	for last := ""; ; {
		var page []Totals
		err := l.view(ctx, func(tx *Tx) (err error) {
			page, err = list(ctx, tx.c, tx.sql.SumsPage, []any{last, int64(pageSize)}, readTotals)
			return err
		})
		if err != nil {
			return fmt.Errorf("totals of the accounts after %q: %w", last, err)
		}
		for _, t := range page {
			if err := fn(t); err != nil {
				return err
			}
		}
		if len(page) < pageSize {
			return nil
		}
		last = page[len(page)-1].Account
	}
}

// lockTotals reads an account's sums and keeps others from changing its money until the transaction ends.
// Errors: ErrNotFound.
func (tx *Tx) lockTotals(ctx context.Context, account string) (Totals, error) {
	return tx.readTotals(ctx, tx.sql.SumsLocked, account, []string{account})
}

func (tx *Tx) readTotals(ctx context.Context, sql, account string, arg any) (Totals, error) {
	t, err := one(ctx, tx.c, sql, []any{arg}, readTotals)
	if errors.Is(err, ErrNotFound) {
		err = noAccount(account)
	}
	return t, err
}

func readTotals(row Scanner) (Totals, error) {
	var t Totals
	err := row.Scan(&t.Account, &t.Granted, &t.Grants, &t.Settled, &t.Seq,
		&t.Calls.Settled, &t.Calls.Lost, &t.Calls.Released, &t.Calls.Rejected,
		&t.DroppedUnits, &t.DroppedCalls, &t.KeptFrom, &t.MaskedBefore)
	return t, err
}
