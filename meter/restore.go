package meter

import (
	"context"
	"errors"

	"github.com/hmsovereign/ringfence/authz"
)

// Restorer puts a live call back into a Redis that has lost it (package authz/balance).
type Restorer interface {
	Restore(ctx context.Context, c authz.Call) error
}

// Restore puts back every call this sidecar owns, after Redis was rebuilt; those
// that are there stay. It tells how many it knew of.
func (m *Meter) Restore(ctx context.Context, r Restorer) (int, error) {
	epoch := m.Epoch()
	if epoch == 0 {
		return 0, nil
	}
	var errs []error
	n := 0
	for i := range m.calls.shards {
		sh := &m.calls.shards[i]
		sh.mu.Lock()
		own := make([]*call, 0, len(sh.heap))
		for _, c := range sh.heap {
			if c.epoch != 0 && !c.has(gone) {
				own = append(own, c)
			}
		}
		sh.mu.Unlock()
		for _, c := range own {
			sh.mu.Lock()
			w, over := c.whole(), c.has(gone)
			sh.mu.Unlock()
			if over {
				continue
			}
			w.Epoch = epoch
			if err := r.Restore(ctx, w); err != nil {
				if errors.Is(err, authz.ErrDown) {
					return n, err
				}
				errs = append(errs, err)
				continue
			}
			n++
			sh.mu.Lock()
			if !c.has(gone) {
				c.epoch, c.contact = epoch, nowMS()
				m.index.put(c)
			}
			sh.mu.Unlock()
		}
	}
	return n, errors.Join(errs...)
}
