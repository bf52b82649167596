package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// noticeStatements are those of webhooks and alerts to customers.
type noticeStatements struct {
	AccountTouch                                                          string
	WebhookPut, WebhookRemove, Webhook, Webhooks, WebhooksOf, NumbersById string
	Alerts, AlertsOf, AlertsPut, AlertsOpen                               string
	AlertLow, AlertMailed, AlertExhausted, AlertRearm, GrantedSince       string
	DeliveryPut, DeliveriesDue, DeliveryDone, DeliveriesGiveUp            string
	DeliveriesMove, DeliveriesOrphan, Delivery, DeliveriesPage            string
	DeliveriesCount, DeliveryAgain, DeliveriesAgain, DeliveriesDrop       string
	EndpointsReady, EndpointLease, EndpointNote, EndpointClose            string
	EndpointFree, EndpointsFree, EndpointsDrop                            string
	QueueDepth, BillingEmail, DeliveriesHasten                            string
}

// Webhook is where an account, or one of its numbers, wants to be told.
type Webhook struct {
	Account   string
	NumberID  string // empty: the account's, for all numbers that have none of their own
	URL       string
	Secret    string // signs what is sent
	UpdatedAt time.Time
}

// Alerts is when an account wants to be told that credit runs low.
type Alerts struct {
	Account     string
	Below       credit.Units // balance under which it is; 0: never
	Email       bool         // to the billing address too
	LowAt       time.Time    // told, and not topped up since; zero: not
	ExhaustedAt time.Time    // told, and not topped up since; zero: not
	UpdatedAt   time.Time
}

// The states of a [Delivery].
const (
	DeliveryPending   = "pending"
	DeliveryDelivered = "delivered"
	DeliveryDead      = "dead" // given up; it may be replayed
)

// Delivery is one message to a webhook, or one e-mail.
type Delivery struct {
	ID        uuid.UUID // follows from what it tells: the same thing twice is one delivery
	Account   string
	NumberID  string // of the webhook; empty: the account's
	Endpoint  string // where it goes: a URL, or mailto:ADDRESS
	Topic     string // what it is about and in order of: a call's uid, an account's id, or empty
	Event     string // status-update, end-of-call-report, balance-low ...
	Body      []byte
	State     string // pending, delivered, dead
	Attempts  int64
	Due       time.Time // when it is tried next
	Since     time.Time // made, or replayed: giving up counts from here
	Error     string    // of the last attempt
	CreatedAt time.Time
	DoneAt    time.Time // delivered or given up; zero: neither
	Secret    string    // its webhook's, only from [Ledger.DueDeliveries]; empty: the webhook is gone
}

// maxURL bounds a webhook's URL, in bytes, so that it fits an index.
const maxURL = 2000

// SetWebhook makes or changes the webhook of an account, or of a number in use of it. What waits for it goes to the
// new URL, at once. Whether the URL may be called is not looked at here.
// Errors: ErrNotFound (the account, or the number), ErrInvalid.
func (l *Ledger) SetWebhook(ctx context.Context, w Webhook) (Webhook, error) {
	w.UpdatedAt = l.timestamp()
	err := errors.Join(checkGiven(field{"account", w.Account}, field{"url", w.URL}, field{"secret", w.Secret}),
		checkTexts(field{"account", w.Account}, field{"number_id", w.NumberID}, field{"url", w.URL}, field{"secret", w.Secret}),
		checkRange("url length", int64(len(w.URL)), 0, maxURL))
	if err == nil {
		err = l.changeNotices(ctx, w.Account, func(tx *Tx) error {
			if err := tx.checkNumberOf(ctx, w.Account, w.NumberID); err != nil {
				return err
			}
			if _, err := tx.c.Exec(ctx, tx.sql.WebhookPut, w.Account, w.NumberID, w.URL, w.Secret, w.UpdatedAt); err != nil {
				return err
			}
			if _, err := tx.c.Exec(ctx, tx.sql.EndpointClose, w.Account, w.URL); err != nil {
				return err
			}
			_, err := tx.c.Exec(ctx, tx.sql.DeliveriesMove, w.Account, w.NumberID, w.URL, w.UpdatedAt)
			return err
		})
	}
	if err != nil {
		return Webhook{}, wrap(fmt.Sprintf("set webhook of account %q", w.Account), err)
	}
	return w, nil
}

// checkNumberOf finds a number that is not an account's; none is fine. Errors: ErrNotFound.
func (tx *Tx) checkNumberOf(ctx context.Context, account, numberID string) error {
	if numberID == "" {
		return nil
	}
	n, err := one(ctx, tx.c, tx.sql.NumbersById, []any{[]string{numberID}}, readNumber)
	if err == nil && n.Value.Account == account && !n.removed {
		return nil
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return problem(ErrNotFound, "account %q has no number with the id %q", account, numberID)
}

// changeNotices changes who wants to be told, under a new revision of the account: its sidecars must know.
func (l *Ledger) changeNotices(ctx context.Context, account string, change func(*Tx) error) error {
	_, err := l.revise(ctx, func(tx *Tx, rev int64) error {
		if _, err := tx.account(ctx, tx.sql.AccountLocked, account); err != nil {
			return err
		}
		if err := change(tx); err != nil {
			return err
		}
		_, err := tx.c.Exec(ctx, tx.sql.AccountTouch, account, rev)
		return err
	})
	return err
}

// RemoveWebhook forgets a webhook; what waits for it is given up. Errors: ErrNotFound.
func (l *Ledger) RemoveWebhook(ctx context.Context, account, numberID string) error {
	err := l.changeNotices(ctx, account, func(tx *Tx) error {
		n, err := tx.c.Exec(ctx, tx.sql.WebhookRemove, account, numberID)
		switch {
		case err != nil:
			return err
		case n == 0:
			return noWebhook(account)
		}
		_, err = tx.c.Exec(ctx, tx.sql.DeliveriesOrphan, account, numberID, l.timestamp(), "the webhook was removed")
		return err
	})
	return wrap("remove webhook", err)
}

func noWebhook(account string) error {
	return problem(ErrNotFound, "account %q has no such webhook", account)
}

// Webhook returns the webhook of an account (numberID empty) or of a number. Errors: ErrNotFound.
func (l *Ledger) Webhook(ctx context.Context, account, numberID string) (Webhook, error) {
	var w Webhook
	err := l.view(ctx, func(tx *Tx) (err error) {
		w, err = one(ctx, tx.c, tx.sql.Webhook, []any{account, numberID}, readWebhook)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		err = noWebhook(account)
	}
	return w, err
}

// Webhooks returns an account's webhooks: its own first, then those of its numbers by their ids.
func (l *Ledger) Webhooks(ctx context.Context, account string) ([]Webhook, error) {
	var all []Webhook
	err := l.view(ctx, func(tx *Tx) (err error) {
		all, err = list(ctx, tx.c, tx.sql.Webhooks, []any{account}, readWebhook)
		return err
	})
	return all, wrap(fmt.Sprintf("webhooks of account %q", account), err)
}

func readWebhook(row Scanner) (Webhook, error) {
	var w Webhook
	err := row.Scan(&w.Account, &w.NumberID, &w.URL, &w.Secret, &w.UpdatedAt)
	return w, err
}

// SetAlerts says when an account wants to be told that credit runs low. A new threshold is looked at afresh: an account
// that is under it is told once more. LowAt and ExhaustedAt are not taken from a. Errors: ErrNotFound, ErrInvalid.
func (l *Ledger) SetAlerts(ctx context.Context, a Alerts) (now Alerts, err error) {
	err = checkRange("below", int64(a.Below), 0, credit.Max)
	if err == nil {
		err = l.changeNotices(ctx, a.Account, func(tx *Tx) error {
			// The money is locked first, as everywhere.
			if _, err := tx.lockTotals(ctx, a.Account); err != nil {
				return err
			}
			if _, err := tx.c.Exec(ctx, tx.sql.AlertsPut, a.Account, int64(a.Below), flag(a.Email), l.timestamp()); err != nil {
				return err
			}
			if now, err = one(ctx, tx.c, tx.sql.Alerts, []any{a.Account}, readAlerts); err != nil {
				return err
			}
			return tx.Notify(ctx, Notice{Account: a.Account, Event: NoticeThreshold})
		})
	}
	if err != nil {
		return Alerts{}, wrap(fmt.Sprintf("set alerts of account %q", a.Account), err)
	}
	return now, nil
}

// Alerts returns when an account wants to be told; one that never said so wants nothing. Errors: ErrNotFound.
func (l *Ledger) Alerts(ctx context.Context, account string) (Alerts, error) {
	a := Alerts{Account: account}
	err := l.view(ctx, func(tx *Tx) error {
		if _, err := tx.account(ctx, tx.sql.Account, account); err != nil {
			return err
		}
		found, err := one(ctx, tx.c, tx.sql.Alerts, []any{account}, readAlerts)
		if err == nil {
			a = found
		}
		return ignoreNotFound(err)
	})
	return a, wrap("alerts", err)
}

func readAlerts(row Scanner) (Alerts, error) {
	var a Alerts
	var email int64
	err := row.Scan(&a.Account, &a.Below, &email, &a.LowAt, &a.ExhaustedAt, &a.UpdatedAt)
	a.Email = email != 0
	return a, err
}

// What [Tx.Notify] may tell of.
const (
	NoticeCreditsAdded = "credits-added"
	NoticeTopUpFailed  = "top-up-failed"
	// NoticeThreshold: the account's alerts changed; nobody is told of that itself.
	NoticeThreshold = "threshold"
)

// Notice is something that happened to an account beside its calls, of which its customer may want to hear.
type Notice struct {
	Account string
	Event   string       // NoticeCreditsAdded, NoticeTopUpFailed, NoticeThreshold
	Grant   *authz.Grant // NoticeCreditsAdded
	// ID tells a repetition from another one of the same event: a purchase's. Zero: each is another one.
	ID      uuid.UUID
	Problem string // NoticeTopUpFailed: why, in words for the customer
	PayURL  string // NoticeTopUpFailed: where the customer can pay; may be empty
}

// OnNotice says what becomes of notices, in the transactions that they happen in: each grant is one, and what
// [Tx.Notify] is told. Set it before the ledger is used. Without it nothing becomes of them.
func (l *Ledger) OnNotice(fn func(context.Context, *Tx, Notice) error) { l.notice = fn }

// Notify tells an account's customer of something, if anything wants to be told, as part of a transaction.
func (tx *Tx) Notify(ctx context.Context, n Notice) error {
	if tx.l.notice == nil {
		return nil
	}
	return tx.l.notice(ctx, tx, n)
}
