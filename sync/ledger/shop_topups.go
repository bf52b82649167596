package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz/credit"
)

// ErrNotDue: since a top-up was found due it was changed or put off, or the account got credit.
var ErrNotDue = &Error{"conflict", "the top-up is not due any more"}

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
		return tx.putTopUp(ctx, account, &t)
	})
	if err != nil {
		return TopUp{}, wrap(fmt.Sprintf("change the top-up of account %q", account), err)
	}
	return t, nil
}

// SetTopUp sets what a customer wants of an account's auto top-up: whatever went wrong before is forgotten, and a payment
// that waits for the customer is given up, so that it does not stand in the way for days.
// Errors: ErrNotFound (the account), ErrInvalid.
func (l *Ledger) SetTopUp(ctx context.Context, account string, t TopUp) (TopUp, error) {
	err := l.Update(ctx, func(tx *Tx) error {
		if _, err := tx.lockTotals(ctx, account); err != nil {
			return err
		}
		t.Forget()
		if err := tx.putTopUp(ctx, account, &t); err != nil {
			return err
		}
		return tx.giveUpAwaiting(ctx, account, "the customer has set the top-up anew")
	})
	return t, wrap(fmt.Sprintf("set the top-up of account %q", account), err)
}

// giveUpAwaiting ends the wait for the customer of an account's open top-up, if it does wait.
func (tx *Tx) giveUpAwaiting(ctx context.Context, account, why string) error {
	p, err := one(ctx, tx.c, tx.sql.TopUpOpen, []any{account}, readPurchase)
	if errors.Is(err, ErrNotFound) || err == nil && p.Problem != AwaitsCustomer {
		return nil
	}
	if err != nil {
		return err
	}
	p.Problem, p.DueAt = declinedMark+why, tx.l.timestamp()
	return tx.putPurchase(ctx, &p)
}

// WithdrawCard turns an account's auto top-up off, since the customer has taken back that the card may be charged. What
// went wrong before is forgotten, and a payment that waits for the customer is given up. Errors: ErrNotFound (the account).
func (l *Ledger) WithdrawCard(ctx context.Context, account string) error {
	err := l.Update(ctx, func(tx *Tx) error {
		if _, err := tx.lockTotals(ctx, account); err != nil {
			return err
		}
		t, err := one(ctx, tx.c, tx.sql.TopUp, []any{account}, readTopUp)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		t.Enabled = false
		t.Forget()
		if err := tx.putTopUp(ctx, account, &t); err != nil {
			return err
		}
		return tx.giveUpAwaiting(ctx, account, "the customer has removed the card")
	})
	return wrap(fmt.Sprintf("withdraw the card of account %q", account), err)
}

// ForgetCard has an account keep no card of those that are gone. Errors: ErrNotFound (the account).
func (l *Ledger) ForgetCard(ctx context.Context, account string, gone ...string) error {
	err := l.Update(ctx, func(tx *Tx) error {
		if _, err := tx.lockTotals(ctx, account); err != nil {
			return err
		}
		b, err := one(ctx, tx.c, tx.sql.Billing, []any{account}, readBilling)
		if errors.Is(err, ErrNotFound) || err == nil && (b.Card == "" || !slices.Contains(gone, b.Card)) {
			return nil
		}
		if err == nil {
			_, err = tx.c.Exec(ctx, tx.sql.CardPut, account, "", "", tx.l.timestamp())
		}
		return err
	})
	return wrap(fmt.Sprintf("forget the card of account %q", account), err)
}

// newCard has an account keep the card that paid for a purchase, unless a later one's is kept. A top-up that was put off
// since the card before was declined is tried with it at once.
func (tx *Tx) newCard(ctx context.Context, p *Purchase, pay *Payment) error {
	newer, err := one(ctx, tx.c, tx.sql.CardNewer, []any{p.Account, p.CreatedAt}, column[int64])
	if err != nil || newer > 0 {
		return err
	}
	if _, err := tx.c.Exec(ctx, tx.sql.CardPut, p.Account, pay.Card, pay.CardName, tx.l.timestamp()); err != nil {
		return err
	}
	t, err := one(ctx, tx.c, tx.sql.TopUp, []any{p.Account}, readTopUp)
	if errors.Is(err, ErrNotFound) || err == nil && (!t.Enabled || t.Declined == 0 || t.PayURL != "") {
		return nil
	}
	if err != nil {
		return err
	}
	t.Forget()
	return tx.putTopUp(ctx, p.Account, &t)
}

// Forget makes as if nothing had gone wrong before.
func (t *TopUp) Forget() { t.Declined, t.NotBefore, t.Problem, t.PayURL = 0, time.Time{}, "", "" }

func (tx *Tx) topUpFailed(ctx context.Context, t *TopUp, id uuid.UUID) error {
	return tx.Notify(ctx, Notice{Account: t.Account, Event: NoticeTopUpFailed, ID: id, Problem: t.Problem, PayURL: t.PayURL})
}

// PutOffTopUp is ChangeTopUp where one that was found due could not be started; see [Ledger.AddTopUp]. The customer is
// told of the problem if tell says so. Errors: those of ChangeTopUp, ErrNotDue (another sidecar has started one, too).
func (l *Ledger) PutOffTopUp(ctx context.Context, seen TopUp, grants int64, tell bool, change func(*TopUp)) error {
	err := l.Update(ctx, func(tx *Tx) error {
		sums, err := tx.lockTotals(ctx, seen.Account)
		if err != nil {
			return err
		}
		t, err := tx.dueTopUp(ctx, sums, &seen, grants)
		if err != nil {
			return err
		}
		_, err = one(ctx, tx.c, tx.sql.TopUpOpen, []any{seen.Account}, readPurchase)
		if err == nil {
			return problem(ErrNotDue, "a top-up of account %q is under way", seen.Account)
		}
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		change(&t)
		if err := tx.putTopUp(ctx, seen.Account, &t); err != nil || !tell {
			return err
		}
		return tx.topUpFailed(ctx, &t, uuid.Nil)
	})
	return wrap(fmt.Sprintf("put off the top-up of account %q", seen.Account), err)
}

// dueTopUp reads an account's top-up if it is still as it was seen, may buy now, and the account had no grant since.
func (tx *Tx) dueTopUp(ctx context.Context, sums Totals, seen *TopUp, grants int64) (TopUp, error) {
	t, err := one(ctx, tx.c, tx.sql.TopUp, []any{sums.Account}, readTopUp)
	switch {
	case errors.Is(err, ErrNotFound):
		return t, problem(ErrNotDue, "account %q has no top-up", sums.Account)
	case err != nil:
		return t, err
	case !t.Enabled || t.Below != seen.Below || t.Units != seen.Units:
		return t, problem(ErrNotDue, "the top-up of account %q was changed", sums.Account)
	case t.NotBefore.After(tx.l.timestamp()):
		return t, problem(ErrNotDue, "the top-up of account %q was put off", sums.Account)
	case sums.Grants != grants:
		return t, problem(ErrNotDue, "account %q has %d grants, its balance was seen with %d", sums.Account, sums.Grants, grants)
	}
	return t, nil
}

// declinedMark begins the problem of an open top-up that is never charged again.
const declinedMark = "declined: "

// calledOffMark begins the problem of one that was called off; that is a kind of decline.
const calledOffMark = declinedMark + "called off: "

// TopUpDeclined tells whether [Ledger.DeclineTopUp] came for a purchase that is still open: only its invoice is left to
// close.
func (p *Purchase) TopUpDeclined() bool {
	return p.State == PurchaseOpen && strings.HasPrefix(p.Problem, declinedMark)
}

// DeclineTopUp is for an open purchase that will never be paid, once for it: the purchase keeps why, change alters the
// account's top-up, and the customer is told of the problem that it leaves. It does nothing to a purchase that has ended,
// and returns the purchase as it is now. Errors: ErrNotFound, ErrInvalid.
func (l *Ledger) DeclineTopUp(ctx context.Context, purchase uuid.UUID, why string, change func(*TopUp)) (Purchase, error) {
	p, err := l.failTopUp(ctx, purchase, declinedMark+why, true, change)
	return p, wrap(fmt.Sprintf("decline top-up %s", purchase), err)
}

// CallOffTopUp is DeclineTopUp for a purchase that nobody wants any more: the customer is told nothing, and it is none of
// those that the account may have in a day.
func (l *Ledger) CallOffTopUp(ctx context.Context, purchase uuid.UUID, why string, change func(*TopUp)) (Purchase, error) {
	p, err := l.failTopUp(ctx, purchase, calledOffMark+why, false, change)
	return p, wrap(fmt.Sprintf("call off top-up %s", purchase), err)
}

// AwaitCustomer is for an open purchase that only the customer can bring on, once for it: the customer is told of the
// problem that change leaves. It does nothing to a purchase that has ended or was declined. Errors: ErrNotFound, ErrInvalid.
func (l *Ledger) AwaitCustomer(ctx context.Context, purchase uuid.UUID, change func(*TopUp)) error {
	_, err := l.failTopUp(ctx, purchase, AwaitsCustomer, true, change)
	return wrap(fmt.Sprintf("have top-up %s await the customer", purchase), err)
}

func (l *Ledger) failTopUp(ctx context.Context, purchase uuid.UUID, problem string, tell bool, change func(*TopUp)) (Purchase, error) {
	var p Purchase
	err := l.Update(ctx, func(tx *Tx) (err error) {
		if p, err = tx.lockPurchase(ctx, purchase); err != nil || p.State != PurchaseOpen || p.TopUpDeclined() || p.Problem == problem {
			return err
		}
		t, err := one(ctx, tx.c, tx.sql.TopUp, []any{p.Account}, readTopUp)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		change(&t)
		if err := tx.putTopUp(ctx, p.Account, &t); err != nil {
			return err
		}
		p.Problem = printable(problem)
		if err := tx.putPurchase(ctx, &p); err != nil || !tell {
			return err
		}
		// What is told first and last of a purchase are two notices.
		return tx.topUpFailed(ctx, &t, uuid.NewSHA1(p.ID, []byte(p.Problem)))
	})
	return p, err
}

// stopTopUp turns an account's top-up off, if it is on, and has the customer told why.
func (tx *Tx) stopTopUp(ctx context.Context, account, why string) error {
	t, err := one(ctx, tx.c, tx.sql.TopUp, []any{account}, readTopUp)
	if errors.Is(err, ErrNotFound) || err == nil && !t.Enabled {
		return nil
	}
	if err != nil {
		return err
	}
	t.Enabled, t.Problem, t.PayURL = false, why, ""
	if err := tx.putTopUp(ctx, account, &t); err != nil {
		return err
	}
	return tx.topUpFailed(ctx, &t, uuid.Nil)
}

func (tx *Tx) putTopUp(ctx context.Context, account string, t *TopUp) error {
	t.Account, t.NotBefore, t.Problem, t.UpdatedAt = account, kept(t.NotBefore), printable(t.Problem), tx.l.timestamp()
	err := errors.Join(checkRange("below", int64(t.Below), 0, credit.Max), checkRange("units", int64(t.Units), 0, credit.Max),
		checkRange("max_per_day", t.MaxPerDay, 0, math.MaxInt32), checkTexts(field{"pay_url", t.PayURL}))
	if err != nil {
		return err
	}
	_, err = tx.c.Exec(ctx, tx.sql.TopUpPut, t.Account, t.Enabled, int64(t.Below), int64(t.Units), t.MaxPerDay, t.Declined, t.NotBefore, t.Problem, t.PayURL, t.UpdatedAt)
	return err
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

// TopUpsFailing returns up to limit top-ups with a problem, the last that got one first.
func (l *Ledger) TopUpsFailing(ctx context.Context, limit int) ([]TopUp, error) {
	var page []TopUp
	err := l.view(ctx, func(tx *Tx) (err error) {
		page, err = list(ctx, tx.c, tx.sql.TopUpsFailing, []any{rows(limit)}, readTopUp)
		return err
	})
	return page, wrap("top-ups with a problem", err)
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
