package outbox_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/postgres"
	"github.com/hmsovereign/ringfence/sync/outbox"
)

// patience bounds each wait for something that has no time of its own.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	balance.LogTo(slog.New(slog.DiscardHandler)) // every refused dial would be told
	// Toxiproxy leaves a half of each link that a toxic has broken off.
	goleak.VerifyTestMain(services.Main(m), goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// partitions are few, so that each gets many records.
const partitions = 8

// world is a Redis, a ledger, and what should be in it when all is read.
type world struct {
	testing.TB
	url    string
	rdb    redis.UniversalClient
	store  *balance.Store
	ledger *ledger.Ledger

	mu       sync.Mutex
	accounts []string
	seq      int64
	wanted   map[uuid.UUID]authz.Record // of each call the record that counts
	refused  map[string]bool            // texts that the ledger cannot take
}

// world makes one on a Redis and a ledger, with some accounts.
func newWorld(t testing.TB, url string, l *ledger.Ledger) *world {
	t.Helper()
	w := &world{TB: t, url: url, ledger: l, wanted: map[uuid.UUID]authz.Record{}, refused: map[string]bool{}}
	w.rdb = w.dial()
	var err error
	w.store, err = balance.New(w.rdb, balance.Config{Partitions: partitions, Timeout: patience}, nil)
	must(t, err)
	t.Cleanup(w.store.Close)
	for i := range 12 {
		a := authz.Account{ID: fmt.Sprintf("acct-%d", i), Company: "Your Company", Status: authz.Active, Currency: "EUR", Tariff: "default",
			Language: "nl", TimeZone: "Europe/Amsterdam"}
		if _, _, err := l.CreateAccount(context.Background(), a); err != nil {
			t.Fatal(err)
		}
		w.accounts = append(w.accounts, a.ID)
	}
	return w
}

func (w *world) dial() redis.UniversalClient {
	w.Helper()
	c, err := balance.Dial(balance.DialConfig{URL: w.url, Timeout: 5 * time.Second})
	must(w, err)
	w.Cleanup(func() { _ = c.Close() }) // only fails when closed before
	return c
}

func onPostgres(t testing.TB, url string) *ledger.Ledger {
	t.Helper()
	l, err := postgres.Open(context.Background(), postgres.Config{URL: url, ConnectTimeout: time.Second})
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	must(t, l.Migrate(context.Background()))
	return l
}

func cluster(t testing.TB) string {
	t.Helper()
	return "redis+cluster://" + strings.Join(services.RedisCluster(t).Addrs, ",")
}

// stream is that of an account.
func (w *world) stream(account string) string { return w.store.OutboxKey(w.store.PartitionOf(account)) }

// text writes a record as the balance store's scripts do.
func text(r *authz.Record) string {
	c := authz.Call{UID: r.UID, CreatedAt: r.CreatedAt, ExpiresAt: r.CreatedAt, Hash: "h", Price: r.Price, Detail: r.Detail}
	return string(c.AppendTail(fmt.Appendf(nil, "%c\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%d\t%s\t%s\t", byte(r.State), r.Seq, r.At, r.AnsweredAt,
		r.TalkMS, r.Units, r.Micros, r.ExtraUnits, r.ExtraMicros, r.Overrun, r.Flags, r.Reason, r.Epoch, r.Account, r.Key)))
}

// settled makes a settled call of an account.
func (w *world) settled(account string) authz.Record {
	w.mu.Lock()
	w.seq++
	seq := w.seq
	w.mu.Unlock()
	uid := uuid.Must(uuid.NewV7())
	seconds := 1 + rand.Int64N(600)
	now := time.Now().UnixMilli()
	return authz.Record{State: authz.StateSettled, Account: account, UID: uid, Seq: seq, Epoch: 1,
		Key: authz.Key{Switch: "sbc-1", Direction: authz.Outbound, CallID: uid.String()}, At: now, AnsweredAt: now - 1000*seconds, TalkMS: 1000 * seconds,
		Units: credit.Units(1000 * seconds), Micros: credit.Micros(seconds * 70_000 / 60), Reason: "16", CreatedAt: now - 1000*seconds - 3000,
		Price:  tariff.Price{Rate: credit.PerCredit, MicrosRate: 70_000, Initial: 1, Step: 1, CreditPrice: 70_000},
		Detail: authz.Detail{From: "+31850835037", To: "+31201234567", Mode: "byok", Tariff: "default@1", Prefix: "31", Currency: "EUR"}}
}

// lost is the record that a call had before it was settled.
func lost(r authz.Record) authz.Record {
	r.State, r.TalkMS = authz.StateLost, r.TalkMS/2/1000*1000
	r.Units, r.Micros = credit.Units(r.TalkMS), credit.Micros(r.TalkMS/1000*70_000/60)
	return r
}

func released(r authz.Record) authz.Record {
	r.State, r.AnsweredAt, r.TalkMS, r.Units, r.Micros, r.Reason = authz.StateReleased, 0, 0, 0, 0, "expired"
	return r
}

// put appends records to the outbox, where they wait for the ledger.
func (w *world) put(records ...authz.Record) {
	w.Helper()
	pipe := w.rdb.Pipeline()
	for i := range records {
		r := &records[i]
		pipe.XAdd(context.Background(), &redis.XAddArgs{Stream: w.stream(r.Account), Values: []string{"r", text(r)}})
		w.mu.Lock()
		if old, known := w.wanted[r.UID]; !known || old.State.Rank() < r.State.Rank() {
			w.wanted[r.UID] = *r
		}
		w.mu.Unlock()
	}
	if _, err := pipe.Exec(context.Background()); err != nil {
		w.Error(err)
	}
}

// some makes settled calls of accounts at random.
func (w *world) some(n int) []authz.Record {
	out := make([]authz.Record, n)
	for i := range out {
		out[i] = w.settled(w.accounts[rand.IntN(len(w.accounts))])
	}
	return out
}

// junk appends what no ledger can take.
func (w *world) junk(stream, raw string) {
	w.Helper()
	must(w, w.rdb.XAdd(context.Background(), &redis.XAddArgs{Stream: stream, Values: []string{"r", raw}}).Err())
	w.refused[raw] = true
}

// taker is a ledger as the Reader sees it, with something done before or after.
type taker struct {
	*ledger.Ledger
	before, after func(ctx context.Context, records []authz.Record) error
}

func (l taker) Ingest(ctx context.Context, records []authz.Record, then ...ledger.Then) ([]ledger.Result, error) {
	if l.before != nil {
		if err := l.before(ctx, records); err != nil {
			return nil, err
		}
	}
	res, err := l.Ledger.Ingest(ctx, records, then...)
	if err == nil && l.after != nil {
		err = l.after(ctx, records)
	}
	return res, err
}

// sidecar is a running Reader.
type sidecar struct {
	*outbox.Reader
	w    *world
	end  func()
	name string
}

const lease = 600 * time.Millisecond

// sidecar runs a Reader until the test ends or it is told to die.
func (w *world) sidecar(name string, mods ...func(*outbox.Config)) *sidecar {
	return w.sidecarOn(name, w.ledger, mods...)
}

func (w *world) sidecarOn(name string, l outbox.Ledger, mods ...func(*outbox.Config)) *sidecar {
	w.Helper()
	rdb := w.dial()
	store, err := balance.New(rdb, balance.Config{Partitions: partitions, Timeout: 5 * time.Second}, nil)
	must(w, err)
	w.Cleanup(store.Close)
	epoch, err := store.Register(context.Background(), name, time.Now().Add(lease).UnixMilli())
	must(w, err)
	cfg := outbox.Config{Holder: name, Epoch: func() int64 { return epoch }, Poll: 20 * time.Millisecond, Lease: lease, Commit: 10 * time.Second, Batch: 50, Most: 120}
	for p := range partitions {
		cfg.Streams = append(cfg.Streams, store.OutboxKey(p))
	}
	for _, m := range mods {
		m(&cfg)
	}
	s := &sidecar{Reader: outbox.New(cfg, rdb, l, store, slog.New(slog.DiscardHandler), nil), w: w, name: name}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	wg.Go(func() { // it is alive
		t := time.NewTicker(lease / 4)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				_ = store.Renew(ctx, name, epoch, time.Now().Add(lease).UnixMilli()) // Redis may be away
			case <-ctx.Done():
				return
			}
		}
	})
	s.end = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	w.Cleanup(s.end)
	return s
}

// empty waits until nothing is in the outbox any more.
func (w *world) empty() {
	w.Helper()
	services.Eventually(w, patience, func() error {
		n, err := w.store.OutboxLen(context.Background())
		if err == nil && n > 0 {
			err = fmt.Errorf("%d records wait", n)
		}
		return err
	})
	for p := range partitions {
		left, err := w.rdb.XPending(context.Background(), w.store.OutboxKey(p), "ledger").Result()
		if err != nil && !redis.HasErrorPrefix(err, "NOGROUP") {
			w.Fatal(err)
		}
		if err == nil && left.Count > 0 {
			w.Errorf("partition %d: %d entries are pending for ever", p, left.Count)
		}
	}
}

// once checks that every call is in the ledger exactly as it should, the sums
// with it, and that what was refused is kept.
func (w *world) once() {
	w.Helper()
	ctx := context.Background()
	w.empty()
	want := map[string]credit.Units{}
	calls := map[string]int64{}
	for _, r := range w.wanted {
		want[r.Account] += r.Charged()
		calls[r.Account]++
	}
	for _, a := range w.accounts {
		t, err := w.ledger.Totals(ctx, a)
		must(w, err)
		if t.Settled != want[a] || t.Calls.Of() != calls[a] {
			w.Errorf("%s: %d calls for %d units are in the ledger, want %d for %d", a, t.Calls.Of(), t.Settled, calls[a], want[a])
		}
		wrong, err := w.ledger.Check(ctx, a)
		must(w, err)
		if len(wrong) > 0 {
			w.Errorf("%s: the sums are wrong: %+v", a, wrong)
		}
	}
	seen := map[uuid.UUID]bool{}
	must(w, w.ledger.Export(ctx, ledger.Selection{}, func(c ledger.Call) error {
		r, wanted := w.wanted[c.UID]
		if !wanted || seen[c.UID] || c.State != r.State || c.Units != r.Units || c.TalkMS != r.TalkMS {
			w.Errorf("the ledger has %+v, want %+v (twice: %v)", c.Record, r, seen[c.UID])
		}
		seen[c.UID] = true
		return nil
	}))
	page, total, err := w.ledger.RefusedRecords(ctx, 0, 1000)
	must(w, err)
	for _, r := range page {
		if !w.refused[string(r.Raw)] {
			w.Errorf("refused: %q: %s", r.Raw, r.Reason)
		}
	}
	if int(total) != len(w.refused) {
		w.Errorf("%d records are set aside, want %d", total, len(w.refused))
	}
}

// notice appends a notice, written as a record of a live call.
func (w *world) notice(r *authz.Record) {
	w.Helper()
	must(w, w.rdb.XAdd(context.Background(), &redis.XAddArgs{Stream: w.stream(r.Account), Values: []string{"r", text(r)}}).Err())
}
