package meter_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/meter"
)

// exchange is a simulated switch: it keeps its calls, reports what happens to
// them to any sidecar until one has taken it, twice at times and out of order,
// and hangs up when told to.
type exchange struct {
	mu       sync.Mutex
	rng      *rand.Rand
	sidecars []*rig // nil: that one is dead
	calls    map[string]*leg
	reports  sync.WaitGroup
}

type leg struct {
	account            string
	answered, hungUpAt int64
}

func (x *exchange) chance(percent int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.rng.IntN(100) < percent
}

func (x *exchange) some(most time.Duration) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	return time.Duration(x.rng.Int64N(int64(most)))
}

func (x *exchange) sidecar() *rig {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.sidecars[x.rng.IntN(len(x.sidecars))]
}

// report tells a sidecar, or the next, until one has it.
func (x *exchange) report(ev authz.Event) {
	x.reports.Go(func() {
		for {
			if r := x.sidecar(); r != nil {
				ctx, cancel := context.WithTimeout(context.Background(), 250*time.Millisecond)
				_, err := r.m.Event(ctx, ev)
				cancel()
				if err == nil {
					return
				}
			}
			pass(time.Second)
		}
	})
}

func (x *exchange) late(ev authz.Event) {
	x.report(ev)
	if x.chance(20) { // again, a little later
		x.reports.Go(func() {
			pass(x.some(20 * time.Second))
			x.report(ev)
		})
	}
}

func (x *exchange) hangUp(id string) {
	x.mu.Lock()
	l := x.calls[id]
	if l == nil || l.hungUpAt != 0 {
		x.mu.Unlock()
		return
	}
	l.hungUpAt = time.Now().UnixMilli()
	ev := authz.Event{Type: authz.EventEnded, Key: key(id), Account: l.account, AnsweredAt: l.answered, EndedAt: l.hungUpAt, NeverAnswered: l.answered == 0}
	x.mu.Unlock()
	x.reports.Go(func() {
		pass(x.some(3 * time.Second)) // it may overtake the answer
		x.late(ev)
	})
}

// Hangup implements meter.Switch; one in ten fails.
func (x *exchange) Hangup(_ context.Context, k authz.Key, _ string) error {
	if x.chance(10) {
		return context.DeadlineExceeded
	}
	x.mu.Lock()
	l := x.calls[k.CallID]
	x.mu.Unlock()
	if l == nil || l.hungUpAt != 0 {
		return meter.ErrNoSuchCall
	}
	x.hangUp(k.CallID)
	return nil
}

// Warn implements meter.Switch.
func (x *exchange) Warn(context.Context, authz.Key, int64) error { return nil }

// Extend implements meter.Extender.
func (x *exchange) Extend(context.Context, authz.Key, int64) error { return nil }

// List implements meter.Lister; one in ten fails.
func (x *exchange) List(context.Context) (keys []authz.Key, err error) {
	if x.chance(10) {
		return nil, context.DeadlineExceeded
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, l := range x.calls {
		if l.hungUpAt == 0 {
			keys = append(keys, key(id))
		}
	}
	return keys, nil
}

// one call: authorized by some sidecar, perhaps answered, hung up some time.
func (x *exchange) call(id, account string) {
	r := x.sidecar()
	if r == nil {
		return
	}
	h := r.hold(account, id)
	held, err := r.store.Authorize(context.Background(), h)
	switch {
	case err != nil: // the failure policy lets it go
		h.Flags = h.Flags.With(authz.FlagUnchecked)
		r.m.TrackUnchecked(*h)
	case held.Denied != "":
		return
	default:
		r.m.Track(callOf(h, held), held)
	}
	x.mu.Lock()
	x.calls[id] = &leg{account: account}
	x.mu.Unlock()
	pass(x.some(30 * time.Second))
	if x.chance(80) {
		x.mu.Lock()
		l := x.calls[id]
		if l.hungUpAt == 0 {
			l.answered = time.Now().UnixMilli()
			x.mu.Unlock()
			x.late(authz.Event{Type: authz.EventAnswered, Key: key(id), Account: account, AnsweredAt: l.answered})
		} else {
			x.mu.Unlock()
		}
		pass(x.some(8 * time.Minute))
	}
	x.hangUp(id)
}

// Calls come and go at two sidecars while Redis goes away and comes back, one
// sidecar is killed and started again, and events come twice and out of order:
// in the end every call is settled exactly once, to the millisecond, and no
// credit is held or missing.
func TestEveryCallIsSettledOnceWhateverHappens(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			mini := miniredis.RunT(t)
			stores := []*bubbled{newBubbled(t, mini), newBubbled(t, mini), newBubbled(t, mini)}
			synctest.Test(t, func(t *testing.T) { soak(t, seed, stores) })
		})
	}
}

func soak(t *testing.T, seed uint64, stores []*bubbled) {
	x := &exchange{rng: rand.New(rand.NewPCG(seed, 1)), calls: map[string]*leg{}}
	a := newRig(t, stores[0])
	a.cfg.Tick = 200 * time.Millisecond
	a.run(x)
	b := *a
	b.store, b.cfg.Name = stores[1], "b"
	b.run(x)
	x.sidecars = []*rig{a, &b}
	for id, talk := range map[string]int64{"rich": 1_000_000, "poor": 2000, "mid": 20_000} {
		a.account(id, talk)
	}
	var calls sync.WaitGroup
	for i := range 120 {
		calls.Go(func() {
			pass(x.some(15 * time.Minute))
			x.call("c"+strconv.Itoa(i), []string{"rich", "poor", "mid"}[i%3])
		})
	}
	calls.Go(func() { // outages of Redis, as each sidecar sees them
		for range 8 {
			pass(x.some(3 * time.Minute))
			s := stores[int(x.some(2))]
			flag := &s.down
			if x.chance(50) {
				flag = &s.mute
			}
			flag.Store(true)
			pass(x.some(40 * time.Second))
			flag.Store(false)
		}
	})
	calls.Go(func() { // a is killed: nothing reaches it, nothing leaves it
		pass(5*time.Minute + x.some(5*time.Minute))
		for a.m.Stats().Backlog > 0 { // what it had only kept would be lost with it
			pass(time.Second)
		}
		x.mu.Lock()
		x.sidecars[0] = nil
		x.mu.Unlock()
		stores[0].dead.Store(true)
		pass(x.some(40 * time.Second))
		again := *a
		again.store = stores[2]
		again.run(x)
		x.mu.Lock()
		x.sidecars[0] = &again
		x.mu.Unlock()
	})
	calls.Wait()
	x.reports.Wait()
	pass(20 * time.Minute)
	synctest.Wait()

	now := x.sidecars[0]
	for name, r := range map[string]*rig{"a": now, "b": &b} {
		s := r.m.Stats()
		if s.Held+s.Live+int64(s.Backlog)+s.Orphans > 0 {
			t.Errorf("%s is left with %+v", name, s)
		}
	}
	final := map[string]authz.Record{}
	for _, rec := range stores[1].records(t) {
		was, seen := final[rec.Key.CallID]
		if seen && (was.State == rec.State || was.UID != rec.UID) {
			t.Errorf("%s: %s of %s after %s of %s", rec.Key, rec.State, rec.UID, was.State, was.UID)
		}
		if !seen || rec.State.Rank() > was.State.Rank() {
			final[rec.Key.CallID] = rec
		}
	}
	charged := map[string]credit.Units{}
	for id, l := range x.calls {
		rec, ok := final[id]
		want := fmt.Sprint(authz.StateReleased, 0)
		if l.answered != 0 {
			want = fmt.Sprint(authz.StateSettled, l.hungUpAt-l.answered)
			charged[l.account] += base.Cost(l.hungUpAt - l.answered)
		}
		if got := fmt.Sprint(rec.State, rec.TalkMS); !ok || got != want {
			t.Errorf("call %s (answered %d, hung up %d): %s, want %s", id, l.answered, l.hungUpAt, got, want)
		}
	}
	for _, id := range []string{"rich", "poor", "mid"} {
		bal := b.balance(id)
		if bal.Held != 0 || bal.Calls != 0 || bal.Settled != charged[id] {
			t.Errorf("%s: %+v, want settled %d", id, bal, charged[id])
		}
	}
	t.Logf("%d calls; at a, its successor and b: %s", len(x.calls), a.summary()+" / "+now.summary()+" / "+b.summary())
	a.stop()
	<-a.done
	now.halt()
	b.halt()
}

// summary says what a meter had to do.
func (r *rig) summary() (s string) {
	for _, name := range []string{"cutoffs_total", "lost_total", "claims_total", "adopted_total", "restored_total", "fenced_total", "expired_total", "kept_refused_total", "breaker_total"} {
		if n := r.metric(name); n > 0 {
			s += fmt.Sprintf("%s %v ", name, n)
		}
	}
	return s
}
