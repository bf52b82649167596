package meter_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/hmsovereign/ringfence/authz"
)

// raw sets a field of the only account's hash, behind everybody's back.
func (b *bubbled) raw(t *testing.T, field, value string) {
	account, _ := b.snapshot(t)
	b.out(func() {
		if err := b.rdb.HSet(context.Background(), account, field, value).Err(); err != nil {
			t.Error(err)
		}
	})
}

func (r *rig) indexed(id string) bool {
	r.t.Helper()
	_, err := r.store.Find(r.t.Context(), key(id))
	if err != nil && !errors.Is(err, authz.ErrUnknownCall) {
		r.t.Fatal(err)
	}
	return err == nil
}

func TestSweepRemovesTombstonesAndMarksWhenTheirTimeIsOver(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 1000)
		r.talk("acme", "settled")
		r.wait(10 * time.Second)
		r.ended("acme", "settled")
		r.event(authz.EventAbandoned, "acme", "marked")
		r.wait(4 * time.Minute)
		equal(t, "mark, before the sweep", r.read("acme", "marked").State, authz.StateMark)
		r.wait(2 * time.Minute)
		if _, err := r.store.Call(t.Context(), "acme", key("marked")); !errors.Is(err, authz.ErrUnknownCall) {
			t.Errorf("the mark is still there: %v", err)
		}
		r.wait(8 * time.Minute)
		equal(t, "tombstone of 14 minutes", r.read("acme", "settled").State, authz.StateSettled)
		r.wait(7 * time.Minute)
		if _, err := r.store.Call(t.Context(), "acme", key("settled")); !errors.Is(err, authz.ErrUnknownCall) {
			t.Errorf("the tombstone is still there: %v", err)
		}
		equal(t, "reaped", r.metric("reaped_total"), 2)
	})
}

// A sidecar died between its authorize and the write of the index: the sweep
// finds its calls all the same.
func TestSweepTakesOverWhatTheIndexMissed(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 1000)
		r.wait(time.Second)
		for _, id := range []string{"ringing", "talking"} {
			h := r.hold("acme", id)
			h.Epoch = 77
			_, err := r.store.Authorize(t.Context(), h)
			must(t, err)
		}
		now := time.Now().UnixMilli()
		_, err := r.store.Answered(t.Context(), authz.Answer{Key: key("talking"), Account: "acme", Epoch: 77, Now: now, Day: 20000101, SliceMS: 60_000})
		must(t, err)
		r.wait(5*time.Minute - 2*time.Second)
		equal(t, "known before the sweep", r.m.Stats().Live+r.m.Stats().Held, 0)
		r.wait(10 * time.Second)
		// The one that rang has lapsed; of the other nobody knows anything since its
		// answer: it ran minutes past what was bought for it.
		equal(t, "ringing", r.read("acme", "ringing").State, authz.StateReleased)
		equal(t, "talking", r.read("acme", "talking").State, authz.StateLost)
		equal(t, "lost", r.metric("lost_total", "reason=stale"), 1)
		equal(t, "told", r.sw.heard(), "")
		equal(t, "held", r.balance("acme").Held, 0)
		// It lives: its real end replaces the loss.
		r.wait(time.Minute)
		equal(t, "talk", r.ended("acme", "talking").TalkMS, 368_000)
		equal(t, "settled", r.balance("acme").Settled, 368*second)
	})
}

// The same where the switch can be asked: it goes on.
func TestStaleCallThatItsSwitchKnowsGoesOn(t *testing.T) {
	calls := []string{"talking"}
	metered(t, listing{&fakeSwitch{}, &calls}, func(r *rig) {
		r.account("acme", 10_000)
		r.wait(time.Second)
		h := r.hold("acme", "talking")
		h.Epoch = 77
		_, err := r.store.Authorize(t.Context(), h)
		must(t, err)
		_, err = r.store.Answered(t.Context(), authz.Answer{Key: key("talking"), Account: "acme", Epoch: 77, Now: time.Now().UnixMilli(), Day: 20000101})
		must(t, err)
		r.wait(10 * time.Minute)
		equal(t, "live", r.m.Stats().Live, 1)
		c := r.read("acme", "talking")
		equal(t, "state", c.State, authz.StateLive)
		if c.UntilMS < 590_000 {
			t.Errorf("talk time bought: %d ms", c.UntilMS)
		}
		equal(t, "told", r.sw.heard(), "")
	})
}

func TestSweepPutsTheIndexRight(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 1000)
		r.talk("acme", "live")
		r.talk("acme", "over")
		r.wait(time.Second)
		r.ended("acme", "over")
		r.wait(time.Second)
		equal(t, "a call that is over", r.indexed("over"), false)
		must(t, r.store.Index(t.Context(), []authz.Indexed{
			{Key: key("over"), Account: "acme", Epoch: 77},                  // of a dead owner
			{Key: key("never"), Account: "acme", Epoch: 77},                 // of a dead owner, and nowhere
			{Key: key("mine no more"), Account: "acme", Epoch: r.m.Epoch()}, // ours, and nowhere
		}, []authz.Key{key("live")}))
		r.wait(10 * time.Second)
		equal(t, "over", r.indexed("over"), false)
		equal(t, "never", r.indexed("never"), false)
		r.wait(5 * time.Minute)
		equal(t, "mine no more", r.indexed("mine no more"), false)
		equal(t, "live", r.indexed("live"), true)
	})
}

// The end of a lost call finds it by the index for as long as its tombstone
// stays, even when its owner has been replaced.
func TestLostCallStaysInTheIndex(t *testing.T) {
	metered(t, &fakeSwitch{gone: true}, func(r *rig) {
		r.account("acme", 30)
		r.talk("acme", "c1")
		r.wait(3 * time.Minute)
		equal(t, "state", r.read("acme", "c1").State, authz.StateLost)
		must(t, r.store.Index(t.Context(), []authz.Indexed{{Key: key("c1"), Account: "acme", Epoch: 77}}, nil))
		r.wait(10 * time.Second)
		equal(t, "indexed", r.indexed("c1"), true)
		r.wait(22 * time.Minute)
		equal(t, "indexed when its tombstone is gone", r.indexed("c1"), false)
	})
}

func TestCorruptFieldIsCountedAndStopsNothing(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 1000)
		r.store.raw(t, "c:pbx:outbound:broken", "1h\tnonsense")
		r.store.raw(t, "c:nonsense", "1h\tnonsense")
		h := r.hold("acme", "orphaned")
		h.Epoch = 77
		_, err := r.store.Authorize(t.Context(), h)
		must(t, err)
		equal(t, "end of a broken call is kept", r.event(authz.EventEnded, "acme", "broken").Kept, true)
		r.wait(6 * time.Minute)
		if n := r.metric("corrupt_fields_total"); n < 2 {
			t.Errorf("counted %v corrupt fields", n)
		}
		equal(t, "the other call", r.read("acme", "orphaned").State, authz.StateReleased)
		equal(t, "kept", r.m.Stats().Backlog, 1)
		h.Key = key("broken")
		now := time.Now().UnixMilli()
		w := callOf(h, authz.Held{UID: h.UID, Units: 0, ExpiresAt: now})
		w.State, w.AnsweredAt = authz.StateLive, h.Now
		r.store.raw(t, "c:pbx:outbound:broken", string(w.AppendCall(nil))) // repaired
		r.wait(2 * time.Minute)
		equal(t, "kept", r.m.Stats().Backlog, 0)
		equal(t, "state", r.read("acme", "broken").State, authz.StateSettled)
	})
}

// One sidecar sweeps at a time; the others wait for it.
func TestOneSidecarSweeps(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 1000)
		r.wait(2 * time.Second)
		b := r.another("b")
		r.wait(21 * time.Minute)
		sa, sb := r.m.Stats().Sweeps, b.m.Stats().Sweeps
		if sa < 5 || sb < 5 {
			t.Errorf("turns: %d and %d", sa, sb)
		}
		b.halt()
	})
}

// What was kept and turns out to be wrong is counted and dropped; a pass-through
// amount in another currency does not keep the talk from being charged.
func TestKeptEventsThatAreWrong(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 1000)
		r.place("acme", "unanswered")
		r.talk("acme", "extra")
		r.store.down.Store(true)
		r.wait(time.Second)
		r.event(authz.EventEnded, "acme", "extra") // closes the gate, so that the next are kept untried
		equal(t, "kept", r.event(authz.EventEnded, "acme", "unanswered").Kept, true)
		r.talkless("wrong")
		r.store.down.Store(false)
		r.wait(10 * time.Second)
		equal(t, "backlog", r.m.Stats().Backlog, 0)
		equal(t, "refused", r.metric("kept_refused_total"), 1)
		equal(t, "extra", r.settled("extra").State, authz.StateSettled)
		equal(t, "wrong", r.settled("wrong").Units, 5*second)
		equal(t, "wrong's extra", r.settled("wrong").ExtraUnits, 0)
		r.wait(5 * time.Minute)
		equal(t, "unanswered", r.settled("unanswered").State, authz.StateReleased)
		equal(t, "held", r.balance("acme").Held, 0)
	})
}

// talkless lets a call go unchecked whose end carries an amount in dollars.
func (r *rig) talkless(id string) {
	r.t.Helper()
	h := r.hold("acme", id)
	r.m.TrackUnchecked(*h)
	now := time.Now().UnixMilli()
	res, err := r.m.Event(r.t.Context(), authz.Event{Type: authz.EventEnded, Key: key(id), AnsweredAt: now - 5000, EndedAt: now,
		ExtraMicros: 700_000, ExtraCurrency: "USD"})
	must(r.t, err)
	equal(r.t, "kept", res.Kept, true)
}

// A flushed Redis loses money (ivozprovider 950): an account that is missing is
// lost, not unknown; its ends wait until it has been rebuilt.
func TestEndsWaitForALostAccount(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 1000)
		account, fields := r.store.snapshot(t)
		r.talk("acme", "ends")
		r.talk("acme", "lives")
		r.wait(20 * time.Second)
		r.store.out(func() { r.store.rdb.FlushAll(context.Background()) })
		equal(t, "kept", r.event(authz.EventEnded, "acme", "ends").Kept, true)
		r.wait(5 * time.Minute)
		equal(t, "told", r.sw.heard(), "")
		equal(t, "orphans", r.m.Stats().Orphans, 0)
		equal(t, "backlog", r.m.Stats().Backlog, 1)
		r.store.out(func() { r.store.rdb.HSet(context.Background(), account, fields) })
		r.wait(time.Minute)
		equal(t, "backlog", r.m.Stats().Backlog, 0)
		equal(t, "ends", r.settled("ends").TalkMS, 20_000)
		equal(t, "lives", r.ended("acme", "lives").TalkMS, 380_000)
		equal(t, "settled", r.balance("acme").Settled, 400*second)
		equal(t, "held", r.balance("acme").Held, 0)
		if r.m.Epoch() < 2 {
			t.Errorf("epoch %d: the register was lost and not renewed", r.m.Epoch())
		}
	})
}

// A sidecar that starts while another sweeps is not taken for dead.
func TestSweepDoesNotStealFromASidecarThatJustStarted(t *testing.T) {
	t.Parallel()
	mini := miniredis.RunT(t)
	slow, fast := newBubbled(t, mini), newBubbled(t, mini)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, slow)
		r.run(&fakeSwitch{})
		defer r.halt()
		r.account("acme", 1000)
		r.wait(5*time.Minute - time.Second)
		slow.delay.Store(int64(500 * time.Millisecond)) // the sweep asks who is alive, then goes through everything for seconds
		r.wait(2500 * time.Millisecond)
		b := *r
		b.store, b.cfg.Name = fast, "b"
		b.run(&fakeSwitch{})
		b.talk("acme", "c1")
		for range 20 {
			r.wait(time.Second)
			equal(t, "owner", b.read("acme", "c1").Epoch, b.m.Epoch())
		}
		equal(t, "sweeps", r.m.Stats().Sweeps, 2)
		slow.delay.Store(0)
		b.halt()
	})
}
