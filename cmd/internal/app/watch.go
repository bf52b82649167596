package app

import (
	"context"
	"errors"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/meter"
	"github.com/hmsovereign/ringfence/meter/journal"
	"github.com/hmsovereign/ringfence/sync/reconcile"
)

// watchfulStore is the balance store that tells the rebuilder of accounts which
// Redis lacks, or has gone back on, as calls find out; and notes in the journal
// which calls are this sidecar's.
type watchfulStore struct {
	tellingStore
	rebuild *reconcile.Rebuilder
	journal *journal.Journal
	seen    *seqs
}

// answered looks at an answer; before is what had been seen of the account when
// it was asked for.
func (s watchfulStore) answered(account string, before, seq int64, err error) {
	switch {
	case errors.Is(err, authz.ErrLost):
		s.rebuild.Lost(account)
	case err == nil && s.seen.back(account, before, seq):
		s.rebuild.Behind(account)
	}
}

// Authorize is the balance store's.
func (s watchfulStore) Authorize(ctx context.Context, h *authz.Hold) (authz.Held, error) {
	before := s.seen.seen(h.Account)
	held, err := s.tellingStore.Authorize(ctx, h)
	s.answered(h.Account, before, held.Seq, err)
	if err == nil && held.Denied == "" && !h.Dry && !held.Replayed {
		s.journal.On(&authz.Call{Key: h.Key, Account: h.Account, UID: held.UID, State: authz.StateHeld, Flags: h.Flags, Epoch: h.Epoch, Hash: h.Hash,
			Held: held.Units, UntilMS: held.UntilMS, CreatedAt: h.Now, ExpiresAt: held.ExpiresAt, Price: h.Price, MaxSeconds: h.Limits.MaxSeconds, Detail: h.Detail})
	}
	return held, err
}

// Answered is the balance store's.
func (s watchfulStore) Answered(ctx context.Context, a authz.Answer) (authz.Taken, error) {
	before := s.seen.seen(a.Account)
	t, err := s.tellingStore.Answered(ctx, a)
	s.answered(a.Account, before, t.Seq, err)
	if err == nil && !t.Duplicate && t.Call.State == authz.StateLive {
		s.journal.On(&t.Call)
	}
	return t, err
}

// Extend is the balance store's.
func (s watchfulStore) Extend(ctx context.Context, xs []authz.Extension) []authz.Extended {
	before := make([]int64, len(xs))
	for i := range xs {
		before[i] = s.seen.seen(xs[i].Account)
	}
	out := s.tellingStore.Extend(ctx, xs)
	for i := range out {
		s.answered(xs[i].Account, before[i], out[i].Seq, out[i].Err)
		if errors.Is(out[i].Err, authz.ErrCallEnded) || errors.Is(out[i].Err, authz.ErrFenced) {
			s.journal.Off(xs[i].Key)
		}
	}
	return out
}

// Settle is the balance store's.
func (s watchfulStore) Settle(ctx context.Context, e authz.End) (authz.Settlement, error) {
	before := s.seen.seen(e.Account)
	st, err := s.tellingStore.Settle(ctx, e)
	s.answered(e.Account, before, st.Seq, err)
	if err == nil {
		s.journal.Off(e.Key)
	}
	return st, err
}

// Release is the balance store's.
func (s watchfulStore) Release(ctx context.Context, e authz.Release) (authz.Settlement, error) {
	before := s.seen.seen(e.Account)
	st, err := s.tellingStore.Release(ctx, e)
	s.answered(e.Account, before, st.Seq, err)
	if err == nil {
		s.journal.Off(e.Key)
	}
	return st, err
}

// Adopt is the balance store's.
func (s watchfulStore) Adopt(ctx context.Context, h *authz.Hold) (authz.Taken, error) {
	before := s.seen.seen(h.Account)
	t, err := s.tellingStore.Adopt(ctx, h)
	s.answered(h.Account, before, t.Seq, err)
	if err == nil {
		s.journal.On(&t.Call)
	}
	return t, err
}

// Claim is the balance store's.
func (s watchfulStore) Claim(ctx context.Context, account string, k authz.Key, from, to int64) (authz.Call, error) {
	c, err := s.tellingStore.Claim(ctx, account, k, from, to)
	if err == nil && from != to {
		s.journal.On(&c)
	}
	return c, err
}

// watchfulTracker is the meter that also notes calls let go unchecked.
type watchfulTracker struct {
	*meter.Meter
	journal *journal.Journal
}

// TrackUnchecked is the meter's.
func (t watchfulTracker) TrackUnchecked(h authz.Hold) {
	t.journal.On(&authz.Call{Key: h.Key, Account: h.Account, UID: h.UID, State: authz.StateHeld, Flags: h.Flags, Epoch: h.Epoch, Hash: h.Hash,
		CreatedAt: h.Now, ExpiresAt: h.ExpiresAt, Price: h.Price, MaxSeconds: h.Limits.MaxSeconds, Detail: h.Detail})
	t.Meter.TrackUnchecked(h)
}

const (
	watchEvery = 500 * time.Millisecond
	lateEvery  = 5 * time.Second
)

// watchRebuilds puts back what this sidecar knows wherever Redis was rebuilt.
func (a *App) watchRebuilds(ctx context.Context) {
	known := make([]string, a.Store.Partitions()) // what was rebuilt last, as far as it was put back
	failing := false
	late := time.Now()
	for ctx.Err() == nil {
		rebuilt, err := a.Store.Rebuilt(ctx)
		for p := range rebuilt {
			if rebuilt[p] == known[p] || err != nil {
				continue
			}
			if err = a.putBack(ctx, p, rebuilt[p]); err == nil {
				known[p] = rebuilt[p]
			}
		}
		if err == nil && time.Since(late) > lateEvery {
			late = time.Now()
			for _, p := range a.keeper.Late(a.Store, rebuilt) {
				if _, err = a.replay(ctx, p, rebuilt[p], time.Second); err != nil {
					break // the ledger is away: nothing can be said
				}
			}
		}
		if err != nil && ctx.Err() == nil && !failing {
			a.log.Warn("what this sidecar knows is not put back yet after a rebuild; tried again", "error", err)
		}
		failing = err != nil
		pause(ctx, watchEvery)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// putBack puts this sidecar's live calls and unconfirmed charges of a partition
// back into Redis.
func (a *App) putBack(ctx context.Context, p int, rebuilt string) error {
	live, err := a.Meter.Restore(ctx, a.Store, func(account string) bool { return a.Store.PartitionOf(account) == p })
	charged, err2 := a.replay(ctx, p, rebuilt, 5*time.Second)
	if charged > 0 || live > 0 {
		a.log.Warn("put back after a rebuild of Redis", "partition", p, "live_calls", live, "charged_calls", charged)
	}
	return errors.Join(err, err2)
}

func (a *App) replay(ctx context.Context, p int, rebuilt string, within time.Duration) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return a.keeper.Replay(ctx, a.Store, p, rebuilt, func(account string, at int64) int64 {
		if acct, ok := a.Directory.Account(account); ok {
			return acct.Day(time.UnixMilli(at))
		}
		return 0
	})
}
