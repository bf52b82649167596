package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// lookWithin bounds the wait for the outbox in one look.
const lookWithin = 3 * time.Second

// look compares what Redis has now. It tells whether it could. Errors: errWaiting.
func (c *Comparer) look(ctx context.Context, id string, within time.Duration, f *Finding) (bool, error) {
	before, err := c.store.Balance(ctx, id)
	if errors.Is(err, authz.ErrLost) {
		*f = Finding{Account: id, Lost: true}
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if err := c.rebuild.drain(ctx, c.store.PartitionOf(id), within); err != nil {
		return false, err
	}
	settled, totals, ok, err := c.settled(ctx, id, before.Seq)
	if err != nil || !ok {
		return false, err
	}
	granted, err := c.granted(ctx, id, &totals, before.GrantSeq)
	if err != nil {
		return false, err
	}
	var holds credit.Units
	err = c.store.Calls(ctx, id, func(call authz.Call, err error) error {
		if err == nil && (call.State == authz.StateHeld || call.State == authz.StateLive) {
			holds += call.Held
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	after, err := c.store.Balance(ctx, id)
	if errors.Is(err, authz.ErrLost) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if after.Seq != before.Seq {
		holds = before.Held // the calls were not those of one moment
	}
	*f = Finding{Account: id, Settled: before.Settled - settled, Granted: before.Granted - granted, Held: before.Held - holds,
		Waiting: totals.Grants - before.GrantSeq, Behind: after.Seq < totals.Seq}
	f.Drift = before.Available - (granted - settled - holds)
	return true, nil
}

// laterMost is how many calls may come into the ledger while it is compared.
const laterMost = 10_000

// settled is what the ledger had settled when Redis was at a seq: all but the
// calls above it. ok is false where it was written meanwhile.
func (c *Comparer) settled(ctx context.Context, id string, seq int64) (sum credit.Units, t ledger.Totals, ok bool, err error) {
	t, err = c.ledger.Totals(ctx, id)
	if err != nil {
		return 0, t, false, fmt.Errorf("compare %s: %w", id, err)
	}
	if t.Seq <= seq {
		return t.Settled, t, true, nil
	}
	later, err := c.ledger.CallsAfterSeq(ctx, id, seq, laterMost)
	if err != nil {
		return 0, t, false, fmt.Errorf("compare %s: %w", id, err)
	}
	again, err := c.ledger.Totals(ctx, id)
	if err != nil {
		return 0, t, false, fmt.Errorf("compare %s: %w", id, err)
	}
	if again != t || len(later) == laterMost {
		return 0, t, false, nil
	}
	sum = t.Settled
	for i := range later {
		if charged(later[i].State) {
			sum -= later[i].Charged()
		}
	}
	return sum, t, true, nil
}

// granted sums the grants up to a number.
func (c *Comparer) granted(ctx context.Context, id string, t *ledger.Totals, upTo int64) (credit.Units, error) {
	sum := t.Granted
	for upTo < t.Grants {
		grants, err := c.ledger.Grants(ctx, id, upTo, 1000)
		if err != nil {
			return 0, fmt.Errorf("compare %s: %w", id, err)
		}
		if len(grants) == 0 {
			break
		}
		for _, g := range grants {
			if g.Number <= t.Grants {
				sum -= g.Units
			}
			upTo = g.Number
		}
	}
	return sum, nil
}
