package stripefake

import (
	"cmp"
	"slices"
	"time"
)

// task is something that happens at the account later by itself.
type task struct {
	due time.Time
	run func() // with the lock held
}

// later has something done after a time; with none, as soon as the lock is free.
func (f *Fake) later(d time.Duration, run func()) {
	f.tasks = append(f.tasks, &task{due: f.time().Add(d), run: run})
	f.nudge()
}

func (f *Fake) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// work runs what is due and delivers webhooks, until Close.
func (f *Fake) work() {
	defer close(f.done)
	for f.ctx.Err() == nil {
		f.mu.Lock()
		f.runDue()
		next := f.nextDelivery()
		var pause time.Duration
		if next == nil {
			for _, idle := range f.idle {
				close(idle)
			}
			f.idle = nil
			pause = f.pause()
		}
		f.mu.Unlock()
		if next != nil {
			f.deliver(next)
			continue
		}
		f.sleep(pause)
	}
}

// runDue runs the tasks whose time has come, the earliest first.
func (f *Fake) runDue() {
	for {
		slices.SortStableFunc(f.tasks, func(a, b *task) int { return a.due.Compare(b.due) })
		if len(f.tasks) == 0 || f.tasks[0].due.After(f.time()) {
			return
		}
		first := f.tasks[0]
		f.tasks = f.tasks[1:]
		first.run()
	}
}

// pause is the time until something is due; 0 if nothing will be.
func (f *Fake) pause() time.Duration {
	var earliest time.Time
	note := func(due time.Time) {
		if earliest.IsZero() || due.Before(earliest) {
			earliest = due
		}
	}
	for _, t := range f.tasks {
		note(t.due)
	}
	if !f.held {
		for _, d := range f.queue {
			note(d.due)
		}
	}
	if earliest.IsZero() {
		return 0
	}
	return max(earliest.Sub(f.time()), time.Millisecond)
}

func (f *Fake) sleep(pause time.Duration) {
	timer := time.NewTimer(cmp.Or(pause, time.Hour))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-f.wake:
	case <-f.ctx.Done():
	}
}
