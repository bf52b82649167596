package ledgertest

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

func testCallLookUp(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a, b := account(t, l), account(t, l)
	// One SIP Call-ID: outbound of a, inbound of b, and used again by a.
	out, in, again := call(a, noon, 60), call(b, noon, 60), call(a, noon.AddDate(0, 0, 1), 30)
	in.Key.Direction = authz.Inbound
	out.Key.CallID, in.Key.CallID, again.Key.CallID = "same", "same", "same"
	out.Seq, again.Seq = 3, 2
	ingest(t, l, out, in, again)

	got, err := l.CallByKey(ctx, out.Key)
	must(t, err)
	diff(t, "by key: the newest", got.Record, again)
	got, err = l.CallByKey(ctx, in.Key)
	must(t, err)
	diff(t, "by key: the other leg", got.Record, in)
	_, err = l.CallByKey(ctx, authz.Key{Switch: "sw2", Direction: authz.Outbound, CallID: "same"})
	want(t, err, ledger.ErrNotFound)
	found, err := l.CallsByID(ctx, "same")
	must(t, err)
	equal(t, "calls of one id", len(found), 3)
	diff(t, "newest of one id", found[0].Record, again)
	_, err = l.Call(ctx, uuid.New())
	want(t, err, ledger.ErrNotFound)

	known, err := l.KnownCalls(ctx, []uuid.UUID{in.UID, uuid.New(), out.UID, in.UID})
	must(t, err)
	diff(t, "known calls", known, map[uuid.UUID]authz.State{in.UID: authz.StateSettled, out.UID: authz.StateSettled})
	known, err = l.KnownCalls(ctx, nil)
	must(t, err)
	equal(t, "known of none", len(known), 0)

	after, err := l.CallsAfterSeq(ctx, a, 2, 10)
	must(t, err)
	diff(t, "after seq 2", records(after), []authz.Record{out})
	after, err = l.CallsAfterSeq(ctx, a, 0, 1)
	must(t, err)
	diff(t, "first after seq 0", records(after), []authz.Record{again})
}

func testUsage(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	ingest(t, l, call(account(t, l), noon, 1000)) // somebody else's
	var calls []authz.Record
	for i := range 5 {
		r := call(a, noon.AddDate(0, 0, i), 84)
		if i == 2 {
			r.State = authz.StateLost
		}
		calls = append(calls, r)
	}
	ingest(t, l, calls...)
	ingest(t, l, free(call(a, noon, 0), authz.StateReleased), free(call(a, noon, 0), authz.StateRejected))

	page, sum, err := l.Usage(ctx, a, noon.AddDate(0, 0, 1), noon.AddDate(0, 0, 4), 2, 0)
	must(t, err)
	diff(t, "first page", records(page), []authz.Record{calls[3], calls[2]})
	equal(t, "sum", sum, ledger.Sum{Calls: 3, Seconds: 3 * 84, Units: 3 * 84_000, Micros: 3 * 98_000})
	equal(t, "cost", sum.Cost(), 294_000)
	page, again, err := l.Usage(ctx, a, noon.AddDate(0, 0, 1), noon.AddDate(0, 0, 4), 2, 2)
	must(t, err)
	diff(t, "second page", records(page), []authz.Record{calls[1]})
	equal(t, "sum with the second page", again, sum)

	page, sum, err = l.Usage(ctx, a, time.Time{}, time.Time{}, 100, 0)
	must(t, err)
	equal(t, "without limits", len(page), 5)
	equal(t, "sum without limits", sum.Seconds, 5*84)
	page, sum, err = l.Usage(ctx, a, noon.AddDate(0, 0, 4), noon, 100, 0)
	must(t, err)
	if len(page) != 0 || sum != (ledger.Sum{}) {
		t.Errorf("end before start: %v, %+v", page, sum)
	}
	page, sum, err = l.Usage(ctx, account(t, l), noon, noon.AddDate(1, 0, 0), 100, 0)
	must(t, err)
	if len(page) != 0 || sum != (ledger.Sum{}) {
		t.Errorf("no calls: %v, %+v", page, sum)
	}
	_, _, err = l.Usage(ctx, "nobody", noon, noon, 1, 0)
	want(t, err, ledger.ErrNotFound)
	_, err = l.Sum(ctx, "nobody", noon, noon)
	want(t, err, ledger.ErrNotFound)
}

// Any range is exact to the millisecond, whatever hours it cuts.
func testUsageEdges(t *testing.T, l *ledger.Ledger) {
	a := account(t, l)
	const ms = time.Millisecond
	ends := []time.Time{noon.Add(-ms), noon, noon.Add(ms), noon.Add(30 * time.Minute), noon.Add(time.Hour - ms), noon.Add(time.Hour), noon.Add(3 * time.Hour)}
	for _, at := range ends {
		ingest(t, l, call(a, at, 1))
	}
	edges := append(ends, noon.Add(-time.Hour), noon.Add(90*time.Minute), noon.Add(4*time.Hour), noon.Add(ms/2), noon.Add(time.Hour-ms/2))
	for _, from := range edges {
		for _, to := range edges {
			var want int64
			for _, at := range ends {
				if !at.Before(from) && at.Before(to) {
					want++
				}
			}
			sum, err := l.Sum(t.Context(), a, from, to)
			if err != nil || sum.Calls != want || sum.Seconds != want {
				t.Errorf("from %v to %v: %+v, %v; want %d calls", from, to, sum, err, want)
			}
		}
	}
}

func testCallsPages(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	states := []authz.State{authz.StateSettled, authz.StateLost, authz.StateReleased, authz.StateRejected}
	var all []authz.Record // newest first; pairs share a time
	for i := range 12 {
		r := call(a, noon.Add(-time.Duration(i/2)*time.Minute), 60)
		if s := states[i%4]; s != authz.StateSettled {
			r = free(r, s)
		}
		all = append(all, r)
	}
	ingest(t, l, all...)
	sortNewest(all)

	page, total, err := l.Calls(ctx, a, nil, 5, 4)
	must(t, err)
	equal(t, "total", total, 12)
	diff(t, "page", records(page), all[4:9])
	var chosen []authz.Record
	for _, r := range all {
		if r.State == authz.StateRejected || r.State == authz.StateLost {
			chosen = append(chosen, r)
		}
	}
	page, total, err = l.Calls(ctx, a, []authz.State{authz.StateRejected, authz.StateLost, authz.StateRejected}, 100, 0)
	must(t, err)
	equal(t, "total of two statuses", total, 6)
	diff(t, "calls of two statuses", records(page), chosen)
	page, total, err = l.Calls(ctx, a, []authz.State{authz.StateLive}, 100, 0)
	must(t, err)
	if len(page) != 0 || total != 0 {
		t.Errorf("live calls in the ledger: %v, %d", page, total)
	}
	page, _, err = l.Calls(ctx, a, nil, 100, 1000)
	must(t, err)
	equal(t, "calls beyond the end", len(page), 0)
	_, _, err = l.Calls(ctx, "nobody", nil, 1, 0)
	want(t, err, ledger.ErrNotFound)
}

// Far pages are found through the sums of the hours: they join like near ones, wherever a range cuts an hour.
func testFarPages(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	const n, size = 3000, 50
	a := account(t, l)
	var all []authz.Record
	for i := range n {
		r := call(a, noon.Add(time.Duration(i*7919%n)*12*time.Second), 1) // ten hours
		switch i % 5 {
		case 1:
			r = free(r, authz.StateRejected)
		case 2:
			r.State = authz.StateLost
		}
		all = append(all, r)
	}
	ingest(t, l, all...)
	sortNewest(all)
	check := func(what string, wanted []authz.Record, page func(offset int) []ledger.Call) {
		t.Helper()
		offsets := []int{0, 700}
		for offset := 1900; offset < len(wanted)+size; offset += 5*size - 1 {
			offsets = append(offsets, offset)
		}
		for _, offset := range append(offsets, len(wanted)-size/2, len(wanted)) {
			got := records(page(offset))
			want := wanted[min(offset, len(wanted)):min(offset+size, len(wanted))]
			if len(got) != len(want) || len(got) > 0 && (got[0].UID != want[0].UID || got[len(got)-1].UID != want[len(want)-1].UID) {
				t.Errorf("%s: the page from %d has %d calls, or others than the %d wanted", what, offset, len(got), len(want))
			}
		}
	}
	check("all calls", all, func(offset int) []ledger.Call {
		page, total, err := l.Calls(ctx, a, nil, size, offset)
		must(t, err)
		equal(t, "total", total, n)
		return page
	})
	var some, used []authz.Record
	from, to := noon.Add(7*time.Minute), noon.Add(9*time.Hour+41*time.Minute)
	for _, r := range all {
		if r.State != authz.StateLost {
			some = append(some, r)
		}
		if at := time.UnixMilli(r.At); r.State != authz.StateRejected && !at.Before(from) && at.Before(to) {
			used = append(used, r)
		}
	}
	check("calls of two statuses", some, func(offset int) []ledger.Call {
		page, _, err := l.Calls(ctx, a, []authz.State{authz.StateRejected, authz.StateSettled}, size, offset)
		must(t, err)
		return page
	})
	usage := func(offset int) []ledger.Call {
		page, _, err := l.Usage(ctx, a, from, to, size, offset)
		must(t, err)
		return page
	}
	check("usage", used, usage)

	_, err := l.DropCalls(ctx, noon.Add(time.Hour), 1000)
	must(t, err)
	left := 0
	for left < len(used) && used[left].At >= noon.Add(time.Hour).UnixMilli() {
		left++
	}
	check("usage that is partly dropped", used[:left], usage)
}

func testExport(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a, b := account(t, l), account(t, l)
	const n = 2100 // more than two pages, many of one millisecond
	var batch []authz.Record
	for i := range n {
		batch = append(batch, call(a, noon.Add(time.Duration(i/700)*time.Millisecond), 1))
	}
	ingest(t, l, batch...)
	ingest(t, l, call(b, noon, 1), free(call(b, noon, 1), authz.StateRejected))

	var got []authz.Record
	export := func(s ledger.Selection) {
		t.Helper()
		got = nil
		must(t, l.Export(ctx, s, func(c ledger.Call) error { got = append(got, c.Record); return nil }))
	}
	export(ledger.Selection{Account: a})
	sortNewest(batch)
	equal(t, "exported", len(got), n)
	for i := range got {
		if got[i].UID != batch[n-1-i].UID {
			t.Fatalf("call %d is out of order", i)
		}
	}
	export(ledger.Selection{})
	equal(t, "of all accounts", len(got), n+2)
	export(ledger.Selection{States: []authz.State{authz.StateRejected}})
	equal(t, "rejected ones", len(got), 1)
	export(ledger.Selection{Account: a, From: noon.Add(time.Millisecond), To: noon.Add(2 * time.Millisecond)})
	equal(t, "of one millisecond", len(got), 700)
	export(ledger.Selection{Account: "nobody"})
	equal(t, "of nobody", len(got), 0)

	err := l.Export(ctx, ledger.Selection{}, func(ledger.Call) error { return context.Canceled })
	want(t, err, context.Canceled)
}

func testEachTotals(t *testing.T, l *ledger.Ledger) {
	first, second := account(t, l), account(t, l)
	ingest(t, l, call(second, noon, 60))
	seen := make(map[string]ledger.Totals)
	must(t, l.EachTotals(t.Context(), func(sum ledger.Totals) error { seen[sum.Account] = sum; return nil }))
	equal(t, "accounts", len(seen), 2)
	equal(t, "settled", seen[second].Settled, 60_000)
	equal(t, "settled of the other", seen[first].Settled, 0)
	_, err := l.Totals(t.Context(), "nobody")
	want(t, err, ledger.ErrNotFound)
}

// A context that is over is its own error, not an unavailable ledger.
func testContextOver(t *testing.T, l *ledger.Ledger) {
	a := account(t, l)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := l.Ingest(ctx, []authz.Record{call(a, noon, 60)})
	want(t, err, context.Canceled)
	_, err = l.Totals(ctx, a)
	want(t, err, context.Canceled)
	err = l.Update(t.Context(), func(tx *ledger.Tx) error { _, err := tx.Totals(ctx, a); return err })
	want(t, err, context.Canceled)
	equal(t, "settled", totals(t, l, a).Settled, 0)
}
