package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// traced is for how long at least Redis has a trace of a call that ended.
const traced = 10 * time.Minute

// explain finds what is behind a difference, call by call. The units of a call
// are what Redis has charged for it less what the ledger has.
func (c *Comparer) explain(ctx context.Context, f *Finding) error {
	cause := func(units credit.Units, format string, args ...any) {
		f.Causes = append(f.Causes, Cause{What: fmt.Sprintf(format, args...), Units: units})
	}
	if f.Lost {
		cause(0, "Redis does not have the account; it is rebuilt from the ledger")
		return nil
	}
	if f.Behind {
		cause(0, "Redis went back: its seq is below what the ledger has seen")
	}
	if f.Granted != 0 {
		cause(f.Granted, "what Redis was granted is not the sum of the ledger's grants up to the last one it has applied")
	}
	found, lost, err := c.calls(ctx, f.Account)
	if err != nil {
		return err
	}
	f.lost = lost
	rest := f.Settled
	for _, x := range found {
		rest -= x.Units
	}
	f.Causes = append(f.Causes, found...)
	if rest != 0 {
		cause(rest, "no call of the last minutes explains it: something else changed what Redis has settled, or it is longer ago")
	}
	if f.Held != 0 {
		cause(f.Held, "the holds of the calls do not add up to what is held")
	}
	if more := f.Drift - (f.Granted - f.Settled - f.Held); more != 0 {
		cause(more, "available is not what was granted, less settled and held: something else changed it")
	}
	return nil
}

// calls are those that Redis and the ledger have differently.
func (c *Comparer) calls(ctx context.Context, id string) (out []Cause, lost []lostCharge, err error) {
	now := time.Now()
	var has []authz.Call // in Redis
	err = c.store.Calls(ctx, id, func(call authz.Call, err error) error {
		switch {
		case err != nil:
			out = append(out, Cause{What: "a call in Redis cannot be read: " + err.Error(), Key: call.Key.String()})
		case call.State != authz.StateMark:
			has = append(has, call)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	// What Redis has charged by now the ledger has after this.
	if err := c.rebuild.drain(ctx, c.store.PartitionOf(id), lookWithin); err != nil {
		return nil, nil, err
	}
	rows := map[uuid.UUID]ledger.Call{} // in the ledger
	err = c.ledger.Export(ctx, ledger.Selection{Account: id, From: now.Add(-remember)}, func(call ledger.Call) error {
		rows[call.UID] = call
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	var older []uuid.UUID
	for i := range has {
		if _, recent := rows[has[i].UID]; !recent {
			older = append(older, has[i].UID)
		}
	}
	states, err := known(ctx, c.ledger, older)
	if err != nil {
		return nil, nil, err
	}
	keys := map[authz.Key]bool{}
	for i := range has {
		call := &has[i]
		keys[call.Key] = true
		row := rows[call.UID]
		if states[call.UID] != authz.StateNone {
			if row, err = c.ledger.Call(ctx, call.UID); err != nil && !errors.Is(err, ledger.ErrNotFound) {
				return nil, nil, err
			}
		}
		x, differs := difference(call, &row)
		if !differs {
			continue
		}
		if x.Units > 0 && charged(call.State) && call.State.Rank() > row.State.Rank() {
			refused, err := c.refused(ctx, call.UID)
			if err != nil {
				return nil, nil, err
			}
			if refused != 0 {
				x.What = fmt.Sprintf("charged in Redis, and the ledger refused its record, no. %d; see: ringfence outbox refused", refused)
			} else {
				lost = append(lost, lostCharge{call.UID, call.Key, call.State, x.Units})
			}
		}
		out = append(out, x)
	}
	for _, row := range rows {
		if charged(row.State) && row.Charged() != 0 && !keys[row.Key] && row.At > now.Add(-traced).UnixMilli() {
			out = append(out, Cause{What: "charged in the ledger, and Redis has no trace of it", Call: row.UID.String(), Key: row.Key.String(), Units: -row.Charged()})
		}
	}
	return out, lost, nil
}

// difference compares a call in Redis with its row in the ledger, which may be none.
func difference(call *authz.Call, row *ledger.Call) (Cause, bool) {
	x := Cause{Call: call.UID.String(), Key: call.Key.String()}
	var in, out credit.Units
	if charged(call.State) {
		in = call.Charged
	}
	if charged(row.State) {
		out = row.Charged()
	}
	x.Units = in - out
	switch {
	case charged(call.State) && !charged(row.State):
		x.What = "charged in Redis, and neither ledger nor outbox has its record"
	case charged(row.State) && !call.State.Final():
		x.What = "over in the ledger, and Redis thinks it lives"
	case in != out:
		x.What = fmt.Sprintf("%s in Redis for %d units, and %s in the ledger for %d", call.State, in, row.State, out)
	default:
		return x, false
	}
	return x, true
}
