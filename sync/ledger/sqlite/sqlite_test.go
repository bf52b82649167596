package sqlite_test

import (
	"database/sql"
	"embed"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/ledgertest"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite"
)

//go:embed testdata
var testdata embed.FS

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func suite(t testing.TB) ledgertest.Driver {
	t.Helper()
	files, err := fs.Sub(testdata, "testdata")
	must(t, err)
	return ledgertest.Driver{Fresh: fresh, Files: files}
}

func fresh(t testing.TB) ledgertest.Database {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger #1?%41.db") // a path is not a URL
	return ledgertest.Database{
		Ledger: open(t, path),
		Exec: func(t testing.TB, script string) {
			t.Helper()
			db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(filepath.Dir(path))+"/ledger%20%231%3F%2541.db?_pragma=busy_timeout(10000)")
			must(t, err)
			_, err = db.Exec(script)
			must(t, errors.Join(err, db.Close()))
		},
	}
}

func open(t testing.TB, path string) *ledger.Ledger {
	t.Helper()
	l, err := sqlite.Open(t.Context(), path)
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

// A second sidecar on one ledger is refused, also while the first is busy, and let in when that is gone.
func TestOneSidecar(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	first, err := sqlite.Open(t.Context(), path)
	must(t, err)
	must(t, first.Migrate(t.Context()))
	if _, err := sqlite.Open(t.Context(), path); !errors.Is(err, ledger.ErrLocked) {
		t.Errorf("second sidecar: %v", err)
	}
	must(t, first.Close())
	if _, err := first.Accounts(t.Context()); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("closed ledger: %v", err)
	}
	must(t, open(t, path).CheckSchema(t.Context()))
}

func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{"no such directory": filepath.Join(dir, "none", "ledger.db"), "a directory": dir} {
		if _, err := sqlite.Open(t.Context(), path); !errors.Is(err, ledger.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	garbage := filepath.Join(dir, "garbage.db")
	must(t, os.WriteFile(garbage, []byte("this is no database, and long enough to have been one"), 0o600))
	if _, err := sqlite.Open(t.Context(), garbage); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("garbage: %v", err)
	}
}
