package balance_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/deploy/services"
)

const (
	noon    = 1_767_268_800_000 // 2026-01-01T12:00:00Z
	newYear = 20260101
	minute  = credit.PerCredit // the base price: a minute is one credit, a second 1,000 units
	second  = credit.PerCredit / 60

	// patience is how long a test waits for what should take no time.
	patience = 20 * time.Second
)

// base is the default tariff: one credit (EUR 0.07) a minute, by the second.
var base = tariff.Price{Rate: credit.PerCredit, MicrosRate: 70_000, Initial: 1, Step: 1, CreditPrice: 70_000}

// backend is one way to run Redis. connect makes a client of its own each time,
// as another sidecar would have.
type backend struct {
	name     string
	embedded bool
	connect  func(testing.TB) redis.UniversalClient
}

// dial connects as the program does, but waits longer: the machine may be busy.
func dial(t testing.TB, url string) redis.UniversalClient {
	t.Helper()
	c, err := balance.Dial(balance.DialConfig{URL: url, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // only fails when closed before
	return c
}

func backendAt(name string, embedded bool, url string) backend {
	return backend{name: name, embedded: embedded, connect: func(t testing.TB) redis.UniversalClient { t.Helper(); return dial(t, url) }}
}

func on(s *services.RedisServer) backend { return backendAt("redis", false, s.URL) }

func onRedis(t testing.TB, opts ...services.Option) backend { return on(services.Redis(t, opts...)) }

func onMiniredis(t testing.TB) backend {
	return backendAt("miniredis", true, "redis://"+miniredis.RunT(t).Addr())
}

func onCluster(t testing.TB) backend {
	return backendAt("cluster", false, "redis+cluster://"+strings.Join(services.RedisCluster(t).Addrs, ","))
}

func onSentinel(t testing.TB) backend {
	s := services.Sentinel(t)
	return backendAt("sentinel", false, "redis+sentinel://"+strings.Join(s.Addrs, ",")+"/"+s.MasterName)
}

// store makes another sidecar's Store.
func (b backend) store(t testing.TB, cfg balance.Config) *balance.Store {
	t.Helper()
	cfg.Embedded, cfg.Timeout = b.embedded, max(cfg.Timeout, patience)
	s, err := balance.New(b.connect(t), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// rig is one account of its own on a backend, with a clock that only the test moves.
type rig struct {
	*testing.T
	*balance.Store
	backend backend
	rdb     redis.UniversalClient
	account string
	now     int64
	grants  int64
	ctx     context.Context
}

var rigs atomic.Int64

// newRig opens an account with 10 credits, and checks when the test ends that
// its books balance.
func newRig(t *testing.T, b backend, cfg balance.Config) *rig {
	t.Helper()
	cfg.Embedded, cfg.Timeout = b.embedded, max(cfg.Timeout, patience)
	r := &rig{T: t, backend: b, rdb: b.connect(t), now: noon, ctx: t.Context(),
		account: fmt.Sprintf("acct-%d-%s", rigs.Add(1), t.Name()[strings.LastIndexByte(t.Name(), '/')+1:])}
	store, err := balance.New(r.rdb, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Store = store
	t.Cleanup(r.Store.Close)
	r.must(r.OpenAccount(r.ctx, r.account, authz.Active, newYear))
	r.credit(10 * minute)
	t.Cleanup(func() {
		if !t.Failed() {
			r.ctx = context.WithoutCancel(r.ctx)
			r.balanced()
		}
	})
	return r
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// fails ends the test unless err is one of those wanted.
func (r *rig) fails(err error, want ...error) {
	r.Helper()
	for _, w := range want {
		if errors.Is(err, w) {
			return
		}
	}
	r.Fatalf("error %v, want %v", err, want)
}

// same ends the test unless got is want.
func same[T any](r *rig, what string, got, want T) {
	r.Helper()
	if d := cmp.Diff(want, got); d != "" {
		r.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

func (r *rig) credit(u credit.Units) {
	r.Helper()
	r.grants++
	applied, err := r.Grant(r.ctx, r.account, r.grants, u)
	r.must(err)
	same(r, "grant applied", applied, true)
}

func (r *rig) pass(seconds int64) { r.now += seconds * 1000 }

// key names a call of the test; the id is one that SIP would send.
func key(id string) authz.Key {
	return authz.Key{Switch: "sbc-1", Direction: authz.Outbound, CallID: id + "@10.0.0.1"}
}

func (r *rig) hold(id string, mods ...func(*authz.Hold)) *authz.Hold {
	uid, err := uuid.NewV7()
	r.must(err)
	h := &authz.Hold{Key: key(id), UID: uid, Account: r.account, Hash: "input-1", Now: r.now, Day: newYear, Epoch: 1,
		Price: base, MinSeconds: 1, SliceSeconds: 60, ExpiresAt: r.now + 240_000,
		Detail: authz.Detail{From: "+31850835037", To: "+31201234567", NumberID: "0194a3b2-7c11-7000-8000-0123456789ab",
			Mode: "byok", Tariff: "default@1", Prefix: "31", Currency: "EUR"}}
	for _, m := range mods {
		m(h)
	}
	return h
}

// authorized makes a hold and ends the test if it is refused.
func (r *rig) authorized(id string, mods ...func(*authz.Hold)) authz.Held {
	r.Helper()
	held := r.asked(id, mods...)
	if held.Denied != "" {
		r.Fatalf("authorize %s: denied %s", id, held.Denied)
	}
	return held
}

// asked authorizes and gives whatever the store said.
func (r *rig) asked(id string, mods ...func(*authz.Hold)) authz.Held {
	r.Helper()
	held, err := r.Authorize(r.ctx, r.hold(id, mods...))
	r.must(err)
	return held
}

func (r *rig) denied(want authz.Code, id string, mods ...func(*authz.Hold)) authz.Held {
	r.Helper()
	held := r.asked(id, mods...)
	if held.Denied != want {
		r.Fatalf("authorize %s: denied %q, want %q", id, held.Denied, want)
	}
	return held
}

func (r *rig) answer(id string, mods ...func(*authz.Answer)) (authz.Taken, error) {
	a := authz.Answer{Key: key(id), Account: r.account, Epoch: 1, Now: r.now, At: r.now, Day: newYear, SliceMS: 60_000}
	for _, m := range mods {
		m(&a)
	}
	return r.Answered(r.ctx, a)
}

func (r *rig) answered(id string, mods ...func(*authz.Answer)) authz.Taken {
	r.Helper()
	t, err := r.answer(id, mods...)
	r.must(err)
	return t
}

func (r *rig) extend(id string, untilSeconds int64, mods ...func(*authz.Extension)) authz.Extended {
	x := authz.Extension{Key: key(id), Account: r.account, Epoch: 1, Now: r.now, Day: newYear, UntilMS: untilSeconds * 1000, ProofAt: r.now}
	for _, m := range mods {
		m(&x)
	}
	return r.Extend(r.ctx, []authz.Extension{x})[0]
}

func (r *rig) end(id string, mods ...func(*authz.End)) (authz.Settlement, error) {
	e := authz.End{Key: key(id), Account: r.account, Now: r.now, ReceivedAt: r.now, EndedAt: r.now, Cause: "16", Day: newYear}
	for _, m := range mods {
		m(&e)
	}
	return r.Settle(r.ctx, e)
}

func (r *rig) settled(id string, mods ...func(*authz.End)) authz.Settlement {
	r.Helper()
	st, err := r.end(id, mods...)
	r.must(err)
	return st
}

func (r *rig) abandon(id string, mods ...func(*authz.Release)) (authz.Settlement, error) {
	e := authz.Release{Key: key(id), Account: r.account, Now: r.now, Reason: "abandoned"}
	for _, m := range mods {
		m(&e)
	}
	return r.Release(r.ctx, e)
}

func (r *rig) released(id string, mods ...func(*authz.Release)) authz.Settlement {
	r.Helper()
	st, err := r.abandon(id, mods...)
	r.must(err)
	return st
}

func (r *rig) call(id string) authz.Call {
	r.Helper()
	c, err := r.Call(r.ctx, r.account, key(id))
	r.must(err)
	return c
}

// state is a call's, and of one that is over, proof that it holds nothing.
func (r *rig) state(id string, want authz.State) {
	r.Helper()
	c := r.call(id)
	if c.State != want || c.State.Final() && c.Held != 0 {
		r.Fatalf("call %s is %s and holds %d, want %s", id, c.State, c.Held, want)
	}
}

// hash is the account's key.
func (r *rig) hash() string {
	return fmt.Sprintf("rf:{p%02d}:a:%s", balance.Partition(r.account, r.Partitions()), r.account)
}

func (r *rig) balance() authz.Balance {
	r.Helper()
	b, err := r.Balance(r.ctx, r.account)
	r.must(err)
	return b
}

// has checks the three amounts that a customer's money can be in.
func (r *rig) has(available, held, settled credit.Units) {
	r.Helper()
	b := r.balance()
	got := [3]credit.Units{b.Available, b.Held, b.Settled}
	same(r, "available, held, settled", got, [3]credit.Units{available, held, settled})
}

// balanced checks the account's books: conservation, holds and calls that add
// up, and an outbox that explains what was settled.
func (r *rig) balanced() authz.Balance {
	r.Helper()
	b := r.balance()
	if b.Available+b.Held+b.Settled != b.Granted {
		r.Fatalf("available %d + held %d + settled %d is not granted %d", b.Available, b.Held, b.Settled, b.Granted)
	}
	var held credit.Units
	var calls int64
	r.must(r.Calls(r.ctx, r.account, func(c authz.Call, err error) error {
		if err != nil || c.State == authz.StateMark {
			return err
		}
		if c.Held < 0 || c.State.Final() && c.Held != 0 {
			return fmt.Errorf("call %s is %s and holds %d", c.Key, c.State, c.Held)
		}
		held += c.Held
		if !c.State.Final() {
			calls++
		}
		return nil
	}))
	if held != b.Held || calls != b.Calls {
		r.Fatalf("%d calls hold %d, the account says %d and %d", calls, held, b.Calls, b.Held)
	}
	var sum credit.Units
	for _, rec := range ledger(r.records()) {
		sum += rec.Charged()
	}
	if sum != b.Settled {
		r.Fatalf("the outbox sums up to %d, settled are %d", sum, b.Settled)
	}
	return b
}

// records are the account's outbox entries in their order.
func (r *rig) records() []authz.Record {
	r.Helper()
	var recs []authz.Record
	for _, e := range r.entries() {
		recs = append(recs, e.record)
	}
	return recs
}

// entry is one of the account's in the outbox.
type entry struct {
	id, raw string
	record  authz.Record
}

func (r *rig) outbox() string { return r.OutboxKey(r.PartitionOf(r.account)) }

func (r *rig) entries() (mine []entry) {
	r.Helper()
	all, err := r.rdb.XRange(r.ctx, r.outbox(), "-", "+").Result()
	r.must(err)
	for _, e := range all {
		text, _ := e.Values["r"].(string)
		if authz.IsNotice(text) {
			continue
		}
		rec, err := authz.ParseRecord(text)
		if err != nil {
			r.Fatalf("outbox entry %q: %v", text, err)
		}
		if rec.Account == r.account {
			mine = append(mine, entry{e.ID, text, rec})
		}
	}
	return mine
}

// ledger keeps of each call the record that counts, as the durable ledger does.
func ledger(recs []authz.Record) map[uuid.UUID]authz.Record {
	kept := map[uuid.UUID]authz.Record{}
	for _, rec := range recs {
		if old, ok := kept[rec.UID]; !ok || rec.State.Rank() > old.State.Rank() {
			kept[rec.UID] = rec
		}
	}
	return kept
}
