package ledgertest

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// model is what a ledger must say, computed the plain way.
type model struct {
	calls map[uuid.UUID]authz.Record
	seq   int64
}

func (m *model) take(r authz.Record) ledger.Outcome {
	m.seq = max(m.seq, r.Seq)
	was, known := m.calls[r.UID]
	if known && was.State.Rank() >= r.State.Rank() {
		return ledger.Duplicate
	}
	m.calls[r.UID] = r
	if known {
		return ledger.Replaced
	}
	return ledger.Inserted
}

func (m *model) settled() (units credit.Units) {
	for _, r := range m.calls {
		units += r.Charged()
	}
	return units
}

// usage is the model's answer to Usage, newest first.
func (m *model) usage(from, to time.Time) (page []authz.Record, sum ledger.Sum) {
	for _, r := range m.calls {
		at := time.UnixMilli(r.At)
		if (r.State != authz.StateSettled && r.State != authz.StateLost) || at.Before(from) || !at.Before(to) {
			continue
		}
		page = append(page, r)
		sum.Calls++
		sum.Seconds += r.DurationSeconds()
		sum.Units += r.Units
		sum.Micros += r.Micros
		sum.ExtraUnits += r.ExtraUnits
		sum.ExtraMicros += r.ExtraMicros
	}
	slices.SortFunc(page, newestFirst)
	return page, sum
}

func newestFirst(a, b authz.Record) int {
	if a.At != b.At {
		return int(b.At - a.At)
	}
	return slices.Compare(b.UID[:], a.UID[:])
}

// drawRecord makes any record of one of a few calls that end within four hours.
func drawRecord(t *rapid.T, account string, uids []uuid.UUID) authz.Record {
	i := rapid.IntRange(0, len(uids)-1).Draw(t, "call")
	r := call(account, noon.Add(time.Duration(rapid.IntRange(0, 4*3600*1000).Draw(t, "ms"))*time.Millisecond), 0)
	r.UID = uids[i]
	r.Key.CallID = uids[i].String()
	r.Seq = rapid.Int64Range(0, 1000).Draw(t, "seq")
	state := rapid.SampledFrom([]authz.State{authz.StateSettled, authz.StateLost, authz.StateReleased, authz.StateRejected}).Draw(t, "state")
	if state == authz.StateReleased || state == authz.StateRejected {
		return free(r, state)
	}
	r.State = state
	r.TalkMS = rapid.Int64Range(0, 100_000).Draw(t, "talk")
	r.Units = credit.Units(rapid.Int64Range(0, 100_000).Draw(t, "units"))
	r.Micros = credit.Micros(rapid.Int64Range(0, 100_000).Draw(t, "micros"))
	r.ExtraUnits = credit.Units(rapid.Int64Range(0, 10).Draw(t, "extra_units"))
	r.ExtraMicros = credit.Micros(rapid.Int64Range(0, 10).Draw(t, "extra_micros"))
	return r
}

func newUIDs(n int) []uuid.UUID {
	uids := make([]uuid.UUID, n)
	for i := range uids {
		uids[i] = uuid.Must(uuid.NewV7())
	}
	return uids
}

// Random records, with repetitions, rises in rank and any order, in random batches: results, sums and answers are the
// model's.
func testIngestModel(t *testing.T, l *ledger.Ledger) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		a := account(t, l)
		m := model{calls: make(map[uuid.UUID]authz.Record)}
		uids := newUIDs(6)
		var sent []authz.Record
		for range rapid.IntRange(1, 5).Draw(t, "batches") {
			var batch []authz.Record
			var expected []ledger.Outcome
			for range rapid.IntRange(1, 8).Draw(t, "size") {
				var r authz.Record
				if len(sent) > 0 && rapid.IntRange(0, 3).Draw(t, "repeat") == 0 {
					r = rapid.SampledFrom(sent).Draw(t, "which")
				} else {
					r = drawRecord(t, a, uids)
				}
				sent, batch = append(sent, r), append(batch, r)
				expected = append(expected, m.take(r))
			}
			if got := ingest(t, l, batch...); !slices.Equal(got, expected) {
				t.Fatalf("outcomes are %v, want %v", got, expected)
			}
		}
		sum := totals(t, l, a)
		if sum.Settled != m.settled() || sum.Seq != m.seq || sum.Calls.Of() != int64(len(m.calls)) {
			t.Fatalf("totals are %+v, want settled %d, seq %d, %d calls", sum, m.settled(), m.seq, len(m.calls))
		}
		from := noon.Add(time.Duration(rapid.IntRange(-3600, 4*3600).Draw(t, "from")) * time.Second)
		to := from.Add(time.Duration(rapid.IntRange(0, 5*3600*1000).Draw(t, "length")) * time.Millisecond)
		page, used, err := l.Usage(ctx, a, from, to, 100, 0)
		if err != nil {
			t.Fatalf("%v", err)
		}
		wantPage, wantUsed := m.usage(from, to)
		if used != wantUsed {
			t.Fatalf("usage from %v to %v is %+v, want %+v", from, to, used, wantUsed)
		}
		if d := cmp.Diff(wantPage, records(page)); d != "" {
			t.Fatalf("page (-want +got):\n%s", d)
		}
	})
}

func records(calls []ledger.Call) []authz.Record {
	var out []authz.Record
	for _, c := range calls {
		out = append(out, c.Record)
	}
	return out
}

// Several readers deliver the same records in different orders and batches at once, for accounts they share.
func testIngestRace(t *testing.T, l *ledger.Ledger) {
	const workers, calls = 4, 60
	accounts := []string{account(t, l), account(t, l), account(t, l)}
	want := make(map[string]*model)
	for _, a := range accounts {
		want[a] = &model{calls: make(map[uuid.UUID]authz.Record)}
	}
	var all []authz.Record
	for i := range calls {
		r := call(accounts[i%len(accounts)], noon.Add(time.Duration(i)*time.Minute), int64(i))
		lost := r
		lost.State, lost.Units = authz.StateLost, r.Units/2
		all = append(all, r, lost, free(r, authz.StateReleased), free(r, authz.StateRejected))
	}
	for _, r := range all {
		want[r.Account].take(r)
	}

	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(w)))
			mine := slices.Clone(all)
			random.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
			for len(mine) > 0 {
				n := min(1+random.IntN(40), len(mine))
				if _, err := l.Ingest(context.Background(), mine[:n]); err != nil {
					t.Error(err)
				}
				mine = mine[n:]
			}
		})
	}
	wg.Wait()
	for a, m := range want {
		sum := totals(t, l, a)
		equal(t, "settled", sum.Settled, m.settled())
		equal(t, "calls", sum.Calls, ledger.Counts{Settled: int64(len(m.calls))})
	}
}
