package reconcile

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// Ledger is the truth (package sync/ledger).
type Ledger interface {
	Sums
	History
	Books
}

// Sums are an account and what all of it adds up to.
type Sums interface {
	Account(ctx context.Context, id string) (authz.Account, error)
	Totals(ctx context.Context, account string) (ledger.Totals, error)
	EachTotals(ctx context.Context, fn func(ledger.Totals) error) error
	Sum(ctx context.Context, account string, from, to time.Time) (ledger.Sum, error)
}

// History are grants and calls one by one.
type History interface {
	Grants(ctx context.Context, account string, after int64, limit int) ([]authz.Grant, error)
	CallsAfterSeq(ctx context.Context, account string, seq int64, limit int) ([]ledger.Call, error)
	KnownCalls(ctx context.Context, uids []uuid.UUID) (map[uuid.UUID]authz.State, error)
	Call(ctx context.Context, uid uuid.UUID) (ledger.Call, error)
	Export(ctx context.Context, sel ledger.Selection, fn func(ledger.Call) error) error
}

// Books are what a comparison looks at beside, and writes where the ledger lacks something.
type Books interface {
	Check(ctx context.Context, account string) ([]ledger.Mismatch, error)
	RefusedRecords(ctx context.Context, after int64, limit int) (page []ledger.RefusedRecord, total int64, err error)
	AddGrant(ctx context.Context, g authz.Grant) (grant authz.Grant, created bool, err error)
}

// Store is Redis (package authz/balance). Errors: authz.ErrFenced, ErrLost, ErrDown.
type Store interface {
	Marks
	Writer
	Outbox
	Reader
}

// Marks say what of Redis was lost, and who puts it right.
type Marks interface {
	Filled(ctx context.Context) ([]authz.Fill, error)
	BeginRebuild(ctx context.Context, partition int) (token string, err error)
	MarkFilled(ctx context.Context, partition int, token string, now int64) error
	Lease(ctx context.Context, name, holder string, now, until int64) (bool, error)
}

// Writer writes an account anew, in these steps.
type Writer interface {
	Shut(ctx context.Context, account, token string) (shut bool, err error)
	Bury(ctx context.Context, account, token string, calls []authz.Burial) error
	Rebuild(ctx context.Context, b authz.Rebuild) (base int64, err error)
	Reopen(ctx context.Context, account, token string) error
}

// Outbox tells what the ledger has of it.
type Outbox interface {
	OutboxEnd(ctx context.Context, partition int) (end string, err error)
	OutboxDrained(ctx context.Context, partition int, end string) (bool, error)
}

// Reader reads accounts.
type Reader interface {
	PartitionOf(account string) int
	Missing(ctx context.Context, accounts []string) ([]string, error)
	Balance(ctx context.Context, account string) (authz.Balance, error)
	Calls(ctx context.Context, account string, fn func(authz.Call, error) error) error
}
