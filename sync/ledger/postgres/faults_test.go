package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/postgres"
)

const patience = 30 * time.Second

func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func newAccount(t testing.TB, l *ledger.Ledger, id string) {
	t.Helper()
	_, _, err := l.CreateAccount(bounded(t), authz.Account{ID: id, Status: authz.Active, Currency: "EUR", Tariff: "default", TimeZone: "UTC"})
	must(t, err)
}

func settled(account string, units credit.Units) authz.Record {
	uid := uuid.Must(uuid.NewV7())
	now := time.Now().UnixMilli()
	return authz.Record{State: authz.StateSettled, Account: account, UID: uid, At: now, CreatedAt: now, Units: units,
		Key: authz.Key{Switch: "sw1", Direction: authz.Outbound, CallID: uid.String()}}
}

func sound(t testing.TB, l *ledger.Ledger, account string, want credit.Units) {
	t.Helper()
	sum, err := l.Totals(bounded(t), account)
	must(t, err)
	wrong, err := l.Check(bounded(t), account)
	must(t, err)
	if sum.Settled != want || len(wrong) > 0 {
		t.Errorf("settled %d, want %d; wrong sums: %+v", sum.Settled, want, wrong)
	}
}

// Postgres is killed and comes back again and again while calls are taken in. Whatever a writer was told, delivering
// until it is told of success leaves every call in the ledger once.
func TestKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	server := services.Postgres(t)
	l := open(t, postgres.Config{URL: server.NewDatabase(t)})
	must(t, l.Migrate(bounded(t)))
	const writers, batches, size = 3, 60, 20
	for w := range writers {
		newAccount(t, l, fmt.Sprint("a", w))
	}

	var failed sync.Map
	var wg sync.WaitGroup
	progress := make(chan struct{}, writers*batches)
	for w := range writers {
		wg.Go(func() {
			for range batches {
				var batch []authz.Record
				for i := range size {
					batch = append(batch, settled(fmt.Sprint("a", (w+i)%writers), 1000)) // accounts are shared
				}
				services.Eventually(t, patience, func() error {
					ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
					defer cancel()
					_, err := l.Ingest(ctx, batch)
					if err != nil {
						failed.Store(errors.Is(err, ledger.ErrUnavailable), err)
					}
					return err
				})
				progress <- struct{}{}
			}
		})
	}
	for range 3 {
		for range writers * batches / 4 {
			<-progress
		}
		server.Kill()
		server.Start()
	}
	wg.Wait()
	if err, other := failed.Load(false); other {
		t.Errorf("an outage looked like %v", err)
	}
	if _, seen := failed.Load(true); !seen {
		t.Error("no writer noticed an outage: the test proves nothing")
	}
	for w := range writers {
		sound(t, l, fmt.Sprint("a", w), batches*size*1000)
	}
}

// Two transactions that lock accounts against the order get into a deadlock; the one that Postgres ends is run again.
func TestDeadlockIsRunAgain(t *testing.T) {
	t.Parallel()
	l := fresh(t).Ledger
	must(t, l.Migrate(bounded(t)))
	newAccount(t, l, "a")
	newAccount(t, l, "b")
	grant := func(ctx context.Context, tx *ledger.Tx, account, reference string) error {
		_, _, err := tx.AddGrant(ctx, authz.Grant{Account: account, Units: 1, Kind: ledger.KindBonus, Reference: reference})
		return err
	}
	var both sync.WaitGroup // until each holds its first lock
	both.Add(2)
	var runs [2]int
	var wg sync.WaitGroup
	for i, order := range [2][2]string{{"a", "b"}, {"b", "a"}} {
		wg.Go(func() {
			ctx := bounded(t)
			err := l.Update(ctx, func(tx *ledger.Tx) error {
				runs[i]++
				reference := fmt.Sprint("r", i)
				if err := grant(ctx, tx, order[0], reference); err != nil {
					return err
				}
				if runs[i] == 1 {
					both.Done()
					both.Wait()
				}
				return grant(ctx, tx, order[1], reference)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if runs[0]+runs[1] < 3 {
		t.Errorf("the transactions ran %v times", runs)
	}
	for _, account := range []string{"a", "b"} {
		if sum, err := l.Totals(bounded(t), account); err != nil || sum.Granted != 2 || sum.Grants != 2 {
			t.Errorf("account %s: %+v, %v", account, sum, err)
		}
	}
}

// A primary that was demoted takes no writes: that is an outage, not a refusal.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	db := services.SharedDatabase(t)
	l := open(t, postgres.Config{URL: db})
	must(t, l.Migrate(bounded(t)))
	newAccount(t, l, "a")
	demoted := open(t, postgres.Config{URL: db + "&default_transaction_read_only=on"})
	_, err := demoted.Ingest(bounded(t), []authz.Record{settled("a", 1)})
	if !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("a read-only ledger: %v", err)
	}
	sound(t, demoted, "a", 0)
}

// A server that accepts connections and says nothing.
func TestSilent(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { must(t, silent.Close()) })
	l := open(t, postgres.Config{URL: "postgres://ringfence@" + silent.Addr().String() + "/ledger?sslmode=disable", ConnectTimeout: 200 * time.Millisecond})
	_, err = l.Accounts(bounded(t))
	if !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("a silent server: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err = l.Accounts(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a caller that did not wait: %v", err)
	}
}

// Two ledgers share a database, each in a schema of its own.
func TestSchemas(t *testing.T) {
	t.Parallel()
	url := services.SharedDatabase(t)
	script, err := testdata.ReadFile("testdata/schemas.sql")
	must(t, err)
	exec(t, url, string(script))
	for _, schema := range []string{"one", "two"} {
		l := open(t, postgres.Config{URL: url + "&search_path=" + schema})
		must(t, l.Migrate(bounded(t)))
		must(t, l.CheckSchema(bounded(t)))
		newAccount(t, l, "a")
		_, err := l.Ingest(bounded(t), []authz.Record{settled("a", 1000)})
		must(t, err)
		sound(t, l, "a", 1000)
	}
}

// Behind PgBouncer no statement is prepared.
func TestWithoutPreparedStatements(t *testing.T) {
	t.Parallel()
	url := services.SharedDatabase(t)
	l := open(t, postgres.Config{URL: url + "&default_query_exec_mode=exec"})
	must(t, l.Migrate(bounded(t)))
	newAccount(t, l, "a")
	r := settled("a", 84_000)
	for range 2 {
		_, err := l.Ingest(bounded(t), []authz.Record{r})
		must(t, err)
	}
	sound(t, l, "a", 84_000)
	page, sum, err := l.Usage(bounded(t), "a", time.Time{}, time.Time{}, 10, 0)
	if err != nil || len(page) != 1 || page[0].UID != r.UID || sum.Units != 84_000 {
		t.Errorf("usage: %v, %+v, %v", page, sum, err)
	}
	must(t, l.Statement(bounded(t), "a", time.Time{}, time.Time{}, func(ledger.Line) error { return nil }))
}
