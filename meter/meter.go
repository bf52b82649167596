package meter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// Config says how calls are metered. The zero value of a field is its default.
type Config struct {
	Name  string        // of this sidecar, unique in the deployment; a restart keeps it
	Lease time.Duration // how long a silent sidecar is thought alive; 15 s

	Slice            time.Duration // talk time bought at a time, whole seconds; 60 s
	ExtendBefore     time.Duration // how long before the end of the last slice; 10 s
	WarnBefore       time.Duration // how long before the end the caller is warned; 60 s, below 0: never
	HangupBefore     time.Duration // how long before its last moment of credit a call is hung up, so that its end falls within; 0
	HeartbeatTimeout time.Duration // silence after which a heartbeating call is not extended; 90 s
	LostAfter        time.Duration // how long an end is waited for; 2 min

	ListEvery      time.Duration // between two listings of a switch; 30 s
	BreakerConfirm int           // listings in a row before a mass end is believed; 3

	SweepEvery time.Duration // between two sweeps; 5 min
	SweepPause time.Duration // after each account of a sweep; 1 ms
	Tombstone  time.Duration // how long a finished call stays in Redis; 15 min
	EndMark    time.Duration // how long an end waits for its authorize; 120 s

	Drain     time.Duration // at a stop, for ends not written yet; 5 s
	Timeout   time.Duration // of one operation on Redis; 2 s
	Batch     int           // extensions in one pipeline; 25
	Tick      time.Duration // precision of cut-offs; 50 ms
	Normalize func(string) string
	// Ended tells of calls that Redis lost which the ledger has, and in what state; nil: there is no ledger.
	Ended func(ctx context.Context, uids []uuid.UUID) (map[uuid.UUID]authz.State, error)
}

func (c Config) withDefaults() Config {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.Lease, 15*time.Second)
	def(&c.Slice, time.Minute)
	def(&c.ExtendBefore, 10*time.Second)
	def(&c.WarnBefore, time.Minute)
	def(&c.HeartbeatTimeout, 90*time.Second)
	def(&c.LostAfter, 2*time.Minute)
	def(&c.ListEvery, 30*time.Second)
	def(&c.SweepEvery, 5*time.Minute)
	def(&c.SweepPause, time.Millisecond)
	def(&c.Tombstone, 15*time.Minute)
	def(&c.EndMark, 2*time.Minute)
	def(&c.Drain, 5*time.Second)
	def(&c.Timeout, 2*time.Second)
	def(&c.Tick, 50*time.Millisecond)
	if c.BreakerConfirm == 0 {
		c.BreakerConfirm = 3
	}
	if c.Batch == 0 {
		c.Batch = 25
	}
	if c.Name == "" {
		c.Name = "ringfence"
	}
	if c.Normalize == nil {
		c.Normalize = func(s string) string { return s }
	}
	c.ExtendBefore = min(c.ExtendBefore, c.Slice/2)
	c.WarnBefore = max(c.WarnBefore, 0)
	return c
}

// settings are the Config's times in ms.
type settings struct {
	slice, extendBefore, warnBefore, hangupBefore, retryBefore, heartbeatTimeout, lostAfter, tombstone, endMark int64
}

// ErrNameTaken: another sidecar has registered under this one's name, and with
// it taken its calls.
var ErrNameTaken = errors.New("another sidecar runs under this name")

// Meter owns the live calls of one sidecar. Its methods may be called from any
// goroutine.
type Meter struct {
	cfg      Config
	ms       settings
	store    Store
	accounts Accounts
	log      *slog.Logger
	met      *Metrics
	ports    sync.Map // name -> *port
	listers  []*port

	epoch    atomic.Int64
	calls    table
	held     atomic.Int64
	live     atomic.Int64
	ending   atomic.Int64
	gate     gate
	ext      extensions
	ops      *pool
	index    indexer
	backlog  backlog
	abandons abandons
	orphans  orphans
	sweeps   sweeps

	wake     chan struct{} // the scheduler, before its tick
	reclaim  chan struct{} // recovery, before its time
	work     context.Context
	stopWork context.CancelFunc
}

var _ authz.Tracker = (*Meter)(nil)

// New makes a Meter for the switches, by name. metrics may be nil. Nothing is
// done until Run but what calls and events ask for.
func New(cfg Config, store Store, accounts Accounts, switches map[string]Switch, log *slog.Logger, metrics *Metrics) *Meter {
	cfg = cfg.withDefaults()
	if metrics == nil {
		metrics = NewMetrics(nil)
	}
	m := &Meter{cfg: cfg, store: store, accounts: accounts, log: log, met: metrics, ops: newPool(8),
		wake: make(chan struct{}, 1), reclaim: make(chan struct{}, 1)}
	m.ms = settings{slice: cfg.Slice.Milliseconds(), extendBefore: cfg.ExtendBefore.Milliseconds(), warnBefore: cfg.WarnBefore.Milliseconds(), hangupBefore: cfg.HangupBefore.Milliseconds(),
		retryBefore: min(2000, cfg.ExtendBefore.Milliseconds()/2), heartbeatTimeout: cfg.HeartbeatTimeout.Milliseconds(),
		lostAfter: cfg.LostAfter.Milliseconds(), tombstone: cfg.Tombstone.Milliseconds(), endMark: cfg.EndMark.Milliseconds()}
	for name, sw := range switches {
		p := newPort(name, sw)
		m.ports.Store(name, p)
		if p.lister != nil {
			m.listers = append(m.listers, p)
		}
	}
	m.calls.init()
	m.ext.pool = newPool(2)
	m.sweeps.soon = make(chan struct{}, 1)
	m.backlog.init()
	m.abandons.init()
	m.work, m.stopWork = context.WithCancel(context.Background())
	metrics.observe(m)
	return m
}

func nowMS() int64 { return time.Now().UnixMilli() }

// Epoch is the fencing epoch this sidecar owns calls under; 0 while Redis has
// not been reached yet.
func (m *Meter) Epoch() int64 { return m.epoch.Load() }

// Register takes this sidecar's name and obtains its epoch; an earlier
// incarnation loses both. Run does it where nobody has. Errors: authz.ErrDown.
func (m *Meter) Register(ctx context.Context) error {
	epoch, err := m.store.Register(ctx, m.cfg.Name, nowMS()+m.cfg.Lease.Milliseconds())
	if err != nil {
		return fmt.Errorf("register sidecar %s: %w", m.cfg.Name, err)
	}
	m.epoch.Store(epoch)
	m.log.Info("registered", "sidecar", m.cfg.Name, "epoch", epoch)
	poke(m.reclaim)
	poke(m.wake)
	return nil
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run meters until ctx is done, then works what is kept for a bounded time,
// gives the lease up and leaves the live calls to a successor. Errors:
// ErrNameTaken, whereupon the process must stop.
func (m *Meter) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	loop := func(f func(context.Context)) {
		wg.Go(func() { f(ctx) })
	}
	loop(m.schedule)
	loop(m.writeIndex)
	loop(m.recoverCalls)
	loop(m.sweepAll)
	for _, p := range m.listers {
		loop(func(ctx context.Context) { m.listCalls(ctx, p) })
	}
	wg.Go(func() {
		if err := m.keepLease(ctx); err != nil {
			cancel(err)
		}
	})
	wg.Wait()
	err := context.Cause(ctx)
	taken := errors.Is(err, ErrNameTaken)
	m.stop(taken)
	if taken {
		return err
	}
	return nil
}

// Hurry ends what a stop still waits for; Run must have been told to stop.
func (m *Meter) Hurry() { m.stopWork() }

// stop ends what Run began.
func (m *Meter) stop(taken bool) {
	ctx, cancel := context.WithTimeout(m.work, m.cfg.Drain)
	defer cancel()
	m.drain(ctx)
	m.flushIndex(ctx)
	if epoch := m.epoch.Load(); !taken && epoch != 0 {
		ctx, cancel := context.WithTimeout(m.work, m.cfg.Timeout)
		defer cancel()
		now := nowMS()
		_, err := m.store.Lease(ctx, sweepLease, m.cfg.Name, now, now)
		err = errors.Join(err, m.store.Renew(ctx, m.cfg.Name, epoch, now))
		if err != nil {
			m.log.Warn("lease not given up; a successor under another name waits for its end", "error", err)
		}
	}
	m.stopWork()
	m.ops.wait()
	m.ext.pool.wait()
	m.backlog.pool.wait()
	m.ports.Range(func(_, p any) bool {
		p.(*port).jobs.wait()
		return true
	})
	if s := m.Stats(); s.Backlog > 0 {
		m.log.Error("stopped with events that could not be written", "events", s.Backlog, "oldest", s.BacklogAge)
	}
}

// keepLease renews the lease, and registers where that is still to be done.
func (m *Meter) keepLease(ctx context.Context) error {
	every := m.cfg.Lease / 3
	var failing bool
	for {
		err := m.renew(ctx)
		switch {
		case errors.Is(err, ErrNameTaken):
			m.met.fenced.Inc()
			return err
		case err != nil && ctx.Err() == nil:
			if !failing {
				m.log.Warn("lease not renewed", "sidecar", m.cfg.Name, "error", err)
			}
			failing = true
		default:
			failing = false
		}
		wait := every
		if failing {
			wait = min(every, time.Second)
		}
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

func (m *Meter) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeout)
	defer cancel()
	epoch := m.epoch.Load()
	if epoch == 0 {
		return m.Register(ctx)
	}
	err := m.store.Renew(ctx, m.cfg.Name, epoch, nowMS()+m.cfg.Lease.Milliseconds())
	switch {
	case errors.Is(err, authz.ErrFenced):
		return fmt.Errorf("%w: %s, epoch %d: %w", ErrNameTaken, m.cfg.Name, epoch, err)
	case errors.Is(err, authz.ErrLost):
		// Redis lost the register of sidecars: nobody took the name.
		return m.Register(ctx)
	}
	return err
}

// sleep waits; it tells whether ctx is still on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Stats are the meter's figures of the moment.
type Stats struct {
	Epoch      int64         `json:"epoch"`
	Held       int64         `json:"held"`   // unanswered
	Live       int64         `json:"live"`   // answered, ending ones included
	Ending     int64         `json:"ending"` // answered and being hung up
	Unchecked  int           `json:"unchecked"`
	Backlog    int           `json:"backlog"` // events that wait for Redis or for their call
	BacklogAge time.Duration `json:"backlog_age"`
	Orphans    int64         `json:"orphans"` // since the start
	Sweeps     int64         `json:"sweeps"`
}

// Stats gives the figures of the moment.
func (m *Meter) Stats() Stats {
	s := Stats{Epoch: m.epoch.Load(), Held: m.held.Load(), Live: m.live.Load(), Ending: m.ending.Load(), Sweeps: m.sweeps.done.Load()}
	s.Backlog, s.Unchecked, s.BacklogAge = m.backlog.size(nowMS())
	s.Orphans = m.orphans.count()
	return s
}

// Calls gives the calls this sidecar owns, in no order.
func (m *Meter) Calls() []authz.Call {
	out := make([]authz.Call, 0, m.held.Load()+m.live.Load())
	for i := range m.calls.shards {
		sh := &m.calls.shards[i]
		sh.mu.Lock()
		copies := make([]call, 0, len(sh.heap))
		for _, c := range sh.heap {
			copies = append(copies, *c)
		}
		sh.mu.Unlock()
		for j := range copies {
			out = append(out, copies[j].whole())
		}
	}
	return out
}

// Kill flags a call for its end, whoever owns it, and hangs it up. Errors:
// authz.ErrCallEnded, ErrUnknownCall, ErrLost, ErrDown.
func (m *Meter) Kill(ctx context.Context, account string, k authz.Key) (authz.Call, error) {
	w, err := m.store.Kill(ctx, account, k)
	if err != nil {
		return w, fmt.Errorf("kill %s: %w", k, err)
	}
	if m.mine(k, func(sh *shard, c *call) {
		c.set(killed)
		sh.at(c, nowMS())
	}) {
		poke(m.wake)
		return w, nil
	}
	// The owner sees the flag at its next look; the switch need not wait for it.
	if p := m.port(k.Switch); p.sw != nil && !w.Flags.Has(authz.FlagEmergency) {
		p.jobs.run(func() {
			ctx, cancel := context.WithTimeout(m.work, portTimeout)
			defer cancel()
			if err := p.sw.Hangup(ctx, k, ReasonKilled); err != nil && !errors.Is(err, ErrNoSuchCall) && !errors.Is(err, ErrNoControl) {
				m.log.Warn("call of another sidecar not hung up; its owner will", "switch", p.name, "call_id", k.CallID, "error", err)
			}
		})
	}
	return w, nil
}

// mine runs f, under the shard's lock, on a call in memory.
func (m *Meter) mine(k authz.Key, f func(*shard, *call)) bool {
	h := m.calls.hash(k.Switch, k.CallID, k.Direction)
	sh := m.calls.shard(h)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c := sh.lookup(h, &k)
	if c == nil {
		return false
	}
	f(sh, c)
	return true
}

// seconds keeps a number of seconds within what the switches can arm.
func seconds(s int64) int32 { return int32(min(max(s, 0), tariff.Unlimited)) }
