package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/outbox"
	"github.com/hmsovereign/ringfence/sync/reconcile"
)

// sidecar is what of a sidecar matters here: its store, the charges it keeps, the
// calls in its memory, a reader of the outbox, a rebuilder and a comparer.
type sidecar struct {
	*balance.Store
	w         *world
	name      string
	epoch     int64
	keeper    *outbox.Keeper
	rebuilder *reconcile.Rebuilder
	comparer  *reconcile.Comparer
	reader    *outbox.Reader
	log       *lines

	mu     sync.Mutex
	memory map[authz.Key]authz.Call
}

// lines keeps a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (w *world) sidecar(name string, epoch int64, mods ...func(*reconcile.Config)) *sidecar {
	w.Helper()
	s := &sidecar{w: w, name: name, epoch: epoch, memory: map[authz.Key]authz.Call{}, log: &lines{}}
	log := slog.New(slog.NewTextHandler(s.log, nil))
	s.keeper = outbox.NewKeeper(w.ledger, nil, log)
	rdb, store := w.connect(s.keeper.Retain)
	s.Store = store
	cfg := reconcile.Config{Holder: name, Every: 10 * time.Millisecond}
	for _, m := range mods {
		m(&cfg)
	}
	s.rebuilder = reconcile.NewRebuilder(cfg, w.ledger, store, log, nil)
	s.comparer = reconcile.NewComparer(w.ledger, store, s.rebuilder, log, nil)
	oc := outbox.Config{Holder: name, Epoch: func() int64 { return epoch }, Poll: 2 * time.Millisecond, Lease: time.Second, Late: s.rebuilder.Behind}
	for p := range partitions {
		oc.Streams = append(oc.Streams, store.OutboxKey(p))
	}
	s.reader = outbox.New(oc, rdb, w.ledger, store, log, nil)
	s.start(s.reader.Run)
	return s
}

// start runs something until the test ends; stop ends it before.
func (s *sidecar) start(run func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	s.w.Cleanup(stop)
	return stop
}

// call is one as its switch knows it.
type call struct {
	key             authz.Key
	account         string
	uid             uuid.UUID
	answered, ended int64
}

func (w *world) newCall(account string) *call {
	return &call{key: authz.Key{Switch: "sbc-1", Direction: authz.Outbound, CallID: fmt.Sprintf("call-%d@10.0.0.1", w.calls.Add(1))}, account: account}
}

func (c *call) cost() credit.Units { return base.Cost(c.ended - c.answered) }

func (s *sidecar) know(c authz.Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory[c.Key] = c
}

func (s *sidecar) forget(k authz.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.memory, k)
}

func (s *sidecar) known(k authz.Key) (authz.Call, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.memory[k]
	return c, ok
}

func (s *sidecar) calls() []authz.Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.memory))
}

// GoString is what a failed property shows.
func (s *sidecar) GoString() string { return s.name }

// GoString is what a failed property shows.
func (c *call) GoString() string { return c.key.CallID + " of " + c.account }

// authorize asks for a call; denied tells that it may not go.
func (s *sidecar) authorize(c *call) (denied authz.Code, err error) {
	uid := uuid.Must(uuid.NewV7())
	now := s.w.now()
	h := authz.Hold{Key: c.key, UID: uid, Account: c.account, Hash: "h", Now: now, Day: day(now), Epoch: s.epoch, Price: base, MinSeconds: 1,
		SliceSeconds: 60, ExpiresAt: now + 240_000, Detail: authz.Detail{From: "+31850835037", To: "+31201234567", Tariff: "default@1", Currency: "EUR"}}
	held, err := s.Authorize(ctx, &h)
	if err != nil || held.Denied != "" {
		return held.Denied, err
	}
	c.uid = held.UID
	s.know(authz.Call{Key: c.key, Account: c.account, UID: held.UID, State: authz.StateHeld, Epoch: s.epoch, Hash: h.Hash, Held: held.Units,
		UntilMS: held.UntilMS, CreatedAt: now, ExpiresAt: held.ExpiresAt, Price: base, Detail: h.Detail})
	return "", nil
}

// work does a step of a call as the meter does: what is unknown to Redis and
// known here is put back first. Errors: authz.ErrUnknownCall, ErrLost.
func (s *sidecar) work(k authz.Key, step func() error) error {
	err := step()
	s.w.note(k.String(), "%s: %v", s.name, err)
	if c, ok := s.known(k); ok && errors.Is(err, authz.ErrUnknownCall) {
		if err := s.restore(c); err != nil {
			return err
		}
		err = step()
		s.w.note(k.String(), "%s again: %v", s.name, err)
	}
	return err
}

func (s *sidecar) answer(c *call) error {
	s.w.note(c.key.String(), "%s: answer, answered %d", s.name, c.answered)
	at := s.w.now()
	if c.answered != 0 {
		at = c.answered
	}
	return s.work(c.key, func() error {
		t, err := s.Answered(ctx, authz.Answer{Key: c.key, Account: c.account, Epoch: s.epoch, Now: at, At: at, Day: day(at), SliceMS: 60_000})
		if err == nil && t.Call.State == authz.StateLive {
			if t.Call.Epoch == s.epoch {
				s.know(t.Call)
			}
			c.answered = at
		}
		return err
	})
}

func (s *sidecar) extend(c *call) error {
	s.w.note(c.key.String(), "%s: extend, answered %d", s.name, c.answered)
	own, ok := s.known(c.key)
	if !ok {
		return nil
	}
	err := s.work(c.key, func() error {
		now := s.w.now()
		x := s.Extend(ctx, []authz.Extension{{Key: c.key, Account: c.account, Epoch: own.Epoch, Now: now, Day: day(now), UntilMS: own.UntilMS + 60_000, ProofAt: now}})[0]
		if x.Err == nil {
			own.UntilMS, own.Held, own.ProofAt = x.UntilMS, x.Units, now
			s.know(own)
		}
		return x.Err
	})
	if errors.Is(err, authz.ErrCallEnded) || errors.Is(err, authz.ErrFenced) {
		s.forget(c.key)
		return nil
	}
	return err
}

// end settles a call by its switch's stamps.
func (s *sidecar) end(c *call) error {
	s.w.note(c.key.String(), "%s: end, answered %d", s.name, c.answered)
	answered := c.answered
	if answered == 0 {
		answered = -1
	}
	err := s.work(c.key, func() error {
		_, err := s.Settle(ctx, authz.End{Key: c.key, Account: c.account, Now: s.w.now(), ReceivedAt: s.w.now(), EndedAt: c.ended, AnsweredAt: answered, Cause: "16", Day: day(c.ended)})
		return err
	})
	if err == nil {
		s.forget(c.key)
	}
	return err
}

// lose settles a live call to its last proof.
func (s *sidecar) lose(c *call) error {
	s.w.note(c.key.String(), "%s: lose, answered %d", s.name, c.answered)
	return s.work(c.key, func() error {
		now := s.w.now()
		_, err := s.Settle(ctx, authz.End{Key: c.key, Account: c.account, Now: now, ReceivedAt: now, Cause: "heartbeat", Day: day(now), Lost: true})
		if err == nil {
			s.forget(c.key)
		}
		return err
	})
}

func (s *sidecar) release(c *call) error {
	s.w.note(c.key.String(), "%s: release, answered %d", s.name, c.answered)
	return s.work(c.key, func() error {
		_, err := s.Release(ctx, authz.Release{Key: c.key, Account: c.account, Now: s.w.now(), Reason: "abandoned"})
		if err == nil {
			s.forget(c.key)
		}
		return err
	})
}

func (s *sidecar) restore(c authz.Call) error {
	known := c.Epoch
	c.Epoch = s.epoch
	epoch, err := s.Restore(ctx, c, known)
	s.w.note(c.Key.String(), "%s restores %s: %d %v", s.name, c.State, epoch, err)
	switch {
	case errors.Is(err, authz.ErrCallEnded):
		s.forget(c.Key)
		return nil
	case err == nil && epoch == s.epoch:
		s.know(c)
	}
	return err
}

// putBack is what a sidecar does after a rebuild.
func (s *sidecar) putBack() error {
	var errs []error
	for _, c := range s.calls() {
		errs = append(errs, s.restore(c))
	}
	rebuilt, err := s.Rebuilt(ctx)
	errs = append(errs, err)
	for p, what := range rebuilt {
		ctx, cancel := context.WithTimeout(ctx, patience)
		_, err := s.keeper.Replay(ctx, s.Store, p, what, func(_ string, at int64) int64 { return day(at) })
		cancel()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// watch puts back whenever something was rebuilt.
func (s *sidecar) watch(ctx context.Context) {
	last := ""
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if rebuilt, err := s.Rebuilt(ctx); err == nil && strings.Join(rebuilt, ",") != last && s.putBack() == nil {
			last = strings.Join(rebuilt, ",")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
