package meter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hmsovereign/ringfence/authz"
)

// What a heartbeat's answer tells a switch to do.
const (
	ActionContinue = "continue"
	ActionWarn     = "warn"
	ActionHangup   = "hangup"
)

// Event works what a switch reports of a call; what cannot be worked yet is
// kept and retried, in order per call. An event without a direction concerns
// every leg of its call id. Errors: authz.ErrNotAnswered, ErrCallConflict,
// ErrExtraCurrency; authz.ErrDown once the meter has stopped.
func (m *Meter) Event(ctx context.Context, ev authz.Event) (authz.EventResult, error) {
	if ev.ReceivedAt == 0 {
		ev.ReceivedAt = nowMS()
	}
	var (
		res authz.EventResult
		err error
	)
	legs := m.legs(ev.Key)
	if len(legs) == 0 {
		res, err = m.event(ctx, ev)
	}
	for i, k := range legs {
		ev.Key = k
		r, e := m.event(ctx, ev)
		if i == 0 || err != nil {
			res, err = r, e
		}
	}
	m.met.event(&ev, &res, err)
	return res, err
}

// legs are the keys an event without a direction is known here to concern; none
// where it has one.
func (m *Meter) legs(k authz.Key) (known []authz.Key) {
	if k.Direction.Valid() {
		return nil
	}
	for _, l := range bothLegs(k) {
		if m.mine(l, func(*shard, *call) {}) || m.backlog.has(l) {
			known = append(known, l)
		}
	}
	return known
}

func bothLegs(k authz.Key) []authz.Key {
	if k.Direction.Valid() {
		return []authz.Key{k}
	}
	in, out := k, k
	in.Direction, out.Direction = authz.Inbound, authz.Outbound
	return []authz.Key{in, out}
}

func (m *Meter) event(ctx context.Context, ev authz.Event) (authz.EventResult, error) {
	for _, k := range bothLegs(ev.Key) {
		m.abandons.forget(k) // the switch does have the call
	}
	if ev.Type == authz.EventHeartbeat {
		if res, ok := m.heartbeat(&ev); ok {
			return res, nil
		}
	}
	if waits, queued := m.backlog.follow(&ev); queued {
		return kept(&ev), nil
	} else if waits {
		return authz.EventResult{}, errStopped
	}
	if !m.gate.pass(nowMS()) {
		return m.keep(&ev, false)
	}
	res, err := m.apply(ctx, &ev, "", true)
	switch {
	case err == nil || refused(err):
		m.storeAnswered(nowMS())
		return res, err
	case errors.Is(err, authz.ErrDown):
		if !errors.Is(ctx.Err(), context.Canceled) {
			m.storeFailed(nowMS(), err)
		}
	case errors.Is(err, authz.ErrUnknownCall):
		m.storeAnswered(nowMS())
	default:
		m.log.Error("event kept", "type", string(ev.Type), "call_id", ev.CallID, "switch", ev.Switch, "error", err)
	}
	return m.keep(&ev, errors.Is(err, authz.ErrUnknownCall))
}

// refused tells whether an event is wrong in itself: the switch is told so, and
// trying again would not help.
func refused(err error) bool {
	return errors.Is(err, authz.ErrCallConflict) || errors.Is(err, authz.ErrNotAnswered) || errors.Is(err, authz.ErrExtraCurrency)
}

func kept(ev *authz.Event) authz.EventResult {
	res := authz.EventResult{Kept: true}
	if ev.Type == authz.EventHeartbeat {
		res.Action = ActionContinue
	}
	return res
}

// errStopped: nothing can be kept any more; the switch must tell the successor.
var errStopped = fmt.Errorf("meter has stopped: %w", authz.ErrDown)

func (m *Meter) keep(ev *authz.Event, unknown bool) (authz.EventResult, error) {
	var need int64
	if unknown {
		need = m.sweeps.twice()
	}
	if !m.backlog.keep(entry{ev: *ev}, need, nowMS()) {
		return authz.EventResult{}, errStopped
	}
	return kept(ev), nil
}

// heartbeat answers for a call in memory, without Redis.
func (m *Meter) heartbeat(ev *authz.Event) (res authz.EventResult, ok bool) {
	for _, k := range bothLegs(ev.Key) {
		ok = m.mine(k, func(sh *shard, c *call) {
			now := nowMS()
			if c.state == authz.StateLive {
				was := m.silent(c, now)
				c.set(heartbeat)
				c.proof = max(c.proof, min(ev.ReceivedAt, now))
				if was && !c.has(ending) {
					sh.at(c, now)
				}
			}
			res = authz.EventResult{State: c.state, Action: ActionContinue, Remaining: m.remaining(c, now)}
			switch {
			case c.has(killed|ending) && !c.has(emergency):
				res.Action = ActionHangup
			case c.port.uncontrolled.Load() && m.warnDue(c, now):
				c.set(warned)
				m.met.warned("heartbeat")
				res.Action = ActionWarn
			}
		}) || ok
		if ok {
			return res, true
		}
	}
	return res, false
}

// remaining is the talk time, in seconds, that credit still buys.
func (m *Meter) remaining(c *call, now int64) int64 {
	reach, _ := c.limit()
	if _, last := c.last(); last {
		reach = min(reach, c.until)
	} else {
		reach = min(reach, max(c.until, int64(c.ends)*1000))
	}
	if c.state == authz.StateLive {
		reach -= c.talk(now)
	}
	return max(reach, 0) / 1000
}

// apply finds the call of an event and works the event on it: in memory, by the
// account it names, by its numbers, by the index. Where no call is found an
// end leaves a mark, if asked to, so that a late authorize holds nothing.
// Errors: authz.ErrUnknownCall, ErrLost, ErrDown and those of refused.
func (m *Meter) apply(ctx context.Context, ev *authz.Event, hint string, leaveMark bool) (authz.EventResult, error) {
	var (
		res   authz.EventResult
		err   error
		lost  error
		tried []string
	)
	attempt := func(account string, k authz.Key) bool {
		at := account + "\x00" + k.Direction.String()
		if account == "" || slices.Contains(tried, at) {
			return false
		}
		tried = append(tried, at)
		one := *ev
		one.Key = k
		res, err = m.act(ctx, account, &one, 0)
		if errors.Is(err, authz.ErrUnknownCall) && m.putBack(ctx, k) {
			res, err = m.act(ctx, account, &one, 0)
		}
		if errors.Is(err, authz.ErrLost) {
			// An account that nobody knows is no lost account.
			if _, known := m.accounts.Account(account); known {
				lost = err
			}
			return false
		}
		return !errors.Is(err, authz.ErrUnknownCall)
	}
	legs := bothLegs(ev.Key)
	var named []string // accounts to leave a mark in, the likeliest first
	for _, k := range legs {
		if account := m.ownerOf(k); attempt(account, k) {
			return res, err
		}
	}
	for _, k := range legs {
		for _, account := range []string{hint, ev.Account, m.byNumber(ev, k.Direction)} {
			if attempt(account, k) {
				return res, err
			}
			if _, known := m.accounts.Account(account); known {
				named = append(named, account)
			}
		}
	}
	for _, k := range legs {
		account, err := m.store.Find(ctx, k)
		if err != nil && !errors.Is(err, authz.ErrUnknownCall) {
			return authz.EventResult{}, fmt.Errorf("find call: %w", err)
		}
		if attempt(account, k) {
			return res, err
		}
	}
	switch {
	case lost != nil:
		return authz.EventResult{}, lost
	case leaveMark && len(named) > 0 && (ev.Type == authz.EventEnded || ev.Type == authz.EventAbandoned):
		return m.mark(ctx, named[0], ev, legs)
	}
	return authz.EventResult{}, fmt.Errorf("%s of call %s: %w", ev.Type, ev.CallID, authz.ErrUnknownCall)
}

// mark leaves an end-mark. A call that appeared meanwhile is ended by the same
// step. Where the end is of no talk, nothing more is to be done.
func (m *Meter) mark(ctx context.Context, account string, ev *authz.Event, legs []authz.Key) (res authz.EventResult, err error) {
	for _, k := range legs {
		one := *ev
		one.Key = k
		if res, err = m.act(ctx, account, &one, nowMS()+m.ms.endMark); !errors.Is(err, authz.ErrUnknownCall) {
			return res, err
		}
	}
	if ev.Type == authz.EventAbandoned || ev.NeverAnswered {
		return authz.EventResult{State: authz.StateMark}, nil
	}
	return authz.EventResult{}, err
}

func (m *Meter) ownerOf(k authz.Key) (account string) {
	m.mine(k, func(_ *shard, c *call) { account = c.account })
	return account
}

// putBack restores a call that is in memory but not in Redis any more.
func (m *Meter) putBack(ctx context.Context, k authz.Key) bool {
	var found *call
	m.mine(k, func(_ *shard, c *call) { found = c })
	return found != nil && m.restore(ctx, found) == nil && m.ownerOf(k) != ""
}

// byNumber is the account whose number an event names.
func (m *Meter) byNumber(ev *authz.Event, d authz.Direction) string {
	own := ev.To
	if d == authz.Outbound {
		own = ev.From
	}
	if own == "" {
		return ""
	}
	n, _ := m.accounts.Number(m.cfg.Normalize(own))
	return n.Account
}

// act works an event on an account's call.
func (m *Meter) act(ctx context.Context, account string, ev *authz.Event, markUntil int64) (authz.EventResult, error) {
	switch ev.Type {
	case authz.EventAnswered:
		return m.answered(ctx, account, ev)
	case authz.EventHeartbeat:
		return m.prove(ctx, account, ev)
	case authz.EventAbandoned:
		st, err := m.store.Release(ctx, authz.Release{Key: ev.Key, Account: account, Now: nowMS(), Reason: "abandoned", MarkUntil: markUntil})
		if errors.Is(err, authz.ErrNotYet) {
			err = fmt.Errorf("abandoned, but its answer is recorded: %w", authz.ErrCallConflict)
		}
		if err != nil {
			return authz.EventResult{}, err
		}
		m.forget(ev.Key, false)
		return authz.EventResult{State: st.State, Settlement: st}, nil
	}
	if a, ok := m.accounts.Account(account); ok && ev.ExtraMicros > 0 && ev.ExtraCurrency != "" && !strings.EqualFold(ev.ExtraCurrency, a.Currency) {
		return authz.EventResult{}, fmt.Errorf("extra_cost in %.8q, account in %s: %w", ev.ExtraCurrency, a.Currency, authz.ErrExtraCurrency)
	}
	st, err := m.store.Settle(ctx, m.endOf(account, ev, markUntil))
	if err != nil {
		return authz.EventResult{}, err
	}
	m.forget(ev.Key, false)
	return authz.EventResult{State: st.State, Settlement: st}, nil
}
