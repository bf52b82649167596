package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
)

// WebhooksOf returns the webhooks of some accounts: by account, then by number id.
func (tx *Tx) WebhooksOf(ctx context.Context, accounts []string) (map[string]map[string]Webhook, error) {
	found := make(map[string]map[string]Webhook)
	err := tx.c.Query(ctx, tx.sql.WebhooksOf, []any{accounts}, func(row Scanner) error {
		w, err := readWebhook(row)
		if found[w.Account] == nil {
			found[w.Account] = make(map[string]Webhook)
		}
		found[w.Account][w.NumberID] = w
		return err
	})
	return found, err
}

// AlertsOf returns the alerts of those of some accounts that have any.
func (tx *Tx) AlertsOf(ctx context.Context, accounts []string) (map[string]Alerts, error) {
	found := make(map[string]Alerts)
	err := tx.c.Query(ctx, tx.sql.AlertsOf, []any{accounts}, func(row Scanner) error {
		a, err := readAlerts(row)
		found[a.Account] = a
		return err
	})
	return found, err
}

// NumbersOf returns numbers by their ids, removed ones too.
func (tx *Tx) NumbersOf(ctx context.Context, ids []string) (map[string]authz.Number, error) {
	found := make(map[string]authz.Number)
	if len(ids) == 0 {
		return found, nil
	}
	err := tx.c.Query(ctx, tx.sql.NumbersById, []any{ids}, func(row Scanner) error {
		n, err := readNumber(row)
		found[n.Value.ID] = n.Value
		return err
	})
	return found, err
}

// Account is [Ledger.Account] within a transaction. Errors: ErrNotFound.
func (tx *Tx) Account(ctx context.Context, id string) (authz.Account, error) {
	a, err := tx.account(ctx, tx.sql.Account, id)
	return a.Value, err
}

// LockAccount keeps the money of an account from moving until the transaction ends, and returns its sums.
// Errors: ErrNotFound.
func (tx *Tx) LockAccount(ctx context.Context, account string) (Totals, error) {
	return tx.lockTotals(ctx, account)
}

// LockAccounts is LockAccount for several, in the order of their ids; those that are not known are left out.
func (tx *Tx) LockAccounts(ctx context.Context, accounts []string) (map[string]Totals, error) {
	found := make(map[string]Totals, len(accounts))
	err := tx.c.Query(ctx, tx.sql.SumsLocked, []any{accounts}, func(row Scanner) error {
		t, err := readTotals(row)
		found[t.Account] = t
		return err
	})
	return found, err
}

// KnownCalls is [Ledger.KnownCalls] within a transaction.
func (tx *Tx) KnownCalls(ctx context.Context, uids []uuid.UUID) (map[uuid.UUID]authz.State, error) {
	known := make(map[uuid.UUID]authz.State, len(uids))
	if len(uids) == 0 {
		return known, nil
	}
	return known, tx.known(ctx, uids, func(uid uuid.UUID, e entry) { known[uid] = e.state })
}

// FellLow notes that an account's balance is under its threshold. It is true once, until [Tx.Rearm].
func (tx *Tx) FellLow(ctx context.Context, account string) (bool, error) {
	n, err := tx.c.Exec(ctx, tx.sql.AlertLow, account, tx.l.timestamp())
	return n > 0, err
}

// MailsLow notes that an e-mail about low credit is queued. It is false if one was within the time before, and the
// account was not topped up since: a threshold that moves up and down sends no stream of e-mail.
func (tx *Tx) MailsLow(ctx context.Context, account string, within time.Duration) (bool, error) {
	now := tx.l.timestamp()
	n, err := tx.c.Exec(ctx, tx.sql.AlertMailed, account, now, kept(now.Add(-within)))
	return n > 0, err
}

// GrantedSince tells whether credit was added to an account at a time or after it.
func (tx *Tx) GrantedSince(ctx context.Context, account string, at time.Time) (bool, error) {
	n, err := one(ctx, tx.c, tx.sql.GrantedSince, []any{account, kept(at)}, column[int64])
	return n > 0, err
}

// RanOut notes that an account's credit is used up. It is true once, until [Tx.Rearm].
func (tx *Tx) RanOut(ctx context.Context, account string) (bool, error) {
	if _, err := tx.c.Exec(ctx, tx.sql.AlertsOpen, account, tx.l.timestamp()); err != nil {
		return false, err
	}
	n, err := tx.c.Exec(ctx, tx.sql.AlertExhausted, account, tx.l.timestamp())
	return n > 0, err
}

// Rearm forgets that an account was told of low, or of used up, credit.
func (tx *Tx) Rearm(ctx context.Context, account string, low, exhausted bool) error {
	_, err := tx.c.Exec(ctx, tx.sql.AlertRearm, account, flag(low), flag(exhausted))
	return err
}

// Enqueue adds deliveries to the queue, in their order, due at once, and tells how many are new: one whose ID is known
// is there already. Errors: ErrInvalid.
func (tx *Tx) Enqueue(ctx context.Context, all []Delivery) (int64, error) {
	if len(all) == 0 {
		return 0, nil
	}
	now := tx.l.timestamp()
	args := make([][]any, len(all))
	var errs []error
	for i := range all {
		d := &all[i]
		errs = append(errs, checkGiven(field{"account", d.Account}, field{"endpoint", d.Endpoint}, field{"event", d.Event}),
			checkTexts(field{"account", d.Account}, field{"endpoint", d.Endpoint}, field{"event", d.Event}, field{"topic", d.Topic}))
		args[i] = []any{d.ID, d.Account, d.NumberID, d.Endpoint, d.Topic, d.Event, d.Body, now}
	}
	if err := errors.Join(errs...); err != nil {
		return 0, wrap("enqueue deliveries", err)
	}
	n, err := tx.c.ExecEach(ctx, tx.sql.DeliveryPut, args)
	return n, wrap("enqueue deliveries", err)
}

// Now is the present as the ledger keeps it.
func (tx *Tx) Now() time.Time { return tx.l.timestamp() }

// BillingEmail is where an account's bills go: the billing address, or else the account's own; empty: nowhere.
func (tx *Tx) BillingEmail(ctx context.Context, account string) (string, error) {
	email, err := one(ctx, tx.c, tx.sql.BillingEmail, []any{account}, column[string])
	return email, ignoreNotFound(err)
}
