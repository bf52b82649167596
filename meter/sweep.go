package meter

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/hmsovereign/ringfence/authz"
)

// sweepLease is what the one sidecar that sweeps holds.
const sweepLease = "sweep"

// sweeps counts the full sweeps that this sidecar made or waited for.
type sweeps struct {
	done    atomic.Int64
	running atomic.Bool
	soon    chan struct{} // out of turn: this sidecar starts, or another died
}

// twice is the count at which two full sweeps that began after now are over.
func (s *sweeps) twice() int64 {
	n := s.done.Load() + 2
	if s.running.Load() {
		n++
	}
	return n
}

// sweepAll goes, at long intervals and one sidecar at a time, through every
// call of every account: it removes tombstones and end-marks whose time is
// over, claims what the index missed, puts the index right, and tells kept
// events where their calls are.
func (m *Meter) sweepAll(ctx context.Context) {
	turn := time.NewTicker(m.cfg.SweepEvery)
	defer turn.Stop()
	for {
		sweep := m.sweepTurn
		select {
		case <-turn.C:
		case <-m.sweeps.soon:
			sweep = m.sweepNow
		case <-ctx.Done():
			return
		}
		if err := sweep(ctx); err != nil && ctx.Err() == nil {
			m.met.sweepFailures.Inc()
			m.log.Warn("sweep not finished; tried again", "error", err)
		}
	}
}

// sweepTurn sweeps if it is this sidecar's turn. The lease stands until its next
// turn; so a turn that is refused means that another swept since the last one.
func (m *Meter) sweepTurn(ctx context.Context) error {
	if m.epoch.Load() == 0 || m.gate.shut(nowMS()) {
		return nil
	}
	ours, err := m.holdSweep(ctx)
	if err != nil {
		return err
	}
	if !ours {
		m.sweeps.done.Add(1)
		return nil
	}
	return m.sweepNow(ctx)
}

// sweepNow sweeps.
func (m *Meter) sweepNow(ctx context.Context) error {
	m.sweeps.running.Store(true)
	defer m.sweeps.running.Store(false)
	start := time.Now()
	alive, err := m.store.Living(ctx, nowMS())
	if err != nil {
		return err
	}
	for p := range m.store.Partitions() {
		if _, err = m.holdSweep(ctx); err != nil {
			return err
		}
		if err := m.sweepPartition(ctx, p, alive); err != nil {
			return err
		}
	}
	m.sweeps.done.Add(1)
	m.met.sweepSeconds.Observe(time.Since(start).Seconds())
	return nil
}

func (m *Meter) holdSweep(ctx context.Context) (bool, error) {
	now := nowMS()
	return m.store.Lease(ctx, sweepLease, m.cfg.Name, now, now+m.cfg.SweepEvery.Milliseconds()*9/10)
}

func (m *Meter) sweepPartition(ctx context.Context, partition int, alive map[int64]bool) error {
	var accounts []string
	err := m.store.Accounts(ctx, partition, func(account string) error {
		accounts = append(accounts, account)
		return nil
	})
	if err != nil {
		return err
	}
	for _, account := range accounts {
		if err := m.sweepAccount(ctx, account, alive); err != nil {
			return err
		}
		if !sleep(ctx, m.cfg.SweepPause) {
			return ctx.Err()
		}
	}
	return m.recoverPartition(ctx, partition, alive, true)
}

// sweepAccount goes through an account's calls.
func (m *Meter) sweepAccount(ctx context.Context, account string, alive map[int64]bool) error {
	var (
		over  []authz.Key
		claim []authz.Indexed
		put   []authz.Indexed
		epoch = m.epoch.Load()
		now   = nowMS()
	)
	err := m.store.Calls(ctx, account, func(w authz.Call, err error) error {
		if err != nil {
			m.met.corrupt.Inc()
			m.log.Error("field of an account is not what is written there", "account", account, "call_id", w.CallID, "error", err)
			return ctx.Err()
		}
		m.backlog.found(w.Key, account)
		switch {
		case w.State == authz.StateMark:
			if now >= w.ExpiresAt {
				over = append(over, w.Key)
			}
		case w.State.Final():
			if now >= w.OverAt+m.ms.tombstone {
				over = append(over, w.Key)
			}
		default:
			at := authz.Indexed{Key: w.Key, Account: account, Epoch: w.Epoch}
			switch {
			case !alive[w.Epoch] && w.Epoch != epoch, w.Epoch == epoch && m.ownerOf(w.Key) == "":
				claim = append(claim, at)
			default:
				put = append(put, at)
			}
		}
		return ctx.Err()
	})
	if err != nil && !errors.Is(err, authz.ErrLost) {
		return err
	}
	if err := m.claimAll(ctx, claim); err != nil {
		return err
	}
	for len(put)+len(over) > 0 {
		p, o := put[:min(indexBatch, len(put))], over[:min(indexBatch, len(over))]
		if len(o) > 0 {
			n, err := m.store.Reap(ctx, account, now, m.ms.tombstone, o)
			if err != nil {
				return err
			}
			m.met.reaped.Add(float64(n))
		}
		if err := m.store.Index(ctx, p, o); err != nil {
			return err
		}
		put, over = put[len(p):], over[len(o):]
	}
	return nil
}
