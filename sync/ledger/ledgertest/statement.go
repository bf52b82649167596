package ledgertest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

func sortNewest(records []authz.Record) { slices.SortFunc(records, newestFirst) }

// statement reads a statement and fails the test unless it adds up.
func statement(t fataler, l *ledger.Ledger, account string, from, to time.Time) []ledger.Line {
	t.Helper()
	var lines []ledger.Line
	err := l.Statement(context.Background(), account, from, to, func(line ledger.Line) error {
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	last := len(lines) - 1
	if last < 1 || lines[0].Kind != ledger.LineOpening || lines[last].Kind != ledger.LineClosing || lines[0].Units != 0 || lines[last].Units != 0 {
		t.Fatalf("statement is %+v", lines)
	}
	for i := 1; i < len(lines); i++ {
		if lines[i].Balance != lines[i-1].Balance+lines[i].Units || lines[i].At.Before(lines[i-1].At) {
			t.Fatalf("line %d of the statement does not follow: %+v", i, lines[i-1:i+1])
		}
	}
	return lines
}

func testStatement(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	grant := func(units credit.Units, reference string, at time.Time) authz.Grant {
		g, _, err := l.AddGrant(ctx, authz.Grant{Account: a, Units: units, Kind: ledger.KindAdjustment, Reference: reference, At: at})
		must(t, err)
		return g
	}
	grant(1_000_000, "before", noon.Add(-48*time.Hour))
	early, first, second := call(a, noon.Add(-25*time.Hour), 60), call(a, noon, 84), call(a, noon.Add(time.Hour), 30)
	second.State, second.ExtraUnits = authz.StateLost, 500
	ingest(t, l, early, first, second, free(call(a, noon, 0), authz.StateReleased))
	between := grant(-40_000, "correction", noon) // at the very hangup: before the call
	last := grant(7, "after all", noon.Add(90*time.Minute))
	grant(8, "too late", noon.Add(2*time.Hour))

	lines := statement(t, l, a, noon.Add(-24*time.Hour), noon.Add(2*time.Hour))
	equal(t, "lines", len(lines), 6)
	equal(t, "opening balance", lines[0].Balance, 940_000)
	equal(t, "opening time", lines[0].At, noon.Add(-24*time.Hour))
	diff(t, "first line", *lines[1].Grant, between)
	equal(t, "second line", lines[2].Units, -84_000)
	diff(t, "second line", lines[2].Call.Record, first)
	equal(t, "third line", lines[3].Units, -30_500)
	diff(t, "fourth line", *lines[4].Grant, last)
	equal(t, "closing balance", lines[5].Balance, 785_507)

	all := statement(t, l, a, time.Time{}, time.Time{})
	equal(t, "first opening balance", all[0].Balance, 0)
	balance := totals(t, l, a)
	equal(t, "last closing balance", all[len(all)-1].Balance, balance.Balance())

	err := l.Statement(ctx, "nobody", noon, noon, func(ledger.Line) error { return nil })
	want(t, err, ledger.ErrNotFound)
	stop := errors.New("reader is gone")
	want(t, l.Statement(ctx, a, noon, noon.Add(time.Hour), func(ledger.Line) error { return stop }), stop)
}

// Consecutive statements join without a gap and end at the balance, also when retention has dropped calls between.
func testStatementProperty(t *testing.T, l *ledger.Ledger) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		a := account(t, l)
		uids := newUIDs(10)
		var batch []authz.Record
		for range rapid.IntRange(0, 12).Draw(t, "records") {
			batch = append(batch, drawRecord(t, a, uids))
		}
		ingest(t, l, batch...)
		for i := range rapid.IntRange(0, 4).Draw(t, "grants") {
			g := authz.Grant{Account: a, Units: 1 + credit.Units(rapid.Int64Range(0, 1000).Draw(t, "units")), Kind: ledger.KindBonus,
				Reference: string(rune('a' + i)), At: noon.Add(time.Duration(rapid.IntRange(0, 4*3600).Draw(t, "at")) * time.Second)}
			if _, _, err := l.AddGrant(ctx, g); err != nil {
				t.Fatalf("%v", err)
			}
		}
		if drop := rapid.IntRange(-1, 4).Draw(t, "drop"); drop >= 0 {
			if _, err := l.DropCalls(ctx, noon.Add(time.Duration(drop)*time.Hour), 3); err != nil {
				t.Fatalf("%v", err)
			}
		}
		cuts := []int{0, 5 * 3600}
		for range 3 {
			cuts = append(cuts, rapid.IntRange(0, 5*3600).Draw(t, "cut"))
		}
		slices.Sort(cuts)
		var balance credit.Units
		for i := range len(cuts) - 1 {
			lines := statement(t, l, a, noon.Add(time.Duration(cuts[i])*time.Second), noon.Add(time.Duration(cuts[i+1])*time.Second))
			if lines[0].Balance != balance {
				t.Fatalf("a statement opens with %d, the one before closed with %d", lines[0].Balance, balance)
			}
			balance = lines[len(lines)-1].Balance
		}
		if sum := totals(t, l, a); balance != sum.Balance() {
			t.Fatalf("the last statement closes with %d, the balance is %d", balance, sum.Balance())
		}
		if _, err := l.DropCalls(ctx, noon.Add(24*time.Hour), 100); err != nil { // or the next check would look here too
			t.Fatalf("%v", err)
		}
	})
}
