package meter_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/meter"
)

// A prepaid customer talks past the balance (magnusbilling 343).
func TestPrepaidCallerIsWarnedAndCutOffAtTheLastHeldSecond(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 90)
		r.talk("acme", "c1")
		r.wait(29 * time.Second)
		equal(t, "before the warning", r.sw.heard(), "")
		r.wait(60 * time.Second)
		equal(t, "before the end", r.sw.heard(), "30s warn c1 60")
		r.wait(2 * time.Second)
		equal(t, "at the end", r.sw.heard(), "30s warn c1 60\n1m30s hangup c1 insufficient_credits")
		equal(t, "held", r.balance("acme").Held, 0)
		recs := r.records()
		equal(t, "records", len(recs), 1)
		equal(t, "state", recs[0].State, authz.StateSettled)
		if over := recs[0].TalkMS - 90_000; over < 0 || over > 200 {
			t.Errorf("talk is %d ms, want 90,000", recs[0].TalkMS)
		}
		equal(t, "calls", r.m.Stats().Live, 0)
	})
}

// The way to the switch takes its time: a hang-up sent when credit is over would
// end the call in a second that nobody paid.
func TestHangupBeforeEndsTheCallInItsLastPaidSecond(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 90)
		r.talk("acme", "c1")
		r.wait(89*time.Second + 600*time.Millisecond)
		equal(t, "before the end", r.sw.heard(), "30s warn c1 60")
		r.wait(200 * time.Millisecond)
		equal(t, "held", r.balance("acme").Held, 0)
		recs := r.records()
		equal(t, "records", len(recs), 1)
		equal(t, "seconds", recs[0].DurationSeconds(), 90)
		if recs[0].TalkMS < 89_700 || recs[0].TalkMS > 89_800 {
			t.Errorf("talk is %d ms, want 89,700", recs[0].TalkMS)
		}
		equal(t, "available", r.balance("acme").Available, 0)
	}, func(c *meter.Config) { c.HangupBefore = 300 * time.Millisecond })
}

func TestHangupBeforeLeavesAShortCallHalfOfItsTime(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 1)
		r.talk("acme", "c1")
		r.wait(450 * time.Millisecond)
		equal(t, "calls", r.m.Stats().Live, 1)
		r.wait(100 * time.Millisecond)
		equal(t, "calls", r.m.Stats().Live, 0)
	}, func(c *meter.Config) { c.HangupBefore, c.WarnBefore = 10*time.Second, -1 })
}

// A call in progress profits from a top-up, where the switch's own limit can be
// raised.
func TestTopUpBeforeCutOffRescuesTheCall(t *testing.T) {
	metered(t, extending{&fakeSwitch{}}, func(r *rig) {
		r.account("acme", 90)
		r.talk("acme", "c1")
		r.wait(70 * time.Second)
		r.credit("acme", 100)
		r.wait(58 * time.Second)
		equal(t, "after the top-up", r.sw.heard(), "30s warn c1 60\n1m28s extend c1 190")
		r.wait(70 * time.Second)
		equal(t, "when that runs out too", r.sw.heard(),
			"30s warn c1 60\n1m28s extend c1 190\n2m10s warn c1 60\n3m10s hangup c1 insufficient_credits")
		equal(t, "rescues", r.metric("extensions_total", "result=rescued"), 1)
		r.balance("acme")
	})
}

func TestTopUpBeforeTheWarningLeavesTheCallerInPeace(t *testing.T) {
	metered(t, extending{&fakeSwitch{}}, func(r *rig) {
		r.account("acme", 150)
		r.talk("acme", "c1")
		r.wait(88 * time.Second)
		r.credit("acme", 600)
		r.wait(400 * time.Second)
		equal(t, "told", r.sw.heard(), "1m30s extend c1 750")
		equal(t, "talked", r.ended("acme", "c1").TalkMS, 488_000)
	})
}

// Debits a connect fee for each slice (cgrates 16): the hold is the price of all
// the talk time, never a sum over slices.
func TestConnectFeeIsHeldOnceHoweverManySlices(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 1000)
		h := r.hold("acme", "c1")
		h.Price.Connect = 5 * second
		r.placeHold(h)
		r.answer("acme", "c1")
		r.wait(285 * time.Second)
		equal(t, "held", r.balance("acme").Held, (300+5)*second)
		st := r.ended("acme", "c1")
		equal(t, "charged", st.Units, (285+5)*second)
		equal(t, "overrun", st.Overrun, 0)
	})
}

// Two calls of one account draw on the same credit; neither is cut off while
// any is left, and together they do not overspend.
func TestCallsOfOneAccountShareItsLastCredit(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 200)
		r.talk("acme", "c1")
		r.talk("acme", "c2")
		r.wait(130 * time.Second)
		b := r.balance("acme")
		if spent := b.Settled; spent < 199*second || spent > 201*second {
			t.Errorf("spent %d of %d", spent, 200*second)
		}
		equal(t, "live", r.m.Stats().Live, 0)
		equal(t, "cut off", r.metric("cutoffs_total"), 2)
	})
}

// The call limit of an account ends a call whatever its credit, without the
// announcement that credit runs out.
func TestCallLimitEndsTheCallUnwarned(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 10_000)
		h := r.hold("acme", "c1")
		h.Limits.MaxSeconds = 150
		r.placeHold(h)
		r.answer("acme", "c1")
		r.wait(160 * time.Second)
		equal(t, "told", r.sw.heard(), "2m30s hangup c1 call_limit")
	})
}

// With other calls live, the switch's dead-man limit is a share of the credit;
// a switch that can arm it again gets it raised.
func TestDeadManLimitIsRaisedAtEachExtension(t *testing.T) {
	metered(t, extending{&fakeSwitch{}}, func(r *rig) {
		r.account("acme", 400)
		r.talk("acme", "c1") // 400 s
		r.talk("acme", "c2") // 60 held, 340 left; half of it
		r.wait(20 * time.Second)
		r.ended("acme", "c1")
		r.wait(60 * time.Second)
		equal(t, "told", r.sw.heard(), "50s extend c2 380")
	})
}

func TestDeadManLimitIsTriedAgainWhenTheSwitchFails(t *testing.T) {
	metered(t, extending{&fakeSwitch{}}, func(r *rig) {
		r.account("acme", 400)
		r.talk("acme", "c1")
		r.talk("acme", "c2")
		r.ended("acme", "c1")
		r.sw.set(func(f *fakeSwitch) { f.fail = errors.New("refused") })
		r.wait(51 * time.Second)
		r.sw.set(func(f *fakeSwitch) { f.fail = nil })
		r.wait(60 * time.Second)
		equal(t, "told", r.sw.heard(), "50s extend c2 400\n1m50s extend c2 400")
		equal(t, "failed", r.metric("dead_man_total", "result=failed"), 1)
	})
}

// A switch that cannot re-arm ends the call at the limit it was given: the
// meter does not hold credit beyond it.
func TestNoCreditIsHeldBeyondTheDeadManLimit(t *testing.T) {
	metered(t, &fakeSwitch{gone: true}, func(r *rig) {
		r.account("acme", 400)
		r.talk("acme", "c1")
		r.talk("acme", "c2") // limit (400-60)/2 = 170 s
		r.ended("acme", "c1")
		r.wait(165 * time.Second)
		equal(t, "held", r.balance("acme").Held, 170*second)
		equal(t, "told", r.sw.heard(), "1m50s warn c2 60")
		r.wait(10 * time.Second)
		equal(t, "told", r.sw.heard(), "1m50s warn c2 60\n2m50s hangup c2 insufficient_credits")
	})
}

func TestEmergencyCallIsNeverHungUpOrCharged(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 0)
		h := r.hold("acme", "sos")
		h.Price, h.SliceSeconds, h.Flags = tariff.Price{Initial: 1, Step: 1, CreditPrice: 1}, tariff.Unlimited, authz.Flags("e")
		r.m.TrackUnchecked(*h)
		r.wait(time.Second)
		r.answer("acme", "sos")
		_, err := r.m.Kill(t.Context(), "acme", key("sos"))
		must(t, err)
		r.wait(time.Hour)
		equal(t, "told", r.sw.heard(), "")
		st := r.ended("acme", "sos")
		equal(t, "charged", st.Units, 0)
		equal(t, "talked", st.TalkMS, 3600*1000)
		equal(t, "killed", r.metric("cutoffs_total"), 0)
	}, func(c *meter.Config) { c.Tick = time.Second })
}

// Extensions of many calls go out in batches, at most two at a time, each call
// once a slice.
func TestExtensionsAreBatchedAndFew(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		const calls = 120
		r.account("acme", 1_000_000)
		for i := range calls {
			r.talk("acme", "c"+strconv.Itoa(i))
		}
		r.store.delay.Store(int64(5 * time.Millisecond))
		r.wait(5 * time.Minute)
		n, batches := r.store.extended()
		if n > calls*6 || n < calls*4 {
			t.Errorf("%d extensions of %d calls in 5 slices", n, calls)
		}
		if most := n/25 + 5*4; batches > most {
			t.Errorf("%d batches for %d extensions, want at most %d", batches, n, most)
		}
		equal(t, "batches under way", r.store.mostAtOne, 2)
		equal(t, "told", r.sw.heard(), "")
		r.store.delay.Store(0)
	})
}

func TestWarningThatFailsIsTriedAgain(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 90)
		r.talk("acme", "c1")
		r.sw.set(func(f *fakeSwitch) { f.fail = errors.New("refused") })
		r.wait(31 * time.Second)
		r.sw.set(func(f *fakeSwitch) { f.fail = nil })
		r.wait(5 * time.Second)
		equal(t, "told", r.sw.heard(), "30s warn c1 60\n33s warn c1 57")
	})
}

func TestNoWarningWhereNoneIsWanted(t *testing.T) {
	metered(t, &fakeSwitch{}, func(r *rig) {
		r.account("acme", 90)
		r.talk("acme", "c1")
		r.wait(95 * time.Second)
		equal(t, "told", r.sw.heard(), "1m30s hangup c1 insufficient_credits")
	}, func(c *meter.Config) { c.WarnBefore = -1 })
}
