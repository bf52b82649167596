package account

import (
	"context"
	_ "embed"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed scripts/limit.lua
var limitScript string

// All windows are in one slot of their own.
const (
	windowsKey = "rf:{rl}:windows"
	endsKey    = "rf:{rl}:ends"
)

const (
	// removedPerCall is how many windows that are over each request removes: more
	// than the one it can add.
	removedPerCall = 4
	// redisPause is how long Redis is not asked after it failed, so that not
	// every request waits for its deadline.
	redisPause = time.Second
)

// verdict is where a request stands in its window.
type verdict struct {
	allowed bool
	count   int       // requests of this window so far
	end     time.Time // when the next begins at the earliest
}

// limiter counts the requests of a bucket in windows of fixed length, in Redis
// for all sidecars together. Where Redis does not answer each sidecar counts for
// itself, going on from what it last heard.
type limiter struct {
	limit   int
	window  time.Duration
	timeout time.Duration // of one question to Redis
	rdb     redis.UniversalClient
	script  *redis.Script
	local   *localLimiter
	now     func() time.Time
	log     *slog.Logger
	met     *Metrics
	until   atomic.Int64 // Unix ms: before that Redis is not asked
}

func newLimiter(cfg *Config) *limiter {
	return &limiter{limit: cfg.Limit, window: cfg.Window, timeout: cfg.RedisTimeout, rdb: cfg.Redis,
		script: redis.NewScript(limitScript), local: newLocalLimiter(), now: cfg.Now, log: cfg.Log, met: cfg.Metrics}
}

// shared counts a request in the window that all sidecars share.
func (l *limiter) shared(ctx context.Context, bucket string) verdict {
	now := l.now().UnixMilli()
	if l.rdb == nil || now < l.until.Load() {
		return l.alone(bucket)
	}
	v, err := l.ask(ctx, bucket, now)
	if err != nil {
		if ctx.Err() == nil && l.until.Swap(now+redisPause.Milliseconds()) == 0 {
			l.log.Warn("Redis does not answer the rate limit; this sidecar counts alone", logError, err)
		}
		return l.alone(bucket)
	}
	if l.until.Swap(0) != 0 {
		l.log.Info("Redis answers the rate limit again")
	}
	l.local.note(bucket, window{end: v.end.UnixMilli(), count: v.count}, now)
	return v
}

func (l *limiter) ask(ctx context.Context, bucket string, now int64) (verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	reply, err := l.script.Run(ctx, l.rdb, []string{windowsKey, endsKey},
		bucket, now, l.window.Milliseconds(), l.limit, removedPerCall).Int64Slice()
	if err != nil {
		return verdict{}, err
	}
	if len(reply) != 3 {
		return verdict{}, fmt.Errorf("rate limit: %d values in the answer, want 3", len(reply))
	}
	return verdict{allowed: reply[0] == 1, count: int(reply[1]), end: time.UnixMilli(reply[2])}, nil
}

// alone counts a request in this sidecar only.
func (l *limiter) alone(bucket string) verdict {
	if l.rdb != nil {
		l.met.fallbacks.Inc()
	}
	return l.own(bucket)
}

// own counts a request of a bucket that is this sidecar's alone.
func (l *limiter) own(bucket string) verdict {
	ok, w := l.local.take(bucket, l.now().UnixMilli(), l.window.Milliseconds(), l.limit)
	return verdict{allowed: ok, count: w.count, end: time.UnixMilli(w.end)}
}

// write puts a verdict into an answer's headers, and tells after how many whole
// seconds a refused request may come again.
func (l *limiter) write(h http.Header, v verdict) (retryAfter int64) {
	h.Set("X-RateLimit-Limit", strconv.Itoa(l.limit))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(max(l.limit-v.count, 0)))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(ceilSeconds(v.end.UnixMilli()), 10))
	if v.allowed {
		return 0
	}
	retryAfter = max(ceilSeconds(v.end.UnixMilli()-l.now().UnixMilli()), 1)
	h.Set("Retry-After", strconv.FormatInt(retryAfter, 10))
	return retryAfter
}

func ceilSeconds(ms int64) int64 { return (ms + 999) / 1000 }
