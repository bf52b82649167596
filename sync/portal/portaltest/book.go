package portaltest

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/sync/portal"
)

// Book is a portal.Book. See SetFail.
type Book struct {
	mu       sync.Mutex
	fail     func(method string) error
	rev      int64
	accounts map[string]authz.Account
	numbers  map[string]authz.Number
	tariffs  map[string]*tariff.Table
	grants   map[string][]authz.Grant
}

// NewBook makes an empty book.
func NewBook() *Book {
	return &Book{accounts: map[string]authz.Account{}, numbers: map[string]authz.Number{},
		tariffs: map[string]*tariff.Table{"default": tariff.Default()}, grants: map[string][]authz.Grant{}}
}

var _ portal.Book = (*Book)(nil)

// SetFail has f asked before each call of a method, by its name; an error is
// what the method gives. nil asks nobody.
func (b *Book) SetFail(f func(method string) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = f
}

func (b *Book) enter(ctx context.Context, method string) (func(), error) {
	b.mu.Lock()
	if err := ctx.Err(); err != nil {
		b.mu.Unlock()
		return nil, fmt.Errorf("%s: %w: %w", method, portal.ErrUnavailable, err)
	}
	if b.fail != nil {
		if err := b.fail(method); err != nil {
			b.mu.Unlock()
			return nil, err
		}
	}
	return b.mu.Unlock, nil
}

func (b *Book) next() int64 { b.rev++; return b.rev }

// Account reads an account.
func (b *Book) Account(ctx context.Context, id string) (authz.Account, error) {
	leave, err := b.enter(ctx, "Account")
	if err != nil {
		return authz.Account{}, err
	}
	defer leave()
	return b.account(id)
}

func (b *Book) account(id string) (authz.Account, error) {
	a, ok := b.accounts[id]
	if !ok {
		return a, fmt.Errorf("account %q: %w", id, portal.ErrNotFound)
	}
	return a, nil
}

// CreateAccount records a new account.
func (b *Book) CreateAccount(ctx context.Context, a authz.Account) (authz.Account, int64, error) {
	leave, err := b.enter(ctx, "CreateAccount")
	if err != nil {
		return authz.Account{}, 0, err
	}
	defer leave()
	if _, ok := b.accounts[a.ID]; ok {
		return authz.Account{}, 0, fmt.Errorf("account %q: %w", a.ID, portal.ErrExists)
	}
	b.accounts[a.ID] = a
	return a, b.next(), nil
}

// UpdateAccount records what change makes of an account.
func (b *Book) UpdateAccount(ctx context.Context, id string, change func(*authz.Account) error) (authz.Account, int64, error) {
	leave, err := b.enter(ctx, "UpdateAccount")
	if err != nil {
		return authz.Account{}, 0, err
	}
	defer leave()
	a, err := b.account(id)
	if err != nil {
		return a, 0, err
	}
	if err := change(&a); err != nil {
		return authz.Account{}, 0, fmt.Errorf("update account %q: %w", id, err)
	}
	b.accounts[id] = a
	return a, b.next(), nil
}

// AddNumber gives a number to an account.
func (b *Book) AddNumber(ctx context.Context, n authz.Number) (authz.Number, int64, error) {
	leave, err := b.enter(ctx, "AddNumber")
	if err != nil {
		return authz.Number{}, 0, err
	}
	defer leave()
	if _, err := b.account(n.Account); err != nil {
		return authz.Number{}, 0, err
	}
	if old, ok := b.numbers[n.E164]; ok {
		kind := portal.ErrConflict
		if old.Account == n.Account {
			kind = portal.ErrExists
		}
		return authz.Number{}, 0, fmt.Errorf("number %s belongs to account %q: %w", n.E164, old.Account, kind)
	}
	n.ID = uuid.NewString()
	b.numbers[n.E164] = n
	return n, b.next(), nil
}

// RemoveNumber takes a number away.
func (b *Book) RemoveNumber(ctx context.Context, e164 string) (authz.Number, int64, error) {
	leave, err := b.enter(ctx, "RemoveNumber")
	if err != nil {
		return authz.Number{}, 0, err
	}
	defer leave()
	n, ok := b.numbers[e164]
	if !ok {
		return n, 0, fmt.Errorf("number %s: %w", e164, portal.ErrNotFound)
	}
	delete(b.numbers, e164)
	return n, b.next(), nil
}

// Tariff reads a tariff.
func (b *Book) Tariff(ctx context.Context, id string) (*tariff.Table, error) {
	leave, err := b.enter(ctx, "Tariff")
	if err != nil {
		return nil, err
	}
	defer leave()
	t, ok := b.tariffs[id]
	if !ok {
		return nil, fmt.Errorf("tariff %q: %w", id, portal.ErrNotFound)
	}
	return t, nil
}

// PutTariff records a tariff.
func (b *Book) PutTariff(ctx context.Context, t *tariff.Table) (*tariff.Table, int64, error) {
	leave, err := b.enter(ctx, "PutTariff")
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	if old, ok := b.tariffs[t.ID()]; ok {
		if old.Currency() != t.Currency() {
			return nil, 0, fmt.Errorf("tariff %q is in %s: %w", t.ID(), old.Currency(), portal.ErrConflict)
		}
		x, err := json.Marshal(old.WithVersion(0))
		if err != nil {
			return nil, 0, err
		}
		if y, err := json.Marshal(t.WithVersion(0)); err != nil || string(x) == string(y) {
			return old, b.rev, err
		}
		t = t.WithVersion(max(t.Version(), old.Version()+1))
	}
	b.tariffs[t.ID()] = t
	return t, b.next(), nil
}

// AddGrant records a grant.
func (b *Book) AddGrant(ctx context.Context, g authz.Grant) (authz.Grant, bool, error) {
	leave, err := b.enter(ctx, "AddGrant")
	if err != nil {
		return authz.Grant{}, false, err
	}
	defer leave()
	if _, err := b.account(g.Account); err != nil {
		return authz.Grant{}, false, err
	}
	for _, old := range b.grants[g.Account] {
		if old.Reference != g.Reference {
			continue
		}
		if old.Units != g.Units || old.Kind != g.Kind || old.Reason != g.Reason {
			return authz.Grant{}, false, fmt.Errorf("reference %q is grant %d's: %w", g.Reference, old.Number, portal.ErrConflict)
		}
		return old, false, nil
	}
	g.Number = int64(len(b.grants[g.Account]) + 1)
	b.grants[g.Account] = append(b.grants[g.Account], g)
	return g, true, nil
}

// Grants lists an account's grants.
func (b *Book) Grants(ctx context.Context, account string, after int64, limit int) ([]authz.Grant, error) {
	leave, err := b.enter(ctx, "Grants")
	if err != nil {
		return nil, err
	}
	defer leave()
	all := b.grants[account]
	all = all[min(after, int64(len(all))):]
	if limit > 0 {
		all = all[:min(limit, len(all))]
	}
	return append([]authz.Grant(nil), all...), nil
}

// LastGrants tells the number of each account's last grant.
func (b *Book) LastGrants(ctx context.Context, fn func(string, int64) error) error {
	leave, err := b.enter(ctx, "LastGrants")
	if err != nil {
		return err
	}
	defer leave()
	for account, grants := range b.grants {
		if err := fn(account, int64(len(grants))); err != nil {
			return err
		}
	}
	return nil
}

// Forget loses an account's last grant, as a store does that goes back.
func (b *Book) Forget(account string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.grants[account] = b.grants[account][:len(b.grants[account])-1]
}
