package directory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/deploy/services"
)

// sidecar is a directory on a Redis that others share.
type sidecar struct {
	*Directory
	r    *Redis
	stop func()
}

func start(t testing.TB, rdb redis.UniversalClient, options ...RedisOption) *sidecar {
	return startWith(t, rdb, Config{Poll: 20 * time.Millisecond}, options...)
}

func startWith(t testing.TB, rdb redis.UniversalClient, cfg Config, options ...RedisOption) *sidecar {
	r := newRedis(t, rdb, options...)
	cfg.Source, cfg.Mirror = r, r
	d := New(cfg)
	return &sidecar{Directory: d, r: r, stop: run(t, d)}
}

// revision is the ledger's last, which all tests share.
var revision atomic.Int64

func (s *sidecar) create(t testing.TB, a authz.Account) {
	t.Helper()
	if err := s.PutAccount(bounded(t), revision.Add(1), a); err != nil {
		t.Fatal(err)
	}
}

// fill mirrors a ledger that has just these accounts.
func (s *sidecar) fill(t testing.TB, accounts ...authz.Account) {
	t.Helper()
	var truth []Change
	for i := range accounts {
		truth = append(truth, Change{Kind: KindAccount, Key: accounts[i].ID, Rev: revision.Add(1), Account: &accounts[i]})
	}
	if err := s.r.Replace(bounded(t), func(context.Context) ([]Change, error) { return truth, nil }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "filled", func() bool { return s.Fresh() && len(s.Accounts("", 0)) == len(truth) })
}

func (s *sidecar) has(id string) func() bool {
	return func() bool { _, ok := s.Account(id); return ok }
}

// reached tells whether it has followed so many changes.
func (s *sidecar) reached(n int64) func() bool {
	return func() bool {
		s.Directory.state.Lock()
		defer s.Directory.state.Unlock()
		return s.pos.N == n
	}
}

func testFollow(t *testing.T, rdb redis.UniversalClient) {
	ctx := bounded(t)
	// The default interval, which must show a change within a second.
	a, b := startWith(t, rdb, Config{}), startWith(t, rdb, Config{})
	if a.Ready() {
		t.Error("ready although Redis holds nothing")
	}
	a.fill(t)
	a.create(t, account("acme"))
	if _, ok := a.Account("acme"); !ok {
		t.Error("where it was made, an account is known at once")
	}
	eventually(t, "b is ready", b.Ready)
	eventually(t, "b knows acme", b.has("acme"))

	changes := []struct {
		what  string
		make  func() error
		known func() bool
	}{
		{"a suspension", func() error {
			acct := account("acme")
			acct.Status = authz.Suspended
			return b.PutAccount(ctx, revision.Add(1), acct)
		}, func() bool { acct, _ := a.Account("acme"); return acct.Status == authz.Suspended }},
		{"a number", func() error {
			return b.PutNumber(ctx, revision.Add(1), number("+31850835037", "acme"))
		}, func() bool {
			n, ok := a.Number("+31850835037")
			return ok && n.Account == "acme" && a.NumberCount("acme") == 1
		}},
		{"a tariff", func() error {
			return b.PutTariff(ctx, revision.Add(1), table(t, halfPrice))
		}, func() bool { _, ok := a.Tariff("half"); return ok }},
		{"a number's removal", func() error {
			return b.DropNumber(ctx, revision.Add(1), "+31850835037")
		}, func() bool { _, ok := a.Number("+31850835037"); return !ok && a.NumberCount("acme") == 0 }},
	}
	for _, c := range changes {
		begin := time.Now()
		if err := c.make(); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		eventually(t, c.what, c.known)
		if took := time.Since(begin); took > time.Second {
			t.Errorf("%s was seen by the other sidecar after %v", c.what, took)
		}
	}
	eventually(t, "both follow", func() bool { return a.Fresh() && b.Fresh() })
}

func testGap(t *testing.T, rdb redis.UniversalClient) {
	a := start(t, rdb, KeepChanges(3))
	a.fill(t, account("acme"))
	b := start(t, rdb, KeepChanges(3))
	eventually(t, "b knows acme", b.has("acme"))
	b.stop()
	for i := range 20 {
		a.create(t, account(fmt.Sprint("new", i)))
	}
	// The same directory again, from where it stopped.
	run(t, b.Directory)
	eventually(t, "b knows the last", b.has("new19"))
	if n := len(b.Accounts("", 0)); n != 21 || !b.Fresh() {
		t.Errorf("b knows %d accounts, fresh %t", n, b.Fresh())
	}
}

func testManyChanges(t *testing.T, rdb redis.UniversalClient) {
	a := start(t, rdb)
	a.fill(t, account("acme"))
	b := start(t, rdb)
	eventually(t, "b knows acme", b.has("acme"))
	b.stop()
	ctx := bounded(t)
	const many = 2*changesAsked + 7
	for i := range many {
		n := number(fmt.Sprintf("+31850%06d", i), "acme")
		if err := a.PutNumber(ctx, int64(i+2), n); err != nil {
			t.Fatal(err)
		}
	}
	run(t, b.Directory)
	eventually(t, "b knows all numbers", func() bool { return b.NumberCount("acme") == many })
	page := b.Numbers("acme", "+31850000009", 2)
	if len(page) != 2 || page[0].E164 != "+31850000010" {
		t.Errorf("a page of numbers: %+v", page)
	}
	if all := b.Numbers("", "", 0); len(all) != many || all[0].E164 != "+31850000000" {
		t.Errorf("all numbers: %d", len(all))
	}
}

// A flushed Redis has lost the directory; nobody deleted it.
func testFlushed(t *testing.T, rdb redis.UniversalClient) {
	ctx := bounded(t)
	a := start(t, rdb)
	a.fill(t, account("acme"), account("beta"))
	empty(t, rdb)
	eventually(t, "it says so", func() bool { return strings.Contains(a.Status().Problem, "lost") })
	if _, ok := a.Account("acme"); !ok || !a.Ready() || a.Fresh() {
		t.Error("the directory must go on with what it knows, and not call it fresh")
	}
	wantErr(t, a.PutAccount(ctx, revision.Add(1), account("acme")), ErrLost, "")

	// A sidecar that starts now cannot tell a loss from a beginning, and another
	// one's directory outlives that.
	fresh := start(t, rdb)
	eventually(t, "the new one says why it is not ready", func() bool { return strings.Contains(fresh.Status().Problem, "ledger") })
	if fresh.Ready() {
		t.Error("ready although nothing is known")
	}
	// The durable truth fills Redis again.
	beta, delta := account("beta"), account("delta")
	truth := []Change{{Kind: KindAccount, Key: "beta", Rev: revision.Add(1), Account: &beta}, {Kind: KindAccount, Key: "delta", Rev: revision.Add(1), Account: &delta}}
	if err := a.r.Replace(ctx, func(context.Context) ([]Change, error) { return truth, nil }); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*sidecar{a, fresh} {
		eventually(t, "filled", func() bool {
			_, gone := s.Account("acme")
			return !gone && s.has("beta")() && s.has("delta")() && s.Fresh()
		})
	}
	if err := a.PutAccount(ctx, revision.Add(1), account("epsilon")); err != nil {
		t.Error(err)
	}
	eventually(t, "changes go on", fresh.has("epsilon"))
}

// A failover may lose the last writes: what is missing then was not deleted.
func testWentBack(t *testing.T, rdb redis.UniversalClient) {
	ctx := bounded(t)
	a := start(t, rdb)
	a.fill(t)
	a.create(t, account("acme"))
	eventually(t, "the first is followed", a.reached(1))
	n, err := rdb.HGet(ctx, keyMeta, "n").Result()
	if err != nil {
		t.Fatal(err)
	}
	a.create(t, account("late"))
	eventually(t, "the change is followed", a.reached(2))
	pipe := rdb.TxPipeline()
	pipe.HSet(ctx, keyMeta, "n", n)
	pipe.HDel(ctx, keyAccounts, "late")
	pipe.XDel(ctx, keyChanges, "2-0")
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it says so", func() bool { return strings.Contains(a.Status().Problem, "lost") })
	if !a.has("late")() || !a.has("acme")() {
		t.Error("both accounts must stay")
	}
}

func testMirrorOrder(t *testing.T, rdb redis.UniversalClient) {
	ctx := bounded(t)
	a := start(t, rdb)
	a.fill(t, account("acme"))
	then := revision.Add(30) - 30
	newer, older := account("acme"), account("acme")
	newer.Company, older.Company = "newer", "older"
	for _, c := range []struct {
		rev int64
		a   authz.Account
	}{{then + 20, newer}, {then + 10, older}, {then + 20, older}} {
		if err := a.PutAccount(ctx, c.rev, c.a); err != nil {
			t.Fatal(err)
		}
	}
	// A removal must not be undone by an older change that comes late.
	if err := errors.Join(a.DropNumber(ctx, then+30, "+31850835037"), a.PutNumber(ctx, then+29, number("+31850835037", "acme"))); err != nil {
		t.Fatal(err)
	}
	b := start(t, rdb)
	eventually(t, "loaded", b.Ready)
	for _, s := range []*sidecar{a, b} {
		got, _ := s.Account("acme")
		if _, back := s.Number("+31850835037"); got.Company != "newer" || back {
			t.Errorf("company %q, number back %t", got.Company, back)
		}
	}
}

func testReplaceRace(t *testing.T, rdb redis.UniversalClient) {
	ctx := bounded(t)
	a := start(t, rdb)
	a.fill(t, account("acme"))
	acme := account("acme")
	truth := []Change{{Kind: KindAccount, Key: "acme", Rev: 1, Account: &acme}}
	err := a.r.Replace(ctx, func(context.Context) ([]Change, error) {
		return truth, a.PutAccount(ctx, revision.Add(1), account("between"))
	})
	wantErr(t, err, ErrConflict, "meanwhile")
	err = a.r.Replace(ctx, func(ctx context.Context) ([]Change, error) {
		return truth, newRedis(t, rdb).Replace(ctx, func(context.Context) ([]Change, error) { return truth, nil })
	})
	wantErr(t, err, ErrConflict, "meanwhile")
	boom := errors.New("boom")
	if err := a.r.Replace(ctx, func(context.Context) ([]Change, error) { return nil, boom }); !errors.Is(err, boom) {
		t.Error(err)
	}
	// A change that cannot be mirrored, since Redis is empty, is noticed too.
	empty(t, rdb)
	err = a.r.Replace(ctx, func(context.Context) ([]Change, error) {
		wantErr(t, a.PutAccount(ctx, 10, account("between")), ErrLost, "")
		return truth, nil
	})
	wantErr(t, err, ErrConflict, "meanwhile")
	big := truth
	for i := range 2*stageCount + 1 {
		acct := account(fmt.Sprint("a", i))
		big = append(big, Change{Kind: KindAccount, Key: acct.ID, Rev: 1, Account: &acct})
	}
	if err := a.r.Replace(ctx, func(context.Context) ([]Change, error) { return big, nil }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all there", func() bool { return len(a.Accounts("", 0)) == len(big) })
}

// An entry that cannot be read is reported; what was known of it stays.
func testUnreadable(t *testing.T, rdb redis.UniversalClient) {
	ctx := bounded(t)
	a := start(t, rdb)
	a.fill(t, account("acme"), account("beta"))
	pipe := rdb.TxPipeline()
	pipe.HSet(ctx, keyAccounts, "acme", `{"rev":9,"value":{"id":"somebody"}}`)
	pipe.XAdd(ctx, &redis.XAddArgs{Stream: keyChanges, ID: "3-0", Values: []string{"kind", "account", "key", "acme"}})
	pipe.XAdd(ctx, &redis.XAddArgs{Stream: keyChanges, ID: "4-0", Values: []string{"kind", "of a later version", "key", "x"}})
	pipe.HSet(ctx, keyMeta, "n", 4)
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "passed over", a.reached(4))
	if got, ok := a.Account("acme"); !ok || got.Company != "Company acme" {
		t.Errorf("acme is %+v, %t", got, ok)
	}
	b := start(t, rdb)
	eventually(t, "a new sidecar loads the rest", b.has("beta"))
}

func TestSourceAway(t *testing.T) {
	s := services.Redis(t, services.AppendOnly())
	a := start(t, onRedis(t, s))
	a.fill(t, account("acme"))
	eventually(t, "fresh", a.Fresh)
	s.Kill()
	eventually(t, "not fresh", func() bool { return !a.Fresh() && strings.Contains(a.Status().Problem, "does not answer") })
	if !a.Ready() || !a.has("acme")() {
		t.Error("what was known must be served")
	}
	s.Start()
	eventually(t, "fresh again", a.Fresh)
	a.create(t, account("beta"))
}

// fake is a source that a test drives.
type fake struct {
	mu    sync.Mutex
	image Image
	err   error
	asked int
}

func (f *fake) Load(context.Context) (Image, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	return f.image, f.err
}

func (f *fake) Changes(_ context.Context, after Position) (Batch, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	return Batch{Next: after}, f.err
}

// next lets time pass with the source answering err, and tells how often it was asked.
func (f *fake) next(err error, pass time.Duration) int {
	f.mu.Lock()
	f.err, f.asked = err, 0
	f.mu.Unlock()
	<-time.After(pass)
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		acme := account("acme")
		src := &fake{image: Image{Position: Position{Gen: "g"}, Entries: []Change{{Kind: KindAccount, Key: "acme", Rev: 1, Account: &acme}}}}
		src.err = ErrUnavailable
		var log strings.Builder
		d := New(Config{Source: src, Log: slog.New(slog.NewTextHandler(&log, nil))})
		stop := run(t, d)
		if n := src.next(ErrUnavailable, 10*time.Second); d.Ready() || n < 8 || n > 20 {
			t.Errorf("ready %t, asked %d times in 10 s of silence", d.Ready(), n)
		}
		if src.next(nil, time.Second); !d.Ready() || !d.Fresh() {
			t.Error("not loaded a second after the source was back")
		}
		if n := src.next(nil, 10*time.Second); n < 48 || n > 52 {
			t.Errorf("asked %d times in 10 s, want one every 200 ms", n)
		}
		silent := fmt.Errorf("time-out: %w", ErrUnavailable)
		if src.next(silent, 2*time.Second); !d.Fresh() {
			t.Error("two seconds of silence are too short to doubt")
		}
		if src.next(silent, 2*time.Second); d.Fresh() || !d.Ready() {
			t.Error("after four seconds of silence it is not fresh, but ready")
		}
		stop()
		if n := strings.Count(log.String(), "level=WARN"); n != 2 {
			t.Errorf("%d warnings, want one for each time the source went silent:\n%s", n, &log)
		}
	})
}

func TestTariffResolved(t *testing.T) {
	ctx := t.Context()
	d := New(Config{})
	a, b := account("acme"), account("beta")
	a.Tariff, b.TimeZone = "half", "Mars/Olympus"
	if err := errors.Join(d.PutAccount(ctx, 1, a), d.PutAccount(ctx, 2, b)); err != nil {
		t.Fatal(err)
	}
	got, _ := d.Account("acme")
	if _, err := got.Table.Lookup(tariff.Outbound, "", "+31850835037"); !errors.Is(err, tariff.ErrNoRate) {
		t.Errorf("a tariff that is not known must have no rates, got %v", err)
	}
	if got.Location.String() != "Europe/Amsterdam" || got.TimeZone != "Europe/Amsterdam" {
		t.Errorf("location %v", got.Location)
	}
	if beta, _ := d.Account("beta"); beta.Location != time.UTC || beta.Table.ID() != DefaultTariff {
		t.Errorf("an unknown time zone must be UTC, got %v", beta.Location)
	}
	if err := errors.Join(d.PutTariff(ctx, 3, table(t, halfPrice)), d.PutTariff(ctx, 4, table(t, "id: default\nversion: 2\nrates: [{credits_per_minute: 2}]\n"))); err != nil {
		t.Fatal(err)
	}
	now, _ := d.Account("acme")
	if now.Table.ID() != "half" || now.TariffVersion() != "half@1" || got.Table.ID() == "half" {
		t.Errorf("the tariff's accounts must get its table, and what was given out must stay: %s", now.TariffVersion())
	}
	if beta, _ := d.Account("beta"); beta.TariffVersion() != "default@2" {
		t.Errorf("beta has %s", beta.TariffVersion())
	}
	var ids []string
	for _, table := range d.Tariffs() {
		ids = append(ids, table.ID())
	}
	if strings.Join(ids, " ") != "default half" {
		t.Errorf("tariffs %v", ids)
	}
}
