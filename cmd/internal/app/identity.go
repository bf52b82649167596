package app

import (
	"context"
	"errors"
	"time"

	"github.com/hmsovereign/ringfence/authz/balance"
)

const joinEvery = 2 * time.Second

// misfit tells whether this sidecar has no place in the deployment of its Redis.
func misfit(err error) bool {
	return errors.Is(err, balance.ErrPartitions) || errors.Is(err, balance.ErrLedger)
}

// join makes or checks what a deployment's sidecars must have in common. Errors:
// misfit ones; Redis or the ledger does not answer.
func (a *App) join(ctx context.Context) error {
	if err := a.Store.Check(ctx); err != nil {
		return err
	}
	id, err := a.Ledger.Identity(ctx)
	if err != nil {
		return err
	}
	if err := a.Store.Join(ctx, id); err != nil {
		return err
	}
	a.joined = true
	return nil
}

// belong joins as soon as both stores answer, or fails if it cannot; and makes
// the marks again in a Redis that lost them.
func (a *App) belong(ctx context.Context, fail context.CancelCauseFunc) {
	told := false
	for ctx.Err() == nil {
		try, cancel := context.WithTimeout(ctx, joinEvery)
		err := a.join(try)
		cancel()
		if misfit(err) && !a.joined {
			fail(err)
			return
		}
		if misfit(err) && !told { // with calls on, it goes on with what it has
			a.log.Error("Redis is not the deployment's any more", "error", err)
		}
		told = misfit(err)
		pause(ctx, joinEvery)
	}
}
