package reconcile

import (
	"context"
	"errors"
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
	Busy     bool         `json:"busy,omitempty"`              // it could not be compared
	Why      string       `json:"why,omitempty"`               // it could not
	Sums     int          `json:"ledger_sums_wrong,omitempty"` // sums of the ledger that are not those of its rows
	Twice    int          `json:"adjusted_twice,omitempty"`    // adjusting entries for calls that the ledger has all the same
	Unproven int          `json:"unproven,omitempty"`          // calls whose end no store can prove; they are among the causes
	Causes   []Cause      `json:"causes,omitempty"`
	Fixed    bool         `json:"repaired,omitempty"`
	Entries  []string     `json:"adjusting_entries,omitempty"` // references of grants that repaired the ledger

	lost  []lostCharge  // charges of Redis whose records are nowhere
	twice []authz.Grant // those
	waits bool          // its partition's outbox stands still
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
	return !f.drifts() && f.Unproven == 0 && f.Sums == 0 && f.Twice == 0 && !f.Busy
}

// drifts tells whether Redis and the ledger differ.
func (f *Finding) drifts() bool {
	return f.Drift != 0 || f.Settled != 0 || f.Granted != 0 || f.Held != 0 || f.Lost || f.Behind
}

// Comparer compares Redis with the ledger, account by account.
type Comparer struct {
	// Unproven gives the calls of an account that were on when their sidecar was
	// killed and that no store has; nil: there are none. Set it before use.
	Unproven func(ctx context.Context, account string) ([]authz.Call, error)
	// Accept has those of an account reported no more: it was repaired.
	Accept func(ctx context.Context, account string) error

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

// Options of a comparison.
type Options struct {
	Repair bool // what is wrong is put right
	Rows   bool // the ledger's own rows are added up again, too; that reads all of them
}

// busyAgain is how often an account that did not hold still is looked at again,
// when all others have been.
const busyAgain = 2

// All compares every account of the ledger and calls fn with each finding that
// is not in order, last with those accounts that never held still. It tells how
// many were compared.
func (c *Comparer) All(ctx context.Context, opt Options, fn func(Finding) error) (compared int, err error) {
	var ids []string
	err = c.ledger.EachTotals(ctx, func(t ledger.Totals) error { ids = append(ids, t.Account); return nil })
	if err != nil {
		return 0, err
	}
	var drift credit.Units
	var drifting int
	var busy []Finding
	stuck := map[int]bool{} // partitions whose outbox stands still: it is not waited for again and again
	for range 1 + busyAgain {
		busy = nil
		for _, id := range ids {
			p := c.store.PartitionOf(id)
			f, err := c.account(ctx, id, opt, stuck[p])
			if err != nil {
				return compared, err
			}
			if f.Busy {
				stuck[p] = stuck[p] || f.waits
				busy = append(busy, f)
				continue
			}
			compared++
			c.met.compared.Inc()
			if f.drifts() {
				drift += max(f.Drift, -f.Drift)
				drifting++
			}
			if f.OK() {
				continue
			}
			if err := fn(f); err != nil {
				return compared, err
			}
		}
		ids = ids[:0]
		for i := range busy {
			ids = append(ids, busy[i].Account)
		}
	}
	for _, f := range busy {
		if err := fn(f); err != nil {
			return compared, err
		}
	}
	c.met.drift.Set(float64(drift))
	c.met.drifting.Set(float64(drifting))
	c.met.busy.Set(float64(len(busy)))
	c.met.last.SetToCurrentTime()
	return compared, nil
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
		_, err := c.All(ctx, Options{}, func(f Finding) error {
			if f.Lost {
				c.rebuild.Lost(f.Account)
			}
			if f.Behind {
				c.rebuild.Behind(f.Account)
			}
			if f.Busy {
				c.log.Warn("account not compared: "+f.Why, "account", f.Account)
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
func (c *Comparer) Account(ctx context.Context, id string, opt Options) (Finding, error) {
	return c.account(ctx, id, opt, false)
}

func (c *Comparer) account(ctx context.Context, id string, opt Options, stuck bool) (Finding, error) {
	f, err := c.steady(ctx, id, stuck)
	if err != nil || f.Busy {
		return f, err
	}
	if opt.Rows {
		if err := c.rows(ctx, &f); err != nil {
			return f, err
		}
	}
	if c.Unproven != nil {
		calls, err := c.Unproven(ctx, id)
		if err != nil {
			return f, err
		}
		for _, call := range calls {
			f.Unproven++
			f.Causes = append(f.Causes, Cause{What: "was on when its sidecar was killed, and no store has it: its end cannot be proven, nothing was charged for it",
				Call: call.UID.String(), Key: call.Key.String(), Units: call.Held})
		}
	}
	if f.drifts() {
		if err := c.explain(ctx, &f); err != nil {
			return f, err
		}
	}
	if !opt.Repair || f.OK() {
		return f, nil
	}
	return f, c.repair(ctx, &f)
}

// steady looks until the same is found twice.
func (c *Comparer) steady(ctx context.Context, id string, stuck bool) (f Finding, err error) {
	f.Account = id
	var last Finding
	same, tries := 0, looks
	if stuck {
		tries = 1
	}
	for i := range tries {
		if i > 0 && !sleep(ctx, lookPause) {
			return f, ctx.Err()
		}
		within := lookWithin
		if stuck {
			within = 2 * drainEvery
		}
		ok, err := c.look(ctx, id, within, &f)
		switch {
		case errors.Is(err, errWaiting):
			return Finding{Account: id, Busy: true, Why: "its records still wait for the ledger", waits: true}, nil
		case err != nil:
			return f, err
		case !ok:
			continue
		case !f.drifts():
			return f, nil
		case same > 0 && f.Drift == last.Drift && f.Settled == last.Settled && f.Granted == last.Granted && f.Held == last.Held && f.Lost == last.Lost && f.Behind == last.Behind:
			same++
		default:
			same = 1
		}
		if last = f; same == agree {
			return f, nil
		}
	}
	return Finding{Account: id, Busy: true, Why: "it did not hold still long enough"}, nil
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
