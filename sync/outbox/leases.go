package outbox

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// keepLeases holds this sidecar's share of the partitions.
func (r *Reader) keepLeases(ctx context.Context) {
	for {
		if err := r.share(ctx); err != nil && ctx.Err() == nil {
			r.log.Debug("outbox leases not renewed", "error", err)
		}
		wait := r.cfg.Lease / 3
		if r.cfg.Epoch() == 0 { // about to register
			wait = min(wait, 100*time.Millisecond)
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// share takes and gives partitions so that the living sidecars have equal parts.
func (r *Reader) share(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	now := time.Now().UnixMilli()
	living, err := r.owners.Living(ctx, now)
	if err != nil {
		return err
	}
	epoch := r.cfg.Epoch()
	if epoch == 0 {
		return nil // not registered yet
	}
	living[epoch] = true
	order := slices.Sorted(maps.Keys(living))
	place := slices.Index(order, epoch)
	for p := range r.cfg.Streams {
		mine := p%len(order) == place
		until := now + r.cfg.Lease.Milliseconds()
		r.mu.Lock()
		_, has := r.held[p]
		r.mu.Unlock()
		if !mine && !has {
			continue
		}
		if !mine {
			until = now // give it up
		}
		ok, err := r.owners.Lease(ctx, leaseName(p), r.cfg.Holder, now, until)
		if err != nil {
			return err
		}
		r.mu.Lock()
		switch {
		case ok && !has:
			r.held[p] = &partition{stream: r.cfg.Streams[p], pending: true}
			poke(r.look)
		case !ok:
			delete(r.held, p)
		}
		r.met.held.Set(float64(len(r.held)))
		r.mu.Unlock()
	}
	return nil
}

func leaseName(p int) string { return fmt.Sprintf("outbox:%02d", p) }

// giveUp lets another sidecar read at once.
func (r *Reader) giveUp() {
	ctx, cancel := context.WithTimeout(context.Background(), r.cfg.Timeout)
	defer cancel()
	now := time.Now().UnixMilli()
	r.mu.Lock()
	held := slices.Collect(maps.Keys(r.held))
	clear(r.held)
	r.met.held.Set(0)
	r.mu.Unlock()
	for _, p := range held {
		if _, err := r.owners.Lease(ctx, leaseName(p), r.cfg.Holder, now, now); err != nil {
			return // it runs out by itself
		}
	}
}
