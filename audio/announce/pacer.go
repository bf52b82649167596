package announce

import (
	"context"
	"sync"
	"time"
)

// frameTime is the length of an RTP packet's sound.
const frameTime = 20 * time.Millisecond

const (
	// A frame time is cut into slots, and each stream lives in one of them,
	// so that a thousand announcements are not a burst of a thousand packets.
	slotCount = 5
	slotTime  = frameTime / slotCount

	// A machine that was suspended must not send what it missed as a burst:
	// beyond this the whole schedule moves, and callers hear a gap instead.
	maxCatchUp = 100 * time.Millisecond
)

// paced is what the pacer drives.
type paced interface {
	// frame sends one packet and reports whether another will follow.
	frame() bool
}

// pacer calls every stream once each 20 ms, all of them from one goroutine and
// one timer. Slot k is due at origin + k*slotTime: an absolute time, so nothing
// drifts, however late a single wake-up comes.
//
// A goroutine and a ticker for each call cost the same CPU, which the sending
// takes, but keep time worse: a busy scheduler runs them in any order, and a
// ticker drops the ticks it missed. With 1,000 streams on one core half of the
// packets come within 0.8 ms of their time and 99% within 2.3 ms; with tickers
// it was 1.4 to 2.3 ms and 8 to 30 ms (BenchmarkPacing).
type pacer struct {
	m    *Metrics
	wake chan struct{} // a stream was added: the next due slot may have changed

	mu    sync.Mutex
	slots [slotCount][]*entry
}

type entry struct {
	stream paced
	over   bool // owned by run
}

func newPacer(m *Metrics) *pacer {
	return &pacer{m: m, wake: make(chan struct{}, 1)}
}

// add lets a stream take part from the next turn of the emptiest slot on.
func (p *pacer) add(s paced) {
	p.mu.Lock()
	slot := 0
	for i := range p.slots {
		if len(p.slots[i]) < len(p.slots[slot]) {
			slot = i
		}
	}
	p.slots[slot] = append(p.slots[slot], &entry{stream: s})
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default: // a wake-up is pending already
	}
}

// run paces until the context is done.
func (p *pacer) run(ctx context.Context) {
	origin := time.Now()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for k := int64(0); ctx.Err() == nil; {
		next, ok := p.nextSlot(k)
		if !ok {
			select {
			case <-ctx.Done():
			case <-p.wake:
				k = int64(time.Since(origin)/slotTime) + 1
			}
			continue
		}
		due := origin.Add(time.Duration(next) * slotTime)
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return
			case <-p.wake:
				continue
			case <-timer.C:
			}
		}
		late := time.Since(due)
		if late > maxCatchUp {
			origin = origin.Add(late)
		}
		p.m.late.Observe(late.Seconds())
		p.turn(int(next % slotCount))
		k = next + 1
	}
}

// nextSlot is the first slot with streams, from k on.
func (p *pacer) nextSlot(k int64) (int64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for next := k; next < k+slotCount; next++ {
		if len(p.slots[next%slotCount]) > 0 {
			return next, true
		}
	}
	return 0, false
}

// turn sends one packet for each stream of a slot. The lock is not held while
// sending: calls come and go meanwhile.
func (p *pacer) turn(slot int) {
	p.mu.Lock()
	streams := p.slots[slot]
	p.mu.Unlock()
	sent, over := 0, 0
	for _, e := range streams {
		if e.stream.frame() {
			sent++
		} else {
			e.over = true
			over++
		}
	}
	p.m.packets.Add(float64(sent))
	if over == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := p.slots[slot][:0]
	for _, e := range p.slots[slot] {
		if !e.over {
			kept = append(kept, e)
		}
	}
	clear(p.slots[slot][len(kept):]) // let go of the streams
	p.slots[slot] = kept
}
