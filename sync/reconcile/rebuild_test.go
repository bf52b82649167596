package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/reconcile"
)

// talked makes a call of so many seconds, and ends it.
func (s *sidecar) talked(account string, seconds int) *call {
	s.w.Helper()
	c := s.live(account)
	s.w.pass(time.Duration(seconds) * time.Second)
	c.ended = s.w.now()
	must(s.w, s.end(c))
	return c
}

// live makes a call that goes on.
func (s *sidecar) live(account string) *call {
	s.w.Helper()
	c := s.w.newCall(account)
	denied, err := s.authorize(c)
	must(s.w, err)
	if denied != "" {
		s.w.Fatalf("%s was denied: %s", c.key, denied)
	}
	must(s.w, s.answer(c))
	return c
}

// flushed empties Redis.
func (w *world) flushed() {
	w.Helper()
	must(w, w.rdb.FlushAll(ctx).Err())
}

func equal[T comparable](t fataler, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// Two sidecars find Redis empty at the same moment. Each account is written once, each sidecar's calls come back.
func TestTwoRebuildAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, services.Redis(t).URL, sqlitetest.Open(t), 2)
	one, two := w.sidecars[0], w.sidecars[1]
	var accounts []string
	for i := range 20 {
		accounts = append(accounts, w.account(fmt.Sprintf("acct-%d", i), 10*minute))
	}
	live := map[string]*call{}
	for i, id := range accounts {
		w.sidecars[i%2].talked(id, 30)
		live[id] = w.sidecars[(i+1)%2].live(id)
	}
	w.drained(t)
	w.flushed()
	var wg sync.WaitGroup
	for _, s := range w.sidecars {
		wg.Go(func() {
			for range 3 {
				if err := s.rebuilder.Look(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	must(t, one.putBack())
	must(t, two.putBack())
	for i, id := range accounts {
		b := w.conserved(t, id, 30*second)
		equal(t, id+" holds", b.Held, minute)
		c := live[id]
		w.pass(10 * time.Second)
		c.ended = w.now()
		must(t, w.sidecars[i%2].end(c)) // at the other one
		w.conserved(t, id, 30*second+c.cost())
	}
	if n := strings.Count(one.log.String()+two.log.String(), "Redis rebuilt from the ledger"); n == 0 {
		t.Error("the log does not tell of the rebuild")
	}
}

// Accounts are rebuilt again and again while calls come and go: nothing is lost, nothing doubled.
func TestRebuildUnderLoad(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(testing.TB) *ledger.Ledger{"SQLite": sqlitetest.Open, "Postgres": onPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, services.Redis(t).URL, open(t), 2)
			id := w.account("acct", 1000*minute)
			stop := make(chan struct{})
			var wg sync.WaitGroup
			var mu sync.Mutex
			var charged credit.Units
			var ended int
			for i := range 4 {
				s := w.sidecars[i%2]
				wg.Go(func() {
					for running := true; running; {
						select {
						case <-stop:
							running = false
						default:
						}
						c := w.newCall(id)
						if denied, err := s.authorize(c); err != nil || denied != "" {
							continue // shut for a moment: it would go by the failure policy
						}
						eventually(t, func() error { return s.answer(c) })
						w.pass(time.Millisecond)
						c.ended = c.answered + 1 + w.calls.Load()%5*1000
						eventually(t, func() error { return w.sidecars[(i+1)%2].end(c) })
						mu.Lock()
						charged += c.cost()
						ended++
						mu.Unlock()
					}
				})
			}
			for i := range 8 {
				s := w.sidecars[i%2]
				eventually(t, func() error { // a busy machine may need longer than an account is shut
					done, err := s.rebuilder.Repair(ctx, id)
					if err == nil && !done {
						err = errors.New("not repaired")
					}
					return err
				})
			}
			close(stop)
			wg.Wait()
			w.conserved(t, id, charged)
			t.Logf("%d calls in 8 rebuilds", ended)
			if ended < 100 {
				t.Error("too few calls: the test proves little")
			}
		})
	}
}

// eventually tries until it works.
func eventually(t fataler, step func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := step()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("not within %v: %v", patience, err)
			return
		}
		<-time.After(time.Millisecond)
	}
}

// A ledger that is away shuts nothing: Redis may have gone back or not, calls go on.
func TestLedgerAwayShutsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, services.Redis(t).URL, sqlitetest.Open(t), 1, func(c *reconcile.Config) { c.Drain, c.Shut = time.Second, time.Second })
	s := w.sidecars[0]
	id := w.account("acct", 10*minute)
	w.otherProcess()
	w.ledger.away.Store(true)
	s.talked(id, 10)
	if err := s.rebuilder.Look(ctx); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("look: %v", err)
	}
	if _, err := s.rebuilder.Repair(ctx, id); err == nil {
		t.Error("repaired without a ledger")
	}
	s.talked(id, 10) // it is not shut
	w.ledger.away.Store(false)
	eventually(t, func() error { return s.rebuilder.Look(ctx) }) // the outbox is read again in a moment
	b := w.conserved(t, id, 20*second)
	if b.Seq < time.Now().Add(-time.Hour).UnixMicro() {
		t.Errorf("seq %d: the account was not rebuilt", b.Seq)
	}
}

// The rebuilder dies when the account is shut: the next one goes on from there.
func TestRebuilderDiesInTheMiddle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, services.Redis(t).URL, sqlitetest.Open(t), 2)
	s := w.sidecars[1]
	id := w.account("acct", 10*minute)
	live := s.live(id)
	token, err := w.store.BeginRebuild(ctx, w.store.PartitionOf(id))
	must(t, err)
	shut, err := w.store.Shut(ctx, id, token)
	must(t, err)
	equal(t, "shut", shut, true)
	if _, err := s.authorize(w.newCall(id)); !errors.Is(err, authz.ErrLost) {
		t.Errorf("a call of an account that is shut: %v", err)
	}
	s.rebuilder.Lost(id) // as every such call says
	must(t, s.rebuilder.Look(ctx))
	b := w.conserved(t, id, 0)
	equal(t, "held", b.Held, minute)
	w.pass(20 * time.Second)
	live.ended = w.now()
	must(t, s.end(live))
	w.conserved(t, id, 20*second)
	if err := w.store.Reopen(ctx, id, token); !errors.Is(err, authz.ErrFenced) { // it was not dead at all
		t.Errorf("reopened by a rebuilder that was followed: %v", err)
	}
}

// What the ledger does not take in cannot be summed up: the account opens again as it was.
func TestOutboxThatStandsStill(t *testing.T) {
	t.Parallel()
	w := newWorld(t, services.Redis(t).URL, sqlitetest.Open(t), 0)
	now := time.Now()
	for p := range partitions { // another sidecar has the leases, and does nothing
		ok, err := w.store.Lease(ctx, fmt.Sprintf("outbox:%02d", p), "lazy", now.UnixMilli(), now.Add(time.Hour).UnixMilli())
		must(t, err)
		equal(t, "leased", ok, true)
	}
	s := w.sidecar("sidecar", 1, func(c *reconcile.Config) { c.Drain, c.Shut = 200*time.Millisecond, 200*time.Millisecond })
	w.sidecars = append(w.sidecars, s)
	id := w.account("acct", 10*minute)
	s.talked(id, 1)
	before, err := w.store.Balance(ctx, id)
	must(t, err)
	if _, err := s.rebuilder.Repair(ctx, id); err == nil {
		t.Fatal("rebuilt although records wait")
	}
	after, err := w.store.Balance(ctx, id)
	must(t, err)
	equal(t, "balance", after, before)
	f, err := s.comparer.Account(ctx, id, reconcile.Options{})
	must(t, err)
	equal(t, "busy", f.Busy, true)
}

// New calls wait until every sidecar has had time to put back what it knows; what goes on goes on.
func TestGrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, services.Redis(t).URL, sqlitetest.Open(t), 1, func(c *reconcile.Config) { c.Grace = time.Hour })
	w.clock.Store(time.Now().UnixMilli())
	s := w.sidecars[0]
	id := w.account("acct", 10*minute)
	live := s.live(id)
	w.flushed()
	must(t, s.rebuilder.Look(ctx))
	if _, err := s.authorize(w.newCall(id)); !errors.Is(err, authz.ErrLost) {
		t.Errorf("a new call in the time of grace: %v", err)
	}
	must(t, s.putBack())
	must(t, s.extend(live))
	// One that the failure policy let go is taken in.
	_, err := w.store.Adopt(ctx, &authz.Hold{Key: w.newCall(id).key, UID: live.uid, Account: id, Hash: "h", Now: w.now(), Day: day(w.now()), Epoch: 1, Price: base,
		SliceSeconds: 60, ExpiresAt: w.now() + 1000, Flags: authz.Flags("").With(authz.FlagUnchecked)})
	must(t, err)
	w.pass(5 * time.Second)
	live.ended = w.now()
	must(t, s.end(live))
	b := w.conserved(t, id, 5*second)
	equal(t, "suspended", b.Suspended, false)
	w.pass(time.Hour)
	s.live(id)
}

// A status and a time zone that nobody knows, calls of the day, an account without credit, one suspended.
func TestRebuiltAsTheLedgerSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, services.Redis(t).URL, sqlitetest.Open(t), 1)
	w.clock.Store(time.Now().UnixMilli())
	s := w.sidecars[0]
	spent, poor, shut := w.account("spent", 10*minute), w.account("poor", 0), w.account("shut", minute)
	s.talked(spent, 60)
	w.grant(poor, -20)
	_, _, err := w.ledger.UpdateAccount(ctx, shut, func(a *authz.Account) error { a.Status = authz.Suspended; return nil })
	must(t, err)
	w.drained(t)
	w.flushed()
	n, err := s.rebuilder.All(ctx, nil)
	must(t, err)
	equal(t, "rebuilt", n, 3)
	b := w.conserved(t, spent, minute)
	if today := day(time.Now().UnixMilli()); b.SpentDay != minute || b.Day != today {
		t.Errorf("%d units were spent on %d, want a minute on %d", b.SpentDay, b.Day, today)
	}
	equal(t, "poor", w.conserved(t, poor, 0).Available, -20)
	equal(t, "suspended", w.conserved(t, shut, 0).Suspended, true)
	n, err = s.rebuilder.All(ctx, func(done, of int, _ string) { equal(t, "of", of, 3) })
	must(t, err)
	equal(t, "rebuilt", n, 0)
}

// A call that the ledger has as lost is settled by its end, told after Redis was rebuilt: the difference is charged.
func TestLossIsSettledAfterARebuild(t *testing.T) {
	t.Parallel()
	w := newWorld(t, services.Redis(t).URL, sqlitetest.Open(t), 2)
	s := w.sidecars[0]
	id := w.account("acct", 10*minute)
	c := s.live(id)
	w.pass(10 * time.Second)
	must(t, s.extend(c))
	must(t, s.lose(c))
	w.conserved(t, id, 10*second)
	w.flushed()
	must(t, s.rebuilder.Look(ctx))
	w.pass(10 * time.Second)
	c.ended = w.now()
	must(t, w.sidecars[1].end(c))
	w.conserved(t, id, 20*second)
	must(t, w.sidecars[1].end(c)) // told again
	w.conserved(t, id, 20*second)
	row, err := w.ledger.Call(ctx, c.uid)
	must(t, err)
	if row.State != authz.StateSettled || row.Detail.From == "" {
		t.Errorf("the ledger has %+v", row)
	}
}

// A sidecar does not know that a call of its ended elsewhere, when Redis loses everything: the call stays over.
func TestEndedElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, services.Redis(t).URL, sqlitetest.Open(t), 2)
	owner, other := w.sidecars[0], w.sidecars[1]
	id := w.account("acct", 10*minute)
	c := owner.live(id)
	w.pass(5 * time.Second)
	c.ended = w.now()
	must(t, other.end(c))
	w.drained(t)
	w.flushed()
	must(t, owner.rebuilder.Look(ctx))
	must(t, owner.putBack())
	if _, known := owner.known(c.key); known {
		t.Error("the owner still thinks that it lives")
	}
	equal(t, "held", w.conserved(t, id, 5*second).Held, 0)
}

// The charge and its record are lost together, before the ledger had them; so is a second Redis right afterwards.
func TestChargeLostTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, services.Redis(t).URL, sqlitetest.Open(t), 1)
	s := w.sidecars[0]
	id := w.account("acct", 10*minute)
	w.drained(t)
	w.ledger.full.Store(true)
	s.talked(id, 42)
	for range 2 {
		w.flushed()
		must(t, s.rebuilder.Look(ctx))
		b, err := w.store.Balance(ctx, id)
		must(t, err)
		equal(t, "settled", b.Settled, 0)
		must(t, s.putBack())
	}
	w.ledger.full.Store(false)
	w.conserved(t, id, 42*second)
	equal(t, "charged again", strings.Count(s.log.String(), "call charged again"), 2)
}

// A failover in the middle of a rebuild: the partition is not taken for filled.
func TestFailoverInTheMiddle(t *testing.T) {
	t.Parallel()
	server := services.Redis(t, services.AppendAlways())
	w := newWorld(t, server.URL, sqlitetest.Open(t), 1)
	s := w.sidecars[0]
	id := w.account("acct", 10*minute)
	p := w.store.PartitionOf(id)
	token, err := w.store.BeginRebuild(ctx, p)
	must(t, err)
	server.Kill()
	server.Start()
	eventually(t, func() error { return w.rdb.Ping(ctx).Err() })
	if err := w.store.MarkFilled(ctx, p, token, 1); !errors.Is(err, authz.ErrFenced) {
		t.Errorf("marked by a rebuild of another process' time: %v", err)
	}
	fills, err := w.store.Filled(ctx)
	must(t, err)
	for p, f := range fills {
		equal(t, fmt.Sprint("partition ", p), f, authz.FillStale)
	}
	before, err := w.store.Balance(ctx, id)
	must(t, err)
	eventually(t, func() error { return s.rebuilder.Look(ctx) })
	fills, err = w.store.Filled(ctx)
	must(t, err)
	for p, f := range fills {
		equal(t, fmt.Sprint("partition ", p), f, authz.FillGood)
	}
	after := w.conserved(t, id, 0)
	if after.Seq <= before.Seq {
		t.Errorf("seq %d after %d: not rebuilt", after.Seq, before.Seq)
	}
}

// Run does all of this by itself, and stops when told.
func TestRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, services.Redis(t).URL, sqlitetest.Open(t), 2)
	s := w.sidecars[0]
	id := w.account("acct", 10*minute)
	s.talked(id, 10)
	w.drained(t)
	for _, s := range w.sidecars {
		s.start(s.rebuilder.Run)
		s.start(func(ctx context.Context) { s.comparer.Run(ctx, 20*time.Millisecond) })
	}
	back := func() {
		t.Helper()
		eventually(t, func() error { _, err := w.store.Balance(ctx, id); return err })
		w.conserved(t, id, 10*second)
	}
	w.flushed()
	back()
	must(t, w.rdb.Del(ctx, w.hash(id)).Err()) // nobody asks for it: the comparison finds it
	back()
	before, err := w.store.Balance(ctx, id)
	must(t, err)
	w.otherProcess()
	eventually(t, func() error {
		b, err := w.store.Balance(ctx, id)
		if err == nil && b.Seq <= before.Seq {
			err = errors.New("not rebuilt")
		}
		return err
	})
	back()
}
