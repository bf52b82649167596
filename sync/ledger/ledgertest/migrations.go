package ledgertest

import (
	_ "embed"
	"fmt"
	"io/fs"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

func testMigrations(t *testing.T, d Driver) {
	t.Run("OldRows", func(t *testing.T) {
		t.Parallel()
		testOldRows(t, d)
	})
	t.Run("AtOnce", func(t *testing.T) {
		t.Parallel()
		testMigrateAtOnce(t, d)
	})
	t.Run("Schema", func(t *testing.T) {
		t.Parallel()
		testSchema(t, d)
	})
}

// Rows are written under each schema in turn. Under the newest they are all there, and the sums are right.
func testOldRows(t *testing.T, d Driver) {
	ctx := t.Context()
	db := d.Fresh(t)
	l := db.Ledger
	steps, err := l.Migrations(ctx)
	must(t, err)
	for _, step := range steps {
		must(t, l.MigrateTo(ctx, step.Version))
		rows, err := fs.ReadFile(d.Files, fmt.Sprintf("old/%05d.sql", step.Version))
		must(t, err) // every migration needs rows that it is tested on
		db.Exec(t, string(rows))
	}
	must(t, l.CheckSchema(ctx))

	a, err := l.Account(ctx, "old")
	must(t, err)
	want := exampleAccount("old")
	want.Tariff = "standard"
	diff(t, "account", a, want)
	numbers, err := l.Numbers(ctx, "old")
	must(t, err)
	diff(t, "numbers", numbers, []authz.Number{{ID: "0b4d7a34-6d0e-4c3e-8f53-2e8b1a6a9c11", E164: "+31850835037", Account: "old", Name: "Main line", Created: noon}})
	changes, err := l.Changes(ctx, 3)
	must(t, err)
	equal(t, "removed numbers", len(changes.Removed), 1)
	equal(t, "revision", changes.Revision, 6)
	keys, err := l.Keys(ctx, "old")
	must(t, err)
	if len(keys) != 1 || keys[0].Prefix != "rf_live_ab12" || keys[0].LastUsed != noon || !keys[0].Expires.IsZero() {
		t.Errorf("keys are %+v", keys)
	}
	table, err := l.Tariff(ctx, "standard")
	must(t, err)
	rate, err := table.Lookup(tariff.Outbound, "", "31850835037")
	must(t, err)
	equal(t, "rate", rate.Rate, credit.PerCredit)

	grants, err := l.Grants(ctx, "old", 0, 10)
	must(t, err)
	diff(t, "grants", grants, []authz.Grant{{Account: "old", Number: 1, Units: 30_000_000, Kind: ledger.KindPurchase, Reference: "pi:1", Reason: "card", At: noon}})
	old := call("old", noon, 84)
	old.UID = uuid.MustParse("0193bf8a-8c00-7000-8000-000000000001")
	old.Key.CallID = "old-call"
	c, err := l.Call(ctx, old.UID)
	must(t, err)
	diff(t, "call", c.Record, old)
	sum := totals(t, l, "old") // proves them too
	equal(t, "balance", sum.Balance(), 30_000_000-84_000)
	equal(t, "seq", sum.Seq, 1)
	_, refused, err := l.RefusedRecords(ctx, 0, 10)
	must(t, err)
	equal(t, "refused records", refused, 1)
	identity, err := l.Identity(ctx)
	must(t, err)
	equal(t, "identity", identity, "0193bf8a8c0070008000000000000010")

	testOldUsage(t, l)

	bill, err := l.Billing(ctx, "old")
	must(t, err)
	if bill.Company != "Your Company" || bill.VATStatus != ledger.VATPending || bill.Customer != "cus_old" {
		t.Errorf("billing details are %+v", bill)
	}
	bought, err := l.PurchaseOf(ctx, "cs_old", "", "")
	must(t, err)
	if bought.State != ledger.PurchasePaid || bought.Units != 30_000_000 || bought.Gross != 4235 || bought.PaidAt != noon {
		t.Errorf("purchase is %+v", bought)
	}
	equal(t, "quoted", bought.Quoted, 0)
	quoted, err := l.Purchase(ctx, uuid.MustParse("0193bf8a-8c00-7000-8000-000000000011"))
	must(t, err)
	equal(t, "quoted", quoted.Quoted, 4235)
	equal(t, "language", quoted.Language, "")
	spoken, err := l.Purchase(ctx, uuid.MustParse("0193bf8a-8c00-7000-8000-000000000013"))
	must(t, err)
	equal(t, "language", spoken.Language, "nl")
	invoices, _, err := l.Invoices(ctx, "old", 10, 0)
	must(t, err)
	diff(t, "invoices", invoices, []ledger.Invoice{{ID: "in_old", Account: "old", Purchase: bought.ID, Number: "RF-0001", Status: "paid", Date: noon, Currency: "EUR",
		Net: 3500, VAT: 735, VATRate: 2100, Total: 4235}})

	// And they take part in what comes.
	next, _, err := l.AddGrant(ctx, authz.Grant{Account: "old", Units: 1, Kind: ledger.KindBonus, Reference: "new"})
	must(t, err)
	equal(t, "next grant", next.Number, 2)
	again, created, err := l.AddGrant(ctx, grants[0])
	must(t, err)
	if created || again.Number != 1 {
		t.Errorf("the old grant again made %+v", again)
	}
	diff(t, "outcomes", ingest(t, l, old, call("old", noon, 1)), []ledger.Outcome{ledger.Duplicate, ledger.Inserted})
	totals(t, l, "old")
	totals(t, l, "old-without-grants")
	n, err := l.DropCalls(ctx, noon.AddDate(0, 0, 1), 100)
	must(t, err)
	equal(t, "dropped", n, 2)
	totals(t, l, "old")
}

func testMigrateAtOnce(t *testing.T, d Driver) {
	l := d.Fresh(t).Ledger
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := l.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	must(t, l.CheckSchema(t.Context()))
}

//go:embed scripts/newer.sql
var newer string

func testSchema(t *testing.T, d Driver) {
	ctx := t.Context()
	db := d.Fresh(t)
	l := db.Ledger
	want(t, l.CheckSchema(ctx), ledger.ErrSchema)
	_, err := l.Account(ctx, "a")
	want(t, err, ledger.ErrSchema)
	must(t, l.MigrateTo(ctx, 2))
	steps, err := l.Migrations(ctx)
	must(t, err)
	for _, step := range steps {
		if step.Name == "" || step.Applied.IsZero() != (step.Version > 2) {
			t.Errorf("migration %+v", step)
		}
	}
	want(t, l.CheckSchema(ctx), ledger.ErrSchema)
	must(t, l.Migrate(ctx))
	must(t, l.Migrate(ctx))
	must(t, l.CheckSchema(ctx))
	db.Exec(t, newer)
	want(t, l.CheckSchema(ctx), ledger.ErrSchema)
}
