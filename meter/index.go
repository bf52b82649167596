package meter

import (
	"context"
	"sync"
	"time"

	"github.com/hmsovereign/ringfence/authz"
)

const (
	indexEvery = 200 * time.Millisecond
	indexBatch = 200
)

// indexer collects what the live index does not have yet. The index is written
// off the decision path: a call that is missing from it the sweep finds.
type indexer struct {
	mu   sync.Mutex
	puts []*call
	dels []authz.Key
}

func (x *indexer) put(c *call) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.puts = append(x.puts, c)
}

func (x *indexer) del(k authz.Key) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.dels = append(x.dels, k)
}

func (x *indexer) take() (puts []*call, dels []authz.Key) {
	x.mu.Lock()
	defer x.mu.Unlock()
	puts, dels = x.puts, x.dels
	x.puts, x.dels = make([]*call, 0, len(puts)), nil // about as many will come again
	return puts, dels
}

// again puts back, in front, what could not be written.
func (x *indexer) again(puts []*call, dels []authz.Key) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.puts, x.dels = append(puts, x.puts...), append(dels, x.dels...)
}

func (m *Meter) writeIndex(ctx context.Context) {
	for sleep(ctx, indexEvery) {
		m.flushIndex(m.work)
	}
}

// flushIndex writes what has been collected.
func (m *Meter) flushIndex(ctx context.Context) {
	if m.gate.shut(nowMS()) {
		return
	}
	puts, dels := m.index.take()
	for len(puts)+len(dels) > 0 {
		somePuts, someDels := puts[:min(indexBatch, len(puts))], dels[:min(indexBatch, len(dels))]
		entries := make([]authz.Indexed, 0, len(somePuts))
		for _, c := range somePuts {
			sh := m.calls.home(c)
			sh.mu.Lock()
			if !c.has(gone) {
				c.set(indexed)
				entries = append(entries, authz.Indexed{Key: c.key(), Account: c.account, Epoch: c.epoch})
			}
			sh.mu.Unlock()
		}
		ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeout)
		err := m.store.Index(ctx, entries, someDels)
		cancel()
		if err != nil {
			if m.work.Err() == nil {
				m.met.indexFailures.Inc()
			}
			m.index.again(puts, dels)
			return
		}
		puts, dels = puts[len(somePuts):], dels[len(someDels):]
	}
}
