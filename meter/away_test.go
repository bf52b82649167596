package meter_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/meter"
)

// Redis away: live calls go on, ends are kept in order, calls let go unchecked
// are adopted when it is back, and each is settled once.
func TestRedisAwayAndBack(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 10_000)
		r.talk("acme", "before")
		r.talk("acme", "through")
		r.wait(10 * time.Second)
		r.store.down.Store(true)
		r.wait(5 * time.Second)
		ended := r.event(authz.EventEnded, "acme", "before")
		equal(t, "kept", ended.Kept, true)

		h := r.hold("acme", "meanwhile")
		h.Flags = h.Flags.With(authz.FlagUnchecked)
		r.m.TrackUnchecked(*h)
		equal(t, "answer kept", r.event(authz.EventAnswered, "acme", "meanwhile").Kept, true)
		r.wait(40 * time.Second)
		equal(t, "end kept", r.event(authz.EventEnded, "acme", "meanwhile").Kept, true)
		h = r.hold("acme", "stays")
		r.m.TrackUnchecked(*h)
		equal(t, "answer kept", r.event(authz.EventAnswered, "acme", "stays").Kept, true)
		equal(t, "unchecked", r.m.Stats().Unchecked, 2)
		r.wait(3 * time.Minute)
		equal(t, "told", r.sw.heard(), "")
		equal(t, "backlog", r.m.Stats().Backlog, 6)
		if age := r.m.Stats().BacklogAge; age < 3*time.Minute {
			t.Errorf("age of the backlog: %v", age)
		}

		r.store.down.Store(false)
		r.wait(10 * time.Second)
		s := r.m.Stats()
		equal(t, "backlog", s.Backlog, 0)
		equal(t, "live", s.Live, 2)
		equal(t, "before: talk until its end was heard", r.settled("before").TalkMS, 15_000)
		equal(t, "meanwhile", r.settled("meanwhile").TalkMS, 40_000)
		if !r.settled("meanwhile").Flags.Has(authz.FlagUnchecked) {
			t.Error("the unchecked call is not flagged")
		}
		equal(t, "stays", r.ended("acme", "stays").TalkMS, 190_000)
		equal(t, "through", r.ended("acme", "through").TalkMS, 245_000)
		b := r.balance("acme")
		equal(t, "held", b.Held, 0)
		equal(t, "settled", b.Settled, (15+40+190+245)*second)
		equal(t, "records", len(r.records()), 4)
		equal(t, "adopted", r.metric("adopted_total"), 2)
	})
}

// A switch repeats its events until they are worked, faster than a slow Redis
// works them: they wait once each, and have their effect once.
func TestRepeatedEventsWaitOnce(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 10_000)
		r.place("acme", "c1")
		at := time.Now().UnixMilli()
		r.wait(10 * time.Second)
		r.store.down.Store(true)
		for range 100 {
			for _, e := range []authz.Event{{Type: authz.EventAnswered, At: at + 1000}, {Type: authz.EventEnded, AnsweredAt: at + 1000, EndedAt: at + 8000}} {
				e.Key, e.Account = key("c1"), "acme"
				res, err := r.m.Event(t.Context(), e)
				must(t, err)
				equal(t, "kept", res.Kept, true)
			}
		}
		equal(t, "backlog", r.m.Stats().Backlog, 2)
		r.wait(10 * time.Second)
		r.store.down.Store(false)
		r.wait(10 * time.Second)
		equal(t, "backlog", r.m.Stats().Backlog, 0)
		equal(t, "records", len(r.records()), 1)
		equal(t, "talk", r.settled("c1").TalkMS, 7000)
	})
}

// settled gives a call's record.
func (r *rig) settled(id string) authz.Record {
	r.t.Helper()
	for _, rec := range r.records() {
		if rec.Key.CallID == id {
			return rec
		}
	}
	r.t.Fatalf("no record of %s", id)
	return authz.Record{}
}

// With Redis away a call runs as far as its account's credit was known to reach,
// no farther.
func TestRedisAwayCreditIsStillBounded(t *testing.T) {
	metered(t, extending{&fakeSwitch{}}, func(r *rig) {
		r.account("acme", 200)
		r.talk("acme", "c1")
		r.wait(10 * time.Second)
		r.store.down.Store(true)
		r.wait(189 * time.Second)
		equal(t, "told", r.sw.heard(), "")
		r.wait(4 * time.Second)
		if heard := r.sw.heard(); !strings.HasPrefix(heard, "3m20") || !strings.HasSuffix(heard, "s hangup c1 insufficient_credits") {
			t.Errorf("told: %s", heard)
		}
		r.store.down.Store(false)
		r.wait(5 * time.Second)
		equal(t, "held", r.balance("acme").Held, 0)
		equal(t, "backlog", r.m.Stats().Backlog, 0)
	})
}

// Redis did the work but its answer got lost: nothing happens twice.
func TestLostAnswersOfRedisHaveTheirEffectOnce(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 10_000)
		r.place("acme", "c1")
		r.store.mute.Store(true)
		r.wait(time.Second)
		equal(t, "kept", r.event(authz.EventAnswered, "acme", "c1").Kept, true)
		r.wait(70 * time.Second)
		equal(t, "kept", r.event(authz.EventEnded, "acme", "c1").Kept, true)
		r.wait(20 * time.Second)
		r.store.mute.Store(false)
		r.wait(5 * time.Second)
		recs := r.records()
		equal(t, "records", len(recs), 1)
		equal(t, "talk", recs[0].TalkMS, 70_000)
		equal(t, "settled", r.balance("acme").Settled, 70*second)
		s := r.m.Stats()
		equal(t, "backlog", s.Backlog, 0)
		equal(t, "live", s.Live, 0)
	})
}

// A sidecar that starts while Redis is away has no epoch; what it let go is
// adopted under the real one.
func TestStartWithRedisAway(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 1000)
		r.store.down.Store(true)
		b := r.another("b")
		if err := b.m.Register(t.Context()); !errors.Is(err, authz.ErrDown) {
			t.Fatalf("Register: %v", err)
		}
		equal(t, "epoch", b.m.Epoch(), 0)
		h := b.hold("acme", "c1")
		b.m.TrackUnchecked(*h)
		b.event(authz.EventAnswered, "acme", "c1")
		b.wait(30 * time.Second)
		r.store.down.Store(false)
		b.wait(3 * time.Second)
		c := r.read("acme", "c1")
		equal(t, "state", c.State, authz.StateLive)
		equal(t, "epoch", c.Epoch, b.m.Epoch())
		if c.Epoch == 0 {
			t.Error("no epoch")
		}
		equal(t, "talk", b.ended("acme", "c1").TalkMS, 33_000)
		b.halt()
	})
}

// another runs a second sidecar on the same Redis.
func (r *rig) another(name string) *rig {
	o := *r
	o.cfg.Name = name
	o.run(&fakeSwitch{})
	return &o
}

// Many pods, flushed or promoted Redis (litellm 28247, ivozprovider 950): a live
// call that Redis has forgotten is put back by the sidecar that owns it.
func TestRedisWentBackLiveCallsArePutBack(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 1000)
		account, fields := r.store.snapshot(t)
		r.talk("acme", "c1")
		r.place("acme", "ringing")
		r.talk("acme", "ends")
		r.wait(20 * time.Second)
		r.store.out(func() { // a replica that lacks the last half minute is promoted
			ctx := context.Background()
			r.store.rdb.Del(ctx, account)
			r.store.rdb.HSet(ctx, account, fields)
		})
		equal(t, "end of a forgotten call", r.ended("acme", "ends").TalkMS, 20_000)
		r.wait(45 * time.Second)
		equal(t, "c1", r.read("acme", "c1").State, authz.StateLive)
		equal(t, "ringing", r.read("acme", "ringing").State, authz.StateHeld)
		equal(t, "restored", r.metric("restored_total"), 3)
		equal(t, "talk", r.ended("acme", "c1").TalkMS, 65_000)
		b := r.balance("acme")
		equal(t, "settled", b.Settled, 85*second)
		equal(t, "held", b.Held, 60*second)
	})
}

// A stop finishes what waits, leaves the live calls, and gives the lease up so
// that a successor goes on at once.
func TestStopLeavesLiveCallsToTheSuccessor(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 1000)
		r.talk("acme", "c1")
		r.talk("acme", "c2")
		r.place("acme", "ringing")
		r.m.Abandon(key("ringing"), "acme")
		b := r.another("b")
		r.wait(5 * time.Second)
		b.store.down.Store(true)
		b.event(authz.EventEnded, "acme", "c2")
		go func() {
			pass(time.Second)
			b.store.down.Store(false)
		}()
		b.halt()
		if _, err := b.m.Event(t.Context(), authz.Event{Type: authz.EventEnded, Key: key("nowhere")}); !errors.Is(err, authz.ErrDown) {
			t.Errorf("an event that cannot be kept: %v", err)
		}
		equal(t, "c2", r.settled("c2").TalkMS, 5_000)

		r.halt()
		equal(t, "ringing", r.read("acme", "ringing").State, authz.StateReleased)
		c := b.another("c")
		c.wait(time.Second)
		equal(t, "live", c.m.Stats().Live, 1)
		equal(t, "owner", r.read("acme", "c1").Epoch, c.m.Epoch())
		equal(t, "claims", c.metric("claims_total", "by=recovery"), 1)
		c.halt()
		r.run(&fakeSwitch{}) // halted with the bubble
	})
}

func TestNameTakenStopsTheOldOne(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 1000)
		r.talk("acme", "c1")
		r.wait(time.Second)
		b := r.another("a")
		err := <-r.done
		if !errors.Is(err, meter.ErrNameTaken) || !errors.Is(err, authz.ErrFenced) {
			t.Fatalf("Run: %v", err)
		}
		r.done <- nil
		b.wait(time.Second)
		equal(t, "live at the new one", b.m.Stats().Live, 1)
		b.wait(20 * time.Second)
		equal(t, "talk", b.ended("acme", "c1").TalkMS > 20_000, true)
		b.halt()
	})
}
