package meter_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/meter"
)

func TestHangupIsRepeatedUntilTheEndIsReported(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 30)
		r.talk("acme", "c1")
		r.sw.set(func(f *fakeSwitch) { f.fail = errors.New("connection refused") })
		r.wait(36 * time.Second)
		r.sw.set(func(f *fakeSwitch) { f.fail = nil })
		r.wait(10 * time.Second)
		equal(t, "told", r.sw.heard(), strings.Join([]string{"30s hangup c1 insufficient_credits", "31s hangup c1 insufficient_credits",
			"33s hangup c1 insufficient_credits", "37s hangup c1 insufficient_credits"}, "\n"))
		equal(t, "failed", r.metric("hangups_total", "result=failed"), 3)
		recs := r.records()
		equal(t, "records", len(recs), 1)
		if got := recs[0].TalkMS; got < 37_000 || got > 37_500 {
			t.Errorf("talk is %d ms", got)
		}
		if recs[0].Overrun != recs[0].Units-30*second {
			t.Errorf("overrun is %d of %d", recs[0].Overrun, recs[0].Units)
		}
	}, func(c *meter.Config) { c.WarnBefore = -1 })
}

// A hangup event is lost (freeswitch 2061, 2143): the switch took the hang-up
// but never says that the call is over.
func TestLostHangupEventIsSettledToTheHangup(t *testing.T) {
	metered(t, &fakeSwitch{gone: true}, func(r *rig) {
		r.account("acme", 30)
		r.talk("acme", "c1")
		r.wait(149 * time.Second)
		equal(t, "state while waited for", r.read("acme", "c1").State, authz.StateLive)
		r.wait(5 * time.Second)
		recs := r.records()
		equal(t, "records", len(recs), 1)
		equal(t, "state", recs[0].State, authz.StateLost)
		if got := recs[0].TalkMS; got < 30_000 || got > 30_200 {
			t.Errorf("talk is %d ms, want that of the first hang-up", got)
		}
		equal(t, "lost", r.metric("lost_total", "reason=no_end"), 1)

		// The end comes after all, long after: it replaces the loss.
		at := time.Now().UnixMilli()
		res, err := r.m.Event(t.Context(), authz.Event{Type: authz.EventEnded, Key: key("c1"), AnsweredAt: at - 40_000, EndedAt: at - 7000})
		must(t, err)
		equal(t, "upgraded", res.State, authz.StateSettled)
		equal(t, "talk", res.Settlement.TalkMS, 33_000)
		equal(t, "settled", r.balance("acme").Settled, 33*second)
		equal(t, "held", r.balance("acme").Held, 0)
	})
}

// Ringing calls escape the kill path (kamailio 563, 4009, 2346).
func TestRingingCallIsKilledToo(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 1000)
		r.place("acme", "ringing")
		r.talk("acme", "talking")
		r.wait(5 * time.Second)
		for _, id := range []string{"ringing", "talking"} {
			_, err := r.m.Kill(t.Context(), "acme", key(id))
			must(t, err)
			r.wait(time.Second)
		}
		equal(t, "told", r.sw.heard(), "5s hangup ringing killed\n6s hangup talking killed")
		b := r.balance("acme")
		equal(t, "held", b.Held, 0)
		equal(t, "calls", b.Calls, 0)
	})
}

// The switch does not know a ringing call that is to be killed: neither it nor
// Redis is asked over and over, and the hold lapses in its time.
func TestKilledCallTheSwitchDoesNotKnow(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 1000)
		r.wait(time.Second) // the sweep of the start
		looks := r.store.looks.Load()
		r.place("acme", "ringing")
		r.sw.set(func(f *fakeSwitch) { f.fail = meter.ErrNoSuchCall })
		_, err := r.m.Kill(t.Context(), "acme", key("ringing"))
		must(t, err)
		r.wait(3 * time.Minute)
		equal(t, "told", r.sw.heard(), "1s hangup ringing killed")
		equal(t, "looks", r.store.looks.Load(), looks)
		r.wait(2 * time.Minute)
		equal(t, "held", r.balance("acme").Held, 0)
	})
}

// A kill by another sidecar is noticed by the owner, for a ringing call too.
func TestKillFlagIsNoticedWithinASlice(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 1000)
		r.place("acme", "ringing")
		r.talk("acme", "talking")
		for _, id := range []string{"ringing", "talking"} {
			_, err := r.store.Kill(t.Context(), "acme", key(id))
			must(t, err)
		}
		r.wait(61 * time.Second)
		heard := r.sw.heard()
		for _, id := range []string{"ringing", "talking"} {
			if !strings.Contains(heard, "hangup "+id+" killed") {
				t.Errorf("%s was not hung up: %s", id, heard)
			}
		}
	})
}

func TestUnansweredHoldLapsesAndCostsNothing(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 100)
		r.place("acme", "c1")
		r.wait(239 * time.Second)
		equal(t, "held", r.balance("acme").Held, 60*second)
		r.wait(2 * time.Second)
		equal(t, "held", r.balance("acme").Held, 0)
		recs := r.records()
		equal(t, "records", len(recs), 1)
		equal(t, "state", recs[0].State, authz.StateReleased)
		equal(t, "reason", recs[0].Reason, "expired")
		equal(t, "expired", r.metric("expired_total"), 1)
		equal(t, "in memory", r.m.Stats().Held, 0)

		// Answered after all: held again, and metered.
		r.answer("acme", "c1")
		r.wait(30 * time.Second)
		equal(t, "live", r.m.Stats().Live, 1)
		equal(t, "talk", r.ended("acme", "c1").TalkMS, 30_000)
	})
}

// Ended before answered, abandoned before its authorize, duplicates: each has
// its effect once.
func TestEventsOutOfOrderAndTwice(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 100)
		r.place("acme", "c1")
		r.wait(20 * time.Second)
		now := time.Now().UnixMilli()
		end := authz.Event{Type: authz.EventEnded, Key: key("c1"), AnsweredAt: now - 10_000, EndedAt: now}
		for range 2 {
			res, err := r.m.Event(t.Context(), end)
			must(t, err)
			equal(t, "state", res.State, authz.StateSettled)
		}
		res, err := r.m.Event(t.Context(), authz.Event{Type: authz.EventAnswered, Key: key("c1"), Account: "acme", At: now - 10_000})
		must(t, err)
		equal(t, "answered late", res.State, authz.StateSettled)
		equal(t, "records", len(r.records()), 1)
		equal(t, "settled", r.balance("acme").Settled, 10*second)

		res = r.event(authz.EventAbandoned, "acme", "c2")
		equal(t, "abandoned before its authorize", res.State, authz.StateMark)
		held, err := r.store.Authorize(t.Context(), r.hold("acme", "c2"))
		must(t, err)
		equal(t, "late authorize", held.Denied, authz.CodeCallEnded)
	})
}

func TestEventErrorsAreTheSwitchsOwn(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 100)
		r.place("acme", "c1")
		for name, c := range map[string]struct {
			ev   authz.Event
			want error
		}{
			"no answer recorded": {authz.Event{Type: authz.EventEnded}, authz.ErrNotAnswered},
			"another currency":   {authz.Event{Type: authz.EventEnded, NeverAnswered: true, ExtraMicros: 5, ExtraCurrency: "USD"}, authz.ErrExtraCurrency},
		} {
			c.ev.Key = key("c1")
			if _, err := r.m.Event(t.Context(), c.ev); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
		at := time.Now().UnixMilli()
		answered := authz.Event{Type: authz.EventAnswered, Key: key("c1"), AnsweredAt: at}
		_, err := r.m.Event(t.Context(), answered)
		must(t, err)
		answered.AnsweredAt++
		if _, err := r.m.Event(t.Context(), answered); !errors.Is(err, authz.ErrCallConflict) {
			t.Errorf("another answer: %v", err)
		}
		if _, err := r.m.Event(t.Context(), authz.Event{Type: authz.EventAbandoned, Key: key("c1")}); !errors.Is(err, authz.ErrCallConflict) {
			t.Errorf("abandoned after its answer: %v", err)
		}
		equal(t, "kept", r.m.Stats().Backlog, 0)
	})
}

// An event names no account and no direction: by its numbers, by the index, and
// for every leg of its call id.
func TestEventFindsItsCall(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 1000)
		r.account("other", 100)
		r.book.numbers["+31850835037"] = authz.Number{Account: "acme"}
		r.talk("acme", "c1")
		r.talk("acme", "c2")
		r.talk("acme", "c3")
		in := r.hold("other", "c3")
		in.Direction = authz.Inbound
		r.placeHold(in)
		r.wait(5 * time.Second)

		res, err := r.m.Event(t.Context(), authz.Event{Type: authz.EventAnswered, Key: in.Key})
		must(t, err)
		equal(t, "inbound leg", res.State, authz.StateLive)
		both := key("c3")
		both.Direction = 0
		res, err = r.m.Event(t.Context(), authz.Event{Type: authz.EventEnded, Key: both})
		must(t, err)
		equal(t, "both legs", res.State, authz.StateSettled)
		equal(t, "live", r.m.Stats().Live, 2)

		// Another sidecar hears the end; it has nothing in memory.
		b := meter.New(meter.Config{Name: "b", Normalize: r.cfg.Normalize}, r.store, r.book, nil, discard, nil)
		must(t, b.Register(t.Context()))
		res, err = b.Event(t.Context(), authz.Event{Type: authz.EventEnded, Key: key("c1"), From: "31850835037"})
		must(t, err)
		equal(t, "by number", res.State, authz.StateSettled)
		end := authz.Event{Type: authz.EventEnded, Key: key("c2")}
		end.Direction = 0
		res, err = b.Event(t.Context(), end)
		must(t, err)
		equal(t, "by index", res.State, authz.StateSettled)
		r.wait(61 * time.Second)
		equal(t, "the owner learns it", r.m.Stats().Live, 0)
		equal(t, "records", len(r.records()), 4)
		equal(t, "told", r.sw.heard(), "")
	})
}

// An event of a call that is nowhere is kept until two sweeps have missed it.
func TestOrphanIsGivenUpAfterTwoSweeps(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 100)
		r.wait(time.Second) // the sweep of the start
		res := r.event(authz.EventEnded, "acme", "ghost")
		equal(t, "kept", res.Kept, true)
		res = r.event(authz.EventHeartbeat, "", "spirit")
		equal(t, "heartbeat", res, authz.EventResult{Kept: true, Action: meter.ActionContinue})
		r.wait(9 * time.Minute)
		equal(t, "sweeps", r.m.Stats().Sweeps, 2)
		equal(t, "before two sweeps", len(r.m.Orphans()), 0)
		r.wait(3 * time.Minute)
		equal(t, "orphans", len(r.m.Orphans()), 2)
		equal(t, "kept", r.m.Stats().Backlog, 0)
		equal(t, "counted", r.metric("orphans_total"), 2)
	})
}

// The sweep tells a kept event where its call is, although the index missed it.
func TestSweepFindsTheCallOfAnEvent(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 100)
		h := r.hold("acme", "c1") // authorized by a sidecar that died before it wrote the index
		h.Epoch = 77
		_, err := r.store.Authorize(t.Context(), h)
		must(t, err)
		now := time.Now().UnixMilli()
		res, err := r.m.Event(t.Context(), authz.Event{Type: authz.EventEnded, Key: key("c1"), AnsweredAt: now - 5000, EndedAt: now})
		must(t, err)
		equal(t, "kept", res.Kept, true)
		r.wait(6 * time.Minute)
		equal(t, "kept", r.m.Stats().Backlog, 0)
		equal(t, "state", r.read("acme", "c1").State, authz.StateSettled)
		equal(t, "orphans", len(r.m.Orphans()), 0)
	})
}

func TestAbandonedHoldIsGivenBack(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 1000)
		r.place("acme", "gone")
		r.place("acme", "again")
		r.place("acme", "answers")
		for _, id := range []string{"gone", "again", "answers", "never made"} {
			r.m.Abandon(key(id), "acme")
		}
		h := r.hold("acme", "again")
		held, err := r.store.Authorize(t.Context(), h)
		must(t, err)
		r.m.Track(callOf(h, held), held) // the switch asked again
		r.answer("acme", "answers")
		r.wait(3 * time.Second)
		equal(t, "gone", r.read("acme", "gone").State, authz.StateReleased)
		equal(t, "again", r.read("acme", "again").State, authz.StateHeld)
		equal(t, "answers", r.read("acme", "answers").State, authz.StateLive)
		equal(t, "never made", r.read("acme", "never made").State, authz.StateMark)
		equal(t, "in memory", r.m.Stats().Held, 1)
		equal(t, "given back", r.metric("abandoned_total"), 1)
	})
}
