package meter

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// Switch is how the meter controls one call switch. Its methods are called
// concurrently and bounded by their context. Errors: ErrNoSuchCall, ErrNoControl;
// any other is tried again.
type Switch interface {
	// Hangup ends a call, ringing or talking. It is asked again until the call's
	// end is reported, so it must be harmless for a call that is over.
	Hangup(ctx context.Context, k authz.Key, reason string) error
	// Warn tells the caller that so many seconds remain.
	Warn(ctx context.Context, k authz.Key, remainingSeconds int64) error
}

// Extender is a Switch that can arm a call's dead-man timer again; maxSeconds
// counts from the answer.
type Extender interface {
	Extend(ctx context.Context, k authz.Key, maxSeconds int64) error
}

// Lister is a Switch that can say which calls it has, of any state. The Switch
// of a key it gives need not be set.
type Lister interface {
	List(ctx context.Context) ([]authz.Key, error)
}

// Heartbeater is a Switch whose calls may all be relied on to send heartbeats.
// Elsewhere a call is held to it only once it has sent one.
type Heartbeater interface {
	Heartbeats() bool
}

// What a switch's control side answers, in the words that every dialect shares.
var (
	ErrNoSuchCall = authz.ErrNoSuchCall
	ErrNoControl  = authz.ErrNoControl
)

// The reasons a switch is given for a hang-up.
const (
	ReasonCredit = "insufficient_credits"
	ReasonLimit  = "call_limit"
	ReasonKilled = "killed"
	ReasonSilent = "no_heartbeat"
)

var reasons = [...]string{ReasonCredit, ReasonLimit, ReasonKilled, ReasonSilent}

const (
	whyCredit uint8 = iota
	whyLimit
	whyKilled
	whySilent
)

// Accounts answers from memory who pays: it knows the day, the cap and the
// currency of an account, and whose a number is.
type Accounts interface {
	Account(id string) (*authz.Account, bool)
	Number(e164 string) (authz.Number, bool)
}

// Store is the balance store (package authz/balance).
type Store interface {
	Steps
	Owners
	Takeover
	Index
	Sweeping
	Admin
}

// Steps moves a call along its life.
type Steps interface {
	Answered(ctx context.Context, a authz.Answer) (authz.Taken, error)
	Extend(ctx context.Context, xs []authz.Extension) []authz.Extended
	Settle(ctx context.Context, e authz.End) (authz.Settlement, error)
	Release(ctx context.Context, r authz.Release) (authz.Settlement, error)
}

// Owners says who is alive.
type Owners interface {
	Register(ctx context.Context, name string, until int64) (epoch int64, err error)
	Renew(ctx context.Context, name string, epoch, until int64) error
	Living(ctx context.Context, now int64) (map[int64]bool, error)
	Lease(ctx context.Context, name, holder string, now, until int64) (bool, error)
}

// Takeover takes calls in that were not authorized here.
type Takeover interface {
	Claim(ctx context.Context, account string, k authz.Key, from, to int64) (authz.Call, error)
	Adopt(ctx context.Context, h *authz.Hold) (authz.Taken, error)
	Prove(ctx context.Context, account string, k authz.Key, at int64) (authz.Call, error)
	Call(ctx context.Context, account string, k authz.Key) (authz.Call, error)
}

// Index finds calls by their key.
type Index interface {
	Index(ctx context.Context, put []authz.Indexed, del []authz.Key) error
	Find(ctx context.Context, k authz.Key) (account string, err error)
	ScanIndex(ctx context.Context, partition int, fn func(authz.Indexed) error) error
}

// Sweeping goes through everything there is.
type Sweeping interface {
	Partitions() int
	Accounts(ctx context.Context, partition int, fn func(account string) error) error
	Calls(ctx context.Context, account string, fn func(authz.Call, error) error) error
	Reap(ctx context.Context, account string, now, keepMS int64, keys []authz.Key) (int64, error)
}

// Admin looks at an account and ends its calls.
type Admin interface {
	Balance(ctx context.Context, account string) (authz.Balance, error)
	Kill(ctx context.Context, account string, k authz.Key) (authz.Call, error)
}

// port is one switch as the meter sees it.
type port struct {
	name         string
	sw           Switch // nil: not configured
	extender     Extender
	lister       Lister
	heartbeats   bool
	uncontrolled atomic.Bool // it can be told things only in answers to heartbeats
	failing      atomic.Bool // its failure is logged already
	jobs         *pool       // so that a switch that hangs delays no other
}

const (
	portWorkers = 8
	portTimeout = 5 * time.Second
)

func newPort(name string, sw Switch) *port {
	p := &port{name: name, sw: sw, jobs: newPool(portWorkers)}
	p.uncontrolled.Store(sw == nil)
	p.extender, _ = sw.(Extender)
	p.lister, _ = sw.(Lister)
	if h, ok := sw.(Heartbeater); ok {
		p.heartbeats = h.Heartbeats()
	}
	return p
}

// port gives the switch of a name, known or not.
func (m *Meter) port(name string) *port {
	if p, ok := m.ports.Load(name); ok {
		return p.(*port)
	}
	p, _ := m.ports.LoadOrStore(name, newPort(name, nil))
	return p.(*port)
}

// day and spending cap of an account. Where it is not known to the directory
// the day is the earliest on Earth: the store's only moves forward, so that
// being behind does no harm.
func (m *Meter) terms(account string, now int64) (day int64, limit credit.Units) {
	t := time.UnixMilli(now)
	a, ok := m.accounts.Account(account)
	if !ok {
		y, mon, d := t.In(westernmost).Date()
		return int64(y)*10000 + int64(mon)*100 + int64(d), 0
	}
	return a.Day(t), a.Limits.SpendPerDay
}

var westernmost = time.FixedZone("UTC-12", -12*3600)
