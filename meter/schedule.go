package meter

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// Track takes a call that was let go with a hold. It does not wait.
func (m *Meter) Track(w authz.Call, h authz.Held) {
	// The switch asked again after it had left: the call goes after all.
	m.abandons.forget(w.Key)
	w.UntilMS, w.Held = h.UntilMS, h.Units
	m.take(&w, h.Budget, h.Others, true, 0)
}

// take puts a call into memory, or brings the one there up to date. A budget of
// 0 is not known. fresh: the switch was given the dead-man limit that follows
// from it. It is looked at by itself, or after soon ms where that is earlier.
func (m *Meter) take(w *authz.Call, budget credit.Units, others int64, fresh bool, soon int64) {
	if w.State != authz.StateHeld && w.State != authz.StateLive {
		return
	}
	now := nowMS()
	h := m.calls.hash(w.Switch, w.CallID, w.Direction)
	sh := m.calls.shard(h)
	p := m.port(w.Switch)
	account := w.Account
	if a, ok := m.accounts.Account(account); ok {
		account = a.ID // the directory's own text is shared
	}
	made := newCall(w, p, account)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c := sh.lookup(h, &w.Key)
	if c == nil {
		c = made
		c.due = never // its place is found once, below
		sh.insert(h, c)
		m.count(c.state, 1)
		m.index.put(c)
		if w.State == authz.StateLive && c.port.heartbeats {
			c.set(heartbeat)
		}
	} else if c.state == authz.StateLive && w.State == authz.StateHeld {
		return // late news: it was answered meanwhile
	} else {
		m.update(c, w, now)
	}
	c.contact = now
	if budget > 0 || fresh {
		m.foresee(c, w.Held, budget, others)
		if fresh {
			c.armed = seconds(authz.MaxSeconds(w.Price, budget, others, m.ms.slice/1000, w.MaxSeconds))
		}
	}
	due := m.next(c, now)
	if soon > 0 {
		due = min(due, now+soon)
	}
	sh.at(c, due)
}

// update takes over what Redis says of a call in memory; its shard is locked.
func (m *Meter) update(c *call, w *authz.Call, now int64) {
	was := c.state
	c.renew(w)
	if was == c.state {
		if c.has(ending) && c.state == authz.StateLive {
			return
		}
	} else {
		m.count(was, -1)
		m.count(c.state, 1)
	}
	if was == authz.StateHeld && c.state == authz.StateLive {
		if c.port.heartbeats {
			c.set(heartbeat)
		}
		c.tries, c.deadline = 0, 0
		if c.has(ending) { // hung up while it rang, and answered all the same
			c.deadline = now + m.ms.lostAfter
			m.ending.Add(1)
		}
	}
}

func (m *Meter) count(s authz.State, n int64) {
	if s == authz.StateLive {
		m.live.Add(n)
	} else {
		m.held.Add(n)
	}
}

// foresee estimates to which talk second credit reaches: this call's hold and
// its share of what the account has besides.
func (m *Meter) foresee(c *call, held, budget credit.Units, others int64) {
	rest := max(budget-held, 0) / credit.Units(max(others, 0)+1)
	c.ends = max(seconds(c.price.Value().Affordable(held+rest)), seconds(c.until/1000), 1)
}

// forget takes a call out of memory. What became of it decides whether the
// index forgets it too: a lost one may still get its end.
func (m *Meter) forget(k authz.Key, keepIndexed bool) {
	h := m.calls.hash(k.Switch, k.CallID, k.Direction)
	sh := m.calls.shard(h)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if c := sh.lookup(h, &k); c != nil {
		m.drop(sh, h, c, keepIndexed)
	} else if !keepIndexed {
		m.index.del(k)
	}
}

// drop is forget with the shard locked.
func (m *Meter) drop(sh *shard, h uint64, c *call, keepIndexed bool) {
	sh.remove(h, c)
	m.count(c.state, -1)
	if c.has(ending) && c.state == authz.StateLive {
		m.ending.Add(-1)
	}
	if !keepIndexed && c.has(indexed) {
		m.index.del(c.key())
	}
}

// limit is the talk time, ms, that the call may not pass, and whether credit
// set it: the dead-man limit its switch was given is the end, unless that can be
// armed again, or heartbeats are what the switch goes by.
func (c *call) limit() (ms int64, byCredit bool) {
	s := int32(tariff.Unlimited)
	if c.max > 0 {
		s = min(s, c.max)
	}
	if c.armed > 0 && c.armed < s && c.port.extender == nil && !c.has(heartbeat) {
		s, byCredit = c.armed, true
	}
	return int64(s) * 1000, byCredit
}

// last tells whether no talk time beyond until will come, as far as is known.
func (c *call) last() (byCredit, yes bool) {
	if c.has(short) {
		return true, true
	}
	limit, byCredit := c.limit()
	return byCredit, c.until >= limit
}

// vouched tells whether something other than this meter proves the call's life.
func (c *call) vouched() bool { return c.has(heartbeat) || c.port.lister != nil }

// quiet is since when nothing has been heard of a live call, or it could not
// have been, since another sidecar had it.
func (c *call) quiet() int64 { return max(c.proof, c.answered, c.deadline) }

// silent tells whether a heartbeating call has stopped.
func (m *Meter) silent(c *call, now int64) bool {
	return c.has(heartbeat) && now-c.quiet() >= m.ms.heartbeatTimeout
}

// stalledReach is the talk time, ms, that credit reached to when it was last
// seen: the end of a call whose extensions do not come about.
func (c *call) stalledReach() int64 {
	if c.has(stalled) && c.ends > 0 {
		return max(c.until, int64(c.ends)*1000)
	}
	return never
}

const never = int64(1) << 61

// cutoff is the talk time, ms, at which a call that gets no more is hung up: a
// little before what was bought is over, so that its end falls within.
func (m *Meter) cutoff(c *call) int64 {
	return c.until - min(m.ms.hangupBefore, c.until/2)
}

// grid is what extensions fall due on, so that they come in batches.
const grid = 500

// next is when a call, in peace, wants to be looked at again. Every call is
// looked at once a slice, so that Redis has a proof of life of it and a kill is
// noticed.
func (m *Meter) next(c *call, now int64) int64 {
	switch {
	case c.has(ending):
		return max(min(c.deadline, now+hangupFirst), now)
	case c.has(killed) && !c.has(emergency):
		return now
	}
	if c.state == authz.StateHeld {
		return max(min(c.deadline, now+m.ms.slice), now)
	}
	look := now + m.ms.slice
	due := never
	if c.has(heartbeat) {
		due = c.quiet() + m.ms.heartbeatTimeout + m.ms.lostAfter
	}
	end := c.answered + c.until
	byCredit, last := c.last()
	switch {
	case c.has(emergency):
	case last:
		due = min(due, c.answered+m.cutoff(c))
		if w := end - m.ms.warnBefore; byCredit && !c.has(warned) && m.ms.warnBefore > 0 && (w > now || !c.port.uncontrolled.Load()) {
			look = min(look, max(w, now+1))
		}
		if c.has(short) && now < end-m.ms.retryBefore {
			look = min(look, end-m.ms.retryBefore)
		}
	default:
		x := end - m.ms.extendBefore
		if c.ends > 0 && m.ms.warnBefore > 0 {
			x = min(x, c.answered+int64(c.ends)*1000-m.ms.warnBefore)
		}
		if x -= x % grid; x < look {
			look = max(x, now+grid)
		}
	}
	return max(min(due, look), now)
}

// wanted is the talk time, ms, to ask for now.
func (m *Meter) wanted(c *call, now int64) int64 {
	talk, want := c.talk(now), c.until
	switch {
	case c.has(emergency):
	case c.has(short):
		want = max(c.until, talk) + m.ms.slice
	case c.until-talk <= m.ms.extendBefore+2*grid:
		want = max(c.until, talk) + m.ms.slice
	case c.ends > 0 && m.ms.warnBefore > 0 && int64(c.ends)*1000-talk <= m.ms.warnBefore+2*grid:
		want = talk + m.ms.warnBefore + m.ms.extendBefore
	}
	limit, _ := c.limit()
	return max(min(want, limit), c.until)
}

// action is what a call that is due needs.
type action uint8

const (
	nothing action = iota
	extend
	look    // read the call: is it still there, still ours, answered, killed?
	release // its hold has lapsed
	lose    // settle it to its last proof of life
	hangup
)

// Operations have deadlines; a call is looked at again should one be late.
const overdue = 5000

// step decides what a due call needs and when to look again; its shard is locked.
func (m *Meter) step(sh *shard, c *call, now int64) (do action) {
	again := now + overdue
	defer func() { sh.at(c, max(again, now+1)) }()
	if c.has(killed) && !c.has(ending|emergency) {
		m.end(c, whyKilled, now)
	}
	if c.state == authz.StateHeld {
		switch {
		case now >= c.deadline && (c.has(busy) || m.backlog.has(c.key())):
			again = now + 1000 // events that wait may say that it was answered
			return nothing
		case now >= c.deadline:
			c.set(busy)
			return release
		case c.has(ending) && !c.has(told|dialing):
			c.set(dialing)
			again = min(c.deadline, now+portTimeout.Milliseconds()+overdue)
			return hangup
		case c.has(busy), c.has(ending):
			again = min(c.deadline, again)
			return nothing
		}
		c.set(busy)
		again = min(c.deadline, again)
		return look
	}
	if c.has(ending) {
		return m.stepEnding(c, now, &again)
	}
	silent := m.silent(c, now)
	if given := c.quiet() + m.ms.heartbeatTimeout + m.ms.lostAfter; silent && now >= given && !c.has(busy) {
		c.set(busy)
		return lose
	}
	byCredit, last := c.last()
	talk := c.talk(now)
	over := last && talk >= m.cutoff(c) || silent && talk >= c.until || talk >= c.stalledReach()
	if over && !c.has(emergency) {
		why := whyCredit
		switch {
		case last && !byCredit:
			why = whyLimit
		case silent && !last:
			why = whySilent
		}
		m.end(c, why, now)
		return m.stepEnding(c, now, &again)
	}
	if !c.has(emergency) {
		again = min(again, c.answered+c.stalledReach())
		switch {
		case last:
			again = min(again, c.answered+m.cutoff(c))
		case silent:
			again = min(again, c.answered+c.until)
		}
	}
	switch {
	case c.has(busy):
		return nothing
	case silent:
		again = min(again, c.quiet()+m.ms.heartbeatTimeout+m.ms.lostAfter)
		return nothing
	}
	c.set(busy)
	if epoch := m.epoch.Load(); c.epoch != epoch && epoch != 0 {
		return look // and make it ours
	}
	return extend
}

// end begins the ending of a call: it is hung up until its end is reported.
func (m *Meter) end(c *call, why uint8, now int64) {
	if c.state == authz.StateLive {
		given := now + m.ms.lostAfter
		if m.silent(c, now) {
			given = c.quiet() + m.ms.heartbeatTimeout + m.ms.lostAfter
		}
		c.deadline = given
	}
	c.set(ending)
	c.why, c.tries = why, 0
	if c.state == authz.StateLive {
		m.ending.Add(1)
	}
	m.met.cutoff(reasons[why])
}

// stepEnding is step for a live call that is being hung up.
func (m *Meter) stepEnding(c *call, now int64, again *int64) action {
	given := c.deadline
	if c.vouched() { // while it is seen alive it is not lost
		given = max(given, c.proof+m.ms.lostAfter)
	}
	*again = min(given, now+overdue+portTimeout.Milliseconds())
	switch {
	case now >= given && !c.has(busy):
		c.set(busy)
		*again = now + overdue
		return lose
	case now >= given, c.has(told | dialing):
		*again = max(*again, now+1000)
		return nothing
	}
	c.set(dialing)
	return hangup
}

// schedule is the clock: it finds the calls that are due and has their needs
// seen to by others, so that nothing that is slow delays a cut-off.
func (m *Meter) schedule(ctx context.Context) {
	t := time.NewTicker(m.cfg.Tick)
	defer t.Stop()
	for {
		now := nowMS()
		m.tick(now)
		m.dispatchBacklog(now)
		select {
		case <-t.C:
		case <-m.wake:
		case <-ctx.Done():
			return
		}
	}
}

// tick sees to the calls that are due.
func (m *Meter) tick(now int64) {
	for i := range m.calls.shards {
		sh := &m.calls.shards[i]
		sh.mu.Lock()
		for len(sh.heap) > 0 && sh.heap[0].due <= now {
			c := sh.heap[0]
			switch do := m.step(sh, c, now); do {
			case nothing:
			case extend:
				m.ext.add(c)
			case hangup:
				m.hangUp(c)
			default:
				m.ops.run(func() { m.operate(c, do) })
			}
		}
		sh.mu.Unlock()
	}
	m.ext.start(m)
}

// jitter spreads what would otherwise come at once.
func jitter(ms int64) int64 { return ms + rand.Int64N(ms) }
