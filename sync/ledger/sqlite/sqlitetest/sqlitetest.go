// Package sqlitetest gives tests a ledger of their own.
package sqlitetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite"
)

// template is an empty ledger's file with the newest schema: the migrations run once in a test binary.
var template = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "ledger-template-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "ledger.db")
	l, err := sqlite.Open(context.Background(), path)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(l.Migrate(context.Background()), l.Close()); err != nil {
		return nil, fmt.Errorf("migrate the template of ledgers: %w", err)
	}
	return os.ReadFile(path)
})

// Open makes an empty ledger with the newest schema, and closes it after the test. All of a test binary have one identity.
func Open(t testing.TB) *ledger.Ledger {
	t.Helper()
	l, err := open(filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func open(path string) (*ledger.Ledger, error) {
	empty, err := template()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, empty, 0o600); err != nil {
		return nil, err
	}
	return sqlite.Open(context.Background(), path)
}
