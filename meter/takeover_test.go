package meter_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/meter"
)

// patience bounds what these tests wait for; nothing takes nearly as long.
const patience = 20 * time.Second

// sidecar is one of several on a real Redis, in real time: a slice is 2 s, a
// lease 3 s.
type sidecar struct {
	t    *testing.T
	m    *meter.Meter
	sw   *fakeSwitch
	done chan error
}

var dir = &book{accounts: map[string]*authz.Account{"acme": {ID: "acme", Currency: "EUR"}}}

func openAccount(t *testing.T, addr string, talk int64) *balance.Store {
	s := storeOn(t, addr)
	must(t, s.OpenAccount(t.Context(), "acme", authz.Active, 20260101))
	_, err := s.Grant(t.Context(), "acme", 1, credit.Units(talk)*second)
	must(t, err)
	return s
}

func storeOn(t *testing.T, addr string) *balance.Store {
	rdb := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{addr}, MaxRetries: -1, ContextTimeoutEnabled: true,
		ReadTimeout: time.Second, DialTimeout: time.Second})
	s, err := balance.New(rdb, balance.Config{Timeout: time.Second}, nil)
	must(t, err)
	t.Cleanup(func() {
		s.Close()
		_ = rdb.Close() // only fails when closed before
	})
	return s
}

// mortal is a store that a kill cuts off: what its sidecar does afterwards is
// what a dead process does.
type mortal struct {
	*balance.Store
	dead chan struct{}
}

func (m *mortal) Renew(ctx context.Context, name string, epoch, until int64) error {
	select {
	case <-m.dead:
		return authz.ErrDown
	default:
		return m.Store.Renew(ctx, name, epoch, until)
	}
}

func (m *mortal) Extend(ctx context.Context, xs []authz.Extension) []authz.Extended {
	select {
	case <-m.dead:
		out := make([]authz.Extended, len(xs))
		for i := range out {
			out[i].Err = authz.ErrDown
		}
		return out
	default:
		return m.Store.Extend(ctx, xs)
	}
}

func start(t *testing.T, name string, store meter.Store) *sidecar {
	cfg := meter.Config{Name: name, Lease: 3 * time.Second, Slice: 2 * time.Second, ExtendBefore: 800 * time.Millisecond, WarnBefore: -1,
		LostAfter: time.Minute}
	s := &sidecar{t: t, sw: &fakeSwitch{}, done: make(chan error, 1)}
	s.m = meter.New(cfg, store, dir, map[string]meter.Switch{"pbx": s.sw}, discard, meter.NewMetrics(prometheus.NewRegistry()))
	s.sw.bind(s.m)
	must(t, s.m.Register(t.Context()))
	ctx, stop := context.WithCancel(context.Background())
	go func() { s.done <- s.m.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-s.done
	})
	return s
}

// live makes an answered call at a sidecar and waits until the index has it.
func (s *sidecar) live(store *balance.Store, id string) {
	s.t.Helper()
	now := time.Now().UnixMilli()
	uid, err := uuid.NewV7()
	must(s.t, err)
	h := &authz.Hold{Key: key(id), UID: uid, Account: "acme", Hash: "h", Now: now, Day: 20260101, Epoch: s.m.Epoch(), Price: base,
		MinSeconds: 1, SliceSeconds: 2, ExpiresAt: now + 240_000, Detail: authz.Detail{From: "+31850835037", To: "+31201234567"}}
	held, err := store.Authorize(s.t.Context(), h)
	must(s.t, err)
	equal(s.t, "denied", held.Denied, "")
	s.m.Track(callOf(h, held), held)
	_, err = s.m.Event(s.t.Context(), authz.Event{Type: authz.EventAnswered, Key: h.Key})
	must(s.t, err)
	services.Eventually(s.t, patience, func() error {
		_, err := store.Find(s.t.Context(), h.Key)
		return err
	})
}

func (s *sidecar) owns(store *balance.Store, id string) func() error {
	return func() error {
		c, err := store.Call(s.t.Context(), "acme", key(id))
		if err == nil && (c.Epoch != s.m.Epoch() || s.m.Stats().Live != 1) {
			err = fmt.Errorf("owner %d, want %d; live %d", c.Epoch, s.m.Epoch(), s.m.Stats().Live)
		}
		return err
	}
}

// Debits go on after the sidecar is gone (cgrates 2354, 2220): a dead sidecar's
// call is taken over by another, goes on, and is settled once.
func TestAnotherSidecarTakesADeadOnesCallsOver(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	store := openAccount(t, server.Addr, 1000)
	dying := &mortal{store, make(chan struct{})}
	a, b := start(t, "a", dying), start(t, "b", storeOn(t, server.Addr))
	a.live(store, "c1")
	close(dying.dead)
	services.Eventually(t, patience, b.owns(store, "c1"))
	before, err := store.Call(t.Context(), "acme", key("c1"))
	must(t, err)
	services.Eventually(t, patience, func() error { // the new owner buys on
		c, err := store.Call(t.Context(), "acme", key("c1"))
		if err == nil && c.UntilMS <= before.UntilMS {
			err = fmt.Errorf("talk time bought: %d ms", c.UntilMS)
		}
		return err
	})
	res, err := b.m.Event(t.Context(), authz.Event{Type: authz.EventEnded, Key: key("c1")})
	must(t, err)
	equal(t, "state", res.State, authz.StateSettled)
	bal, err := store.Balance(t.Context(), "acme")
	must(t, err)
	equal(t, "held", bal.Held, 0)
	equal(t, "settled", bal.Settled, res.Settlement.Units)
	equal(t, "hung up by the dead one", a.sw.heard(), "")
}

func TestRestartedSidecarGoesOnWithItsCallsAtOnce(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	store := openAccount(t, server.Addr, 1000)
	old := start(t, "a", store)
	old.live(store, "c1")
	// The old incarnation was killed and did not give its lease up: to the new
	// one it looks as if it were still running.
	renewed := start(t, "a", storeOn(t, server.Addr))
	services.Eventually(t, patience, renewed.owns(store, "c1"))
	err := <-old.done
	old.done <- nil
	if !errors.Is(err, meter.ErrNameTaken) {
		t.Errorf("the old incarnation ended with %v", err)
	}
	_, err = renewed.m.Event(t.Context(), authz.Event{Type: authz.EventEnded, Key: key("c1")})
	must(t, err)
	services.Eventually(t, patience, func() error { // its place in the index is free again
		if _, err := store.Find(t.Context(), key("c1")); !errors.Is(err, authz.ErrUnknownCall) {
			return fmt.Errorf("still in the index: %v", err)
		}
		return nil
	})
}

// A load balancer sends the answer to another sidecar than the authorize: it
// owns the call from there.
func TestWhoHearsTheAnswerOwnsTheCall(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	store := openAccount(t, server.Addr, 1000)
	a, b := start(t, "a", store), start(t, "b", storeOn(t, server.Addr))
	now := time.Now().UnixMilli()
	h := &authz.Hold{Key: key("c1"), UID: uuid.New(), Account: "acme", Hash: "h", Now: now, Day: 20260101, Epoch: a.m.Epoch(), Price: base,
		MinSeconds: 1, SliceSeconds: 2, ExpiresAt: now + 240_000}
	held, err := store.Authorize(t.Context(), h)
	must(t, err)
	a.m.Track(callOf(h, held), held)
	_, err = b.m.Event(t.Context(), authz.Event{Type: authz.EventAnswered, Key: key("c1"), Account: "acme"})
	must(t, err)
	must(t, b.owns(store, "c1")())
	services.Eventually(t, patience, func() error { // the first forgets it at its next look
		if s := a.m.Stats(); s.Held+s.Live > 0 {
			return fmt.Errorf("still there: %+v", s)
		}
		return nil
	})
	must(t, b.owns(store, "c1")())
}

// Redis stands still, and comes back: what was let go meanwhile is adopted, ends
// are written in order, nothing twice.
func TestRedisPausedAndResumed(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	store := openAccount(t, server.Addr, 1000)
	a := start(t, "a", store)
	a.live(store, "c1")
	server.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
	defer cancel()
	res, err := a.m.Event(ctx, authz.Event{Type: authz.EventEnded, Key: key("c1")})
	must(t, err)
	equal(t, "end kept", res.Kept, true)
	now := time.Now().UnixMilli()
	a.m.TrackUnchecked(authz.Hold{Key: key("c2"), UID: uuid.New(), Account: "acme", Hash: "h", Now: now, Day: 20260101, Price: base,
		MinSeconds: 1, SliceSeconds: 2, ExpiresAt: now + 240_000, Flags: "u"})
	for _, typ := range []authz.EventType{authz.EventAnswered, authz.EventEnded} {
		res, err = a.m.Event(t.Context(), authz.Event{Type: typ, Key: key("c2")})
		must(t, err)
		equal(t, string(typ)+" kept", res.Kept, true)
	}
	server.Resume()
	services.Eventually(t, patience, func() error {
		if s := a.m.Stats(); s.Backlog > 0 || s.Live > 0 {
			return fmt.Errorf("not worked yet: %+v", s)
		}
		return nil
	})
	for _, id := range []string{"c1", "c2"} {
		c, err := store.Call(t.Context(), "acme", key(id))
		must(t, err)
		equal(t, id, c.State, authz.StateSettled)
	}
	n, err := store.OutboxLen(t.Context())
	must(t, err)
	equal(t, "records", n, 2)
}

// The same on a Redis Cluster: keys of accounts, of the index and of the
// sidecars lie on different nodes.
func TestTakeoverOnACluster(t *testing.T) {
	t.Parallel()
	cluster := services.RedisCluster(t)
	dial := func() *balance.Store {
		rdb := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: cluster.Addrs})
		s, err := balance.New(rdb, balance.Config{}, nil)
		must(t, err)
		t.Cleanup(func() {
			s.Close()
			_ = rdb.Close() // only fails when closed before
		})
		return s
	}
	store := dial()
	must(t, store.OpenAccount(t.Context(), "acme", authz.Active, 20260101))
	_, err := store.Grant(t.Context(), "acme", 1, 1000*second)
	must(t, err)
	dying := &mortal{store, make(chan struct{})}
	a, b := start(t, "a", dying), start(t, "b", dial())
	a.live(store, "c1")
	close(dying.dead)
	services.Eventually(t, patience, b.owns(store, "c1"))
	res, err := b.m.Event(t.Context(), authz.Event{Type: authz.EventEnded, Key: key("c1")})
	must(t, err)
	equal(t, "state", res.State, authz.StateSettled)
}
