package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// Config of a Rebuilder. The zero value of a field is its default.
type Config struct {
	Holder string        // this sidecar's name
	Grace  time.Duration // how long a rebuilt account stays closed to new calls, for sidecars to put back what they know; 0: not at all
	Every  time.Duration // between two looks at the partitions' marks; 1 s
	Drain  time.Duration // how long the outbox is waited for before anything is shut; 10 s
	Shut   time.Duration // how long at most accounts are shut; 3 s
	Batch  int           // accounts shut at a time; 50
	// Replayed is how long a repair waits for the sidecars to make charges again
	// whose records were lost, before it adjusts the ledger; 10 s.
	Replayed time.Duration
}

// Rebuilder fills Redis from the ledger where it was lost.
type Rebuilder struct {
	cfg    Config
	ledger Ledger
	store  Store
	log    *slog.Logger
	met    *Metrics

	mu    sync.Mutex
	asked map[string]bool // accounts that were found missing or behind; true: behind
	wake  chan struct{}
	rooms map[int]chan struct{} // partitions that this process works on
	rest  map[int]time.Time     // until when a partition that failed is left alone
}

// NewRebuilder makes a Rebuilder. met may be nil.
func NewRebuilder(cfg Config, l Ledger, s Store, log *slog.Logger, met *Metrics) *Rebuilder {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&cfg.Every, time.Second)
	def(&cfg.Drain, 10*time.Second)
	def(&cfg.Shut, 3*time.Second)
	def(&cfg.Replayed, 10*time.Second)
	if cfg.Batch == 0 {
		cfg.Batch = 50
	}
	if met == nil {
		met = NewMetrics(nil)
	}
	return &Rebuilder{cfg: cfg, ledger: l, store: s, log: log, met: met, asked: map[string]bool{}, wake: make(chan struct{}, 1), rooms: map[int]chan struct{}{}, rest: map[int]time.Time{}}
}

// Lost tells the Rebuilder that Redis lacks an account. It does not wait.
func (r *Rebuilder) Lost(account string) { r.ask(account, false) }

// Behind tells it that an account's seq is below what was seen: Redis went back.
func (r *Rebuilder) Behind(account string) { r.ask(account, true) }

const askedMost = 100_000

func (r *Rebuilder) ask(account string, behind bool) {
	r.mu.Lock()
	was, known := r.asked[account]
	if known || len(r.asked) < askedMost {
		r.asked[account] = was || behind
	}
	r.mu.Unlock()
	if known {
		return
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// restAfter is how long a partition that could not be rebuilt to its end rests.
const restAfter = 30 * time.Second

func (r *Rebuilder) letRest(p int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rest[p] = time.Now().Add(restAfter)
}

func (r *Rebuilder) rests(p int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Before(r.rest[p])
}

// lookLeast is the pause between two looks, however many ask for one.
const lookLeast = 100 * time.Millisecond

// Run rebuilds what is lost, until ctx is done.
func (r *Rebuilder) Run(ctx context.Context) {
	t := time.NewTicker(r.cfg.Every)
	defer t.Stop()
	failing := false
	for {
		err := r.look(ctx)
		switch {
		case err != nil && ctx.Err() == nil && !failing:
			failing = true
			r.log.Error("what Redis lost is not rebuilt yet; tried again", "error", err)
		case err == nil && failing:
			failing = false
			r.log.Info("nothing of Redis is missing any more")
		}
		if !sleep(ctx, lookLeast) {
			return
		}
		select {
		case <-t.C:
		case <-r.wake:
			if failing && !sleep(ctx, r.cfg.Every) {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// look rebuilds the partitions whose marks are missing or another process', and
// the accounts asked for.
func (r *Rebuilder) look(ctx context.Context) error {
	fills, err := r.store.Filled(ctx)
	if err != nil {
		return err
	}
	var errs []error
	if _, err := r.partitions(ctx, fills, nil); err != nil {
		errs = append(errs, err)
	}
	r.mu.Lock()
	asked := r.asked
	r.asked = map[string]bool{}
	r.mu.Unlock()
	by := map[int][]item{}
	for id, behind := range asked {
		p := r.store.PartitionOf(id)
		by[p] = append(by[p], item{id, behind})
	}
	for p, items := range by {
		written, err := r.some(ctx, p, items)
		for _, w := range written {
			r.log.Warn("account rebuilt from the ledger", "account", w.id, "went_back", w.behind)
		}
		if err != nil {
			r.later(items, written)
		}
		if err != nil && !others(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// later asks again for those of the items that were not written, without haste.
func (r *Rebuilder) later(items, written []item) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, it := range items {
		if !slices.Contains(written, it) {
			r.asked[it.id] = r.asked[it.id] || it.behind
		}
	}
}

// some rebuilds a few accounts of a partition, unless another is at it.
func (r *Rebuilder) some(ctx context.Context, p int, items []item) (written []item, err error) {
	err = r.alone(ctx, p, func(ctx context.Context, token string) error {
		written, err = r.batches(ctx, p, token, items, nil)
		return err
	})
	return written, err
}

// Progress is told after each account.
type Progress func(done, of int, account string)

// All fills every partition, marked as filled or not. It tells how many
// accounts were missing and have been written.
func (r *Rebuilder) All(ctx context.Context, progress Progress) (int, error) {
	fills, err := r.store.Filled(ctx)
	if err != nil {
		return 0, err
	}
	for p, f := range fills {
		if f == authz.FillGood {
			fills[p] = authz.FillLost // what is there stays
		}
	}
	r.mu.Lock()
	clear(r.rest)
	r.mu.Unlock()
	return r.partitions(ctx, fills, progress)
}

// partitions rebuilds those that are lost or stale.
func (r *Rebuilder) partitions(ctx context.Context, fills []authz.Fill, progress Progress) (written int, err error) {
	if !slices.ContainsFunc(fills, func(f authz.Fill) bool { return f != authz.FillGood }) {
		return 0, nil
	}
	start := time.Now()
	by := map[int][]item{}
	of := 0
	if err := r.ledger.EachTotals(ctx, func(t ledger.Totals) error {
		if p := r.store.PartitionOf(t.Account); fills[p] != authz.FillGood {
			by[p] = append(by[p], item{t.Account, fills[p] == authz.FillStale})
			of++
		}
		return nil
	}); err != nil {
		return 0, err
	}
	done, filled, stale := 0, 0, 0
	var errs []error
	for p, f := range fills {
		if f == authz.FillGood || r.rests(p) {
			continue
		}
		shut := false
		err := r.alone(ctx, p, func(ctx context.Context, token string) error {
			w, err := r.batches(ctx, p, token, by[p], func(id string) {
				if done++; progress != nil {
					progress(done, of, id)
				}
			})
			written += len(w)
			if shut = f == authz.FillStale && len(w) > 0; err != nil {
				return err
			}
			return r.store.MarkFilled(ctx, p, token, time.Now().UnixMilli())
		})
		switch {
		case others(err):
		case err != nil:
			errs = append(errs, err)
			if shut { // so that one account that fails does not shut the others again and again
				r.letRest(p)
			}
		default:
			if filled++; f == authz.FillStale {
				stale++
			}
		}
		if ctx.Err() != nil || hopeless(err) {
			break
		}
	}
	if written > 0 {
		r.log.Warn("Redis rebuilt from the ledger", "partitions", filled, "of_them_of_another_process", stale, "accounts", written, "took", time.Since(start))
	}
	return written, errors.Join(errs...)
}

// Open makes a new account ready in Redis; one that is there stays as it is.
func (r *Rebuilder) Open(ctx context.Context, id string) error {
	_, err := r.one(ctx, id, false)
	return err
}

// Repair rebuilds an account that is there. It tells whether it did.
func (r *Rebuilder) Repair(ctx context.Context, id string) (bool, error) {
	return r.one(ctx, id, true)
}

func (r *Rebuilder) one(ctx context.Context, id string, behind bool) (done bool, err error) {
	missing, err := r.store.Missing(ctx, []string{id})
	if err != nil || len(missing) == 0 && !behind {
		return false, err
	}
	for {
		written, err := r.some(ctx, r.store.PartitionOf(id), []item{{id, behind}})
		if !others(err) {
			return len(written) > 0, err
		}
		if !sleep(ctx, lookLeast) {
			return false, fmt.Errorf("rebuild %s: %w", id, err)
		}
	}
}

// errOthers: another sidecar rebuilds the partition.
var errOthers = errors.New("another sidecar is at it")

// others tells whether another sidecar is at it, or took over in the middle.
func others(err error) bool { return errors.Is(err, errOthers) || errors.Is(err, authz.ErrFenced) }

const leaseFor = 10 * time.Second

// alone has fn work on a partition under its lease and a token; nobody else does
// meanwhile, in this process or in another.
func (r *Rebuilder) alone(ctx context.Context, p int, fn func(ctx context.Context, token string) error) error {
	r.mu.Lock()
	room := r.rooms[p]
	if room == nil {
		room = make(chan struct{}, 1)
		r.rooms[p] = room
	}
	r.mu.Unlock()
	select {
	case room <- struct{}{}:
		defer func() { <-room }()
	case <-ctx.Done():
		return ctx.Err()
	}
	name := fmt.Sprintf("rebuild:%02d", p)
	lease := func(ctx context.Context, d time.Duration) (bool, error) {
		now := time.Now().UnixMilli()
		return r.store.Lease(ctx, name, r.cfg.Holder, now, now+d.Milliseconds())
	}
	if ok, err := lease(ctx, leaseFor); err != nil {
		return err
	} else if !ok {
		return errOthers
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var keeping sync.WaitGroup
	keeping.Go(func() {
		for sleep(ctx, leaseFor/3) {
			if ok, err := lease(ctx, leaseFor); err == nil && !ok {
				cancel(errOthers)
				return
			}
		}
	})
	token, err := r.store.BeginRebuild(ctx, p)
	if err == nil {
		err = fn(ctx, token)
	}
	cancel(nil)
	keeping.Wait()
	end, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer done()
	_, _ = lease(end, 0) // it runs out by itself
	return err
}
