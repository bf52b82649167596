package meter_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/meter"
)

var _ meter.Store = (*balance.Store)(nil)

// bubbled is the real store, with its scripts on miniredis, as seen from a
// bubble of time: its work is done by goroutines outside, over channels made
// outside, so that the bubble's time stands still meanwhile. It can be down or
// slow, and notes the batches it is given.
type bubbled struct {
	meter.Store // nothing may be missed below
	real        *balance.Store
	rdb         redis.UniversalClient
	jobs        chan func()
	dones       chan chan struct{}

	dead  atomic.Bool  // its sidecar was killed
	down  atomic.Bool  // nothing is worked: authz.ErrDown
	mute  atomic.Bool  // it is worked, but the answer is lost: authz.ErrDown
	delay atomic.Int64 // of every answer
	looks atomic.Int64 // claims asked for

	mu        sync.Mutex
	batches   []int
	underway  int
	mostAtOne int
}

func newBubbled(t *testing.T, mini *miniredis.Miniredis) *bubbled {
	rdb := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{mini.Addr()}, MaxRetries: -1})
	real, err := balance.New(rdb, balance.Config{Embedded: true, Partitions: 4}, nil)
	must(t, err)
	b := &bubbled{real: real, rdb: rdb, jobs: make(chan func()), dones: make(chan chan struct{}, 1024)}
	for range cap(b.dones) {
		b.dones <- make(chan struct{})
	}
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for f := range b.jobs {
				f()
			}
		})
	}
	t.Cleanup(func() {
		close(b.jobs)
		wg.Wait()
		real.Close()
		_ = rdb.Close() // only fails when closed before
	})
	return b
}

// out runs f outside the bubble.
func (b *bubbled) out(f func()) {
	done := <-b.dones
	b.jobs <- func() {
		f()
		done <- struct{}{}
	}
	<-done
	b.dones <- done
}

// do runs one operation, or says that Redis is down.
func do[T any](b *bubbled, ctx context.Context, what string, f func(context.Context) (T, error)) (v T, err error) {
	if d := b.delay.Load(); d > 0 {
		select {
		case <-time.After(time.Duration(d)):
		case <-ctx.Done():
			return v, fmt.Errorf("%s: %w: %w", what, authz.ErrDown, ctx.Err())
		}
	}
	if ctx.Err() != nil || b.down.Load() || b.dead.Load() {
		return v, fmt.Errorf("%s: %w", what, authz.ErrDown)
	}
	b.out(func() { v, err = f(context.Background()) })
	if b.mute.Load() {
		var none T
		return none, fmt.Errorf("%s: %w", what, authz.ErrDown)
	}
	return v, err
}

type none struct{}

func (b *bubbled) Authorize(ctx context.Context, h *authz.Hold) (authz.Held, error) {
	return do(b, ctx, "authorize", func(ctx context.Context) (authz.Held, error) { return b.real.Authorize(ctx, h) })
}

func (b *bubbled) Answered(ctx context.Context, a authz.Answer) (authz.Taken, error) {
	return do(b, ctx, "answered", func(ctx context.Context) (authz.Taken, error) { return b.real.Answered(ctx, a) })
}

func (b *bubbled) Extend(ctx context.Context, xs []authz.Extension) []authz.Extended {
	b.mu.Lock()
	b.batches = append(b.batches, len(xs))
	b.underway++
	b.mostAtOne = max(b.mostAtOne, b.underway)
	b.mu.Unlock()
	out, err := do(b, ctx, "extend", func(ctx context.Context) ([]authz.Extended, error) { return b.real.Extend(ctx, xs), nil })
	if err != nil {
		out = make([]authz.Extended, len(xs))
		for i := range out {
			out[i].Err = err
		}
	}
	b.mu.Lock()
	b.underway--
	b.mu.Unlock()
	return out
}

func (b *bubbled) Settle(ctx context.Context, e authz.End) (authz.Settlement, error) {
	return do(b, ctx, "settle", func(ctx context.Context) (authz.Settlement, error) { return b.real.Settle(ctx, e) })
}

func (b *bubbled) Release(ctx context.Context, e authz.Release) (authz.Settlement, error) {
	return do(b, ctx, "release", func(ctx context.Context) (authz.Settlement, error) { return b.real.Release(ctx, e) })
}

func (b *bubbled) Register(ctx context.Context, name string, until int64) (int64, error) {
	return do(b, ctx, "register", func(ctx context.Context) (int64, error) { return b.real.Register(ctx, name, until) })
}

func (b *bubbled) Renew(ctx context.Context, name string, epoch, until int64) error {
	_, err := do(b, ctx, "renew", func(ctx context.Context) (none, error) { return none{}, b.real.Renew(ctx, name, epoch, until) })
	return err
}

func (b *bubbled) Living(ctx context.Context, now int64) (map[int64]bool, error) {
	return do(b, ctx, "living", func(ctx context.Context) (map[int64]bool, error) { return b.real.Living(ctx, now) })
}

func (b *bubbled) Lease(ctx context.Context, name, holder string, now, until int64) (bool, error) {
	return do(b, ctx, "lease", func(ctx context.Context) (bool, error) { return b.real.Lease(ctx, name, holder, now, until) })
}

func (b *bubbled) Claim(ctx context.Context, account string, k authz.Key, from, to int64) (authz.Call, error) {
	b.looks.Add(1)
	return do(b, ctx, "claim", func(ctx context.Context) (authz.Call, error) { return b.real.Claim(ctx, account, k, from, to) })
}

func (b *bubbled) Adopt(ctx context.Context, h *authz.Hold) (authz.Taken, error) {
	return do(b, ctx, "adopt", func(ctx context.Context) (authz.Taken, error) { return b.real.Adopt(ctx, h) })
}

func (b *bubbled) Prove(ctx context.Context, account string, k authz.Key, at int64) (authz.Call, error) {
	return do(b, ctx, "prove", func(ctx context.Context) (authz.Call, error) { return b.real.Prove(ctx, account, k, at) })
}

func (b *bubbled) Call(ctx context.Context, account string, k authz.Key) (authz.Call, error) {
	return do(b, ctx, "call", func(ctx context.Context) (authz.Call, error) { return b.real.Call(ctx, account, k) })
}

func (b *bubbled) Index(ctx context.Context, put []authz.Indexed, del []authz.Key) error {
	_, err := do(b, ctx, "index", func(ctx context.Context) (none, error) { return none{}, b.real.Index(ctx, put, del) })
	return err
}

func (b *bubbled) Find(ctx context.Context, k authz.Key) (string, error) {
	return do(b, ctx, "find", func(ctx context.Context) (string, error) { return b.real.Find(ctx, k) })
}

// each collects outside what fn is given inside.
func each[T any](b *bubbled, ctx context.Context, what string, scan func(context.Context, func(T) error) error, fn func(T) error) error {
	all, err := do(b, ctx, what, func(ctx context.Context) (all []T, err error) {
		return all, scan(ctx, func(v T) error {
			all = append(all, v)
			return nil
		})
	})
	if err != nil {
		return err
	}
	for _, v := range all {
		if err := fn(v); err != nil {
			return err
		}
	}
	return nil
}

func (b *bubbled) ScanIndex(ctx context.Context, p int, fn func(authz.Indexed) error) error {
	return each(b, ctx, "scan", func(ctx context.Context, fn func(authz.Indexed) error) error { return b.real.ScanIndex(ctx, p, fn) }, fn)
}

func (b *bubbled) Partitions() int { return b.real.Partitions() }

func (b *bubbled) Accounts(ctx context.Context, p int, fn func(string) error) error {
	return each(b, ctx, "accounts", func(ctx context.Context, fn func(string) error) error { return b.real.Accounts(ctx, p, fn) }, fn)
}

func (b *bubbled) Calls(ctx context.Context, account string, fn func(authz.Call, error) error) error {
	type field struct {
		c   authz.Call
		err error
	}
	return each(b, ctx, "calls", func(ctx context.Context, fn func(field) error) error {
		return b.real.Calls(ctx, account, func(c authz.Call, err error) error { return fn(field{c, err}) })
	}, func(f field) error { return fn(f.c, f.err) })
}

func (b *bubbled) Reap(ctx context.Context, account string, now, keep int64, keys []authz.Key) (int64, error) {
	return do(b, ctx, "reap", func(ctx context.Context) (int64, error) { return b.real.Reap(ctx, account, now, keep, keys) })
}

func (b *bubbled) Balance(ctx context.Context, account string) (authz.Balance, error) {
	return do(b, ctx, "balance", func(ctx context.Context) (authz.Balance, error) { return b.real.Balance(ctx, account) })
}

func (b *bubbled) Kill(ctx context.Context, account string, k authz.Key) (authz.Call, error) {
	return do(b, ctx, "kill", func(ctx context.Context) (authz.Call, error) { return b.real.Kill(ctx, account, k) })
}

func (b *bubbled) open(t *testing.T, account string) {
	_, err := do(b, t.Context(), "open", func(ctx context.Context) (none, error) {
		return none{}, b.real.OpenAccount(ctx, account, authz.Active, 20000101)
	})
	must(t, err)
}

func (b *bubbled) grant(t *testing.T, account string, number int64, units credit.Units) {
	_, err := do(b, t.Context(), "grant", func(ctx context.Context) (none, error) {
		_, err := b.real.Grant(ctx, account, number, units)
		return none{}, err
	})
	must(t, err)
}

// records gives the outbox.
func (b *bubbled) records(t *testing.T) (all []authz.Record) {
	b.out(func() {
		for p := range b.real.Partitions() {
			entries, err := b.rdb.XRange(context.Background(), b.real.OutboxKey(p), "-", "+").Result()
			if err != nil {
				t.Error(err)
			}
			for _, e := range entries {
				rec, err := authz.ParseRecord(e.Values["r"].(string))
				if err != nil {
					t.Error(err)
				}
				all = append(all, rec)
			}
		}
	})
	return all
}

// extended gives how many extensions were asked for, in how many batches.
func (b *bubbled) extended() (n, batches int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, x := range b.batches {
		n += x
	}
	return n, len(b.batches)
}

// snapshot gives the hash of the only account.
func (b *bubbled) snapshot(t *testing.T) (key string, fields map[string]string) {
	b.out(func() {
		keys, err := b.rdb.Keys(context.Background(), "*:a:*").Result()
		if err != nil || len(keys) != 1 {
			t.Errorf("account hashes: %v, %v", keys, err)
			return
		}
		key = keys[0]
		fields, err = b.rdb.HGetAll(context.Background(), key).Result()
		if err != nil {
			t.Error(err)
		}
	})
	return key, fields
}
