package app

import (
	"sync"
	"sync/atomic"
)

// seqs remembers the highest seq seen of each account. An answer whose seq is
// below one that had been seen before it was asked for says that Redis went back.
type seqs struct{ m sync.Map }

// seen is the highest seq of an account so far.
func (s *seqs) seen(account string) int64 {
	if v, ok := s.m.Load(account); ok {
		return v.(*atomic.Int64).Load()
	}
	return 0
}

// back notes the seq of an answer and tells whether Redis went back: before is
// what had been seen when it was asked for. It is told once; a rebuilt account
// starts above all that was seen.
func (s *seqs) back(account string, before, seq int64) bool {
	if seq == 0 {
		return false
	}
	v, ok := s.m.Load(account)
	if !ok {
		v, _ = s.m.LoadOrStore(account, new(atomic.Int64))
	}
	seen := v.(*atomic.Int64)
	for {
		old := seen.Load()
		if seq < before {
			if old != before { // told by another, or rebuilt meanwhile
				return false
			}
			if seen.CompareAndSwap(old, seq) {
				return true
			}
			continue
		}
		if seq <= old || seen.CompareAndSwap(old, seq) {
			return false
		}
	}
}
