package notify

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// Alerts returns when an account wants to be told that credit runs low; one that never said so wants nothing.
// Errors: ledger.ErrNotFound.
func (n *Notifier) Alerts(ctx context.Context, account string) (ledger.Alerts, error) {
	return n.ledger.Alerts(ctx, account)
}

// SetAlerts changes that. Errors: *ledger.FieldError, ledger.ErrNotFound.
func (n *Notifier) SetAlerts(ctx context.Context, a ledger.Alerts) error {
	switch {
	case a.Below < 0 || a.Below > credit.Max:
		return &ledger.FieldError{Field: "below", Message: "Write a number of minutes from 0 up."}
	case a.Email && n.mailer == nil:
		return &ledger.FieldError{Field: "email", Message: "E-mail cannot be sent: no mail server is configured."}
	}
	_, err := n.ledger.SetAlerts(ctx, a)
	return n.changed(ctx, a.Account, err)
}

// changed says that an account's webhooks or alerts changed, unless that failed.
func (n *Notifier) changed(ctx context.Context, account string, err error) error {
	if err == nil {
		n.poke()
		if n.cfg.Changed != nil {
			n.cfg.Changed(ctx, account)
		}
	}
	return err
}

// Mails tells whether e-mail can be sent.
func (n *Notifier) Mails() bool { return n.mailer != nil }

// Webhook returns an account's own webhook; the zero one where it has none.
func (n *Notifier) Webhook(ctx context.Context, account string) (ledger.Webhook, error) {
	w, err := n.ledger.Webhook(ctx, account, "")
	if errors.Is(err, ledger.ErrNotFound) {
		return ledger.Webhook{}, nil
	}
	return w, err
}

const (
	leastSecret = 16
	mostSecret  = 200
)

// SetWebhook keeps a webhook. An empty URL removes it; an empty secret keeps the one it has, or makes one.
// Errors: *ledger.FieldError, ledger.ErrNotFound (the account, the number).
func (n *Notifier) SetWebhook(ctx context.Context, w ledger.Webhook) error {
	_, err := n.PutWebhook(ctx, w)
	return err
}

// PutWebhook is SetWebhook that returns the webhook as it is kept, its secret included.
func (n *Notifier) PutWebhook(ctx context.Context, w ledger.Webhook) (ledger.Webhook, error) {
	if w.URL == "" {
		err := n.RemoveWebhook(ctx, w.Account, w.NumberID)
		if errors.Is(err, ledger.ErrNotFound) {
			err = nil
		}
		return ledger.Webhook{}, err
	}
	err := n.guard.check(w.URL)
	if w.Secret != "" && (len(w.Secret) < leastSecret || len(w.Secret) > mostSecret || strings.ContainsFunc(w.Secret, func(r rune) bool { return r <= ' ' || r > '~' })) {
		err = errors.Join(err, &ledger.FieldError{Field: "secret", Message: fmt.Sprintf("Write %d to %d printable ASCII characters without blanks.", leastSecret, mostSecret)})
	}
	if err != nil {
		return ledger.Webhook{}, err
	}
	if w.Secret == "" {
		was, err := n.ledger.Webhook(ctx, w.Account, w.NumberID)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return ledger.Webhook{}, err
		}
		if w.Secret = was.Secret; w.Secret == "" {
			w.Secret = newSecret()
		}
	}
	kept, err := n.ledger.SetWebhook(ctx, w)
	return kept, n.changed(ctx, w.Account, err)
}

// RemoveWebhook forgets a webhook; what waits for it is given up. Errors: ledger.ErrNotFound.
func (n *Notifier) RemoveWebhook(ctx context.Context, account, numberID string) error {
	return n.changed(ctx, account, n.ledger.RemoveWebhook(ctx, account, numberID))
}

// newSecret is 256 bits that nobody can guess.
func newSecret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return "whsec_" + base64.RawURLEncoding.EncodeToString(b)
}

// TestWebhook sends a test message to an account's own webhook now. The error is why it did not arrive, in words for
// the customer. Errors: ledger.ErrNotFound (there is no webhook).
func (n *Notifier) TestWebhook(ctx context.Context, account string) error {
	_, err := n.Test(ctx, account, "")
	return err
}

// Test is TestWebhook for the webhook of a number as well; it tells how long the endpoint took.
func (n *Notifier) Test(ctx context.Context, accountID, numberID string) (time.Duration, error) {
	w, err := n.ledger.Webhook(ctx, accountID, numberID)
	if err != nil {
		return 0, err
	}
	a, err := n.ledger.Account(ctx, accountID)
	if err != nil {
		return 0, err
	}
	begun := n.now()
	m := message{Type: EventTest, Timestamp: moment(begun.UnixMilli()), Account: &account{a.ID, a.Company}}
	d := ledger.Delivery{ID: uuid.New(), Account: accountID, NumberID: numberID, Endpoint: w.URL, Event: m.Type, Body: m.encode(), Secret: w.Secret}
	err = n.sender.try(ctx, &d)
	return n.now().Sub(begun), err
}

// shown is an endpoint as it may be logged: without what may be a secret in its path, and without an e-mail address.
func shown(endpoint string) string {
	if strings.HasPrefix(endpoint, mailScheme) {
		return "mailto"
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return "?"
	}
	return u.Scheme + "://" + u.Host
}
