package ledgertest

import (
	_ "embed"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// outboxText writes a record as the balance store's scripts do (see authz.ParseRecord).
func outboxText(r *authz.Record) []byte {
	c := authz.Call{UID: r.UID, CreatedAt: r.CreatedAt, ExpiresAt: r.CreatedAt, Price: r.Price, MaxSeconds: r.MaxSeconds, Detail: r.Detail}
	head := fmt.Sprintf("%c\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%d\t%s\t%s\t", byte(r.State), r.Seq, r.At, r.AnsweredAt, r.TalkMS,
		r.Units, r.Micros, r.ExtraUnits, r.ExtraMicros, r.Overrun, r.Flags, r.Reason, r.Epoch, r.Account, r.Key)
	return c.AppendTail([]byte(head))
}

func testRefused(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	r := call("acct-late", noon, 60)
	text := outboxText(&r)
	garbage := []byte("not a record\x00\xff")
	must(t, l.SetAside(ctx, ledger.RefusedRecord{Raw: text, Reason: "the ledger has no such account"}, ledger.RefusedRecord{Raw: garbage, Reason: "bad\x00\xffreason"}))
	must(t, l.SetAside(ctx, ledger.RefusedRecord{Raw: text, Reason: "still no such account"}))
	must(t, l.SetAside(ctx))

	page, total, err := l.RefusedRecords(ctx, 0, 10)
	must(t, err)
	equal(t, "refused", total, 2)
	var late, junk ledger.RefusedRecord
	for _, kept := range page {
		if string(kept.Raw) == string(text) {
			late = kept
		} else {
			junk = kept
		}
	}
	if late.Count != 2 || late.Reason != "still no such account" || late.FirstSeen.IsZero() || late.LastSeen.Before(late.FirstSeen) {
		t.Errorf("kept is %+v", late)
	}
	if string(junk.Raw) != string(garbage) || junk.Count != 1 || !strings.HasPrefix(junk.Reason, "bad") {
		t.Errorf("kept is %+v", junk)
	}
	page, _, err = l.RefusedRecords(ctx, page[0].ID, 10)
	must(t, err)
	equal(t, "refused after the first", len(page), 1)

	for _, id := range []int64{late.ID, junk.ID} {
		_, err = l.RetryRefused(ctx, id)
		want(t, err, ledger.ErrRefused)
	}
	_, _, err = l.CreateAccount(ctx, exampleAccount("acct-late"))
	must(t, err)
	result, err := l.RetryRefused(ctx, late.ID)
	must(t, err)
	if result.Outcome != ledger.Inserted || result.UID != r.UID {
		t.Errorf("retried: %+v", result)
	}
	c, err := l.Call(ctx, r.UID)
	must(t, err)
	diff(t, "call", c.Record, r)
	equal(t, "settled", totals(t, l, "acct-late").Settled, 60_000)
	_, err = l.RetryRefused(ctx, late.ID)
	want(t, err, ledger.ErrNotFound)

	must(t, l.DiscardRefused(ctx, junk.ID))
	want(t, l.DiscardRefused(ctx, junk.ID), ledger.ErrNotFound)
	_, err = l.RefusedRecord(ctx, junk.ID)
	want(t, err, ledger.ErrNotFound)
	_, total, err = l.RefusedRecords(ctx, 0, 10)
	must(t, err)
	equal(t, "refused in the end", total, 0)
}

func testDropCalls(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a, b := account(t, l), account(t, l)
	var old []authz.Record
	for i := range 7 {
		old = append(old, call(a, noon.Add(time.Duration(i-60)*time.Minute), 60)) // all within the hour before noon
	}
	lost := call(a, noon.Add(-3*time.Hour), 30)
	lost.State = authz.StateLost
	old = append(old, lost, free(call(a, noon.Add(-2*time.Hour), 0), authz.StateReleased), free(call(a, noon.Add(-2*time.Hour), 0), authz.StateRejected))
	fresh := call(a, noon, 10)
	ingest(t, l, append(old, fresh, call(b, noon.Add(-time.Hour), 5))...)
	before := totals(t, l, a)
	day, err := l.Sum(ctx, a, noon.Add(-24*time.Hour), noon.Add(24*time.Hour))
	must(t, err)

	n, err := l.DropCalls(ctx, noon.Add(59*time.Minute), 3) // rounded down to noon
	must(t, err)
	equal(t, "dropped", n, 11)
	after := totals(t, l, a)
	equal(t, "settled", after.Settled, before.Settled)
	equal(t, "seq", after.Seq, before.Seq)
	equal(t, "counts", after.Calls, ledger.Counts{Settled: 1})
	equal(t, "dropped units", after.DroppedUnits, 7*60_000+30_000)
	equal(t, "dropped calls", after.DroppedCalls, 10)
	equal(t, "kept from", after.KeptFrom, noon)
	same, err := l.Sum(ctx, a, noon.Add(-24*time.Hour), noon.Add(24*time.Hour))
	must(t, err)
	equal(t, "sum of the day", same, day)

	// Ranges that cut a dropped hour neither lose nor double it.
	cut := noon.Add(-30 * time.Minute)
	head, err := l.Sum(ctx, a, noon.Add(-24*time.Hour), cut)
	must(t, err)
	tail, err := l.Sum(ctx, a, cut, noon.Add(24*time.Hour))
	must(t, err)
	equal(t, "calls of both parts", head.Calls+tail.Calls, day.Calls)

	// The ledger cannot know whether an old record is new.
	equal(t, "outcome", ingest(t, l, old[0])[0], ledger.Refused)
	equal(t, "settled", totals(t, l, a).Settled, before.Settled)
	equal(t, "outcome of a kept one", ingest(t, l, fresh)[0], ledger.Duplicate)

	lines := statement(t, l, a, noon.Add(-24*time.Hour), noon.Add(24*time.Hour))
	var kinds []ledger.LineKind
	for _, line := range lines {
		kinds = append(kinds, line.Kind)
	}
	diff(t, "statement", kinds, []ledger.LineKind{ledger.LineOpening, ledger.LineHour, ledger.LineHour, ledger.LineCall, ledger.LineClosing})
	equal(t, "calls of a dropped hour", lines[2].Hour.Calls, 7)

	n, err = l.DropCalls(ctx, noon.Add(-time.Hour), 3)
	must(t, err)
	equal(t, "dropped of what is dropped", n, 0)
	equal(t, "kept from", totals(t, l, a).KeptFrom, noon)
	n, err = l.DropCalls(ctx, noon.Add(2*time.Hour), 0)
	must(t, err)
	equal(t, "dropped at last", n, 1)
	equal(t, "balance", totals(t, l, a).Settled, before.Settled)
}

func testMaskCalls(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	var old []authz.Record
	for range 7 { // one millisecond, more than a batch
		old = append(old, call(a, noon, 60))
	}
	short := call(a, noon.Add(time.Second), 60)
	short.Detail.To, short.Detail.ToRaw = "112", ""
	fresh := call(a, noon.Add(time.Hour), 60)
	ingest(t, l, append(old, short, fresh)...)
	before := totals(t, l, a)

	n, err := l.MaskCalls(ctx, noon.Add(time.Minute), 3)
	must(t, err)
	equal(t, "masked", n, 8)
	for _, r := range append(old, short) {
		c, err := l.Call(ctx, r.UID)
		must(t, err)
		equal(t, "from", c.Detail.From, "+3185083****")
		equal(t, "from_raw", c.Detail.FromRaw, "085083****")
		if r.UID == short.UID {
			equal(t, "to", c.Detail.To, "***")
			equal(t, "to_raw", c.Detail.ToRaw, "")
		}
		c.Detail = r.Detail
		diff(t, "the rest of a masked call", c.Record, r)
	}
	c, err := l.Call(ctx, fresh.UID)
	must(t, err)
	diff(t, "a newer call", c.Record, fresh)
	after := totals(t, l, a)
	equal(t, "masked before", after.MaskedBefore, noon.Add(time.Minute))
	after.MaskedBefore = time.Time{}
	equal(t, "totals", after, before)

	late := call(a, noon, 1)
	ingest(t, l, late)
	c, err = l.Call(ctx, late.UID)
	must(t, err)
	equal(t, "from of a late one", c.Detail.From, "+3185083****")

	n, err = l.MaskCalls(ctx, noon, 3)
	must(t, err)
	equal(t, "masked again", n, 0)
	n, err = l.MaskCalls(ctx, noon.Add(2*time.Hour), 1000)
	must(t, err)
	equal(t, "masked later", n, 1)
}

//go:embed scripts/spoil.sql
var spoil string

func testCheck(t *testing.T, db Database) {
	l := db.Ledger
	a := account(t, l)
	_, _, err := l.AddGrant(t.Context(), authz.Grant{Account: a, Units: 100, Kind: ledger.KindBonus, Reference: "r"})
	must(t, err)
	ingest(t, l, call(a, noon, 60))
	sound(t, l, a)
	db.Exec(t, spoil)
	wrong, err := l.Check(t.Context(), a)
	must(t, err)
	diff(t, "mismatches", wrong, []ledger.Mismatch{
		{Account: a, Field: "grants", Kept: 3, Found: 1},
		{Account: a, Field: "last grant", Kept: 3, Found: 1},
		{Account: a, Field: "granted_units", Kept: 100, Found: 90},
		{Account: a, Field: "settled_units", Kept: 60_001, Found: 60_000},
		{Account: a, Field: "seq", Kept: 0, Found: 1},
		{Account: a, Field: "rejected", Kept: 2, Found: 0},
		{Account: a, Field: "lost", Hour: noon, Kept: 4, Found: 0},
		{Account: a, Field: "seconds", Hour: noon, Kept: 59, Found: 60},
	})
	_, err = l.Check(t.Context(), "nobody")
	want(t, err, ledger.ErrNotFound)
}
