package account

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

// KeyBook is where keys are kept, without the keys themselves (package ledger).
type KeyBook interface {
	KeyReader
	KeyWriter
}

// KeyReader reads what is known of keys. Errors: ledger.ErrNotFound.
type KeyReader interface {
	Key(ctx context.Context, id string) (ledger.APIKey, error)
	Keys(ctx context.Context, account string) ([]ledger.APIKey, error) // account "": everybody's
}

// KeyWriter changes keys. Errors: ledger.ErrNotFound, ErrExists, ErrInvalid.
type KeyWriter interface {
	AddKey(ctx context.Context, k ledger.APIKey) (made ledger.APIKey, rev int64, err error)
	RevokeKey(ctx context.Context, id string) (now ledger.APIKey, rev int64, err error)
	ExpireKey(ctx context.Context, id string, at time.Time) (now ledger.APIKey, rev int64, err error)
}

// Errors of Keys, beside those of the ledger.
var (
	// ErrKeyOver: the key is revoked or has expired, so that there is nothing to rotate.
	ErrKeyOver = errors.New("the key is revoked or has expired")
	// ErrPast: a key that would expire before it is used.
	ErrPast = errors.New("is in the past")
	// ErrGrace: a grace out of bounds.
	ErrGrace = errors.New("must be from 0 to 30 days")
)

const (
	// DefaultGrace is how long a rotated key lives on beside its successor.
	DefaultGrace = 24 * time.Hour
	// MaxGrace bounds it.
	MaxGrace = 30 * 24 * time.Hour
	// undoTimeout bounds the taking back of a key that nobody was told.
	undoTimeout = 5 * time.Second
)

// Keys makes and ends API keys, for the admin API and the CLI.
type Keys struct {
	book    KeyBook
	changed func(...ledger.APIKey)
	now     func() time.Time
	log     *slog.Logger
}

// NewKeys makes a Keys. changed is told of every key that was made or changed,
// so that this sidecar's look-ups know at once ([Server.Invalidate]); the other
// sidecars learn it from the ledger. It may be nil, and so may now.
func NewKeys(book KeyBook, changed func(...ledger.APIKey), now func() time.Time, log *slog.Logger) *Keys {
	if changed == nil {
		changed = func(...ledger.APIKey) {}
	}
	if now == nil {
		now = time.Now
	}
	return &Keys{book: book, changed: changed, now: now, log: log}
}

// Create makes a key for an account. The key itself is returned here and never
// again. A zero expires is a key that does not expire. Errors: ErrPast, and
// ledger.ErrNotFound (the account), ErrInvalid, ErrUnavailable.
func (k *Keys) Create(ctx context.Context, account, name string, expires time.Time) (string, ledger.APIKey, error) {
	if !expires.IsZero() && !expires.After(k.now()) {
		return "", ledger.APIKey{}, fmt.Errorf("create API key: expires_at %w", ErrPast)
	}
	key := MintKey()
	hash := HashKey(key)
	made, _, err := k.book.AddKey(ctx, ledger.APIKey{Account: account, Name: name, Prefix: ShownKey(key), Hash: hash[:],
		Created: k.now(), Expires: expires})
	if err != nil {
		return "", ledger.APIKey{}, err
	}
	k.changed(made)
	return key, made, nil
}

// List gives an account's keys, oldest first, revoked and expired ones as well.
func (k *Keys) List(ctx context.Context, account string) ([]ledger.APIKey, error) {
	return k.book.Keys(ctx, account)
}

// Revoke ends a key at once; the first revocation's time stands. Errors:
// ledger.ErrNotFound, ErrUnavailable.
func (k *Keys) Revoke(ctx context.Context, id string) (ledger.APIKey, error) {
	now, _, err := k.book.RevokeKey(ctx, id)
	if err == nil {
		k.changed(now)
	}
	return now, err
}

// Expire says when a key ends by itself; a zero time: it does not. A time in the
// past ends it now. Errors: ledger.ErrNotFound, ErrUnavailable.
func (k *Keys) Expire(ctx context.Context, id string, at time.Time) (ledger.APIKey, error) {
	now, _, err := k.book.ExpireKey(ctx, id, at)
	if err == nil {
		k.changed(now)
	}
	return now, err
}

// Rotate makes a successor of a key, with its name and, where it expires, the
// same time to live. The old one ends after the grace, or earlier if it was to.
// The new key is returned here and never again. If the old one could not be
// given its end, nothing has changed. Errors: ErrGrace, ErrKeyOver,
// ledger.ErrNotFound, ErrUnavailable.
func (k *Keys) Rotate(ctx context.Context, id string, grace time.Duration) (key string, made, old ledger.APIKey, err error) {
	fail := func(err error) (string, ledger.APIKey, ledger.APIKey, error) {
		return "", ledger.APIKey{}, ledger.APIKey{}, fmt.Errorf("rotate API key: %w", err)
	}
	if grace < 0 || grace > MaxGrace {
		return fail(fmt.Errorf("grace %w", ErrGrace))
	}
	if old, err = k.book.Key(ctx, id); err != nil {
		return fail(err)
	}
	now := k.now()
	if !old.Revoked.IsZero() || expired(&old, now) {
		return fail(ErrKeyOver)
	}
	var expires time.Time
	if !old.Expires.IsZero() {
		expires = now.Add(max(old.Expires.Sub(old.Created), time.Minute))
	}
	if key, made, err = k.Create(ctx, old.Account, old.Name, expires); err != nil {
		return fail(err)
	}
	end := now.Add(grace)
	if !old.Expires.IsZero() && old.Expires.Before(end) {
		return key, made, old, nil
	}
	if old, err = k.Expire(ctx, id, end); err != nil {
		k.takeBack(ctx, made.ID)
		return fail(err)
	}
	return key, made, old, nil
}

// takeBack revokes a key that nobody was told.
func (k *Keys) takeBack(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if _, err := k.Revoke(ctx, id); err != nil {
		k.log.Warn("an API key that nobody was told could not be revoked", logKey, id, logError, err)
	}
}

func expired(k *ledger.APIKey, now time.Time) bool {
	return !k.Expires.IsZero() && !now.Before(k.Expires)
}
