package hook

import "sync"

const (
	maxNames   = 256 // field names that are logged; beyond, they are only counted
	maxNameLen = 64
)

// nameLog remembers which unknown fields were logged, so that each is logged
// once however often a switch sends it.
type nameLog struct {
	mu   sync.Mutex
	seen map[string]struct{}
}

// first reports whether a name is to be logged now.
func (l *nameLog) first(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.seen[name]; ok || len(l.seen) >= maxNames {
		return false
	}
	if l.seen == nil {
		l.seen = make(map[string]struct{})
	}
	l.seen[name] = struct{}{}
	return true
}

// sawUnknown counts and logs fields that no hook knows.
func (s *Server) sawUnknown(endpoint string, names []string) {
	s.m.unknown.WithLabelValues(endpoint).Add(float64(len(names)))
	for _, name := range names {
		if len(name) > maxNameLen {
			name = name[:maxNameLen]
		}
		if s.unknown.first(name) {
			s.log.Warn("a switch sends a field that is not known; it is ignored", "endpoint", endpoint, "field", name)
		}
	}
}
