package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// CreateAccount adds an account; a zero Created becomes the present.
// Errors: ErrExists, ErrNotFound (its tariff), ErrInvalid.
func (l *Ledger) CreateAccount(ctx context.Context, a authz.Account) (made authz.Account, rev int64, err error) {
	a.Created = l.keptOr(a.Created)
	if err := checkAccount(&a); err != nil {
		return authz.Account{}, 0, wrap(fmt.Sprintf("create account %q", a.ID), err)
	}
	rev, err = l.revise(ctx, func(tx *Tx, rev int64) error {
		_, err := tx.account(ctx, tx.sql.Account, a.ID)
		switch {
		case err == nil:
			return problem(ErrExists, "account %q exists already", a.ID)
		case !errors.Is(err, ErrNotFound):
			return err
		}
		if _, err := tx.tariff(ctx, a.Tariff); err != nil {
			return err
		}
		if _, err := tx.c.Exec(ctx, tx.sql.AccountInsert, accountArgs(&a, rev)...); err != nil {
			return err
		}
		_, err = tx.c.Exec(ctx, tx.sql.SumsInsert, a.ID)
		return err
	})
	if err != nil {
		return authz.Account{}, 0, wrap("create account", err)
	}
	return a, rev, nil
}

// UpdateAccount lets change alter an account while no other update runs, and returns it as it is then. ID and Created
// stay; where nothing changes, nothing is recorded. The currency of an account that has grants or calls cannot change,
// since its sums would mix two.
// Errors: ErrNotFound (the account or its new tariff), ErrInvalid, ErrConflict, and those of change.
func (l *Ledger) UpdateAccount(ctx context.Context, id string, change func(*authz.Account) error) (now authz.Account, rev int64, err error) {
	var was Revised[authz.Account]
	rev, err = l.revise(ctx, func(tx *Tx, rev int64) (err error) {
		if was, err = tx.account(ctx, tx.sql.AccountLocked, id); err != nil {
			return err
		}
		now = was.Value
		if err := change(&now); err != nil {
			return err
		}
		now.ID, now.Created = was.Value.ID, was.Value.Created
		if now == was.Value {
			return errUnchanged
		}
		if err := tx.checkUpdate(ctx, &was.Value, &now); err != nil {
			return err
		}
		_, err = tx.c.Exec(ctx, tx.sql.AccountUpdate, accountArgs(&now, rev)...)
		return err
	})
	if errors.Is(err, errUnchanged) {
		return was.Value, was.Revision, nil
	}
	if err != nil {
		return authz.Account{}, 0, wrap("update account", err)
	}
	return now, rev, nil
}

// checkUpdate finds what an account must not become.
func (tx *Tx) checkUpdate(ctx context.Context, was, now *authz.Account) error {
	if err := checkAccount(now); err != nil {
		return err
	}
	if now.Tariff != was.Tariff {
		if _, err := tx.tariff(ctx, now.Tariff); err != nil {
			return err
		}
	}
	if now.Currency == was.Currency {
		return nil
	}
	t, err := tx.lockTotals(ctx, was.ID)
	if err != nil {
		return err
	}
	if t.Grants > 0 || t.Calls.Of() > 0 || t.DroppedCalls > 0 {
		return problem(ErrConflict, "account %q has grants or calls in %s, so its currency stays", was.ID, was.Currency)
	}
	return nil
}

// Account returns one account, its Table and Location not resolved. Errors: ErrNotFound.
func (l *Ledger) Account(ctx context.Context, id string) (authz.Account, error) {
	var a Revised[authz.Account]
	err := l.view(ctx, func(tx *Tx) (err error) {
		a, err = tx.account(ctx, tx.sql.Account, id)
		return err
	})
	return a.Value, err
}

// Accounts returns all accounts by id.
func (l *Ledger) Accounts(ctx context.Context) ([]authz.Account, error) {
	var all []Revised[authz.Account]
	err := l.view(ctx, func(tx *Tx) (err error) {
		all, err = list(ctx, tx.c, tx.sql.Accounts, nil, readAccount)
		return err
	})
	return values(all), wrap("accounts", err)
}

func (tx *Tx) account(ctx context.Context, sql, id string) (Revised[authz.Account], error) {
	a, err := one(ctx, tx.c, sql, []any{id}, readAccount)
	if errors.Is(err, ErrNotFound) {
		err = noAccount(id)
	}
	return a, err
}

func noAccount(id string) error { return problem(ErrNotFound, "there is no account %q", id) }

func checkAccount(a *authz.Account) error {
	if err := checkGiven(field{"id", a.ID}, field{"currency", a.Currency}, field{"tariff", a.Tariff}, field{"time_zone", a.TimeZone}); err != nil {
		return err
	}
	if a.Status != authz.Active && a.Status != authz.Suspended {
		return invalid("status %q is neither %q nor %q", a.Status, authz.Active, authz.Suspended)
	}
	limits := &a.Limits
	return errors.Join(
		checkRange("max_calls", int64(limits.MaxCalls), 0, credit.Max),
		checkRange("max_seconds", limits.MaxSeconds, 0, credit.Max),
		checkRange("spend_per_day", int64(limits.SpendPerDay), 0, credit.Max),
		checkTexts(field{"id", a.ID}, field{"company_name", a.Company}, field{"email", a.Email}, field{"currency", a.Currency},
			field{"tariff", a.Tariff}, field{"language", a.Language}, field{"time_zone", a.TimeZone}))
}

func accountArgs(a *authz.Account, revision int64) []any {
	return []any{a.ID, a.Company, a.Email, string(a.Status), a.Currency, a.Tariff, a.Language, a.TimeZone,
		int64(a.Limits.MaxCalls), a.Limits.MaxSeconds, int64(a.Limits.SpendPerDay), kept(a.Created), revision}
}

func readAccount(row Scanner) (Revised[authz.Account], error) {
	var r Revised[authz.Account]
	a := &r.Value
	var maxCalls, webhooks int64
	err := row.Scan(&a.ID, &a.Company, &a.Email, &a.Status, &a.Currency, &a.Tariff, &a.Language, &a.TimeZone,
		&maxCalls, &a.Limits.MaxSeconds, &a.Limits.SpendPerDay, &a.Created, &r.Revision, &webhooks, &a.AlertBelow)
	a.Limits.MaxCalls = int(min(maxCalls, math.MaxInt))
	a.Notify = webhooks > 0
	return r, err
}
