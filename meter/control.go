package meter

import (
	"context"
	"errors"

	"github.com/hmsovereign/ringfence/authz"
)

const (
	hangupFirst = 1000 // ms until a failed hang-up is tried again
	hangupMost  = 30_000
	hangupSure  = 10_000 // until one that the switch took is repeated
	warnAgain   = 3000   // until a failed warning is tried again
)

// hangUp has a call hung up; its shard is locked.
func (m *Meter) hangUp(c *call) {
	p, k, reason := c.port, c.key(), reasons[c.why]
	p.jobs.run(func() {
		err := ErrNoControl
		if p.sw != nil {
			ctx, cancel := context.WithTimeout(m.work, portTimeout)
			err = p.sw.Hangup(ctx, k, reason)
			cancel()
		}
		m.hungUp(c, err)
	})
}

// hungUp takes over what the switch said. A hang-up is repeated even when the
// switch took it, until the end is reported.
func (m *Meter) hungUp(c *call, err error) {
	now := nowMS()
	sh := m.calls.home(c)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if c.has(gone) {
		return
	}
	c.clear(dialing)
	wait := int64(hangupSure)
	switch {
	case err == nil:
		c.port.failing.Store(false)
		if !c.has(heard) && !c.vouched() { // it knew the call until now; later answers may be mere courtesy
			c.proof = max(c.proof, now)
		}
		c.set(heard)
		m.met.hangup("taken")
	case errors.Is(err, ErrNoSuchCall):
		c.set(told)
		m.met.hangup("unknown")
	case errors.Is(err, ErrNoControl):
		c.set(told) // a heartbeat's answer is the only way
		c.port.uncontrolled.Store(true)
		m.met.hangup("no_control")
	default:
		wait = min(int64(hangupFirst)<<min(c.tries, 5), hangupMost)
		m.met.hangup("failed")
		if !c.port.failing.Swap(true) {
			m.log.Warn("switch does not hang up; it is asked again", "switch", c.port.name, "call_id", c.id(), "error", err)
		}
	}
	if c.tries < 255 {
		c.tries++
	}
	sh.at(c, min(now+wait, max(c.deadline, now+1000)))
}

// warn tells the caller that credit runs out, once, when it is time; the call's
// shard is locked. Where the switch cannot be told, the answer to the next
// heartbeat does.
func (m *Meter) warn(c *call, now int64) {
	if !m.warnDue(c, now) || c.port.uncontrolled.Load() {
		return
	}
	c.set(warned)
	p, k, left := c.port, c.key(), max(c.until-c.talk(now), 0)/1000
	p.jobs.run(func() {
		ctx, cancel := context.WithTimeout(m.work, portTimeout)
		err := p.sw.Warn(ctx, k, left)
		cancel()
		switch {
		case err == nil:
			m.met.warned("sent")
		case errors.Is(err, ErrNoSuchCall):
		case errors.Is(err, ErrNoControl):
			p.uncontrolled.Store(true)
			m.mine(k, func(_ *shard, c *call) { c.clear(warned) }) // its next heartbeat tells
		default:
			m.met.warned("failed")
			if !p.failing.Swap(true) {
				m.log.Warn("switch does not warn the caller; it is asked again", "switch", p.name, "call_id", k.CallID, "error", err)
			}
			m.mine(k, func(sh *shard, c *call) {
				c.clear(warned)
				sh.at(c, min(c.due, nowMS()+warnAgain))
			})
		}
	})
}

// warnDue tells whether the caller is to be warned now.
func (m *Meter) warnDue(c *call, now int64) bool {
	if c.state != authz.StateLive || m.ms.warnBefore == 0 || c.has(warned|ending|emergency|killed) {
		return false
	}
	byCredit, last := c.last()
	return last && byCredit && c.until-c.talk(now) <= m.ms.warnBefore+2*grid
}

// raise gives the switch a later dead-man limit, so that even with this sidecar
// dead the call cannot run far past its credit; the call's shard is locked.
func (m *Meter) raise(c *call, limit int32) {
	c.set(raising)
	p, k := c.port, c.key()
	p.jobs.run(func() {
		ctx, cancel := context.WithTimeout(m.work, portTimeout)
		err := p.extender.Extend(ctx, k, int64(limit))
		cancel()
		m.mine(k, func(_ *shard, c *call) {
			c.clear(raising)
			if err == nil {
				c.armed = limit
			}
		})
		switch {
		case err == nil:
			m.met.raised("done")
		case errors.Is(err, ErrNoSuchCall), errors.Is(err, ErrNoControl):
			m.met.raised("unknown")
		default:
			m.met.raised("failed")
			m.log.Warn("dead-man limit not raised; tried again at the next extension", "switch", p.name, "call_id", k.CallID, "error", err)
		}
	})
}
