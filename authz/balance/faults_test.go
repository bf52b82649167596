package balance_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/deploy/services"
)

// within gives ctx a deadline as the hook does.
func (r *rig) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(r.ctx, d)
	r.Cleanup(cancel)
	return ctx
}

// up waits until the store works again.
func (r *rig) up() {
	r.Helper()
	services.Eventually(r.T, patience, func() error { return r.Ping(r.within(time.Second)) })
}

func (r *rig) down(err error) {
	r.Helper()
	r.fails(err, authz.ErrDown)
}

func TestPausedRedisIsDownWithinTheDeadlineAndHoldsNothingLate(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	r := newRig(t, on(server), balance.Config{Workers: 1, Batch: 1})
	server.Pause()
	const askers = 12
	start := time.Now()
	ctx := r.within(300 * time.Millisecond)
	errs := make([]error, askers)
	var wg sync.WaitGroup
	for i := range askers {
		h := r.hold("late" + strconv.Itoa(i))
		wg.Go(func() { _, errs[i] = r.Authorize(ctx, h) })
	}
	wg.Wait()
	if took := time.Since(start); took > patience/2 {
		t.Errorf("the askers waited %v, their deadline was 300 ms", took)
	}
	for _, err := range errs {
		r.down(err)
	}
	server.Resume()
	r.up()
	r.authorized("after")
	r.Close() // the queue is worked off
	late := 0
	r.must(r.Calls(r.ctx, r.account, func(c authz.Call, err error) error {
		if strings.HasPrefix(c.CallID, "late") {
			late++
		}
		return err
	}))
	// One that its asker sent itself and one that the worker had sent may be worked late; what was
	// still queued when its asker left may not.
	if late > 2 {
		t.Errorf("%d holds were made for askers who were gone", late)
	}
	r.balanced()
}

func TestCancelledAskerHoldsNothing(t *testing.T) {
	t.Parallel()
	for _, b := range []backend{onRedis(t), onMiniredis(t)} {
		r := newRig(t, b, balance.Config{})
		ctx, cancel := context.WithCancel(r.ctx)
		cancel()
		_, err := r.Authorize(ctx, r.hold("a"))
		r.down(err)
		r.fails(err, context.Canceled)
		r.has(10*minute, 0, 0)
	}
}

func TestFullRedisRefusesNewCallsAndEndsOldOnes(t *testing.T) {
	t.Parallel()
	r := newRig(t, onRedis(t), balance.Config{})
	for _, id := range []string{"live", "extended", "ringing", "abandoned"} {
		r.authorized(id)
	}
	r.answered("live")
	r.answered("extended")
	r.must(r.rdb.ConfigSet(r.ctx, "maxmemory", "1").Err())
	_, err := r.Authorize(r.ctx, r.hold("new"))
	r.down(err)
	r.down(r.Ping(r.ctx))
	r.down(r.OpenAccount(r.ctx, r.account+"-new", authz.Active, newYear))

	r.pass(10)
	r.answered("ringing")
	r.must(r.extend("extended", 120).Err)
	r.credit(minute)
	r.pass(10)
	r.released("abandoned")
	for _, id := range []string{"live", "extended", "ringing"} {
		r.settled(id)
	}
	_, err = r.Adopt(r.ctx, r.hold("unchecked"))
	r.must(err)
	_, err = r.Register(r.ctx, "sidecar", r.now)
	r.must(err)
	r.must(r.SetStatus(r.ctx, r.account, authz.Active))
	r.has(11*minute-50*second-minute, minute, 50*second)

	r.must(r.rdb.ConfigSet(r.ctx, "maxmemory", "0").Err())
	r.authorized("new")
}

func TestReplicaIsDown(t *testing.T) {
	t.Parallel()
	master := services.Redis(t)
	r := newRig(t, on(master), balance.Config{})
	replica := on(services.RedisReplica(t, master)).store(t, balance.Config{})
	services.Eventually(t, patience, func() error { _, err := replica.Balance(r.ctx, r.account); return err })
	_, err := replica.Authorize(r.ctx, r.hold("a"))
	r.down(err)
	r.down(replica.Ping(r.ctx))
	_, err = replica.Settle(r.ctx, authz.End{Key: key("a"), Account: r.account, MarkUntil: r.now + 1})
	r.down(err)
}

func TestScriptFlushIsNoticedByNobody(t *testing.T) {
	t.Parallel()
	for _, b := range []backend{onRedis(t), onMiniredis(t)} {
		r := newRig(t, b, balance.Config{})
		r.credit(1000 * minute)
		var wg sync.WaitGroup
		for g := range 8 {
			ids := make([]*authz.Hold, 40)
			for i := range ids {
				ids[i] = r.hold(fmt.Sprintf("%d-%d", g, i))
			}
			wg.Go(func() {
				for i, h := range ids {
					if i%10 == 5 {
						if err := r.rdb.ScriptFlush(r.ctx).Err(); err != nil {
							t.Error(err)
						}
					}
					if held, err := r.Authorize(r.ctx, h); err != nil || held.Denied != "" {
						t.Errorf("authorize: %v %s", err, held.Denied)
					}
				}
			})
		}
		wg.Wait()
		same(r, "calls", r.balanced().Calls, 320)
		r.must(r.rdb.ScriptFlush(r.ctx).Err())
		r.must(r.extend("0-0", 120).Err)
	}
}

func TestKilledRedisComesBackWithEveryAnswerItGave(t *testing.T) {
	t.Parallel()
	server := services.Redis(t, services.AppendAlways()) // everysec puts a write off while it syncs
	r := newRig(t, on(server), balance.Config{})
	r.credit(1000 * minute)
	var held []string
	for i := range 50 {
		id := strconv.Itoa(i)
		r.authorized(id)
		held = append(held, id)
	}
	r.answered("0")
	r.pass(30)
	r.settled("0")
	before := r.balance()
	server.Kill()
	_, err := r.Authorize(r.ctx, r.hold("a"))
	r.down(err)
	_, err = r.Balance(r.ctx, r.account)
	r.down(err)
	_, err = r.Call(r.ctx, r.account, key("0"))
	r.down(err)
	r.down(r.Calls(r.ctx, r.account, func(authz.Call, error) error { return nil }))
	r.down(r.Index(r.ctx, nil, []authz.Key{key("a")}))
	_, err = r.Find(r.ctx, key("a"))
	r.down(err)
	_, err = r.OutboxLen(r.ctx)
	r.down(err)
	_, err = r.Living(r.ctx, r.now)
	r.down(err)
	r.down(r.Check(r.ctx))
	server.Start()
	r.up()
	same(r, "books", r.balance(), before)
	for _, id := range held[1:] {
		r.state(id, authz.StateHeld)
	}
	r.state("0", authz.StateSettled)
	r.authorized("a")
}

// TestRepliesThatMeanDown meets each as the server really says it.
func TestRepliesThatMeanDown(t *testing.T) {
	t.Parallel()
	set := func(r *rig, name, value string) { r.Helper(); r.must(r.rdb.ConfigSet(r.ctx, name, value).Err()) }
	for _, c := range []struct {
		name      string
		code      string // what the error quotes
		bring     func(*rig)
		throughIt func(*rig) *balance.Store // nil: the rig's own
	}{
		{name: "too few replicas", code: "NOREPLICAS", bring: func(r *rig) { set(r, "min-replicas-to-write", "1") }},
		{name: "a save that failed", code: "MISCONF", bring: func(r *rig) {
			dir := filepath.Join(r.TempDir(), "gone")
			r.must(os.Mkdir(dir, 0o700))
			set(r, "dir", dir)
			r.must(os.RemoveAll(dir))
			set(r, "save", "3600 1000000")
			r.must(r.rdb.BgSave(r.ctx).Err())
			services.Eventually(r.T, patience, func() error {
				text, err := r.rdb.Info(r.ctx, "persistence").Result()
				if err == nil && !strings.Contains(text, "rdb_last_bgsave_status:err") {
					err = errors.New("the save has not failed yet")
				}
				return err
			})
		}},
		{name: "a script that runs on", code: "BUSY", bring: func(r *rig) {
			set(r, "busy-reply-threshold", "5")
			other := r.backend.connect(r.T)
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = other.Eval(context.WithoutCancel(r.ctx), "while true do end", nil).Err() // ends killed
			}()
			r.Cleanup(func() {
				killer := r.backend.connect(r.T)
				services.Eventually(r.T, patience, func() error { return killer.ScriptKill(context.Background()).Err() })
				<-done
			})
			services.Eventually(r.T, patience, func() error {
				if err := other.Ping(r.ctx).Err(); !redis.HasErrorPrefix(err, "BUSY") {
					return fmt.Errorf("not busy yet: %w", err)
				}
				return nil
			})
		}},
		{name: "a restart", code: "LOADING", bring: func(r *rig) {
			for i := range 2000 {
				r.must(r.rdb.Set(r.ctx, "filler"+strconv.Itoa(i), strings.Repeat("x", 64), 0).Err())
			}
			set(r, "loading-process-events-interval-bytes", "1024")
			set(r, "key-load-delay", "500")
			other := r.backend.connect(r.T)
			done := make(chan struct{})
			go func() { defer close(done); _ = other.Do(context.WithoutCancel(r.ctx), "DEBUG", "RELOAD").Err() }() // ends with the test
			r.Cleanup(func() { <-done })
			services.Eventually(r.T, patience, func() error {
				if err := r.rdb.Get(r.ctx, "filler0").Err(); !redis.IsLoadingError(err) {
					return fmt.Errorf("not loading yet: %w", err)
				}
				return nil
			})
		}},
		{name: "too many clients", code: "", throughIt: func(r *rig) *balance.Store {
			set(r, "maxclients", "2") // there are more already; the connection is refused, then broken
			return r.backend.store(r.T, balance.Config{})
		}},
		{name: "a password", code: "unauthenticated", throughIt: func(r *rig) *balance.Store {
			s := r.backend.store(r.T, balance.Config{})
			set(r, "requirepass", "not a secret")
			return s
		}},
		{name: "a command not permitted", code: "ERR The user executing the script", bring: func(r *rig) {
			r.must(r.rdb.Do(r.ctx, "ACL", "SETUSER", "default", "-hset").Err())
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, onRedis(t, services.Config("enable-protected-configs", "yes")), balance.Config{})
			store := r.Store
			if c.throughIt != nil {
				store = c.throughIt(r)
			}
			if c.bring != nil {
				c.bring(r)
			}
			_, err := store.Authorize(r.ctx, r.hold("a"))
			r.down(err)
			if !strings.Contains(err.Error(), c.code) {
				t.Errorf("error %v, want it to quote %s", err, c.code)
			}
		})
	}
}

func TestABugIsNotAnOutage(t *testing.T) {
	t.Parallel()
	r := newRig(t, onRedis(t), balance.Config{})
	other := r.account + "-2"
	hash := fmt.Sprintf("rf:{p%02d}:a:%s", balance.Partition(other, r.Partitions()), other)
	r.must(r.rdb.Set(r.ctx, hash, "no hash", 0).Err())
	_, err := r.Authorize(r.ctx, r.hold("a", func(h *authz.Hold) { h.Account = other }))
	if err == nil || errors.Is(err, authz.ErrDown) || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Fatalf("error %v, want WRONGTYPE and not that the store is down", err)
	}
	r.must(r.rdb.Del(r.ctx, hash).Err())
	r.must(r.rdb.HSet(r.ctx, hash, "books", "1 2 3").Err())
	_, err = r.Authorize(r.ctx, r.hold("a", func(h *authz.Hold) { h.Account = other }))
	r.fails(err, balance.ErrCorrupt)
	_, err = r.Balance(r.ctx, other)
	r.fails(err, balance.ErrCorrupt)
	_, err = r.Grant(r.ctx, other, 1, 1)
	r.fails(err, balance.ErrCorrupt)
}

func TestAClosedStoreIsDown(t *testing.T) {
	t.Parallel()
	r := newRig(t, onMiniredis(t), balance.Config{})
	r.Close()
	r.Close()
	_, err := r.Authorize(r.ctx, r.hold("a"))
	r.down(err)
}
