package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/outbox"
)

// places are the pairs of a Redis and a ledger that everything common runs on.
var places = []struct {
	name  string
	redis func(testing.TB) string
	open  func(testing.TB) *ledger.Ledger
}{
	{"Redis and Postgres", func(t testing.TB) string { return services.Redis(t).URL }, func(t testing.TB) *ledger.Ledger { return onPostgres(t, services.SharedDatabase(t)) }},
	{"Redis and SQLite", func(t testing.TB) string { return services.Redis(t).URL }, sqlitetest.Open},
	{"Redis Cluster and Postgres", cluster, func(t testing.TB) *ledger.Ledger { return onPostgres(t, services.SharedDatabase(t)) }},
}

func everywhere(t *testing.T, test func(w *world)) {
	t.Helper()
	for _, p := range places {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			test(newWorld(t, p.redis(t), p.open(t)))
		})
	}
}

// Two sidecars read; records of a call come in any order, again and again, across batches.
func TestEachCallOnce(t *testing.T) {
	t.Parallel()
	everywhere(t, func(w *world) {
		w.sidecar("one")
		w.sidecar("two")
		for range 12 {
			var batch []authz.Record
			for _, r := range w.some(60) {
				switch rand.IntN(6) {
				case 0: // settled after all
					batch = append(batch, lost(r), r)
				case 1: // the loss arrives late
					batch = append(batch, r, lost(r))
				case 2:
					batch = append(batch, released(r), lost(r), r, r)
				case 3:
					batch = append(batch, released(r))
				default:
					batch = append(batch, r)
				}
			}
			w.put(batch...)
			w.put(batch[rand.IntN(len(batch)):]...)
		}
		w.once()
	})
}

// Everything is delivered again, because the acknowledgement of each batch was lost once.
func TestEachCallOnceWithoutAcknowledgements(t *testing.T) {
	t.Parallel()
	everywhere(t, func(w *world) {
		var mu sync.Mutex
		var answers int
		seen := map[string]bool{}
		lossy := taker{Ledger: w.ledger, after: func(_ context.Context, records []authz.Record) error {
			mu.Lock()
			defer mu.Unlock()
			fresh := false
			for i := range records {
				id := records[i].UID.String()
				fresh = fresh || !seen[id]
				seen[id] = true
			}
			if fresh {
				answers++
				return errors.New("committed, and the answer was lost")
			}
			return nil
		}}
		batch := w.some(150)
		w.put(batch...)
		w.sidecarOn("one", lossy)
		w.once()
		w.put(batch...) // and once more as a whole
		w.once()
		mu.Lock()
		defer mu.Unlock()
		if answers == 0 {
			t.Error("no answer was lost: the test proves nothing")
		}
	})
}

func TestPoisonIsSetAside(t *testing.T) {
	t.Parallel()
	everywhere(t, func(w *world) {
		good := w.some(40)
		s := w.sidecar("zero")
		w.put(good[:20]...)
		w.empty()
		s.end()
		must(w, s.Drain(context.Background()))
		stranger := w.settled("nobody")
		twin := good[3]
		twin.Account = w.accounts[(slices.Index(w.accounts, twin.Account)+1)%len(w.accounts)]
		absurd := w.settled(w.accounts[0])
		absurd.At = -1
		for i, raw := range []string{"", "not a record\x00\xff", text(&stranger), text(&twin), text(&absurd)} {
			w.junk(w.store.OutboxKey(i), raw)
		}
		must(w, w.rdb.XAdd(context.Background(), &redis.XAddArgs{Stream: w.store.OutboxKey(1), Values: []string{"other", "field"}}).Err())
		w.refused["map[other:field]"] = true
		w.put(good[20:]...)
		w.sidecar("one")
		w.once()

		// The account is made after all: its record is taken in when it is tried again.
		a := authz.Account{ID: "nobody", Company: "Your Company", Status: authz.Active, Currency: "EUR", Tariff: "default", Language: "nl", TimeZone: "UTC"}
		_, _, err := w.ledger.CreateAccount(context.Background(), a)
		must(w, err)
		w.accounts = append(w.accounts, "nobody")
		page, _, err := w.ledger.RefusedRecords(context.Background(), 0, 100)
		must(w, err)
		for _, r := range page {
			if string(r.Raw) == text(&stranger) {
				_, err := w.ledger.RetryRefused(context.Background(), r.ID)
				must(w, err)
			}
		}
		delete(w.refused, text(&stranger))
		w.wanted[stranger.UID] = stranger
		w.once()
	})
}

// A reader dies while the ledger has its batch: the next one works what it left, as soon as its lease is over.
func TestDeadReaderIsFollowed(t *testing.T) {
	t.Parallel()
	everywhere(t, func(w *world) {
		stuck := make(chan struct{}, 100)
		hang := taker{Ledger: w.ledger, before: func(ctx context.Context, _ []authz.Record) error {
			stuck <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}}
		w.put(w.some(100)...)
		dead := w.sidecarOn("dead", hang)
		<-stuck // it has read what it will never acknowledge
		w.sidecar("heir")
		dead.end()
		w.put(w.some(100)...)
		w.once()
	})
}

// Sidecars share the partitions evenly, and one that stops softly leaves nothing and nobody waits for its leases.
func TestSoftStop(t *testing.T) {
	t.Parallel()
	everywhere(t, func(w *world) {
		one := w.sidecar("one", func(c *outbox.Config) { c.Lease = time.Hour }) // never over by itself
		w.put(w.some(50)...)
		w.empty()
		one.end()
		left := w.some(400)
		w.put(left...)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		must(w, one.Drain(ctx))
		w.once()
		w.sidecar("two")
		w.put(w.some(50)...)
		w.once()
	})
}

// Postgres is stopped, or killed, in the middle of a transaction, again and again, under load.
func TestPostgresGoesAway(t *testing.T) {
	t.Parallel()
	for name, down := range map[string]func(*services.PostgresServer){
		"stopped": (*services.PostgresServer).Stop,
		"killed":  (*services.PostgresServer).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := services.Postgres(t)
			w := newWorld(t, services.Redis(t).URL, onPostgres(t, server.NewDatabase(t)))
			inside := make(chan struct{}) // a transaction has written and not committed
			gone := make(chan struct{})   // Postgres is down
			var batches, failed atomic.Int64
			var outages atomic.Int64
			then := func(context.Context, *ledger.Tx, []ledger.Change) error {
				if n := batches.Add(1); n == 3 || n == 9 {
					outages.Add(1)
					inside <- struct{}{}
					<-gone
				}
				return nil
			}
			counted := taker{Ledger: w.ledger}
			mods := func(c *outbox.Config) { c.Then = []ledger.Then{then} }
			w.sidecarOn("one", failing{counted, &failed}, mods)
			w.sidecarOn("two", failing{counted, &failed}, mods)
			stop := make(chan struct{})
			var load sync.WaitGroup
			load.Go(func() {
				tick := time.NewTicker(20 * time.Millisecond)
				defer tick.Stop()
				for {
					w.put(w.some(20)...)
					select {
					case <-tick.C:
					case <-stop:
						return
					}
				}
			})
			for range 2 {
				<-inside
				down(server)
				gone <- struct{}{}
				waiting, err := w.store.OutboxLen(context.Background())
				must(t, err)
				services.Eventually(t, patience, func() error { // the outbox grows, and nothing else
					n, err := w.store.OutboxLen(context.Background())
					if err == nil && n < waiting+200 {
						err = fmt.Errorf("%d records wait, %d when Postgres went", n, waiting)
					}
					return err
				})
				server.Start()
			}
			close(stop)
			load.Wait()
			w.once()
			if outages.Load() < 2 || failed.Load() == 0 {
				t.Errorf("%d outages, %d failed batches: the test proves nothing", outages.Load(), failed.Load())
			}
			t.Logf("%d calls, %d transactions, %d of them failed", len(w.wanted), batches.Load(), failed.Load())
		})
	}
}

// failing counts the batches that the ledger did not take.
type failing struct {
	outbox.Ledger
	n *atomic.Int64
}

func (f failing) Ingest(ctx context.Context, records []authz.Record, then ...ledger.Then) ([]ledger.Result, error) {
	res, err := f.Ledger.Ingest(ctx, records, then...)
	if err != nil {
		f.n.Add(1)
	}
	return res, err
}

// Redis is killed and comes back with all that it had acknowledged; readers and their groups go on.
func TestRedisIsKilled(t *testing.T) {
	t.Parallel()
	server := services.Redis(t, services.AppendAlways())
	w := newWorld(t, server.URL, sqlitetest.Open(t))
	var taken atomic.Int64
	slow := taker{Ledger: w.ledger, after: func(_ context.Context, records []authz.Record) error { taken.Add(int64(len(records))); return nil }}
	w.sidecarOn("one", slow)
	w.sidecarOn("two", slow)
	for range 3 {
		w.put(w.some(500)...)
		services.Eventually(t, patience, func() error {
			if taken.Load() == 0 {
				return errors.New("nothing is taken in")
			}
			return nil
		})
		server.Kill()
		server.Start()
		taken.Store(0)
	}
	w.put(w.some(100)...)
	w.once()
}

// Redis loses everything, groups and leases too: what comes afterwards is read all the same.
func TestRedisLosesEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t, services.Redis(t).URL, sqlitetest.Open(t))
	w.sidecar("one")
	w.sidecar("two")
	w.put(w.some(100)...)
	w.empty()
	must(t, w.rdb.FlushAll(context.Background()).Err())
	w.put(w.some(100)...)
	w.once()
	for p := range partitions { // the groups alone
		must(t, w.rdb.XGroupDestroy(context.Background(), w.store.OutboxKey(p), "ledger").Err())
		w.put(w.some(20)...)
	}
	w.once()
}

// Redis went back to where entries were pending, and nobody works on them any more.
func TestForgottenPendingEntries(t *testing.T) {
	t.Parallel()
	w := newWorld(t, services.Redis(t).URL, sqlitetest.Open(t))
	w.sidecar("one")
	w.put(w.some(20)...)
	w.empty()
	stream := w.store.OutboxKey(3)
	var stolen int
	services.Eventually(t, patience, func() error {
		w.put(w.some(40)...)
		got, err := w.rdb.XReadGroup(context.Background(), &redis.XReadGroupArgs{Group: "ledger", Consumer: "reader", Streams: []string{stream, ">"}, Block: -1}).Result()
		if err != nil {
			return err // the reader was faster
		}
		stolen += len(got[0].Messages)
		return nil
	})
	w.once()
	t.Logf("%d entries were given to a reader that never answered for them", stolen)
}

// A reader died between the two halves of an acknowledgement.
func TestDeletedAndNotAcknowledged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, services.Redis(t).URL, sqlitetest.Open(t))
	ctx := context.Background()
	done := w.some(30)
	w.put(done...)
	for p := range partitions {
		stream := w.store.OutboxKey(p)
		must(t, w.rdb.XGroupCreateMkStream(ctx, stream, "ledger", "0").Err())
		got, err := w.rdb.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "ledger", Consumer: "reader", Streams: []string{stream, ">"}, Block: -1}).Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		must(t, err)
		for _, m := range got[0].Messages {
			must(t, w.rdb.XDel(ctx, stream, m.ID).Err())
		}
	}
	_, err := w.ledger.Ingest(ctx, done)
	must(t, err)
	w.sidecar("one")
	w.put(w.some(30)...)
	w.once()
}

// A partition whose Redis is away keeps the others waiting no longer than a moment.
func TestClusterWithoutOneMaster(t *testing.T) {
	t.Parallel()
	c := services.RedisCluster(t)
	w := newWorld(t, "redis+cluster://"+c.Addrs[0]+","+c.Addrs[1]+","+c.Addrs[2], sqlitetest.Open(t))
	// Unless told otherwise, a cluster without one master serves nothing at all.
	for _, n := range c.Nodes {
		must(t, n.Client().ConfigSet(context.Background(), "cluster-require-full-coverage", "no").Err())
	}
	w.sidecar("one")
	w.put(w.some(50)...)
	w.empty()
	up := func(p int) bool {
		return w.rdb.XLen(context.Background(), w.store.OutboxKey(p)).Err() == nil
	}
	c.Nodes[2].Kill()
	var alive []authz.Record
	for _, a := range w.accounts {
		if up(w.store.PartitionOf(a)) {
			alive = append(alive, w.settled(a))
		}
	}
	if len(alive) == 0 || len(alive) == len(w.accounts) {
		t.Fatalf("%d of %d accounts are left: the test proves nothing", len(alive), len(w.accounts))
	}
	w.put(alive...)
	services.Eventually(t, patience, func() error {
		known, err := w.ledger.KnownCalls(context.Background(), uids(alive))
		if err == nil && len(known) < len(alive) {
			err = fmt.Errorf("%d of %d calls are in the ledger", len(known), len(alive))
		}
		return err
	})
	c.Nodes[2].Start()
	services.Eventually(t, patience, func() error {
		for p := range partitions {
			if err := w.rdb.Touch(context.Background(), w.store.OutboxKey(p)).Err(); err != nil {
				return err
			}
		}
		return nil
	})
	w.put(w.some(50)...)
	w.once()
}

func uids(records []authz.Record) (out []uuid.UUID) {
	for i := range records {
		out = append(out, records[i].UID)
	}
	return out
}
