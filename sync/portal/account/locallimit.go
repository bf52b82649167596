package account

import "sync"

// keptWindows bounds how many windows a sidecar counts by itself.
const keptWindows = 16_384

// window is one of a bucket: scripts/limit.lua keeps the same.
type window struct {
	end   int64 // Unix ms
	count int
}

// localLimiter counts requests within this process.
type localLimiter struct {
	mu      sync.Mutex
	windows map[string]window
}

func newLocalLimiter() *localLimiter { return &localLimiter{windows: make(map[string]window)} }

// take counts one request, if the window has room. Times are in ms.
func (l *localLimiter) take(bucket string, now, length int64, limit int) (bool, window) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w, ok := l.windows[bucket]
	if now >= w.end || w.end > now+2*length {
		if !ok {
			l.makeRoom(now)
		}
		w = window{end: now + length}
	}
	allowed := w.count < limit
	if allowed {
		w.count++
	}
	l.windows[bucket] = w
	return allowed, w
}

// note takes over where a bucket stands.
func (l *localLimiter) note(bucket string, w window, now int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.windows[bucket]; !ok {
		l.makeRoom(now)
	}
	l.windows[bucket] = w
}

// makeRoom lets one more bucket in: windows that are over go, and where that is
// not enough, any quarter, so that a flood of buckets does not look through all
// of them each time.
func (l *localLimiter) makeRoom(now int64) {
	if len(l.windows) < keptWindows {
		return
	}
	for bucket, w := range l.windows {
		if now >= w.end {
			delete(l.windows, bucket)
		}
	}
	for bucket := range l.windows {
		if len(l.windows) < keptWindows*3/4 {
			return
		}
		delete(l.windows, bucket)
	}
}
