package portaltest

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/sync/portal"
)

// Directory is a portal.Directory and the portal.Mirror that feeds it.
type Directory struct {
	mu       sync.Mutex
	fail     error
	empty    bool
	accounts map[string]*authz.Account
	numbers  map[string]authz.Number
	tariffs  map[string]*tariff.Table
}

// NewDirectory makes one that is ready and empty.
func NewDirectory() *Directory {
	return &Directory{accounts: map[string]*authz.Account{}, numbers: map[string]authz.Number{},
		tariffs: map[string]*tariff.Table{"default": tariff.Default()}}
}

var (
	_ portal.Directory = (*Directory)(nil)
	_ portal.Mirror    = (*Directory)(nil)
)

// SetFail sets the error of every method of the mirror.
func (d *Directory) SetFail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = err
}

// SetReady says whether it is loaded.
func (d *Directory) SetReady(ready bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.empty = !ready
}

func (d *Directory) with(f func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	f()
	return nil
}

// PutAccount takes an account in.
func (d *Directory) PutAccount(_ context.Context, _ int64, a authz.Account) error {
	return d.with(func() { d.accounts[a.ID] = &a })
}

// PutNumber takes a number in.
func (d *Directory) PutNumber(_ context.Context, _ int64, n authz.Number) error {
	return d.with(func() { d.numbers[n.E164] = n })
}

// DropNumber forgets a number.
func (d *Directory) DropNumber(_ context.Context, _ int64, e164 string) error {
	return d.with(func() { delete(d.numbers, e164) })
}

// PutTariff takes a tariff in.
func (d *Directory) PutTariff(_ context.Context, _ int64, t *tariff.Table) error {
	return d.with(func() { d.tariffs[t.ID()] = t })
}

// Ready tells whether it is loaded.
func (d *Directory) Ready() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.empty
}

// Account finds an account.
func (d *Directory) Account(id string) (*authz.Account, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, ok := d.accounts[id]
	return a, ok
}

// Number finds a number.
func (d *Directory) Number(e164 string) (authz.Number, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, ok := d.numbers[e164]
	return n, ok
}

// Accounts lists accounts.
func (d *Directory) Accounts(after string, limit int) []*authz.Account {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []*authz.Account
	for id, a := range d.accounts {
		if id > after {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b *authz.Account) int { return cmp.Compare(a.ID, b.ID) })
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out
}

// Numbers lists numbers.
func (d *Directory) Numbers(account, after string, limit int) []authz.Number {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []authz.Number
	for e164, n := range d.numbers {
		if e164 > after && (account == "" || n.Account == account) {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b authz.Number) int { return cmp.Compare(a.E164, b.E164) })
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out
}

// NumberCount counts an account's numbers.
func (d *Directory) NumberCount(account string) int { return len(d.Numbers(account, "", 0)) }

// Tariffs lists tariffs.
func (d *Directory) Tariffs() []*tariff.Table {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []*tariff.Table
	for _, t := range d.tariffs {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *tariff.Table) int { return cmp.Compare(a.ID(), b.ID()) })
	return out
}
