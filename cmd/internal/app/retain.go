package app

import (
	"context"
	"time"
)

const (
	retainEvery = time.Hour
	retainBatch = 1000
)

// retain truncates and drops old calls, where that is configured. Balances and
// sums stay.
func (a *App) retain(ctx context.Context) {
	t := time.NewTicker(retainEvery)
	defer t.Stop()
	for {
		a.retainOnce(ctx)
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

func (a *App) retainOnce(ctx context.Context) {
	now := time.Now()
	for _, job := range []struct {
		what  string
		after time.Duration
		do    func(context.Context, time.Time, int) (int64, error)
	}{
		{"numbers of old calls truncated", a.cfg.Retention.MaskAfter, a.Ledger.MaskCalls},
		{"old calls dropped", a.cfg.Retention.DropAfter, a.Ledger.DropCalls},
	} {
		if job.after <= 0 || ctx.Err() != nil {
			continue
		}
		n, err := job.do(ctx, now.Add(-job.after), retainBatch)
		switch {
		case err != nil && ctx.Err() == nil:
			a.log.Error("retention not carried out; it is tried again", "job", job.what, "error", err)
		case n > 0:
			a.log.Info(job.what, "calls", n, "older_than", job.after)
		}
	}
}
