package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// lostCharge is what Redis has charged for a call, and what no record says.
type lostCharge struct {
	uid   uuid.UUID
	key   authz.Key
	state authz.State
	units credit.Units // more than the ledger has
}

// adjusted begins the reference of each entry that a repair makes.
const adjusted = "reconcile:"

// reference names a charge once and for all.
func (l *lostCharge) reference() string { return adjusted + l.uid.String() + ":" + l.state.String() }

// repair puts right what can be. Redis becomes what the ledger and the calls in
// progress say. A charge that Redis has made, and whose record is nowhere, neither
// then nor when the sidecars have put back what they know, is the one thing in
// which Redis is right: it becomes an adjusting entry of the ledger.
func (c *Comparer) repair(ctx context.Context, f *Finding) error {
	if f.Sums > 0 { // what contradicts itself is no truth to write
		return nil
	}
	if f.Unproven > 0 && c.Accept != nil {
		if err := c.Accept(ctx, f.Account); err != nil {
			return err
		}
		f.Fixed = true
	}
	for _, g := range f.twice {
		err := c.adjust(ctx, f, authz.Grant{Units: -g.Units, Reference: g.Reference + ":back", Reason: "the call's record came after all"})
		if err != nil {
			return err
		}
	}
	if !f.drifts() {
		return nil
	}
	done, err := c.rebuild.one(ctx, f.Account, !f.Lost)
	if err != nil {
		return err
	}
	f.Fixed = f.Fixed || done
	if done {
		c.met.repaired.Inc()
		c.log.Warn("account repaired: Redis is what the ledger says", "account", f.Account, "units", int64(f.Drift), "cause", f.cause())
	}
	gone, err := c.gone(ctx, f.lost)
	if err != nil {
		return err
	}
	for _, l := range gone {
		err := c.adjust(ctx, f, authz.Grant{Units: -l.units, Reference: l.reference(),
			Reason: fmt.Sprintf("call %s had been charged in Redis, and its record was lost", l.key)})
		if err != nil {
			return err
		}
	}
	return nil
}

// gone are the charges that no sidecar has made again in the time for it.
func (c *Comparer) gone(ctx context.Context, lost []lostCharge) ([]lostCharge, error) {
	deadline := time.Now().Add(c.rebuild.cfg.Replayed)
	for len(lost) > 0 {
		uids := make([]uuid.UUID, len(lost))
		for i := range lost {
			uids[i] = lost[i].uid
		}
		has, err := known(ctx, c.ledger, uids)
		if err != nil {
			return nil, err
		}
		lost = slices.DeleteFunc(lost, func(l lostCharge) bool { return has[l.uid].Rank() >= l.state.Rank() })
		if time.Now().After(deadline) {
			break
		}
		if len(lost) > 0 && !sleep(ctx, lookPause) {
			return nil, ctx.Err()
		}
	}
	return lost, nil
}

// adjust writes an entry into the ledger. It is applied in Redis like any grant.
func (c *Comparer) adjust(ctx context.Context, f *Finding, g authz.Grant) error {
	g.Account, g.Kind = f.Account, ledger.KindAdjustment
	g, created, err := c.ledger.AddGrant(ctx, g)
	if err != nil {
		return fmt.Errorf("adjust %s: %w", f.Account, err)
	}
	if created {
		f.Fixed = true
		f.Entries = append(f.Entries, g.Reference)
		c.log.Warn("adjusting entry written to the ledger", "account", f.Account, "grant", g.Number, "units", int64(g.Units), "reference", g.Reference, "cause", g.Reason)
	}
	return nil
}

// rows adds up the ledger's own, and looks for what was adjusted without need.
func (c *Comparer) rows(ctx context.Context, f *Finding) error {
	wrong, err := c.ledger.Check(ctx, f.Account)
	if err != nil {
		return err
	}
	f.Sums = len(wrong)
	for _, m := range wrong {
		at := ""
		if !m.Hour.IsZero() {
			at = " of the hour " + m.Hour.UTC().Format(time.RFC3339)
		}
		f.Causes = append(f.Causes, Cause{What: fmt.Sprintf("the ledger contradicts itself: its sum %s%s says %d, its rows add up to %d; nothing is repaired before its database is",
			m.Field, at, m.Kept, m.Found)})
	}
	f.twice, err = c.twice(ctx, f.Account)
	f.Twice = len(f.twice)
	for _, g := range f.twice {
		uid, _ := chargeOf(g.Reference)
		f.Causes = append(f.Causes, Cause{What: fmt.Sprintf("charged in the ledger, and by the adjusting entry %s, too: its record came after all", g.Reference),
			Call: uid.String(), Units: g.Units})
	}
	return err
}

// twice are the adjusting entries for calls whose records the ledger has by now,
// but for those that were taken back.
func (c *Comparer) twice(ctx context.Context, id string) ([]authz.Grant, error) {
	const page = 1000
	var entries []authz.Grant
	back := map[string]bool{}
	for after := int64(0); ; {
		grants, err := c.ledger.Grants(ctx, id, after, page)
		if err != nil {
			return nil, err
		}
		for _, g := range grants {
			after = g.Number
			if charge, isBack := strings.CutSuffix(g.Reference, ":back"); isBack {
				back[charge] = true
			} else if strings.HasPrefix(g.Reference, adjusted) && g.Kind == ledger.KindAdjustment {
				entries = append(entries, g)
			}
		}
		if len(grants) < page {
			break
		}
	}
	var uids []uuid.UUID
	for _, g := range entries {
		if uid, state := chargeOf(g.Reference); state != authz.StateNone && !back[g.Reference] {
			uids = append(uids, uid)
		}
	}
	has, err := known(ctx, c.ledger, uids)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(entries, func(g authz.Grant) bool {
		uid, state := chargeOf(g.Reference)
		return state == authz.StateNone || back[g.Reference] || has[uid].Rank() < state.Rank()
	}), nil
}

// chargeOf reads the reference of an adjusting entry.
func chargeOf(reference string) (uuid.UUID, authz.State) {
	text, state, _ := strings.Cut(strings.TrimPrefix(reference, adjusted), ":")
	uid, err := uuid.Parse(text)
	for _, s := range []authz.State{authz.StateSettled, authz.StateLost} {
		if err == nil && s.String() == state {
			return uid, s
		}
	}
	return uuid.Nil, authz.StateNone
}

// refusedMost is how many refused records are looked through for a call's.
const refusedMost = 10_000

// refused is the number of a call's record among those that the ledger refused; 0: none.
func (c *Comparer) refused(ctx context.Context, uid uuid.UUID) (int64, error) {
	for after, seen := int64(0), 0; seen < refusedMost; {
		page, _, err := c.ledger.RefusedRecords(ctx, after, 100)
		if err != nil || len(page) == 0 {
			return 0, err
		}
		for _, x := range page {
			if r, err := authz.ParseRecord(string(x.Raw)); err == nil && r.UID == uid {
				return x.ID, nil
			}
			after = x.ID
			seen++
		}
	}
	return 0, nil
}
