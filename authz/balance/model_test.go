package balance_test

import (
	"errors"
	"math/big"
	"strings"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// model is one account as the design describes it, in plain Go: what the
// scripts must do, whatever comes in whatever order.
type model struct {
	available, held, settled, granted credit.Units
	grants, seq                       int64
	day                               int64
	spent                             credit.Units
	suspended                         bool
	calls                             map[authz.Key]*authz.Call
	records                           []authz.Record
	minute, inMinute, uncounted       int64
}

func (m *model) live() (n int64) {
	for _, c := range m.calls {
		if c.State == authz.StateHeld || c.State == authz.StateLive {
			n++
		}
	}
	return n
}

func (m *model) today(day int64) {
	if day > m.day {
		m.day, m.spent = day, 0
	}
}

// budget is what may be spent beside what is held.
func (m *model) budget(limit credit.Units) credit.Units {
	if limit == 0 {
		return m.available
	}
	return min(m.available, limit-m.spent-m.held)
}

// known is the call, if it is one and no mark.
func (m *model) known(k authz.Key) (*authz.Call, error) {
	c := m.calls[k]
	if c == nil || c.State == authz.StateMark {
		return nil, authz.ErrUnknownCall
	}
	return c, nil
}

func (m *model) move(c *authz.Call, held credit.Units) {
	if held == c.Held {
		return
	}
	m.available -= held - c.Held
	m.held += held - c.Held
	c.Held = held
	m.seq++
}

// reserve takes talk time as far as the credit goes, never less than there is.
func (m *model) reserve(c *authz.Call, until int64, limit credit.Units) credit.Units {
	total := m.budget(limit) + c.Held
	held := c.Price.Cost(until)
	if held > total {
		until = c.Price.Affordable(total) * 1000
		held = 0
		if until > 0 {
			held = c.Price.Cost(until)
		}
	}
	if until > c.UntilMS && held >= c.Held {
		m.move(c, held)
		c.UntilMS = until
	}
	return total
}

func (m *model) record(c *authz.Call, r authz.Record) {
	r.State, r.Key, r.UID, r.Seq, r.Flags, r.Epoch, r.CreatedAt = c.State, c.Key, c.UID, m.seq, c.Flags, c.Epoch, c.CreatedAt
	m.records = append(m.records, r)
}

func (m *model) authorize(h *authz.Hold) (authz.Held, error) {
	saved, spent := m.day, m.spent
	m.today(h.Day)
	budget := m.budget(h.Limits.SpendPerDay)
	answer := authz.Held{UID: h.UID, Budget: budget, Available: m.available, Others: m.live(), Seq: m.seq}
	refuse := func(code authz.Code, u uuid.UUID) (authz.Held, error) {
		m.day, m.spent = saved, spent
		return authz.Held{Denied: code, UID: u}, nil
	}
	c := m.calls[h.Key]
	known := c != nil && c.State != authz.StateMark
	switch {
	case c == nil:
	case c.State == authz.StateMark:
		if h.Now < c.ExpiresAt && (c.CreatedAt == 0 || h.Now <= c.CreatedAt) {
			return refuse(authz.CodeCallEnded, uuid.Nil)
		}
	case c.Hash != h.Hash:
		return refuse(authz.CodeCallConflict, c.UID)
	case c.State == authz.StateHeld || c.State == authz.StateLive:
		m.day, m.spent = saved, spent
		return authz.Held{UID: c.UID, Units: c.Held, UntilMS: c.UntilMS, ExpiresAt: c.ExpiresAt, Replayed: c.UID != h.UID,
			Budget: budget + c.Held, Available: m.available, Others: m.live() - 1, Seq: m.seq}, nil
	case c.State != authz.StateRejected && !c.Flags.Has(authz.FlagGone) || c.State == authz.StateSettled || c.State == authz.StateLost:
		return refuse(authz.CodeCallEnded, c.UID)
	}
	fresh := &authz.Call{Key: h.Key, UID: h.UID, State: authz.StateHeld, Flags: h.Flags, Epoch: h.Epoch, Hash: h.Hash, CreatedAt: h.Now,
		ExpiresAt: h.ExpiresAt, Price: h.Price, MaxSeconds: h.Limits.MaxSeconds}
	if known {
		fresh.UID = c.UID
	}
	answer.UID = fresh.UID

	least := max(h.Price.Initial, h.MinSeconds)
	slice := max(h.SliceSeconds, least)
	if h.Limits.MaxSeconds > 0 {
		slice = min(slice, h.Limits.MaxSeconds)
	}
	need, hold := h.Price.Cost(least*1000), h.Price.Cost(slice*1000)
	deny := h.Deny
	switch {
	case deny != "":
	case m.suspended:
		deny = authz.CodeAccountSuspended
	case h.Limits.MaxCalls > 0 && m.live() >= int64(h.Limits.MaxCalls):
		deny = authz.CodeTooManyCalls
	case m.available < need:
		deny = authz.CodeInsufficientCredits
	case budget < need:
		deny = authz.CodeSpendLimitReached
	}
	if deny != "" {
		m.day, m.spent = saved, spent
		answer.Denied = deny
		if !h.Dry && !known {
			m.reject(fresh, deny)
		}
		return answer, nil
	}
	until := h.Price.Affordable(min(hold, budget))
	if budget < hold {
		hold = h.Price.Cost(until * 1000)
	}
	answer.Units, answer.UntilMS, answer.ExpiresAt = hold, until*1000, h.ExpiresAt
	if h.Dry {
		m.day, m.spent = saved, spent
		return answer, nil
	}
	m.calls[h.Key] = fresh
	fresh.UntilMS = until * 1000
	seq := m.seq
	m.move(fresh, hold)
	m.seq = seq + 1 // a free call too
	answer.Available, answer.Seq = m.available, m.seq
	return answer, nil
}

func (m *model) reject(c *authz.Call, why authz.Code) {
	if now := c.CreatedAt / 60_000; now != m.minute {
		m.minute, m.inMinute = now, 0
	}
	if m.inMinute >= rejectedPerMinute {
		m.uncounted++
		return
	}
	m.inMinute++
	c.State, c.OverAt = authz.StateRejected, c.CreatedAt
	m.calls[c.Key] = c
	m.record(c, authz.Record{At: c.CreatedAt, Reason: string(why)})
}

func (m *model) answered(a authz.Answer) (authz.Taken, error) {
	c, err := m.known(a.Key)
	if err != nil {
		return authz.Taken{}, err
	}
	saved, spent := m.day, m.spent
	m.today(a.Day)
	t := authz.Taken{}
	switch {
	case c.State == authz.StateLive:
		if a.At != 0 && c.AnsweredSwitch != 0 && a.At != c.AnsweredSwitch {
			m.day, m.spent = saved, spent
			return authz.Taken{}, authz.ErrCallConflict
		}
		t.Duplicate = true
	case c.State == authz.StateHeld, c.State == authz.StateReleased && c.EndedSwitch == 0:
		if c.State == authz.StateReleased {
			c.UntilMS, c.OverAt, c.Epoch = 0, 0, a.Epoch
			seq := m.seq
			m.reserve(c, a.SliceMS, a.Cap)
			m.seq = seq + 1
		}
		c.State, c.AnsweredAt, c.ProofAt, c.AnsweredSwitch = authz.StateLive, a.Now, a.Now, a.At
	default:
		t.Duplicate = true
	}
	t.Call, t.Budget, t.Others, t.Seq = *c, m.budget(a.Cap)+c.Held, m.live()-1, m.seq
	if t.Duplicate {
		m.day, m.spent = saved, spent
	}
	return t, nil
}

func (m *model) extend(x authz.Extension) authz.Extended {
	c, err := m.known(x.Key)
	switch {
	case err != nil:
		return authz.Extended{Err: err}
	case c.State.Final():
		return authz.Extended{Err: authz.ErrCallEnded}
	case c.Epoch != x.Epoch:
		return authz.Extended{Err: authz.ErrFenced}
	}
	saved, spent := m.day, m.spent
	m.today(x.Day)
	before := *c
	until := x.UntilMS
	if c.MaxSeconds > 0 {
		until = min(until, c.MaxSeconds*1000)
	}
	total := m.reserve(c, until, x.Cap)
	if x.ProofAt > 0 && x.ProofAt > c.ProofAt {
		c.ProofAt = x.ProofAt
	}
	if *c == before {
		m.day, m.spent = saved, spent
	}
	return authz.Extended{Units: c.Held, UntilMS: c.UntilMS, Budget: total, Others: m.live() - 1, Seq: m.seq,
		Killed: c.Flags.Has(authz.FlagKilled), Suspended: m.suspended}
}

func (m *model) mark(k authz.Key, until, before int64) {
	if until > 0 {
		m.calls[k] = &authz.Call{Key: k, State: authz.StateMark, ExpiresAt: until, CreatedAt: before}
	}
}

// free ends a call's hold without a charge.
func (m *model) free(c *authz.Call, now int64) {
	seq := m.seq
	m.move(c, 0)
	m.seq = seq + 1
	c.State, c.OverAt = authz.StateReleased, now
}

func (m *model) release(e authz.Release) (authz.Settlement, error) {
	c, err := m.known(e.Key)
	if err != nil {
		m.mark(e.Key, e.MarkUntil, e.Before)
		return authz.Settlement{}, err
	}
	st := authz.Settlement{UID: c.UID}
	switch {
	case c.State == authz.StateLive, c.State == authz.StateHeld && e.Reason == "expired" && e.Now < c.ExpiresAt:
		return authz.Settlement{}, authz.ErrNotYet
	case c.State != authz.StateHeld:
		st.Duplicate = true
	default:
		m.free(c, e.Now)
		if e.Reason == "gone" {
			c.Flags = c.Flags.With(authz.FlagGone)
		}
		m.record(c, authz.Record{At: e.Now, Reason: e.Reason})
	}
	st.State, st.Available, st.Seq = c.State, m.available, m.seq
	return st, nil
}

// units converts money half up, with no limit to its size on the way.
func units(amount, price credit.Micros) credit.Units {
	if amount <= 0 || price <= 0 {
		return 0
	}
	n := new(big.Int).Mul(big.NewInt(int64(amount)), big.NewInt(2*int64(credit.PerCredit)))
	n.Add(n, big.NewInt(int64(price)))
	return credit.Units(n.Div(n, big.NewInt(2*int64(price))).Int64())
}

func (m *model) adopt(h *authz.Hold) (authz.Taken, error) {
	c := m.calls[h.Key]
	if c != nil && c.State == authz.StateMark {
		c = nil
	}
	if c != nil {
		switch {
		case c.Hash != h.Hash:
			return authz.Taken{}, authz.ErrCallConflict
		case c.State == authz.StateSettled, c.State == authz.StateLost, c.State == authz.StateReleased && c.EndedSwitch != 0:
			return authz.Taken{}, authz.ErrCallEnded
		}
	}
	saved, spent := m.day, m.spent
	m.today(h.Day)
	seq := m.seq
	fresh := &authz.Call{Key: h.Key, UID: h.UID, State: authz.StateHeld, Flags: h.Flags, Hash: h.Hash, CreatedAt: h.Now, ExpiresAt: h.ExpiresAt,
		Price: h.Price, MaxSeconds: h.Limits.MaxSeconds}
	before := authz.Call{}
	switch {
	case c == nil:
		seq++
		c = fresh
	case c.State == authz.StateReleased:
		seq++
		fresh.UID, fresh.CreatedAt, fresh.ExpiresAt, fresh.Price, fresh.MaxSeconds = c.UID, c.CreatedAt, c.ExpiresAt, c.Price, c.MaxSeconds
		c = fresh
	case c.State == authz.StateRejected:
		seq++
		fresh.UID = c.UID
		c = fresh
	default:
		before = *c
	}
	m.calls[h.Key] = c
	c.Epoch = h.Epoch
	for _, f := range string(h.Flags) {
		c.Flags = c.Flags.With(f)
	}
	slice := h.Price.Affordable(h.Price.Cost(max(h.SliceSeconds, h.Price.Initial)*1000)) * 1000
	total := m.reserve(c, slice, h.Limits.SpendPerDay)
	if c == fresh {
		m.seq = seq
	}
	if *c == before {
		m.day, m.spent = saved, spent
	}
	return authz.Taken{Call: *c, Budget: total, Others: m.live() - 1, Seq: m.seq}, nil
}

func (m *model) claim(k authz.Key, from, to int64) (authz.Call, error) {
	c, err := m.known(k)
	switch {
	case err != nil:
		return authz.Call{}, err
	case c.State.Final():
		return authz.Call{}, authz.ErrCallEnded
	case c.Epoch != from && c.Epoch != to:
		return authz.Call{}, authz.ErrFenced
	}
	c.Epoch = to
	return *c, nil
}

func (m *model) prove(k authz.Key, at int64) (authz.Call, error) {
	c, err := m.known(k)
	switch {
	case err != nil:
		return authz.Call{}, err
	case c.State.Final():
		return authz.Call{}, authz.ErrCallEnded
	case c.State == authz.StateLive:
		c.ProofAt = max(c.ProofAt, at)
	}
	return *c, nil
}

func (m *model) kill(k authz.Key) (authz.Call, error) {
	c, err := m.known(k)
	switch {
	case err != nil:
		return authz.Call{}, err
	case c.State.Final():
		return authz.Call{}, authz.ErrCallEnded
	}
	c.Flags = c.Flags.With(authz.FlagKilled)
	return *c, nil
}

func (m *model) grant(number int64, u credit.Units) (bool, error) {
	switch {
	case number <= m.grants:
		return false, nil
	case number > m.grants+1:
		return false, balance.ErrGap
	}
	m.grants++
	m.available += u
	m.granted += u
	m.seq++
	return true, nil
}

func (m *model) reap(now, keep int64) (n int64) {
	for k, c := range m.calls {
		if c.State == authz.StateMark && now >= c.ExpiresAt || c.State.Final() && now >= c.OverAt+keep {
			delete(m.calls, k)
			n++
		}
	}
	return n
}

// sentinel is which of the store's errors err is, so that two can be compared.
func sentinel(err error) string {
	for _, e := range []error{authz.ErrUnknownCall, authz.ErrCallConflict, authz.ErrCallEnded, authz.ErrNotAnswered, authz.ErrFenced,
		authz.ErrNotYet, balance.ErrGap, balance.ErrCorrupt, authz.ErrLost, authz.ErrDown} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	if err != nil {
		return "other: " + strings.TrimSpace(err.Error())
	}
	return ""
}
