package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/meter/journal"
)

// unproven are the calls that were on when an earlier process of this sidecar
// ended, and that neither Redis nor the ledger has now: Redis lost its data too.
// They are shown to the other sidecars in Redis, so that each can name them all.
type unproven struct {
	redis   redis.UniversalClient
	journal *journal.Journal

	mu     sync.Mutex
	calls  map[uuid.UUID]authz.Call // this sidecar's
	others map[uuid.UUID]authz.Call // as last looked
	heard  map[authz.Key]time.Time  // of which a switch told something lately, while they were sought or unproven
}

// hear notes that a switch tells of a call, and gives the call if nobody could
// prove it so far.
func (u *unproven) hear(k authz.Key, seeking bool) (authz.Call, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if seeking && len(u.heard) < heardMost {
		u.heard[k] = time.Now()
	}
	for _, calls := range []map[uuid.UUID]authz.Call{u.calls, u.others} {
		for _, c := range calls {
			if c.Key == k {
				return c, true
			}
		}
	}
	return authz.Call{}, false
}

// was tells whether a switch told of a call while it was sought.
func (u *unproven) was(k authz.Key) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return !u.heard[k].IsZero()
}

// heardMost bounds what is noted while calls are sought, which takes seconds.
const heardMost = 100_000

const (
	// unprovenKey is a hash of them by uid: account, key and call, or accepted.
	unprovenKey   = "rf:{sys}:unproven"
	unprovenSep   = "\x1f"
	accepted      = "accepted"
	unprovenEvery = 2 * time.Second
)

// of gives those of an account, whichever sidecar had them.
func (u *unproven) of(ctx context.Context, account string) (out []authz.Call, err error) {
	shown, err := u.redis.HGetAll(ctx, unprovenKey).Result()
	if err != nil {
		return nil, fmt.Errorf("read the calls that cannot be proven: %w: %w", authz.ErrDown, err)
	}
	u.mu.Lock()
	for uid, c := range u.calls {
		if c.Account == account && shown[uid.String()] == "" { // not shown yet
			out = append(out, c)
		}
	}
	u.mu.Unlock()
	for _, text := range shown {
		if c, ok := parseUnproven(text); ok && c.Account == account {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(x, y authz.Call) int { return bytes.Compare(x.UID[:], y.UID[:]) })
	return out, nil
}

func parseUnproven(text string) (authz.Call, bool) {
	parts := strings.SplitN(text, unprovenSep, 3)
	if len(parts) != 3 {
		return authz.Call{}, false
	}
	k, err := authz.ParseKey(parts[1])
	if err != nil {
		return authz.Call{}, false
	}
	c, err := authz.ParseCall(parts[0], k, parts[2])
	return c, err == nil
}

func (u *unproven) add(c authz.Call) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.calls[c.UID] = c
}

// accept has the unproven calls of an account reported no more, by any sidecar.
func (u *unproven) accept(ctx context.Context, account string) error {
	calls, err := u.of(ctx, account)
	if err != nil || len(calls) == 0 {
		return err
	}
	u.mu.Lock()
	for _, c := range calls {
		u.others[c.UID] = c
	}
	u.mu.Unlock()
	return u.done(ctx, calls...)
}

// done has calls reported no more: accepted, or proven after all.
func (u *unproven) done(ctx context.Context, calls ...authz.Call) error {
	var args []any
	u.mu.Lock()
	for _, c := range calls {
		_, own := u.calls[c.UID]
		if _, shown := u.others[c.UID]; own || shown {
			args = append(args, c.UID.String(), accepted)
		}
		delete(u.others, c.UID)
	}
	u.mu.Unlock()
	if len(args) == 0 { // it was being sought
		return nil
	}
	if err := u.redis.HSet(ctx, unprovenKey, args...).Err(); err != nil {
		return fmt.Errorf("accept calls that cannot be proven: %w: %w", authz.ErrDown, err)
	}
	return nil
}

// show keeps this sidecar's in Redis, until they are accepted there.
func (u *unproven) show(ctx context.Context) {
	for ctx.Err() == nil {
		u.mu.Lock()
		own := maps.Clone(u.calls)
		u.mu.Unlock()
		if shown, err := u.redis.HGetAll(ctx, unprovenKey).Result(); err == nil {
			others := map[uuid.UUID]authz.Call{}
			for _, text := range shown {
				if c, ok := parseUnproven(text); ok {
					others[c.UID] = c
				}
			}
			u.mu.Lock()
			u.others = others
			u.mu.Unlock()
		}
		for uid, c := range own {
			text := strings.Join([]string{c.Account, c.Key.String(), string(c.AppendCall(nil))}, unprovenSep)
			if u.redis.HSetNX(ctx, unprovenKey, uid.String(), text).Err() != nil {
				break // shown when Redis is back
			}
			if v, err := u.redis.HGet(ctx, unprovenKey, uid.String()).Result(); err != nil || v != accepted {
				continue
			}
			u.mu.Lock()
			delete(u.calls, uid)
			u.mu.Unlock()
			u.journal.Found(uid)
			_ = u.redis.HDel(ctx, unprovenKey, uid.String()).Err() // or it stays, as accepted
		}
		pause(ctx, unprovenEvery)
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
	defer a.seeking.Store(false)
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
			if !missing[uid].IsZero() && a.unproven.was(c.Key) {
				a.revive(ctx, c) // found the next time
				continue
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

// revive puts a call back that nobody has, and of which its switch tells
// something: it is on, or its end is proven by its stamps.
func (a *App) revive(ctx context.Context, c authz.Call) {
	if c.Epoch = a.Meter.Epoch(); c.Epoch == 0 {
		return // the event is kept, and told again
	}
	_, err := a.Store.Restore(ctx, c, c.Epoch)
	switch {
	case err == nil:
		a.journal.On(&c)
		a.log.Info("a call that nobody had is put back: its switch tells of it", "account", c.Account, "call", c.Key.String(), "call_uid", c.UID.String())
	case !errors.Is(err, authz.ErrCallEnded):
		a.log.Warn("a call that nobody has, and of which its switch tells something, is not put back", "call", c.Key.String(), "call_uid", c.UID.String(), "error", err)
		return
	}
	if err := a.unproven.done(ctx, c); err != nil {
		a.log.Warn("a call is reported as not proven although its switch tells of it", "call_uid", c.UID.String(), "error", err)
	}
}

// revivingEvents is the meter that looks among the calls nobody could prove first.
type revivingEvents struct {
	tellingEvents
	app *App
}

// Event is the meter's.
func (r revivingEvents) Event(ctx context.Context, e authz.Event) (authz.EventResult, error) {
	if c, ok := r.app.unproven.hear(e.Key, r.app.seeking.Load()); ok {
		r.app.revive(ctx, c)
	}
	return r.tellingEvents.Event(ctx, e)
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
