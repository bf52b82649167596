package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
)

// Known tells which calls the ledger has, and in what state.
type Known interface {
	KnownCalls(ctx context.Context, uids []uuid.UUID) (map[uuid.UUID]authz.State, error)
}

// Replayer is the balance store as the Keeper needs it (package authz/balance).
type Replayer interface {
	PartitionOf(account string) int
	// Replay charges a call again that Redis lost, and gives its new record; ''
	// if the charge is there. Errors: authz.ErrLost, ErrDown.
	Replay(ctx context.Context, raw string, day int64) (again string, err error)
	Ends
}

// Ends tells how far a partition's outbox has been read.
type Ends interface {
	OutboxEnd(ctx context.Context, partition int) (end string, err error)
	OutboxDrained(ctx context.Context, partition int, end string) (bool, error)
}

// Journal keeps on disk what the Keeper keeps in memory.
type Journal interface {
	Charged(uid uuid.UUID, raw string)
	Recorded(uid uuid.UUID)
}

// Keeper keeps the record of each call this sidecar charged until the ledger has
// it. Should Redis lose the charge together with its record, the Keeper has both
// made again, with the amounts as settled.
type Keeper struct {
	known   Known
	log     *slog.Logger
	journal Journal

	mu   sync.Mutex
	kept map[uuid.UUID]kept
	full bool
}

type kept struct {
	raw     string
	account string
	state   authz.State
	since   time.Time
	asked   string // what was last rebuilt in the partition when Redis was asked for it
}

const (
	keptMost  = 500_000 // records; some 200 MB
	keptPage  = 500
	keptSure  = 2 * time.Second // younger ones are still on their way
	keptLong  = 10 * time.Second
	keptEvery = 5 * time.Second
)

// NewKeeper makes a Keeper. Give its Retain to the balance store. journal may be nil.
func NewKeeper(known Known, journal Journal, log *slog.Logger) *Keeper {
	return &Keeper{known: known, log: log, journal: journal, kept: map[uuid.UUID]kept{}}
}

// Retain keeps a record. It does not wait.
func (k *Keeper) Retain(raw string) {
	r, err := authz.ParseRecord(raw)
	if err != nil {
		k.log.Error("a record that was just written cannot be read", "error", err)
		return
	}
	if k.retain(kept{raw: raw, account: r.Account, state: r.State, since: time.Now()}, r.UID) && k.journal != nil {
		k.journal.Charged(r.UID, raw)
	}
}

func (k *Keeper) retain(r kept, uid uuid.UUID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	old, known := k.kept[uid]
	if !known && len(k.kept) >= keptMost {
		if !k.full {
			k.full = true
			k.log.Error("too many records wait for the ledger; further ones are kept in Redis only", "records", len(k.kept))
		}
		return false
	}
	if known && old.state.Rank() > r.state.Rank() {
		return false
	}
	k.kept[uid] = r
	return true
}

// Load takes records in that an earlier process kept.
func (k *Keeper) Load(records map[uuid.UUID]string) {
	for u, raw := range records {
		if r, err := authz.ParseRecord(raw); err == nil {
			k.retain(kept{raw: raw, account: r.Account, state: r.State, since: time.Now()}, u)
		}
	}
}

// Len counts the records kept.
func (k *Keeper) Len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.kept)
}

// Records are those kept, in no order.
func (k *Keeper) Records() map[uuid.UUID]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make(map[uuid.UUID]string, len(k.kept))
	for u, r := range k.kept {
		out[u] = r.raw
	}
	return out
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
		before := time.Now().Add(-keptSure)
		// A ledger that is away is asked again.
		_, _ = k.unknown(ctx, k.which(func(r *kept) bool { return r.since.Before(before) }))
	}
}

// which are the records that fn takes.
func (k *Keeper) which(fn func(*kept) bool) (uids []uuid.UUID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for u, r := range k.kept {
		if fn(&r) {
			uids = append(uids, u)
		}
	}
	return uids
}

// unknown forgets what the ledger has of some records, and gives the others.
func (k *Keeper) unknown(ctx context.Context, uids []uuid.UUID) (map[uuid.UUID]kept, error) {
	out := map[uuid.UUID]kept{}
	for len(uids) > 0 {
		page := uids[:min(len(uids), keptPage)]
		uids = uids[len(page):]
		has, err := k.known.KnownCalls(ctx, page)
		if err != nil {
			return nil, err
		}
		var over []uuid.UUID
		k.mu.Lock()
		for _, u := range page {
			r, ok := k.kept[u]
			switch {
			case !ok:
			case has[u].Rank() >= r.state.Rank():
				delete(k.kept, u)
				over = append(over, u)
			default:
				out[u] = r
			}
		}
		if len(k.kept) < keptMost {
			k.full = false
		}
		k.mu.Unlock()
		if k.journal != nil {
			for _, u := range over {
				k.journal.Recorded(u)
			}
		}
	}
	return out, nil
}

// Late are the partitions of records that the ledger should have had long ago
// and for which Redis was not asked since the last rebuild there: rebuilt names
// it for each partition. A sidecar may hear late that it was cut off.
func (k *Keeper) Late(store Replayer, rebuilt []string) (partitions []int) {
	long := time.Now().Add(-keptLong)
	late := map[int]bool{}
	k.which(func(r *kept) bool {
		if p := store.PartitionOf(r.account); r.since.Before(long) && r.asked != rebuilt[p] {
			late[p] = true
		}
		return false
	})
	return slices.Sorted(maps.Keys(late))
}

// Replay charges again, after a rebuild in a partition, what neither Redis nor
// the ledger has: what the ledger lacks although the partition's outbox was read
// to where it ended. rebuilt names what was rebuilt there last; each record is
// asked for once for each. day is the date on which a charge to an account counts.
// It tells how many were charged again.
func (k *Keeper) Replay(ctx context.Context, store Replayer, partition int, rebuilt string, day func(account string, at int64) int64) (n int, err error) {
	uids := k.which(func(r *kept) bool { return r.asked != rebuilt && store.PartitionOf(r.account) == partition })
	if len(uids) == 0 {
		return 0, nil
	}
	end, err := store.OutboxEnd(ctx, partition)
	if err != nil {
		return 0, err
	}
	if err := drained(ctx, store, partition, end); err != nil {
		return 0, err
	}
	lost, err := k.unknown(ctx, uids)
	if err != nil {
		return 0, err
	}
	var errs []error
	for u, r := range lost {
		rec, err := authz.ParseRecord(r.raw) // it could be read when it was kept
		if err == nil {
			var again string
			if again, err = store.Replay(ctx, r.raw, day(rec.Account, rec.At)); err == nil && again != "" {
				n++
				k.log.Warn("call charged again: Redis had lost it", "account", r.account, "call", rec.Key.String(), "call_uid", u.String(), "units", int64(rec.Charged()))
				r.raw, r.since = again, time.Now()
				if k.journal != nil {
					k.journal.Charged(u, again)
				}
			}
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r.asked = rebuilt
		k.retain(r, u)
	}
	return n, errors.Join(errs...)
}

const drainedEvery = 50 * time.Millisecond

// drained waits until the ledger has what a partition's outbox held up to an end,
// or ctx is done.
func drained(ctx context.Context, store Ends, partition int, end string) error {
	t := time.NewTicker(drainedEvery)
	defer t.Stop()
	for {
		done, err := store.OutboxDrained(ctx, partition, end)
		if err != nil || done {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return fmt.Errorf("records of partition %d still wait for the ledger: %w", partition, ctx.Err())
		}
	}
}
