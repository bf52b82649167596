package portal

import (
	"context"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// Book is the durable home of accounts, numbers, tariffs and grants. What a
// method returns without an error is recorded. Writes that record the state of
// an account, number or tariff return its revision: a later state of the same
// one has a higher revision. Errors are those of this package.
type Book interface {
	AccountBook
	NumberBook
	TariffBook
	GrantBook
}

// AccountBook is a book's accounts.
type AccountBook interface {
	// Account reads an account. Errors: ErrNotFound, ErrUnavailable.
	Account(ctx context.Context, id string) (authz.Account, error)
	// CreateAccount records a new one. Errors: ErrExists, ErrNotFound (its tariff), ErrUnavailable.
	CreateAccount(ctx context.Context, a authz.Account) (made authz.Account, rev int64, err error)
	// UpdateAccount records what change makes of it; id and creation stay, and
	// nothing is recorded where nothing changes. change may be called again.
	// Errors: ErrNotFound (account or tariff), ErrUnavailable, those of change.
	UpdateAccount(ctx context.Context, id string, change func(*authz.Account) error) (now authz.Account, rev int64, err error)
}

// NumberBook is a book's numbers.
type NumberBook interface {
	// AddNumber gives a number to an account and mints its id (a UUID). A number
	// has one owner. Errors: ErrExists (this account has it), ErrConflict
	// (another has it; the error names it), ErrNotFound (the account), ErrUnavailable.
	AddNumber(ctx context.Context, n authz.Number) (made authz.Number, rev int64, err error)
	// RemoveNumber takes it away and gives it as it was. Errors: ErrNotFound, ErrUnavailable.
	RemoveNumber(ctx context.Context, e164 string) (was authz.Number, rev int64, err error)
}

// TariffBook is a book's tariffs.
type TariffBook interface {
	// Tariff reads the version in force; "default" always exists. Errors: ErrNotFound, ErrUnavailable.
	Tariff(ctx context.Context, id string) (*tariff.Table, error)
	// PutTariff records a new version, unless the rates are those in force; the
	// version is above the last. Errors: ErrConflict (another currency), ErrUnavailable.
	PutTariff(ctx context.Context, t *tariff.Table) (now *tariff.Table, rev int64, err error)
}

// GrantBook is a book's grants.
type GrantBook interface {
	// AddGrant records a grant under the account's next number: 1, 2, 3 ... A
	// reference that the account has used before gives the grant it made
	// (created false) if units, kind and reason are the same. Errors:
	// ErrConflict (they are not), ErrNotFound (the account), ErrInvalid, ErrUnavailable.
	AddGrant(ctx context.Context, g authz.Grant) (made authz.Grant, created bool, err error)
	// Grants lists at most limit grants with numbers above after, in order;
	// limit 0 is all. Errors: ErrUnavailable.
	Grants(ctx context.Context, account string, after int64, limit int) ([]authz.Grant, error)
	// LastGrants gives the number of each account's last grant; accounts
	// without one may be left out. Errors: ErrUnavailable, those of fn.
	LastGrants(ctx context.Context, fn func(account string, last int64) error) error
}

// Mirror tells every sidecar what the book has recorded, this one before it
// returns. An older revision than what is known changes nothing.
type Mirror interface {
	PutAccount(ctx context.Context, rev int64, a authz.Account) error
	PutNumber(ctx context.Context, rev int64, n authz.Number) error
	DropNumber(ctx context.Context, rev int64, e164 string) error
	PutTariff(ctx context.Context, rev int64, t *tariff.Table) error
}

// Directory answers from memory.
type Directory interface {
	Lookups
	Lists
}

// Lookups finds one.
type Lookups interface {
	Ready() bool // false: nothing can be said to be unknown
	Account(id string) (*authz.Account, bool)
	Number(e164 string) (authz.Number, bool)
}

// Lists gives many, sorted; limit 0 is all.
type Lists interface {
	Accounts(after string, limit int) []*authz.Account
	Numbers(account, after string, limit int) []authz.Number // account "": everybody's
	NumberCount(account string) int
	Tariffs() []*tariff.Table
}

// Balances is the balance store as accounts and grants need it. Errors:
// authz.ErrLost, authz.ErrDown.
type Balances interface {
	// OpenAccount makes an account with no credit; one that is there stays as it is.
	OpenAccount(ctx context.Context, account string, status authz.AccountStatus, day int64) error
	SetStatus(ctx context.Context, account string, status authz.AccountStatus) error
	// Grant applies a grant if its number is the next; one that had been applied changes nothing.
	Grant(ctx context.Context, account string, number int64, units credit.Units) (applied bool, err error)
	Balance(ctx context.Context, account string) (authz.Balance, error)
}

// CallStore is the balance store as calls need it.
type CallStore interface {
	CallReader
	CallIndex
}

// CallReader reads calls of an account. Errors: authz.ErrUnknownCall, authz.ErrDown.
type CallReader interface {
	// Calls goes through all, ended ones and end-marks included; one that cannot be read comes with its error.
	Calls(ctx context.Context, account string, fn func(authz.Call, error) error) error
	Call(ctx context.Context, account string, k authz.Key) (authz.Call, error)
}

// CallIndex says where the live calls are.
type CallIndex interface {
	Partitions() int
	ScanIndex(ctx context.Context, partition int, fn func(authz.Indexed) error) error
	// Find gives a call's account. Errors: authz.ErrUnknownCall, authz.ErrDown.
	Find(ctx context.Context, k authz.Key) (account string, err error)
}

// Killer ends calls (package meter). Errors: authz.ErrCallEnded,
// authz.ErrUnknownCall, authz.ErrLost, authz.ErrDown.
type Killer interface {
	Kill(ctx context.Context, account string, k authz.Key) (authz.Call, error)
}

// Owner is a Killer that has calls in memory: those of this sidecar are then
// found before the index, which is written a moment later, names them.
type Owner interface {
	Calls() []authz.Call
}
