package authz

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hmsovereign/ringfence/authz/credit"
)

// PolicyMode says who may call while balances cannot be checked.
type PolicyMode string

// The policies.
const (
	PolicyClosed PolicyMode = "closed" // nobody
	PolicyKnown  PolicyMode = "known"  // accounts seen with a healthy balance lately
	PolicyOpen   PolicyMode = "open"   // every known account
)

// Policy is what happens when the balance store does not answer. Emergency
// numbers go through whatever it says.
type Policy struct {
	Mode      PolicyMode
	Allowance time.Duration // known: talk time for each account and sidecar, until the store is back
	KnownFor  time.Duration // known: how lately the balance must have been seen
	Healthy   credit.Units  // known: and how high
	OpenCap   time.Duration // open: talk time for each account and sidecar, until the store is back
}

// seen is what is remembered of an account for the policy "known".
type seen struct {
	available atomic.Int64
	at        atomic.Int64 // Unix ms
	used      atomic.Int64 // seconds of the allowance given away
}

// policyState remembers healthy accounts and notices a store that does not
// answer, so that requests need not each wait for their deadline to learn it.
type policyState struct {
	mu       sync.RWMutex
	accounts map[string]*seen // by account id
	failures atomic.Int64
	until    atomic.Int64 // Unix ms: before that, do not ask the store
}

const (
	tripAfter = 5                      // failures in a row
	tripFor   = 250 * time.Millisecond // then one request asks again
)

func newPolicyState() *policyState { return &policyState{accounts: map[string]*seen{}} }

// known gives what is remembered of an account; nil: nothing.
func (p *policyState) known(account string) *seen {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.accounts[account]
}

// remembered is known, and begins to remember where nothing was.
func (p *policyState) remembered(account string) *seen {
	if s := p.known(account); s != nil {
		return s
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.accounts[account]
	if s == nil {
		s = &seen{}
		p.accounts[account] = s
	}
	return s
}

// tripped tells whether the store is known to be down right now. When the time
// is over, one caller is let through to try.
func (p *policyState) tripped(now time.Time) bool {
	until := p.until.Load()
	if until == 0 {
		return false
	}
	ms := now.UnixMilli()
	if ms < until {
		return true
	}
	return !p.until.CompareAndSwap(until, now.Add(tripFor).UnixMilli())
}

// failed notes a failure and tells whether it is the first of an outage.
func (p *policyState) failed(now time.Time) (first bool) {
	n := p.failures.Add(1)
	if n >= tripAfter {
		p.until.Store(now.Add(tripFor).UnixMilli())
	}
	return n == 1
}

func (p *policyState) answered(account string, available credit.Units, now time.Time) {
	if p.failures.Load() != 0 {
		p.failures.Store(0)
		p.until.Store(0)
	}
	s := p.remembered(account)
	s.available.Store(int64(available))
	s.at.Store(now.UnixMilli())
	if s.used.Load() != 0 {
		s.used.Store(0)
	}
}

// take gives an account talk time out of its allowance under the policy: half
// of what is left, but at least a slice, so that several calls get some. 0 =
// none is left.
func (p *policyState) take(account string, pol *Policy, slice int64, now time.Time) int64 {
	s := p.known(account)
	allowance := pol.Allowance
	switch {
	case pol.Mode == PolicyOpen:
		allowance = pol.OpenCap
		s = p.remembered(account)
	case pol.Mode != PolicyKnown || s == nil:
		return 0
	}
	if pol.Mode == PolicyKnown && (now.UnixMilli()-s.at.Load() > pol.KnownFor.Milliseconds() || s.available.Load() < int64(pol.Healthy)) {
		return 0
	}
	for {
		used := s.used.Load()
		left := int64(allowance/time.Second) - used
		give := min(left, max(slice, left/2))
		if give <= 0 {
			return 0
		}
		if s.used.CompareAndSwap(used, used+give) {
			return give
		}
	}
}

// byPolicy decides a call that could not be checked. One that may go is adopted
// as soon as the store is back; for one that may not, a hold that may have been
// made all the same is given back.
func (a *Authorizer) byPolicy(s *Settings, acct *Account, h *Hold, now time.Time) Decision {
	d := Decision{CallID: h.CallID, Account: acct.ID, Language: acct.Language, Policy: string(s.Policy.Mode)}
	refuse := func(c Code) Decision {
		d.Code = c
		a.met.policy.WithLabelValues(string(s.Policy.Mode) + "_refused").Inc()
		a.tracker.Abandon(h.Key, acct.ID)
		return d
	}
	switch {
	case h.Deny != "":
		return refuse(h.Deny)
	case acct.Status != Active:
		return refuse(CodeAccountSuspended)
	}
	seconds := a.policy.take(acct.ID, &s.Policy, h.SliceSeconds, now)
	if h.Limits.MaxSeconds > 0 {
		seconds = min(seconds, h.Limits.MaxSeconds)
	}
	if seconds <= 0 {
		return refuse(CodeBalanceUnavailable)
	}
	h.Flags = h.Flags.With(FlagUnchecked)
	a.tracker.TrackUnchecked(*h)
	a.met.policy.WithLabelValues(string(s.Policy.Mode) + "_allowed").Inc()
	d.Allowed, d.UID, d.NumberID = true, h.UID, h.Detail.NumberID
	d.MaxSeconds, d.SliceSeconds = seconds, min(seconds, h.SliceSeconds)
	d.ExpiresAt, d.OnFailure = h.ExpiresAt, s.onFailure(h.Switch)
	return d
}
