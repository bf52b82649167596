package outbox

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// countEvery is how often what waits is counted.
const countEvery = 5 * time.Second

// count keeps the gauges of what waits, whoever reads it.
func (r *Reader) count(ctx context.Context) {
	t := time.NewTicker(countEvery)
	defer t.Stop()
	for {
		if n, oldest, err := r.Waiting(ctx); err == nil { // a Redis that is away says nothing new
			r.met.waiting.Set(float64(n))
			r.met.age.Set(age(oldest, time.Now()).Seconds())
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// age is for how long the oldest record has waited, by Redis' clock: 0 where none does.
func age(oldest, now time.Time) time.Duration {
	if oldest.IsZero() {
		return 0
	}
	return max(0, now.Sub(oldest))
}

// Waiting counts the records of all partitions, and tells since when the oldest
// of them waits; zero: none does.
func (r *Reader) Waiting(ctx context.Context) (n int64, oldest time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	pipe := r.rdb.Pipeline()
	counts := make([]*redis.IntCmd, len(r.cfg.Streams))
	firsts := make([]*redis.XMessageSliceCmd, len(r.cfg.Streams))
	for i, s := range r.cfg.Streams {
		counts[i] = pipe.XLen(ctx, s)
		firsts[i] = pipe.XRangeN(ctx, s, "-", "+", 1)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, time.Time{}, fmt.Errorf("count outbox: %w", err)
	}
	for i := range counts {
		n += counts[i].Val()
		for _, m := range firsts[i].Val() {
			if at := stamped(m.ID); oldest.IsZero() || at.Before(oldest) {
				oldest = at
			}
		}
	}
	return n, oldest, nil
}

// stamped is the time in a stream entry's id.
func stamped(id string) time.Time {
	ms, _, _ := strings.Cut(id, "-")
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return time.Now()
	}
	return time.UnixMilli(n)
}
