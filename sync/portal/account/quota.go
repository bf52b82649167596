package account

import (
	"cmp"
	"context"
	"time"
)

// Quota counts requests that are not the API's own in windows as long as the
// API's, which all sidecars share by Redis. Where Redis does not answer each
// sidecar counts for itself.
type Quota struct{ limit *limiter }

// NewQuota makes one of cfg.Limit requests in cfg.Window (100 in 1 min). Of the
// rest of cfg only Redis, RedisTimeout, Now, Log and Metrics matter; without
// Redis each sidecar counts for itself.
func NewQuota(cfg Config) *Quota {
	cfg = cfg.withDefaults()
	return &Quota{newLimiter(&cfg)}
}

// Quota makes one of so many requests in a window, counted as the API's are.
func (s *Server) Quota(limit int) *Quota {
	cfg := s.cfg
	cfg.Limit = cmp.Or(limit, cfg.Limit)
	return NewQuota(cfg)
}

// Take counts a request of a bucket, a name that no other use of Redis's windows
// has (those of the API are the ids of keys). ok is false where the window is
// used up; after is when the next begins, in whole seconds of at least one.
func (q *Quota) Take(ctx context.Context, bucket string) (after time.Duration, ok bool) {
	v := q.limit.shared(ctx, bucket)
	if v.allowed {
		return 0, true
	}
	left := ceilSeconds(v.end.UnixMilli() - q.limit.now().UnixMilli())
	return time.Duration(max(left, 1)) * time.Second, false
}
