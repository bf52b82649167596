package balance_test

import (
	"sort"
	"strconv"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

var ownerClauses = []clause{
	{"a claim is compare and set", func(r *rig) { // cgrates 2354, 2220
		r.talked("a")
		c, err := r.Claim(r.ctx, r.account, key("a"), 1, 2)
		r.must(err)
		same(r, "owner", c.Epoch, 2)
		_, err = r.Claim(r.ctx, r.account, key("a"), 1, 3)
		r.fails(err, authz.ErrFenced)
		again, err := r.Claim(r.ctx, r.account, key("a"), 1, 2) // the answer was lost, it asks again
		r.must(err)
		same(r, "again", again, c)
		r.fails(r.extend("a", 120).Err, authz.ErrFenced)
		r.must(r.extend("a", 120, func(x *authz.Extension) { x.Epoch = 2 }).Err)
		r.settled("a")
		_, err = r.Claim(r.ctx, r.account, key("a"), 2, 3)
		r.fails(err, authz.ErrCallEnded)
		_, err = r.Claim(r.ctx, r.account, key("b"), 1, 2)
		r.fails(err, authz.ErrUnknownCall)
		_, err = r.Claim(r.ctx, r.account+"-not-there", key("b"), 1, 2)
		r.fails(err, authz.ErrLost)
		r.authorized("d")
		_, err = r.Claim(r.ctx, r.account, key("d"), 1, 2) // ringing calls too
		r.must(err)
	}},
	{"a proof of life only moves forward", func(r *rig) {
		r.authorized("a")
		c, err := r.Prove(r.ctx, r.account, key("a"), r.now+5)
		r.must(err)
		same(r, "a ringing call has none", c.ProofAt, 0)
		r.answered("a")
		for _, p := range []struct{ at, want int64 }{{noon + 20_000, noon + 20_000}, {noon + 10_000, noon + 20_000}} {
			c, err = r.Prove(r.ctx, r.account, key("a"), p.at)
			r.must(err)
			same(r, "proof", c.ProofAt, p.want)
			same(r, "kept", r.call("a").ProofAt, p.want)
		}
		r.settled("a", lost)
		r.has(10*minute-20*second, 0, 20*second)
		_, err = r.Prove(r.ctx, r.account, key("a"), r.now)
		r.fails(err, authz.ErrCallEnded)
		_, err = r.Prove(r.ctx, r.account, key("b"), r.now)
		r.fails(err, authz.ErrUnknownCall)
	}},
	{"an unchecked call is adopted once", func(r *rig) {
		h := r.hold("a", func(h *authz.Hold) { h.Flags, h.Epoch = "u", 3 })
		r.pass(40)
		t, err := r.Adopt(r.ctx, h)
		r.must(err)
		same(r, "answer", t, authz.Taken{Call: authz.Call{Key: h.Key, Account: r.account, UID: h.UID, State: authz.StateHeld, Flags: "u", Epoch: 3, Hash: h.Hash,
			Held: minute, UntilMS: 60_000, CreatedAt: h.Now, ExpiresAt: h.ExpiresAt, Price: base, Detail: h.Detail}, Budget: 10 * minute, Seq: 2})
		again, err := r.Adopt(r.ctx, h)
		r.must(err)
		same(r, "again", again, t)
		r.has(9*minute, minute, 0)
		same(r, "calls", r.balance().Calls, 1)
		_, err = r.Adopt(r.ctx, r.hold("a", func(h *authz.Hold) { h.Hash = "input-2" }))
		r.fails(err, authz.ErrCallConflict)
		r.answered("a")
		r.pass(10)
		same(r, "flags", r.settled("a").Flags, "u")
		_, err = r.Adopt(r.ctx, h)
		r.fails(err, authz.ErrCallEnded)
		_, err = r.Adopt(r.ctx, r.hold("a", func(h *authz.Hold) { h.Account += "-not-there" }))
		r.fails(err, authz.ErrLost)
	}},
	{"a call is adopted on top of its earlier hold", func(r *rig) {
		held := r.authorized("a")
		t, err := r.Adopt(r.ctx, r.hold("a", func(h *authz.Hold) { h.Flags, h.Epoch, h.SliceSeconds = "u", 2, 120 }))
		r.must(err)
		same(r, "uid", t.Call.UID, held.UID)
		same(r, "owner", t.Call.Epoch, 2)
		same(r, "flags", t.Call.Flags, "u")
		same(r, "budget", t.Budget, 10*minute)
		r.has(8*minute, 2*minute, 0)
		r.answered("a")
		t, err = r.Adopt(r.ctx, r.hold("a", func(h *authz.Hold) { h.Epoch = 2 }))
		r.must(err)
		same(r, "a live call stays live", t.Call.State, authz.StateLive)
		r.has(8*minute, 2*minute, 0)
	}},
	{"adopt is never refused for want of credit", func(r *rig) {
		r.credit(-10*minute + 20*second)
		t, err := r.Adopt(r.ctx, r.hold("a"))
		r.must(err)
		same(r, "held", t.Call.Held, 20*second)
		t, err = r.Adopt(r.ctx, r.hold("b"))
		r.must(err)
		same(r, "held", t.Call.Held, 0)
		same(r, "others", t.Others, 1)
		r.answered("b")
		r.pass(5)
		r.settled("b")
		r.has(-5*second, 20*second, 5*second)
	}},
	{"a refused call that went ahead is adopted under its uid", func(r *rig) {
		r.credit(-10 * minute)
		uid := r.denied(authz.CodeInsufficientCredits, "a").UID
		r.credit(minute)
		r.pass(100)
		h := r.hold("a")
		t, err := r.Adopt(r.ctx, h)
		r.must(err)
		same(r, "uid", t.Call.UID, uid)
		same(r, "detail", t.Call.Detail, h.Detail)
		same(r, "created", t.Call.CreatedAt, h.Now)
		r.has(0, minute, 0)
	}},
	{"a released call is adopted, an ended one is not", func(r *rig) {
		r.authorized("a")
		r.released("a")
		t, err := r.Adopt(r.ctx, r.hold("a"))
		r.must(err)
		same(r, "held", t.Call.Held, minute)
		r.settled("a", func(e *authz.End) { e.AnsweredAt = -1 })
		_, err = r.Adopt(r.ctx, r.hold("a"))
		r.fails(err, authz.ErrCallEnded)
		r.fails(r.marked("b"), authz.ErrUnknownCall)
		_, err = r.Adopt(r.ctx, r.hold("b")) // its end is kept and retried: it finds the call then
		r.must(err)
		r.settled("b", func(e *authz.End) { e.AnsweredAt = -1 })
		r.has(10*minute, 0, 0)
	}},
	{"adopt keeps to the limits it is told", func(r *rig) {
		t, err := r.Adopt(r.ctx, r.hold("a", capped(30*second, newYear)))
		r.must(err)
		same(r, "held", t.Call.Held, 30*second)
		same(r, "budget", t.Budget, 30*second)
		r.balanced()
		t, err = r.Adopt(r.ctx, r.hold("b", func(h *authz.Hold) { h.Price = tariff.Price{Initial: 1, Step: 1, CreditPrice: 1} }))
		r.must(err)
		same(r, "a free one", t.Call.UntilMS, tariff.Unlimited*1000)
	}},
	{"a name registers with a new epoch each time", func(r *rig) {
		name := r.account
		first, err := r.Register(r.ctx, name, r.now+10_000)
		r.must(err)
		r.must(r.Renew(r.ctx, name, first, r.now+20_000))
		r.lives(first, r.now+19_999, true)
		r.lives(first, r.now+20_000, false)
		second, err := r.Register(r.ctx, name, r.now+10_000)
		r.must(err)
		if second <= first {
			r.Fatalf("epoch %d after %d", second, first)
		}
		r.fails(r.Renew(r.ctx, name, first, r.now+90_000), authz.ErrFenced)
		r.lives(first, r.now, false)
		r.lives(second, r.now, true)
		r.fails(r.Renew(r.ctx, name+"-other", second, r.now+90_000), authz.ErrLost)
		other, err := r.Register(r.ctx, name+"-other", r.now+10_000)
		r.must(err)
		r.lives(other, r.now, true)
		r.lives(second, r.now, true)
	}},
	{"a lease has one holder", func(r *rig) {
		name := "sweep " + r.account
		take := func(holder string, now, until int64, want bool) {
			r.Helper()
			got, err := r.Lease(r.ctx, name, holder, now, until)
			r.must(err)
			same(r, "lease of "+holder, got, want)
		}
		take("a", noon, noon+10, true)
		take("b", noon+9, noon+20, false)
		take("a", noon+9, noon+20, true)
		take("b", noon+19, noon+30, false)
		take("b", noon+20, noon+30, true)
		take("a", noon+29, noon+29, false) // not its own to give up
		take("a", noon+29, noon+40, false)
		take("b", noon+29, 0, false) // given up
		take("a", noon+29, noon+40, true)
	}},
	{"the index finds a call by its key alone", func(r *rig) {
		var put []authz.Indexed
		for i := range 5 {
			put = append(put, authz.Indexed{Key: key(r.account + strconv.Itoa(i)), Account: r.account + " with spaces", Epoch: int64(i)})
		}
		r.must(r.Index(r.ctx, put, nil))
		r.must(r.Index(r.ctx, put[3:], []authz.Key{put[0].Key})) // again, and one that is over
		r.must(r.Index(r.ctx, nil, nil))
		account, err := r.Find(r.ctx, put[1].Key)
		r.must(err)
		same(r, "account", account, put[1].Account)
		_, err = r.Find(r.ctx, put[0].Key)
		r.fails(err, authz.ErrUnknownCall)
		var got []authz.Indexed
		for p := range r.Partitions() {
			r.must(r.ScanIndex(r.ctx, p, func(x authz.Indexed) error {
				if x.Account == put[0].Account {
					got = append(got, x)
				}
				return nil
			}))
		}
		sort.Slice(got, func(i, j int) bool { return got[i].Epoch < got[j].Epoch })
		same(r, "scanned", got, put[1:])
	}},
}

// lives checks whether an epoch's lease counts at a time.
func (r *rig) lives(epoch, at int64, want bool) {
	r.Helper()
	living, err := r.Living(r.ctx, at)
	r.must(err)
	same(r, "epoch "+strconv.FormatInt(epoch, 10)+" lives", living[epoch], want)
}

var accountClauses = []clause{
	{"grants apply in their order, once", func(r *rig) {
		r.has(10*minute, 0, 0)
		again, err := r.Grant(r.ctx, r.account, 1, 10*minute)
		r.must(err)
		same(r, "again", again, false)
		_, err = r.Grant(r.ctx, r.account, 3, minute)
		r.fails(err, balance.ErrGap)
		r.has(10*minute, 0, 0)
		r.credit(-12 * minute)
		r.has(-2*minute, 0, 0)
		same(r, "granted", [2]int64{int64(r.balance().Granted), r.balance().GrantSeq}, [2]int64{int64(-2 * minute), 2})
		r.credit(3 * minute)
		r.has(minute, 0, 0)
		_, err = r.Grant(r.ctx, r.account+"-not-there", 1, 1)
		r.fails(err, authz.ErrLost)
	}},
	{"an account is opened once", func(r *rig) {
		r.must(r.OpenAccount(r.ctx, r.account, authz.Suspended, newYear+5))
		b := r.balance()
		same(r, "kept", [2]any{b.Suspended, b.Day}, [2]any{false, int64(newYear)})
		r.has(10*minute, 0, 0)
		found := false
		r.must(r.Accounts(r.ctx, balance.Partition(r.account, r.Partitions()), func(id string) error {
			found = found || id == r.account
			return nil
		}))
		same(r, "listed", found, true)
		r.must(r.OpenAccount(r.ctx, r.account+"-2", authz.Suspended, newYear))
		r.denied(authz.CodeAccountSuspended, "a", func(h *authz.Hold) { h.Account += "-2" })
	}},
	{"a status that nobody knows is refused", func(r *rig) {
		for _, st := range []authz.AccountStatus{"", "paused", "active for now"} {
			if r.SetStatus(r.ctx, r.account, st) == nil || r.OpenAccount(r.ctx, r.account, st, newYear) == nil {
				r.Fatalf("status %q was taken", st)
			}
		}
		r.authorized("a")
	}},
	{"an account that is not there is lost", func(r *rig) {
		_, err := r.Balance(r.ctx, r.account+"-not-there")
		r.fails(err, authz.ErrLost)
		r.fails(r.SetStatus(r.ctx, r.account+"-not-there", authz.Active), authz.ErrLost)
		_, err = r.end("a", func(e *authz.End) { e.Account += "-not-there" })
		r.fails(err, authz.ErrLost)
		_, err = r.abandon("a", func(e *authz.Release) { e.Account += "-not-there" })
		r.fails(err, authz.ErrLost)
		_, err = r.answer("a", func(a *authz.Answer) { a.Account += "-not-there" })
		r.fails(err, authz.ErrLost)
		_, err = r.Kill(r.ctx, r.account+"-not-there", key("a"))
		r.fails(err, authz.ErrLost)
		_, err = r.Prove(r.ctx, r.account+"-not-there", key("a"), r.now)
		r.fails(err, authz.ErrLost)
	}},
	{"tombstones and marks are reaped when their time is over", func(r *rig) {
		const keep = 900_000
		r.talked("settled")
		r.talked("lost")
		r.authorized("released")
		r.talked("live")
		r.authorized("held")
		r.credit(-r.balance().Available)
		r.denied(authz.CodeInsufficientCredits, "rejected")
		r.fails(r.marked("mark"), authz.ErrUnknownCall)
		r.settled("settled")
		r.settled("lost", lost)
		r.released("released")
		var all []authz.Key
		for _, id := range []string{"settled", "lost", "released", "live", "held", "rejected", "mark", "none"} {
			all = append(all, key(id))
		}
		reap := func(after, want int64) {
			r.Helper()
			n, err := r.Reap(r.ctx, r.account, noon+after, keep, all)
			r.must(err)
			same(r, "removed", n, want)
		}
		reap(0, 0)
		reap(119_999, 0)
		reap(120_000, 1) // the mark
		reap(keep-1, 0)
		reap(keep, 4)
		reap(10*keep, 0)
		r.state("live", authz.StateLive)
		r.state("held", authz.StateHeld)
		_, err := r.end("settled")
		r.fails(err, authz.ErrUnknownCall) // the ledger knows from here
	}},
	{"calls are listed, many of them", func(r *rig) {
		r.credit(2000 * minute)
		for i := range 300 {
			r.authorized("n" + strconv.Itoa(i))
		}
		seen := map[authz.Key]bool{}
		r.must(r.Calls(r.ctx, r.account, func(c authz.Call, err error) error {
			seen[c.Key] = true
			return err
		}))
		same(r, "calls", len(seen), 300)
	}},
	{"waiting records are counted", func(r *rig) {
		before, err := r.OutboxLen(r.ctx)
		r.must(err)
		r.talked("a")
		r.settled("a")
		after, err := r.OutboxLen(r.ctx)
		r.must(err)
		if after <= before {
			r.Fatalf("%d waiting records after %d", after, before)
		}
	}},
	{"partitions are fixed for ever", func(r *rig) {
		r.must(r.Check(r.ctx))
		r.must(r.Check(r.ctx))
		r.must(r.Ping(r.ctx))
		r.fails(r.backend.store(r.T, balance.Config{Partitions: 32}).Check(r.ctx), balance.ErrPartitions)
		_, err := balance.New(r.rdb, balance.Config{Partitions: 1025}, nil)
		if err == nil {
			r.Fatal("1025 partitions were taken")
		}
	}},
	{"one ledger for all sidecars", func(r *rig) {
		r.must(r.Join(r.ctx, "ours"))
		r.must(r.Join(r.ctx, "ours"))
		r.fails(r.backend.store(r.T, balance.Config{}).Join(r.ctx, "theirs"), balance.ErrLedger)
		r.must(r.rdb.HDel(r.ctx, "rf:{sys}:deployment", "ledger").Err()) // its mark of partitions is another clause's
		r.must(r.Join(r.ctx, "ours"))                                    // a Redis that lost everything has the mark again
		r.fails(r.Join(r.ctx, "theirs"), balance.ErrLedger)
	}},
}
