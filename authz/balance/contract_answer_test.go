package balance_test

import (
	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// at gives an answer the switch's own stamp; 0 = none.
func at(ms int64) func(*authz.Answer) { return func(a *authz.Answer) { a.At = ms } }

var answerClauses = []clause{
	{"answered makes a call live", func(r *rig) {
		held := r.authorized("a")
		r.pass(7)
		t := r.answered("a", at(r.now-40))
		want := r.call("a")
		same(r, "answer", t, authz.Taken{Call: want, Budget: 10 * minute, Seq: held.Seq})
		same(r, "state", want.State, authz.StateLive)
		same(r, "stamps", [3]int64{want.AnsweredAt, want.AnsweredSwitch, want.ProofAt}, [3]int64{r.now, r.now - 40, r.now})
		r.has(9*minute, minute, 0)
	}},
	{"answered twice is answered once", func(r *rig) {
		r.authorized("a")
		first := r.answered("a", at(r.now))
		stamp := r.now
		r.pass(3)
		for _, again := range []int64{stamp, 0} {
			t := r.answered("a", at(again))
			same(r, "duplicate", t.Duplicate, true)
			same(r, "call", t.Call, first.Call)
		}
		_, err := r.answer("a", at(stamp+1))
		r.fails(err, authz.ErrCallConflict)
	}},
	{"answered for a call not known", func(r *rig) {
		_, err := r.answer("a")
		r.fails(err, authz.ErrUnknownCall)
		r.fails(r.marked("a"), authz.ErrUnknownCall)
		_, err = r.answer("a")
		r.fails(err, authz.ErrUnknownCall)
	}},
	{"answered after the end changes nothing", func(r *rig) { // freeswitch 2061, 2143
		r.authorized("a")
		r.settled("a", func(e *authz.End) { e.AnsweredAt = r.now })
		t := r.answered("a")
		same(r, "duplicate", t.Duplicate, true)
		same(r, "state", t.Call.State, authz.StateSettled)

		r.authorized("b")
		r.settled("b", func(e *authz.End) { e.AnsweredAt = -1 }) // the switch says: never answered
		same(r, "state", r.answered("b").Call.State, authz.StateReleased)
		r.balanced()
	}},
	{"a hold that was released is taken again at the answer", func(r *rig) {
		r.authorized("a")
		r.pass(300)
		same(r, "released", r.released("a", func(e *authz.Release) { e.Reason = "expired" }).State, authz.StateReleased)
		r.has(10*minute, 0, 0)
		r.pass(1)
		t := r.answered("a", func(a *authz.Answer) { a.Epoch = 4 })
		same(r, "state", t.Call.State, authz.StateLive)
		same(r, "held", t.Call.Held, minute)
		same(r, "owner", t.Call.Epoch, 4)
		same(r, "others", t.Others, 0)
		r.has(9*minute, minute, 0)
		r.pass(30)
		r.settled("a")
		r.has(10*minute-30*second, 0, 30*second)
		same(r, "records", len(r.records()), 2)
	}},
	{"a hold is taken again as far as the credit goes", func(r *rig) {
		r.authorized("a")
		r.authorized("b")
		r.released("a")
		r.released("b")
		r.credit(-10*minute + 20*second)
		same(r, "held", r.answered("a").Call.Held, 20*second)
		t := r.answered("b")
		same(r, "state", t.Call.State, authz.StateLive) // it talks: it is live whatever the credit
		same(r, "held", t.Call.Held, 0)
		r.has(0, 20*second, 0)
		same(r, "calls", r.balance().Calls, 2)
	}},
	{"extend buys talk time up to a point, once", func(r *rig) {
		r.authorized("a")
		r.answered("a")
		r.pass(50)
		x := r.extend("a", 120)
		same(r, "answer", x, authz.Extended{Units: 2 * minute, UntilMS: 120_000, Budget: 10 * minute, Seq: 3})
		r.has(8*minute, 2*minute, 0)
		same(r, "proof of life", r.call("a").ProofAt, r.now)
		same(r, "again", r.extend("a", 120), x)
		same(r, "late", r.extend("a", 60), x)
		r.has(8*minute, 2*minute, 0)
		r.extend("a", 180, func(x *authz.Extension) { x.ProofAt = r.now - 20_000 })
		same(r, "proof never goes back", r.call("a").ProofAt, r.now)
	}},
	{"extend goes as far as the credit goes", func(r *rig) { // magnusbilling 343
		r.credit(-10*minute + 70*second)
		r.authorized("a")
		r.answered("a")
		x := r.extend("a", 120)
		r.must(x.Err)
		same(r, "until", x.UntilMS, 70_000)
		same(r, "budget", x.Budget, 70*second)
		r.has(0, 70*second, 0)
		r.credit(minute)
		same(r, "after a purchase", r.extend("a", 120).UntilMS, 120_000)
		r.has(10*second, 2*minute, 0)
	}},
	{"extend holds whole increments", func(r *rig) {
		p := tariff.Price{Rate: 60_000, Connect: 500, Initial: 60, Step: 30, CreditPrice: 70_000}
		r.authorized("a", func(h *authz.Hold) { h.Price = p })
		r.answered("a")
		x := r.extend("a", 61)
		same(r, "held", x.Units, p.Cost(90_000))
		r.pass(61)
		same(r, "cost", r.settled("a").Units, p.Cost(90_000)) // the fee once: cgrates 16
		r.credit(-r.balance().Available + p.Cost(119_000) - 31*second)
		r.authorized("b", func(h *authz.Hold) { h.Price = p })
		r.answered("b")
		same(r, "what remains reaches", r.extend("b", 120).UntilMS, 60_000)
	}},
	{"extend by another than the owner is refused", func(r *rig) {
		r.authorized("a")
		r.answered("a")
		r.fails(r.extend("a", 120, func(x *authz.Extension) { x.Epoch = 2 }).Err, authz.ErrFenced)
		r.fails(r.extend("b", 120).Err, authz.ErrUnknownCall)
		r.fails(r.marked("c"), authz.ErrUnknownCall)
		r.fails(r.extend("c", 120).Err, authz.ErrUnknownCall)
		r.settled("a")
		r.fails(r.extend("a", 180).Err, authz.ErrCallEnded)
		r.fails(r.extend("a", 60, func(x *authz.Extension) { x.Account += "-not-there" }).Err, authz.ErrLost)
	}},
	{"many are extended in one round trip, each with its own answer", func(r *rig) {
		r.authorized("a")
		r.answered("a")
		r.authorized("b")
		xs := []authz.Extension{
			{Key: key("a"), Account: r.account, Epoch: 1, Now: r.now, Day: newYear, UntilMS: 120_000},
			{Key: key("none"), Account: r.account, Epoch: 1, Now: r.now, Day: newYear, UntilMS: 120_000},
			{Key: key("b"), Account: r.account, Epoch: 1, Now: r.now, Day: newYear, UntilMS: 180_000},
		}
		got := r.Extend(r.ctx, xs)
		same(r, "first", got[0].UntilMS, 120_000)
		r.fails(got[1].Err, authz.ErrUnknownCall)
		same(r, "third", got[2].UntilMS, 180_000)
		same(r, "none", len(r.Extend(r.ctx, nil)), 0)
	}},
	{"a kill is told to the owner", func(r *rig) {
		r.authorized("a")
		r.answered("a")
		c, err := r.Kill(r.ctx, r.account, key("a"))
		r.must(err)
		same(r, "flags", c.Flags, "k")
		_, err = r.Kill(r.ctx, r.account, key("a"))
		r.must(err)
		same(r, "told", r.extend("a", 120).Killed, true)
		r.pass(2)
		same(r, "kept in the record", r.settled("a").Flags, "k")
		_, err = r.Kill(r.ctx, r.account, key("a"))
		r.fails(err, authz.ErrCallEnded)
		_, err = r.Kill(r.ctx, r.account, key("b"))
		r.fails(err, authz.ErrUnknownCall)
	}},
	{"a ringing call is killed too", func(r *rig) { // kamailio 563
		r.authorized("a")
		_, err := r.Kill(r.ctx, r.account, key("a"))
		r.must(err)
		same(r, "told", r.extend("a", 60).Killed, true)
	}},
}
