package balance_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// What several clients do to one account at once must look as if they had done
// it one after the other, each between its question and its answer.

type step struct {
	do string // authorize, settle, grant
	n  int    // which call, or the grant's number
}

type seen struct {
	what      string
	available credit.Units
	seq       int64
}

// sequential is all the state there is: comparable, so that porcupine may cut its search short.
type sequential struct {
	available credit.Units
	seq       int64
	grants    int
	calls     [3]authz.State
}

const (
	grantOf   = 45 * second
	talkOf    = 30 * second
	sliceHeld = minute
)

// after is the sequential specification.
func (a sequential) after(s step) (sequential, seen) {
	tell := func(what string) (sequential, seen) { return a, seen{what, a.available, a.seq} }
	if s.do == "grant" {
		switch {
		case s.n <= a.grants:
			return a, seen{what: "done"}
		case s.n > a.grants+1:
			return a, seen{what: "gap"}
		}
		a.available, a.seq, a.grants = a.available+grantOf, a.seq+1, s.n
		return a, seen{what: "granted"}
	}
	c := &a.calls[s.n]
	if s.do == "authorize" {
		switch {
		case *c == authz.StateHeld:
			return tell("held")
		case *c == authz.StateSettled:
			return a, seen{what: "call_ended"}
		case a.available < sliceHeld:
			*c = authz.StateRejected
			return tell("insufficient_credits")
		}
		a.available, a.seq, *c = a.available-sliceHeld, a.seq+1, authz.StateHeld
		return tell("held")
	}
	switch *c {
	case authz.StateNone:
		return a, seen{what: "unknown"}
	case authz.StateHeld:
		a.available, a.seq, *c = a.available+sliceHeld-talkOf, a.seq+1, authz.StateSettled
		return tell("settled")
	}
	return tell("again " + c.String())
}

func TestLinearizable(t *testing.T) {
	t.Parallel()
	spec := porcupine.Model{
		Init: func() any { return sequential{available: 2 * minute, seq: 1, grants: 1} },
		Step: func(state, input, output any) (bool, any) {
			next, want := state.(sequential).after(input.(step))
			return want == output.(seen), next
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%v -> %v", in, out) },
	}
	b := onRedis(t)
	cfg := balance.Config{Workers: 2, Batch: 3}
	r := newRig(t, b, cfg)
	stores := []*balance.Store{r.Store, b.store(t, cfg), b.store(t, cfg)}
	const rounds, clients, steps = 40, 6, 6
	settled := 0
	for round := range rounds {
		account := fmt.Sprintf("%s-%d", r.account, round)
		r.must(r.OpenAccount(r.ctx, account, authz.Active, newYear))
		_, err := r.Grant(r.ctx, account, 1, 2*minute)
		r.must(err)
		var mu sync.Mutex
		var history []porcupine.Operation
		var wg sync.WaitGroup
		random := rand.New(rand.NewPCG(1, uint64(round)))
		for client := range clients {
			mine := make([]step, steps)
			for i := range mine {
				mine[i] = step{[]string{"authorize", "settle", "grant"}[random.IntN(3)], random.IntN(3)}
				if mine[i].do == "grant" {
					mine[i].n = 2 + random.IntN(3)
				}
			}
			wg.Go(func() {
				for _, s := range mine {
					call := time.Since(start).Nanoseconds()
					out := observe(r, stores[client%len(stores)], account, s)
					mu.Lock()
					history = append(history, porcupine.Operation{ClientId: client, Input: s, Call: call, Output: out, Return: time.Since(start).Nanoseconds()})
					if out.what == "settled" {
						settled++
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if result := porcupine.CheckOperationsTimeout(spec, history, patience); result != porcupine.Ok {
			for _, op := range history {
				t.Logf("%d: %12d to %12d: %s", op.ClientId, op.Call, op.Return, spec.DescribeOperation(op.Input, op.Output))
			}
			t.Fatalf("round %d: %s", round, result)
		}
	}
	if settled < rounds {
		t.Errorf("only %d calls were settled in %d rounds: the histories say little", settled, rounds)
	}
}

var start = time.Now()

// observe carries a step out and tells what the client saw of it.
func observe(r *rig, s *balance.Store, account string, do step) seen {
	failed := func(err error) seen { return seen{what: "failed: " + err.Error()} }
	k := key(fmt.Sprint(do.n))
	switch do.do {
	case "grant":
		applied, err := s.Grant(r.ctx, account, int64(do.n), grantOf)
		switch {
		case errors.Is(err, balance.ErrGap):
			return seen{what: "gap"}
		case err != nil:
			return failed(err)
		case applied:
			return seen{what: "granted"}
		}
		return seen{what: "done"}
	case "authorize":
		uid, err := uuid.NewV7()
		if err != nil {
			return failed(err)
		}
		held, err := s.Authorize(r.ctx, &authz.Hold{Key: k, UID: uid, Account: account, Hash: "1", Now: noon, Day: newYear, Epoch: 1, Price: base, MinSeconds: 60,
			SliceSeconds: 60, ExpiresAt: noon + 240_000})
		switch {
		case err != nil:
			return failed(err)
		case held.Denied == authz.CodeCallEnded:
			return seen{what: string(held.Denied)}
		case held.Denied != "":
			return seen{string(held.Denied), held.Available, held.Seq}
		}
		return seen{"held", held.Available, held.Seq}
	}
	st, err := s.Settle(r.ctx, authz.End{Key: k, Account: account, Now: noon + 30_000, ReceivedAt: noon + 30_000, EndedAt: noon + 30_000, AnsweredAt: noon,
		Day: newYear})
	switch {
	case errors.Is(err, authz.ErrUnknownCall):
		return seen{what: "unknown"}
	case err != nil:
		return failed(err)
	case st.Duplicate:
		return seen{"again " + st.State.String(), st.Available, st.Seq}
	}
	return seen{"settled", st.Available, st.Seq}
}
