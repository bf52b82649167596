package ledgertest

import (
	"context"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// Benchmark measures what a ledger takes in, and what it answers about an account with a million calls in a month.
func Benchmark(b *testing.B, d Driver) {
	b.Run("Ingest", func(b *testing.B) { benchmarkIngest(b, d) })
	b.Run("Million", func(b *testing.B) { benchmarkMillion(b, d) })
}

// benchmarkIngest takes in new calls of 20 accounts, batch by batch, each batch a durable commit.
func benchmarkIngest(b *testing.B, d Driver) {
	for _, size := range []int{1, 100, 500, 1000} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			l := d.migrated(b).Ledger
			var accounts []string
			for range 20 {
				accounts = append(accounts, account(b, l))
			}
			ended := noon
			var n int
			for b.Loop() {
				batch := make([]authz.Record, size)
				for i := range batch {
					ended = ended.Add(10 * time.Millisecond)
					batch[i] = call(accounts[n%len(accounts)], ended, 60)
					n++
				}
				ingest(b, l, batch...)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(0, "ns/op")
			sound(b, l, accounts[0])
		})
	}
}

func benchmarkMillion(b *testing.B, d Driver) {
	db := d.migrated(b)
	for _, name := range []string{"seed.sql", "seeded.sql"} {
		script, err := fs.ReadFile(d.Files, name)
		must(b, err)
		db.Exec(b, string(script))
	}
	l, ctx := db.Ledger, context.Background()
	const busy = "busy"
	sound(b, l, busy)
	newest, total, err := l.Calls(ctx, busy, nil, 1, 0)
	must(b, err)
	if total != 1_000_000 {
		b.Fatalf("%d calls", total)
	}
	amsterdam, err := time.LoadLocation("Europe/Amsterdam")
	must(b, err)
	from := time.Date(2025, 12, 1, 0, 0, 0, 0, amsterdam)
	to := from.AddDate(0, 1, 0)
	kolkata := time.Duration(-30) * time.Minute // a zone whose days cut UTC hours

	usage := func(limit, offset int) func() error {
		return func() error { _, _, err := l.Usage(ctx, busy, from, to, limit, offset); return err }
	}
	calls := func(limit, offset int, states ...authz.State) func() error {
		return func() error { _, _, err := l.Calls(ctx, busy, states, limit, offset); return err }
	}
	sum := func(from, to time.Time) func() error {
		return func() error { _, err := l.Sum(ctx, busy, from, to); return err }
	}
	for _, q := range []struct {
		name string
		run  func() error
	}{
		{"Totals", func() error { _, err := l.Totals(ctx, busy); return err }},
		{"SumMonth", sum(from, to)},
		{"SumCutHours", sum(from.Add(kolkata+1234*time.Millisecond), to.Add(kolkata-1234*time.Millisecond))},
		{"SumAllTime", sum(time.Time{}, time.Time{})},
		{"UsageFirst100", usage(100, 0)},
		{"UsageFirst1000", usage(1000, 0)},
		{"UsageFrom10000", usage(100, 10_000)},
		{"UsageFrom800000", usage(100, 800_000)},
		{"CallsFirst50", calls(50, 0)},
		{"CallsFrom900000", calls(50, 900_000)},
		{"CallsRejected50", calls(50, 0, authz.StateRejected)},
		{"CallByUID", func() error { _, err := l.Call(ctx, newest[0].UID); return err }},
		{"CallByKey", func() error { _, err := l.CallByKey(ctx, newest[0].Key); return err }},
		{"CallsAfterSeq", func() error { _, err := l.CallsAfterSeq(ctx, busy, newest[0].Seq-100, 1000); return err }},
		{"StatementOfADay", func() error {
			return l.Statement(ctx, busy, from.AddDate(0, 0, 14), from.AddDate(0, 0, 15), func(ledger.Line) error { return nil })
		}},
		{"Export100000", exportSome(l, busy, 100_000)},
		{"DuplicateBatch500", duplicates(b, l, busy, 500)},
	} {
		b.Run(q.name, func(b *testing.B) {
			for b.Loop() {
				if err := q.run(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "ms/op")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// exportSome reads so many calls and stops.
func exportSome(l *ledger.Ledger, account string, n int) func() error {
	enough := fmt.Errorf("enough")
	return func() error {
		read := 0
		err := l.Export(context.Background(), ledger.Selection{Account: account}, func(ledger.Call) error {
			if read++; read == n {
				return enough
			}
			return nil
		})
		if err != enough {
			return fmt.Errorf("read %d calls: %w", read, err)
		}
		return nil
	}
}

// duplicates delivers calls again that the ledger has.
func duplicates(b *testing.B, l *ledger.Ledger, account string, n int) func() error {
	page, _, err := l.Usage(context.Background(), account, time.Time{}, time.Time{}, n, 0)
	must(b, err)
	batch := records(page)
	return func() error {
		results, err := l.Ingest(context.Background(), batch)
		if err == nil && (results[0].Outcome != ledger.Duplicate || results[0].UID == uuid.Nil) {
			err = fmt.Errorf("a duplicate was %+v", results[0])
		}
		return err
	}
}
