package balance_test

import (
	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// talked makes a live call that was answered now, by both clocks.
func (r *rig) talked(id string, mods ...func(*authz.Hold)) authz.Held {
	r.Helper()
	held := r.authorized(id, mods...)
	r.answered(id)
	return held
}

// stamps are the switch's own of an end.
func stamps(answered, ended int64) func(*authz.End) {
	return func(e *authz.End) { e.AnsweredAt, e.EndedAt = answered, ended }
}

func lost(e *authz.End) { e.Lost, e.EndedAt = true, 0 }

var settleClauses = []clause{
	{"settle charges the talk and gives the rest back", func(r *rig) {
		h := r.hold("a")
		_, err := r.Authorize(r.ctx, h)
		r.must(err)
		r.pass(9) // ring time costs nothing
		r.answered("a")
		answered := r.now
		r.pass(41)
		r.now -= 500
		st := r.settled("a")
		same(r, "settlement", st, authz.Settlement{State: authz.StateSettled, UID: h.UID, TalkMS: 40_500, Units: 41 * second,
			Micros: 47_834, Available: 10*minute - 41*second, Seq: 3}) // 41/60 of 70,000 micros, rounded up
		r.has(10*minute-41*second, 0, 41*second)
		same(r, "records", r.records(), []authz.Record{{State: authz.StateSettled, Account: r.account, Key: h.Key, UID: h.UID, Seq: 3, Epoch: 1,
			At: r.now, AnsweredAt: answered, TalkMS: 40_500, Units: 41 * second, Micros: 47_834, Reason: "16", CreatedAt: h.Now, Price: base, Detail: h.Detail}})
		same(r, "a tombstone keeps no numbers", r.call("a").Detail, authz.Detail{})
	}},
	{"an end without an answer gives the hold back", func(r *rig) {
		r.authorized("a")
		r.pass(20)
		st := r.settled("a", func(e *authz.End) { e.AnsweredAt, e.Cause = -1, "19" })
		same(r, "state", st.State, authz.StateReleased)
		r.has(10*minute, 0, 0)
		rec := r.records()[0]
		same(r, "record", [2]string{rec.State.String(), rec.Reason}, [2]string{"released", "19"})
		r.authorized("b")
		_, err := r.end("b")
		r.fails(err, authz.ErrNotAnswered)
		r.has(9*minute, minute, 0)
	}},
	{"ended before answered is charged by its own stamps", func(r *rig) {
		r.authorized("a")
		r.pass(30)
		st := r.settled("a", stamps(r.now-21_000, r.now))
		same(r, "talk", st.TalkMS, 21_000)
		r.has(10*minute-21*second, 0, 21*second)
	}},
	{"the switch's two stamps win over ours", func(r *rig) {
		r.authorized("a")
		r.pass(2)
		r.answered("a", at(r.now-1500)) // the event took its time
		r.pass(30)
		st := r.settled("a", stamps(0, r.now-800))
		same(r, "talk", st.TalkMS, 30_700)
		same(r, "answered", r.records()[0].AnsweredAt, r.now-31_500)
		same(r, "hangup", r.records()[0].At, r.now-800)
	}},
	{"one stamp of the switch is not mixed with ours", func(r *rig) {
		r.authorized("a")
		r.answered("a", at(0))
		r.pass(30)
		st := r.settled("a", stamps(0, r.now+3_000)) // its clock is ahead
		same(r, "talk", st.TalkMS, 30_000)
		r.authorized("b")
		r.answered("b", at(r.now-3_000))
		r.pass(10)
		same(r, "talk", r.settled("b", stamps(0, 0)).TalkMS, 10_000)
	}},
	{"an end that came in long ago is charged to then", func(r *rig) {
		r.authorized("a")
		r.answered("a", at(0))
		r.pass(30)
		in := r.now
		r.pass(600) // Redis was away
		st := r.settled("a", func(e *authz.End) { e.ReceivedAt, e.EndedAt = in, 0 })
		same(r, "talk", st.TalkMS, 30_000)
		same(r, "hangup", r.records()[0].At, in)
		same(r, "over", r.call("a").OverAt, r.now)
	}},
	{"the cause decides nothing", func(r *rig) { // ASTPP 182
		for i, cause := range []string{"", "16", "31", "41", "127", "garbage\tand\nmore"} {
			id := string(rune('a' + i))
			r.talked(id)
			r.pass(10)
			same(r, cause, r.settled(id, func(e *authz.End) { e.Cause = cause }).Units, 10*second)
		}
		same(r, "cause", r.records()[5].Reason, "garbage and more")
	}},
	{"a call past its hold is charged in full", func(r *rig) {
		r.credit(-10*minute + 60*second)
		r.talked("a")
		r.pass(75)
		st := r.settled("a")
		same(r, "overrun", st.Overrun, 15*second)
		same(r, "flags", st.Flags, "o")
		r.has(-15*second, 0, 75*second)
		same(r, "record", r.records()[0].Overrun, 15*second)
		r.denied(authz.CodeInsufficientCredits, "b")
	}},
	{"a negative duration is clamped to what is proven", func(r *rig) {
		r.talked("a")
		r.pass(10)
		st := r.settled("a", stamps(r.now, r.now-3000))
		same(r, "talk", st.TalkMS, 10_000) // held 60 s, lived 10
		same(r, "flags", st.Flags, "c")
	}},
	{"a duration longer than the call lived is clamped", func(r *rig) { // siphon-sip 204, kamailio 4495
		r.talked("a")
		r.pass(90)
		st := r.settled("a", stamps(r.now-71_582_788_000, r.now))
		same(r, "talk", st.TalkMS, 60_000) // lived 90 s, held and proven 60
		same(r, "flags", st.Flags, "c")
		r.authorized("b")
		r.pass(20)
		st = r.settled("b", stamps(1000, r.now))
		same(r, "talk", st.TalkMS, 20_000)
		r.balanced()
	}},
	{"an end that came before the answer we noted is clamped", func(r *rig) { // another sidecar's clock was ahead
		r.authorized("a")
		r.pass(10)
		r.answered("a", at(0))
		r.now -= 7_000
		st := r.settled("a")
		same(r, "talk", st.TalkMS, 0)
		same(r, "flags", st.Flags, "c")
		r.has(10*minute, 0, 0)
	}},
	{"proof of life counts against the clamp", func(r *rig) {
		r.talked("a")
		r.pass(80)
		_, err := r.Prove(r.ctx, r.account, key("a"), r.now)
		r.must(err)
		r.pass(20)
		same(r, "talk", r.settled("a", stamps(r.now, r.now-1)).TalkMS, 80_000)
	}},
	{"a switch's clock that is far off is flagged, its span is kept", func(r *rig) {
		r.authorized("a")
		r.answered("a", at(r.now-3_600_000))
		r.pass(30)
		st := r.settled("a", stamps(0, r.now-3_600_000))
		same(r, "talk", st.TalkMS, 30_000)
		same(r, "flags", st.Flags, "t")
		same(r, "hangup is ours", r.records()[0].At, r.now)
		r.talked("b")
		r.pass(30)
		same(r, "a little slack", r.settled("b", stamps(0, r.now+4_000)).Flags, "")
	}},
	{"lost settles to the last proof of life", func(r *rig) { // cgrates 39, OpenSIPS 2380
		r.talked("a")
		r.pass(50)
		r.extend("a", 120)
		r.pass(3600)
		st := r.settled("a", lost)
		same(r, "state", st.State, authz.StateLost)
		same(r, "talk", st.TalkMS, 50_000)
		r.has(10*minute-50*second, 0, 50*second)
		rec := r.records()[0]
		same(r, "record", [2]int64{rec.At, rec.AnsweredAt}, [2]int64{noon + 50_000, noon})
		again := r.settled("a", lost)
		same(r, "twice", again.Duplicate, true)
		same(r, "state", again.State, authz.StateLost)
		r.has(10*minute-50*second, 0, 50*second)
	}},
	{"only a live call can be lost", func(r *rig) {
		r.authorized("a")
		_, err := r.end("a", lost)
		r.fails(err, authz.ErrNotYet)
		r.released("a")
		_, err = r.end("a", lost)
		r.fails(err, authz.ErrNotYet)
		r.talked("b")
		r.settled("b")
		same(r, "settled before", r.settled("b", lost).Duplicate, true)
		same(r, "state", r.call("b").State, authz.StateSettled)
		_, err = r.end("c", lost)
		r.fails(err, authz.ErrUnknownCall)
	}},
	{"a lost call that ends after all is charged the difference", func(r *rig) {
		fee := tariff.Price{Rate: 60_000, Connect: 500, Initial: 1, Step: 1, MicrosRate: 70_000, CreditPrice: 70_000}
		r.talked("a", func(h *authz.Hold) { h.Price = fee })
		r.pass(30)
		r.extend("a", 60)
		r.settled("a", lost)
		r.has(10*minute-30_500, 0, 30_500)
		r.pass(15)
		st := r.settled("a")
		same(r, "state", st.State, authz.StateSettled)
		same(r, "units", st.Units, 45_500)
		same(r, "duplicate", st.Duplicate, false)
		r.has(10*minute-45_500, 0, 45_500)
		same(r, "spent today", r.balance().SpentDay, 45_500)
		same(r, "calls", r.balance().Calls, 0)
		recs := ledger(r.records())
		same(r, "ledger rows", len(recs), 1)
		same(r, "charged", recs[st.UID].Units, 45_500)
		same(r, "twice", r.settled("a").Duplicate, true)
	}},
	{"a lost call that ended earlier gets credit back", func(r *rig) {
		r.talked("a")
		answered := r.now
		r.pass(30)
		r.extend("a", 60)
		r.settled("a", lost)
		st := r.settled("a", stamps(0, answered+20_000))
		same(r, "units", st.Units, 20*second)
		r.has(10*minute-20*second, 0, 20*second)
	}},
	{"a released call that talked after all is charged", func(r *rig) {
		r.authorized("a")
		r.pass(10)
		r.released("a")
		r.pass(20)
		st := r.settled("a", stamps(r.now-15_000, r.now))
		same(r, "state", st.State, authz.StateSettled)
		same(r, "units", st.Units, 15*second)
		same(r, "all of it beyond a hold", st.Overrun, 15*second)
		r.has(10*minute-15*second, 0, 15*second)
		same(r, "calls", r.balance().Calls, 0)
	}},
	{"extra cost is converted half up and shown apart", func(r *rig) {
		for i, c := range []struct {
			micros, price credit.Micros
			units         credit.Units
		}{{0, 70_000, 0}, {1, 120_000, 1}, {1, 120_001, 0}, {3, 120_000, 2}, {70_000, 70_000, minute}, {1_234_567, 70_000, 1_058_200},
			{999_999_999_999, 70_000, 857_142_857_142}, {5, 0, 0}} {
			id := string(rune('a' + i))
			p := base
			p.CreditPrice = c.price
			before := r.balance()
			r.authorized(id, func(h *authz.Hold) { h.Price = p })
			r.answered(id)
			r.pass(1)
			st := r.settled(id, func(e *authz.End) { e.ExtraMicros = c.micros })
			same(r, "extra", st.ExtraUnits, c.units)
			same(r, "extra, by Go", st.ExtraUnits, c.micros.Units(c.price))
			same(r, "charged", r.balance().Settled-before.Settled, second+c.units)
			rec := r.records()[i]
			same(r, "record", [3]int64{int64(rec.Units), int64(rec.ExtraUnits), int64(rec.ExtraMicros)},
				[3]int64{int64(second), int64(c.units), int64(c.micros)})
			same(r, "overrun is of talk alone", st.Overrun, 0)
			r.credit(c.units)
		}
	}},
	{"extra cost is charged below zero", func(r *rig) {
		r.credit(-9 * minute)
		r.talked("a")
		r.pass(60)
		r.settled("a", func(e *authz.End) { e.ExtraMicros = 140_000 })
		r.has(-2*minute, 0, 3*minute)
	}},
	{"an emergency call costs nothing and is recorded", func(r *rig) {
		r.credit(-20 * minute)
		h := r.hold("a", func(h *authz.Hold) {
			h.Flags, h.SliceSeconds = "e", tariff.Unlimited
			h.Price = tariff.Price{Initial: 1, Step: 1, CreditPrice: 70_000}
		})
		taken, err := r.Adopt(r.ctx, h)
		r.must(err)
		same(r, "state", taken.Call.State, authz.StateHeld)
		r.answered("a")
		r.pass(900)
		st := r.settled("a")
		same(r, "cost", [2]credit.Units{st.Units, st.Overrun}, [2]credit.Units{0, 0})
		same(r, "flags", r.records()[0].Flags, "e")
	}},
	{"release gives an unanswered hold back", func(r *rig) {
		held := r.authorized("a")
		r.pass(5)
		st := r.released("a")
		same(r, "settlement", st, authz.Settlement{State: authz.StateReleased, UID: held.UID, Available: 10 * minute, Seq: 3})
		r.has(10*minute, 0, 0)
		rec := r.records()[0]
		same(r, "record", [2]string{rec.State.String(), rec.Reason}, [2]string{"released", "abandoned"})
		same(r, "at", rec.At, r.now)
		same(r, "twice", r.released("a").Duplicate, true)
		same(r, "records", len(r.records()), 1)
	}},
	{"a hold expires at its time and not before", func(r *rig) {
		expired := func(e *authz.Release) { e.Reason = "expired" }
		r.authorized("a")
		r.now += 239_999
		_, err := r.abandon("a", expired)
		r.fails(err, authz.ErrNotYet)
		r.now++
		same(r, "state", r.released("a", expired).State, authz.StateReleased)
	}},
	{"a live call is not released", func(r *rig) {
		r.talked("a")
		_, err := r.abandon("a")
		r.fails(err, authz.ErrNotYet)
		r.pass(10)
		r.settled("a")
		st := r.released("a")
		same(r, "late", [2]bool{st.Duplicate, st.State == authz.StateSettled}, [2]bool{true, true})
		r.has(10*minute-10*second, 0, 10*second)
	}},
}
