package reconcile

import (
	"context"
	"log/slog"
	"maps"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// remember is how long after its end a call's tombstone is of use: Redis keeps
// them for 15 minutes by default, and what an account lost is put back.
const remember = 30 * time.Minute

// write writes one account from the ledger's sums. Redis has no books of it, and
// the ledger all that its outbox held. begun is called when nothing of the ledger
// is needed any more: from there on the account is not what it was.
func (r *Rebuilder) write(ctx context.Context, it item, token string, begun func()) (bool, error) {
	a, err := r.ledger.Account(ctx, it.id)
	if err != nil {
		return false, err
	}
	totals, err := r.ledger.Totals(ctx, it.id)
	if err != nil {
		return false, err
	}
	loc, err := time.LoadLocation(a.TimeZone)
	if err != nil {
		loc = time.UTC
	}
	a.Location = loc
	now := time.Now()
	y, m, d := now.In(loc).Date()
	day, err := r.ledger.Sum(ctx, it.id, time.Date(y, m, d, 0, 0, 0, 0, loc), now.Add(time.Hour))
	if err != nil {
		return false, err
	}
	calls, err := r.burials(ctx, it.id, now)
	if err != nil {
		return false, err
	}
	begun()
	if err := r.store.Bury(ctx, it.id, token, calls); err != nil {
		return false, err
	}
	b := authz.Rebuild{Token: token, Account: it.id, Status: a.Status, Day: a.Day(now), SpentDay: day.Charged(), Granted: totals.Granted,
		GrantSeq: totals.Grants, Settled: totals.Settled, Seq: max(totals.Seq, now.UnixMicro())}
	if known := totals.Grants > 0 || totals.Seq > 0; known && r.cfg.Grace > 0 {
		b.OpensAt = now.Add(r.cfg.Grace).UnixMilli()
	}
	base, err := r.store.Rebuild(ctx, b)
	if err != nil || base == 0 {
		return false, err
	}
	return true, r.verify(ctx, it.id, base, &totals)
}

// verify looks at the ledger once more: a reader may have taken records out of
// the outbox before Redis lost it, and have committed them only after the sums
// were read. What is committed after this the reader itself notices.
func (r *Rebuilder) verify(ctx context.Context, id string, base int64, was *ledger.Totals) error {
	now, err := r.ledger.Totals(ctx, id)
	if err != nil || now.Calls == was.Calls {
		return err
	}
	later, err := r.ledger.CallsAfterSeq(ctx, id, base, laterMost)
	if err != nil {
		return err
	}
	for i := range later {
		switch later[i].State {
		case authz.StateSettled:
			now.Calls.Settled--
		case authz.StateLost:
			now.Calls.Lost--
		}
	}
	if now.Calls.Settled != was.Calls.Settled || now.Calls.Lost != was.Calls.Lost {
		r.Behind(id)
	}
	return nil
}

// burials are the calls of an account that the ledger knows more of than Redis:
// those that ended lately, so that what is told of them again changes nothing,
// and those that Redis still has alive. A charge that the ledger does not have is
// taken out: the sums lack it, and whoever has its record charges it again. A
// call that the ledger has as released or rejected may live all the same.
func (r *Rebuilder) burials(ctx context.Context, id string, now time.Time) ([]authz.Burial, error) {
	has := map[authz.Key]authz.Call{} // in Redis
	err := r.store.Calls(ctx, id, func(c authz.Call, err error) error {
		if err == nil && c.State != authz.StateMark {
			has[c.Key] = c
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	b := burials{log: r.log.With("account", id), has: has, seen: map[uuid.UUID]bool{}}
	recent := ledger.Selection{Account: id, From: now.Add(-remember)}
	if err := r.ledger.Export(ctx, recent, func(c ledger.Call) error { b.bury(&c); return nil }); err != nil {
		return nil, err
	}
	var uids []uuid.UUID
	for _, c := range has {
		if !b.seen[c.UID] {
			uids = append(uids, c.UID)
		}
	}
	known, err := known(ctx, r.ledger, uids)
	if err != nil {
		return nil, err
	}
	for _, c := range has {
		switch state := known[c.UID]; {
		case b.seen[c.UID], state == c.State:
		case state == authz.StateNone:
			b.unproven(&c)
		default:
			row, err := r.ledger.Call(ctx, c.UID)
			if err != nil {
				return nil, err
			}
			b.bury(&row)
		}
	}
	return b.out, nil
}

type burials struct {
	log  *slog.Logger
	has  map[authz.Key]authz.Call
	seen map[uuid.UUID]bool
	out  []authz.Burial
}

func charged(s authz.State) bool { return s == authz.StateSettled || s == authz.StateLost }

// bury decides what the ledger's row of a call does to Redis.
func (b *burials) bury(c *ledger.Call) {
	b.seen[c.UID] = true
	old, there := b.has[c.Key]
	switch {
	case there && (old.UID != c.UID || old.State == c.State):
		return // another call of the id; or no news
	case charged(c.State):
	case there && charged(old.State):
		b.unproven(&old)
		return
	case there, c.State == authz.StateRejected, c.Flags.Has(authz.FlagGone):
		return // it lives again; or it may be asked for again
	}
	tomb := c.Tombstone()
	b.out = append(b.out, authz.Burial{Key: c.Key, Call: &tomb})
}

// unproven takes a charge out that the ledger does not have.
func (b *burials) unproven(c *authz.Call) {
	if !charged(c.State) {
		return
	}
	b.log.Warn("Redis has charged a call that neither outbox nor ledger has; it is charged again if a sidecar has its record",
		"call", c.Key.String(), "call_uid", c.UID.String(), "units", int64(c.Charged))
	b.out = append(b.out, authz.Burial{Key: c.Key})
}

// knownPage is how many calls are asked for at a time.
const knownPage = 1000

// known asks the ledger for many calls.
func known(ctx context.Context, l Ledger, uids []uuid.UUID) (map[uuid.UUID]authz.State, error) {
	all := make(map[uuid.UUID]authz.State, len(uids))
	for len(uids) > 0 {
		n := min(len(uids), knownPage)
		some, err := l.KnownCalls(ctx, uids[:n])
		if err != nil {
			return nil, err
		}
		maps.Copy(all, some)
		uids = uids[n:]
	}
	return all, nil
}
