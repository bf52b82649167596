package reconcile_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/reconcile"
)

var repairing = reconcile.Options{Repair: true, Rows: true}

// quick is a repair that waits for the sidecars only as long as the test's need.
func quick(c *reconcile.Config) { c.Replayed = 300 * time.Millisecond }

// compared is what a comparison finds now.
func (s *sidecar) compared(id string, opt reconcile.Options) reconcile.Finding {
	s.w.Helper()
	f, err := s.comparer.Account(ctx, id, opt)
	must(s.w, err)
	return f
}

func (w *world) inOrder(t fataler, s *sidecar, id string) {
	t.Helper()
	if f := s.compared(id, reconcile.Options{Rows: true}); !f.OK() {
		t.Errorf("not in order: %+v", f)
	}
}

// vanish takes the records that wait out of the outbox, and out of the readers' hands. The ledger must be full.
func (w *world) vanish() (texts []string) {
	w.Helper()
	for p := range partitions {
		all, err := w.rdb.XRange(ctx, w.store.OutboxKey(p), "-", "+").Result()
		must(w, err)
		for _, m := range all {
			texts = append(texts, fmt.Sprint(m.Values["r"]))
			must(w, w.rdb.XDel(ctx, w.store.OutboxKey(p), m.ID).Err())
		}
		eventually(w, func() error {
			left, err := w.rdb.XPending(ctx, w.store.OutboxKey(p), "ledger").Result()
			if err == nil && left.Count > 0 {
				err = fmt.Errorf("%d entries are in a reader's hands", left.Count)
			}
			return err
		})
	}
	return texts
}

// forgetful is a sidecar that keeps no record: as one that was killed and whose disk is gone.
func (w *world) forgetful(name string, mods ...func(*reconcile.Config)) *sidecar {
	w.Helper()
	s := w.sidecar(name, 9, mods...)
	_, s.Store = w.connect(nil)
	return s
}

// Something wrote to Redis by hand: it becomes what the ledger says, and nothing is written to the ledger.
func TestRepairOfRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t, services.Redis(t).URL, sqlitetest.Open(t), 1, quick)
	s := w.sidecars[0]
	id := w.account("acct", 10*minute)
	s.talked(id, 10)
	live := s.live(id)
	w.drained(t)
	books, err := w.rdb.HGet(ctx, w.hash(id), "books").Result()
	must(t, err)
	parts := strings.SplitN(books, " ", 2)
	must(t, w.rdb.HSet(ctx, w.hash(id), "books", "999000 "+parts[1]).Err())
	f := s.compared(id, repairing)
	equal(t, "drift", f.Drift, 999_000-(9*minute-10*second))
	if !f.Fixed || len(f.Entries) > 0 || len(f.Causes) == 0 {
		t.Errorf("repaired: %+v", f)
	}
	if !strings.Contains(s.log.String(), "account repaired: Redis is what the ledger says") || !strings.Contains(s.log.String(), "something else changed it") {
		t.Error("the log does not name the cause")
	}
	must(t, s.putBack())
	w.inOrder(t, s, id)
	w.pass(5 * time.Second)
	live.ended = w.now()
	must(t, s.end(live))
	w.conserved(t, id, 15*second)
}

// A charge's record is lost from the outbox while its sidecar still has it: it is charged again, once.
func TestRepairOfARecordThatASidecarHas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, services.Redis(t).URL, sqlitetest.Open(t), 1)
	s := w.sidecars[0]
	id := w.account("acct", 10*minute)
	w.drained(t)
	w.ledger.full.Store(true)
	c := s.talked(id, 42)
	equal(t, "records", len(w.vanish()), 1)
	w.ledger.full.Store(false)
	f := s.compared(id, reconcile.Options{})
	if f.Settled != 42*second || len(f.Causes) != 1 || f.Causes[0].Call != c.uid.String() || f.Causes[0].Units != 42*second {
		t.Errorf("found: %+v", f)
	}
	stop := s.start(s.watch)
	defer stop()
	f = s.compared(id, repairing)
	if !f.Fixed || len(f.Entries) > 0 {
		t.Errorf("repaired: %+v", f)
	}
	w.conserved(t, id, 42*second)
	w.inOrder(t, s, id)
}

// Its sidecar is gone, too: the ledger gets an adjusting entry that names the call, so that what was charged stays
// charged. Should the record come after all, the entry is taken back.
func TestRepairOfARecordThatNobodyHas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, services.Redis(t).URL, sqlitetest.Open(t), 1, quick)
	s := w.sidecars[0]
	id := w.account("acct", 10*minute)
	w.drained(t)
	w.ledger.full.Store(true)
	c := w.forgetful("gone").talked(id, 42)
	texts := w.vanish()
	w.ledger.full.Store(false)
	reference := "reconcile:" + c.uid.String() + ":settled"
	for i := range 2 {
		f := s.compared(id, repairing)
		if wanted := 1 - i; f.Fixed != (i == 0) || len(f.Entries) != wanted || wanted == 1 && f.Entries[0] != reference {
			t.Fatalf("repair %d: %+v", i, f)
		}
		must(t, w.complete(id))
	}
	b := w.conserved(t, id, 0)
	equal(t, "available", b.Available, 10*minute-42*second)
	grants, err := w.ledger.Grants(ctx, id, 1, 10)
	must(t, err)
	if len(grants) != 1 || grants[0].Kind != "adjustment" || grants[0].Units != -42*second || !strings.Contains(grants[0].Reason, c.key.String()) {
		t.Errorf("the entry is %+v", grants)
	}
	// The record turns up.
	must(t, w.rdb.XAdd(ctx, &redis.XAddArgs{Stream: w.store.OutboxKey(w.store.PartitionOf(id)), Values: []string{"r", texts[0]}}).Err())
	w.drained(t)
	eventually(t, func() error {
		if s.rebuilder.Asked() == 0 {
			return errors.New("a record that came late was not noticed")
		}
		return nil
	})
	must(t, s.rebuilder.Look(ctx))
	f := s.compared(id, repairing)
	equal(t, "adjusted twice", f.Twice, 1)
	if !f.Fixed || len(f.Entries) != 1 || f.Entries[0] != reference+":back" {
		t.Errorf("repaired: %+v", f)
	}
	must(t, w.complete(id))
	b = w.conserved(t, id, 42*second)
	equal(t, "available", b.Available, 10*minute-42*second)
	w.inOrder(t, s, id)
}

// A record that the ledger refuses: its charge is in Redis, and the comparison says where the record is. A rebuild is
// without it, until an operator has it tried again.
func TestRefusedRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t, services.Redis(t).URL, sqlitetest.Open(t), 1, quick)
	s := w.sidecars[0]
	id := w.account("acct", 10*minute)
	w.drained(t)
	w.ledger.full.Store(true)
	c := w.forgetful("gone").talked(id, 42)
	text := w.vanish()[0]
	must(t, w.ledger.SetAside(ctx, ledger.RefusedRecord{Raw: []byte(text), Reason: "no such account"}))
	w.ledger.full.Store(false)
	f := s.compared(id, reconcile.Options{})
	if len(f.Causes) != 1 || f.Causes[0].Call != c.uid.String() || !strings.Contains(f.Causes[0].What, "refused its record, no. 1;") {
		t.Errorf("found: %+v", f)
	}
	f = s.compared(id, repairing)
	if !f.Fixed || len(f.Entries) > 0 {
		t.Errorf("repaired: %+v", f)
	}
	w.conserved(t, id, 0)
	res, err := w.ledger.RetryRefused(ctx, 1)
	must(t, err)
	equal(t, "retried", res.UID, c.uid)
	s.rebuilder.Behind(id) // as whoever retries says
	must(t, s.rebuilder.Look(ctx))
	w.conserved(t, id, 42*second)
	w.inOrder(t, s, id)
}

// The ledger contradicts itself: that is said, and nothing is made of it.
func TestLedgerThatContradictsItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, services.Redis(t).URL, sqlitetest.Open(t), 1, quick)
	s := w.sidecars[0]
	id := w.account("acct", 10*minute)
	s.talked(id, 10)
	before := w.conserved(t, id, 10*second)
	w.ledger.spoilt.Store(true)
	f := s.compared(id, repairing)
	if f.OK() || f.Fixed || f.Sums != 1 || !strings.Contains(f.Causes[0].What, "settled_units says 10000, its rows add up to 9000") {
		t.Errorf("found: %+v", f)
	}
	after, err := w.store.Balance(ctx, id)
	must(t, err)
	equal(t, "balance", after, before)
}

// Accounts that cannot be compared are told last, after further tries, and hold the others up no longer than a moment.
func TestBusyAccountsAreTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, services.Redis(t).URL, sqlitetest.Open(t), 1)
	s := w.sidecars[0]
	var ids []string
	for i := range 24 {
		ids = append(ids, w.account(fmt.Sprintf("acct-%d", i), minute))
	}
	stuck := w.store.PartitionOf(ids[0])
	w.drained(t)
	w.ledger.full.Store(true)
	s.talked(ids[0], 1)
	busy := map[string]bool{}
	start := time.Now()
	n, err := s.comparer.All(ctx, reconcile.Options{}, func(f reconcile.Finding) error {
		if !f.Busy || f.Why != "its records still wait for the ledger" || busy[f.Account] {
			t.Errorf("found: %+v", f)
		}
		busy[f.Account] = true
		return nil
	})
	must(t, err)
	took := time.Since(start)
	for _, id := range ids {
		equal(t, id+" is busy", busy[id], w.store.PartitionOf(id) == stuck)
	}
	equal(t, "compared and not", n+len(busy), len(ids))
	if took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	w.ledger.full.Store(false)
	n, err = s.comparer.All(ctx, reconcile.Options{}, func(f reconcile.Finding) error { t.Errorf("found: %+v", f); return nil })
	must(t, err)
	equal(t, "compared", n, len(ids))
}

// A Redis that went back by a single change is noticed by the comparison, also of an account that nobody calls.
func TestWentBackByOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, services.Redis(t).URL, sqlitetest.Open(t), 1)
	s := w.sidecars[0]
	id := w.account("acct", 10*minute)
	s.talked(id, 10)
	w.drained(t)
	was := w.image()
	s.talked(id, 20)
	w.drained(t)
	w.restored(was)
	f := s.compared(id, reconcile.Options{})
	if !f.Behind || f.OK() {
		t.Errorf("found: %+v", f)
	}
	f = s.compared(id, repairing)
	equal(t, "repaired", f.Fixed, true)
	w.conserved(t, id, 30*second)
	w.inOrder(t, s, id)
}
