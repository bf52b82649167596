package meter

import (
	"container/heap"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/hmsovereign/ringfence/authz"
)

// entry is one thing that waits for Redis or for its call: an event, or (hold
// set) the adoption of a call that was let go unchecked.
type entry struct {
	hold *authz.Hold
	ev   authz.Event
	at   int64
}

// line is what waits for one call, in order.
type line struct {
	key          authz.Key
	entries      []entry
	account      string // where the sweep found the call
	need         int64  // sweeps after which an unknown call is given up; 0 = not unknown so far
	unknownSince int64  // ms; 0 = not unknown so far
	due          int64
	since        int64
	tries        uint
	slot         int
	busy         bool
	logged       bool
}

// backlog keeps what cannot be written yet, in order per call. It is never shed.
type backlog struct {
	pool *pool

	mu        sync.Mutex
	lines     map[authz.Key]*line
	heap      lineHeap // those not busy
	entries   int
	unchecked int
	closed    bool
}

func (b *backlog) init() {
	b.pool = newPool(8)
	b.lines = map[authz.Key]*line{}
}

// has tells whether something waits for a call.
func (b *backlog) has(k authz.Key) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lines[k] != nil
}

// follow queues an event behind what waits for its call already; it tells
// whether something does, and whether it could.
func (b *backlog) follow(ev *authz.Event) (waits, queued bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lines[ev.Key]
	if l == nil || b.closed {
		return l != nil, false
	}
	b.push(l, entry{ev: *ev})
	return true, true
}

// keep queues an entry; it tells whether it could, which it cannot once closed.
func (b *backlog) keep(e entry, need, now int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	k := e.ev.Key
	if e.hold != nil {
		k = e.hold.Key
	}
	l := b.lines[k]
	if l == nil {
		l = &line{key: k, need: need, due: now, since: now}
		if e.hold == nil {
			l.due, l.tries = now+l.wait(need > 0), 1
		}
		b.lines[k] = l
		heap.Push(&b.heap, l)
	}
	b.push(l, e)
	return true
}

// push adds an entry to a line; b is locked. An adoption goes first: what waits
// is of the call that it takes in. Of heartbeats only the latest counts, and of
// what a switch repeats until it is worked the first.
func (b *backlog) push(l *line, e entry) {
	e.at = nowMS()
	if e.hold != nil {
		if len(l.entries) > 0 && l.entries[0].hold != nil {
			return // asked again
		}
		at := 0
		if l.busy && len(l.entries) > 0 {
			at = 1 // the first is being worked
		}
		l.entries = append(l.entries[:at:at], append([]entry{e}, l.entries[at:]...)...)
		b.entries++
		b.unchecked++
		l.need, l.unknownSince = 0, 0
		if !l.busy {
			l.due = e.at
			heap.Fix(&b.heap, l.slot)
		}
		return
	}
	if n := len(l.entries); n > 1 && e.ev.Type == authz.EventHeartbeat && l.entries[n-1].hold == nil && l.entries[n-1].ev.Type == e.ev.Type {
		l.entries[n-1] = e
		return
	}
	if e.ev.Type != authz.EventHeartbeat && slices.ContainsFunc(l.entries, func(was entry) bool { return was.hold == nil && repeats(e.ev, was.ev) }) {
		return
	}
	l.entries = append(l.entries, e)
	b.entries++
}

// repeats tells whether a switch has sent an event twice.
func repeats(a, b authz.Event) bool {
	a.ReceivedAt = b.ReceivedAt
	return a == b
}

// wait is how long until a line is tried again, ms.
func (l *line) wait(long bool) int64 {
	if long {
		return jitter(int64(500) << min(l.tries, 5))
	}
	return jitter(int64(125) << min(l.tries, 4))
}

// pop takes a due line off the queue.
func (b *backlog) pop(now int64) *line {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.heap) == 0 || b.heap[0].due > now {
		return nil
	}
	l := heap.Pop(&b.heap).(*line)
	l.busy = true
	return l
}

// back puts a line, worked as far as it went, into the queue again.
func (b *backlog) back(l *line, wait int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.busy = false
	l.due = nowMS() + wait
	heap.Push(&b.heap, l)
}

// head is a line's first entry; none: the line is over, and forgotten.
func (b *backlog) head(l *line) (e entry, account string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(l.entries) == 0 {
		delete(b.lines, l.key)
		return e, "", false
	}
	return l.entries[0], l.account, true
}

// done takes a line's first entry off.
func (b *backlog) done(l *line) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shift(l)
	l.tries, l.need, l.unknownSince = 0, 0, 0
}

func (b *backlog) shift(l *line) entry {
	e := l.entries[0]
	l.entries[0] = entry{}
	l.entries = l.entries[1:]
	b.entries--
	if e.hold != nil {
		b.unchecked--
	}
	return e
}

// giveUp forgets a whole line and returns its entries.
func (b *backlog) giveUp(l *line) (all []entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(l.entries) > 0 {
		all = append(all, b.shift(l))
	}
	delete(b.lines, l.key)
	return all
}

// found says where the call of a line is.
func (b *backlog) found(k authz.Key, account string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range [...]authz.Key{k, {Switch: k.Switch, CallID: k.CallID}} {
		if l := b.lines[k]; l != nil && l.need > 0 && l.account == "" {
			l.account = account
			if !l.busy {
				l.due = nowMS()
				heap.Fix(&b.heap, l.slot)
			}
		}
	}
}

// size tells how many entries wait, how many calls of them unchecked, and for
// how long the oldest.
func (b *backlog) size(now int64) (entries, unchecked int, age time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	since := now
	for _, l := range b.lines {
		since = min(since, l.since)
	}
	return b.entries, b.unchecked, time.Duration(now-since) * time.Millisecond
}

// hurry makes everything due; it tells whether anything but unknown calls waits.
func (b *backlog) hurry(now int64) (waiting bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.lines {
		waiting = waiting || l.busy || l.need == 0
		l.due = min(l.due, now)
	}
	heap.Init(&b.heap)
	return waiting
}

func (b *backlog) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
}

// lineHeap orders lines by when they are due (container/heap).
type lineHeap []*line

func (h lineHeap) Len() int           { return len(h) }
func (h lineHeap) Less(i, j int) bool { return h[i].due < h[j].due }
func (h lineHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot, h[j].slot = i, j
}

// Push is heap.Interface's.
func (h *lineHeap) Push(x any) {
	l := x.(*line)
	l.slot = len(*h)
	*h = append(*h, l)
}

// Pop is heap.Interface's.
func (h *lineHeap) Pop() any {
	old := *h
	n := len(old) - 1
	l := old[n]
	old[n] = nil
	*h = old[:n]
	return l
}

// TrackUnchecked takes a call that was let go without a check: it is adopted as
// soon as Redis is there, and its events are worked after that. It does not wait.
func (m *Meter) TrackUnchecked(h authz.Hold) {
	m.abandons.forget(h.Key)
	if !m.backlog.keep(entry{hold: &h}, 0, nowMS()) {
		m.log.Error("call let go unchecked after the meter stopped", "call_id", h.CallID, "switch", h.Switch, "account", h.Account)
		return
	}
	poke(m.wake)
}

// dispatchBacklog has what is due worked, while Redis answers.
func (m *Meter) dispatchBacklog(now int64) {
	if m.gate.shut(now) {
		return
	}
	for {
		l := m.backlog.pop(now)
		if l == nil {
			break
		}
		m.backlog.pool.run(func() { m.workLine(l) })
	}
	m.dispatchAbandons(now)
}

// workLine works a line until it is empty or something fails.
func (m *Meter) workLine(l *line) {
	for {
		e, account, ok := m.backlog.head(l)
		if !ok {
			return
		}
		if m.work.Err() != nil || !m.gate.pass(nowMS()) {
			m.backlog.back(l, jitter(gateFirst))
			return
		}
		wait, again := m.workEntry(l, &e, account)
		if again {
			m.backlog.back(l, wait)
			return
		}
	}
}

// workEntry works a line's first entry; it tells whether, and when, to try again.
func (m *Meter) workEntry(l *line, e *entry, account string) (wait int64, again bool) {
	ctx, cancel := context.WithTimeout(m.work, m.cfg.Timeout)
	defer cancel()
	var err error
	firstTime := l.need == 0
	if e.hold != nil {
		err = m.adopt(ctx, e.hold)
	} else {
		_, err = m.apply(ctx, &e.ev, account, firstTime)
		if errors.Is(err, authz.ErrExtraCurrency) { // nobody is there to be told: the talk is charged all the same
			m.log.Error("extra_cost in another currency not charged", "call_id", e.ev.CallID, "switch", e.ev.Switch)
			e.ev.ExtraMicros = 0
			_, err = m.apply(ctx, &e.ev, account, firstTime)
		}
	}
	l.tries++
	switch {
	case err == nil:
		m.storeAnswered(nowMS())
		m.backlog.done(l)
		return 0, false
	case errors.Is(err, authz.ErrDown):
		if m.work.Err() == nil {
			m.storeFailed(nowMS(), err)
		}
		return l.wait(false), true
	}
	m.storeAnswered(nowMS())
	switch {
	case errors.Is(err, errNoEpoch):
		return 1000, true
	case refused(err), errors.Is(err, authz.ErrCallEnded):
		m.log.Warn("kept event refused", "type", e.kind(), "call_id", l.key.CallID, "switch", l.key.Switch, "error", err)
		m.met.refused.Inc()
		m.backlog.done(l)
		return 0, false
	case errors.Is(err, authz.ErrUnknownCall) && e.hold == nil:
		return m.unknown(l)
	}
	if !l.logged {
		l.logged = true
		m.log.Error("kept event not worked; tried again", "type", e.kind(), "call_id", l.key.CallID, "switch", l.key.Switch, "error", err)
	}
	return l.wait(true), true
}

func (e *entry) kind() string {
	if e.hold != nil {
		return "adopt"
	}
	return string(e.ev.Type)
}

// unknownLeast is how long at least a call is looked for, however often Redis is
// swept: after Redis lost its data every sidecar puts back what it knows, and the
// one that let the call go unchecked may be another.
const unknownLeast = 15 * time.Second

// unknown deals with a line whose call is not found.
func (m *Meter) unknown(l *line) (wait int64, again bool) {
	m.backlog.mu.Lock()
	if l.need == 0 {
		l.need = m.sweeps.twice()
	}
	if l.unknownSince == 0 {
		l.unknownSince = nowMS()
	}
	l.account = ""
	need, since := l.need, l.unknownSince
	m.backlog.mu.Unlock()
	if m.sweeps.done.Load() < need || nowMS()-since < unknownLeast.Milliseconds() {
		return l.wait(true), true
	}
	for _, e := range m.backlog.giveUp(l) {
		m.orphans.add(Orphan{Event: e.ev, Since: time.UnixMilli(e.at), GivenUp: time.Now()})
		m.met.orphans.Inc()
		m.log.Warn("event of a call that is nowhere", "type", e.kind(), "call_id", e.ev.CallID, "switch", e.ev.Switch, "account", e.ev.Account,
			"from", authz.Mask(e.ev.From), "to", authz.Mask(e.ev.To))
	}
	return 0, false
}

// errNoEpoch: this sidecar could not register yet.
var errNoEpoch = errors.New("no epoch yet")

// adopt takes in a call that was let go unchecked.
func (m *Meter) adopt(ctx context.Context, h *authz.Hold) error {
	one := *h
	if one.Epoch = m.epoch.Load(); one.Epoch == 0 {
		return errNoEpoch
	}
	t, err := m.store.Adopt(ctx, &one)
	if err != nil {
		return err
	}
	m.met.adopted.Inc()
	m.take(&t.Call, t.Budget, t.Others, false, 0)
	return nil
}

// drain works what waits, at a stop, until it is written or ctx is done. What
// waits for an unknown call is tried once more and not waited for.
func (m *Meter) drain(ctx context.Context) {
	m.backlog.close()
	for {
		now := nowMS()
		m.abandons.hurry()
		waiting := m.backlog.hurry(now)
		m.dispatchBacklog(now)
		m.backlog.pool.wait()
		if !waiting && m.abandons.empty() || !sleep(ctx, 100*time.Millisecond) {
			return
		}
	}
}
