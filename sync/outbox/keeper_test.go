package outbox_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/outbox"
)

// stores are a ledger, a balance store and a journal as the Keeper sees them.
type stores struct {
	mu      sync.Mutex
	has     map[uuid.UUID]authz.State // in the ledger
	down    error                     // of the ledger
	undone  map[int]bool              // partitions whose outbox is not read
	there   map[string]bool           // charges that Redis has
	replays []string
	lost    error // of Redis
	noted   map[uuid.UUID]string
}

func newStores() *stores {
	return &stores{has: map[uuid.UUID]authz.State{}, undone: map[int]bool{}, there: map[string]bool{}, noted: map[uuid.UUID]string{}}
}

func (s *stores) KnownCalls(_ context.Context, uids []uuid.UUID) (map[uuid.UUID]authz.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[uuid.UUID]authz.State{}
	for _, u := range uids {
		if st, ok := s.has[u]; ok {
			out[u] = st
		}
	}
	return out, s.down
}

func (s *stores) PartitionOf(account string) int { return int(account[len(account)-1] - '0') }

func (s *stores) OutboxEnd(context.Context, int) (string, error) { return "7-0", nil }

func (s *stores) OutboxDrained(_ context.Context, partition int, end string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return end == "7-0" && !s.undone[partition], nil
}

func (s *stores) Replay(_ context.Context, raw string, _ int64) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost != nil {
		return "", s.lost
	}
	if s.there[raw] {
		return "", nil
	}
	s.replays = append(s.replays, raw)
	r, err := authz.ParseRecord(raw)
	r.Seq += 1000
	return text(&r), err
}

func (s *stores) Charged(uid uuid.UUID, raw string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noted[uid] = raw
}

func (s *stores) Recorded(uid uuid.UUID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.noted, uid)
}

func (s *stores) replayed() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.replays)
}

// now changes what they say.
func (s *stores) now(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func noDay(string, int64) int64 { return 0 }

// keeping is a Keeper with the records of some calls.
func keeping(accounts ...string) (*stores, *outbox.Keeper, []authz.Record) {
	s, w := newStores(), &world{}
	k := outbox.NewKeeper(s, s, slog.New(slog.DiscardHandler))
	var all []authz.Record
	for _, a := range accounts {
		r := w.settled(a)
		k.Retain(text(&r))
		all = append(all, r)
	}
	return s, k, all
}

func same[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

func TestKeeperForgetsWhatTheLedgerHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k, all := keeping("acct-1", "acct-2", "acct-3")
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { k.Run(ctx) })
		pass := func(d time.Duration) { <-time.After(d); synctest.Wait() }
		same(t, "kept", k.Len(), 3)
		s.now(func() {
			s.has[all[0].UID] = authz.StateSettled
			s.has[all[1].UID] = authz.StateLost // the settlement is still on its way
		})
		pass(time.Second)
		same(t, "kept", k.Len(), 3)
		pass(5 * time.Second)
		same(t, "kept", k.Len(), 2)
		s.now(func() { same(t, "noted", len(s.noted), 2) })
		s.now(func() { s.down = errors.New("away") })
		pass(time.Minute)
		same(t, "kept", k.Len(), 2)
		s.now(func() { s.down, s.has[all[1].UID], s.has[all[2].UID] = nil, authz.StateSettled, authz.StateSettled })
		pass(5 * time.Second)
		same(t, "kept", k.Len(), 0)
		s.now(func() { same(t, "noted", len(s.noted), 0) })
		cancel()
		wg.Wait()
	})
}

func TestKeeperKeepsTheRecordThatCounts(t *testing.T) {
	s, k, all := keeping("acct-1")
	loss := lost(all[0])
	k.Retain(text(&loss))
	k.Retain("junk")
	same(t, "kept", k.Records(), map[uuid.UUID]string{all[0].UID: text(&all[0])})
	same(t, "noted", s.noted[all[0].UID], text(&all[0]))
	again := outbox.NewKeeper(s, s, slog.New(slog.DiscardHandler))
	again.Load(k.Records()) // the next process
	same(t, "kept", again.Records(), k.Records())
}

func TestKeeperReplaysOnceForEachRebuild(t *testing.T) {
	s, k, all := keeping("acct-1", "acct-1", "acct-1", "acct-2")
	ctx := t.Context()
	s.has[all[0].UID] = authz.StateSettled
	s.there[text(&all[1])] = true
	replay := func(partition int, rebuilt string, want int) {
		t.Helper()
		n, err := k.Replay(ctx, s, partition, rebuilt, noDay)
		must(t, err)
		same(t, "charged again", n, want)
	}
	replay(1, "one", 1) // the first is in the ledger, the second in Redis
	same(t, "replays", s.replayed(), []string{text(&all[2])})
	replay(1, "one", 0)
	again := all[2]
	again.Seq += 1000
	same(t, "kept as it is now", k.Records()[again.UID], text(&again))
	same(t, "noted as it is now", s.noted[again.UID], text(&again))
	delete(s.there, text(&all[1]))
	replay(1, "two", 2) // another rebuild: the one that was there is gone
	replay(3, "one", 0)
	same(t, "replays", len(s.replayed()), 3)
}

func TestKeeperWaitsForTheOutbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k, _ := keeping("acct-1")
		s.undone[1] = true
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := k.Replay(ctx, s, 1, "one", noDay); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("records wait, and %v", err)
		}
		same(t, "replays", len(s.replayed()), 0)
		s.undone[1] = false
		s.lost = authz.ErrLost
		if _, err := k.Replay(t.Context(), s, 1, "one", noDay); !errors.Is(err, authz.ErrLost) {
			t.Errorf("the account is not rebuilt, and %v", err)
		}
		s.lost, s.down = nil, errors.New("away")
		if _, err := k.Replay(t.Context(), s, 1, "one", noDay); err == nil {
			t.Error("the ledger is away, and nothing is wrong")
		}
		s.down = nil
		n, err := k.Replay(t.Context(), s, 1, "one", noDay)
		must(t, err)
		same(t, "charged again", n, 1)
	})
}

func TestKeeperKnowsWhatIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k, _ := keeping("acct-1", "acct-2", "acct-2")
		rebuilt := []string{"", "", "two", ""}
		same(t, "late", len(k.Late(s, rebuilt)), 0)
		<-time.After(time.Minute)
		same(t, "late", k.Late(s, rebuilt), []int{2}) // nothing was ever rebuilt in the other
		_, err := k.Replay(t.Context(), s, 2, "two", noDay)
		must(t, err)
		<-time.After(time.Minute)
		same(t, "late", len(k.Late(s, rebuilt)), 0)
	})
}
