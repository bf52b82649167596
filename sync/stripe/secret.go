package stripe

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

// Stripe shows an endpoint's signing secret to people only, so whether the configured one is right shows in what arrives:
// the ledger keeps when a webhook last came with its signature, and with another.
const (
	markSigned  = "stripe-webhook-signed:"
	markRefused = "stripe-webhook-refused:"
	noteEvery   = time.Minute
)

// noted remembers when something was last noted in the ledger, so that it is once a minute, not at each webhook.
type noted struct{ at atomic.Int64 }

// note notes it. That it could not be is no error: the next one will be.
func (n *noted) note(ctx context.Context, s *Service, mark string) {
	now := s.cfg.Now()
	was := n.at.Load()
	if now.Sub(time.Unix(was, 0)) < noteEvery || !n.at.CompareAndSwap(was, now.Unix()) {
		return
	}
	name := mark + fingerprint(s.cfg.WebhookSecret)
	_, err := s.ledger.ClaimMark(ctx, name, now, noteEvery/2)
	if err == nil {
		err = s.ledger.MoveMark(ctx, name, now)
	}
	if err != nil && !nothing(err) {
		n.at.Store(was)
	}
}

// fingerprint tells secrets apart without telling them.
func fingerprint(secret string) string {
	sum := sha256.Sum256([]byte("stripe webhook secret\x00" + secret))
	return hex.EncodeToString(sum[:8])
}

// Seen is when webhooks last came to the sidecars: with the signature of the configured secret, and with another. Zero: never.
type Seen struct {
	Signed  time.Time `json:"signed_at,omitzero"`
	Refused time.Time `json:"refused_at,omitzero"`
}

// seen reads it. Errors: ledger.ErrUnavailable.
func seen(ctx context.Context, l *ledger.Ledger, secret string) (Seen, error) {
	var out Seen
	for mark, to := range map[string]*time.Time{markSigned: &out.Signed, markRefused: &out.Refused} {
		at, _, err := l.Mark(ctx, mark+fingerprint(secret))
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return out, err
		}
		*to = at
	}
	return out, nil
}

// checkSecret tells whether the secret is the endpoint's, if that has shown.
func checkSecret(ctx context.Context, cfg *Config) (note string, known bool, err error) {
	if cfg.WebhookSecret == "" {
		return "", true, errors.New("stripe.webhook_secret is not set, so payments are noticed by polling only; set RINGFENCE_STRIPE_WEBHOOK_SECRET")
	}
	var s Seen
	err = ledger.ErrUnavailable
	if cfg.Ledger != nil {
		s, err = seen(ctx, cfg.Ledger, cfg.WebhookSecret)
	}
	switch {
	case err != nil:
		return "is set; whether it is the endpoint's is not known: the ledger, which knows whether webhooks bore its signature, cannot be asked (a running sidecar can: ringfence stripe status)", false, nil
	case !s.Signed.IsZero() && s.Refused.After(s.Signed):
		return "", true, fmt.Errorf("the last webhook with the signature of stripe.webhook_secret came at %s, one with another at %s: unless a stranger sent that, the secret was rolled; take the new one from Stripe's dashboard",
			s.Signed.UTC().Format(time.RFC3339), s.Refused.UTC().Format(time.RFC3339))
	case !s.Signed.IsZero():
		return "is the endpoint's: a webhook with its signature came at " + s.Signed.UTC().Format(time.RFC3339), true, nil
	case !s.Refused.IsZero():
		return "", true, fmt.Errorf("no webhook has ever borne the signature of stripe.webhook_secret, the last with another came at %s: unless a stranger sent that, take the signing secret of the endpoint from Stripe's dashboard",
			s.Refused.UTC().Format(time.RFC3339))
	}
	return "is set; no webhook has come yet that would show whether it is the endpoint's: have Stripe's dashboard send a test event to it", false, nil
}
