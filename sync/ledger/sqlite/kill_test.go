package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite"
)

// childLedger names the file that a child of TestKilled fills.
const childLedger = "RINGFENCE_TEST_LEDGER"

// A sidecar that is killed leaves all that was acknowledged, nothing by halves, and no lock; and while it lives,
// nobody else gets in.
func TestKilled(t *testing.T) {
	if path := os.Getenv(childLedger); path != "" {
		fill(t, path)
		return
	}
	path := filepath.Join(t.TempDir(), "ledger.db")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var acknowledged []uuid.UUID
	for range 3 {
		child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKilled$")
		child.Env = append(os.Environ(), childLedger+"="+path)
		out, err := child.StdoutPipe()
		must(t, err)
		must(t, child.Start())
		lines := bufio.NewScanner(out)
		for target := len(acknowledged) + 30; len(acknowledged) < target && lines.Scan(); {
			if uid, err := uuid.Parse(lines.Text()); err == nil {
				acknowledged = append(acknowledged, uid)
			}
		}
		if _, err := sqlite.Open(t.Context(), path); !errors.Is(err, ledger.ErrLocked) {
			t.Errorf("beside a living sidecar: %v", err)
		}
		must(t, child.Process.Kill())
		for lines.Scan() { // what it managed to say before
			if uid, err := uuid.Parse(lines.Text()); err == nil {
				acknowledged = append(acknowledged, uid)
			}
		}
		_ = child.Wait() // "signal: killed"
	}
	if len(acknowledged) < 90 {
		t.Fatalf("only %d calls were acknowledged", len(acknowledged))
	}
	l := open(t, path)
	for _, uid := range acknowledged {
		if _, err := l.Call(t.Context(), uid); err != nil {
			t.Errorf("an acknowledged call is lost: %v", err)
		}
	}
	wrong, err := l.Check(t.Context(), "a")
	must(t, err)
	if len(wrong) > 0 {
		t.Errorf("wrong sums: %+v", wrong)
	}
}

// fill takes calls in and says which, until it is killed.
func fill(t *testing.T, path string) {
	ctx := context.Background()
	l, err := sqlite.Open(ctx, path)
	must(t, err)
	must(t, l.Migrate(ctx))
	_, _, err = l.CreateAccount(ctx, authz.Account{ID: "a", Status: authz.Active, Currency: "EUR", Tariff: "default", TimeZone: "UTC"})
	if err != nil && !errors.Is(err, ledger.ErrExists) {
		t.Fatal(err)
	}
	for range 1_000_000 {
		batch := []authz.Record{settled("a"), settled("a"), settled("a")}
		_, err := l.Ingest(ctx, batch)
		must(t, err)
		for _, r := range batch {
			fmt.Println(r.UID)
		}
	}
}

func settled(account string) authz.Record {
	uid := uuid.Must(uuid.NewV7())
	now := time.Now().UnixMilli()
	return authz.Record{State: authz.StateSettled, Account: account, UID: uid, At: now, CreatedAt: now, Units: 1000,
		Key: authz.Key{Switch: "sw1", Direction: authz.Outbound, CallID: uid.String()}}
}

// Readers neither wait for a writer nor see what it has not committed.
func TestReadBesideWriter(t *testing.T) {
	l := fresh(t).Ledger
	ctx := t.Context()
	must(t, l.Migrate(ctx))
	_, _, err := l.CreateAccount(ctx, authz.Account{ID: "a", Status: authz.Active, Currency: "EUR", Tariff: "default", TimeZone: "UTC"})
	must(t, err)
	err = l.Update(ctx, func(tx *ledger.Tx) error {
		if _, _, err := tx.AddGrant(ctx, authz.Grant{Account: "a", Units: 5, Kind: ledger.KindBonus, Reference: "r"}); err != nil {
			return err
		}
		sum, err := l.Totals(ctx, "a")
		if sum.Granted != 0 {
			t.Errorf("granted %d before the commit", sum.Granted)
		}
		return err
	})
	must(t, err)
	sum, err := l.Totals(ctx, "a")
	must(t, err)
	if sum.Granted != 5 {
		t.Errorf("granted %d", sum.Granted)
	}
}
