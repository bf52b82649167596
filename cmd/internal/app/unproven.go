package app

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
)

// unproven are the calls that were on when an earlier process of this sidecar
// ended, and that neither Redis nor the ledger has now: Redis lost its data too.
type unproven struct {
	mu    sync.Mutex
	calls map[uuid.UUID]authz.Call
}

// of gives those of an account.
func (u *unproven) of(account string) (out []authz.Call) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, c := range u.calls {
		if c.Account == account {
			out = append(out, c)
		}
	}
	return out
}

func (u *unproven) add(c authz.Call) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.calls[c.UID] = c
}

// accept has the unproven calls of an account reported no more.
func (a *App) accept(account string) {
	for _, c := range a.unproven.of(account) {
		a.unproven.mu.Lock()
		delete(a.unproven.calls, c.UID)
		a.unproven.mu.Unlock()
		a.journal.Found(c.UID)
	}
}

const (
	seekEvery = time.Second
	// seekFor is how long a call is missing before it is given up: other sidecars
	// put theirs back meanwhile.
	seekFor = grace + 3*time.Second
)

// seek looks for the calls that an earlier process left, until each is found
// somewhere, or given up and named.
func (a *App) seek(ctx context.Context) {
	missing := map[uuid.UUID]time.Time{} // since when
	wait := seekFor
	if a.mini != nil {
		wait = 0 // nobody else knows anything
	}
	for len(a.left.Calls) > 0 && ctx.Err() == nil {
		for uid, c := range maps.Clone(a.left.Calls) {
			found, err := a.find(ctx, c)
			switch {
			case err != nil: // asked again
				delete(missing, uid)
			case found:
				delete(a.left.Calls, uid)
				a.journal.Found(uid)
			case missing[uid].IsZero():
				missing[uid] = time.Now()
			}
			if since := missing[uid]; !since.IsZero() && time.Since(since) >= wait {
				delete(a.left.Calls, uid)
				a.unproven.add(c)
				a.journal.Unproven(&c)
				a.log.Error("this process was killed or stopped while a call was on that no store has now: its end cannot be proven; nothing was charged for it",
					"account", c.Account, "call", c.Key.String(), "call_uid", uid.String(), "state", c.State.String(), "held_units", int64(c.Held),
					"answered_at", c.AnsweredAt)
			}
		}
		if len(a.left.Calls) > 0 {
			pause(ctx, seekEvery)
		}
	}
}

// find looks for a call in Redis and in the ledger. Errors: either cannot say;
// authz.ErrLost: the account waits to be rebuilt.
func (a *App) find(ctx context.Context, c authz.Call) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := a.Store.Balance(ctx, c.Account); err != nil {
		return false, err
	}
	has, err := a.Store.Call(ctx, c.Account, c.Key)
	switch {
	case err == nil && has.UID == c.UID:
		if !has.State.Final() { // Redis may have gone back to before its answer
			c.Epoch = has.Epoch
			if _, err = a.Store.Restore(ctx, c, has.Epoch); errors.Is(err, authz.ErrCallEnded) {
				err = nil
			}
		}
		return true, err
	case err != nil && !errors.Is(err, authz.ErrUnknownCall):
		return false, err
	}
	known, err := a.Ledger.KnownCalls(ctx, []uuid.UUID{c.UID})
	return known[c.UID].Final(), err
}
