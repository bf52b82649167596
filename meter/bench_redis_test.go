package meter_test

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/meter"
)

// BenchmarkLiveCalls runs a meter with live calls on a real Redis at an eighth
// of the usual slice and reports what one extension costs both, and what share
// of a core that is for 100,000 calls at 60 s slices.
func BenchmarkLiveCalls(b *testing.B) {
	const (
		calls    = 16_000
		accounts = 2_000
		slice    = 8 * time.Second
		measured = 16 * time.Second
	)
	server := services.Redis(b)
	rdb := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{server.Addr}, MaxRetries: -1})
	defer func() { _ = rdb.Close() }()
	store, err := balance.New(rdb, balance.Config{}, nil)
	must(b, err)
	defer store.Close()
	dir := &book{accounts: map[string]*authz.Account{}, numbers: map[string]authz.Number{}}
	m := meter.New(meter.Config{Name: "bench", Slice: slice, ExtendBefore: time.Second, WarnBefore: -1}, store, dir, nil, discard, nil)
	ctx, stop := context.WithCancel(b.Context())
	must(b, m.Register(ctx))
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	for i := range accounts {
		id := "account-" + strconv.Itoa(i)
		must(b, store.OpenAccount(ctx, id, authz.Active, 20260101))
		_, err := store.Grant(ctx, id, 1, 1<<40)
		must(b, err)
		dir.accounts[id] = &authz.Account{ID: id, Currency: "EUR", Location: time.UTC}
	}
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := w; i < calls; i += 16 {
				if err := benchTalk(ctx, store, m, "account-"+strconv.Itoa(i%accounts)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for b.Loop() {
		runtime.GC()
		before, redisBefore := ownCPU(b), redisCPU(b, server)
		n := extensionsOf(b, server)
		<-time.After(measured)
		n = extensionsOf(b, server) - n
		own, theirs := ownCPU(b)-before, redisCPU(b, server)-redisBefore
		perSecond := 100_000.0 / 60
		b.ReportMetric(float64(n)/measured.Seconds(), "extensions/s")
		b.ReportMetric(float64(own.Microseconds())/float64(n), "sidecar-us/ext")
		b.ReportMetric(float64(theirs.Microseconds())/float64(n), "redis-us/ext")
		b.ReportMetric(own.Seconds()/float64(n)*perSecond*100, "sidecar-%core@100k")
		b.ReportMetric(theirs.Seconds()/float64(n)*perSecond*100, "redis-%core@100k")
	}
	if live := m.Stats().Live; live != calls {
		b.Errorf("%d calls live of %d", live, calls)
	}
	stop()
	must(b, <-done)
}

func benchTalk(ctx context.Context, store *balance.Store, m *meter.Meter, account string) error {
	now := time.Now().UnixMilli()
	uid := uuid.New()
	h := &authz.Hold{Key: authz.Key{Switch: "kamailio-1", Direction: authz.Outbound, CallID: uid.String() + "@10.0.0.12"}, UID: uid, Account: account,
		Hash: "zRkLmPqXw3E", Now: now, Day: 20260101, Epoch: m.Epoch(), Price: base, MinSeconds: 1, SliceSeconds: 8, ExpiresAt: now + 240_000,
		Detail: authz.Detail{From: "+31850835037", To: "+31201234567", NumberID: uid.String(), Mode: "byok", Tariff: "eu-2025@3", Prefix: "3120", Currency: "EUR"}}
	held, err := store.Authorize(ctx, h)
	if err != nil || held.Denied != "" {
		return fmt.Errorf("authorize: %s %w", held.Denied, err)
	}
	m.Track(callOf(h, held), held)
	_, err = m.Event(ctx, authz.Event{Type: authz.EventAnswered, Key: h.Key})
	return err
}

func ownCPU(b *testing.B) time.Duration {
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// info gives a figure of a section of Redis' INFO.
func info(b *testing.B, s *services.RedisServer, section, field string) float64 {
	text, err := s.Client().Info(b.Context(), section).Result()
	must(b, err)
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), field); ok {
			v, _, _ = strings.Cut(v, ",")
			n, err := strconv.ParseFloat(v, 64)
			must(b, err)
			return n
		}
	}
	return 0
}

func redisCPU(b *testing.B, s *services.RedisServer) time.Duration {
	return time.Duration(1e9 * (info(b, s, "cpu", "used_cpu_sys:") + info(b, s, "cpu", "used_cpu_user:")))
}

func extensionsOf(b *testing.B, s *services.RedisServer) int64 {
	return int64(info(b, s, "commandstats", "cmdstat_evalsha:calls="))
}
