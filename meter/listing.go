package meter

import (
	"context"
	"time"

	"github.com/hmsovereign/ringfence/authz"
)

const (
	listTimeout = 10 * time.Second
	// absentTwice listings in a row must lack a call before it is given up.
	absentTwice = 2
	// massLeast calls, or an answer that names none at all, make a mass end of
	// which the breaker is wary.
	massLeast = 10
)

// listCalls compares, again and again, what a switch says it has with the calls
// in memory.
func (m *Meter) listCalls(ctx context.Context, p *port) {
	breaker := 0 // answers in a row in which calls vanished in a mass
	wait := m.cfg.ListEvery
	for sleep(ctx, wait) {
		asked := nowMS()
		bounded, cancel := context.WithTimeout(ctx, listTimeout)
		keys, err := p.lister.List(bounded)
		cancel()
		wait = m.cfg.ListEvery
		if err != nil {
			// No answer is not "no calls": nothing is assumed.
			if ctx.Err() == nil {
				m.met.listing("failed")
				if !p.failing.Swap(true) {
					m.log.Warn("switch does not list its calls; nothing is assumed", "switch", p.name, "error", err)
				}
			}
			continue
		}
		p.failing.Store(false)
		m.met.listing("done")
		if breaker = m.compare(p, keys, asked, breaker); breaker > 0 && breaker < m.cfg.BreakerConfirm {
			wait = m.cfg.ListEvery / 3
		}
	}
}

// compare works one listing, asked for at a time, and gives the breaker's new
// count.
func (m *Meter) compare(p *port, keys []authz.Key, asked int64, breaker int) int {
	for _, k := range keys {
		k.Switch = p.name
		m.mine(k, func(sh *shard, c *call) {
			c.absent = 0
			if c.state == authz.StateLive {
				c.proof = max(c.proof, asked)
			}
		})
	}
	// The calls that were talking when the switch was asked.
	var present, vanished []*call
	m.each(p, func(c *call) {
		switch {
		case c.state != authz.StateLive || c.answered >= asked:
		case c.proof >= asked:
			present = append(present, c)
		default:
			vanished = append(vanished, c)
		}
	})
	all := len(present) + len(vanished)
	mass := len(vanished) > 0 && (len(keys) == 0 || all >= massLeast && 2*len(vanished) > all)
	needed := absentTwice
	switch {
	case mass:
		if breaker++; breaker == 1 {
			m.met.breaker.Inc()
			m.log.Error("most calls vanished from a switch at once; it is asked again before this is believed",
				"switch", p.name, "vanished", len(vanished), "of", all)
		}
		needed = m.cfg.BreakerConfirm
	case breaker > 0:
		breaker = 0
		m.eachOf(vanished, func(c *call) { c.absent = 0 }) // what was said meanwhile does not count
	}
	var lost []*call
	m.eachOf(vanished, func(c *call) {
		if c.absent < 255 {
			c.absent++
		}
		if int(c.absent) >= needed && (!mass || breaker >= needed) {
			c.set(busy) // an extension under way does no harm
			lost = append(lost, c)
		}
	})
	for _, c := range lost {
		m.ops.run(func() { m.loseAbsent(c) })
	}
	return breaker
}

// each goes through the calls of a switch, under their shards' locks.
func (m *Meter) each(p *port, f func(*call)) {
	for i := range m.calls.shards {
		sh := &m.calls.shards[i]
		sh.mu.Lock()
		for _, c := range sh.heap {
			if c.port == p {
				f(c)
			}
		}
		sh.mu.Unlock()
	}
}

// eachOf goes through some calls, under their shards' locks, but those gone.
func (m *Meter) eachOf(calls []*call, f func(*call)) {
	for _, c := range calls {
		sh := m.calls.home(c)
		sh.mu.Lock()
		if !c.has(gone) {
			f(c)
		}
		sh.mu.Unlock()
	}
}

// loseAbsent settles a call that its switch does not have any more.
func (m *Meter) loseAbsent(c *call) {
	ctx, cancel := context.WithTimeout(m.work, m.cfg.Timeout)
	defer cancel()
	if err := m.settleLost(ctx, c, nowMS(), "listing"); err != nil {
		m.log.Warn("call absent from its switch not settled; tried again", "call_id", c.id(), "switch", c.port.name, "error", err)
		m.later(c, jitter(1000)) // the next listing says so again
	}
}
