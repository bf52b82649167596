package meter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
)

// restoreWithin bounds how long after Redis last knew a call its absence there
// means that Redis went back: well below a tombstone's time, so that a call
// that was settled elsewhere is never taken for one that was lost.
const restoreWithin = 10 * time.Minute

// operate does with one call what step found to be due. The call is busy.
func (m *Meter) operate(c *call, do action) {
	now := nowMS()
	if !m.gate.pass(now) {
		m.later(c, jitter(1000))
		return
	}
	ctx, cancel := context.WithTimeout(m.work, m.cfg.Timeout)
	defer cancel()
	var err error
	switch do {
	case look:
		err = m.look(ctx, c)
	case release:
		err = m.releaseLapsed(ctx, c, now)
	case lose:
		err = m.settleLost(ctx, c, now, m.lossOf(c))
	}
	switch {
	case err == nil:
		m.storeAnswered(nowMS())
	case errors.Is(err, authz.ErrDown):
		if m.work.Err() == nil {
			m.storeFailed(nowMS(), err)
		}
		m.later(c, jitter(1000))
	default:
		m.storeAnswered(nowMS())
		if !errors.Is(err, authz.ErrLost) {
			m.log.Error("call not seen to; tried again", "call_id", c.id(), "switch", c.port.name, "account", c.account, "error", err)
		}
		m.later(c, jitter(5000))
	}
}

// lossOf is why step gave a call up.
func (m *Meter) lossOf(c *call) string {
	sh := m.calls.home(c)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if c.has(ending) && c.why != whySilent {
		return "no_end"
	}
	return "heartbeat"
}

// later has a call looked at again.
func (m *Meter) later(c *call, wait int64) {
	sh := m.calls.home(c)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c.clear(busy)
	if c.has(gone) {
		return
	}
	now := nowMS()
	due := now + wait
	if c.state == authz.StateLive && !c.has(ending) {
		c.set(stalled)
		due = min(due, c.answered+c.stalledReach())
	}
	sh.at(c, max(due, now))
}

// look reads a call and makes sure that it is ours.
func (m *Meter) look(ctx context.Context, c *call) error {
	k := c.key()
	sh := m.calls.home(c)
	sh.mu.Lock()
	from, to := c.epoch, m.epoch.Load()
	sh.mu.Unlock()
	if to == 0 {
		to = from
	}
	w, err := m.store.Claim(ctx, c.account, k, from, to)
	switch {
	case err == nil:
		m.seen(c, &w)
		return nil
	case errors.Is(err, authz.ErrCallEnded):
		m.forget(k, true)
		return nil
	case errors.Is(err, authz.ErrFenced):
		m.met.fenced.Inc()
		m.forget(k, true)
		return nil
	case errors.Is(err, authz.ErrUnknownCall):
		return m.restore(ctx, c)
	}
	return fmt.Errorf("read call: %w", err)
}

// seen brings a call up to date with what Redis has.
func (m *Meter) seen(c *call, w *authz.Call) {
	now := nowMS()
	sh := m.calls.home(c)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if c.has(gone) {
		return
	}
	c.clear(busy)
	c.contact = now
	if c.state != authz.StateLive || w.State == authz.StateLive {
		m.update(c, w, now)
	}
	sh.at(c, max(m.next(c, now), now+1))
}

// restore puts a call back that Redis does not have although it had it a moment
// ago: Redis went back, or was rebuilt. A call not seen for long was settled
// elsewhere and its tombstone is gone.
func (m *Meter) restore(ctx context.Context, c *call) error {
	sh := m.calls.home(c)
	sh.mu.Lock()
	w, contact := c.whole(), c.contact
	sh.mu.Unlock()
	now := nowMS()
	over := func(uuid.UUID) bool { return false }
	if now-contact > restoreWithin.Milliseconds() {
		var err error
		if over, err = m.over(ctx, w.UID); err != nil {
			return fmt.Errorf("restore call: %w", err)
		}
	}
	if over(w.UID) {
		m.log.Warn("call is not in Redis any more and was not seen for long; given up", "call_id", w.CallID, "switch", w.Switch, "account", w.Account)
		m.met.vanished.Inc()
		m.forget(w.Key, false)
		return nil
	}
	t, err := m.readopt(ctx, &w, now)
	switch {
	case errors.Is(err, authz.ErrCallEnded), errors.Is(err, authz.ErrCallConflict):
		m.forget(w.Key, false)
		return nil
	case err != nil:
		return fmt.Errorf("restore call: %w", err)
	}
	m.met.restored.Inc()
	m.log.Warn("call was missing from Redis and has been put back", "call_id", w.CallID, "switch", w.Switch, "account", w.Account)
	m.seen(c, &t.Call)
	return nil
}

// readopt takes a call in again with the talk time it had bought.
func (m *Meter) readopt(ctx context.Context, w *authz.Call, now int64) (authz.Taken, error) {
	h := authz.Hold{Key: w.Key, UID: w.UID, Account: w.Account, Hash: w.Hash, Now: w.CreatedAt, Epoch: m.epoch.Load(), Price: w.Price,
		SliceSeconds: max((w.UntilMS+999)/1000, 1), ExpiresAt: w.ExpiresAt, Limits: authz.Limits{MaxSeconds: w.MaxSeconds}, Detail: w.Detail, Flags: w.Flags}
	h.Day, h.Limits.SpendPerDay = m.terms(w.Account, now)
	t, err := m.store.Adopt(ctx, &h)
	if err != nil || w.State != authz.StateLive {
		return t, err
	}
	a := authz.Answer{Key: w.Key, Account: w.Account, Epoch: h.Epoch, Now: w.AnsweredAt, At: w.AnsweredSwitch, Day: h.Day, Cap: h.Limits.SpendPerDay, SliceMS: m.ms.slice}
	return m.store.Answered(ctx, a)
}

// releaseLapsed gives a lapsed hold back.
func (m *Meter) releaseLapsed(ctx context.Context, c *call, now int64) error {
	k := c.key()
	_, err := m.store.Release(ctx, authz.Release{Key: k, Account: c.account, Now: now, Reason: "expired"})
	switch {
	case err == nil:
		// An answer that came after the release has made it live again.
		sh := m.calls.home(c)
		sh.mu.Lock()
		live := c.state == authz.StateLive
		if !live && !c.has(gone) {
			m.drop(sh, m.calls.keyHash(c), c, false)
		}
		sh.mu.Unlock()
		m.met.expired.Inc()
		if live {
			return m.look(ctx, c)
		}
		return nil
	case errors.Is(err, authz.ErrNotYet): // answered elsewhere, or expires later than we thought
		return m.look(ctx, c)
	case errors.Is(err, authz.ErrUnknownCall):
		m.forget(k, false)
		return nil
	}
	return fmt.Errorf("release lapsed hold: %w", err)
}

// settleLost settles a call that nobody can vouch for to its last proof of life.
func (m *Meter) settleLost(ctx context.Context, c *call, now int64, reason string) error {
	k := c.key()
	sh := m.calls.home(c)
	sh.mu.Lock()
	proof, proven := c.proof, c.proven
	sh.mu.Unlock()
	if proof > proven {
		_, err := m.store.Prove(ctx, c.account, k, proof)
		switch {
		case errors.Is(err, authz.ErrCallEnded):
			m.forget(k, true)
			return nil
		case err != nil && !errors.Is(err, authz.ErrUnknownCall):
			return fmt.Errorf("prove before loss: %w", err)
		}
	}
	day, _ := m.terms(c.account, now)
	st, err := m.store.Settle(ctx, authz.End{Key: k, Account: c.account, Now: now, ReceivedAt: now, Day: day, Cause: reason, Lost: true})
	switch {
	case err == nil:
		m.forget(k, st.State == authz.StateLost)
		if !st.Duplicate {
			m.met.lostCall(reason)
			m.log.Warn("call settled to its last proof of life", "reason", reason, "call_id", k.CallID, "switch", k.Switch, "account", c.account,
				"call_uid", st.UID, "talk_ms", st.TalkMS)
		}
		return nil
	case errors.Is(err, authz.ErrNotYet):
		return m.look(ctx, c)
	case errors.Is(err, authz.ErrUnknownCall):
		return m.restore(ctx, c)
	}
	return fmt.Errorf("settle lost call: %w", err)
}
