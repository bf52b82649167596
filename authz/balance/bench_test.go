package balance_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/deploy/services"
)

const benchAccounts = 256

// benchRig is a Redis of a benchmark's own with accounts that never run dry.
type benchRig struct {
	*balance.Store
	rdb      redis.UniversalClient
	accounts []string
	calls    atomic.Int64
}

func newBenchRig(b *testing.B, cfg balance.Config) *benchRig {
	b.Helper()
	on := onRedis(b, services.AppendOnly())
	r := &benchRig{Store: on.store(b, cfg), rdb: on.connect(b)}
	for i := range benchAccounts {
		id := fmt.Sprintf("0194a3b2-7c11-7000-8000-%012d", i)
		if err := r.OpenAccount(b.Context(), id, authz.Active, newYear); err != nil {
			b.Fatal(err)
		}
		if _, err := r.Grant(b.Context(), id, 1, credit.Max/2); err != nil {
			b.Fatal(err)
		}
		r.accounts = append(r.accounts, id)
	}
	return r
}

// next is a call not made before.
func (r *benchRig) next() *authz.Hold {
	n := r.calls.Add(1)
	uid, _ := uuid.NewV7()
	return &authz.Hold{Key: authz.Key{Switch: "kamailio-1", Direction: authz.Outbound, CallID: "3848276298220188511-" + strconv.FormatInt(n, 10) + "@10.10.1.13"},
		UID: uid, Account: r.accounts[n%benchAccounts], Hash: "q83vEjRWeJA", Now: noon, Day: newYear, Epoch: 12, Price: base,
		MinSeconds: 1, SliceSeconds: 60, ExpiresAt: noon + 240_000,
		Detail: authz.Detail{From: "+31850835037", To: "+31201234567", NumberID: "0194a3b2-7c11-7000-8000-0123456789ab", Mode: "byok",
			Tariff: "default@1", Prefix: "31", Currency: "EUR"}}
}

// clients runs n operations on c goroutines and gives the time it took.
func clients(b *testing.B, c, n int, do func() error) time.Duration {
	b.Helper()
	var wg sync.WaitGroup
	var left atomic.Int64
	var failed atomic.Pointer[error]
	left.Store(int64(n))
	start := time.Now()
	for range c {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := do(); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		b.Fatal(*err)
	}
	return time.Since(start)
}

// scriptTime is what the server spent on EVALSHA so far, and how often.
func (r *benchRig) scriptTime(b *testing.B) (us, calls float64) {
	b.Helper()
	text, err := r.rdb.Info(b.Context(), "commandstats").Result()
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if n, _ := fmt.Sscanf(line, "cmdstat_evalsha:calls=%f,usec=%f,", &calls, &us); n == 2 {
			return us, calls
		}
	}
	return 0, 0
}

// versusRaw alternates between the store and the plain driver, so that both meet
// the same machine, and reports their ratio.
func (r *benchRig) versusRaw(b *testing.B, c int, store, raw func() error) {
	b.Helper()
	const rounds = 10
	if err := store(); err != nil { // loads the script, which the plain driver needs too
		b.Fatal(err)
	}
	b.ReportAllocs()
	us0, n0 := r.scriptTime(b)
	var tStore, tRaw time.Duration
	b.ResetTimer()
	for i := range rounds {
		n := b.N*(i+1)/rounds - b.N*i/rounds
		tStore += clients(b, c, n, store)
		b.StopTimer()
		tRaw += clients(b, c, n, raw)
		b.StartTimer()
	}
	b.StopTimer()
	us1, n1 := r.scriptTime(b)
	b.ReportMetric(float64(b.N)/tStore.Seconds(), "store/s")
	b.ReportMetric(float64(b.N)/tRaw.Seconds(), "raw/s")
	b.ReportMetric(tRaw.Seconds()/tStore.Seconds(), "x-raw")
	b.ReportMetric((us1-us0)/max(n1-n0, 1), "redis-us/op")
}

func (r *benchRig) authorize() error {
	held, err := r.Authorize(context.Background(), r.next())
	if err == nil && held.Denied != "" {
		err = fmt.Errorf("denied: %s", held.Denied)
	}
	return err
}

// rawAuthorize is what a program without this package would do: the same script
// and input, one EVALSHA on a connection of the driver's.
func (r *benchRig) rawAuthorize() error {
	c := r.Command(r.next())
	return r.rdb.EvalSha(context.Background(), c.SHA, c.Keys, c.Args...).Err()
}

func BenchmarkAuthorize(b *testing.B) {
	for _, c := range []int{1, 16, 64} {
		b.Run("c="+strconv.Itoa(c), func(b *testing.B) {
			r := newBenchRig(b, balance.Config{})
			r.versusRaw(b, c, r.authorize, r.rawAuthorize)
		})
	}
}

// BenchmarkWorkers is where the defaults of Config.Workers and Config.Batch come from.
func BenchmarkWorkers(b *testing.B) {
	for _, workers := range []int{1, 2, 4, 8} {
		for _, batch := range []int{16, 25, 64} {
			b.Run(fmt.Sprintf("workers=%d/batch=%d", workers, batch), func(b *testing.B) {
				r := newBenchRig(b, balance.Config{Workers: workers, Batch: batch})
				r.versusRaw(b, 64, r.authorize, r.rawAuthorize)
			})
		}
	}
}

// BenchmarkSettle ends live calls from 64 goroutines.
func BenchmarkSettle(b *testing.B) {
	r := newBenchRig(b, balance.Config{})
	live := r.live(b, b.N)
	var i atomic.Int64
	b.ReportAllocs()
	us0, n0 := r.scriptTime(b)
	b.ResetTimer()
	clients(b, 64, b.N, func() error {
		h := live[i.Add(1)-1]
		_, err := r.Settle(context.Background(), authz.End{Key: h.Key, Account: h.Account, Now: noon + 42_000, ReceivedAt: noon + 42_000,
			EndedAt: noon + 42_000, Cause: "16", Day: newYear})
		return err
	})
	b.StopTimer()
	us1, n1 := r.scriptTime(b)
	b.ReportMetric((us1-us0)/(n1-n0), "redis-us/op")
}

// BenchmarkExtend is the meter's load, one call an operation: 100,000 live calls at 60 s slices are 1,667 a second.
func BenchmarkExtend(b *testing.B) {
	const calls, batch = 5_000, 20
	r := newBenchRig(b, balance.Config{})
	live := r.live(b, calls)
	xs := make([]authz.Extension, batch)
	b.ReportAllocs()
	us0, n0 := r.scriptTime(b)
	cpu0 := cpuTime(b)
	b.ResetTimer()
	for i := 0; i < b.N; i += batch {
		for j := range xs {
			n := i + j
			h, round := live[n%calls], int64(n/calls)
			xs[j] = authz.Extension{Key: h.Key, Account: h.Account, Epoch: h.Epoch, Now: noon + round*60_000, Day: newYear,
				UntilMS: (round + 2) * 60_000, ProofAt: noon + round*60_000 + 1}
		}
		for _, x := range r.Extend(context.Background(), xs) {
			if x.Err != nil {
				b.Fatal(x.Err)
			}
		}
	}
	b.StopTimer()
	cpu1 := cpuTime(b)
	us1, n1 := r.scriptTime(b)
	b.ReportMetric((us1-us0)/(n1-n0), "redis-us/op")
	b.ReportMetric(float64((cpu1-cpu0).Microseconds())/(n1-n0), "go-cpu-us/op")
}

// live makes n answered calls.
func (r *benchRig) live(b *testing.B, n int) []*authz.Hold {
	b.Helper()
	holds := make([]*authz.Hold, n)
	var i atomic.Int64
	clients(b, 64, n, func() error {
		h := r.next()
		holds[i.Add(1)-1] = h
		if _, err := r.Authorize(context.Background(), h); err != nil {
			return err
		}
		_, err := r.Answered(context.Background(), authz.Answer{Key: h.Key, Account: h.Account, Epoch: h.Epoch, Now: noon, At: noon, Day: newYear, SliceMS: 60_000})
		return err
	})
	return holds
}

// cpuTime is what this process has used, user and system.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestMemoryOfLiveCalls keeps the promise of at most 500 B of Redis a live call,
// index included. Its log shows what an account's first call costs beside it: a hash
// with anything longer than 64 B in it is a table to Redis (hash-max-listpack-value).
func TestMemoryOfLiveCalls(t *testing.T) {
	t.Parallel()
	const limit = 500
	server := services.Redis(t)
	r := newRig(t, on(server), balance.Config{})
	r.credit(100_000 * minute)
	usage := func(keys ...string) (sum int64) {
		for _, k := range keys {
			n, err := r.rdb.MemoryUsage(r.ctx, k, 0).Result()
			if err != nil && !errors.Is(err, redis.Nil) {
				t.Fatal(err)
			}
			sum += n
		}
		return sum
	}
	var index []string
	for p := range r.Partitions() {
		index = append(index, fmt.Sprintf("rf:{p%02d}:index", p))
	}
	first := usage(r.hash())
	n := 0
	for _, upTo := range []int{1, 10, 1000} {
		for ; n < upTo; n++ {
			id := "3848276298220188511-" + strconv.Itoa(n)
			r.authorized(id)
			r.now += 9_123
			r.answered(id, at(r.now-23))
			r.now += 40_077
			r.must(r.extend(id, 120).Err)
			r.must(r.Index(r.ctx, []authz.Indexed{{Key: key(id), Account: r.account, Epoch: 1}}, nil))
		}
		hash, idx := usage(r.hash()), usage(index...)
		each := (hash - first + idx) / int64(n)
		t.Logf("%4d calls: account hash %d B (%d B without calls), index %d B: %d B a call", n, hash, first, idx, each)
		if n > 1 && each > limit {
			t.Errorf("%d live calls take %d B each, more than %d", n, each, limit)
		}
	}
}
