package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// Finding is what a comparison of one account found.
type Finding struct {
	Account string       `json:"account"`
	Drift   credit.Units `json:"drift_units"` // Redis' available less what the ledger says it should be
	Settled credit.Units `json:"settled_drift_units"`
	Granted credit.Units `json:"granted_drift_units"`
	Held    credit.Units `json:"held_drift_units"`
	Waiting int64        `json:"grants_waiting"` // grants of the ledger that Redis has not applied yet
	Lost    bool         `json:"lost,omitempty"` // Redis does not have the account
	Behind  bool         `json:"went_back,omitempty"`
	Busy    bool         `json:"busy,omitempty"` // it did not hold still long enough to be compared
	Causes  []Cause      `json:"causes,omitempty"`
	Fixed   bool         `json:"repaired,omitempty"`
}

// Cause explains a part of a drift.
type Cause struct {
	What  string       `json:"what"`
	Call  string       `json:"call,omitempty"` // uid
	Units credit.Units `json:"units"`
}

// OK tells whether nothing needs to be done.
func (f *Finding) OK() bool {
	return f.Drift == 0 && f.Settled == 0 && f.Granted == 0 && f.Held == 0 && !f.Lost && !f.Behind
}

// Comparer compares Redis with the ledger, account by account.
type Comparer struct {
	ledger  Ledger
	store   Store
	rebuild *Rebuilder
	log     *slog.Logger
	met     *Metrics
}

// NewComparer makes a Comparer that repairs through a Rebuilder. met may be nil.
func NewComparer(l Ledger, s Store, r *Rebuilder, log *slog.Logger, met *Metrics) *Comparer {
	if met == nil {
		met = NewMetrics(nil)
	}
	return &Comparer{ledger: l, store: s, rebuild: r, log: log, met: met}
}

// All compares every account of the ledger and calls fn with each finding that
// is not in order. With repair, what is wrong is put right: Redis becomes what
// the ledger and the calls in progress say.
func (c *Comparer) All(ctx context.Context, repair bool, fn func(Finding) error) (compared int, err error) {
	var drift credit.Units
	var drifting int
	err = c.ledger.EachTotals(ctx, func(t ledger.Totals) error {
		f, err := c.Account(ctx, t.Account, repair)
		if err != nil {
			return err
		}
		compared++
		c.met.compared.Inc()
		if f.OK() && !f.Busy {
			return nil
		}
		if !f.OK() {
			drift += max(f.Drift, -f.Drift)
			drifting++
		}
		return fn(f)
	})
	if err == nil {
		c.met.drift.Set(float64(drift))
		c.met.drifting.Set(float64(drifting))
		c.met.last.SetToCurrentTime()
	}
	return compared, err
}

// Run compares all accounts periodically, until ctx is done.
func (c *Comparer) Run(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		_, err := c.All(ctx, false, func(f Finding) error {
			if f.Lost {
				c.rebuild.Lost(f.Account)
			}
			if f.Behind {
				c.rebuild.Behind(f.Account)
			}
			if !f.OK() {
				c.log.Error("Redis and the ledger differ; see: ringfence reconcile", "account", f.Account, "units", int64(f.Drift), "lost", f.Lost, "went_back", f.Behind)
			}
			return nil
		})
		if err != nil && ctx.Err() == nil {
			c.log.Warn("accounts not compared", "error", err)
		}
	}
}

const still = 20 // looks at an account that does not hold still

// Account compares one account.
func (c *Comparer) Account(ctx context.Context, id string, repair bool) (Finding, error) {
	f := Finding{Account: id, Busy: true}
	for range still {
		ok, err := c.look(ctx, id, &f)
		if err != nil {
			return f, err
		}
		if ok {
			f.Busy = false
			break
		}
		if !sleep(ctx, 10*time.Millisecond) {
			return f, ctx.Err()
		}
	}
	if f.Busy || f.OK() {
		return f, nil
	}
	if err := c.explain(ctx, &f); err != nil {
		return f, err
	}
	if !repair {
		return f, nil
	}
	done, err := c.rebuild.account(ctx, id, !f.Lost, c.rebuild.opensAt())
	if err != nil {
		return f, err
	}
	if f.Fixed = done; done {
		c.met.repaired.Inc()
		c.log.Warn("account repaired: Redis is what the ledger says", "account", id, "units", int64(f.Drift), "cause", f.cause())
		return f, c.store.AnnounceRebuild(ctx)
	}
	return f, nil
}

// cause is the first explanation, for the log.
func (f *Finding) cause() string {
	if len(f.Causes) == 0 {
		return "unexplained"
	}
	return f.Causes[0].What
}

// look compares, unless the account changed meanwhile or records wait.
func (c *Comparer) look(ctx context.Context, id string, f *Finding) (bool, error) {
	before, err := c.store.Balance(ctx, id)
	if errors.Is(err, authz.ErrLost) {
		*f = Finding{Account: id, Lost: true}
		return true, nil
	}
	if err != nil {
		return false, err
	}
	partition := c.store.PartitionOf(id)
	if n, err := c.store.OutboxWaiting(ctx, partition); err != nil || n > 0 {
		return false, err
	}
	totals, err := c.ledger.Totals(ctx, id)
	if err != nil {
		return false, fmt.Errorf("compare %s: %w", id, err)
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
	if err != nil || after.Seq != before.Seq {
		return false, err
	}
	*f = Finding{Account: id, Settled: before.Settled - totals.Settled, Granted: before.Granted - granted, Held: before.Held - holds,
		Waiting: totals.Grants - before.GrantSeq, Behind: before.Seq < totals.Seq}
	f.Drift = before.Available - (granted - totals.Settled - holds)
	return true, nil
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
			sum -= g.Units
			upTo = g.Number
		}
	}
	return sum, nil
}

// explain finds the calls behind a drift.
func (c *Comparer) explain(ctx context.Context, f *Finding) error {
	if f.Lost {
		f.Causes = append(f.Causes, Cause{What: "Redis does not have the account; it is rebuilt from the ledger"})
		return nil
	}
	if f.Behind {
		f.Causes = append(f.Causes, Cause{What: "Redis went back: its seq is below what the ledger has seen"})
	}
	var over []authz.Call
	var uids []uuid.UUID
	err := c.store.Calls(ctx, f.Account, func(call authz.Call, err error) error {
		switch {
		case err != nil:
			f.Causes = append(f.Causes, Cause{What: "a call in Redis cannot be read: " + err.Error()})
		case call.State == authz.StateSettled || call.State == authz.StateLost:
			over, uids = append(over, call), append(uids, call.UID)
		}
		return nil
	})
	if err != nil {
		return err
	}
	known, err := c.ledger.KnownCalls(ctx, uids)
	if err != nil {
		return err
	}
	for _, call := range over {
		if known[call.UID].Rank() < call.State.Rank() {
			f.Causes = append(f.Causes, Cause{What: "settled in Redis, and its record is not in the ledger", Call: call.UID.String(), Units: call.Charged})
		}
	}
	b, err := c.store.Balance(ctx, f.Account)
	if err != nil {
		return err
	}
	later, err := c.ledger.CallsAfterSeq(ctx, f.Account, b.Seq, 100)
	if err != nil {
		return err
	}
	for _, call := range later {
		f.Causes = append(f.Causes, Cause{What: "in the ledger, and later than anything Redis knows", Call: call.UID.String(), Units: -call.Charged()})
	}
	if f.Held != 0 {
		f.Causes = append(f.Causes, Cause{What: "the holds of the calls do not sum up to what is held", Units: f.Held})
	}
	if len(f.Causes) == 0 {
		f.Causes = append(f.Causes, Cause{What: "no call explains it: Redis was changed by something else, or the call's tombstone is gone", Units: f.Drift})
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
