package meter

import (
	"context"
	"errors"
	"sync"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
)

// Restorer puts a call back into a Redis that has lost it, or brings it forward
// in one that went back, and tells the epoch under which Redis has it then
// (package authz/balance). Errors: authz.ErrCallEnded, ErrLost, ErrDown.
type Restorer interface {
	Restore(ctx context.Context, c authz.Call, known int64) (epoch int64, err error)
}

// restoreAtOnce is how many calls are put back at a time: they share pipelines.
const restoreAtOnce = 32

// Restore puts back the calls this sidecar owns of the accounts concerned, after
// Redis was rebuilt. Those that are there and no further stay; one that is over
// is forgotten. It tells how many it knew of.
func (m *Meter) Restore(ctx context.Context, r Restorer, concerned func(account string) bool) (int, error) {
	epoch := m.Epoch()
	if epoch == 0 {
		return 0, nil
	}
	own, err := m.owned(ctx, concerned)
	if err != nil {
		return 0, err
	}
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		n    int
		errs []error
		down bool
	)
	next := make(chan *call)
	for range min(restoreAtOnce, len(own)) {
		wg.Go(func() {
			for c := range next {
				err := m.restoreOne(ctx, r, c, epoch)
				mu.Lock()
				if err == nil {
					n++
				} else {
					errs = append(errs, err)
					down = down || errors.Is(err, authz.ErrDown)
				}
				mu.Unlock()
			}
		})
	}
	for _, c := range own {
		mu.Lock()
		stop := down || ctx.Err() != nil
		mu.Unlock()
		if stop {
			break
		}
		next <- c
	}
	close(next)
	wg.Wait()
	return n, errors.Join(errs...)
}

// owned are the calls in memory that Redis has, or had. One that Redis has not
// confirmed for long may have ended elsewhere: the ledger is asked.
func (m *Meter) owned(ctx context.Context, concerned func(account string) bool) (own []*call, err error) {
	old := map[uuid.UUID]*call{}
	now := nowMS()
	for i := range m.calls.shards {
		sh := &m.calls.shards[i]
		sh.mu.Lock()
		for _, c := range sh.heap {
			switch {
			case c.epoch == 0 || c.has(gone) || !concerned(c.account):
			case now-c.contact > restoreWithin.Milliseconds():
				w := c.whole()
				old[w.UID] = c
			default:
				own = append(own, c)
			}
		}
		sh.mu.Unlock()
	}
	uids := make([]uuid.UUID, 0, len(old))
	for u := range old {
		uids = append(uids, u)
	}
	const page = 500
	for len(uids) > 0 {
		some := uids[:min(page, len(uids))]
		uids = uids[len(some):]
		over, err := m.over(ctx, some...)
		if err != nil {
			return nil, err
		}
		for _, u := range some {
			if c := old[u]; !over(u) {
				own = append(own, c)
			}
		}
	}
	return own, nil
}

func (m *Meter) restoreOne(ctx context.Context, r Restorer, c *call, epoch int64) error {
	sh := m.calls.home(c)
	sh.mu.Lock()
	w, known, over := c.whole(), c.epoch, c.has(gone)
	sh.mu.Unlock()
	if over {
		return nil
	}
	w.Epoch = epoch
	now, err := r.Restore(ctx, w, known)
	if errors.Is(err, authz.ErrCallEnded) {
		m.forget(w.Key, true) // its end was heard elsewhere
		return nil
	}
	if err != nil {
		return err
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !c.has(gone) && now == epoch { // else another owns it, and says so at the next extension
		c.epoch, c.contact = epoch, nowMS()
		m.index.put(c)
	}
	return nil
}

// over asks the ledger which calls have ended. Without one to ask all have: a
// call that Redis has not confirmed for long was settled elsewhere.
func (m *Meter) over(ctx context.Context, uids ...uuid.UUID) (func(uuid.UUID) bool, error) {
	if m.cfg.Ended == nil {
		return func(uuid.UUID) bool { return true }, nil
	}
	known, err := m.cfg.Ended(ctx, uids)
	return func(u uuid.UUID) bool { return known[u].Final() }, err
}
