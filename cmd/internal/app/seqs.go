package app

import (
	"sync"
	"sync/atomic"
)

// seqs remembers the highest seq seen of each account: a lower one says that
// Redis went back.
type seqs struct{ m sync.Map }

// back notes a seq and tells whether it is below one seen before. A rebuilt
// account starts far above, so that each going back is told once.
func (s *seqs) back(account string, seq int64) bool {
	v, ok := s.m.Load(account)
	if !ok {
		v, _ = s.m.LoadOrStore(account, new(atomic.Int64))
	}
	seen := v.(*atomic.Int64)
	for {
		old := seen.Load()
		// Answers overtake each other: two requests at once may be answered in
		// either order, so that a little below is no proof.
		if seq < old-reordered {
			seen.CompareAndSwap(old, seq)
			return true
		}
		if seq <= old || seen.CompareAndSwap(old, seq) {
			return false
		}
	}
}

// reordered is by how much answers may come out of order.
const reordered = 256
