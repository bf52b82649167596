package outbox

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
)

// Known tells which calls the ledger has, and in what state.
type Known interface {
	KnownCalls(ctx context.Context, uids []uuid.UUID) (map[uuid.UUID]authz.State, error)
}

// Replayer charges a call again that Redis lost (package authz/balance).
type Replayer interface {
	Replay(ctx context.Context, raw string) error
}

// Keeper keeps the record of each call this sidecar charged until the ledger has
// it. Should Redis lose the charge together with its record, the Keeper has both
// made again, with the amounts as settled.
type Keeper struct {
	known Known
	log   *slog.Logger

	mu   sync.Mutex
	kept map[uuid.UUID]kept
	full bool
}

type kept struct {
	raw   string
	state authz.State
	since time.Time
}

const (
	keptMost  = 500_000 // records; some 200 MB
	keptPage  = 500
	keptSure  = 2 * time.Second // younger ones are still on their way
	keptEvery = 5 * time.Second
)

// NewKeeper makes a Keeper. Give its Retain to the balance store.
func NewKeeper(known Known, log *slog.Logger) *Keeper {
	return &Keeper{known: known, log: log, kept: map[uuid.UUID]kept{}}
}

// Retain keeps a record. It does not wait.
func (k *Keeper) Retain(raw string) {
	r, err := authz.ParseRecord(raw)
	if err != nil {
		k.log.Error("a record that was just written cannot be read", "error", err)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.kept) >= keptMost {
		if !k.full {
			k.full = true
			k.log.Error("too many records wait for the ledger; further ones are kept in Redis only", "records", len(k.kept))
		}
		return
	}
	if old, ok := k.kept[r.UID]; ok && old.state.Rank() > r.State.Rank() {
		return
	}
	k.kept[r.UID] = kept{raw: raw, state: r.State, since: time.Now()}
}

// Len counts the records kept.
func (k *Keeper) Len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.kept)
}

// Run forgets what the ledger has, until ctx is done.
func (k *Keeper) Run(ctx context.Context) {
	t := time.NewTicker(keptEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		_, _ = k.unknown(ctx, time.Now().Add(-keptSure)) // a ledger that is away is asked again
	}
}

// unknown forgets what the ledger has of the records kept since before a time,
// and gives the others.
func (k *Keeper) unknown(ctx context.Context, before time.Time) ([]kept, error) {
	k.mu.Lock()
	var uids []uuid.UUID
	for u, r := range k.kept {
		if r.since.Before(before) {
			uids = append(uids, u)
		}
	}
	k.mu.Unlock()
	var out []kept
	for len(uids) > 0 {
		page := uids[:min(len(uids), keptPage)]
		uids = uids[len(page):]
		has, err := k.known.KnownCalls(ctx, page)
		if err != nil {
			return nil, err
		}
		k.mu.Lock()
		for _, u := range page {
			r, ok := k.kept[u]
			switch {
			case !ok:
			case has[u].Rank() >= r.state.Rank():
				delete(k.kept, u)
			default:
				out = append(out, r)
			}
		}
		if len(k.kept) < keptMost {
			k.full = false
		}
		k.mu.Unlock()
	}
	return out, nil
}

// Replay charges again, after a rebuild, what neither Redis nor the ledger has.
// It tells how many records that were.
func (k *Keeper) Replay(ctx context.Context, store Replayer) (int, error) {
	lost, err := k.unknown(ctx, time.Now())
	if err != nil {
		return 0, err
	}
	var n int
	var errs []error
	for _, r := range lost {
		if err := store.Replay(ctx, r.raw); err != nil {
			errs = append(errs, err)
			continue
		}
		n++
	}
	return n, errors.Join(errs...)
}
