package authz

import (
	"context"
	"sync/atomic"
	"time"
)

// Deadlines gives contexts that end a fixed time from now. Under load a context
// and a timer for each request is much of what the request costs, so those who
// ask within a 64th of that time share one, which ends a fixed time after the
// first of them asked: nobody waits longer than that, and none much less.
//
// The contexts are not cancelled: a timer takes each away when it ends.
type Deadlines struct {
	after time.Duration
	last  atomic.Pointer[deadline]
}

type deadline struct {
	ctx    context.Context
	cancel context.CancelFunc // unused: others may go by the context
	asked  time.Time
}

// NewDeadlines makes contexts that end so long after they were asked for.
func NewDeadlines(after time.Duration) *Deadlines { return &Deadlines{after: after} }

// From gives a context that ends in time, now being the present.
func (d *Deadlines) From(now time.Time) context.Context {
	last := d.last.Load()
	if last == nil || last.ctx.Err() != nil || now.Sub(last.asked) > d.after/64 {
		last = &deadline{asked: now}
		last.ctx, last.cancel = context.WithDeadline(context.Background(), now.Add(d.after))
		d.last.Store(last)
	}
	return last.ctx
}
