package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// item is an account to rebuild: because it is missing, or although it is there.
type item struct {
	id     string
	behind bool
}

// batches rebuilds accounts of a partition, a few at a time.
func (r *Rebuilder) batches(ctx context.Context, p int, token string, items []item, told func(id string)) (written []item, err error) {
	var errs []error
	for some := range slices.Chunk(items, r.cfg.Batch) {
		w, err := r.batch(ctx, p, token, some)
		written = append(written, w...)
		r.met.rebuilt.Add(float64(len(w)))
		for _, it := range some {
			if told != nil {
				told(it.id)
			}
		}
		if err != nil {
			errs = append(errs, err)
		}
		if errors.Is(err, authz.ErrFenced) || hopeless(err) || ctx.Err() != nil {
			break
		}
	}
	return written, errors.Join(errs...)
}

// errWaiting: the ledger does not take the outbox in.
var errWaiting = errors.New("records still wait for the ledger")

// hopeless tells whether the next account would fare no better.
func hopeless(err error) bool {
	return errors.Is(err, authz.ErrDown) || errors.Is(err, ledger.ErrUnavailable) || errors.Is(err, errWaiting)
}

// batch rebuilds a few accounts: those that are there are shut for as long as it
// takes, and open again, as they were, where it cannot be done.
func (r *Rebuilder) batch(ctx context.Context, p int, token string, items []item) (written []item, err error) {
	ids := make([]string, len(items))
	for i, it := range items {
		ids[i] = it.id
	}
	missing, err := r.store.Missing(ctx, ids)
	if err != nil {
		return nil, err
	}
	todo := slices.DeleteFunc(slices.Clone(items), func(it item) bool { return !it.behind && !slices.Contains(missing, it.id) })
	if len(todo) == 0 {
		return nil, nil
	}
	// Most of the waiting is done while nothing is shut; and a ledger that is away
	// is noticed.
	if err := r.drain(ctx, p, r.cfg.Drain); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Shut+time.Duration(len(todo))*100*time.Millisecond)
	defer cancel()
	shut := map[string]bool{}
	defer func() { err = errors.Join(err, r.reopen(ctx, token, shut)) }()
	for _, it := range todo {
		if slices.Contains(missing, it.id) {
			continue
		}
		was, err := r.store.Shut(ctx, it.id, token)
		if err != nil {
			return nil, err
		}
		shut[it.id] = was
	}
	if err := r.drain(ctx, p, r.cfg.Shut); err != nil {
		return nil, err
	}
	return r.writeAll(ctx, token, todo, shut)
}

// writeAtOnce is how many accounts are written at a time.
const writeAtOnce = 4

func (r *Rebuilder) writeAll(ctx context.Context, token string, todo []item, shut map[string]bool) (written []item, err error) {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	next := make(chan item)
	for range min(writeAtOnce, len(todo)) {
		wg.Go(func() {
			for it := range next {
				done, err := r.write(ctx, it, token, func() {
					mu.Lock()
					defer mu.Unlock()
					delete(shut, it.id) // half written, it is no more to be opened as it was
				})
				mu.Lock()
				switch {
				case errors.Is(err, ledger.ErrNotFound):
					r.log.Error("Redis is asked for an account that the ledger does not have", "account", it.id)
				case err != nil:
					errs = append(errs, fmt.Errorf("rebuild %s: %w", it.id, err))
					r.later([]item{it}, nil)
				}
				if done {
					written = append(written, it)
				}
				mu.Unlock()
			}
		})
	}
	for _, it := range todo {
		next <- it
	}
	close(next)
	wg.Wait()
	return written, errors.Join(errs...)
}

// reopen opens what was shut and not written.
func (r *Rebuilder) reopen(ctx context.Context, token string, shut map[string]bool) error {
	if len(shut) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(shut)) {
		if err := r.store.Reopen(ctx, id, token); err != nil {
			errs = append(errs, fmt.Errorf("account %s stays shut until it is rebuilt: %w", id, err))
			r.later([]item{{id, true}}, nil)
		}
	}
	return errors.Join(errs...)
}

const drainEvery = 25 * time.Millisecond

// drain waits until the ledger has what a partition's outbox holds now. Errors:
// errWaiting, authz.ErrDown.
func (r *Rebuilder) drain(ctx context.Context, p int, most time.Duration) error {
	deadline := time.Now().Add(most)
	end, err := r.store.OutboxEnd(ctx, p)
	if err != nil {
		return err
	}
	for {
		done, err := r.store.OutboxDrained(ctx, p, end)
		if err != nil || done {
			return err
		}
		if time.Now().After(deadline) || !sleep(ctx, drainEvery) {
			return fmt.Errorf("partition %d: %w", p, errWaiting)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
