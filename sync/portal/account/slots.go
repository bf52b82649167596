package account

import "sync"

// slots are places for what takes long, of which one account gets half at most.
type slots struct {
	most int

	mu   sync.Mutex
	all  int
	used map[string]int
}

func (s *slots) take(account string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= s.most || s.used[account] >= max(s.most/2, 1) {
		return false
	}
	s.all++
	s.used[account]++
	return true
}

func (s *slots) give(account string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.used[account]--; s.used[account] == 0 {
		delete(s.used, account)
	}
}
