package meter

import (
	"sync"
	"time"

	"github.com/hmsovereign/ringfence/authz"
)

// Orphan is an event whose call two full sweeps have not found.
type Orphan struct {
	Event   authz.Event `json:"event"`
	Since   time.Time   `json:"since"`
	GivenUp time.Time   `json:"given_up"`
}

const orphansShown = 256

// orphans keeps the latest, and counts all.
type orphans struct {
	mu    sync.Mutex
	ring  []Orphan
	next  int
	total int64
}

func (o *orphans) add(x Orphan) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.total++
	if len(o.ring) < orphansShown {
		o.ring = append(o.ring, x)
		return
	}
	o.ring[o.next] = x
	o.next = (o.next + 1) % orphansShown
}

func (o *orphans) count() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.total
}

// Orphans gives the latest events whose calls were never found, oldest first.
func (m *Meter) Orphans() []Orphan {
	o := &m.orphans
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([]Orphan, 0, len(o.ring))
	out = append(out, o.ring[o.next:]...)
	return append(out, o.ring[:o.next]...)
}
