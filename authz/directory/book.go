package directory

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// RedisBook is the durable home of accounts, numbers, tariffs and grants where
// there is no ledger: as durable as Redis is. What it records is mirrored by
// the same script.
//
// Its methods return the revision of what they leave behind: a later state of
// the same account, number or tariff has a higher one.
type RedisBook struct{ r *Redis }

// NewRedisBook makes the book over the mirror that the directory follows.
func NewRedisBook(r *Redis) *RedisBook { return &RedisBook{r} }

// tries bounds how often a change is made again because another came between.
const tries = 10

// stored is what Redis keeps under a key.
type stored struct {
	Change
	value json.RawMessage // nil: nothing, or removed
}

func parseStored(kind Kind, key, text string) (stored, error) {
	if text == "" {
		return stored{Change: Change{Kind: kind, Key: key}}, nil
	}
	c, err := parseChange(kind, key, text)
	if err != nil {
		return stored{}, err
	}
	_, value, err := splitEntry(text)
	return stored{c, value}, err
}

// fetch reads one entry. Errors: ErrLost, ErrUnavailable.
func (b *RedisBook) fetch(ctx context.Context, kind Kind, key string) (stored, error) {
	what := "read " + string(kind) + " " + shown(kind, key)
	pipe := b.r.rdb.Pipeline()
	gen := pipe.HExists(ctx, keyMeta, "gen")
	text := pipe.HGet(ctx, hashes[kind], key)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return stored{}, unavailable(what, err)
	}
	if !gen.Val() && b.r.known() != "" {
		return stored{}, fmt.Errorf("%s: %w", what, ErrLost)
	}
	return parseStored(kind, key, text.Val())
}

// change reads an entry, lets decide what it becomes, and records that, as
// often as it takes for no other change to come between. decide gets what is
// there and gives what is to be, with the tariff or account that must exist;
// the same JSON as before records nothing.
func (b *RedisBook) change(ctx context.Context, kind Kind, key string,
	decide func(now *stored) (next Change, need string, err error)) (rev int64, err error) {
	what := "record " + string(kind) + " " + shown(kind, key)
	now, err := b.fetch(ctx, kind, key)
	for range tries {
		if err != nil {
			return 0, err
		}
		next, need, err := decide(&now)
		if err != nil {
			return 0, err
		}
		value, err := next.value()
		if err != nil {
			return 0, err
		}
		if now.Rev > 0 && bytes.Equal(now.value, []byte(value)) {
			return now.Rev, nil
		}
		var done bool
		if rev, now, done, err = b.record(ctx, what, now, value, need, rand.Text()); err != nil || done {
			return rev, err
		}
	}
	return 0, unavailable(what, errors.New("others keep changing it"))
}

// record writes what an entry becomes, unless it has moved on: then it gives
// what is there now. token names this very write, which the client may send
// twice where the answer to the first is lost.
func (b *RedisBook) record(ctx context.Context, what string, from stored, value, need, token string) (
	rev int64, now stored, done bool, err error) {
	needs := keyAccounts
	if from.Kind == KindAccount {
		needs = keyTariffs
	}
	reply, err := b.r.run(ctx, what, b.r.scripts.record, []string{keyMeta, keyChanges, hashes[from.Kind], needs},
		string(from.Kind), from.Key, from.Rev, value, b.r.kept, need, b.r.known(), uuid.NewString(), token)
	if err != nil {
		return 0, now, false, err
	}
	switch reply[0] {
	case "":
		rev, err = strconv.ParseInt(reply[1], 10, 64)
		return rev, now, err == nil, err
	case "moved":
		now, err = parseStored(from.Kind, from.Key, reply[2])
		return 0, now, false, err
	case "missing":
		if from.Kind == KindAccount {
			return 0, now, false, problemf(ErrNotFound, "there is no tariff %q", need)
		}
		return 0, now, false, problemf(ErrNotFound, "there is no account %q", need)
	}
	return 0, now, false, fmt.Errorf("%s: %w", what, ErrLost)
}

// needed is the tariff that must be stored for an account to have it.
func needed(a *authz.Account) string {
	if a.Tariff == DefaultTariff {
		return ""
	}
	return a.Tariff
}

// Account reads an account. Errors: ErrNotFound, ErrUnavailable.
func (b *RedisBook) Account(ctx context.Context, id string) (authz.Account, error) {
	s, err := b.fetch(ctx, KindAccount, id)
	if err != nil {
		return authz.Account{}, err
	}
	if s.Account == nil {
		return authz.Account{}, noAccount(id)
	}
	return *s.Account, nil
}

func noAccount(id string) error { return problemf(ErrNotFound, "there is no account %q", id) }

// CreateAccount records a new account. Errors: ErrExists, ErrNotFound (its
// tariff), ErrUnavailable.
func (b *RedisBook) CreateAccount(ctx context.Context, a authz.Account) (authz.Account, int64, error) {
	rev, err := b.change(ctx, KindAccount, a.ID, func(now *stored) (Change, string, error) {
		if now.Account != nil {
			return Change{}, "", problemf(ErrExists, "account %q exists already", a.ID)
		}
		return Change{Kind: KindAccount, Account: &a}, needed(&a), nil
	})
	return a, rev, err
}

// UpdateAccount records what change makes of an account; its id and creation
// stay. change may be called more than once. Errors: ErrNotFound (the account
// or its tariff), ErrUnavailable, those of change.
func (b *RedisBook) UpdateAccount(ctx context.Context, id string, change func(*authz.Account) error) (authz.Account, int64, error) {
	var next authz.Account
	rev, err := b.change(ctx, KindAccount, id, func(now *stored) (Change, string, error) {
		if now.Account == nil {
			return Change{}, "", noAccount(id)
		}
		next = *now.Account
		if err := change(&next); err != nil {
			return Change{}, "", err
		}
		next.ID, next.Created = now.Account.ID, now.Account.Created
		need := ""
		if next.Tariff != now.Account.Tariff {
			need = needed(&next)
		}
		return Change{Kind: KindAccount, Account: &next}, need, nil
	})
	return next, rev, err
}

// AddNumber gives a number to an account and mints its id, unless it comes with
// one. A number has one owner: the error names it. Errors: ErrExists (the
// account has it already), ErrConflict (another has it), ErrNotFound (no such
// account), ErrUnavailable.
func (b *RedisBook) AddNumber(ctx context.Context, n authz.Number) (authz.Number, int64, error) {
	if n.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return authz.Number{}, 0, fmt.Errorf("mint number id: %w", err)
		}
		n.ID = id.String()
	}
	rev, err := b.change(ctx, KindNumber, n.E164, func(now *stored) (Change, string, error) {
		switch {
		case now.Number == nil:
			return Change{Kind: KindNumber, Number: &n}, n.Account, nil
		case now.Number.Account == n.Account:
			return Change{}, "", problemf(ErrExists, "number %s belongs to account %q already", n.E164, n.Account)
		}
		return Change{}, "", problemf(ErrConflict, "number %s belongs to account %q; remove it there first", n.E164, now.Number.Account)
	})
	return n, rev, err
}

// RemoveNumber takes a number from its account and gives it as it was. Errors:
// ErrNotFound, ErrUnavailable.
func (b *RedisBook) RemoveNumber(ctx context.Context, e164 string) (authz.Number, int64, error) {
	var was authz.Number
	rev, err := b.change(ctx, KindNumber, e164, func(now *stored) (Change, string, error) {
		if now.Number == nil {
			return Change{}, "", problemf(ErrNotFound, "no account has number %s", e164)
		}
		was = *now.Number
		return Change{Kind: KindNumber}, "", nil
	})
	return was, rev, err
}

// Tariff reads a tariff; "default" always exists. Errors: ErrNotFound, ErrUnavailable.
func (b *RedisBook) Tariff(ctx context.Context, id string) (*tariff.Table, error) {
	s, err := b.fetch(ctx, KindTariff, id)
	switch {
	case err != nil:
		return nil, err
	case s.Tariff != nil:
		return s.Tariff, nil
	case id == DefaultTariff:
		return tariff.Default(), nil
	}
	return nil, problemf(ErrNotFound, "there is no tariff %q", id)
}

// PutTariff records a tariff: a new one, or a new version of one. The same
// rates change nothing; other rates get a version above the last, or the one
// they came with if that is higher. Errors: ErrConflict (another currency: its
// accounts' money is in the old one), ErrUnavailable.
func (b *RedisBook) PutTariff(ctx context.Context, t *tariff.Table) (*tariff.Table, int64, error) {
	next := t
	rev, err := b.change(ctx, KindTariff, t.ID(), func(now *stored) (Change, string, error) {
		next = t
		old := now.Tariff
		if old == nil && t.ID() == DefaultTariff {
			old = tariff.Default()
		}
		if old == nil {
			return Change{Kind: KindTariff, Tariff: t}, "", nil
		}
		if old.Currency() != t.Currency() {
			return Change{}, "", problemf(ErrConflict, "tariff %q is in %s: put the one in %s under another id", t.ID(), old.Currency(), t.Currency())
		}
		same, err := sameTariff(old, t)
		switch {
		case err != nil:
			return Change{}, "", err
		case same:
			next = old
		case t.Version() <= old.Version():
			next = t.WithVersion(old.Version() + 1)
		}
		return Change{Kind: KindTariff, Tariff: next}, "", nil
	})
	return next, rev, err
}

// sameTariff tells whether two tariffs differ in their version at most.
func sameTariff(a, b *tariff.Table) (bool, error) {
	x, err := json.Marshal(a.WithVersion(0))
	if err != nil {
		return false, err
	}
	y, err := json.Marshal(b.WithVersion(0))
	return bytes.Equal(x, y), err
}
