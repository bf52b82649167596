package meter_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/meter"
)

// A stuck call drains the account, no CDR (cgrates 39, OpenSIPS 2380): heartbeats
// stop, so the call is not extended any more and settled to the last of them.
func TestStuckCallDoesNotDrainTheAccount(t *testing.T) {
	metered(t, &fakeSwitch{gone: true}, func(r *rig) {
		r.account("acme", 10_000)
		r.talk("acme", "c1")
		for range 10 {
			r.wait(30 * time.Second)
			equal(t, "heartbeat", r.event(authz.EventHeartbeat, "", "c1").Action, meter.ActionContinue)
		}
		r.wait(209 * time.Second)
		held := r.balance("acme").Held
		if held > 430*second {
			t.Errorf("%d seconds held for a call that fell silent at 300", held/second)
		}
		equal(t, "state before it is given up", r.read("acme", "c1").State, authz.StateLive)
		r.wait(2 * time.Second)
		recs := r.records()
		equal(t, "records", len(recs), 1)
		equal(t, "state", recs[0].State, authz.StateLost)
		equal(t, "talk", recs[0].TalkMS, 300_000)
		equal(t, "held", r.balance("acme").Held, 0)
		equal(t, "lost", r.metric("lost_total", "reason=heartbeat"), 1)
		// It lives after all: nobody meters it any more.
		equal(t, "late heartbeat", r.event(authz.EventHeartbeat, "acme", "c1").Action, meter.ActionHangup)
	})
}

func TestHeartbeatsThatComeBackAreForgiven(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 10_000)
		r.talk("acme", "c1")
		r.event(authz.EventHeartbeat, "", "c1")
		r.wait(95 * time.Second) // 110 s are bought, 90 s of silence allowed
		r.event(authz.EventHeartbeat, "", "c1")
		r.wait(80 * time.Second)
		equal(t, "told", r.sw.heard(), "")
		equal(t, "live", r.m.Stats().Live, 1)
		if until := r.read("acme", "c1").UntilMS; until < 175_000 {
			t.Errorf("talk time bought: %d ms", until)
		}
	})
}

// Heartbeats' answers are how a switch without a control interface learns what
// to do.
func TestHeartbeatAnswersSteerAnUncontrolledSwitch(t *testing.T) {
	sw, err := meter.NewHTTPSwitch(meter.HTTPConfig{Name: "pbx", Heartbeats: true}, discard)
	must(t, err)
	metered(t, sw, func(r *rig) {
		r.account("acme", 100)
		r.talk("acme", "c1")
		var got []authz.EventResult
		for range 6 {
			r.wait(20 * time.Second)
			got = append(got, r.event(authz.EventHeartbeat, "", "c1"))
		}
		for i, want := range []authz.EventResult{
			{Action: meter.ActionContinue, Remaining: 80}, {Action: meter.ActionWarn, Remaining: 60}, {Action: meter.ActionContinue, Remaining: 40},
			{Action: meter.ActionContinue, Remaining: 20}, {Action: meter.ActionHangup}, {Action: meter.ActionHangup},
		} {
			want.State = authz.StateLive
			equal(t, "heartbeat "+strconv.Itoa(i), got[i], want)
		}
		// While it is proved alive it is not given up for lost.
		for range 10 {
			r.wait(20 * time.Second)
			r.event(authz.EventHeartbeat, "", "c1")
		}
		equal(t, "live", r.m.Stats().Live, 1)
		r.wait(3 * time.Minute)
		equal(t, "live", r.m.Stats().Live, 0)
		recs := r.records()
		equal(t, "state", recs[0].State, authz.StateLost)
		equal(t, "talk", recs[0].TalkMS, 320_000)
		equal(t, "overrun", recs[0].Overrun, 220*second)
	})
}

// A heartbeat at a sidecar that does not own the call is proof all the same.
func TestHeartbeatAtAnotherSidecar(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 1000)
		r.talk("acme", "c1")
		b := meter.New(meter.Config{Name: "b"}, r.store, r.book, nil, discard, nil)
		must(t, b.Register(t.Context()))
		r.wait(10 * time.Second)
		res, err := b.Event(t.Context(), authz.Event{Type: authz.EventHeartbeat, Key: key("c1"), Account: "acme"})
		must(t, err)
		equal(t, "answer", res, authz.EventResult{State: authz.StateLive, Action: meter.ActionContinue, Remaining: 990})
		c := r.read("acme", "c1")
		equal(t, "proof", c.ProofAt-c.AnsweredAt, 10_000)
		_, err = r.store.Kill(t.Context(), "acme", key("c1"))
		must(t, err)
		res, err = b.Event(t.Context(), authz.Event{Type: authz.EventHeartbeat, Key: key("c1"), Account: "acme"})
		must(t, err)
		equal(t, "killed", res.Action, meter.ActionHangup)
	})
}

func ids(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = "c" + strconv.Itoa(i)
	}
	return all
}

// A time-out is read as "no calls": all dropped (cgrates 5146).
func TestNoAnswerFromASwitchIsNotNoCalls(t *testing.T) {
	calls := ids(3)
	metered(t, listing{&fakeSwitch{}, &calls}, func(r *rig) {
		r.account("acme", 100_000)
		for _, id := range calls {
			r.talk("acme", id)
		}
		r.wait(45 * time.Second)
		r.sw.set(func(*fakeSwitch) { calls = nil })
		r.wait(10 * time.Minute)
		equal(t, "live", r.m.Stats().Live, 3)
		equal(t, "told", r.sw.heard(), "")
		// Extensions are no proof where the switch can be asked.
		c := r.read("acme", "c0")
		equal(t, "proof", c.ProofAt-c.AnsweredAt, 30_000)
	})
}

func TestCallAbsentFromTwoListingsIsLost(t *testing.T) {
	calls := ids(3)
	metered(t, listing{&fakeSwitch{}, &calls}, func(r *rig) {
		r.account("acme", 100_000)
		for _, id := range calls {
			r.talk("acme", id)
		}
		r.place("acme", "ringing")
		r.wait(65 * time.Second) // two listings
		r.sw.set(func(*fakeSwitch) { calls = ids(2) })
		r.wait(30 * time.Second)
		equal(t, "live after one listing", r.m.Stats().Live, 3)
		r.talk("acme", "new")
		r.sw.set(func(*fakeSwitch) { calls = append(ids(2), "new") })
		r.wait(30 * time.Second)
		equal(t, "live after two", r.m.Stats().Live, 3)
		equal(t, "ringing", r.m.Stats().Held, 1)
		recs := r.records()
		equal(t, "records", len(recs), 1)
		equal(t, "lost", recs[0].Key.CallID, "c2")
		equal(t, "talk", recs[0].TalkMS, 60_000)
		r.wait(5 * time.Minute)
		equal(t, "live", r.m.Stats().Live, 3)
	})
}

// One empty answer is never believed, however few the calls.
func TestEmptyListingIsBelievedOnlyWhenConfirmed(t *testing.T) {
	calls := ids(1)
	metered(t, listing{&fakeSwitch{}, &calls}, func(r *rig) {
		r.account("acme", 1000)
		r.talk("acme", "c0")
		r.wait(35 * time.Second)
		r.sw.set(func(*fakeSwitch) { calls = []string{} })
		r.wait(40 * time.Second) // asked again after 10 s
		equal(t, "live after two", r.m.Stats().Live, 1)
		r.wait(10 * time.Second)
		equal(t, "live after three", r.m.Stats().Live, 0)
		equal(t, "breaker", r.metric("breaker_total"), 1)
	})
}

func TestBreakerHoldsOffWhenMostCallsVanish(t *testing.T) {
	calls := ids(20)
	metered(t, listing{&fakeSwitch{}, &calls}, func(r *rig) {
		r.account("acme", 100_000)
		for _, id := range calls {
			r.talk("acme", id)
		}
		r.wait(35 * time.Second)
		r.sw.set(func(*fakeSwitch) { calls = ids(5) })
		r.wait(40 * time.Second) // two answers
		equal(t, "live", r.m.Stats().Live, 20)
		r.sw.set(func(*fakeSwitch) { calls = ids(19) })
		r.wait(15 * time.Second)
		equal(t, "live after it was not confirmed", r.m.Stats().Live, 20)
		r.wait(30 * time.Second)
		equal(t, "live: one did end", r.m.Stats().Live, 19)
		r.sw.set(func(*fakeSwitch) { calls = ids(5) })
		r.wait(2 * time.Minute)
		equal(t, "live after it was confirmed", r.m.Stats().Live, 5)
		equal(t, "breaker", r.metric("breaker_total"), 2)
		equal(t, "lost", r.metric("lost_total", "reason=listing"), 15)
		r.balance("acme")
	})
}
