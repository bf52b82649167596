package balance_test

import (
	"strconv"
	"strings"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

var authorizeClauses = []clause{
	{"authorize holds a slice", func(r *rig) {
		h := r.hold("a")
		held, err := r.Authorize(r.ctx, h)
		r.must(err)
		same(r, "answer", held, authz.Held{UID: h.UID, Units: minute, UntilMS: 60_000, ExpiresAt: r.now + 240_000,
			Budget: 10 * minute, Available: 9 * minute, Seq: 2})
		r.has(9*minute, minute, 0)
		same(r, "call", r.call("a"), authz.Call{Key: h.Key, Account: r.account, UID: h.UID, State: authz.StateHeld, Epoch: 1,
			Hash: h.Hash, Held: minute, UntilMS: 60_000, CreatedAt: r.now, ExpiresAt: r.now + 240_000, Price: base, Detail: h.Detail})
		same(r, "records", len(r.records()), 0)
		held = r.authorized("b")
		same(r, "others", held.Others, 1)
		same(r, "budget", held.Budget, 9*minute)
	}},
	{"authorize twice holds once", func(r *rig) {
		first := r.authorized("a")
		r.pass(5)
		again := r.authorized("a")
		first.Replayed = true
		same(r, "second answer", again, first)
		r.has(9*minute, minute, 0)
		r.answered("a")
		same(r, "once it is live", r.authorized("a").UID, first.UID)
		r.has(9*minute, minute, 0)
	}},
	{"the driver's own retry is no replay", func(r *rig) {
		h := r.hold("a")
		first, err := r.Authorize(r.ctx, h)
		r.must(err)
		again, err := r.Authorize(r.ctx, h)
		r.must(err)
		same(r, "second answer", again, first)
	}},
	{"the same id with other input is a conflict", func(r *rig) {
		held := r.authorized("a")
		other := func(h *authz.Hold) { h.Hash = "input-2" }
		same(r, "its uid", r.denied(authz.CodeCallConflict, "a", other).UID, held.UID)
		r.answered("a")
		r.denied(authz.CodeCallConflict, "a", other)
		r.settled("a")
		r.denied(authz.CodeCallConflict, "a", other)
	}},
	{"the two legs of one call id are two calls", func(r *rig) {
		out := r.authorized("a")
		in := r.authorized("a", func(h *authz.Hold) { h.Direction = authz.Inbound })
		elsewhere := r.authorized("a", func(h *authz.Hold) { h.Switch = "sbc-2" })
		if out.UID == in.UID || out.UID == elsewhere.UID {
			r.Fatal("legs share a uid")
		}
		r.has(7*minute, 3*minute, 0)
	}},
	{"any printable call id is a field of its own", func(r *rig) {
		ids := []string{"av", "c:seq", "a:b:c", "*", "[x]?", `\`, "é☎", `"'<>`, " ", strings.Repeat("x", authz.MaxCallID)}
		for _, id := range ids {
			held := r.asked("", func(h *authz.Hold) { h.CallID = id })
			same(r, id, held.Denied, "")
			k := key("")
			k.CallID = id
			c, err := r.Call(r.ctx, r.account, k)
			r.must(err)
			same(r, id, c.UID, held.UID)
		}
		same(r, "calls", r.balanced().Calls, int64(len(ids)))
	}},
	{"the first block must be affordable", func(r *rig) { // a2billing 22
		r.credit(-10*minute + 29*second)
		block := tariff.Price{Rate: 60_000, Connect: 0, Initial: 30, Step: 6, CreditPrice: 70_000}
		r.denied(authz.CodeInsufficientCredits, "a", func(h *authz.Hold) { h.Price = block })
		r.credit(second)
		held := r.authorized("b", func(h *authz.Hold) { h.Price = block })
		same(r, "held", held.Units, 30*second)
		r.has(0, 30*second, 0)
	}},
	{"the connect fee must be affordable", func(r *rig) {
		r.credit(-10*minute + minute)
		fee := tariff.Price{Rate: 60_000, Connect: 60_000, Initial: 1, Step: 1, CreditPrice: 70_000}
		r.denied(authz.CodeInsufficientCredits, "a", func(h *authz.Hold) { h.Price = fee })
		r.credit(second)
		same(r, "talk time", r.authorized("b", func(h *authz.Hold) { h.Price = fee }).UntilMS, 1000)
	}},
	{"the minimum must be affordable", func(r *rig) {
		r.credit(-10*minute + 19*second)
		least := func(h *authz.Hold) { h.MinSeconds = 20 }
		r.denied(authz.CodeInsufficientCredits, "a", least)
		r.credit(second)
		same(r, "talk time", r.authorized("b", least).UntilMS, 20_000)
	}},
	{"no credit, no call, in either direction", func(r *rig) { // ASTPP 476
		r.credit(-10 * minute)
		r.denied(authz.CodeInsufficientCredits, "a")
		r.denied(authz.CodeInsufficientCredits, "a", func(h *authz.Hold) { h.Direction = authz.Inbound })
		r.credit(-minute)
		r.denied(authz.CodeInsufficientCredits, "b")
		r.has(-minute, 0, 0)
	}},
	{"less than a slice is held in whole increments", func(r *rig) {
		// 10 credits and 7 seconds are left of a price of 12/6 s with a fee: 12 + 6n seconds.
		r.credit(-10*minute + 47*second)
		p := tariff.Price{Rate: 60_000, Connect: 5 * 1000, Initial: 12, Step: 6, CreditPrice: 70_000}
		held := r.authorized("a", func(h *authz.Hold) { h.Price = p })
		same(r, "talk time", held.UntilMS, 42_000)
		same(r, "held", held.Units, p.Cost(42_000))
		r.has(0, 47*second, 0)
		r.denied(authz.CodeInsufficientCredits, "b", func(h *authz.Hold) { h.Price = p })
	}},
	{"a free call holds nothing and has no end", func(r *rig) {
		held := r.authorized("a", func(h *authz.Hold) { h.Price = tariff.Price{Initial: 1, Step: 1, CreditPrice: 70_000} })
		same(r, "talk time", held.UntilMS, tariff.Unlimited*1000)
		r.has(10*minute, 0, 0)
		r.answered("a")
		r.pass(3600)
		same(r, "cost", r.settled("a").Units, 0)
		r.has(10*minute, 0, 0)
	}},
	{"a quote writes nothing", func(r *rig) {
		dry := func(h *authz.Hold) { h.Dry = true }
		held := r.authorized("a", dry)
		same(r, "budget", held.Budget, 10*minute)
		same(r, "talk time", held.UntilMS, 60_000)
		r.credit(-10 * minute)
		r.denied(authz.CodeInsufficientCredits, "a", dry)
		_, err := r.Call(r.ctx, r.account, key("a"))
		r.fails(err, authz.ErrUnknownCall)
		same(r, "records", len(r.records()), 0)
	}},
	{"a refusal is recorded once, under one uid", func(r *rig) {
		r.credit(-10 * minute)
		h := r.hold("a", func(h *authz.Hold) { h.Flags = "u" })
		first, err := r.Authorize(r.ctx, h)
		r.must(err)
		same(r, "uid", first.UID, h.UID)
		r.pass(1)
		same(r, "uid of the second", r.denied(authz.CodeInsufficientCredits, "a").UID, h.UID)
		want := []authz.Record{{State: authz.StateRejected, Account: r.account, Key: h.Key, UID: h.UID, Seq: 2, Epoch: 1, At: h.Now,
			Reason: "insufficient_credits", Flags: "u", CreatedAt: h.Now, Price: base, Detail: h.Detail}}
		same(r, "records", r.records(), want)
		r.state("a", authz.StateRejected)
		// Credit comes; the caller tries again under the same id.
		r.credit(minute)
		same(r, "uid when allowed", r.authorized("a").UID, h.UID)
		r.answered("a")
		r.pass(30)
		same(r, "uid when settled", r.settled("a").UID, h.UID)
		recs := r.records()
		same(r, "records", len(recs), 2)
		same(r, "rank", recs[1].State, authz.StateSettled)
	}},
	{"refusals are capped in a minute and counted beyond", func(r *rig) {
		r.credit(-10 * minute)
		for i := range rejectedPerMinute + 4 {
			r.denied(authz.CodeInsufficientCredits, "robo"+strconv.Itoa(i))
		}
		same(r, "records", len(r.records()), rejectedPerMinute)
		same(r, "uncounted", r.balance().RejectedN, 4)
		r.pass(60)
		r.denied(authz.CodeInsufficientCredits, "next")
		same(r, "records a minute later", len(r.records()), rejectedPerMinute+1)
		// Those that were only counted leave no trace: they may come again.
		r.credit(minute)
		r.authorized("robo5")
	}},
	{"what was denied already is only recorded", func(r *rig) {
		r.denied(authz.CodeDestinationBlocked, "a", func(h *authz.Hold) { h.Deny = authz.CodeDestinationBlocked })
		same(r, "reason", r.records()[0].Reason, "destination_blocked")
		r.has(10*minute, 0, 0)
	}},
	{"an unknown account is lost, not empty", func(r *rig) {
		_, err := r.Authorize(r.ctx, r.hold("a", func(h *authz.Hold) { h.Account = r.account + "-not-there" }))
		r.fails(err, authz.ErrLost)
	}},
	{"a field that cannot be read is corrupt, and nothing changes", func(r *rig) {
		tail := "1\t1\tu\th\t1,0,1,1,1,0,1\t0\t\t\t\t\t\t\t\t\t"
		for _, junk := range []string{"", "1", "1h", "junk", "1h\t1\t1\t\t1\t\t\t\t\t\t0\t0\tjunk", "2h\t1\t1\t\t1\t\t\t\t\t\t0\t0\t" + tail,
			"1h\tmuch\t1\t\t1\t\t\t\t\t\t0\t0\t" + tail} {
			r.must(r.rdb.HSet(r.ctx, r.hash(), "c:"+key("a").String(), junk).Err())
			_, authorize := r.Authorize(r.ctx, r.hold("a"))
			_, answered := r.answer("a")
			_, settle := r.end("a")
			_, release := r.abandon("a")
			_, adopt := r.Adopt(r.ctx, r.hold("a"))
			_, claim := r.Claim(r.ctx, r.account, key("a"), 1, 2)
			_, prove := r.Prove(r.ctx, r.account, key("a"), r.now)
			_, kill := r.Kill(r.ctx, r.account, key("a"))
			for _, err := range []error{authorize, answered, r.extend("a", 60).Err, settle, release, adopt, claim, prove, kill} {
				r.fails(err, balance.ErrCorrupt)
			}
			kept, err := r.rdb.HGet(r.ctx, r.hash(), "c:"+key("a").String()).Result()
			r.must(err)
			same(r, "field", kept, junk)
		}
		r.must(r.rdb.HDel(r.ctx, r.hash(), "c:"+key("a").String()).Err())
		r.has(10*minute, 0, 0)
	}},
	{"amounts near 2^53 stay exact", func(r *rig) {
		r.credit(credit.Max - 10*minute)
		r.authorized("a", func(h *authz.Hold) {
			h.Price = tariff.Price{Rate: 60_001, Connect: 3, Initial: 1, Step: 1, CreditPrice: 1}
		})
		r.has(credit.Max-60_004, 60_004, 0)
		r.answered("a")
		r.pass(59)
		same(r, "cost", r.settled("a").Units, 3+59_001) // 59 x 60,001 / 60 = 59,000.98
		r.has(credit.Max-59_004, 0, 59_004)
	}},
}
