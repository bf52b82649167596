package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// Finding is what a comparison of one account found.
type Finding struct {
	Account  string       `json:"account"`
	Drift    credit.Units `json:"drift_units"` // Redis' available less what the ledger says it should be
	Settled  credit.Units `json:"settled_drift_units"`
	Granted  credit.Units `json:"granted_drift_units"`
	Held     credit.Units `json:"held_drift_units"`
	Waiting  int64        `json:"grants_waiting"` // grants of the ledger that Redis has not applied yet
	Lost     bool         `json:"lost,omitempty"` // Redis does not have the account
	Behind   bool         `json:"went_back,omitempty"`
	Busy     bool         `json:"busy,omitempty"`     // it did not hold still long enough to be compared
	Unproven int          `json:"unproven,omitempty"` // calls whose end no store can prove; they are among the causes
	Causes   []Cause      `json:"causes,omitempty"`
	Fixed    bool         `json:"repaired,omitempty"`
}

// Cause explains a part of a drift.
type Cause struct {
	What  string       `json:"what"`
	Call  string       `json:"call,omitempty"` // uid
	Key   string       `json:"key,omitempty"`  // switch:direction:call_id
	Units credit.Units `json:"units"`
}

// OK tells whether nothing needs to be done.
func (f *Finding) OK() bool {
	return !f.drifts() && f.Unproven == 0
}

// drifts tells whether Redis and the ledger differ.
func (f *Finding) drifts() bool {
	return f.Drift != 0 || f.Settled != 0 || f.Granted != 0 || f.Held != 0 || f.Lost || f.Behind
}

// Comparer compares Redis with the ledger, account by account.
type Comparer struct {
	// Unproven gives the calls of an account that were on when their sidecar was
	// killed and that no store has; nil: there are none. Set it before use.
	Unproven func(account string) []authz.Call
	// Accept has those of an account reported no more: it was repaired.
	Accept func(account string)

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
		if f.drifts() {
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
			if f.drifts() {
				c.log.Error("Redis and the ledger differ; see: ringfence reconcile", "account", f.Account, "units", int64(f.Drift),
					"lost", f.Lost, "went_back", f.Behind, "cause", f.cause())
			}
			return nil
		})
		if err != nil && ctx.Err() == nil {
			c.log.Warn("accounts not compared", "error", err)
		}
	}
}

const (
	looks     = 12 // at an account that does not hold still
	lookPause = 100 * time.Millisecond
	agree     = 2 // looks in a row that find the same difference
)

// Account compares one account. What differs for a moment, since the ledger is
// being written, does not differ twice.
func (c *Comparer) Account(ctx context.Context, id string, repair bool) (Finding, error) {
	f := Finding{Account: id, Busy: true}
	var last Finding
	same := 0
	for i := range looks {
		if i > 0 && !sleep(ctx, lookPause) {
			return f, ctx.Err()
		}
		ok, err := c.look(ctx, id, &f)
		if err != nil {
			return f, err
		}
		if !ok {
			continue
		}
		if !f.drifts() {
			same = agree
			break
		}
		if same == 0 || f.Drift == last.Drift && f.Settled == last.Settled && f.Granted == last.Granted && f.Held == last.Held && f.Lost == last.Lost && f.Behind == last.Behind {
			same++
		} else {
			same = 1
		}
		if last = f; same == agree {
			break
		}
	}
	if same < agree {
		return Finding{Account: id, Busy: true}, nil
	}
	if c.Unproven != nil {
		for _, call := range c.Unproven(id) {
			f.Unproven++
			f.Causes = append(f.Causes, Cause{What: "was on when its sidecar was killed, and no store has it: its end cannot be proven, nothing was charged for it",
				Call: call.UID.String(), Key: call.Key.String(), Units: call.Held})
		}
	}
	if repair && f.Unproven > 0 && c.Accept != nil {
		c.Accept(id)
		f.Fixed = true
	}
	if !f.drifts() {
		return f, nil
	}
	if err := c.explain(ctx, &f); err != nil || !repair {
		return f, err
	}
	done, err := c.rebuild.one(ctx, id, !f.Lost)
	if err != nil {
		return f, err
	}
	f.Fixed = f.Fixed || done
	if done {
		c.met.repaired.Inc()
		c.log.Warn("account repaired: Redis is what the ledger says", "account", id, "units", int64(f.Drift), "cause", f.cause())
	}
	return f, nil
}

// cause is the first explanation, for the log.
func (f *Finding) cause() string {
	if len(f.Causes) == 0 {
		return "unexplained"
	}
	c := f.Causes[0]
	if c.Call != "" {
		return c.What + ": call " + c.Call
	}
	return c.What
}

// lookWithin bounds the wait for the outbox in one look.
const lookWithin = 3 * time.Second

// look compares what Redis has now. It tells whether it could.
func (c *Comparer) look(ctx context.Context, id string, f *Finding) (bool, error) {
	before, err := c.store.Balance(ctx, id)
	if errors.Is(err, authz.ErrLost) {
		*f = Finding{Account: id, Lost: true}
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if err := c.rebuild.drain(ctx, c.store.PartitionOf(id), lookWithin); errors.Is(err, errWaiting) {
		return false, nil
	} else if err != nil {
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
