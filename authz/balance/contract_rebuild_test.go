package balance_test

import (
	"errors"
	"fmt"

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

// wentBack makes the account's hash what it was.
func (r *rig) wentBack(to map[string]string) {
	r.Helper()
	r.wiped()
	for k, v := range to {
		r.must(r.rdb.HSet(r.ctx, r.hash(), k, v).Err())
	}
}

func (r *rig) snapshot() map[string]string {
	r.Helper()
	all, err := r.rdb.HGetAll(r.ctx, r.hash()).Result()
	r.must(err)
	return all
}

// fromLedger is what a ledger that has all of the outbox would sum up to.
func (r *rig) fromLedger(granted credit.Units) authz.Rebuild {
	b := authz.Rebuild{Account: r.account, Status: authz.Active, Day: newYear, Granted: granted, GrantSeq: r.grants, Seq: 100}
	for _, rec := range ledger(r.records()) {
		b.Settled += rec.Charged()
		b.SpentDay += rec.Charged()
	}
	return b
}

// guarded has step done under a token. Other tests rebuild other accounts of the
// partition, and fence this one off: then it is done again.
func (r *rig) guarded(step func(token string) error) {
	r.Helper()
	for range 100 {
		token, err := r.BeginRebuild(r.ctx, r.PartitionOf(r.account))
		r.must(err)
		if err = step(token); !errors.Is(err, authz.ErrFenced) {
			r.must(err)
			return
		}
	}
	r.Fatal("fenced off again and again")
}

func (r *rig) rebuilt(b authz.Rebuild, want bool) {
	r.Helper()
	r.guarded(func(token string) error {
		b.Token = token
		base, err := r.Rebuild(r.ctx, b)
		if err == nil {
			same(r, "rebuilt", base != 0, want)
		}
		return err
	})
}

// shutAndRebuilt rebuilds an account that is there.
func (r *rig) shutAndRebuilt(b authz.Rebuild, calls ...authz.Burial) {
	r.Helper()
	r.guarded(func(token string) error {
		b.Token = token
		if _, err := r.Shut(r.ctx, r.account, token); err != nil {
			return err
		}
		if err := r.Bury(r.ctx, r.account, token, calls); err != nil {
			return err
		}
		base, err := r.Rebuild(r.ctx, b)
		if err == nil {
			same(r, "seq", r.balance().Seq, base)
		}
		return err
	})
}

func (r *rig) restored(c authz.Call) {
	r.Helper()
	_, err := r.Restore(r.ctx, c, c.Epoch)
	r.must(err)
}

// replayed makes a charge again and gives its record as it is in the outbox now.
func (r *rig) replayed(raw string) string {
	r.Helper()
	again, err := r.Replay(r.ctx, raw, newYear)
	r.must(err)
	return again
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
		bases, err := r.Bases(r.ctx, []string{r.account, r.account + "-other"})
		r.must(err)
		same(r, "bases", bases, map[string]int64{r.account: 101})
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
	{"a rebuild that was overtaken writes nothing", func(r *rig) {
		b := r.fromLedger(10 * minute)
		partition := r.PartitionOf(r.account)
		slow, err := r.BeginRebuild(r.ctx, partition)
		r.must(err)
		b.Token, err = r.BeginRebuild(r.ctx, partition)
		r.must(err)
		_, err = r.Shut(r.ctx, r.account, slow)
		r.fails(err, authz.ErrFenced)
		r.fails(r.Reopen(r.ctx, r.account, slow), authz.ErrFenced)
		r.fails(r.Bury(r.ctx, r.account, slow, []authz.Burial{{Key: key("a")}}), authz.ErrFenced)
		r.fails(r.MarkFilled(r.ctx, partition, slow, r.now), authz.ErrFenced)
		b.Token = slow
		_, err = r.Rebuild(r.ctx, b)
		r.fails(err, authz.ErrFenced)
		r.has(10*minute, 0, 0)
	}},
	{"an account that is shut moves no credit, and can be opened as it was", func(r *rig) {
		r.talked("a")
		before := r.snapshot()
		tried := false // and fenced off after it, by another clause
		r.guarded(func(token string) error {
			shut, err := r.Shut(r.ctx, r.account, token)
			if err != nil {
				return err
			}
			same(r, "shut", shut || tried, true)
			tried = true
			if shut, err = r.Shut(r.ctx, r.account, token); err != nil {
				return err
			}
			same(r, "shut again", shut, false)
			_, err = r.Authorize(r.ctx, r.hold("b"))
			r.fails(err, authz.ErrLost)
			_, err = r.end("a")
			r.fails(err, authz.ErrLost)
			_, err = r.Grant(r.ctx, r.account, r.grants+1, minute)
			r.fails(err, authz.ErrLost)
			r.fails(r.extend("a", 120).Err, authz.ErrLost)
			return r.Reopen(r.ctx, r.account, token)
		})
		same(r, "hash", r.snapshot(), before)
		r.guarded(func(token string) error { return r.Reopen(r.ctx, r.account, token) }) // nothing to open
		same(r, "hash", r.snapshot(), before)
		r.guarded(func(token string) error {
			err := r.Bury(r.ctx, r.account, token, []authz.Burial{{Key: key("a")}})
			if err == nil {
				r.Fatal("a call of an open account was buried")
			}
			return nil
		})
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
	{"a rebuild of what is there keeps live calls and buries those the ledger settled", func(r *rig) {
		r.talked("live")
		r.talked("over")
		over := r.call("over")
		b := r.fromLedger(10 * minute)
		b.Settled, b.SpentDay = 20*second, 20*second
		over.State, over.Held, over.Charged, over.OverAt = authz.StateSettled, 0, 20*second, r.now
		r.shutAndRebuilt(b, authz.Burial{Key: key("over"), Call: &over})
		same(r, "calls", r.balance().Calls, 1)
		r.has(9*minute-20*second, minute, 20*second)
		r.state("live", authz.StateLive)
		same(r, "its end, again", r.settled("over").Duplicate, true)
		seq := r.balance().Seq
		b.Seq = 1
		r.shutAndRebuilt(b, authz.Burial{Key: key("over")})
		if now := r.balance().Seq; now <= seq {
			r.Fatalf("seq went back from %d to %d", seq, now)
		}
		_, err := r.Call(r.ctx, r.account, key("over"))
		r.fails(err, authz.ErrUnknownCall)
		b.Settled = 0
		r.shutAndRebuilt(b) // the outbox of this test knows of no charge
	}},
	{"many calls are buried", func(r *rig) {
		var calls []authz.Burial
		for i := range 600 {
			h := r.hold(fmt.Sprint("old-", i))
			c := authz.Call{Key: h.Key, Account: r.account, UID: h.UID, State: authz.StateSettled, Price: base, CreatedAt: r.now, ExpiresAt: r.now, OverAt: r.now}
			calls = append(calls, authz.Burial{Key: h.Key, Call: &c})
		}
		r.shutAndRebuilt(r.fromLedger(10*minute), calls...)
		r.state("old-599", authz.StateSettled)
		r.denied(authz.CodeCallConflict, "old-0") // its input is not remembered
	}},
	{"a live call is put back once", func(r *rig) {
		r.talked("a")
		r.must(r.extend("a", 120).Err)
		c := r.call("a")
		b := r.fromLedger(10 * minute)
		r.wiped()
		_, err := r.Restore(r.ctx, c, c.Epoch)
		r.fails(err, authz.ErrLost)
		r.rebuilt(b, true)
		r.restored(c)
		r.restored(c)
		same(r, "call", r.call("a"), c)
		r.has(8*minute, 2*minute, 0)
		r.pass(90)
		same(r, "units", r.settled("a").Units, 90*second)
		_, err = r.Restore(r.ctx, c, c.Epoch) // late: it is over
		r.fails(err, authz.ErrCallEnded)
		r.state("a", authz.StateSettled)
		r.has(10*minute-90*second, 0, 90*second)
	}},
	{"a call that went back is brought forward", func(r *rig) {
		r.authorized("a")
		before := r.snapshot()
		r.pass(5)
		r.answered("a", func(a *authz.Answer) { a.At = r.now - 40 })
		r.pass(30)
		r.must(r.extend("a", 120).Err)
		c := r.call("a")
		r.wentBack(before)
		r.has(9*minute, minute, 0)
		r.restored(c)
		same(r, "call", r.call("a"), c)
		r.has(8*minute, 2*minute, 0)
		seq := r.balance().Seq
		r.restored(c)
		same(r, "seq", r.balance().Seq, seq)
		r.pass(10)
		st := r.settled("a", func(e *authz.End) { e.EndedAt = r.now - 40 })
		same(r, "talk", st.TalkMS, 40_000) // by the switch's stamps alone
	}},
	{"of two that know a call the one that heard its answer owns it", func(r *rig) {
		r.authorized("a")
		held := r.call("a")
		r.answered("a")
		live := r.call("a")
		live.Epoch = 7
		b := r.fromLedger(10 * minute)
		r.wiped()
		r.rebuilt(b, true)
		r.restored(held)
		epoch, err := r.Restore(r.ctx, live, 6)
		r.must(err)
		same(r, "owner", epoch, 7)
		r.state("a", authz.StateLive)
		held.Epoch = 2
		epoch, err = r.Restore(r.ctx, held, 1)
		r.must(err)
		same(r, "owner", epoch, 7)
		same(r, "call", r.call("a"), live)
		live.Epoch = 9 // its owner has registered anew
		epoch, err = r.Restore(r.ctx, live, 7)
		r.must(err)
		same(r, "owner", epoch, 9)
		live.UID = uuid.Max
		_, err = r.Restore(r.ctx, live, 9)
		r.fails(err, authz.ErrCallEnded)
		r.has(9*minute, minute, 0)
	}},
	{"a charge that was lost with its record is made again, once", func(r *rig) {
		r.talked("a")
		r.pass(30)
		b := r.fromLedger(10 * minute) // before the end
		r.settled("a", func(e *authz.End) { e.ExtraMicros = 70_000 })
		raw := r.rawRecords()[0]
		r.lostOutbox()
		r.wiped()
		_, err := r.Replay(r.ctx, raw, newYear)
		r.fails(err, authz.ErrLost)
		r.rebuilt(b, true)
		again := r.replayed(raw)
		same(r, "records", r.rawRecords(), []string{again})
		same(r, "seq of the record", r.records()[0].Seq, r.balance().Seq)
		same(r, "spent today", r.balance().SpentDay, minute+30*second)
		for _, twice := range []string{raw, again} {
			same(r, "record", r.replayed(twice), "")
			r.has(9*minute-30*second, 0, minute+30*second)
			same(r, "records", r.rawRecords(), []string{again})
		}
		same(r, "its end, again", r.settled("a").Duplicate, true)
		r.guarded(func(string) error { return r.rdb.HDel(r.ctx, r.hash(), "c:"+key("a").String()).Err() })
		same(r, "a record from after the rebuild, its tombstone gone", r.replayed(again), "")
		r.has(9*minute-30*second, 0, minute+30*second)
	}},
	{"a charge is made again only after a rebuild", func(r *rig) {
		r.talked("a")
		r.pass(30)
		r.settled("a")
		r.must(r.rdb.HDel(r.ctx, r.hash(), "c:"+key("a").String()).Err()) // its tombstone's time is over
		same(r, "record", r.replayed(r.rawRecords()[0]), "")
		r.has(10*minute-30*second, 0, 30*second)
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
		r.restored(live)
		r.has(9*minute, minute, 0)
		r.replayed(raw)
		r.has(10*minute-30*second, 0, 30*second)
		same(r, "calls", r.balance().Calls, 0)
	}},
	{"a charge is made again although its id is another call's now", func(r *rig) {
		r.talked("a")
		b := r.fromLedger(10 * minute)
		r.pass(30)
		r.settled("a")
		raw := r.rawRecords()[0]
		r.lostOutbox()
		r.wiped()
		r.rebuilt(b, true)
		r.talked("a")
		r.replayed(raw)
		r.has(9*minute-30*second, minute, 30*second)
		r.state("a", authz.StateLive)
	}},
	{"a charge is made again over a lost call for the difference", func(r *rig) {
		r.talked("a")
		r.pass(10)
		r.extend("a", 60)
		r.settled("a", lost)
		before := r.snapshot()
		r.pass(20)
		r.settled("a")
		raws := r.rawRecords()
		r.wentBack(before)
		r.has(10*minute-10*second, 0, 10*second)
		b := r.fromLedger(10 * minute)
		b.Settled, b.SpentDay = 10*second, 10*second // the ledger has the loss only
		for _, e := range r.entries() {
			r.must(r.rdb.XDel(r.ctx, r.outbox(), e.id).Err())
		}
		r.shutAndRebuilt(b)
		same(r, "the loss", r.replayed(raws[0]), "")
		r.has(10*minute-10*second, 0, 10*second)
		again := r.replayed(raws[1])
		r.has(10*minute-30*second, 0, 30*second)
		same(r, "the loss, late", r.replayed(raws[0]), "")
		r.has(10*minute-30*second, 0, 30*second)
		r.state("a", authz.StateSettled)
		same(r, "records", r.rawRecords(), []string{again})
	}},
	{"a lost call that was rebuilt from its record may still be settled", func(r *rig) {
		r.talked("a")
		r.pass(10)
		r.extend("a", 60)
		r.settled("a", lost)
		b, rec := r.fromLedger(10*minute), r.records()[0]
		r.wiped()
		tomb := rec.Tombstone()
		r.shutAndRebuilt(b, authz.Burial{Key: rec.Key, Call: &tomb})
		r.has(10*minute-10*second, 0, 10*second)
		r.pass(20)
		st := r.settled("a")
		same(r, "uid", st.UID, rec.UID)
		same(r, "units", st.Units, 30*second)
		r.has(10*minute-30*second, 0, 30*second)
		same(r, "who called", r.records()[1].Detail, rec.Detail)
	}},
	{"a partition tells whether it was filled, and by which Redis", func(r *rig) {
		mine := r.PartitionOf(r.account)
		mark := fmt.Sprintf("rf:{p%02d}:filled", mine)
		r.must(r.rdb.Del(r.ctx, mark).Err())
		filled, err := r.Filled(r.ctx)
		r.must(err)
		same(r, "partitions", len(filled), r.Partitions())
		same(r, "filled", filled[mine], authz.FillLost)
		r.guarded(func(token string) error { return r.MarkFilled(r.ctx, mine, token, r.now) })
		filled, err = r.Filled(r.ctx)
		r.must(err)
		same(r, "filled", filled[mine], authz.FillGood)
		r.must(r.rdb.Set(r.ctx, mark, "1 anotherprocess", 0).Err())
		filled, err = r.Filled(r.ctx)
		r.must(err)
		same(r, "filled", filled[mine], authz.FillStale)
	}},
	{"sidecars hear of each rebuild", func(r *rig) {
		mine := r.PartitionOf(r.account)
		before, err := r.Rebuilt(r.ctx)
		r.must(err)
		same(r, "partitions", len(before), r.Partitions())
		for range 2 {
			r.shutAndRebuilt(r.fromLedger(10 * minute))
			after, err := r.Rebuilt(r.ctx)
			r.must(err)
			if after[mine] == before[mine] {
				r.Fatalf("%q stays", after[mine])
			}
			before = after
		}
	}},
	{"the outbox tells when it was read up to a point", func(r *rig) {
		mine := r.PartitionOf(r.account)
		r.authorized("a")
		r.released("a")
		end, err := r.OutboxEnd(r.ctx, mine)
		r.must(err)
		r.authorized("b")
		r.released("b") // later: not waited for
		first := r.entries()
		drained := func(want bool) {
			r.Helper()
			got, err := r.OutboxDrained(r.ctx, mine, end)
			r.must(err)
			same(r, "drained", got, want)
		}
		drained(false)
		left, err := r.rdb.XRange(r.ctx, r.outbox(), "-", end).Result()
		r.must(err)
		for _, e := range left {
			r.must(r.rdb.XDel(r.ctx, r.outbox(), e.ID).Err())
		}
		drained(true)
		same(r, "records", len(first), 2)
		same(r, "of them left", len(r.entries()), 1)
		ok, err := r.OutboxDrained(r.ctx, mine, "")
		r.must(err)
		same(r, "an empty one", ok, true)
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
		if _, err := r.Replay(r.ctx, "junk", newYear); err == nil {
			r.Fatal("junk was replayed")
		}
		_, err := r.Restore(r.ctx, authz.Call{Key: key("a"), Account: r.account, UID: uuid.Max, State: authz.StateSettled, Price: base}, 1)
		r.fails(err, balance.ErrCorrupt)
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
		// Redis went back over the registration: nobody has taken the name.
		r.must(r.rdb.HSet(r.ctx, "rf:{sys}:sidecars", "name:"+name, fmt.Sprintf("%d %d", last, r.now+10_000)).Err())
		r.fails(r.Renew(r.ctx, name, again, r.now+10_000), authz.ErrLost)
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
