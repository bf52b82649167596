package meter

import (
	"errors"
	"sync"

	"github.com/hmsovereign/ringfence/authz"
)

// extensions are the calls whose next slice is to be bought. They go to Redis
// in batches, at most two under way at once, so that an authorize never waits
// behind a crowd of them.
type extensions struct {
	pool *pool

	mu    sync.Mutex
	queue []*call
}

func (e *extensions) add(c *call) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queue = append(e.queue, c)
}

// start has the queue worked.
func (e *extensions) start(m *Meter) {
	e.mu.Lock()
	n := len(e.queue)
	e.mu.Unlock()
	for range min((n+m.cfg.Batch-1)/m.cfg.Batch, e.pool.limit) {
		e.pool.run(m.extendAll)
	}
}

// pop takes up to max calls off the queue.
func (e *extensions) pop(into []*call, most int) []*call {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := min(most, len(e.queue))
	into = append(into, e.queue[:n]...)
	clear(e.queue[:n])
	if e.queue = e.queue[n:]; len(e.queue) == 0 {
		e.queue = nil
	}
	return into
}

// extendAll works the queue until it is empty.
func (m *Meter) extendAll() {
	calls := make([]*call, 0, m.cfg.Batch)
	xs := make([]authz.Extension, 0, m.cfg.Batch)
	for m.work.Err() == nil {
		calls = m.ext.pop(calls[:0], m.cfg.Batch)
		if len(calls) == 0 {
			return
		}
		m.extendBatch(calls, xs[:0])
		clear(calls)
	}
}

func (m *Meter) extendBatch(calls []*call, xs []authz.Extension) {
	now := nowMS()
	open := m.gate.pass(now)
	kept := calls[:0]
	for _, c := range calls {
		if x, ok := m.extension(c, now, open); ok {
			xs, kept = append(xs, x), append(kept, c)
		}
	}
	if len(xs) == 0 {
		return
	}
	got := m.store.Extend(m.work, xs)
	now = nowMS()
	down := true
	for _, g := range got {
		down = down && errors.Is(g.Err, authz.ErrDown)
	}
	if down {
		m.storeFailed(now, got[0].Err)
	} else {
		m.storeAnswered(now)
	}
	for i, c := range kept {
		m.extended(c, &xs[i], &got[i], now)
	}
}

// extension is what to ask for a call; none where it is over, or Redis away.
func (m *Meter) extension(c *call, now int64, open bool) (authz.Extension, bool) {
	sh := m.calls.home(c)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	switch {
	case c.has(gone):
		return authz.Extension{}, false
	case c.has(ending):
		c.clear(busy)
		return authz.Extension{}, false
	case !open:
		m.putOff(sh, c, now, jitter(1000))
		return authz.Extension{}, false
	}
	x := authz.Extension{Key: c.key(), Account: c.account, Epoch: c.epoch, Now: now, UntilMS: m.wanted(c, now)}
	x.Day, x.Cap = m.terms(c.account, now)
	if !c.vouched() {
		x.ProofAt = now
	} else if c.proof > c.proven {
		x.ProofAt = c.proof
	}
	return x, true
}

// putOff has a call whose extension did not come about tried again; sh is locked.
func (m *Meter) putOff(sh *shard, c *call, now, wait int64) {
	c.clear(busy)
	c.set(stalled)
	due := now + wait
	if !c.has(emergency) {
		due = min(due, c.answered+c.stalledReach())
		if _, last := c.last(); last {
			due = min(due, c.answered+c.until)
		}
	}
	m.warn(c, now)
	sh.at(c, max(due, now))
}

// extended takes the answer to an extension over.
func (m *Meter) extended(c *call, x *authz.Extension, got *authz.Extended, now int64) {
	sh := m.calls.home(c)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if c.has(gone) {
		return
	}
	switch {
	case got.Err == nil:
		m.granted(sh, c, x, got, now)
	case errors.Is(got.Err, authz.ErrDown), errors.Is(got.Err, authz.ErrLost):
		m.met.extension("failed")
		m.putOff(sh, c, now, jitter(1000))
	case errors.Is(got.Err, authz.ErrCallEnded):
		m.met.extension("ended")
		m.drop(sh, m.calls.keyHash(c), c, true) // its end was heard elsewhere, and so was its place in the index
	case errors.Is(got.Err, authz.ErrFenced):
		m.met.extension("fenced")
		m.met.fenced.Inc()
		m.log.Info("call taken over by another sidecar", "call_id", c.id(), "switch", c.port.name)
		m.drop(sh, m.calls.keyHash(c), c, true)
	case errors.Is(got.Err, authz.ErrUnknownCall):
		m.met.extension("unknown")
		m.ops.run(func() { m.operate(c, look) }) // still busy
	default:
		m.met.extension("failed")
		m.log.Error("call not extended", "call_id", c.id(), "switch", c.port.name, "account", c.account, "error", got.Err)
		m.putOff(sh, c, now, m.ms.slice)
	}
}

// granted takes a granted extension over; sh is locked.
func (m *Meter) granted(sh *shard, c *call, x *authz.Extension, got *authz.Extended, now int64) {
	c.clear(busy | stalled)
	c.contact = now
	if x.ProofAt > 0 {
		c.proof, c.proven = max(c.proof, x.ProofAt), max(c.proven, x.ProofAt)
	}
	asked := x.UntilMS > c.until
	c.until = got.UntilMS
	result := "granted"
	switch {
	case got.UntilMS < x.UntilMS:
		c.set(short)
		result = "short"
	case asked && c.has(short):
		c.clear(short | warned) // credit came
		result = "rescued"
	case !asked:
		result = "proof"
	}
	m.met.extension(result)
	m.foresee(c, got.Units, got.Budget, got.Others)
	if got.Killed {
		c.set(killed)
	}
	price := c.price.Value()
	if limit := seconds(authz.MaxSeconds(price, got.Budget, got.Others, m.ms.slice/1000, int64(c.max))); limit > c.armed &&
		c.port.extender != nil && c.state == authz.StateLive && !c.has(raising|killed|emergency) {
		m.raise(c, limit)
	}
	m.warn(c, now)
	sh.at(c, m.next(c, now))
}

func (m *Meter) storeFailed(now int64, err error) {
	if m.gate.failed(now) {
		m.log.Error("balance store does not answer; live calls go on, their ends are kept", "error", err)
	}
}

func (m *Meter) storeAnswered(now int64) {
	if outage := m.gate.answered(now); outage > 0 {
		m.log.Info("balance store answers again", "outage_ms", outage)
		poke(m.wake)
	}
}
