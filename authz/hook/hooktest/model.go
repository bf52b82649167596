package hooktest

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// Model is an authorizer and a meter small enough to be seen through: one price,
// everything under one lock, no store. It keeps accounts' credit as the real
// ones do, so that a dialect's suite looks at consequences and not at canned
// answers. It satisfies the hook server's two interfaces.
type Model struct {
	mu       sync.Mutex
	now      time.Time
	accounts map[string]*modelAccount
	calls    map[authz.Key]*modelCall
	ended    map[authz.Key]bool // ends that came before their authorize
}

type modelAccount struct {
	id, number      string
	available, held credit.Units
	suspended       bool
	maxCalls, calls int
}

type modelCall struct {
	req        authz.Request
	account    *modelAccount
	uid        uuid.UUID
	state      authz.State
	held       credit.Units
	answeredAt int64
	end        authz.Settlement
}

// The model's world.
var (
	rich      = Party{"org-rich", "+31850835037"}
	other     = Party{"org-other", "+31850835038"}
	single    = Party{"org-single", "+31850835039"}
	empty     = Party{"org-empty", "+31850835040"}
	suspended = Party{"org-suspended", "+31850835041"}
)

const (
	stranger     = "+4915112345678"
	emergency    = "112"
	modelCredit  = 60 * credit.PerCredit
	sliceSeconds = 60
	holdMS       = 240_000
)

var modelPrice = tariff.Price{Rate: credit.PerCredit, MicrosRate: 70_000, Initial: 1, Step: 1, CreditPrice: 70_000}

// NewModel makes a model whose clock stands at now.
func NewModel(now time.Time) *Model {
	m := &Model{now: now, accounts: map[string]*modelAccount{}, calls: map[authz.Key]*modelCall{}, ended: map[authz.Key]bool{}}
	add := func(p Party, a modelAccount) {
		a.id, a.number = p.Account, p.Number
		m.accounts[a.id] = &a
	}
	add(rich, modelAccount{available: modelCredit})
	add(other, modelAccount{available: modelCredit})
	add(single, modelAccount{available: modelCredit, maxCalls: 1})
	add(suspended, modelAccount{available: modelCredit, suspended: true})
	add(empty, modelAccount{})
	return m
}

// World is the model as Run wants it, less the switch.
func (m *Model) World() World {
	return World{
		Rich: rich, Other: other, Single: single, Empty: empty, Suspended: suspended,
		Emergency: emergency, Stranger: stranger,
		Now: m.Now, Advance: m.Advance, Balance: m.Balance,
	}
}

// Now is the model's clock.
func (m *Model) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// Advance moves the clock.
func (m *Model) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
}

// Balance is what an account may still spend, and what its calls hold beside it.
func (m *Model) Balance(account string) (available, held credit.Units) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.accounts[account]
	return a.available, a.held
}

// Emergency implements the hook server's Authorizer.
func (m *Model) Emergency(dialled string) bool { return dialled == emergency }

// Authorize implements the hook server's Authorizer.
func (m *Model) Authorize(_ context.Context, req *authz.Request) authz.Decision {
	return m.decide(req, true)
}

// Quote implements the hook server's Authorizer.
func (m *Model) Quote(_ context.Context, req *authz.Request) authz.Decision {
	return m.decide(req, false)
}

// Gone implements the hook server's Authorizer.
func (m *Model) Gone(req *authz.Request, _ authz.Decision) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.calls[req.Key]; c != nil && c.state == authz.StateHeld {
		c.over(authz.StateReleased)
	}
}

func (m *Model) decide(req *authz.Request, hold bool) authz.Decision {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Emergency(req.To) {
		return authz.Decision{Allowed: true, CallID: req.CallID, MaxSeconds: tariff.Unlimited, SliceSeconds: tariff.Unlimited, Policy: "emergency"}
	}
	a := m.find(req.Direction, req.Account, req.From, req.To)
	deny := func(code authz.Code) authz.Decision { return authz.Decision{Code: code, CallID: req.CallID} }
	c := m.calls[req.Key]
	switch {
	case a == nil:
		return deny(authz.CodeAccountNotFound)
	case c != nil && (c.account != a || c.req.From != req.From || c.req.To != req.To || c.req.Mode != req.Mode):
		return deny(authz.CodeCallConflict)
	case m.ended[req.Key], c != nil && c.state.Final():
		return deny(authz.CodeCallEnded)
	case c == nil && a.suspended:
		return deny(authz.CodeAccountSuspended)
	case c == nil && a.maxCalls > 0 && a.calls >= a.maxCalls:
		return deny(authz.CodeTooManyCalls)
	case c == nil && a.available < modelPrice.Cost(1000):
		return deny(authz.CodeInsufficientCredits)
	}
	if c == nil {
		c = &modelCall{req: *req, account: a, state: authz.StateHeld, held: min(a.available, modelPrice.Cost(sliceSeconds*1000))}
		if hold {
			c.uid = uuid.Must(uuid.NewV7())
			m.calls[req.Key] = c
			a.available, a.held, a.calls = a.available-c.held, a.held+c.held, a.calls+1
		}
	}
	d := authz.Decision{
		Allowed: true, CallID: req.CallID, UID: c.uid, Account: a.id, OnFailure: "continue",
		MaxSeconds:   modelPrice.Affordable(max(a.available, c.held)),
		SliceSeconds: modelPrice.Affordable(c.held),
	}
	if hold {
		d.ExpiresAt = m.now.UnixMilli() + holdMS
	}
	return d
}

func (m *Model) find(dir authz.Direction, account, from, to string) *modelAccount {
	if a := m.accounts[account]; a != nil && dir == authz.Outbound {
		return a
	}
	own := to
	if dir == authz.Outbound {
		own = from
	}
	for _, a := range m.accounts {
		if a.number == own {
			return a
		}
	}
	return nil
}

// Event implements the hook server's Events.
func (m *Model) Event(_ context.Context, ev authz.Event) (authz.EventResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.calls[ev.Key]
	if c == nil {
		if ev.Type == authz.EventEnded || ev.Type == authz.EventAbandoned {
			m.ended[ev.Key] = true
		}
		return authz.EventResult{Kept: true}, nil
	}
	switch ev.Type {
	case authz.EventAnswered:
		if c.state == authz.StateHeld {
			c.state, c.answeredAt = authz.StateLive, ev.AnsweredAt
		}
	case authz.EventHeartbeat:
		return c.heartbeat(m.now.UnixMilli()), nil
	default:
		if c.state.Final() {
			c.end.Duplicate = true
			break
		}
		if err := c.finish(ev); err != nil {
			return authz.EventResult{}, err
		}
	}
	return authz.EventResult{State: c.state, Settlement: c.end}, nil
}

func (c *modelCall) heartbeat(now int64) authz.EventResult {
	left := modelPrice.Affordable(c.account.available+c.held) - tariff.Seconds(now-c.answeredAt)
	if left <= 0 {
		return authz.EventResult{State: c.state, Action: "hangup"}
	}
	return authz.EventResult{State: c.state, Action: "continue", Remaining: left}
}

// finish works an ended or an abandoned event.
func (c *modelCall) finish(ev authz.Event) error {
	if c.answeredAt == 0 {
		c.answeredAt = ev.AnsweredAt
	}
	switch {
	case c.answeredAt != 0 && ev.Type == authz.EventEnded:
		c.end.TalkMS = max(ev.EndedAt-c.answeredAt, 0)
		c.end.Units, c.end.Micros = modelPrice.Cost(c.end.TalkMS), modelPrice.Money(c.end.TalkMS)
		c.over(authz.StateSettled)
	case ev.Type == authz.EventAbandoned || ev.NeverAnswered:
		c.over(authz.StateReleased)
	default:
		return authz.ErrNotAnswered
	}
	return nil
}

// over gives the hold back and charges what the end says.
func (c *modelCall) over(state authz.State) {
	a := c.account
	a.held -= c.held
	a.available += c.held - c.end.Units
	a.calls--
	c.state, c.end.State, c.end.UID = state, state, c.uid
}
