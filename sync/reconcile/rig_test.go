package reconcile_test

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
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
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite"
	"github.com/hmsovereign/ringfence/sync/outbox"
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

// world is a Redis and a ledger, with the sidecars that share them.
type world struct {
	testing.TB
	rdb      redis.UniversalClient
	url      string
	ledger   *ledger.Ledger
	store    *balance.Store // the test's own look
	sidecars []*sidecar
	clock    atomic.Int64 // Unix ms
	calls    atomic.Int64
}

func onSQLite(t testing.TB) *ledger.Ledger {
	t.Helper()
	l, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "ledger.db"))
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	must(t, l.Migrate(ctx))
	return l
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
	w := &world{TB: t, url: url, ledger: l}
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

// sidecar is what of a sidecar matters here: its store, the charges it keeps, the
// calls in its memory, a reader of the outbox, a rebuilder and a comparer.
type sidecar struct {
	*balance.Store
	w         *world
	name      string
	epoch     int64
	keeper    *outbox.Keeper
	rebuilder *reconcile.Rebuilder
	comparer  *reconcile.Comparer
	reader    *outbox.Reader
	log       *lines

	mu     sync.Mutex
	memory map[authz.Key]authz.Call
}

// lines keeps a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (w *world) sidecar(name string, epoch int64, mods ...func(*reconcile.Config)) *sidecar {
	w.Helper()
	s := &sidecar{w: w, name: name, epoch: epoch, memory: map[authz.Key]authz.Call{}, log: &lines{}}
	log := slog.New(slog.NewTextHandler(s.log, nil))
	s.keeper = outbox.NewKeeper(w.ledger, nil, log)
	rdb, store := w.connect(s.keeper.Retain)
	s.Store = store
	cfg := reconcile.Config{Holder: name, Every: 10 * time.Millisecond}
	for _, m := range mods {
		m(&cfg)
	}
	s.rebuilder = reconcile.NewRebuilder(cfg, w.ledger, store, log, nil)
	s.comparer = reconcile.NewComparer(w.ledger, store, s.rebuilder, log, nil)
	oc := outbox.Config{Holder: name, Epoch: func() int64 { return epoch }, Poll: 2 * time.Millisecond, Lease: time.Second, Late: s.rebuilder.Behind}
	for p := range partitions {
		oc.Streams = append(oc.Streams, store.OutboxKey(p))
	}
	s.reader = outbox.New(oc, rdb, w.ledger, store, log, nil)
	s.start(s.reader.Run)
	return s
}

// start runs something until the test ends; stop ends it before.
func (s *sidecar) start(run func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	s.w.Cleanup(stop)
	return stop
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

// call is one as its switch knows it.
type call struct {
	key             authz.Key
	account         string
	uid             uuid.UUID
	answered, ended int64
}

func (w *world) newCall(account string) *call {
	return &call{key: authz.Key{Switch: "sbc-1", Direction: authz.Outbound, CallID: fmt.Sprintf("call-%d@10.0.0.1", w.calls.Add(1))}, account: account}
}

func (c *call) cost() credit.Units { return base.Cost(c.ended - c.answered) }

func (s *sidecar) know(c authz.Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory[c.Key] = c
}

func (s *sidecar) forget(k authz.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.memory, k)
}

func (s *sidecar) known(k authz.Key) (authz.Call, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.memory[k]
	return c, ok
}

func (s *sidecar) calls() []authz.Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.memory))
}

// GoString is what a failed property shows.
func (s *sidecar) GoString() string { return s.name }

// GoString is what a failed property shows.
func (c *call) GoString() string { return c.key.CallID + " of " + c.account }

// authorize asks for a call; denied tells that it may not go.
func (s *sidecar) authorize(c *call) (denied authz.Code, err error) {
	uid := uuid.Must(uuid.NewV7())
	now := s.w.now()
	h := authz.Hold{Key: c.key, UID: uid, Account: c.account, Hash: "h", Now: now, Day: day(now), Epoch: s.epoch, Price: base, MinSeconds: 1,
		SliceSeconds: 60, ExpiresAt: now + 240_000, Detail: authz.Detail{From: "+31850835037", To: "+31201234567", Tariff: "default@1", Currency: "EUR"}}
	held, err := s.Authorize(ctx, &h)
	if err != nil || held.Denied != "" {
		return held.Denied, err
	}
	c.uid = held.UID
	s.know(authz.Call{Key: c.key, Account: c.account, UID: held.UID, State: authz.StateHeld, Epoch: s.epoch, Hash: h.Hash, Held: held.Units,
		UntilMS: held.UntilMS, CreatedAt: now, ExpiresAt: held.ExpiresAt, Price: base, Detail: h.Detail})
	return "", nil
}

// work does a step of a call as the meter does: what is unknown to Redis and
// known here is put back first. Errors: authz.ErrUnknownCall, ErrLost.
func (s *sidecar) work(k authz.Key, step func() error) error {
	err := step()
	if c, ok := s.known(k); ok && errors.Is(err, authz.ErrUnknownCall) {
		if err := s.restore(c); err != nil {
			return err
		}
		err = step()
	}
	return err
}

func (s *sidecar) answer(c *call) error {
	at := s.w.now()
	if c.answered != 0 {
		at = c.answered
	}
	return s.work(c.key, func() error {
		t, err := s.Answered(ctx, authz.Answer{Key: c.key, Account: c.account, Epoch: s.epoch, Now: at, At: at, Day: day(at), SliceMS: 60_000})
		if err == nil && t.Call.State == authz.StateLive {
			if t.Call.Epoch == s.epoch {
				s.know(t.Call)
			}
			c.answered = at
		}
		return err
	})
}

func (s *sidecar) extend(c *call) error {
	own, ok := s.known(c.key)
	if !ok {
		return nil
	}
	err := s.work(c.key, func() error {
		now := s.w.now()
		x := s.Extend(ctx, []authz.Extension{{Key: c.key, Account: c.account, Epoch: own.Epoch, Now: now, Day: day(now), UntilMS: own.UntilMS + 60_000, ProofAt: now}})[0]
		if x.Err == nil {
			own.UntilMS, own.Held, own.ProofAt = x.UntilMS, x.Units, now
			s.know(own)
		}
		return x.Err
	})
	if errors.Is(err, authz.ErrCallEnded) || errors.Is(err, authz.ErrFenced) {
		s.forget(c.key)
		return nil
	}
	return err
}

// end settles a call by its switch's stamps.
func (s *sidecar) end(c *call) error {
	answered := c.answered
	if answered == 0 {
		answered = -1
	}
	err := s.work(c.key, func() error {
		_, err := s.Settle(ctx, authz.End{Key: c.key, Account: c.account, Now: s.w.now(), ReceivedAt: s.w.now(), EndedAt: c.ended, AnsweredAt: answered, Cause: "16", Day: day(c.ended)})
		return err
	})
	if err == nil {
		s.forget(c.key)
	}
	return err
}

// lose settles a live call to its last proof.
func (s *sidecar) lose(c *call) error {
	return s.work(c.key, func() error {
		now := s.w.now()
		_, err := s.Settle(ctx, authz.End{Key: c.key, Account: c.account, Now: now, ReceivedAt: now, Cause: "heartbeat", Day: day(now), Lost: true})
		if err == nil {
			s.forget(c.key)
		}
		return err
	})
}

func (s *sidecar) release(c *call) error {
	return s.work(c.key, func() error {
		_, err := s.Release(ctx, authz.Release{Key: c.key, Account: c.account, Now: s.w.now(), Reason: "abandoned"})
		if err == nil {
			s.forget(c.key)
		}
		return err
	})
}

func (s *sidecar) restore(c authz.Call) error {
	known := c.Epoch
	c.Epoch = s.epoch
	epoch, err := s.Restore(ctx, c, known)
	switch {
	case errors.Is(err, authz.ErrCallEnded):
		s.forget(c.Key)
		return nil
	case err == nil && epoch == s.epoch:
		s.know(c)
	}
	return err
}

// putBack is what a sidecar does after a rebuild.
func (s *sidecar) putBack() error {
	var errs []error
	for _, c := range s.calls() {
		errs = append(errs, s.restore(c))
	}
	rebuilt, err := s.Rebuilt(ctx)
	errs = append(errs, err)
	for p, what := range rebuilt {
		ctx, cancel := context.WithTimeout(ctx, patience)
		_, err := s.keeper.Replay(ctx, s.Store, p, what, func(_ string, at int64) int64 { return day(at) })
		cancel()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
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
	pipe := w.rdb.TxPipeline()
	pipe.FlushAll(ctx)
	for k, v := range to {
		pipe.RestoreReplace(ctx, k, 0, v)
	}
	_, err := pipe.Exec(ctx)
	must(w, err)
	w.otherProcess()
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
