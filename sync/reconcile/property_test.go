package reconcile_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/reconcile"
)

// life is a run of random steps of many calls, with disasters in between. What
// must hold: once all is over, each call has been charged once, what its switch
// measured, and not a unit is missing or too many.
type life struct {
	*world
	accounts []string
	live     []*call
	kept     []*call // whose end no sidecar could place yet: told again
	settled  map[string]credit.Units
	images   []image
	told     map[string]bool // uids of the calls that were charged
	saw      map[string]int  // disasters
}

func (l *life) any(t *rapid.T) *sidecar { return rapid.SampledFrom(l.sidecars).Draw(t, "sidecar") }

func (l *life) one(t *rapid.T) *call {
	return rapid.SampledFrom(l.live).Draw(t, "call")
}

func (l *life) over(c *call) {
	l.live = slices.DeleteFunc(l.live, func(x *call) bool { return x == c })
}

// later tells whether a step can only be tried again later.
func later(err error) bool {
	return errors.Is(err, authz.ErrLost) || errors.Is(err, authz.ErrUnknownCall)
}

func (l *life) authorize(t *rapid.T) {
	c := l.newCall(rapid.SampledFrom(l.accounts).Draw(t, "account"))
	denied, err := l.any(t).authorize(c)
	if later(err) {
		return // the failure policy decides, which is not the subject here
	}
	must(t, err)
	if denied == "" {
		l.live = append(l.live, c)
	}
}

func (l *life) answer(t *rapid.T) {
	c := l.one(t)
	if err := l.any(t).answer(c); !later(err) {
		must(t, err)
	}
}

func (l *life) extend(t *rapid.T) {
	c := l.one(t)
	if err := l.any(t).extend(c); !later(err) {
		must(t, err)
	}
}

// end hangs a call up. Its end is told to any sidecar, until one can place it.
func (l *life) end(t *rapid.T) {
	c := l.one(t)
	c.ended = l.now()
	l.over(c)
	l.tell(t, c, l.any(t))
}

func (l *life) tell(t *rapid.T, c *call, s *sidecar) {
	switch err := s.end(c); {
	case later(err):
		l.kept = append(l.kept, c)
	default:
		must(t, err)
		if c.answered != 0 && !l.told[c.uid.String()] {
			l.told[c.uid.String()] = true
			l.settled[c.account] += c.cost()
		}
	}
}

func (l *life) again(t *rapid.T) {
	kept := l.kept
	l.kept = nil
	for _, c := range kept {
		l.tell(t, c, l.any(t))
	}
}

// lose has a sidecar give a call up, whose end comes all the same.
func (l *life) lose(t *rapid.T, c *call) {
	if err := l.any(t).lose(c); !later(err) && !errors.Is(err, authz.ErrNotYet) {
		must(t, err)
	}
}

func (l *life) abandon(t *rapid.T, c *call) {
	if err := l.any(t).release(c); !later(err) && !errors.Is(err, authz.ErrNotYet) {
		must(t, err)
		l.over(c)
	}
}

func (l *life) credit(t *rapid.T) {
	id := rapid.SampledFrom(l.accounts).Draw(t, "account")
	units := credit.Units(rapid.SampledFrom([]int64{-20_000, 1, 60_000, 600_000}).Draw(t, "units"))
	_, _, err := l.ledger.AddGrant(ctx, authz.Grant{Account: id, Units: units, Kind: ledger.KindPurchase, Reference: fmt.Sprint(time.Now().UnixNano())})
	must(t, err)
	if rapid.Bool().Draw(t, "applied") { // else the completer does it later
		if err := l.complete(id); !later(err) {
			must(t, err)
		}
	}
}

func (l *life) disaster(t *rapid.T) {
	kind := rapid.SampledFrom([]string{"all is lost", "an account is lost", "went back", "the outbox is lost"}).Draw(t, "disaster")
	switch kind {
	case "all is lost":
		must(t, l.rdb.FlushAll(ctx).Err())
	case "an account is lost":
		must(t, l.rdb.Del(ctx, l.hash(rapid.SampledFrom(l.accounts).Draw(t, "account"))).Err())
	case "went back":
		if len(l.images) == 0 {
			l.images = append(l.images, l.image())
			for range 5 {
				l.step(t)
			}
		}
		l.goBack(l.images[rapid.IntRange(0, len(l.images)-1).Draw(t, "image")])
	case "the outbox is lost": // with the charges that were in it still in the books: --repair
		for p := range partitions {
			must(t, l.rdb.Del(ctx, l.store.OutboxKey(p)).Err())
		}
		l.otherProcess()
	}
	l.saw[kind]++
	l.note("", "%s", kind)
	if rapid.Bool().Draw(t, "calls go on before it is noticed") {
		for range 5 {
			l.step(t)
		}
	}
	l.mend(t)
}

// reap removes the tombstones of calls that were charged: their time is over. By
// then every sidecar has learnt of their end, at the next extension.
func (l *life) reap(t *rapid.T) {
	for _, id := range l.accounts {
		var keys []authz.Key
		must(t, l.store.Calls(ctx, id, func(c authz.Call, err error) error {
			known := func(s *sidecar) bool { _, ok := s.known(c.Key); return ok }
			if c.State == authz.StateSettled && !slices.ContainsFunc(l.sidecars, known) {
				keys = append(keys, c.Key)
			}
			return err
		}))
		for _, k := range keys {
			l.note(k.String(), "reaped")
		}
		_, err := l.store.Reap(ctx, id, l.now(), 0, keys)
		must(t, err)
	}
}

// mend has the sidecars notice and rebuild, several at once, while calls go on;
// then each puts back what it knows.
func (l *life) mend(t *rapid.T) {
	rebuilders := l.sidecars[:rapid.IntRange(1, len(l.sidecars)).Draw(t, "rebuilders")]
	var wg sync.WaitGroup
	for _, s := range rebuilders {
		wg.Go(func() {
			for !l.filled(t) {
				for _, a := range l.accounts {
					s.rebuilder.Lost(a)
				}
				if err := s.rebuilder.Look(ctx); err != nil && !errors.Is(err, ledger.ErrUnavailable) {
					t.Errorf("rebuild: %v", err)
					return
				}
			}
		})
	}
	for range rapid.IntRange(0, 4).Draw(t, "steps") {
		l.step(t)
	}
	l.ledger.away.Store(false)
	wg.Wait()
	for _, s := range l.sidecars {
		if rapid.Bool().Draw(t, "calls go on before it is put back") {
			l.step(t)
			l.ledger.away.Store(false)
		}
		must(t, s.putBack())
	}
}

// filled tells whether nothing is missing.
func (l *life) filled(t *rapid.T) bool {
	fills, err := l.store.Filled(ctx)
	must(t, err)
	missing, err := l.store.Missing(ctx, l.accounts)
	must(t, err)
	return len(missing) == 0 && !slices.ContainsFunc(fills, func(f authz.Fill) bool { return f != authz.FillGood })
}

// step does something to the calls.
func (l *life) step(t *rapid.T) {
	do := rapid.SampledFrom([]string{"authorize", "authorize", "answer", "answer", "extend", "end", "end", "lose", "abandon", "again", "credit", "snapshot", "reap", "ledger", "pass", "pass"}).Draw(t, "do")
	if len(l.live) == 0 && (do == "answer" || do == "extend" || do == "end" || do == "lose" || do == "abandon") {
		do = "authorize"
	}
	switch do {
	case "authorize":
		l.authorize(t)
	case "answer":
		l.answer(t)
	case "extend":
		l.extend(t)
	case "end":
		l.end(t)
	case "lose":
		if c := l.one(t); c.answered != 0 {
			l.lose(t, c)
		}
	case "abandon":
		if c := l.one(t); c.answered == 0 {
			l.abandon(t, c)
		}
	case "again":
		l.again(t)
	case "credit":
		l.credit(t)
	case "reap":
		l.reap(t)
	case "ledger":
		l.ledger.away.Store(!l.ledger.away.Load())
	case "snapshot":
		l.images = append(l.images, l.image())
	case "pass":
		l.pass(time.Duration(rapid.IntRange(1, 2500).Draw(t, "ms")) * time.Millisecond)
	}
}

// finish ends all calls and checks what is left.
func (l *life) finish(t *rapid.T) {
	l.ledger.away.Store(false)
	for len(l.live) > 0 {
		c := l.live[0]
		c.ended = l.now()
		l.over(c)
		l.tell(t, c, l.any(t))
	}
	for range 3 {
		l.again(t)
		l.drained(t)
		for _, s := range l.sidecars {
			for s.rebuilder.Asked() > 0 { // a record came late
				l.saw["a late record"]++
				must(t, s.rebuilder.Look(ctx))
			}
		}
		for _, s := range l.sidecars {
			must(t, s.putBack())
		}
	}
	// A hold whose release was lost with Redis comes back, from an image or from
	// the memory of the sidecar that made it, and lapses.
	for _, id := range l.accounts {
		must(t, l.store.Calls(ctx, id, func(c authz.Call, err error) error {
			if err == nil && c.State == authz.StateHeld {
				err = l.sidecars[0].release(&call{key: c.Key, account: id})
			}
			return err
		}))
	}
	for _, c := range l.kept {
		// Only a call that was never answered may be gone: its hold lapsed with Redis.
		if c.answered != 0 {
			t.Errorf("%s, answered, is nowhere", c.key)
		}
	}
	l.kept = nil
	for _, id := range l.accounts {
		must(t, l.complete(id))
		b := l.conserved(t, id, l.settled[id])
		if b.Held != 0 || b.Calls != 0 {
			must(t, l.store.Calls(ctx, id, func(c authz.Call, err error) error {
				if !c.State.Final() {
					t.Errorf("%s: %s is still on: %+v\n%s", id, c.Key, c, l.story(c.Key))
				}
				return err
			}))
		}
		if f, err := l.sidecars[0].comparer.Account(ctx, id, reconcile.Options{Rows: true}); err != nil || !f.OK() || f.Busy {
			t.Errorf("compared: %+v, %v", f, err)
		}
	}
}

func disasters(t *testing.T, url string, l *ledger.Ledger) {
	w := newWorld(t, url, l, 3, func(c *reconcile.Config) { c.Drain, c.Shut = patience, patience })
	all := &life{world: w, settled: map[string]credit.Units{}, told: map[string]bool{}, saw: map[string]int{}}
	for i := range 3 {
		all.accounts = append(all.accounts, w.account(fmt.Sprintf("acct-%d", i), 100*minute))
	}
	rapid.Check(t, func(rt *rapid.T) {
		all.images = nil
		for range rapid.IntRange(1, 3).Draw(rt, "disasters") {
			for range rapid.IntRange(8, 30).Draw(rt, "steps") {
				all.step(rt)
			}
			all.disaster(rt)
		}
		all.finish(rt)
	})
	t.Logf("%d calls charged, disasters: %v", len(all.told), all.saw)
}

func TestDisastersOnSQLite(t *testing.T) {
	t.Parallel()
	disasters(t, services.Redis(t).URL, sqlitetest.Open(t))
}

func TestDisastersOnPostgres(t *testing.T) {
	t.Parallel()
	disasters(t, services.Redis(t).URL, onPostgres(t))
}
