package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// AddKey keeps an API key's hash. An empty ID becomes a new UUID, a zero Created the present.
// Errors: ErrNotFound (the account), ErrExists (the id or the hash), ErrInvalid.
func (l *Ledger) AddKey(ctx context.Context, k APIKey) (made APIKey, rev int64, err error) {
	what := fmt.Sprintf("add API key of account %q", k.Account)
	if k.ID == "" {
		k.ID = uuid.NewString()
	}
	k.Created, k.Expires = l.keptOr(k.Created), kept(k.Expires)
	k.Revoked, k.LastUsed = time.Time{}, time.Time{}
	err = errors.Join(checkGiven(field{"account", k.Account}),
		checkTexts(field{"id", k.ID}, field{"account", k.Account}, field{"name", k.Name}, field{"prefix", k.Prefix}))
	if err == nil && len(k.Hash) != hashSize {
		err = invalid("hash has %d bytes, SHA-256 has %d", len(k.Hash), hashSize)
	}
	if err != nil {
		return APIKey{}, 0, wrap(what, err)
	}
	rev, err = l.revise(ctx, func(tx *Tx, rev int64) error {
		if _, err := tx.account(ctx, tx.sql.Account, k.Account); err != nil {
			return err
		}
		_, err := tx.c.Exec(ctx, tx.sql.KeyInsert, k.ID, k.Account, k.Name, k.Prefix, k.Hash, k.Created, k.Expires, rev)
		return err
	})
	if err != nil {
		return APIKey{}, 0, wrap(what, err)
	}
	return k, rev, nil
}

// Key returns a key by its id. Errors: ErrNotFound.
func (l *Ledger) Key(ctx context.Context, id string) (APIKey, error) {
	k, err := l.key(ctx, l.sql.Key, id)
	if errors.Is(err, ErrNotFound) {
		err = noKey(id)
	}
	return k, err
}

// KeyByHash returns the key with a SHA-256 hash, revoked and expired ones as well. Errors: ErrNotFound.
func (l *Ledger) KeyByHash(ctx context.Context, hash []byte) (APIKey, error) {
	k, err := l.key(ctx, l.sql.KeyByHash, hash)
	return k, wrap("API key by hash", err)
}

func (l *Ledger) key(ctx context.Context, sql string, arg any) (APIKey, error) {
	var k Revised[APIKey]
	err := l.view(ctx, func(tx *Tx) (err error) {
		k, err = one(ctx, tx.c, sql, []any{arg}, readKey)
		return err
	})
	return k.Value, err
}

func noKey(id string) error { return problem(ErrNotFound, "there is no API key %q", id) }

// Keys returns an account's keys, oldest first, or everybody's for an empty account; revoked and expired ones as well.
func (l *Ledger) Keys(ctx context.Context, account string) ([]APIKey, error) {
	sql, args := l.sql.Keys, []any(nil)
	if account != "" {
		sql, args = l.sql.KeysOfAccount, []any{account}
	}
	var all []Revised[APIKey]
	err := l.view(ctx, func(tx *Tx) (err error) {
		all, err = list(ctx, tx.c, sql, args, readKey)
		return err
	})
	return values(all), wrap("API keys", err)
}

// RevokeKey ends a key; the first revocation's time stands. Errors: ErrNotFound.
func (l *Ledger) RevokeKey(ctx context.Context, id string) (now APIKey, rev int64, err error) {
	return l.changeKey(ctx, id, "revoke", l.sql.KeyRevoke, l.timestamp())
}

// ExpireKey sets when a key ends by itself, or with a zero time that it does not: rotation lets the old key live a
// while beside the new one. Errors: ErrNotFound.
func (l *Ledger) ExpireKey(ctx context.Context, id string, at time.Time) (now APIKey, rev int64, err error) {
	return l.changeKey(ctx, id, "expire", l.sql.KeyExpire, kept(at))
}

func (l *Ledger) changeKey(ctx context.Context, id, what, sql string, at time.Time) (APIKey, int64, error) {
	var k Revised[APIKey]
	rev, err := l.revise(ctx, func(tx *Tx, rev int64) (err error) {
		k, err = one(ctx, tx.c, sql, []any{id, at, rev}, readKey)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		err = noKey(id)
	}
	if err != nil {
		return APIKey{}, 0, wrap(what+" API key", err)
	}
	return k.Value, rev, nil
}

// TouchKeys notes when keys, by id, were last used. Earlier times than known and unknown keys change nothing. It is
// meant to be called now and then, with what has gathered; it makes no new revision.
func (l *Ledger) TouchKeys(ctx context.Context, used map[string]time.Time) error {
	rows := make([][]any, 0, len(used))
	for _, id := range sortedKeys(used) { // one order for all, against deadlocks
		rows = append(rows, []any{id, kept(used[id])})
	}
	err := l.Update(ctx, func(tx *Tx) error {
		_, err := tx.c.ExecEach(ctx, tx.sql.KeyTouch, rows)
		return err
	})
	return wrap("note the use of API keys", err)
}

func readKey(row Scanner) (Revised[APIKey], error) {
	var r Revised[APIKey]
	k := &r.Value
	err := row.Scan(&k.ID, &k.Account, &k.Name, &k.Prefix, &k.Hash, &k.Created, &k.Expires, &k.Revoked, &k.LastUsed, &r.Revision)
	return r, err
}
