package balance_test

import (
	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// capped sets the account's spend a day and its date.
func capped(units credit.Units, day int64) func(*authz.Hold) {
	return func(h *authz.Hold) { h.Limits.SpendPerDay, h.Day = units, day }
}

var limitClauses = []clause{
	{"a suspended account calls no more, its live calls go on", func(r *rig) {
		r.authorized("a")
		r.answered("a")
		r.must(r.SetStatus(r.ctx, r.account, authz.Suspended))
		r.denied(authz.CodeAccountSuspended, "b")
		same(r, "suspended", r.balance().Suspended, true)
		x := r.extend("a", 120)
		r.must(x.Err)
		same(r, "extended", x.UntilMS, 120_000)
		same(r, "suspended", x.Suspended, true)
		r.must(r.SetStatus(r.ctx, r.account, authz.Active))
		same(r, "uid", r.authorized("b").Replayed, false)
		same(r, "suspended", r.extend("a", 120).Suspended, false)
	}},
	{"so many calls at once and no more", func(r *rig) {
		two := func(h *authz.Hold) { h.Limits.MaxCalls = 2 }
		r.authorized("a", two)
		r.authorized("b", two)
		r.answered("b")
		r.denied(authz.CodeTooManyCalls, "c", two)
		r.authorized("a", two) // a replay is no third call
		r.released("a")
		r.authorized("d", two)
		r.settled("b")
		r.authorized("e", two)
		r.denied(authz.CodeTooManyCalls, "f", two)
	}},
	{"so many seconds a call and no more", func(r *rig) {
		limit := func(h *authz.Hold) { h.Limits.MaxSeconds = 90 }
		same(r, "slice", r.authorized("a", limit).UntilMS, 60_000)
		r.answered("a")
		same(r, "extended", r.extend("a", 120).UntilMS, 90_000)
		same(r, "again", r.extend("a", 150).UntilMS, 90_000)
		r.has(10*minute-90*second, 90*second, 0)
		short := r.authorized("b", func(h *authz.Hold) { h.Limits.MaxSeconds = 10 })
		same(r, "slice beyond the limit", short.UntilMS, 10_000)
	}},
	{"spend a day counts what is spent and what is held", func(r *rig) {
		r.authorized("a", capped(2*minute, newYear))
		r.answered("a")
		r.authorized("b", capped(2*minute, newYear))
		r.denied(authz.CodeSpendLimitReached, "c", capped(2*minute, newYear))
		r.pass(30)
		r.settled("a")
		r.released("b")
		held := r.authorized("d", capped(80*second, newYear)) // 30 spent: 50 left
		same(r, "what the cap leaves", held.UntilMS, 50_000)
		same(r, "budget", held.Budget, 50*second)
		r.denied(authz.CodeSpendLimitReached, "e", capped(80*second, newYear))
		r.authorized("e", capped(81*second, newYear))
	}},
	{"an extension keeps to the spend a day", func(r *rig) {
		r.authorized("a", capped(90*second, newYear))
		r.answered("a")
		x := r.extend("a", 120, func(x *authz.Extension) { x.Cap = 90 * second })
		same(r, "extended", x.UntilMS, 90_000)
		same(r, "budget", x.Budget, 90*second)
		same(r, "without a cap", r.extend("a", 120).UntilMS, 120_000)
		x = r.extend("a", 180, func(x *authz.Extension) { x.Cap = 90 * second })
		same(r, "never less", x.UntilMS, 120_000)
		r.must(x.Err)
	}},
	{"insufficient credit is told before the spend limit", func(r *rig) {
		r.credit(-10 * minute)
		r.denied(authz.CodeInsufficientCredits, "a", capped(1, newYear))
	}},
	{"a new day starts at nothing spent", func(r *rig) {
		r.authorized("a", capped(minute, newYear))
		r.answered("a")
		r.pass(60)
		r.settled("a")
		same(r, "spent", r.balance().SpentDay, minute)
		r.denied(authz.CodeSpendLimitReached, "b", capped(minute, newYear))
		r.authorized("c", capped(minute, newYear+1))
		b := r.balance()
		same(r, "date", b.Day, newYear+1)
		same(r, "spent", b.SpentDay, 0)
	}},
	{"the date only moves forward", func(r *rig) {
		r.authorized("a", capped(minute, newYear+1))
		r.answered("a", func(a *authz.Answer) { a.Day = newYear + 1 })
		r.pass(60)
		r.settled("a", func(e *authz.End) { e.Day = newYear }) // a sidecar whose clock lags
		b := r.balance()
		same(r, "date", b.Day, newYear+1)
		same(r, "spent", b.SpentDay, minute)
		r.denied(authz.CodeSpendLimitReached, "b", capped(minute, newYear))
		r.has(9*minute, 0, minute)
	}},
	{"a refusal on a new day does not use it up", func(r *rig) {
		r.authorized("a", capped(minute, newYear))
		r.answered("a")
		r.pass(60)
		r.settled("a")
		r.denied(authz.CodeAccountSuspended, "b", func(h *authz.Hold) {
			capped(minute, newYear+1)(h)
			h.Deny = authz.CodeAccountSuspended
		})
		r.authorized("c", capped(minute, newYear+1))
		r.denied(authz.CodeSpendLimitReached, "d", capped(minute, newYear+1))
	}},
	{"held credit is immovable", func(r *rig) { // ASTPP 145
		r.authorized("a")
		r.answered("a")
		r.credit(-10 * minute)
		r.has(-minute, minute, 0)
		x := r.extend("a", 120)
		r.must(x.Err)
		same(r, "nothing left to extend with", x.UntilMS, 60_000)
		same(r, "budget", x.Budget, 0)
		r.denied(authz.CodeInsufficientCredits, "b")
		r.pass(60)
		r.settled("a")
		r.has(-minute, 0, minute)
	}},
	{"thirty calls on one coin", func(r *rig) { // magnusbilling 38
		r.credit(-9 * minute)
		allowed := 0
		for i := range 30 {
			if r.asked(string(rune('a'+i))).Denied == "" {
				allowed++
			}
		}
		same(r, "allowed", allowed, 1)
		r.has(0, minute, 0)
	}},
	{"a limit shorter than the first block still pays for the block", func(r *rig) {
		block := tariff.Price{Rate: 60_000, Initial: 30, Step: 6, CreditPrice: 70_000}
		held := r.authorized("a", func(h *authz.Hold) { h.Price, h.Limits.MaxSeconds = block, 10 })
		same(r, "held", held.Units, 30*second)
	}},
}
