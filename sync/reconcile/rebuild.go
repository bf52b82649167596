package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// Ledger is the truth (package sync/ledger).
type Ledger interface {
	Account(ctx context.Context, id string) (authz.Account, error)
	Totals(ctx context.Context, account string) (ledger.Totals, error)
	EachTotals(ctx context.Context, fn func(ledger.Totals) error) error
	Grants(ctx context.Context, account string, after int64, limit int) ([]authz.Grant, error)
	CallsAfterSeq(ctx context.Context, account string, seq int64, limit int) ([]ledger.Call, error)
	Sum(ctx context.Context, account string, from, to time.Time) (ledger.Sum, error)
	KnownCalls(ctx context.Context, uids []uuid.UUID) (map[uuid.UUID]authz.State, error)
}

// Store is Redis (package authz/balance).
type Store interface {
	Rebuild(ctx context.Context, b authz.Rebuild) (done bool, err error)
	Missing(ctx context.Context, accounts []string) ([]string, error)
	Filled(ctx context.Context) ([]bool, error)
	MarkFilled(ctx context.Context, partition int, now int64) error
	AnnounceRebuild(ctx context.Context) error
	OutboxWaiting(ctx context.Context, partition int) (int64, error)
	PartitionOf(account string) int
	Lease(ctx context.Context, name, holder string, now, until int64) (bool, error)
	Balance(ctx context.Context, account string) (authz.Balance, error)
	Calls(ctx context.Context, account string, fn func(authz.Call, error) error) error
}

// Config of a Rebuilder. The zero value of a field is its default.
type Config struct {
	Holder string        // this sidecar's name
	Grace  time.Duration // how long a rebuilt account stays shut, for others to put back what they know; 0: not at all
	Every  time.Duration // between two looks at the partitions' marks; 1 s
	Drain  time.Duration // how long at most the outbox is waited for; 30 s
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
}

// gap is added to the ledger's seq in a rebuild: further than any sidecar can
// have seen of the changes that were lost.
const gap = 1_000_000

// NewRebuilder makes a Rebuilder. met may be nil.
func NewRebuilder(cfg Config, l Ledger, s Store, log *slog.Logger, met *Metrics) *Rebuilder {
	if cfg.Every == 0 {
		cfg.Every = time.Second
	}
	if cfg.Drain == 0 {
		cfg.Drain = 30 * time.Second
	}
	if met == nil {
		met = NewMetrics(nil)
	}
	return &Rebuilder{cfg: cfg, ledger: l, store: s, log: log, met: met, asked: map[string]bool{}, wake: make(chan struct{}, 1)}
}

// Lost tells the Rebuilder that Redis lacks an account. It does not wait.
func (r *Rebuilder) Lost(account string) { r.ask(account, false) }

// Behind tells it that an account's seq is below what was seen: Redis went back.
func (r *Rebuilder) Behind(account string) { r.ask(account, true) }

func (r *Rebuilder) ask(account string, behind bool) {
	r.mu.Lock()
	if len(r.asked) < 100_000 {
		r.asked[account] = r.asked[account] || behind
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

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
			r.log.Error("what Redis lost is not rebuilt yet", "error", err)
		case err == nil:
			failing = false
		}
		select {
		case <-t.C:
		case <-r.wake:
		case <-ctx.Done():
			return
		}
	}
}

func (r *Rebuilder) look(ctx context.Context) error {
	filled, err := r.store.Filled(ctx)
	if err != nil {
		return err
	}
	lost := map[int]bool{}
	for p, ok := range filled {
		if !ok {
			lost[p] = true
		}
	}
	if len(lost) > 0 {
		if _, err := r.partitions(ctx, lost, nil); err != nil {
			return err
		}
	}
	r.mu.Lock()
	asked := r.asked
	r.asked = map[string]bool{}
	r.mu.Unlock()
	var errs []error
	announce := false
	for id, behind := range asked {
		done, err := r.account(ctx, id, behind, r.opensAt())
		announce = announce || done
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			r.log.Error("Redis lacks an account that the ledger does not have either", "account", id)
		case err != nil:
			errs = append(errs, err)
			r.ask(id, behind)
		case done:
			r.log.Warn("account rebuilt from the ledger", "account", id, "went_back", behind)
		}
	}
	if announce {
		errs = append(errs, r.store.AnnounceRebuild(ctx))
	}
	return errors.Join(errs...)
}

func (r *Rebuilder) opensAt() int64 {
	if r.cfg.Grace <= 0 {
		return 0
	}
	return time.Now().Add(r.cfg.Grace).UnixMilli()
}

// Progress is told after each account.
type Progress func(done, of int, account string)

// All fills every partition, marked as filled or not. It tells how many
// accounts were missing and have been written.
func (r *Rebuilder) All(ctx context.Context, progress Progress) (int, error) {
	filled, err := r.store.Filled(ctx)
	if err != nil {
		return 0, err
	}
	all := map[int]bool{}
	for p := range filled {
		all[p] = true
	}
	return r.partitions(ctx, all, progress)
}

// partitions writes every account of these partitions that is missing.
func (r *Rebuilder) partitions(ctx context.Context, lost map[int]bool, progress Progress) (int, error) {
	start := time.Now()
	var mine []int
	for p := range lost {
		ok, err := r.lease(ctx, p)
		if err != nil {
			return 0, err
		}
		if ok {
			mine = append(mine, p)
		}
	}
	if len(mine) == 0 {
		return 0, nil // others are at it
	}
	own := map[int]bool{}
	for _, p := range mine {
		if err := r.drained(ctx, p); err != nil {
			return 0, err
		}
		own[p] = true
	}
	var accounts []string
	if err := r.ledger.EachTotals(ctx, func(t ledger.Totals) error {
		if own[r.store.PartitionOf(t.Account)] {
			accounts = append(accounts, t.Account)
		}
		return nil
	}); err != nil {
		return 0, err
	}
	opens := r.opensAt()
	written := 0
	renewed := time.Now()
	for i, id := range accounts {
		if time.Since(renewed) > leaseFor/3 {
			for _, p := range mine {
				if ok, err := r.lease(ctx, p); err != nil || !ok {
					return written, fmt.Errorf("rebuild: lease of partition %d lost: %w", p, errors.Join(err, authz.ErrFenced))
				}
			}
			renewed = time.Now()
		}
		done, err := r.account(ctx, id, false, opens)
		if err != nil {
			return written, err
		}
		if done {
			written++
		}
		if progress != nil {
			progress(i+1, len(accounts), id)
		}
	}
	now := time.Now().UnixMilli()
	for _, p := range mine {
		if err := r.store.MarkFilled(ctx, p, now); err != nil {
			return written, err
		}
	}
	if written > 0 {
		if err := r.store.AnnounceRebuild(ctx); err != nil {
			return written, err
		}
		r.log.Warn("Redis rebuilt from the ledger", "partitions", len(mine), "accounts", written, "took", time.Since(start))
	}
	r.met.rebuilt.Add(float64(written))
	for _, p := range mine {
		_, _ = r.store.Lease(ctx, leaseName(p), r.cfg.Holder, now, now)
	}
	return written, nil
}

const leaseFor = 30 * time.Second

func leaseName(p int) string { return fmt.Sprintf("rebuild:%02d", p) }

func (r *Rebuilder) lease(ctx context.Context, p int) (bool, error) {
	now := time.Now().UnixMilli()
	return r.store.Lease(ctx, leaseName(p), r.cfg.Holder, now, now+leaseFor.Milliseconds())
}

// drained waits until a partition's outbox is in the ledger: its records are
// not in the ledger's sums before.
func (r *Rebuilder) drained(ctx context.Context, p int) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Drain)
	defer cancel()
	for {
		n, err := r.store.OutboxWaiting(ctx, p)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		t := time.NewTimer(50 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("rebuild: %d records of partition %d still wait for the ledger: %w", n, p, ctx.Err())
		}
	}
}

// Open makes a new account ready in Redis; one that is there stays as it is.
func (r *Rebuilder) Open(ctx context.Context, id string) error {
	_, err := r.account(ctx, id, false, 0)
	return err
}

// account writes one account from the ledger's sums. A missing one whose outbox
// is not in the ledger yet would come back too rich, so that is waited for.
func (r *Rebuilder) account(ctx context.Context, id string, behind bool, opens int64) (bool, error) {
	a, err := r.ledger.Account(ctx, id)
	if err != nil {
		return false, fmt.Errorf("rebuild %s: %w", id, err)
	}
	missing, err := r.store.Missing(ctx, []string{id})
	if err != nil {
		return false, err
	}
	if len(missing) == 0 && !behind {
		return false, nil
	}
	if err := r.drained(ctx, r.store.PartitionOf(id)); err != nil {
		return false, err
	}
	totals, err := r.ledger.Totals(ctx, id)
	if err != nil {
		return false, fmt.Errorf("rebuild %s: %w", id, err)
	}
	loc, err := time.LoadLocation(a.TimeZone)
	if err != nil {
		loc = time.UTC
	}
	a.Location = loc
	now := time.Now()
	y, m, d := now.In(loc).Date()
	day, err := r.ledger.Sum(ctx, id, time.Date(y, m, d, 0, 0, 0, 0, loc), now.Add(time.Hour))
	if err != nil {
		return false, fmt.Errorf("rebuild %s: %w", id, err)
	}
	b := authz.Rebuild{Account: id, Status: a.Status, Day: a.Day(now), SpentDay: day.Charged(), Granted: totals.Granted, GrantSeq: totals.Grants,
		Settled: totals.Settled, Seq: totals.Seq + gap, OpensAt: opens, Force: behind}
	if totals.Grants == 0 && totals.Seq == 0 {
		b.OpensAt = 0 // a new account: nobody knows anything of it
	}
	if behind {
		if b.SettledCalls, err = r.settledSince(ctx, id); err != nil {
			return false, err
		}
	}
	return r.store.Rebuild(ctx, b)
}

// settledSince lists calls that Redis thinks alive and the ledger has settled.
func (r *Rebuilder) settledSince(ctx context.Context, id string) ([]uuid.UUID, error) {
	var live []uuid.UUID
	err := r.store.Calls(ctx, id, func(c authz.Call, err error) error {
		if err == nil && (c.State == authz.StateHeld || c.State == authz.StateLive) {
			live = append(live, c.UID)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	known, err := r.ledger.KnownCalls(ctx, live)
	if err != nil {
		return nil, err
	}
	var out []uuid.UUID
	for _, u := range live {
		if known[u].Rank() >= authz.StateReleased.Rank() {
			out = append(out, u)
		}
	}
	return out, nil
}
