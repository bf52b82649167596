package balance_test

import (
	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// wiped throws the account's hash away, as a Redis does that comes back empty.
func (r *rig) wiped() {
	r.Helper()
	r.must(r.rdb.Del(r.ctx, r.hash()).Err())
}

// fromLedger is what a ledger that has all of the outbox would sum up to.
func (r *rig) fromLedger(granted credit.Units) authz.Rebuild {
	b := authz.Rebuild{Account: r.account, Status: authz.Active, Day: newYear, Granted: granted, GrantSeq: r.grants, Seq: 100}
	for uid, rec := range ledger(r.records()) {
		b.Settled += rec.Charged()
		b.SpentDay += rec.Charged()
		if rec.State == authz.StateSettled {
			b.SettledCalls = append(b.SettledCalls, uid)
		}
	}
	return b
}

func (r *rig) rebuilt(b authz.Rebuild, want bool) {
	r.Helper()
	done, err := r.Rebuild(r.ctx, b)
	r.must(err)
	same(r, "rebuilt", done, want)
}

var rebuildClauses = []clause{
	{"an account that was lost is rebuilt from sums", func(r *rig) { // litellm 28247; ivozprovider 950
		r.talked("a")
		r.pass(40)
		r.settled("a")
		r.wiped()
		_, err := r.Authorize(r.ctx, r.hold("b"))
		r.fails(err, authz.ErrLost)
		missing, err := r.Missing(r.ctx, []string{r.account})
		r.must(err)
		same(r, "missing", missing, []string{r.account})
		b := r.fromLedger(10 * minute)
		r.rebuilt(b, true)
		r.has(10*minute-40*second, 0, 40*second)
		same(r, "spent today", r.balance().SpentDay, 40*second)
		same(r, "seq", r.balance().Seq, 101)
		b.Granted *= 2
		r.rebuilt(b, false) // a second rebuild does not add up
		r.has(10*minute-40*second, 0, 40*second)
		missing, err = r.Missing(r.ctx, []string{r.account})
		r.must(err)
		same(r, "missing", len(missing), 0)
		again, err := r.Grant(r.ctx, r.account, r.grants, 10*minute)
		r.must(err)
		same(r, "a grant that is in the sum", again, false)
		r.credit(minute)
	}},
	{"new calls wait until a rebuilt account opens", func(r *rig) {
		b := r.fromLedger(10 * minute)
		r.wiped()
		b.OpensAt = r.now + 5_000
		r.rebuilt(b, true)
		_, err := r.Authorize(r.ctx, r.hold("a"))
		r.fails(err, authz.ErrLost)
		same(r, "suspended", r.balance().Suspended, false)
		r.pass(5)
		r.authorized("a")
		same(r, "suspended", r.extend("a", 60).Suspended, false)
		r.must(r.SetStatus(r.ctx, r.account, authz.Suspended))
		r.denied(authz.CodeAccountSuspended, "b")
		r.wiped()
		b.Status = authz.Suspended
		r.rebuilt(b, true)
		r.denied(authz.CodeAccountSuspended, "b")
		same(r, "suspended", r.balance().Suspended, true)
	}},
	{"a forced rebuild keeps live calls and drops those the ledger settled", func(r *rig) {
		r.talked("live")
		uid := r.talked("settled elsewhere").UID
		b := r.fromLedger(10 * minute)
		b.Force, b.SettledCalls = true, append(b.SettledCalls, uid)
		r.rebuilt(b, true)
		same(r, "calls", r.balance().Calls, 1)
		r.has(9*minute, minute, 0)
		_, err := r.Call(r.ctx, r.account, key("settled elsewhere"))
		r.fails(err, authz.ErrUnknownCall)
		r.state("live", authz.StateLive)
		seq := r.balance().Seq
		b.Seq = 1
		r.rebuilt(b, true)
		if now := r.balance().Seq; now <= seq {
			r.Fatalf("seq went back from %d to %d", seq, now)
		}
	}},
	{"a live call is put back once", func(r *rig) {
		r.talked("a")
		r.must(r.extend("a", 120).Err)
		c := r.call("a")
		b := r.fromLedger(10 * minute)
		r.wiped()
		r.fails(r.Restore(r.ctx, c), authz.ErrLost)
		r.rebuilt(b, true)
		r.must(r.Restore(r.ctx, c))
		r.must(r.Restore(r.ctx, c))
		same(r, "call", r.call("a"), c)
		r.has(8*minute, 2*minute, 0)
		r.pass(90)
		same(r, "units", r.settled("a").Units, 90*second)
		r.must(r.Restore(r.ctx, c)) // late: it is over
		r.state("a", authz.StateSettled)
		r.has(10*minute-90*second, 0, 90*second)
	}},
	{"a charge that was lost with its record is made again, once", func(r *rig) {
		r.talked("a")
		r.pass(30)
		b := r.fromLedger(10 * minute) // before the end
		r.settled("a", func(e *authz.End) { e.ExtraMicros = 70_000 })
		raw := r.rawRecords()[0]
		r.lostOutbox()
		r.wiped()
		r.fails(r.Replay(r.ctx, raw), authz.ErrLost)
		r.rebuilt(b, true)
		for range 2 {
			r.must(r.Replay(r.ctx, raw))
			r.has(9*minute-30*second, 0, minute+30*second)
			same(r, "records", r.rawRecords(), []string{raw})
		}
		same(r, "its end, again", r.settled("a").Duplicate, true)
	}},
	{"a charge is made again over the call as Redis still had it", func(r *rig) {
		r.talked("a")
		live, b := r.call("a"), r.fromLedger(10*minute)
		r.pass(30)
		r.settled("a")
		raw := r.rawRecords()[0]
		r.lostOutbox()
		r.wiped()
		r.rebuilt(b, true)
		r.must(r.Restore(r.ctx, live))
		r.has(9*minute, minute, 0)
		r.must(r.Replay(r.ctx, raw))
		r.has(10*minute-30*second, 0, 30*second)
		same(r, "calls", r.balance().Calls, 0)
	}},
	{"a charge is made again over a lost call for the difference", func(r *rig) {
		r.talked("a")
		r.pass(10)
		r.extend("a", 60)
		r.settled("a", lost)
		before, err := r.rdb.HGetAll(r.ctx, r.hash()).Result()
		r.must(err)
		r.pass(20)
		r.settled("a")
		raws := r.rawRecords()
		r.wiped() // and Redis comes back as it was before
		for k, v := range before {
			r.must(r.rdb.HSet(r.ctx, r.hash(), k, v).Err())
		}
		r.has(10*minute-10*second, 0, 10*second)
		r.must(r.Replay(r.ctx, raws[0])) // it is there
		r.has(10*minute-10*second, 0, 10*second)
		r.must(r.Replay(r.ctx, raws[1]))
		r.has(10*minute-30*second, 0, 30*second)
		r.must(r.Replay(r.ctx, raws[0])) // late: of a lower rank
		r.has(10*minute-30*second, 0, 30*second)
		r.state("a", authz.StateSettled)
	}},
	{"a partition tells whether it was filled, and sidecars hear of a rebuild", func(r *rig) {
		mine := r.PartitionOf(r.account)
		filled, err := r.Filled(r.ctx)
		r.must(err)
		same(r, "partitions", len(filled), r.Partitions())
		same(r, "filled", filled[mine], false)
		r.must(r.MarkFilled(r.ctx, mine, r.now))
		filled, err = r.Filled(r.ctx)
		r.must(err)
		same(r, "filled", filled[mine], true)
		before, err := r.Rebuilds(r.ctx)
		r.must(err)
		r.must(r.AnnounceRebuild(r.ctx))
		after, err := r.Rebuilds(r.ctx)
		r.must(err)
		same(r, "rebuilds", after, before+1)
	}},
	{"an account's waiting records are its own", func(r *rig) {
		r.talked("a")
		r.settled("a")
		r.authorized("b")
		r.released("b")
		own, err := r.WaitingRecords(r.ctx, r.account)
		r.must(err)
		same(r, "own", own, r.rawRecords())
		same(r, "how many", len(own), 2)
		all, err := r.OutboxWaiting(r.ctx, r.PartitionOf(r.account))
		r.must(err)
		if all < 2 {
			r.Fatalf("%d records wait in the partition", all)
		}
	}},
	{"what is no record is not replayed", func(r *rig) {
		if err := r.Replay(r.ctx, "junk"); err == nil {
			r.Fatal("junk was replayed")
		}
		r.fails(r.Restore(r.ctx, authz.Call{Key: key("a"), Account: r.account, UID: uuid.Max, State: authz.StateSettled, Price: base}), balance.ErrCorrupt)
	}},
	{"a sidecar whose register was lost takes a new epoch, above its last", func(r *rig) {
		name := r.account
		for range 3 {
			_, err := r.Register(r.ctx, name, r.now+10_000)
			r.must(err)
		}
		last, err := r.Register(r.ctx, name, r.now+10_000)
		r.must(err)
		other := r.backend.store(r.T, cfg)
		epoch, err := other.Register(r.ctx, name+"-other", r.now+10_000)
		r.must(err)
		r.must(r.rdb.HDel(r.ctx, "rf:{sys}:sidecars", "name:"+name).Err())
		r.fails(r.Renew(r.ctx, name, last, r.now+10_000), authz.ErrLost)
		again, err := r.Register(r.ctx, name, r.now+10_000)
		r.must(err)
		if again <= last || again == epoch {
			r.Fatalf("epoch %d after %d, another's is %d", again, last, epoch)
		}
	}},
}

// rawRecords are the account's outbox entries as they are.
func (r *rig) rawRecords() (raw []string) {
	r.Helper()
	for _, e := range r.entries() {
		raw = append(raw, e.raw)
	}
	return raw
}

// lostOutbox takes the account's records out of the outbox.
func (r *rig) lostOutbox() {
	r.Helper()
	for _, e := range r.entries() {
		r.must(r.rdb.XDel(r.ctx, r.outbox(), e.id).Err())
	}
}
