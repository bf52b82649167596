package meter

import "sync"

const (
	gateFirst = 250 // ms after a failure until Redis is asked again
	gateMost  = 2000
)

// gate remembers that Redis does not answer, so that 100,000 calls do not each
// wait for a time-out: while it is shut, one asker at a time is let through.
type gate struct {
	mu    sync.Mutex
	since int64 // when it shut; 0 = open
	probe int64 // when the next asker may try
	wait  int64
}

// pass tells whether Redis may be asked now.
func (g *gate) pass(now int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.since == 0 {
		return true
	}
	if now < g.probe {
		return false
	}
	g.probe = now + g.wait
	return true
}

// shut tells whether pass would refuse, without using up a try.
func (g *gate) shut(now int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.since != 0 && now < g.probe
}

// failed notes that Redis did not answer, and tells whether it did before.
func (g *gate) failed(now int64) (first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if first = g.since == 0; first {
		g.since, g.wait = now, gateFirst
	} else {
		g.wait = min(2*g.wait, gateMost)
	}
	g.probe = now + g.wait
	return first
}

// answered notes that Redis did, and tells for how long it had not, ms.
func (g *gate) answered(now int64) (outage int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.since != 0 {
		outage = now - g.since
		g.since, g.probe = 0, 0
	}
	return outage
}
