package balance_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// A life is one run of random operations by several sidecars on one account,
// each also told to the model.
type life struct {
	*rig
	model   *model
	stores  []*balance.Store
	now     int64
	waiting []operation // on their way: they may come late, out of order, and again
	sent    []operation
	uids    int
}

// operation is one input, told to both; each gives what it answered.
type operation struct {
	name  string
	model func(*model) any
	store func(*balance.Store) any
}

// said is an answer that can be compared.
type said struct {
	Answer any
	Err    string
}

func answer[T any](v T, err error) any {
	if err != nil {
		var none T
		v = none
	}
	return said{v, sentinel(err)}
}

func pick[T any](t *rapid.T, label string, from ...T) T {
	return rapid.SampledFrom(from).Draw(t, label)
}

func (l *life) key(t *rapid.T) authz.Key {
	return authz.Key{Switch: "s", Direction: pick(t, "direction", authz.Outbound, authz.Inbound), CallID: pick(t, "call", "a", "b", "c")}
}

// stamp is a time by the switch's clock: none, about now, or nonsense.
func (l *life) stamp(t *rapid.T, label string) int64 {
	switch pick(t, label+" is", "none", "near", "near", "near", "nonsense") {
	case "near":
		return l.now - rapid.Int64Range(-6_000, 90_000).Draw(t, label)
	case "nonsense":
		return rapid.Int64Range(1, 2*noon).Draw(t, label)
	}
	return 0
}

func (l *life) day(t *rapid.T) int64 { return newYear + rapid.Int64Range(0, 1).Draw(t, "day") }

func (l *life) hold(t *rapid.T) *authz.Hold {
	l.uids++
	return &authz.Hold{Key: l.key(t), UID: uuid.NewSHA1(uuid.Nil, fmt.Append(nil, l.account, l.uids)), Account: l.account,
		Hash: pick(t, "input", "1", "1", "1", "1", "2"), Now: l.now, Day: l.day(t), Epoch: rapid.Int64Range(1, 3).Draw(t, "epoch"),
		Price: tariff.Price{Rate: pick[credit.Units](t, "rate", 0, 7, 60_000, 214_285), Connect: pick[credit.Units](t, "connect", 0, 0, 15_000),
			MicrosRate: 70_000, Initial: pick[int64](t, "initial", 1, 6, 30), Step: pick[int64](t, "step", 1, 6, 60), CreditPrice: 70_000},
		MinSeconds: pick[int64](t, "min", 1, 20), SliceSeconds: pick[int64](t, "slice", 1, 30, 60), ExpiresAt: l.now + 30_000,
		Limits: authz.Limits{MaxCalls: pick(t, "max calls", 0, 0, 1, 2), MaxSeconds: pick[int64](t, "max seconds", 0, 0, 25, 90),
			SpendPerDay: pick[credit.Units](t, "spend a day", 0, 0, 40_000, 150_000)},
		Flags: pick[authz.Flags](t, "flags", "", "", "u"), Deny: pick[authz.Code](t, "deny", "", "", "", "", "", authz.CodeDestinationBlocked),
		Dry: pick(t, "quote", false, false, false, true)}
}

// propose draws one operation; every input is one that some sidecar could send.
func (l *life) propose(t *rapid.T) operation {
	ctx, now := l.ctx, l.now
	limit := pick[credit.Units](t, "limit", 0, 0, 60_000)
	switch name := pick(t, "operation", "authorize", "authorize", "authorize", "answered", "answered", "extend", "extend", "settle", "settle", "settle",
		"lost", "release", "adopt", "claim", "prove", "kill", "grant", "grant", "status", "reap"); name {
	case "authorize":
		h := l.hold(t)
		return operation{name, func(m *model) any { return answer(m.authorize(h)) }, func(s *balance.Store) any { return answer(s.Authorize(ctx, h)) }}
	case "adopt":
		h := l.hold(t)
		return operation{name, func(m *model) any { return answer(m.adopt(h)) }, func(s *balance.Store) any { return answer(s.Adopt(ctx, h)) }}
	case "answered":
		a := authz.Answer{Key: l.key(t), Account: l.account, Epoch: rapid.Int64Range(1, 3).Draw(t, "epoch"), Now: now, At: l.stamp(t, "at"), Day: l.day(t),
			Cap: limit, SliceMS: 60_000}
		return operation{name, func(m *model) any { return answer(m.answered(a)) }, func(s *balance.Store) any { return answer(s.Answered(ctx, a)) }}
	case "extend":
		x := authz.Extension{Key: l.key(t), Account: l.account, Epoch: rapid.Int64Range(1, 3).Draw(t, "epoch"), Now: now, Day: l.day(t), Cap: limit,
			UntilMS: 1000 * rapid.Int64Range(1, 200).Draw(t, "until"), ProofAt: l.stamp(t, "proof")}
		return operation{name, func(m *model) any { e := m.extend(x); return answer(e, e.Err) },
			func(s *balance.Store) any { e := s.Extend(ctx, []authz.Extension{x})[0]; return answer(e, e.Err) }}
	case "settle", "lost":
		e := authz.End{Key: l.key(t), Account: l.account, Now: now, ReceivedAt: now - pick[int64](t, "kept for", 0, 0, 0, 10_000), EndedAt: l.stamp(t, "ended"),
			AnsweredAt: l.stamp(t, "answered"), Cause: "16", Day: l.day(t), Lost: name == "lost",
			ExtraMicros: credit.Micros(pick[int64](t, "extra", 0, 0, 1, 999_999)), MarkUntil: pick(t, "mark", 0, now+120_000)}
		if pick(t, "never answered", false, false, false, true) {
			e.AnsweredAt = -1
		}
		if e.Lost {
			e.ExtraMicros, e.EndedAt, e.AnsweredAt = 0, 0, 0
		}
		return operation{name, func(m *model) any { return answer(m.settle(e)) }, func(s *balance.Store) any { return answer(s.Settle(ctx, e)) }}
	case "release":
		e := authz.Release{Key: l.key(t), Account: l.account, Now: now, Reason: pick(t, "reason", "abandoned", "gone", "expired"),
			MarkUntil: pick(t, "mark", 0, now+120_000), Before: pick(t, "before", 0, now)}
		return operation{name, func(m *model) any { return answer(m.release(e)) }, func(s *balance.Store) any { return answer(s.Release(ctx, e)) }}
	case "claim":
		k, from, to := l.key(t), rapid.Int64Range(1, 3).Draw(t, "from"), rapid.Int64Range(1, 3).Draw(t, "to")
		return operation{name, func(m *model) any { return answer(m.claim(k, from, to)) }, func(s *balance.Store) any { return answer(s.Claim(ctx, l.account, k, from, to)) }}
	case "prove":
		k, at := l.key(t), now-rapid.Int64Range(0, 20_000).Draw(t, "ago")
		return operation{name, func(m *model) any { return answer(m.prove(k, at)) }, func(s *balance.Store) any { return answer(s.Prove(ctx, l.account, k, at)) }}
	case "kill":
		k := l.key(t)
		return operation{name, func(m *model) any { return answer(m.kill(k)) }, func(s *balance.Store) any { return answer(s.Kill(ctx, l.account, k)) }}
	case "grant":
		n := max(l.model.grants+rapid.Int64Range(-1, 2).Draw(t, "number"), 1)
		u := credit.Units(rapid.Int64Range(-120_000, 300_000).Draw(t, "units"))
		return operation{name, func(m *model) any { return answer(m.grant(n, u)) }, func(s *balance.Store) any { return answer(s.Grant(ctx, l.account, n, u)) }}
	case "status":
		st := pick(t, "status", authz.Active, authz.Active, authz.Suspended)
		return operation{name, func(m *model) any { m.suspended = st != authz.Active; return answer(true, nil) },
			func(s *balance.Store) any { return answer(true, s.SetStatus(ctx, l.account, st)) }}
	default:
		var keys []authz.Key
		for _, d := range []authz.Direction{authz.Outbound, authz.Inbound} {
			for _, id := range []string{"a", "b", "c"} {
				keys = append(keys, authz.Key{Switch: "s", Direction: d, CallID: id})
			}
		}
		keep := pick[int64](t, "keep", 900_000, 20_000)
		return operation{"reap", func(m *model) any { return answer(m.reap(now, keep), nil) }, func(s *balance.Store) any { return answer(s.Reap(ctx, l.account, now, keep, keys)) }}
	}
}

// do tells an operation to one of the sidecars and to the model.
func (l *life) do(t *rapid.T, op operation) {
	want := op.model(l.model)
	got := op.store(l.stores[rapid.IntRange(0, len(l.stores)-1).Draw(t, "sidecar")])
	alike := cmp.Options{cmpopts.IgnoreFields(authz.Call{}, "Account", "Detail"), cmpopts.IgnoreFields(authz.Extended{}, "Err"), cmpopts.EquateEmpty()}
	if d := cmp.Diff(want, got, alike); d != "" {
		t.Fatalf("%s (-model +store):\n%s", op.name, d)
	}
	l.sent = append(l.sent, op)
	if op.name == "reap" {
		// Nothing arrives that is older than a tombstone: requests are refused after a minute, and
		// of events the ledger is asked.
		l.sent, l.waiting = l.sent[len(l.sent)-1:], nil
	}
}

// invariants are checked after every step.
func (l *life) invariants(t *rapid.T) {
	m := l.model
	b, err := l.Balance(l.ctx, l.account)
	if err != nil {
		t.Fatal(err)
	}
	want := authz.Balance{Available: m.available, Held: m.held, Granted: m.granted, Settled: m.settled, SpentDay: m.spent, Day: m.day, Calls: m.live(),
		Seq: m.seq, GrantSeq: m.grants, Suspended: m.suspended, RejectedN: m.uncounted}
	if d := cmp.Diff(want, b); d != "" {
		t.Fatalf("books (-model +store):\n%s", d)
	}
	if b.Available+b.Held+b.Settled != b.Granted {
		t.Fatalf("available %d + held %d + settled %d is not granted %d", b.Available, b.Held, b.Settled, b.Granted)
	}
	var held credit.Units
	var live int64
	err = l.Calls(l.ctx, l.account, func(c authz.Call, err error) error {
		if c.Held < 0 || c.State.Final() && c.Held != 0 {
			err = fmt.Errorf("%s %s holds %d", c.State, c.Key, c.Held)
		}
		held += c.Held
		if c.State == authz.StateHeld || c.State == authz.StateLive {
			live++
		}
		return err
	})
	if err != nil || held != b.Held || live != b.Calls {
		t.Fatalf("%d calls hold %d, the books say %d and %d (%v)", live, held, b.Calls, b.Held, err)
	}
}

// recorded checks that the outbox is what the model wrote, and explains what was settled.
func (l *life) recorded(t *rapid.T) {
	alike := cmpopts.IgnoreFields(authz.Record{}, "Account", "Price", "MaxSeconds", "Detail")
	recs := l.records()
	if d := cmp.Diff(l.model.records, recs, alike, cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("outbox (-model +store):\n%s", d)
	}
	if sum := l.model.owed(); sum != l.model.settled {
		t.Fatalf("the outbox sums up to %d, settled are %d", sum, l.model.settled)
	}
}

// properties runs many lives. Whatever is sent, in whatever order, by whom and how
// often: the store does what the model does, and its books balance.
func properties(t *testing.T, b backend) {
	r := newRig(t, b, cfg)
	stores := []*balance.Store{r.Store}
	for range 2 {
		stores = append(stores, b.store(t, cfg))
	}
	rapid.Check(t, func(rt *rapid.T) {
		mine := *r
		mine.account = fmt.Sprintf("life-%d", rigs.Add(1))
		l := &life{rig: &mine, stores: stores, now: noon, model: &model{calls: map[authz.Key]*authz.Call{}, day: newYear}}
		r.must(l.OpenAccount(l.ctx, l.account, authz.Active, newYear))
		first := operation{"grant", func(m *model) any { return answer(m.grant(1, 5*minute)) },
			func(s *balance.Store) any { return answer(s.Grant(l.ctx, l.account, 1, 5*minute)) }}
		l.do(rt, first)
		rt.Repeat(map[string]func(*rapid.T){
			"":     l.invariants,
			"send": func(t *rapid.T) { l.do(t, l.propose(t)) },
			"delay": func(t *rapid.T) {
				l.waiting = append(l.waiting, l.propose(t))
			},
			"deliver": func(t *rapid.T) {
				if len(l.waiting) == 0 {
					t.Skip("nothing is waiting")
				}
				i := rapid.IntRange(0, len(l.waiting)-1).Draw(t, "which")
				op := l.waiting[i]
				l.waiting = append(l.waiting[:i:i], l.waiting[i+1:]...)
				l.do(t, op)
			},
			"repeat": func(t *rapid.T) { l.do(t, rapid.SampledFrom(l.sent).Draw(t, "again")) },
			"pass":   func(t *rapid.T) { l.now += rapid.Int64Range(1, 40_000).Draw(t, "ms") },
		})
		l.recorded(rt)
	})
}

func TestPropertiesRedis(t *testing.T)     { t.Parallel(); properties(t, onRedis(t)) }
func TestPropertiesMiniredis(t *testing.T) { t.Parallel(); properties(t, onMiniredis(t)) }
