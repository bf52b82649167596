package ledgertest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// freeze puts what was over at a time into batches.
func freeze(t fataler, l *ledger.Ledger, now, over time.Time) int {
	t.Helper()
	n, err := l.FreezeUsage(context.Background(), now, over)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return n
}

// usageOf reads an account's batches, oldest hour first, and proves its totals.
func usageOf(t fataler, l *ledger.Ledger, account string) ([]ledger.UsageBatch, ledger.UsageTotals) {
	t.Helper()
	ctx := context.Background()
	batches, err := l.UsageBatches(ctx, account, 1000, 0)
	if err != nil {
		t.Fatalf("%v", err)
	}
	totals, err := l.UsageTotals(ctx, account)
	if err != nil {
		t.Fatalf("%v", err)
	}
	var sum int64
	minutes, names := map[time.Time]bool{}, map[string]bool{}
	for _, b := range batches {
		sum += b.Seconds
		if minutes[b.Minute] || names[b.Identifier] || b.Seconds <= 0 || b.Minute.Before(b.Hour) || b.Minute.Second() != 0 || len(b.Identifier) > 100 {
			t.Fatalf("batch %+v of %+v", b, batches)
		}
		minutes[b.Minute], names[b.Identifier] = true, true
	}
	if sum != totals.Reported {
		t.Fatalf("batches hold %d seconds, the totals say %+v", sum, totals)
	}
	for i, j := 0, len(batches)-1; i < j; i, j = i+1, j-1 {
		batches[i], batches[j] = batches[j], batches[i]
	}
	return batches, totals
}

// lost makes a call's record say that nobody vouched for its end.
func lost(r authz.Record, seconds int64) authz.Record {
	r.State, r.TalkMS = authz.StateLost, 1000*seconds
	return r
}

func testUsageBatches(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a, long := account(t, l), strings.Repeat("a", 100)
	if _, _, err := l.CreateAccount(ctx, exampleAccount(long)); err != nil {
		t.Fatal(err)
	}
	one := call(a, noon.Add(time.Minute), 84)
	gone := lost(call(a, noon.Add(2*time.Minute), 100), 100)
	ingest(t, l, one, gone, call(a, noon.Add(time.Hour), 7), free(call(a, noon, 0), authz.StateReleased), call(long, noon, 5))
	now := noon.Add(70 * time.Minute)
	equal(t, "batches", freeze(t, l, now, noon), 0)
	equal(t, "batches", freeze(t, l, now, noon.Add(time.Hour)), 2) // one of each account
	equal(t, "batches, once more", freeze(t, l, now, noon.Add(time.Hour)), 0)
	batches, sum := usageOf(t, l, a)
	equal(t, "batches", len(batches), 1)
	diff(t, "totals", sum, ledger.UsageTotals{Settled: 191, Reported: 184})
	first := batches[0]
	diff(t, "batch", []any{first.Hour, first.N, first.Seconds, first.Minute, first.State, first.Identifier, first.DueAt, first.CreatedAt},
		[]any{noon, int64(1), int64(184), noon, ledger.UsageFrozen, "rf-" + a + "-20251213T12-1", now, now})
	usageOf(t, l, long)

	// A record that comes late makes a further batch.
	ingest(t, l, call(a, noon.Add(59*time.Minute), 6))
	equal(t, "late batches", freeze(t, l, now, noon.Add(time.Hour)), 1)
	batches, _ = usageOf(t, l, a)
	equal(t, "batches", len(batches), 2)
	diff(t, "late batch", []any{batches[1].N, batches[1].Seconds, batches[1].Minute}, []any{int64(2), int64(6), noon.Add(time.Minute)})

	// One that says less than the one it replaces: the difference is owed, and deducted from what follows.
	settled := gone
	settled.State, settled.TalkMS = authz.StateSettled, 40_000
	ingest(t, l, settled)
	equal(t, "batches of less", freeze(t, l, now, noon.Add(time.Hour)), 0)
	_, sum = usageOf(t, l, a)
	diff(t, "totals", sum, ledger.UsageTotals{Settled: 137, Reported: 190, Owed: 60})
	ingest(t, l, call(a, noon.Add(61*time.Minute), 20))
	equal(t, "batches of what is owed", freeze(t, l, now.Add(time.Hour), noon.Add(2*time.Hour)), 0)
	_, sum = usageOf(t, l, a)
	diff(t, "totals", sum, ledger.UsageTotals{Settled: 157, Reported: 190, Owed: 33})
	ingest(t, l, call(a, noon.Add(62*time.Minute), 34))
	equal(t, "batches of the rest", freeze(t, l, now.Add(time.Hour), noon.Add(2*time.Hour)), 1)
	batches, sum = usageOf(t, l, a)
	diff(t, "totals", sum, ledger.UsageTotals{Settled: 191, Reported: 191})
	equal(t, "seconds of the rest", batches[2].Seconds, 1)

	// Calls that are dropped stay reported.
	n, err := l.DropCalls(ctx, noon.Add(time.Hour), 100)
	must(t, err)
	if n == 0 {
		t.Error("nothing was dropped")
	}
	equal(t, "batches after dropping", freeze(t, l, now.Add(time.Hour), noon.Add(2*time.Hour)), 0)
	usageOf(t, l, a)
}

// A call is reported or not by when it ended, whatever the setting is when its record comes.
func testUsageOff(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
	set := func(on bool, now time.Time) {
		t.Helper()
		must(t, l.SetUsageReporting(ctx, a, on, now))
		is, err := l.UsageReporting(ctx, a)
		must(t, err)
		equal(t, "reporting", is, on)
	}
	sums := func(want ledger.UsageTotals) {
		t.Helper()
		freeze(t, l, at(300), at(180))
		_, sum := usageOf(t, l, a)
		diff(t, "totals", sum, want)
	}
	want(t, l.SetUsageReporting(ctx, "nobody", false, at(30)), ledger.ErrNotFound)
	_, err := l.UsageReporting(ctx, a)
	must(t, err)
	ingest(t, l, call(a, at(1), 10))
	set(false, at(30))
	set(false, at(31))
	before, within := lost(call(a, at(2), 100), 100), lost(call(a, at(40), 20), 20)
	ingest(t, l, before, within, call(a, at(30), 1)) // the first has come late
	set(true, at(61))
	ingest(t, l, call(a, at(60), 30), call(a, at(62), 40)) // the first has come late
	sums(ledger.UsageTotals{Settled: 201, Reported: 150, Unreported: 51})

	// A correction takes its seconds from where they are, and may move them.
	before.State, before.TalkMS = authz.StateSettled, 60_000
	within.State, within.TalkMS = authz.StateSettled, 5_000
	ingest(t, l, before, within)
	sums(ledger.UsageTotals{Settled: 146, Reported: 150, Owed: 40, Unreported: 36})
	moved := lost(call(a, at(50), 7), 7)
	ingest(t, l, moved)
	sums(ledger.UsageTotals{Settled: 153, Reported: 150, Owed: 40, Unreported: 43})
	moved.State, moved.At = authz.StateSettled, at(70).UnixMilli()
	ingest(t, l, moved)
	sums(ledger.UsageTotals{Settled: 153, Reported: 150, Owed: 33, Unreported: 36})

	// Switched within one second, and when no minute of the hour is free for a batch.
	b := a
	a = account(t, l)
	ingest(t, l, call(a, noon.Add(5*time.Second), 30))
	set(false, noon.Add(10*time.Second))
	set(true, noon.Add(20*time.Second))
	ingest(t, l, call(a, noon.Add(25*time.Second), 40))
	set(false, noon.Add(30*time.Second))
	set(true, noon.Add(30*time.Second))
	ingest(t, l, call(a, noon.Add(15*time.Second), 3), call(a, noon.Add(40*time.Second), 2))
	sums(ledger.UsageTotals{Settled: 75, Reported: 72, Unreported: 3})

	// A clock that is ahead: the call was reported before reporting was turned off, and a correction finds it on the other side.
	a = b
	_, sum := usageOf(t, l, a)
	ahead := lost(call(a, at(120), 50), 50)
	ingest(t, l, ahead)
	freeze(t, l, at(300), at(180))
	set(false, at(110))
	ahead.State, ahead.TalkMS = authz.StateSettled, 20_000
	ingest(t, l, ahead)
	freeze(t, l, at(300), at(180))
	_, now := usageOf(t, l, a)
	equal(t, "sums", now.Settled, now.Reported-now.Owed+now.Unreported)
	equal(t, "settled", now.Settled, sum.Settled+20)
}

func testUsageClaims(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	for h := range 5 {
		ingest(t, l, call(a, noon.Add(time.Duration(h)*time.Hour), 10))
	}
	now := noon.Add(6 * time.Hour)
	equal(t, "batches", freeze(t, l, now, now), 5)
	claimed, err := l.ClaimUsage(ctx, now, time.Minute, 3)
	must(t, err)
	equal(t, "claimed", len(claimed), 3)
	rest, err := l.ClaimUsage(ctx, now, time.Minute, 10)
	must(t, err)
	equal(t, "claimed by another", len(rest), 2)
	none, err := l.ClaimUsage(ctx, now.Add(59*time.Second), time.Minute, 10)
	must(t, err)
	equal(t, "claimed within the lease", len(none), 0)
	queue, err := l.UsageQueue(ctx)
	must(t, err)
	diff(t, "queue", queue, []ledger.UsageQueue{{State: ledger.UsageFrozen, Batches: 5, Seconds: 50, Oldest: noon}})

	b, err := l.BeginUsage(ctx, claimed[0], now, noon.AddDate(0, 0, -35))
	must(t, err)
	diff(t, "begun", []any{b.State, b.Attempts, b.SentAt, b.Minute}, []any{ledger.UsageSent, int64(1), now, claimed[0].Minute})
	b.AbsentAt, b.DueAt, b.Problem = now, now.Add(time.Hour), "not there \x00"
	must(t, l.SaveUsage(ctx, b))
	for _, c := range []struct {
		account string
		state   ledger.UsageState
		want    int
	}{{"", "", 1}, {a, "", 1}, {"nobody", "", 0}, {a, ledger.UsageSent, 1}, {a, ledger.UsageWrong, 0}} {
		found, err := l.UsageProblems(ctx, c.account, c.state, 10)
		must(t, err)
		if len(found) != c.want || c.want == 1 && (found[0].Identifier != b.Identifier || found[0].Problem == "") {
			t.Errorf("problems of %q, %q: %+v", c.account, c.state, found)
		}
	}
	want(t, l.SaveUsage(ctx, b), ledger.ErrConflict) // the claim is over
	_, err = l.BeginUsage(ctx, b, now, noon)
	want(t, err, ledger.ErrConflict)

	// Past the lease somebody else has it, and the first learns of that before sending.
	later := now.Add(2 * time.Minute)
	again, err := l.ClaimUsage(ctx, later, time.Minute, 10)
	must(t, err)
	equal(t, "claimed again", len(again), 4)
	_, err = l.BeginUsage(ctx, claimed[1], later, noon.AddDate(0, 0, -35))
	want(t, err, ledger.ErrConflict)
	want(t, l.SaveUsage(ctx, claimed[1]), ledger.ErrConflict)

	// After 35 days: the event's time is the present, each batch in a minute of its own, and the hour stays.
	old := now.AddDate(0, 0, 36)
	again, err = l.ClaimUsage(ctx, old, time.Minute, 10)
	must(t, err)
	equal(t, "claimed after 36 days", len(again), 5)
	for _, was := range again {
		if was.Identifier == b.Identifier {
			// One that may have arrived keeps its minute until it is known not to have.
			kept, err := l.BeginUsage(ctx, was, old, old.AddDate(0, 0, -35))
			must(t, err)
			diff(t, "may have arrived", []any{kept.Minute, kept.SentAt, kept.Attempts}, []any{was.Minute, now, int64(2)})
			was.SentAt = time.Time{}
		}
		b, err := l.BeginUsage(ctx, was, old, old.AddDate(0, 0, -35))
		must(t, err)
		if old.Sub(b.Minute) > 5*time.Minute || b.Minute.After(old) || b.Hour != was.Hour || b.Identifier != was.Identifier {
			t.Errorf("begun after 36 days: %+v", b)
		}
		b.State, b.DueAt, b.ProvenAt = ledger.UsageProven, time.Time{}, old
		must(t, l.SaveUsage(ctx, b))
	}
	_, sum := usageOf(t, l, a)
	diff(t, "totals", sum, ledger.UsageTotals{Settled: 50, Reported: 50, Proven: 50})
	queue, err = l.UsageQueue(ctx)
	must(t, err)
	equal(t, "queue", len(queue), 0)
}

// An hour may have more batches than minutes: they take those of the hours after it, up to the present.
func testUsageMinutes(t *testing.T, l *ledger.Ledger) {
	a := account(t, l)
	now := noon.Add(time.Hour + 2*time.Minute)
	for i := range 62 {
		ingest(t, l, call(a, noon.Add(time.Minute), 1))
		equal(t, "batches", freeze(t, l, now, noon.Add(time.Hour)), 1)
		if i == 61 {
			ingest(t, l, call(a, noon.Add(time.Minute), 1), call(a, noon.Add(time.Hour), 1))
		}
	}
	equal(t, "batches", freeze(t, l, now, noon.Add(2*time.Hour)), 1)
	equal(t, "batches without a minute", freeze(t, l, now, noon.Add(2*time.Hour)), 0)
	_, sum := usageOf(t, l, a)
	diff(t, "totals", sum, ledger.UsageTotals{Settled: 64, Reported: 63})
	equal(t, "batches a minute later", freeze(t, l, now.Add(time.Minute), noon.Add(2*time.Hour)), 1)
	usageOf(t, l, a)
}

// Whatever comes in whatever order: what is in batches is what was talked while reporting was on, less what is owed.
func testUsageProperty(t *testing.T, l *ledger.Ledger) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		a := account(t, l)
		now := noon
		type turn struct {
			at time.Time
			on bool
		}
		turns := []turn{{time.Time{}, true}}
		calls := make(map[uuid.UUID]authz.Record)
		var unsettled []authz.Record
		take := func(r authz.Record) {
			ingest(t, l, r)
			calls[r.UID] = r
		}
		for range rapid.IntRange(1, 15).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				on := rapid.Bool().Draw(t, "on")
				now = now.Add(time.Millisecond)
				if err := l.SetUsageReporting(ctx, a, on, now); err != nil {
					t.Fatalf("%v", err)
				}
				turns = append(turns, turn{now, on})
			case 1, 2, 3:
				r := call(a, now.Add(-time.Duration(rapid.IntRange(0, 5*3600).Draw(t, "ago"))*time.Second), rapid.Int64Range(0, 500).Draw(t, "seconds"))
				if rapid.Bool().Draw(t, "lost") {
					r.State = authz.StateLost
					unsettled = append(unsettled, r)
				}
				take(r)
			case 4, 5:
				if len(unsettled) > 0 {
					r := unsettled[0]
					unsettled = unsettled[1:]
					r.State, r.TalkMS = authz.StateSettled, 1000*rapid.Int64Range(0, 500).Draw(t, "settled seconds")
					r.At = min(r.At+rapid.Int64Range(-3600_000, 3600_000).Draw(t, "moved by"), now.UnixMilli())
					take(r)
				}
			case 6, 7:
				now = now.Add(time.Duration(rapid.IntRange(1, 120).Draw(t, "minutes")) * time.Minute)
			default:
				freeze(t, l, now, now)
			}
			usageOf(t, l, a)
		}
		now = now.Add(24 * time.Hour)
		freeze(t, l, now, now.Add(time.Hour))
		_, sum := usageOf(t, l, a)
		var want ledger.UsageTotals
		for _, r := range calls {
			seconds, on := r.DurationSeconds(), true
			for _, turn := range turns {
				if turn.at.UnixMilli() <= r.At {
					on = turn.on
				}
			}
			want.Settled += seconds
			if !on {
				want.Unreported += seconds
			}
		}
		if sum.Settled != want.Settled || sum.Unreported != want.Unreported || sum.Reported-sum.Owed != want.Settled-want.Unreported {
			t.Fatalf("in the end %+v, want %+v", sum, want)
		}
	})
}

// Sidecars freeze, claim and ingest at once.
func testUsageRace(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for i := range 10 {
				if _, err := l.Ingest(ctx, []authz.Record{call(a, noon.Add(time.Duration(i)*time.Minute), 3)}); err != nil {
					t.Error(err)
				}
				if _, err := l.FreezeUsage(ctx, noon.Add(2*time.Hour), noon.Add(time.Hour)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	freeze(t, l, noon.Add(2*time.Hour), noon.Add(time.Hour))
	batches, sum := usageOf(t, l, a)
	diff(t, "totals", sum, ledger.UsageTotals{Settled: 90, Reported: 90})
	var mu sync.Mutex
	seen := map[string]int{}
	for range 4 {
		wg.Go(func() {
			for {
				claimed, err := l.ClaimUsage(ctx, noon.Add(2*time.Hour), time.Hour, 2)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				for _, b := range claimed {
					seen[b.Identifier]++
				}
				mu.Unlock()
				if len(claimed) == 0 {
					return
				}
			}
		})
	}
	wg.Wait()
	equal(t, "claimed", len(seen), len(batches))
	for id, n := range seen {
		equal(t, id, n, 1)
	}
}

func testBilling(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	none, err := l.Billing(ctx, a)
	must(t, err)
	diff(t, "no details", none, ledger.Billing{Account: a})
	_, err = l.ClaimBilling(ctx, "", time.Now(), time.Minute)
	want(t, err, ledger.ErrNotFound)

	given := ledger.Billing{Account: a, Company: "Your Company", Email: "billing@example.com", Line1: "Damrak 1", Line2: "2", PostalCode: "1012 LG", City: "Amsterdam",
		State: "NH", Country: "NL", VATID: "NL004495445B01", VATStatus: ledger.VATVerified, Customer: "cus_no", TaxID: "txi_no", Card: "pm_no", CardName: "no"}
	kept, err := l.SetBilling(ctx, given)
	must(t, err)
	expected := given
	expected.VATStatus, expected.Customer, expected.TaxID, expected.Card, expected.CardName, expected.UpdatedAt = ledger.VATPending, "", "", "", "", kept.UpdatedAt
	diff(t, "kept", kept, expected)
	read, err := l.Billing(ctx, a)
	must(t, err)
	diff(t, "read", read, kept)

	customer, err := l.SetCustomer(ctx, a, "", "cus_"+a)
	must(t, err)
	equal(t, "customer", customer, "cus_"+a)
	customer, err = l.SetCustomer(ctx, a, "", "cus_other") // somebody was faster
	must(t, err)
	equal(t, "customer", customer, "cus_"+a)
	whose, err := l.AccountOfCustomer(ctx, "cus_"+a)
	must(t, err)
	equal(t, "account of the customer", whose, a)
	for _, unknown := range []string{"", "cus_nobody"} {
		_, err = l.AccountOfCustomer(ctx, unknown)
		want(t, err, ledger.ErrNotFound)
	}
	b := account(t, l)
	_, err = l.SetCustomer(ctx, b, "", "cus_"+a)
	want(t, err, ledger.ErrExists)
	_, err = l.SetCustomer(ctx, "nobody", "", "cus_1")
	want(t, err, ledger.ErrNotFound)
	customer, err = l.SetCustomer(ctx, a, "cus_"+a, "")
	must(t, err)
	equal(t, "customer that was deleted", customer, "")

	must(t, l.SetTaxID(ctx, a, "NL004495445B01", "txi_1", ledger.VATVerified))
	given.Company = "Their Company"
	kept, err = l.SetBilling(ctx, given) // the same VAT ID
	must(t, err)
	diff(t, "tax id", []any{kept.TaxID, kept.VATStatus}, []any{"txi_1", ledger.VATVerified})
	given.VATID = "NL123456782B90"
	kept, err = l.SetBilling(ctx, given)
	must(t, err)
	diff(t, "tax id of before", []any{kept.TaxID, kept.VATStatus}, []any{"txi_1", ledger.VATPending})
	must(t, l.SetTaxID(ctx, a, "NL004495445B01", "txi_1", ledger.VATVerified)) // too late
	kept, err = l.Billing(ctx, a)
	must(t, err)
	equal(t, "status", kept.VATStatus, ledger.VATPending)
	given.VATID = ""
	kept, err = l.SetBilling(ctx, given)
	must(t, err)
	equal(t, "status", kept.VATStatus, ledger.VATNone)

	given.Account = "nobody"
	_, err = l.SetBilling(ctx, given)
	want(t, err, ledger.ErrNotFound)
	given.Account, given.City = a, "\x00"
	_, err = l.SetBilling(ctx, given)
	want(t, err, ledger.ErrInvalid)
}

func testBillingSync(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	s, err := l.BillingSync(ctx, a)
	must(t, err)
	equal(t, "revision", s.Revision, 0)
	_, err = l.SetBilling(ctx, ledger.Billing{Account: a, Company: "Your Company"})
	must(t, err)
	now := time.Now().Add(time.Second)
	_, err = l.ClaimBilling(ctx, "another", now, time.Minute)
	want(t, err, ledger.ErrNotFound)
	s, err = l.ClaimBilling(ctx, a, now, time.Minute)
	must(t, err)
	diff(t, "claimed", []any{s.Account, s.Revision, s.Synced}, []any{a, int64(1), int64(0)})
	_, err = l.ClaimBilling(ctx, "", now, time.Minute)
	want(t, err, ledger.ErrNotFound)

	// Details that change under a claim wait for its end, and are due after it.
	must(t, l.SyncBilling(ctx, a))
	_, err = l.ClaimBilling(ctx, "", now, time.Minute)
	want(t, err, ledger.ErrNotFound)
	s.Synced, s.DueAt = s.Revision, time.Time{}
	must(t, l.SaveBillingSync(ctx, s))
	want(t, l.SaveBillingSync(ctx, s), ledger.ErrConflict)
	s, err = l.ClaimBilling(ctx, "", now, time.Minute)
	must(t, err)
	diff(t, "claimed again", []any{s.Revision, s.Synced}, []any{int64(2), int64(1)})

	// A sidecar that died leaves its claim to the next.
	first := s
	s, err = l.ClaimBilling(ctx, "", now.Add(2*time.Minute), time.Minute)
	must(t, err)
	want(t, l.SaveBillingSync(ctx, first), ledger.ErrConflict)
	s.Attempts, s.Problem, s.DueAt = 1, "Stripe does not answer", now.Add(time.Hour)
	must(t, l.SaveBillingSync(ctx, s))
	s, err = l.BillingSync(ctx, a)
	must(t, err)
	diff(t, "kept", []any{s.Attempts, s.Problem, s.Synced}, []any{int64(1), "Stripe does not answer", int64(1)})
	s, err = l.ClaimBilling(ctx, "", now.Add(2*time.Hour), time.Minute)
	must(t, err)
	s.Synced, s.DueAt = s.Revision, time.Time{}
	must(t, l.SaveBillingSync(ctx, s))
	_, err = l.ClaimBilling(ctx, "", now.AddDate(1, 0, 0), time.Minute)
	want(t, err, ledger.ErrNotFound)
	want(t, l.SyncBilling(ctx, "nobody"), ledger.ErrNotFound)
}

// testOldUsage finds the rows of before the newest schema.
func testOldUsage(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	batches, sum := usageOf(t, l, "old")
	equal(t, "old batches", len(batches), 2)
	diff(t, "old usage", sum, ledger.UsageTotals{Settled: 84, Reported: 86, Proven: 80, Owed: 6})
	equal(t, "batches of old usage", freeze(t, l, noon.Add(2*time.Hour), noon.Add(time.Hour)), 0)
	_, sum = usageOf(t, l, "old")
	equal(t, "owed", sum.Owed, 2)
	on, err := l.UsageReporting(ctx, "old")
	must(t, err)
	equal(t, "reporting", on, true)
	on, err = l.UsageReporting(ctx, "old-off")
	must(t, err)
	equal(t, "reporting of one that was off", on, false)
	_, sum = usageOf(t, l, "old-off")
	diff(t, "usage of one that was off", sum, ledger.UsageTotals{Settled: 50, Unreported: 50})
	s, err := l.BillingSync(ctx, "old")
	must(t, err)
	diff(t, "old sync", []any{s.Revision, s.Synced, s.Attempts, s.Problem}, []any{int64(3), int64(2), int64(1), "Stripe does not answer"})
	b, err := l.Billing(ctx, "old")
	must(t, err)
	diff(t, "old details", []any{b.Company, b.Country, b.Customer}, []any{"Your Company", "NL", "cus_old"})
	_, err = l.Billing(ctx, uuid.NewString())
	if errors.Is(err, ledger.ErrNotFound) {
		t.Error("details that were never given are an error")
	}
}
