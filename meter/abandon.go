package meter

import (
	"context"
	"errors"
	"sync"

	"github.com/hmsovereign/ringfence/authz"
)

const (
	// abandonAfter lets an authorize that comes again, or an event, show that the
	// call goes after all.
	abandonAfter = 2000
	// abandonFor bounds how long one is kept: a hold that was made lapses by
	// itself, and the sweep finds it.
	abandonFor = 10 * 60_000
)

// abandons are holds that may have been made for nobody, in the order in which
// they are due. A later authorize, or any event, of the call takes it out.
type abandons struct {
	mu    sync.Mutex
	queue []*abandonment
	calls map[authz.Key]*abandonment
}

type abandonment struct {
	key     authz.Key
	account string
	asked   int64 // when: a request made later is not barred
	due     int64
	until   int64
}

func (a *abandons) init() { a.calls = map[authz.Key]*abandonment{} }

func (a *abandons) forget(k authz.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.calls, k)
}

func (a *abandons) empty() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.calls) == 0
}

func (a *abandons) hurry() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, x := range a.queue {
		x.due = 0
	}
}

func (a *abandons) put(x *abandonment) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls[x.key] = x
	a.queue = append(a.queue, x)
}

// again queues one that was tried in vain, unless it was taken out meanwhile.
func (a *abandons) again(x *abandonment, due int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.calls[x.key] == x {
		x.due = due
		a.queue = append(a.queue, x)
	}
}

// pop takes the next due one off the queue, leaving it known until done.
func (a *abandons) pop(now int64) *abandonment {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.queue) > 0 && a.queue[0].due <= now {
		x := a.queue[0]
		a.queue[0] = nil
		a.queue = a.queue[1:]
		if a.calls[x.key] == x {
			return x
		}
	}
	return nil
}

func (a *abandons) done(x *abandonment) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.calls[x.key] == x {
		delete(a.calls, x.key)
	}
}

// Abandon gives back a hold that may have been made for nobody (the asker left,
// or was refused without an answer from Redis), and leaves an end-mark where it
// has not been made yet. An authorize or event of the call that comes soon after
// cancels it. It does not wait, and is tried until Redis took it.
func (m *Meter) Abandon(k authz.Key, account string) {
	now := nowMS()
	m.abandons.put(&abandonment{key: k, account: account, asked: now, due: now + abandonAfter, until: now + abandonFor})
}

func (m *Meter) dispatchAbandons(now int64) {
	for {
		x := m.abandons.pop(now)
		if x == nil {
			return
		}
		m.backlog.pool.run(func() { m.giveBack(x) })
	}
}

func (m *Meter) giveBack(x *abandonment) {
	now := nowMS()
	if now > x.until {
		m.abandons.done(x)
		return
	}
	again := func(wait int64) { m.abandons.again(x, now+wait) }
	if m.work.Err() != nil || !m.gate.pass(now) {
		again(jitter(1000))
		return
	}
	ctx, cancel := context.WithTimeout(m.work, m.cfg.Timeout)
	defer cancel()
	_, err := m.store.Release(ctx, authz.Release{Key: x.key, Account: x.account, Now: now, Reason: "gone", Before: x.asked, MarkUntil: now + m.ms.endMark})
	switch {
	case err == nil:
		m.forget(x.key, false)
		m.met.abandoned.Inc()
	case errors.Is(err, authz.ErrUnknownCall), errors.Is(err, authz.ErrNotYet): // marked, or answered after all
	case errors.Is(err, authz.ErrDown):
		if m.work.Err() == nil {
			m.storeFailed(nowMS(), err)
		}
		again(jitter(1000))
		return
	default:
		m.log.Error("hold for nobody not given back; tried again", "call_id", x.key.CallID, "switch", x.key.Switch, "account", x.account, "error", err)
		again(jitter(10_000))
		return
	}
	m.storeAnswered(nowMS())
	m.abandons.done(x)
}
