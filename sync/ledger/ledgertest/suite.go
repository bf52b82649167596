// Package ledgertest is the contract of a ledger: one suite that every driver passes on its real database, and the
// benchmarks that compare them.
package ledgertest

import (
	"context"
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// Database is an empty database without a schema, and the ledger on it.
type Database struct {
	Ledger *ledger.Ledger
	// Exec runs SQL that the ledger has no method for, in the dialect of the database.
	Exec func(t testing.TB, script string)
}

// Driver is what a driver's tests give to the suite.
type Driver struct {
	// Fresh makes an empty database, which goes with the test.
	Fresh func(t testing.TB) Database
	// Files holds the driver's testdata: old/NNNNN.sql, rows as they were written under migration NNNNN, and
	// seed.sql, a million calls.
	Files fs.FS
}

// Run runs the whole suite.
func Run(t *testing.T, d Driver) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *ledger.Ledger)
	}{
		{"Accounts", testAccounts},
		{"UpdateRace", testUpdateRace},
		{"Numbers", testNumbers},
		{"Keys", testKeys},
		{"Tariffs", testTariffs},
		{"Changes", testChanges},
		{"BadDirectoryInput", testBadDirectoryInput},
		{"HostileText", testHostileText},
		{"Grants", testGrants},
		{"BadGrants", testBadGrants},
		{"GrantsRace", testGrantsRace},
		{"Ingest", testIngest},
		{"IngestRefuses", testIngestRefuses},
		{"IngestIsolatesWhatTheDatabaseRefuses", testIngestIsolates},
		{"IngestThen", testIngestThen},
		{"IngestModel", testIngestModel},
		{"IngestRace", testIngestRace},
		{"CallLookUp", testCallLookUp},
		{"Usage", testUsage},
		{"UsageEdges", testUsageEdges},
		{"CallsPages", testCallsPages},
		{"FarPages", testFarPages},
		{"Statement", testStatement},
		{"StatementProperty", testStatementProperty},
		{"Export", testExport},
		{"Refused", testRefused},
		{"DropCalls", testDropCalls},
		{"MaskCalls", testMaskCalls},
		{"EachTotals", testEachTotals},
		{"Purchases", testPurchases},
		{"Payments", testPayments},
		{"Paybacks", testPaybacks},
		{"KeptCards", testKeptCards},
		{"ForgottenCards", testForgottenCards},
		{"Customers", testCustomers},
		{"PaybacksAnyOrder", testPaybacksAnyOrder},
		{"TopUps", testTopUps},
		{"TopUpsNotDue", testTopUpsNotDue},
		{"TopUpsAwaiting", testTopUpsAwaiting},
		{"TopUpsCalledOff", testTopUpsCalledOff},
		{"TopUpsPaidBack", testTopUpsPaidBack},
		{"TopUpDeclined", testTopUpDeclined},
		{"Invoices", testInvoices},
		{"StripeEvents", testStripeEvents},
		{"Marks", testMarks},
		{"UsageBatches", testUsageBatches},
		{"UsageOff", testUsageOff},
		{"UsageClaims", testUsageClaims},
		{"UsageMinutes", testUsageMinutes},
		{"UsageProperty", testUsageProperty},
		{"UsageRace", testUsageRace},
		{"Billing", testBilling},
		{"BillingSync", testBillingSync},
		{"Sessions", testSessions},
		{"SessionOfKey", testSessionOfKey},
		{"SignInLinks", testSignInLinks},
		{"SignInLinkRace", testSignInLinkRace},
		{"Webhooks", testWebhooks},
		{"Alerts", testAlerts},
		{"GrantNotice", testGrantNotice},
		{"NoticeReading", testNoticeReading},
		{"Deliveries", testDeliveries},
		{"Endpoints", testEndpoints},
		{"ReadyBehindFailure", testReadyBehindFailure},
		{"Lanes", testLanes},
		{"MoveInFlight", testMoveInFlight},
		{"MailsLow", testMailsLow},
		{"ContextOver", testContextOver},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, d.migrated(t).Ledger)
		})
	}
	t.Run("Check", func(t *testing.T) {
		t.Parallel()
		testCheck(t, d.migrated(t))
	})
	t.Run("Migrations", func(t *testing.T) { testMigrations(t, d) })
	t.Run("Identity", func(t *testing.T) { testIdentity(t, d) })
}

// migrated makes a database with the newest schema.
func (d Driver) migrated(t testing.TB) Database {
	t.Helper()
	db := d.Fresh(t)
	must(t, db.Ledger.Migrate(t.Context()))
	return db
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// want fails the test unless err is target.
func want(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error is %v, want %v", err, target)
	}
}

// equal fails the test unless two comparable values are the same.
func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// fataler is what both *testing.T and *rapid.T are.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// noon is when the tests' calls end, unless they say otherwise.
var noon = time.Date(2025, 12, 13, 12, 0, 0, 0, time.UTC)

// account makes an account and returns its id.
func account(t fataler, l *ledger.Ledger) string {
	t.Helper()
	id := "acct-" + uuid.NewString()
	if _, _, err := l.CreateAccount(context.Background(), exampleAccount(id)); err != nil {
		t.Fatalf("%v", err)
	}
	return id
}

func exampleAccount(id string) authz.Account {
	return authz.Account{ID: id, Company: "Your Company", Email: "billing@example.com", Status: authz.Active, Currency: "EUR",
		Tariff: "default", Language: "nl", TimeZone: "Europe/Amsterdam",
		Limits: authz.Limits{MaxCalls: 10, MaxSeconds: 3600, SpendPerDay: 100 * credit.PerCredit}, Created: noon}
}

// call makes a settled call that ended at a time after so many seconds of talk, at the base rate.
func call(account string, ended time.Time, seconds int64) authz.Record {
	uid := uuid.Must(uuid.NewV7())
	answered := ended.Add(-time.Duration(seconds) * time.Second)
	return authz.Record{
		State: authz.StateSettled, Account: account, UID: uid, Seq: 1, Epoch: 7,
		Key: authz.Key{Switch: "sw1", Direction: authz.Outbound, CallID: "call-" + uid.String()},
		At:  ended.UnixMilli(), AnsweredAt: answered.UnixMilli(), TalkMS: 1000 * seconds,
		Units: credit.Units(1000 * seconds), Micros: credit.Micros(seconds * 70_000 / 60),
		Flags: "c", Reason: "16", CreatedAt: answered.Add(-5 * time.Second).UnixMilli(),
		Price:      tariff.Price{Rate: 60_000, Connect: 5, Initial: 1, Step: 1, MicrosRate: 70_000, MicrosConnect: 6, CreditPrice: 70_000},
		MaxSeconds: 3600,
		Detail: authz.Detail{From: "+31850835037", To: "+4930123456", FromRaw: "0850835037", ToRaw: "004930123456",
			NumberID: "0b4d7a34-6d0e-4c3e-8f53-2e8b1a6a9c11", Mode: "byok", Tariff: "standard@3", Prefix: "49", Currency: "EUR"},
	}
}

// free makes the record of a call that cost nothing.
func free(r authz.Record, s authz.State) authz.Record {
	r.State, r.AnsweredAt, r.TalkMS = s, 0, 0
	r.Units, r.Micros, r.ExtraUnits, r.ExtraMicros, r.Overrun = 0, 0, 0, 0, 0
	return r
}

// ingest takes records in and returns what became of them.
func ingest(t fataler, l *ledger.Ledger, records ...authz.Record) []ledger.Outcome {
	t.Helper()
	results, err := l.Ingest(context.Background(), records)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if len(results) != len(records) {
		t.Fatalf("%d results for %d records", len(results), len(records))
	}
	outcomes := make([]ledger.Outcome, len(results))
	for i, r := range results {
		if r.UID != records[i].UID || (r.Err != nil) != (r.Outcome == ledger.Refused) {
			t.Fatalf("result %d is %+v", i, r)
		}
		outcomes[i] = r.Outcome
	}
	return outcomes
}

// totals reads an account's sums and proves them.
func totals(t fataler, l *ledger.Ledger, account string) ledger.Totals {
	t.Helper()
	got, err := l.Totals(context.Background(), account)
	if err != nil {
		t.Fatalf("%v", err)
	}
	sound(t, l, account)
	return got
}

// sound fails the test if a sum is not what its rows add up to.
func sound(t fataler, l *ledger.Ledger, account string) {
	t.Helper()
	wrong, err := l.Check(context.Background(), account)
	if err != nil || len(wrong) > 0 {
		t.Fatalf("the sums are wrong: %+v, %v", wrong, err)
	}
}
