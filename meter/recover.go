package meter

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/hmsovereign/ringfence/authz"
)

// recoverCalls takes over, at the start and twice a lease, the calls of owners
// that are not alive. This sidecar's own earlier incarnation is not: its epoch
// was replaced when this one registered.
func (m *Meter) recoverCalls(ctx context.Context) {
	var before map[int64]bool // who was alive
	for {
		alive, err := m.recoverOnce(ctx)
		if err != nil && ctx.Err() == nil {
			m.met.recoveryFailures.Inc()
			m.log.Warn("calls of other sidecars not looked through; tried again", "error", err)
		}
		if err == nil && alive != nil {
			// An owner that died may have had calls that it had not indexed yet.
			died := before == nil
			for epoch := range before {
				died = died || !alive[epoch] && epoch != m.epoch.Load()
			}
			if before = alive; died {
				poke(m.sweeps.soon)
			}
		}
		t := time.NewTimer(m.cfg.Lease / 2)
		select {
		case <-t.C:
		case <-m.reclaim:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

// recoverOnce goes through the live index; it tells who is alive, nil where it
// could not be asked yet.
func (m *Meter) recoverOnce(ctx context.Context) (alive map[int64]bool, err error) {
	if m.epoch.Load() == 0 || m.gate.shut(nowMS()) {
		return nil, nil
	}
	if alive, err = m.store.Living(ctx, nowMS()); err != nil {
		return nil, err
	}
	for p := range m.store.Partitions() {
		if err := m.recoverPartition(ctx, p, alive, false); err != nil {
			return nil, err
		}
	}
	return alive, nil
}

// recoverPartition claims what a partition's index has of owners not alive (by
// what is known of them, which claimAll makes sure of);
// with own also what it has of this sidecar that is not in memory.
func (m *Meter) recoverPartition(ctx context.Context, partition int, alive map[int64]bool, own bool) error {
	epoch := m.epoch.Load()
	var found []authz.Indexed
	err := m.store.ScanIndex(ctx, partition, func(x authz.Indexed) error {
		if dead := x.Epoch != epoch && !alive[x.Epoch]; (dead || own && x.Epoch == epoch) && m.ownerOf(x.Key) == "" {
			found = append(found, x)
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	return m.claimAll(ctx, found)
}

// claimAll claims those of the calls found that are this sidecar's or whose
// owner is dead, several at once so that they share pipelines. Who is alive is
// asked anew: an owner may have registered since the search began.
func (m *Meter) claimAll(ctx context.Context, found []authz.Indexed) error {
	const parallel = 16
	if len(found) == 0 {
		return nil
	}
	alive, err := m.store.Living(ctx, nowMS())
	if err != nil {
		return err
	}
	epoch := m.epoch.Load()
	found = slices.DeleteFunc(found, func(x authz.Indexed) bool { return alive[x.Epoch] && x.Epoch != epoch })
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		first error
	)
	next := make(chan authz.Indexed)
	for range min(parallel, len(found)) {
		wg.Go(func() {
			for x := range next {
				if err := m.claim(ctx, x); err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	for _, x := range found {
		mu.Lock()
		down := errors.Is(first, authz.ErrDown)
		mu.Unlock()
		if down || ctx.Err() != nil {
			break
		}
		next <- x
	}
	close(next)
	wg.Wait()
	return first
}

// claim takes one call over, and puts the index right where it is wrong.
func (m *Meter) claim(ctx context.Context, x authz.Indexed) error {
	epoch := m.epoch.Load()
	w, err := m.store.Claim(ctx, x.Account, x.Key, x.Epoch, epoch)
	if errors.Is(err, authz.ErrFenced) {
		// The index is behind: somebody has claimed it since.
		if w, err = m.store.Call(ctx, x.Account, x.Key); err == nil && !w.State.Final() && w.State != authz.StateMark {
			alive, err2 := m.store.Living(ctx, nowMS())
			if err2 != nil {
				return err2
			}
			if alive[w.Epoch] && w.Epoch != epoch {
				return m.store.Index(ctx, []authz.Indexed{{Key: x.Key, Account: x.Account, Epoch: w.Epoch}}, nil)
			}
			w, err = m.store.Claim(ctx, x.Account, x.Key, w.Epoch, epoch)
		}
	}
	switch {
	case err == nil:
		m.claimed(&w, x.Epoch != epoch)
		return nil
	case errors.Is(err, authz.ErrCallEnded):
		if w, err := m.store.Call(ctx, x.Account, x.Key); err == nil && w.State == authz.StateLost {
			// Its end may still come and must be able to find it.
			return m.store.Index(ctx, []authz.Indexed{{Key: x.Key, Account: x.Account, Epoch: epoch}}, nil)
		}
		return m.store.Index(ctx, nil, []authz.Key{x.Key})
	case errors.Is(err, authz.ErrUnknownCall):
		return m.store.Index(ctx, nil, []authz.Key{x.Key})
	case errors.Is(err, authz.ErrFenced), errors.Is(err, authz.ErrLost):
		return nil // another was faster; or the account waits to be rebuilt
	}
	return err
}

// claimed goes on with a call that was another's. One that has run far past
// what was bought for it, and that nothing will vouch for, is settled to its
// last proof: its end may have come while nobody listened. Should it live, its
// real end replaces the loss.
func (m *Meter) claimed(w *authz.Call, others bool) {
	now := nowMS()
	if others {
		m.met.claims.WithLabelValues("recovery").Inc()
	}
	p := m.port(w.Switch)
	stale := w.State == authz.StateLive && p.lister == nil && !p.heartbeats && !w.Flags.Has(authz.FlagEmergency) &&
		now > w.AnsweredAt+w.UntilMS+m.ms.lostAfter
	m.take(w, 0, 0, false, 1+jitter(1000))
	m.mine(w.Key, func(_ *shard, c *call) {
		if c.state == authz.StateLive && others && !c.has(ending) {
			c.deadline = now // its heartbeats may have reached nobody
		}
		if stale && !c.has(busy) {
			c.set(busy)
			m.ops.run(func() { m.giveUpStale(c) })
		}
	})
}

func (m *Meter) giveUpStale(c *call) {
	ctx, cancel := context.WithTimeout(m.work, m.cfg.Timeout)
	defer cancel()
	if err := m.settleLost(ctx, c, nowMS(), "stale"); err != nil {
		m.log.Warn("stale call not settled; tried again", "call_id", c.id(), "switch", c.port.name, "error", err)
		m.later(c, jitter(1000))
	}
}
