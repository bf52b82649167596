package balance_test

import (
	"pgregory.net/rapid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// marked sends an end for a call not known, which leaves an end-mark for 120 s.
func (r *rig) marked(id string) error {
	_, err := r.end(id, func(e *authz.End) { e.MarkUntil = r.now + 120_000 })
	return err
}

var onceClauses = []clause{
	{"settle twice charges once", func(r *rig) { // cgrates 243, 256; ivozprovider 703
		r.talked("a")
		r.pass(30)
		first := r.settled("a", func(e *authz.End) { e.ExtraMicros = 70_000 })
		ended := r.now
		r.pass(400)
		for _, again := range []func(*authz.End){
			func(e *authz.End) { e.EndedAt, e.ExtraMicros = ended, 70_000 },
			func(e *authz.End) { e.EndedAt = 0 },
			func(e *authz.End) { e.EndedAt, e.AnsweredAt = ended, noon },
		} {
			st := r.settled("a", again)
			same(r, "answer", st, authz.Settlement{State: authz.StateSettled, UID: first.UID, Duplicate: true, TalkMS: first.TalkMS, Units: first.Units, Micros: first.Micros,
				ExtraUnits: first.ExtraUnits, Available: first.Available, Seq: first.Seq})
		}
		same(r, "records", len(r.records()), 1)
		r.has(9*minute-30*second, 0, minute+30*second)
	}},
	{"another end for the same call is a conflict", func(r *rig) {
		r.talked("a")
		r.pass(30)
		ended := r.now
		r.settled("a", func(e *authz.End) { e.ExtraMicros = 5 })
		for _, other := range []func(*authz.End){
			func(e *authz.End) { e.EndedAt = ended + 1 },
			func(e *authz.End) { e.EndedAt, e.AnsweredAt = ended, noon+1 },
			func(e *authz.End) { e.EndedAt, e.AnsweredAt = ended, -1 },
			func(e *authz.End) { e.EndedAt, e.ExtraMicros = ended, 6 },
		} {
			_, err := r.end("a", other)
			r.fails(err, authz.ErrCallConflict)
		}
		same(r, "records", len(r.records()), 1)
	}},
	{"an end before its authorize leaves a mark", func(r *rig) {
		r.fails(r.marked("a"), authz.ErrUnknownCall)
		c := r.call("a")
		same(r, "mark", c.State, authz.StateMark)
		same(r, "until", c.ExpiresAt, r.now+120_000)
		r.pass(119)
		r.denied(authz.CodeCallEnded, "a")
		r.has(10*minute, 0, 0)
		r.pass(1)
		r.authorized("a") // the id is free again
		r.has(9*minute, minute, 0)
	}},
	{"an abandon before its authorize leaves a mark", func(r *rig) {
		_, err := r.abandon("a", func(e *authz.Release) { e.MarkUntil = r.now + 120_000 })
		r.fails(err, authz.ErrUnknownCall)
		r.denied(authz.CodeCallEnded, "a")
		same(r, "a quote says so too", r.denied(authz.CodeCallEnded, "a", func(h *authz.Hold) { h.Dry = true }).Units, 0)
		r.pass(60)
		r.fails(r.marked("a"), authz.ErrUnknownCall) // told again: kept longer
		r.pass(100)
		r.denied(authz.CodeCallEnded, "a")
	}},
	{"an asker who went away may ask again", func(r *rig) {
		gone := func(e *authz.Release) { e.Reason, e.MarkUntil, e.Before = "gone", r.now+120_000, r.now }
		first := r.authorized("a")
		r.released("a", gone)
		same(r, "flags", r.call("a").Flags, "g")
		r.pass(1)
		again := r.authorized("a")
		same(r, "uid", again.UID, first.UID)
		same(r, "replayed", again.Replayed, false)
		same(r, "flags", r.call("a").Flags, "")
		r.has(9*minute, minute, 0)
		// The word of its going came before its request: that one is barred, a later one is not.
		_, err := r.abandon("b", gone)
		r.fails(err, authz.ErrUnknownCall)
		r.denied(authz.CodeCallEnded, "b")
		r.pass(1)
		r.authorized("b")
	}},
	{"abandoned, then ended without an answer: the answer comes too late", func(r *rig) {
		r.authorized("a")
		r.released("a")
		never := func(e *authz.End) { e.AnsweredAt = -1 }
		same(r, "state", r.settled("a", never).State, authz.StateReleased)
		t := r.answered("a")
		same(r, "late answer", [2]bool{t.Duplicate, t.Call.State == authz.StateReleased}, [2]bool{true, true})
		r.has(10*minute, 0, 0)
	}},
	{"no mark where none is asked for", func(r *rig) {
		_, err := r.end("a")
		r.fails(err, authz.ErrUnknownCall)
		_, err = r.abandon("b")
		r.fails(err, authz.ErrUnknownCall)
		_, err = r.Call(r.ctx, r.account, key("a"))
		r.fails(err, authz.ErrUnknownCall)
		r.authorized("a")
		r.authorized("b")
	}},
	{"a mark is no call", func(r *rig) {
		r.fails(r.marked("a"), authz.ErrUnknownCall)
		_, err := r.answer("a")
		r.fails(err, authz.ErrUnknownCall)
		_, err = r.Claim(r.ctx, r.account, key("a"), 1, 2)
		r.fails(err, authz.ErrUnknownCall)
		_, err = r.Prove(r.ctx, r.account, key("a"), r.now)
		r.fails(err, authz.ErrUnknownCall)
		_, err = r.Kill(r.ctx, r.account, key("a"))
		r.fails(err, authz.ErrUnknownCall)
	}},
	{"a call that is over is not authorized again", func(r *rig) {
		ids := []string{"settled", "released", "lost"}
		for _, id := range ids {
			r.talked(id)
		}
		r.pass(10)
		r.settled("settled")
		r.settled("lost", lost)
		r.authorized("released2")
		r.released("released2")
		for _, id := range []string{"settled", "lost", "released2"} {
			held := r.denied(authz.CodeCallEnded, id)
			same(r, id, held.UID, r.call(id).UID)
		}
		r.settled("released")
	}},
	{"released, answered, ended: charged once", func(r *rig) {
		r.authorized("a")
		r.pass(5)
		r.released("a")
		r.pass(1)
		r.answered("a")
		r.pass(10)
		r.settled("a")
		_, err := r.abandon("a")
		r.must(err)
		r.has(10*minute-10*second, 0, 10*second)
	}},
	{"ended without an answer, then with one", func(r *rig) { // freeswitch 2143: the events of two legs
		r.authorized("a")
		r.settled("a", func(e *authz.End) { e.AnsweredAt = -1 })
		same(r, "told again", r.settled("a", func(e *authz.End) { e.AnsweredAt = -1 }).Duplicate, true)
		r.pass(20)
		st := r.settled("a", stamps(r.now-5_000, r.now))
		same(r, "units", st.Units, 5*second)
		r.has(10*minute-5*second, 0, 5*second)
	}},
	{"an end for a refused call changes nothing", func(r *rig) {
		r.credit(-10 * minute)
		r.denied(authz.CodeInsufficientCredits, "a")
		st := r.settled("a", func(e *authz.End) { e.AnsweredAt = -1 })
		same(r, "state", [2]bool{st.State == authz.StateRejected, st.Duplicate}, [2]bool{true, true})
		same(r, "released", r.released("a").State, authz.StateRejected)
		same(r, "answered", r.answered("a").Call.State, authz.StateRejected)
		same(r, "records", len(r.records()), 1)
	}},
	{"every change of credit raises seq", func(r *rig) {
		seq := r.balance().Seq
		rises := func(what string) {
			r.Helper()
			now := r.balance().Seq
			if now <= seq {
				r.Fatalf("%s: seq %d after %d", what, now, seq)
			}
			seq = now
		}
		r.credit(minute)
		rises("grant")
		r.authorized("a")
		rises("authorize")
		r.released("a")
		rises("release")
		r.answered("a")
		rises("a hold taken again")
		r.extend("a", 120)
		rises("extend")
		r.settled("a", lost)
		rises("lost")
		r.settled("a")
		rises("settle")
		_, err := r.Adopt(r.ctx, r.hold("b"))
		r.must(err)
		rises("adopt")
	}},
	{"what changes no credit leaves seq", func(r *rig) {
		r.talked("a")
		seq := r.balance().Seq
		r.authorized("a")
		r.extend("a", 60)
		r.fails(r.marked("b"), authz.ErrUnknownCall)
		_, err := r.Adopt(r.ctx, r.hold("a"))
		r.must(err)
		_, err = r.Prove(r.ctx, r.account, key("a"), r.now+1)
		r.must(err)
		same(r, "seq", r.balance().Seq, seq)
	}},
}

// prices are any that a tariff can have.
func prices(t *rapid.T) tariff.Price {
	rate := rapid.OneOf(rapid.Int64Range(0, 200), rapid.Int64Range(0, 1_000_000), rapid.Int64Range(0, tariff.MaxRate))
	increment := rapid.OneOf(rapid.SampledFrom([]int64{1, 6, 30, 60}), rapid.Int64Range(1, tariff.MaxIncrement))
	return tariff.Price{Rate: credit.Units(rate.Draw(t, "rate")), Connect: credit.Units(rate.Draw(t, "connect")),
		MicrosRate: credit.Micros(rate.Draw(t, "micros rate")), MicrosConnect: credit.Micros(rate.Draw(t, "micros connect")),
		Initial: increment.Draw(t, "initial"), Step: increment.Draw(t, "step"),
		CreditPrice: credit.Micros(rapid.Int64Range(1, 10_000_000).Draw(t, "credit price"))}
}

var priceClauses = []clause{
	{"Lua charges what Go charges", func(r *rig) {
		r.credit(credit.Max / 2)
		n := 0
		rapid.Check(r.T, func(t *rapid.T) {
			n++
			id := "p" + string(rune('a'+n%26)) + rapid.StringMatching(`[a-z0-9]{12}`).Draw(t, "id")
			p := prices(t)
			talk := rapid.OneOf(rapid.Int64Range(0, 100_000), rapid.Int64Range(0, tariff.Unlimited*1000)).Draw(t, "talk ms")
			r.talked(id, func(h *authz.Hold) { h.Price, h.SliceSeconds = p, 1 })
			r.now += talk
			st := r.settled(id)
			if st.TalkMS != talk || st.Units != p.Cost(talk) || st.Micros != p.Money(talk) {
				t.Fatalf("%+v for %d ms: %d ms, %d units, %d micros, want %d and %d", p, talk, st.TalkMS, st.Units, st.Micros, p.Cost(talk), p.Money(talk))
			}
			r.credit(st.Units)
		})
	}},
	{"Lua holds what Go can afford", func(r *rig) {
		rapid.Check(r.T, func(t *rapid.T) {
			p := prices(t)
			id := "p" + rapid.StringMatching(`[a-z0-9]{12}`).Draw(t, "id")
			budget := p.Cost(1000) + credit.Units(rapid.Int64Range(0, int64(p.Cost(3600_000))).Draw(t, "beyond the least"))
			r.credit(budget - r.balance().Available)
			slice := rapid.Int64Range(1, 7200).Draw(t, "slice")
			held := r.authorized(id, func(h *authz.Hold) { h.Price, h.SliceSeconds = p, slice })
			want := p.Affordable(min(p.Cost(slice*1000), budget))
			if held.UntilMS != want*1000 || held.Units != p.Cost(want*1000) {
				t.Fatalf("%+v of %d: held %d until %d, want %d until %d", p, budget, held.Units, held.UntilMS, p.Cost(want*1000), want*1000)
			}
			r.answered(id)
			more := slice + rapid.Int64Range(1, 7200).Draw(t, "more")
			x := r.extend(id, more)
			if reach := p.Affordable(budget); reach < more {
				want = max(reach, want)
				more = want
			}
			if x.Err != nil || x.Units != p.Cost(more*1000) {
				t.Fatalf("%+v of %d: extended to %d for %d, want %d for %d (%v)", p, budget, x.UntilMS, x.Units, more*1000, p.Cost(more*1000), x.Err)
			}
			r.settled(id)
			r.credit(p.Cost(0) + 1) // never left below zero by rounding up
		})
	}},
}
