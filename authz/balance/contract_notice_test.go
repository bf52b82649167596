package balance_test

import (
	"strings"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// wanted has the accounts of the clauses below told of everything, and the others of nothing.
func wanted(account string) (answers, alerts bool, below credit.Units) {
	told := strings.Contains(account, "-told_")
	return told, told, 5 * minute
}

// notices are the account's in the outbox, oldest first.
func (r *rig) notices() (mine []authz.Notice) {
	r.Helper()
	all, err := r.rdb.XRange(r.ctx, r.outbox(), "-", "+").Result()
	r.must(err)
	for _, e := range all {
		text, _ := e.Values["r"].(string)
		if !authz.IsNotice(text) {
			continue
		}
		n, err := authz.ParseNotice(text)
		r.must(err)
		if n.Account == r.account {
			mine = append(mine, n)
		}
	}
	return mine
}

// kinds are those of the account's notices.
func (r *rig) kinds() string {
	r.Helper()
	var out []string
	for _, n := range r.notices() {
		out = append(out, string(n.Kind))
	}
	return strings.Join(out, " ")
}

var noticeClauses = []clause{
	{"told of an answer, once", func(r *rig) {
		held := r.authorized("a")
		r.pass(7)
		r.answered("a", at(r.now-40))
		stamp := r.now
		r.pass(1)
		r.answered("a", at(stamp-40))
		r.settled("a")
		want := r.hold("a")
		same(r, "notices", r.notices(), []authz.Notice{{Kind: authz.NoticeAnswered, Account: r.account, Key: want.Key, UID: held.UID, At: stamp,
			Left: 10 * minute, CreatedAt: noon, Detail: want.Detail}})
		all, err := r.rdb.XRange(r.ctx, r.outbox(), "-", "+").Result()
		r.must(err)
		first := ""
		for _, m := range all { // others share the partition
			if raw := m.Values["r"].(string); first == "" && strings.Contains(raw, r.account) {
				first = raw
			}
		}
		same(r, "the notice comes before the record", authz.IsNotice(first), true)
	}},
	{"an account that wants to hear nothing is told nothing", func(r *rig) {
		r.authorized("a")
		r.answered("a")
		r.extend("a", 600)
		same(r, "notices", len(r.notices()), 0)
	}},
	{"told when credit falls low, seldom, and again after a grant", func(r *rig) {
		r.authorized("a")
		r.answered("a")
		for until := int64(120); until <= 480; until += 60 { // each buys a minute of the ten; from the seventh on, less than 5 are left
			r.pass(60)
			r.extend("a", until)
		}
		same(r, "notices", r.kinds(), "answered low")
		if left := r.notices()[1].Left; left >= 5*minute || left < 4*minute {
			r.Fatalf("%d units are told to be left", left)
		}
		r.credit(2 * minute)
		r.pass(60)
		r.extend("a", 540)
		same(r, "notices after a grant", r.kinds(), "answered low low")
	}},
	{"told again after a while, in case the customer could not be told", func(r *rig) {
		r.credit(-6 * minute)
		r.authorized("a")
		r.answered("a")
		r.extend("a", 120)
		r.pass(599)
		r.extend("a", 180)
		same(r, "notices", r.kinds(), "answered low")
		r.pass(1)
		r.extend("a", 181)
		same(r, "notices later", r.kinds(), "answered low low")
	}},
	{"told when credit runs out", func(r *rig) {
		r.credit(-8 * minute)
		r.authorized("a")
		r.answered("a")
		same(r, "bought", r.extend("a", 120).UntilMS, 120_000)
		same(r, "notices before", r.kinds(), "answered low")
		same(r, "bought at the end", r.extend("a", 180).UntilMS, 120_000)
		r.extend("a", 180)
		same(r, "notices", r.kinds(), "answered low exhausted")
	}},
	{"told nothing where a cap stops a call", func(r *rig) {
		r.authorized("a")
		r.answered("a")
		x := r.extend("a", 180, func(x *authz.Extension) { x.Cap = 2 * minute })
		same(r, "bought", x.UntilMS, 120_000)
		same(r, "notices", r.kinds(), "answered")
	}},
	{"told of other calls' holds as credit that is left", func(r *rig) {
		r.credit(-2 * minute)
		for _, id := range []string{"a", "b", "c"} {
			r.authorized(id)
			r.answered(id)
		}
		r.extend("a", 120) // 4 are available, and each of three calls has a minute
		same(r, "notices", r.kinds(), "answered answered answered")
	}},
}
