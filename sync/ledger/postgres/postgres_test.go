package postgres_test

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/ledgertest"
	"github.com/hmsovereign/ringfence/sync/ledger/postgres"
)

//go:embed testdata
var testdata embed.FS

func TestMain(m *testing.M) { goleak.VerifyTestMain(services.Main(m)) }

func suite(t testing.TB) ledgertest.Driver {
	t.Helper()
	files, err := fs.Sub(testdata, "testdata")
	must(t, err)
	return ledgertest.Driver{Fresh: fresh, Files: files}
}

func fresh(t testing.TB) ledgertest.Database {
	t.Helper()
	url := services.SharedDatabase(t)
	return ledgertest.Database{
		Ledger: open(t, postgres.Config{URL: url}),
		Exec:   func(t testing.TB, script string) { t.Helper(); exec(t, url, script) },
	}
}

func exec(t testing.TB, url, script string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	must(t, err)
	_, err = conn.Exec(ctx, script)
	must(t, errors.Join(err, conn.Close(ctx)))
}

func open(t testing.TB, cfg postgres.Config) *ledger.Ledger {
	t.Helper()
	l, err := postgres.Open(context.Background(), cfg)
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	return l
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestContract(t *testing.T) { ledgertest.Run(t, suite(t)) }

func BenchmarkLedger(b *testing.B) { ledgertest.Benchmark(b, suite(b)) }

func TestOpenFails(t *testing.T) {
	for _, url := range []string{"postgres://%zz", "postgres://u:secret@localhost/?pool_max_conns=many", "postgres://u:secret@localhost:port/"} {
		_, err := postgres.Open(t.Context(), postgres.Config{URL: url})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// A sidecar starts while Postgres is down.
func TestDown(t *testing.T) {
	l := open(t, postgres.Config{URL: "postgres://ringfence:secret@127.0.0.1:1/ledger?sslmode=disable", ConnectTimeout: time.Second})
	_, err := l.Accounts(t.Context())
	if !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("a ledger that is down: %v", err)
	}
}
