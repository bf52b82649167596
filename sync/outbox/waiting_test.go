package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/outbox"
)

// What waits is counted, and its age is that of the oldest record of any partition: whatever is read, and fails, meanwhile.
func TestAgeIsThatOfTheOldest(t *testing.T) {
	t.Parallel()
	everywhere(t, func(w *world) {
		ctx := context.Background()
		away := errors.New("the ledger is away")
		s := w.sidecarOn("one", taker{Ledger: w.ledger, before: func(context.Context, []authz.Record) error { return away }})
		n, oldest, err := s.Waiting(ctx)
		must(w, err)
		if n != 0 || !oldest.IsZero() {
			w.Errorf("%d records wait since %v, want none", n, oldest)
		}
		// One entry is of a time long past, as its id says; later ones are in other partitions.
		first := w.settled(w.accounts[0])
		past := time.Now().Add(-3 * time.Minute).UnixMilli()
		must(w, w.rdb.XAdd(ctx, &redis.XAddArgs{Stream: w.stream(first.Account), ID: fmt.Sprintf("%d-0", past), Values: []string{"r", text(&first)}}).Err())
		w.wanted[first.UID] = first
		w.put(w.some(40)...)
		for range 3 { // reading in vain changes nothing
			n, oldest, err = s.Waiting(ctx)
			must(w, err)
			if n != 41 || oldest.UnixMilli() != past {
				w.Errorf("%d records wait since %v, want 41 since %v", n, oldest, time.UnixMilli(past))
			}
		}
		s.end()
		w.sidecar("two")
		w.once()
		n, oldest, err = s.Waiting(ctx)
		must(w, err)
		if n != 0 || !oldest.IsZero() {
			w.Errorf("%d records wait since %v, want none", n, oldest)
		}
	})
}

// Answers of Redis break off in the middle: what it has given out, and nobody got to hear of, is taken again.
func TestAnswersBreakOff(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	w := newWorld(t, server.URL, sqlitetest.Open(t))
	p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "redis", "127.0.0.1:0", server.Addr)
	must(t, p.Start())
	t.Cleanup(p.Stop)
	direct := w.url
	w.url = "redis://" + p.Listen
	w.sidecar("one", func(c *outbox.Config) { c.Timeout = time.Second })
	w.url = direct
	w.put(w.some(100)...)
	w.empty()
	delivered := func() (n int64) {
		for p := range partitions {
			if left, err := w.rdb.XPending(context.Background(), w.store.OutboxKey(p), "ledger").Result(); err == nil {
				n += left.Count
			}
		}
		return n
	}
	// A connection may be made with so many bytes; no batch fits in them.
	for _, bytes := range []int{2000, 6000, 20_000} {
		toxic, err := p.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(`{"type":"limit_data","stream":"downstream","attributes":{"bytes":%d}}`, bytes)))
		must(t, err)
		w.put(w.some(400)...)
		services.Eventually(t, patience, func() error {
			if delivered() == 0 {
				return errors.New("nothing was given out in vain")
			}
			return nil
		})
		must(t, p.Toxics.RemoveToxic(context.Background(), toxic.Name))
		w.once()
	}
}

// BenchmarkIngest moves records from the streams of 8 partitions into the ledger, by one sidecar as it is configured by
// default: read, committed durably, acknowledged, deleted.
func BenchmarkIngest(b *testing.B) {
	for name, world := range map[string]func() *world{
		"Postgres": func() *world { return newWorld(b, services.Redis(b).URL, onPostgres(b, services.SharedDatabase(b))) },
		"SQLite":   func() *world { return newWorld(b, services.Redis(b).URL, sqlitetest.Open(b)) },
	} {
		b.Run(name, func(b *testing.B) {
			const batch = 10_000
			w := world()
			n := 0
			for b.Loop() {
				b.StopTimer()
				w.put(w.some(batch)...)
				n += batch
				b.StartTimer()
				s := w.sidecar(fmt.Sprintf("reader-%d", n), func(c *outbox.Config) { c.Batch, c.Most = 0, 0 })
				w.empty()
				b.StopTimer()
				s.end()
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				must(b, s.Drain(ctx)) // its leases
				cancel()
				b.StartTimer()
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(0, "ns/op")
			w.once()
		})
	}
}
