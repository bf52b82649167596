package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// billingStatements are those of billing details.
type billingStatements struct {
	Billing, BillingPut, BillingCustomer, BillingTaxId, BillingAccount                  string
	BillingSyncNext, BillingSync, BillingSyncFailing, BillingSyncClaim, BillingSyncSave string
}

// BillingSync is how far an account's billing details have come to Stripe.
type BillingSync struct {
	Account  string
	Revision int64     // of the details
	Synced   int64     // the revision that Stripe has
	Attempts int64     // since the last success
	DueAt    time.Time // when it is looked at next; zero: when something changes
	Problem  string    // of the last attempt; empty: none

	holder string // the claim
}

// Billing returns an account's billing details; all but Account is empty where none were ever given.
func (l *Ledger) Billing(ctx context.Context, account string) (Billing, error) {
	var b Billing
	err := l.view(ctx, func(tx *Tx) (err error) {
		b, err = one(ctx, tx.c, tx.sql.Billing, []any{account}, readBilling)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return Billing{Account: account}, nil
	}
	return b, wrap(fmt.Sprintf("billing details of account %q", account), err)
}

// SetBilling replaces what an account says of itself: company, e-mail, address and VAT ID. A new VAT ID is pending until
// it is verified; the rest of b is ignored. It returns what is kept, and has it synced to Stripe.
// Errors: ErrNotFound (the account), ErrInvalid.
func (l *Ledger) SetBilling(ctx context.Context, b Billing) (Billing, error) {
	return l.setBilling(ctx, b, nil)
}

// AdoptBilling is SetBilling for what was changed at Stripe, where the details are still those of a revision: what the
// account itself has said since is not lost. Errors: those of SetBilling, ErrConflict.
func (l *Ledger) AdoptBilling(ctx context.Context, b Billing, revision int64) (Billing, error) {
	return l.setBilling(ctx, b, func(tx *Tx) error {
		s, err := one(ctx, tx.c, tx.sql.BillingSync, []any{b.Account}, readBillingSync)
		if err == nil && s.Revision != revision {
			err = problem(ErrConflict, "the details were changed meanwhile")
		}
		return err
	})
}

func (l *Ledger) setBilling(ctx context.Context, b Billing, unless func(*Tx) error) (Billing, error) {
	what := fmt.Sprintf("set the billing details of account %q", b.Account)
	err := checkTexts(field{"company", b.Company}, field{"email", b.Email}, field{"line1", b.Line1}, field{"line2", b.Line2}, field{"postal_code", b.PostalCode},
		field{"city", b.City}, field{"state", b.State}, field{"country", b.Country}, field{"vat_id", b.VATID})
	if err != nil {
		return Billing{}, wrap(what, err)
	}
	status := VATNone
	if b.VATID != "" {
		status = VATPending
	}
	var now Billing
	err = l.Update(ctx, func(tx *Tx) error {
		if _, err := tx.lockTotals(ctx, b.Account); err != nil {
			return err
		}
		if unless != nil {
			if err := unless(tx); err != nil {
				return err
			}
		}
		at := l.timestamp()
		if _, err := tx.c.Exec(ctx, tx.sql.BillingPut, b.Account, b.Company, b.Email, b.Line1, b.Line2, b.PostalCode, b.City, b.State, b.Country, b.VATID, string(status), at); err != nil {
			return err
		}
		if _, err := tx.c.Exec(ctx, tx.sql.BillingSyncNext, b.Account, at); err != nil {
			return err
		}
		if err := tx.lookAtPurchases(ctx, b.Account); err != nil {
			return err
		}
		now, err = one(ctx, tx.c, tx.sql.Billing, []any{b.Account}, readBilling)
		return err
	})
	return now, wrap(what, err)
}

// lookAtPurchases has the purchases that an account could pay on Stripe's page looked at now: their tax may be another.
func (tx *Tx) lookAtPurchases(ctx context.Context, account string) error {
	_, err := tx.c.Exec(ctx, tx.sql.PurchasesLook, account, tx.l.timestamp())
	return err
}

// SetCustomer keeps Stripe's customer of an account, unless it is another by now than was, and has it told the account's
// details; it returns the one that is kept. Errors: ErrNotFound (the account), ErrExists (it is another account's).
func (l *Ledger) SetCustomer(ctx context.Context, account, was, customer string) (string, error) {
	var b Billing
	err := checkTexts(field{"customer", customer})
	if err == nil {
		err = l.Update(ctx, func(tx *Tx) error {
			if _, err := tx.lockTotals(ctx, account); err != nil {
				return err
			}
			n, err := tx.c.Exec(ctx, tx.sql.BillingCustomer, account, was, customer, l.timestamp())
			if err == nil && n > 0 {
				err = tx.syncNew(ctx, account)
			}
			if err != nil {
				return err
			}
			b, err = one(ctx, tx.c, tx.sql.Billing, []any{account}, readBilling)
			return err
		})
	}
	return b.Customer, wrap(fmt.Sprintf("set the customer of account %q", account), err)
}

// syncNew has a new customer told an account's details, unless that is under way.
func (tx *Tx) syncNew(ctx context.Context, account string) error {
	s, err := one(ctx, tx.c, tx.sql.BillingSync, []any{account}, readBillingSync)
	if err == nil && s.Synced < s.Revision || err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	_, err = tx.c.Exec(ctx, tx.sql.BillingSyncNext, account, tx.l.timestamp())
	return err
}

// SetTaxID keeps Stripe's tax id of an account's VAT ID, and what Stripe knows of that. It changes nothing if the
// account has another VAT ID by now, nor if pending is older than a result that is known of the same tax id.
func (l *Ledger) SetTaxID(ctx context.Context, account, vatID, taxID string, status VATStatus) error {
	err := checkTexts(field{"tax_id", taxID}, field{"vat_status", string(status)})
	if err == nil {
		err = l.Update(ctx, func(tx *Tx) error {
			n, err := tx.c.Exec(ctx, tx.sql.BillingTaxId, account, vatID, taxID, string(status), l.timestamp())
			if err == nil && n > 0 {
				err = tx.lookAtPurchases(ctx, account)
			}
			return err
		})
	}
	return wrap(fmt.Sprintf("set the tax id of account %q", account), err)
}

// AccountOfCustomer returns whose customer one of Stripe's is. Errors: ErrNotFound.
func (l *Ledger) AccountOfCustomer(ctx context.Context, customer string) (string, error) {
	var account string
	if customer == "" {
		return "", problem(ErrNotFound, "no customer is named")
	}
	err := l.view(ctx, func(tx *Tx) (err error) {
		account, err = one(ctx, tx.c, tx.sql.BillingAccount, []any{customer}, column[string])
		return err
	})
	if errors.Is(err, ErrNotFound) {
		err = problem(ErrNotFound, "no account has the customer %q", customer)
	}
	return account, err
}

// SyncBilling has an account's billing details synced to Stripe again. Errors: ErrNotFound (the account).
func (l *Ledger) SyncBilling(ctx context.Context, account string) error {
	err := l.Update(ctx, func(tx *Tx) error {
		if _, err := tx.lockTotals(ctx, account); err != nil {
			return err
		}
		_, err := tx.c.Exec(ctx, tx.sql.BillingSyncNext, account, l.timestamp())
		return err
	})
	return wrap(fmt.Sprintf("sync the billing details of account %q", account), err)
}

// BillingSync tells how far an account's billing details have come; all zero where there are none.
func (l *Ledger) BillingSync(ctx context.Context, account string) (BillingSync, error) {
	var s BillingSync
	err := l.view(ctx, func(tx *Tx) (err error) {
		s, err = one(ctx, tx.c, tx.sql.BillingSync, []any{account}, readBillingSync)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return BillingSync{Account: account}, nil
	}
	return s, wrap(fmt.Sprintf("sync of the billing details of account %q", account), err)
}

// BillingFailing returns accounts whose billing details could not be synced to Stripe so far.
func (l *Ledger) BillingFailing(ctx context.Context, limit int) ([]BillingSync, error) {
	var failing []BillingSync
	err := l.view(ctx, func(tx *Tx) (err error) {
		failing, err = list(ctx, tx.c, tx.sql.BillingSyncFailing, []any{rows(limit)}, readBillingSync)
		return err
	})
	return failing, wrap("billing details that are not synced", err)
}

// ClaimBilling takes one account whose billing details are due to be synced, or the one that is named, due now or later,
// so that nobody else does it until the lease is over. Errors: ErrNotFound (none is due, or somebody does it).
func (l *Ledger) ClaimBilling(ctx context.Context, account string, now time.Time, lease time.Duration) (BillingSync, error) {
	var s BillingSync
	holder := uuid.NewString()
	err := l.Update(ctx, func(tx *Tx) (err error) {
		s, err = one(ctx, tx.c, tx.sql.BillingSyncClaim, []any{holder, kept(now), kept(now.Add(lease)), account}, readBillingSync)
		return err
	})
	return s, wrap("claim billing details", err)
}

// SaveBillingSync notes how far claimed details have come, and ends the claim: Synced, Attempts, Problem, and DueAt
// unless they have changed meanwhile. Errors: ErrConflict (the claim is over).
func (l *Ledger) SaveBillingSync(ctx context.Context, s BillingSync) error {
	err := l.Update(ctx, func(tx *Tx) error {
		n, err := tx.c.Exec(ctx, tx.sql.BillingSyncSave, s.Account, s.holder, s.Revision, s.Synced, s.Attempts, kept(s.DueAt), printable(s.Problem))
		if err == nil && n == 0 {
			err = problem(ErrConflict, "another sidecar works on it by now")
		}
		return err
	})
	return wrap(fmt.Sprintf("save the sync of the billing details of account %q", s.Account), err)
}

func readBilling(row Scanner) (Billing, error) {
	var b Billing
	err := row.Scan(&b.Account, &b.Company, &b.Email, &b.Line1, &b.Line2, &b.PostalCode, &b.City, &b.State, &b.Country, &b.VATID, &b.VATStatus,
		&b.Customer, &b.TaxID, &b.Card, &b.CardName, &b.UpdatedAt)
	return b, err
}

func readBillingSync(row Scanner) (BillingSync, error) {
	var s BillingSync
	err := row.Scan(&s.Account, &s.Revision, &s.Synced, &s.Attempts, &s.holder, &s.DueAt, &s.Problem)
	return s, err
}
