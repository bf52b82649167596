package reconcile_test

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	"github.com/hmsovereign/ringfence/sync/reconcile"
)

// patience bounds each wait for something that has no time of its own.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	balance.LogTo(slog.New(slog.DiscardHandler))
	flag.Parse()
	settings := map[string]string{"rapid.nofailfile": "true"} // a failed property prints its seed; files of it would only litter the tree
	if flag.Lookup("rapid.checks").Value.String() == "100" {
		settings["rapid.checks"] = "30" // each waits for the ledger many times
	}
	for name, value := range settings {
		if err := flag.Set(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(services.Main(m))
}

// fataler is a test, or one run of a property.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

func must(t fataler, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

const partitions = 4

// base is the default tariff: a second is 1,000 units.
var base = tariff.Price{Rate: credit.PerCredit, MicrosRate: 70_000, Initial: 1, Step: 1, CreditPrice: 70_000}

const (
	second = credit.PerCredit / 60
	minute = credit.PerCredit
)

var ctx = context.Background()

// book is a ledger that can be away.
type book struct {
	*ledger.Ledger
	away   atomic.Bool
	full   atomic.Bool // it answers, and takes nothing in
	spoilt atomic.Bool // one of its sums is not that of its rows
}

func (b *book) Check(ctx context.Context, account string) ([]ledger.Mismatch, error) {
	found, err := b.Ledger.Check(ctx, account)
	if b.spoilt.Load() {
		found = append(found, ledger.Mismatch{Account: account, Field: "settled_units", Kept: 10_000, Found: 9_000})
	}
	return found, err
}

func (b *book) err() error {
	if b.away.Load() {
		return ledger.ErrUnavailable
	}
	return nil
}

func (b *book) Ingest(ctx context.Context, records []authz.Record, then ...ledger.Then) ([]ledger.Result, error) {
	if err := b.err(); err != nil || b.full.Load() && len(records) > 0 {
		return nil, ledger.ErrUnavailable
	}
	return b.Ledger.Ingest(ctx, records, then...)
}

func (b *book) KnownCalls(ctx context.Context, uids []uuid.UUID) (map[uuid.UUID]authz.State, error) {
	if err := b.err(); err != nil {
		return nil, err
	}
	return b.Ledger.KnownCalls(ctx, uids)
}

func (b *book) Totals(ctx context.Context, account string) (ledger.Totals, error) {
	if err := b.err(); err != nil {
		return ledger.Totals{}, err
	}
	return b.Ledger.Totals(ctx, account)
}

func (b *book) EachTotals(ctx context.Context, fn func(ledger.Totals) error) error {
	if err := b.err(); err != nil {
		return err
	}
	return b.Ledger.EachTotals(ctx, fn)
}

// world is a Redis and a ledger, with the sidecars that share them.
type world struct {
	testing.TB
	rdb      redis.UniversalClient
	url      string
	ledger   *book
	store    *balance.Store // the test's own look
	sidecars []*sidecar
	clock    atomic.Int64 // Unix ms
	mu       sync.Mutex
	notes    map[string][]string
	calls    atomic.Int64
}

func onPostgres(t testing.TB) *ledger.Ledger {
	t.Helper()
	return openPostgres(t, services.SharedDatabase(t))
}

func openPostgres(t testing.TB, url string) *ledger.Ledger {
	t.Helper()
	l, err := postgres.Open(ctx, postgres.Config{URL: url, ConnectTimeout: time.Second})
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	must(t, l.Migrate(ctx))
	return l
}

// newWorld makes one with a few sidecars, whose partitions are marked as filled.
func newWorld(t testing.TB, url string, l *ledger.Ledger, sidecars int, mods ...func(*reconcile.Config)) *world {
	t.Helper()
	w := &world{TB: t, url: url, ledger: &book{Ledger: l}}
	w.clock.Store(time.Now().Add(-5 * time.Minute).UnixMilli())
	w.rdb, w.store = w.connect(nil)
	for i := range sidecars {
		w.sidecars = append(w.sidecars, w.sidecar(fmt.Sprintf("sidecar-%d", i), int64(i+1), mods...))
	}
	if sidecars > 0 {
		_, err := w.sidecars[0].rebuilder.All(ctx, nil)
		must(t, err)
	}
	return w
}

func (w *world) connect(retain func(string)) (redis.UniversalClient, *balance.Store) {
	w.Helper()
	rdb, err := balance.Dial(balance.DialConfig{URL: w.url, Timeout: 5 * time.Second})
	must(w, err)
	w.Cleanup(func() { _ = rdb.Close() })
	s, err := balance.New(rdb, balance.Config{Partitions: partitions, Timeout: 5 * time.Second, Retain: retain}, nil)
	must(w, err)
	w.Cleanup(s.Close)
	return rdb, s
}

// account opens an account with credit, in the ledger first.
func (w *world) account(id string, units credit.Units) string {
	w.Helper()
	_, _, err := w.ledger.CreateAccount(ctx, authz.Account{ID: id, Company: "Your Company", Status: authz.Active, Currency: "EUR", Tariff: "default",
		Language: "nl", TimeZone: "Europe/Amsterdam"})
	must(w, err)
	must(w, w.sidecars[0].rebuilder.Open(ctx, id))
	if units != 0 {
		w.grant(id, units)
	}
	return id
}

// grant records credit and has it applied.
func (w *world) grant(id string, units credit.Units) {
	w.Helper()
	_, _, err := w.ledger.AddGrant(ctx, authz.Grant{Account: id, Units: units, Kind: ledger.KindPurchase, Reference: uuid.NewString()})
	must(w, err)
	must(w, w.complete(id))
}

// complete applies the grants that Redis does not have yet.
func (w *world) complete(id string) error {
	b, err := w.store.Balance(ctx, id)
	if err != nil {
		return err
	}
	grants, err := w.ledger.Grants(ctx, id, b.GrantSeq, 0)
	if err != nil {
		return err
	}
	for _, g := range grants {
		if _, err := w.store.Grant(ctx, id, g.Number, g.Units); err != nil {
			return err
		}
	}
	return nil
}

// note remembers what happened, for the report of a failure.
func (w *world) note(k string, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.notes == nil {
		w.notes = map[string][]string{}
	}
	w.notes[k] = append(w.notes[k], fmt.Sprintf("%s: ", time.Now().Format("05.000"))+fmt.Sprintf(format, args...))
}

func (w *world) story(k authz.Key) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := append(slices.Clone(w.notes[k.String()]), w.notes[""]...)
	slices.Sort(all)
	return strings.Join(all, "\n")
}

func (w *world) now() int64 { return w.clock.Load() }

func (w *world) pass(d time.Duration) { w.clock.Add(d.Milliseconds()) }

func day(ms int64) int64 {
	loc, err := time.LoadLocation("Europe/Amsterdam")
	if err != nil {
		loc = time.UTC
	}
	y, m, d := time.UnixMilli(ms).In(loc).Date()
	return int64(y)*10000 + int64(m)*100 + int64(d)
}

// image is all of a Redis at one moment, as in an RDB file or a replica.
type image map[string]string

func (w *world) image() image {
	w.Helper()
	v, err := w.rdb.Eval(ctx, imageScript, nil).StringSlice()
	must(w, err)
	all := image{}
	for i := 0; i+1 < len(v); i += 2 {
		all[v[i]] = v[i+1]
	}
	return all
}

//go:embed testdata/image.lua
var imageScript string

// goBack makes Redis what it was; another process has loaded it.
func (w *world) goBack(to image) {
	w.Helper()
	w.restored(to)
	w.otherProcess()
}

// restored makes Redis what it was, and nothing tells.
func (w *world) restored(to image) {
	w.Helper()
	pipe := w.rdb.TxPipeline()
	pipe.FlushAll(ctx)
	for k, v := range to {
		pipe.RestoreReplace(ctx, k, 0, v)
	}
	_, err := pipe.Exec(ctx)
	must(w, err)
}

// otherProcess makes the partitions' marks those of another Redis process.
func (w *world) otherProcess() {
	w.Helper()
	for p := range partitions {
		key := fmt.Sprintf("rf:{p%02d}:filled", p)
		if n, err := w.rdb.Exists(ctx, key).Result(); err == nil && n == 1 {
			must(w, w.rdb.Set(ctx, key, "1 anotherprocess", 0).Err())
		}
	}
}

func (w *world) hash(account string) string {
	return fmt.Sprintf("rf:{p%02d}:a:%s", w.store.PartitionOf(account), account)
}

// drained waits until the ledger has all that is in the outbox.
func (w *world) drained(t fataler) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		n, err := w.store.OutboxLen(ctx)
		if err == nil && n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d records wait for the ledger: %v", n, err)
		}
		<-time.After(time.Millisecond)
	}
}

// conserved checks invariant 1 to the unit, with the outbox read to its end.
func (w *world) conserved(t fataler, account string, settled credit.Units) authz.Balance {
	t.Helper()
	w.drained(t)
	b, err := w.store.Balance(ctx, account)
	must(t, err)
	l, err := w.ledger.Totals(ctx, account)
	must(t, err)
	var held credit.Units
	var calls int64
	must(t, w.store.Calls(ctx, account, func(c authz.Call, err error) error {
		if err == nil && (c.State == authz.StateHeld || c.State == authz.StateLive) {
			held += c.Held
			calls++
		}
		return err
	}))
	if b.Granted != b.Available+b.Held+b.Settled || b.Held != held || b.Calls != calls {
		t.Errorf("%s: granted %d is not available %d + held %d (%d by its calls) + settled %d", account, b.Granted, b.Available, b.Held, held, b.Settled)
	}
	if b.Granted != l.Granted || b.GrantSeq != l.Grants {
		t.Errorf("%s: Redis was granted %d by %d grants, the ledger says %d by %d", account, b.Granted, b.GrantSeq, l.Granted, l.Grants)
	}
	if b.Settled != l.Settled || l.Settled != settled {
		t.Errorf("%s: settled are %d in Redis and %d in the ledger, want %d", account, b.Settled, l.Settled, settled)
	}
	wrong, err := w.ledger.Check(ctx, account)
	must(t, err)
	if len(wrong) > 0 {
		t.Errorf("%s: the ledger's sums are wrong: %+v", account, wrong)
	}
	return b
}
