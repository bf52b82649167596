package notify

import (
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
)

func queued(t *testing.T) (*Notifier, ledger.Lane) {
	t.Helper()
	ctx := t.Context()
	l := sqlitetest.Open(t)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := l.CreateAccount(ctx, authz.Account{ID: "acme", Company: "Your Company", Status: authz.Active, Currency: "EUR", Tariff: "default",
		Language: "en", TimeZone: "UTC"})
	check(err)
	n, err := New(Config{Holder: "sidecar-1"}, l, slog.New(slog.DiscardHandler), nil)
	check(err)
	of := ledger.Lane{Account: "acme", Endpoint: "https://example.com/hook"}
	var all []ledger.Delivery
	for range 3 {
		all = append(all, ledger.Delivery{ID: uuid.New(), Account: of.Account, Endpoint: of.Endpoint, Topic: "call", Event: EventStatus, Body: []byte("{}")})
	}
	check(l.Update(ctx, func(tx *ledger.Tx) error { _, err := tx.Enqueue(ctx, all); return err }))
	all[0].State, all[0].Attempts, all[0].Due = ledger.DeliveryPending, 1, time.Now().Add(time.Hour)
	check(l.NoteDeliveries(ctx, all[:1]))
	return n, of
}

// A message that waits for its next try makes nobody look again and again at those behind it.
func TestNothingToTry(t *testing.T) {
	t.Parallel()
	n, of := queued(t)
	ctx := t.Context()
	var wg sync.WaitGroup
	if err := n.fill(ctx, ctx, &wg, pool{false, make(chan struct{}, 4)}); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if len(n.look) > 0 {
		t.Error("another look was asked for")
	}
	if dropped, err := n.ledger.DropEndpoints(ctx, n.now()); err != nil || dropped != 0 {
		t.Errorf("dropped %d endpoints that something waits for, %v", dropped, err)
	}
	for range 2 {
		if tried, err := n.work(ctx, ctx, of); tried || err != nil {
			t.Errorf("tried %v, %v", tried, err)
		}
	}
}

func TestIdleEndpointsAreForgotten(t *testing.T) {
	t.Parallel()
	n, of := queued(t)
	ctx := t.Context()
	idle := ledger.Lane{Account: of.Account, Endpoint: "https://example.com/gone"}
	for _, lane := range []ledger.Lane{of, idle} {
		if _, got, err := n.ledger.LeaseEndpoint(ctx, lane, "another", n.now(), n.now().Add(time.Minute)); err != nil || !got {
			t.Fatal(got, err)
		}
		if err := n.ledger.FreeEndpoint(ctx, lane, "another", n.now()); err != nil {
			t.Fatal(err)
		}
	}
	n.drop(ctx)
	if left, err := n.ledger.DropEndpoints(ctx, n.now()); err != nil || left != 0 {
		t.Errorf("%d idle endpoints were left, %v", left, err)
	}
}
