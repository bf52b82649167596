package ledgertest

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

func testIngest(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	if got, err := l.Ingest(ctx, nil); err != nil || len(got) != 0 {
		t.Errorf("no records: %v, %v", got, err)
	}

	r := call(a, noon, 84)
	r.Seq, r.ExtraUnits, r.ExtraMicros, r.Overrun = 5, 10, 20, 3
	equal(t, "outcome", ingest(t, l, r)[0], ledger.Inserted)
	equal(t, "outcome again", ingest(t, l, r)[0], ledger.Duplicate)
	c, err := l.Call(ctx, r.UID)
	must(t, err)
	diff(t, "call", c.Record, r)
	if c.RecordedAt.IsZero() || c.RecordedAt.Location() != time.UTC {
		t.Errorf("recorded at %v", c.RecordedAt)
	}
	sum := totals(t, l, a)
	equal(t, "settled", sum.Settled, 84_010)
	equal(t, "balance", sum.Balance(), -84_010)
	equal(t, "seq", sum.Seq, 5)
	equal(t, "counts", sum.Calls, ledger.Counts{Settled: 1})

	// Each rank replaces those below, and the difference is charged once.
	rise := call(a, noon, 60)
	lost := rise
	lost.State, lost.Units, lost.TalkMS, lost.Seq, lost.At = authz.StateLost, 30_000, 30_000, 8, noon.Add(-2*time.Hour).UnixMilli()
	released, rejected := free(rise, authz.StateReleased), free(rise, authz.StateRejected)
	rise.Seq = 9
	for _, step := range []struct {
		record  authz.Record
		outcome ledger.Outcome
		settled credit.Units
		counts  ledger.Counts
	}{
		{rejected, ledger.Inserted, 84_010, ledger.Counts{Settled: 1, Rejected: 1}},
		{released, ledger.Replaced, 84_010, ledger.Counts{Settled: 1, Released: 1}},
		{rejected, ledger.Duplicate, 84_010, ledger.Counts{Settled: 1, Released: 1}},
		{lost, ledger.Replaced, 114_010, ledger.Counts{Settled: 1, Lost: 1}},
		{released, ledger.Duplicate, 114_010, ledger.Counts{Settled: 1, Lost: 1}},
		{rise, ledger.Replaced, 144_010, ledger.Counts{Settled: 2}},
		{lost, ledger.Duplicate, 144_010, ledger.Counts{Settled: 2}},
		{rise, ledger.Duplicate, 144_010, ledger.Counts{Settled: 2}},
	} {
		equal(t, "outcome of "+step.record.State.String(), ingest(t, l, step.record)[0], step.outcome)
		sum := totals(t, l, a)
		equal(t, "settled after "+step.record.State.String(), sum.Settled, step.settled)
		equal(t, "counts after "+step.record.State.String(), sum.Calls, step.counts)
	}
	c, err = l.Call(ctx, rise.UID)
	must(t, err)
	diff(t, "risen call", c.Record, rise)
	equal(t, "seq", totals(t, l, a).Seq, 9)

	// The same in one batch, for two accounts, with a repetition.
	b := account(t, l)
	x, y := call(a, noon, 10), call(b, noon, 20)
	got := ingest(t, l, free(y, authz.StateReleased), x, y, x, free(x, authz.StateRejected))
	diff(t, "batch", got, []ledger.Outcome{ledger.Inserted, ledger.Inserted, ledger.Replaced, ledger.Duplicate, ledger.Duplicate})
	equal(t, "settled of a", totals(t, l, a).Settled, 154_010)
	equal(t, "settled of b", totals(t, l, b).Settled, 20_000)

	// A repetition may be the first to tell of a seq.
	x.Seq = 77
	equal(t, "outcome", ingest(t, l, x)[0], ledger.Duplicate)
	equal(t, "seq", totals(t, l, a).Seq, 77)

	// Never answered, and of no known number.
	bare := authz.Record{State: authz.StateRejected, Account: a, UID: uuid.New(), Key: authz.Key{Switch: "s", Direction: authz.Inbound, CallID: "c"},
		At: noon.UnixMilli(), CreatedAt: noon.UnixMilli()}
	equal(t, "outcome", ingest(t, l, bare)[0], ledger.Inserted)
	c, err = l.Call(ctx, bare.UID)
	must(t, err)
	diff(t, "bare call", c.Record, bare)
}

func testIngestRefuses(t *testing.T, l *ledger.Ledger) {
	a, b := account(t, l), account(t, l)
	first := call(a, noon, 60)
	ingest(t, l, first)
	for name, spoil := range map[string]func(*authz.Record){
		"no such account":            func(r *authz.Record) { r.Account = "nobody" },
		"account is missing":         func(r *authz.Record) { r.Account = "" },
		"uid is missing":             func(r *authz.Record) { r.UID = uuid.Nil },
		"is not final":               func(r *authz.Record) { r.State = authz.StateLive },
		"direction is missing":       func(r *authz.Record) { r.Key.Direction = 0 },
		"call_id is missing":         func(r *authz.Record) { r.Key.CallID = "" },
		"switch is missing":          func(r *authz.Record) { r.Key.Switch = "" },
		"call_id length":             func(r *authz.Record) { r.Key.CallID = strings.Repeat("x", 1000) },
		"at is 0":                    func(r *authz.Record) { r.At = 0 },
		"at is 9223372036854775807":  func(r *authz.Record) { r.At = math.MaxInt64 },
		"created_at is -1":           func(r *authz.Record) { r.CreatedAt = -1 },
		"answered_at is 1":           func(r *authz.Record) { r.AnsweredAt = 1 },
		"seq is -1":                  func(r *authz.Record) { r.Seq = -1 },
		"talk_ms is -1":              func(r *authz.Record) { r.TalkMS = -1 },
		"units is -1":                func(r *authz.Record) { r.Units = -1 },
		"micros is 9007199254740992": func(r *authz.Record) { r.Micros = credit.Max + 1 },
		"extra_units is -5":          func(r *authz.Record) { r.ExtraUnits = -5 },
		"extra_micros is -5":         func(r *authz.Record) { r.ExtraMicros = -5 },
		"released call costs":        func(r *authz.Record) { r.State = authz.StateReleased },
		"reason has a NUL":           func(r *authz.Record) { r.Reason = "\x00" },
		"from is not UTF-8":          func(r *authz.Record) { r.Detail.From = "\xc3" },
		"mode has 5000 bytes":        func(r *authz.Record) { r.Detail.Mode = strings.Repeat("m", 5000) },
		"is that of call sw1:outbound:" + first.Key.CallID: func(r *authz.Record) { r.UID, r.Account = first.UID, b },
		"uid is that of call":                              func(r *authz.Record) { r.UID = first.UID },
	} {
		bad := call(a, noon, 60)
		spoil(&bad)
		good := call(b, noon, 1)
		results, err := l.Ingest(t.Context(), []authz.Record{bad, good})
		must(t, err)
		var refused *ledger.RefusedError
		if results[0].Outcome != ledger.Refused || !errors.As(results[0].Err, &refused) || !errors.Is(results[0].Err, ledger.ErrRefused) ||
			!strings.Contains(refused.Error(), name) || refused.Account != bad.Account || refused.UID != bad.UID {
			t.Errorf("%s: %+v", name, results[0])
		}
		equal(t, name+": the other one", results[1].Outcome, ledger.Inserted)
	}
	equal(t, "settled of a", totals(t, l, a).Settled, 60_000)
	c, err := l.Call(t.Context(), first.UID)
	must(t, err)
	diff(t, "first call", c.Record, first)
}

// A value that only the database refuses (here: sums beyond 2^53) is found by halving and keeps nobody back.
func testIngestIsolates(t *testing.T, l *ledger.Ledger) {
	a, b := account(t, l), account(t, l)
	full := call(a, noon, 60)
	full.Units = credit.Max
	ingest(t, l, full)

	var batch []authz.Record
	for i := range 11 {
		of := b
		if i%4 == 2 {
			of = a
		}
		batch = append(batch, call(of, noon, 60))
	}
	for i, outcome := range ingest(t, l, batch...) {
		want := ledger.Inserted
		if i%4 == 2 {
			want = ledger.Refused
		}
		equal(t, "outcome", outcome, want)
	}
	equal(t, "settled of a", totals(t, l, a).Settled, credit.Max)
	equal(t, "settled of b", totals(t, l, b).Settled, 8*60_000)
}

func testIngestThen(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	known := call(a, noon, 30)
	ingest(t, l, free(known, authz.StateReleased))
	fresh, doubled := call(a, noon, 60), call(a, noon, 10)
	ingest(t, l, doubled)
	batch := []authz.Record{known, doubled, free(fresh, authz.StateRejected), fresh}

	// A failure undoes the calls; ErrInvalid of a Then is not a record's.
	for _, failure := range []error{errors.New("no delivery"), ledger.ErrInvalid} {
		_, err := l.Ingest(ctx, batch, func(context.Context, *ledger.Tx, []ledger.Change) error { return failure })
		want(t, err, failure)
		equal(t, "settled", totals(t, l, a).Settled, 10_000)
	}

	var changes []ledger.Change
	results, err := l.Ingest(ctx, batch, func(ctx context.Context, tx *ledger.Tx, c []ledger.Change) error {
		changes = c
		during, err := tx.Totals(ctx, a)
		if err != nil {
			return err
		}
		equal(t, "settled within", during.Settled, 100_000)
		_, _, err = tx.AddGrant(ctx, authz.Grant{Account: a, Units: 7, Kind: ledger.KindBonus, Reference: "cashback:" + known.UID.String()})
		return err
	})
	must(t, err)
	equal(t, "results", len(results), 4)
	diff(t, "changes", changes, []ledger.Change{
		{Record: known, Was: authz.StateReleased, Delta: 30_000},
		{Record: fresh, Was: authz.StateNone, Delta: 60_000},
	})
	equal(t, "granted", totals(t, l, a).Granted, 7)

	_, err = l.Ingest(ctx, batch, func(context.Context, *ledger.Tx, []ledger.Change) error {
		t.Error("there is nothing to do for duplicates")
		return nil
	})
	must(t, err)
}
