package portal_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/directory"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/portal"
)

// real is an admin API over the real directory, book and balance store.
type real struct {
	*world
	store *balance.Store
	dir   *directory.Directory
}

func newReal(t *testing.T, book *ledger.Ledger, rdb redis.UniversalClient, embedded bool) *real {
	t.Helper()
	store, err := balance.New(rdb, balance.Config{Embedded: embedded}, balance.NewMetrics(nil))
	if err != nil {
		t.Fatal(err)
	}
	mirror, err := directory.NewRedis(rdb)
	if err != nil {
		t.Fatal(err)
	}
	dir := directory.New(directory.Config{Source: mirror, Mirror: mirror})
	w := &world{t: t, now: time.Now()}
	log := slog.New(slog.NewTextHandler(&w.log, nil))
	w.completer = portal.NewCompleter(portal.CompleterConfig{Book: book, Balances: store, Directory: dir, Log: log})
	w.handler = portal.NewAdmin(portal.AdminConfig{Book: book, Mirror: dir, Directory: dir, Balances: store, Calls: store,
		Killer: store, Completer: w.completer, Log: log})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { dir.Run(ctx) })
	running.Go(func() { w.completer.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		store.Close()
	})
	return &real{w, store, dir}
}

// hold has the store reserve credit for a call.
func (r *real) hold(id, account string) authz.Hold {
	r.t.Helper()
	now := time.Now().UnixMilli()
	a, ok := r.dir.Account(account)
	if !ok {
		r.t.Fatalf("no account %s", account)
	}
	rate, err := a.Table.Lookup(tariff.Outbound, "", "+31201234567")
	if err != nil {
		r.t.Fatal(err)
	}
	h := authz.Hold{Key: authz.Key{Switch: "sw1", Direction: authz.Outbound, CallID: id}, UID: uuid.Must(uuid.NewV7()), Account: account,
		Hash: "h", Now: now, Day: a.Day(time.Now()), Epoch: 1, Price: rate.Price, MinSeconds: 1, SliceSeconds: 60, ExpiresAt: now + 240_000,
		Detail: authz.Detail{From: "+31850835037", To: "+31201234567", Currency: a.Currency, Tariff: a.TariffVersion()}}
	held, err := r.store.Authorize(r.t.Context(), &h)
	if err != nil || held.Denied != "" {
		r.t.Fatalf("authorize: %+v, %v", held, err)
	}
	if err := r.store.Index(r.t.Context(), []authz.Indexed{{Key: h.Key, Account: account, Epoch: 1}}, nil); err != nil {
		r.t.Fatal(err)
	}
	return h
}

func TestRealStores(t *testing.T) {
	open := func(t *testing.T, addr string) redis.UniversalClient {
		rdb := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
		t.Cleanup(func() { _ = rdb.Close() })
		return rdb
	}
	t.Run("miniredis", func(t *testing.T) { testReal(t, open(t, miniredis.RunT(t).Addr()), true) })
	t.Run("redis", func(t *testing.T) { testReal(t, open(t, services.Redis(t).Addr), false) })
}

func testReal(t *testing.T, rdb redis.UniversalClient, embedded bool) {
	book := sqlitetest.Open(t)
	a, b := newReal(t, book, rdb, embedded), newReal(t, book, rdb, embedded)
	a.refused("GET", "accounts", "", 503, "service_unavailable", "", "not loaded")
	mirror, err := directory.NewRedis(rdb)
	if err == nil {
		err = mirror.Replace(t.Context(), func(context.Context) ([]directory.Change, error) { return nil, nil })
	}
	if err != nil {
		t.Fatal(err)
	}
	a.must("POST", "accounts", `{"id":"acme","company_name":"Acme","time_zone":"Europe/Amsterdam"}`, 201, "currency", "EUR")
	a.must("GET", "accounts/acme", "", 200, "minutes_balance", "0") // at once, where it was made
	b.must("POST", "numbers", `{"number":"+31850835037","account":"acme"}`, 201)
	b.must("POST", "accounts/acme/grants", `{"minutes":10,"reference":"r1"}`, 201, "minutes_balance", "10", "grant.number", "1")
	a.must("POST", "accounts/acme/grants", `{"minutes":10,"reference":"r1"}`, 200, "created", "false", "minutes_balance", "10")
	services.Eventually(t, 30*time.Second, func() error {
		if _, ok := b.dir.Account("acme"); !ok || !b.dir.Ready() {
			return fmt.Errorf("b does not know the account")
		}
		if _, ok := a.dir.Number("+31850835037"); !ok {
			return fmt.Errorf("a does not know the number")
		}
		return nil
	})

	// The book's own errors, told apart by their Problem.
	a.refused("POST", "accounts", `{"id":"acme","company_name":"Acme"}`, 409, "conflict", "id", "exists already")
	a.refused("POST", "numbers", `{"number":"+31850835037","account":"acme"}`, 409, "conflict", "number", `"acme" already`)
	a.refused("POST", "numbers", `{"number":"+31850835038","account":"nobody"}`, 404, "not_found", "account", `"nobody"`)
	a.refused("POST", "accounts/acme/grants", `{"minutes":11,"reference":"r1"}`, 409, "conflict", "reference", "of 10 credits")
	a.refused("POST", "accounts/nobody/grants", `{"minutes":11,"reference":"r1"}`, 404, "not_found", "id", `"nobody"`)
	a.refused("PATCH", "accounts/acme", `{"tariff":"none"}`, 404, "not_found", "tariff", `"none"`)
	a.refused("GET", "tariffs/none", "", 404, "not_found", "id", `"none"`)

	// A call on a tariff that was put through the API.
	a.must("PUT", "tariffs", "id: double\nrates: [{credits_per_minute: 2}]\n", 200, "version", "1")
	a.must("PATCH", "accounts/acme", `{"tariff":"double"}`, 200, "tariff", "double")
	h := a.hold("a/b@c d", "acme")
	b.must("GET", "calls", "", 200, "calls.0.call_id", "a/b@c d", "calls.0.tariff", "double@1", "calls.0.held_units", "120000", "calls.1", "<nil>")
	b.must("GET", "accounts/acme/credit", "", 200, "minutes_balance", "10", "balance.held_units", "120000", "grants.0.reference", "r1")
	for _, text := range []string{"a/b@c d", h.Key.String(), h.UID.String()} {
		b.must("GET", "calls/show?call="+url.QueryEscape(text), "", 200, "state", "held", "call_uid", h.UID.String())
	}
	b.must("POST", "calls/kill", `{"call":"a/b@c d"}`, 202, "flags.0", "killed")

	// Suspended for every sidecar; the live call stays.
	b.must("POST", "accounts/acme/suspend", `{"kill":true}`, 200, "killed.0", h.Key.String())
	if bal, err := a.store.Balance(t.Context(), "acme"); err != nil || !bal.Suspended || bal.Held != 2*credit.PerCredit {
		t.Errorf("balance %+v, %v", bal, err)
	}
	services.Eventually(t, 30*time.Second, func() error {
		if acct, _ := a.dir.Account("acme"); acct.Status != authz.Suspended {
			return fmt.Errorf("a has the account as %s", acct.Status)
		}
		return nil
	})
	b.must("POST", "accounts/acme/resume", "", 200, "status", "active")
	b.must("DELETE", "numbers/+31850835037", `{"kill":true}`, 200, "account", "acme")
	for _, r := range []*real{a, b} {
		if strings.Contains(r.log.String(), "level=ERROR") || strings.Contains(r.log.String(), "level=WARN") {
			t.Errorf("log:\n%s", &r.log)
		}
	}
}
