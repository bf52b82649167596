package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz/credit"
)

// TopUp returns an account's auto top-up. Errors: ErrNotFound (none was ever set).
func (l *Ledger) TopUp(ctx context.Context, account string) (TopUp, error) {
	var t TopUp
	err := l.view(ctx, func(tx *Tx) (err error) {
		t, err = one(ctx, tx.c, tx.sql.TopUp, []any{account}, readTopUp)
		return err
	})
	return t, wrap(fmt.Sprintf("top-up of account %q", account), err)
}

// ChangeTopUp lets change alter an account's auto top-up, which is all zero where none was set, while nothing else
// does. Errors: ErrNotFound (the account), ErrInvalid, and those of change.
func (l *Ledger) ChangeTopUp(ctx context.Context, account string, change func(*TopUp) error) (TopUp, error) {
	return l.changeTopUp(ctx, account, change, func(*Tx, *TopUp) error { return nil })
}

// FailTopUp is ChangeTopUp where one could not be paid: the customer is told of the problem, once for an id.
func (l *Ledger) FailTopUp(ctx context.Context, account string, id uuid.UUID, change func(*TopUp) error) (TopUp, error) {
	return l.changeTopUp(ctx, account, change, func(tx *Tx, t *TopUp) error {
		return tx.Notify(ctx, Notice{Account: account, Event: NoticeTopUpFailed, ID: id, Problem: t.Problem, PayURL: t.PayURL})
	})
}

func (l *Ledger) changeTopUp(ctx context.Context, account string, change func(*TopUp) error, then func(*Tx, *TopUp) error) (TopUp, error) {
	var t TopUp
	err := l.Update(ctx, func(tx *Tx) error {
		if _, err := tx.lockTotals(ctx, account); err != nil {
			return err
		}
		var err error
		t, err = one(ctx, tx.c, tx.sql.TopUp, []any{account}, readTopUp)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if err := change(&t); err != nil {
			return err
		}
		t.Account, t.NotBefore, t.Problem, t.UpdatedAt = account, kept(t.NotBefore), printable(t.Problem), l.timestamp()
		if err := errors.Join(checkRange("below", int64(t.Below), 0, credit.Max), checkRange("units", int64(t.Units), 0, credit.Max),
			checkRange("max_per_day", t.MaxPerDay, 0, math.MaxInt32), checkTexts(field{"pay_url", t.PayURL})); err != nil {
			return err
		}
		_, err = tx.c.Exec(ctx, tx.sql.TopUpPut, t.Account, t.Enabled, int64(t.Below), int64(t.Units), t.MaxPerDay, t.Declined, t.NotBefore, t.Problem, t.PayURL, t.UpdatedAt)
		if err != nil {
			return err
		}
		return then(tx, &t)
	})
	if err != nil {
		return TopUp{}, wrap(fmt.Sprintf("change the top-up of account %q", account), err)
	}
	return t, nil
}

// TopUps returns up to limit enabled top-ups that may buy now, of accounts after one, by account.
func (l *Ledger) TopUps(ctx context.Context, after string, limit int) ([]TopUp, error) {
	var page []TopUp
	err := l.view(ctx, func(tx *Tx) (err error) {
		page, err = list(ctx, tx.c, tx.sql.TopUpsEnabled, []any{after, l.timestamp(), rows(limit)}, readTopUp)
		return err
	})
	return page, wrap("top-ups", err)
}

// KeepCard keeps the card that an account lets be charged without the customer; empty: none.
// Errors: ErrNotFound (the account).
func (l *Ledger) KeepCard(ctx context.Context, account, card, name string) error {
	what := fmt.Sprintf("keep the card of account %q", account)
	if err := checkTexts(field{"card", card}, field{"card_name", name}); err != nil {
		return wrap(what, err)
	}
	err := l.Update(ctx, func(tx *Tx) error {
		_, err := tx.c.Exec(ctx, tx.sql.CardPut, account, card, name, l.timestamp())
		return err
	})
	return wrap(what, err)
}

func readTopUp(row Scanner) (TopUp, error) {
	var t TopUp
	err := row.Scan(&t.Account, &t.Enabled, &t.Below, &t.Units, &t.MaxPerDay, &t.Declined, &t.NotBefore, &t.Problem, &t.PayURL, &t.UpdatedAt)
	return t, err
}

// backOff is how long after so many declines in a row nothing is tried.
func backOff(declined int64) time.Duration {
	if declined <= 0 {
		return 0
	}
	return min(time.Hour<<min(declined-1, 10), 3*24*time.Hour)
}

// Decline notes that the top-up could not be paid; whoever charges the card again waits an hour, then two, four ... up
// to three days.
func (t *TopUp) Decline(now time.Time, problem string) {
	t.Declined++
	t.NotBefore, t.Problem = now.Add(backOff(t.Declined)), problem
}
