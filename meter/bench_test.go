package meter

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"testing"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// plenty is a store that grants everything at once, so that what is measured is
// the meter's own work.
type plenty struct{ Store }

func (plenty) Extend(_ context.Context, xs []authz.Extension) []authz.Extended {
	out := make([]authz.Extended, len(xs))
	for i, x := range xs {
		out[i] = authz.Extended{Units: credit.Units(x.UntilMS), UntilMS: x.UntilMS, Budget: 1 << 40}
	}
	return out
}

type nobody struct{}

func (nobody) Account(string) (*authz.Account, bool) { return nil, false }
func (nobody) Number(string) (authz.Number, bool)    { return authz.Number{}, false }

const benchCalls = 100_000

func benchMeter(b *testing.B, store Store) *Meter {
	b.Helper()
	m := New(Config{Name: "bench"}, store, nobody{}, nil, slog.New(slog.DiscardHandler), nil)
	m.epoch.Store(1)
	return m
}

var benchAccounts = func() (ids []string) {
	for i := range 5000 {
		ids = append(ids, fmt.Sprintf("account-%05d", i))
	}
	return ids
}()

// benchCall is a call as a SIP switch makes them: a Call-ID of 36 characters and
// a host, E.164 numbers, a number id.
func benchCall(i int, now int64) (authz.Call, authz.Held) {
	id := uuid.New()
	w := authz.Call{Key: authz.Key{Switch: "kamailio-1", Direction: authz.Outbound, CallID: id.String() + "@10.0.0.12"},
		Account: benchAccounts[i%len(benchAccounts)], UID: id, State: authz.StateLive, Epoch: 1, Hash: "zRkLmPqXw3E",
		Held: 60_000, UntilMS: 60_000, CreatedAt: now - 8000, ExpiresAt: now + 232_000, AnsweredAt: now - int64(i)%49_000,
		Price: tariff.Price{Rate: 60_000, MicrosRate: 70_000, Initial: 1, Step: 1, CreditPrice: 70_000},
		Detail: authz.Detail{From: "+31850835037", To: "+31201234567", FromRaw: "0850835037", NumberID: id.String(), Mode: "byok",
			Tariff: "eu-2025@3", Prefix: "3120", Currency: "EUR"}}
	return w, authz.Held{Units: 60_000, UntilMS: 60_000, Budget: 1 << 40}
}

// BenchmarkTrack is what an allowed authorize costs the meter.
func BenchmarkTrack(b *testing.B) {
	m := benchMeter(b, plenty{})
	now := nowMS()
	b.ReportAllocs()
	for i := range b.N {
		b.StopTimer()
		w, h := benchCall(i, now)
		b.StartTimer()
		m.Track(w, h)
	}
}

// BenchmarkHeapPerLiveCall reports the Go heap that one live call takes in all.
func BenchmarkHeapPerLiveCall(b *testing.B) {
	for range b.N {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		m := benchMeter(b, plenty{})
		now := nowMS()
		for i := range benchCalls {
			m.Track(benchCall(i, now))
		}
		m.index.take() // as written
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/benchCalls, "B/call")
		runtime.KeepAlive(m)
	}
}

// BenchmarkIdleTick is the clock's work when no call is due, with 100,000 of them.
func BenchmarkIdleTick(b *testing.B) {
	m := benchMeter(b, plenty{})
	now := nowMS()
	for i := range benchCalls {
		w, h := benchCall(i, now)
		w.AnsweredAt = now
		m.Track(w, h)
	}
	for b.Loop() {
		m.tick(now)
	}
}

// BenchmarkExtension is the meter's own work for one extension: falling due,
// batching, taking the answer over. 100,000 calls need 1,667 a second.
func BenchmarkExtension(b *testing.B) {
	m := benchMeter(b, plenty{})
	now := nowMS()
	for i := range benchCalls {
		m.Track(benchCall(i, now))
	}
	m.index.take()
	var all []*call
	for i := range m.calls.shards {
		all = append(all, m.calls.shards[i].heap...)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += 1000 {
		for j := range 1000 {
			c := all[(i+j)%len(all)]
			sh := m.calls.home(c)
			sh.mu.Lock()
			sh.at(c, 0)
			sh.mu.Unlock()
		}
		m.tick(nowMS())
		m.ext.pool.wait()
	}
}
