package announce

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metronome records when the pacer calls it.
type metronome struct {
	at    []time.Time
	beats int           // after which it is over
	slow  time.Duration // what each call takes
}

func (m *metronome) frame() bool {
	if len(m.at) == m.beats {
		return false
	}
	m.at = append(m.at, time.Now())
	<-time.After(m.slow) // in a synctest bubble
	return true
}

// withPacer runs a test in a bubble with a pacer.
func withPacer(t *testing.T, test func(*pacer)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := newPacer(NewMetrics(prometheus.NewRegistry()))
		done := make(chan struct{})
		go func() { p.run(ctx); close(done) }()
		synctest.Wait()
		test(p)
		cancel()
		<-done
	})
}

// Ten minutes in frames of exactly 20 ms, and none after the end.
func TestPacerDoesNotDrift(t *testing.T) {
	withPacer(t, func(p *pacer) {
		const beats = 30_000
		m := &metronome{beats: beats}
		start := time.Now()
		p.add(m)
		time.Sleep(beats*frameTime + time.Minute)
		synctest.Wait()
		if len(m.at) != beats {
			t.Fatalf("%d frames, want %d", len(m.at), beats)
		}
		if d := m.at[0].Sub(start); d > frameTime {
			t.Errorf("the first frame waits %v, want at most %v", d, frameTime)
		}
		for i, at := range m.at {
			if want := time.Duration(i) * frameTime; at.Sub(m.at[0]) != want {
				t.Fatalf("frame %d comes at %v, want %v", i, at.Sub(m.at[0]), want)
			}
		}
		for i, slot := range p.slots {
			if len(slot) > 0 {
				t.Errorf("slot %d still holds %d streams", i, len(slot))
			}
		}
	})
}

// Streams that begin together are spread over the slots, and come and go
// without touching each other's rhythm.
func TestPacerSpreadsStreams(t *testing.T) {
	withPacer(t, func(p *pacer) {
		streams := make([]*metronome, 10*slotCount)
		for i := range streams {
			streams[i] = &metronome{beats: 50 + i}
			p.add(streams[i])
		}
		for _, slot := range p.slots {
			if len(slot) != 10 {
				t.Errorf("a slot holds %d streams, want 10", len(slot))
			}
		}
		time.Sleep(time.Second)
		late := &metronome{beats: 10}
		p.add(late)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		for i, m := range append(streams, late) {
			if len(m.at) != m.beats {
				t.Errorf("stream %d: %d frames, want %d", i, len(m.at), m.beats)
			}
			for k := 1; k < len(m.at); k++ {
				if d := m.at[k].Sub(m.at[k-1]); d != frameTime {
					t.Fatalf("stream %d: %v between frames %d and %d", i, d, k-1, k)
				}
			}
		}
	})
}

// A short delay is caught up with: the schedule is absolute.
func TestPacerCatchesUp(t *testing.T) {
	withPacer(t, func(p *pacer) {
		m := &metronome{beats: 100}
		p.add(m)
		time.Sleep(frameTime)
		hog := &metronome{beats: 1, slow: 3 * frameTime}
		p.add(hog)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got, want := m.at[99].Sub(m.at[0]), 99*frameTime; got != want {
			t.Errorf("the last frame comes at %v, want %v", got, want)
		}
	})
}

// After a long one (a machine that was suspended) the missed frames are not
// sent as a burst: the schedule moves.
func TestPacerDoesNotBurst(t *testing.T) {
	withPacer(t, func(p *pacer) {
		m := &metronome{beats: 100}
		p.add(m)
		time.Sleep(10 * frameTime)
		hog := &metronome{beats: 1, slow: 10 * time.Second}
		p.add(hog)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if len(m.at) != 100 {
			t.Fatalf("%d frames", len(m.at))
		}
		burst := 0
		for k := 1; k < len(m.at); k++ {
			if m.at[k].Sub(m.at[k-1]) < frameTime/2 {
				burst++
			}
		}
		if most := int(maxCatchUp / frameTime); burst > most {
			t.Errorf("%d frames come in a burst, want at most %d", burst, most)
		}
	})
}

// Without streams nothing wakes up: time in the bubble only moves on when all
// goroutines wait for it, so a busy pacer would never let this end.
func TestPacerSleepsWithoutStreams(t *testing.T) {
	withPacer(t, func(p *pacer) {
		time.Sleep(365 * 24 * time.Hour)
		m := &metronome{beats: 2}
		start := time.Now()
		p.add(m)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(m.at) != 2 || m.at[0].Sub(start) > frameTime {
			t.Errorf("after a year %d frames, the first %v late", len(m.at), m.at[0].Sub(start))
		}
	})
}
