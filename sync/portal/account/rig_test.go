package account_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/postgres"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/portal/account"
	"github.com/hmsovereign/ringfence/sync/portal/openapi/openapitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(services.Main(m)) }

// patience bounds what a test waits for.
const patience = 30 * time.Second

// today is when the tests take place, unless they move the clock.
var today = time.Date(2025, 12, 20, 12, 0, 0, 0, time.UTC)

var base = tariff.Price{Rate: credit.PerCredit, MicrosRate: 70_000, Initial: 1, Step: 1, CreditPrice: 70_000}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ledgers are the two kinds of ledger, each opened anew.
var ledgers = []struct {
	name string
	open func(testing.TB) *ledger.Ledger
}{
	{"sqlite", sqlitetest.Open},
	{"postgres", openPostgres},
}

func openPostgres(t testing.TB) *ledger.Ledger {
	l, err := postgres.Open(context.Background(), postgres.Config{URL: services.SharedDatabase(t)})
	return migrated(t, l, err)
}

func migrated(t testing.TB, l *ledger.Ledger, err error) *ledger.Ledger {
	t.Helper()
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	must(t, l.Migrate(t.Context()))
	return l
}

// onLedgers runs a test on both kinds of ledger, with one Redis for both.
func onLedgers(t *testing.T, test func(*testing.T, *rig)) {
	server := services.Redis(t)
	for _, kind := range ledgers {
		t.Run(kind.name, func(t *testing.T) {
			r := newRig(t, kind.open(t), server)
			must(t, r.rdb.FlushAll(t.Context()).Err())
			test(t, r)
		})
	}
}

// rig is a sidecar's account API on real stores, with a clock that only the test moves.
type rig struct {
	ledger *ledger.Ledger
	redis  *services.RedisServer
	rdb    redis.UniversalClient
	store  *balance.Store
	people *people
	keys   *account.Keys
	api    *account.Server
	server *httptest.Server
	docs   *openapitest.Validator
	client *http.Client
	cfg    account.Config

	mu  sync.Mutex
	now time.Time
}

func newRig(t testing.TB, l *ledger.Ledger, server *services.RedisServer, change ...func(*account.Config)) *rig {
	t.Helper()
	r := &rig{ledger: l, redis: server, people: &people{all: map[string]*authz.Account{}}, docs: openapitest.New(t), now: today}
	var err error
	r.rdb, err = balance.Dial(balance.DialConfig{URL: server.URL, Timeout: 2 * time.Second})
	must(t, err)
	t.Cleanup(func() { must(t, r.rdb.Close()) })
	r.store, err = balance.New(r.rdb, balance.Config{Partitions: 4}, nil)
	must(t, err)
	t.Cleanup(r.store.Close)
	r.cfg = account.Config{Directory: r.people, Keys: l, Sums: l, Lists: l, Balances: r.store, Redis: r.rdb, Limit: 1_000_000,
		Now: r.clock, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, c := range change {
		c(&r.cfg)
	}
	r.api = account.New(r.cfg)
	r.keys = account.NewKeys(l, r.api.Invalidate, r.clock, r.cfg.Log)
	r.server, r.client = r.serve(t, r.api)
	return r
}

// serve listens for an API, and gives a client whose every exchange is held against the OpenAPI document.
func (r *rig) serve(t testing.TB, api http.Handler) (*httptest.Server, *http.Client) {
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	return server, &http.Client{Transport: r.docs.Transport(t, server.Client().Transport), Timeout: patience}
}

func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *rig) advance(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

// people is a directory.
type people struct {
	mu      sync.Mutex
	all     map[string]*authz.Account
	numbers map[string]int
	gone    bool
}

func (p *people) Ready() bool { return true }

func (p *people) Account(id string) (*authz.Account, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := p.all[id]
	return a, ok && !p.gone
}

func (p *people) NumberCount(id string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.numbers[id]
}

func (p *people) put(a authz.Account) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all[a.ID] = &a
}

// open makes an account with some credit in ledger and Redis, and a key of it.
func (r *rig) open(t testing.TB, id, zone string, minutes int64) string {
	t.Helper()
	a := authz.Account{ID: id, Company: "Your Company", Email: "billing@example.com", Status: authz.Active, Currency: "EUR",
		Tariff: "default", TimeZone: zone, Created: today}
	_, _, err := r.ledger.CreateAccount(t.Context(), a)
	must(t, err)
	must(t, a.Resolve(tariff.Default()))
	r.people.put(a)
	must(t, r.store.OpenAccount(t.Context(), id, authz.Active, a.Day(today)))
	if minutes != 0 {
		r.grant(t, authz.Grant{Account: id, Units: credit.Units(minutes) * credit.PerCredit, Kind: ledger.KindPurchase, Reference: "first", At: today.AddDate(0, -2, 0)})
	}
	key, _, err := r.keys.Create(t.Context(), id, "test", time.Time{})
	must(t, err)
	return key
}

func (r *rig) grant(t testing.TB, g authz.Grant) {
	t.Helper()
	made, _, err := r.ledger.AddGrant(t.Context(), g)
	must(t, err)
	_, err = r.store.Grant(t.Context(), g.Account, made.Number, made.Units)
	must(t, err)
}

// used is the record of a call that ended then, after so many seconds.
func used(id string, ended time.Time, seconds int64) authz.Record {
	uid := uuid.Must(uuid.NewV7())
	answered := ended.Add(-time.Duration(seconds) * time.Second)
	return authz.Record{State: authz.StateSettled, Account: id, UID: uid, Seq: 1, Epoch: 1,
		Key: authz.Key{Switch: "sw1", Direction: authz.Inbound, CallID: uid.String()},
		At:  ended.UnixMilli(), AnsweredAt: answered.UnixMilli(), TalkMS: 1000 * seconds, CreatedAt: answered.Add(-5 * time.Second).UnixMilli(),
		Units: base.Cost(1000 * seconds), Micros: base.Money(1000 * seconds), Price: base, Reason: "16",
		Detail: authz.Detail{From: "+4915112345678", To: "+31850835037", NumberID: "0b4d7a34-6d0e-4c3e-8f53-2e8b1a6a9c11", Currency: "EUR", Tariff: "default@1"}}
}

// free is the record of a call that cost nothing.
func free(r authz.Record, s authz.State, reason string) authz.Record {
	r.State, r.Reason, r.AnsweredAt, r.TalkMS, r.Units, r.Micros = s, reason, 0, 0, 0, 0
	return r
}

func (r *rig) ingest(t testing.TB, records ...authz.Record) {
	t.Helper()
	results, err := r.ledger.Ingest(t.Context(), records)
	must(t, err)
	for _, res := range results {
		must(t, res.Err)
	}
}

// hold authorizes an outbound call now.
func (r *rig) hold(t testing.TB, id, callID string, p tariff.Price) authz.Hold {
	t.Helper()
	h := authz.Hold{Key: authz.Key{Switch: "sw1", Direction: authz.Outbound, CallID: callID}, UID: uuid.Must(uuid.NewV7()), Account: id, Hash: "h",
		Now: r.clock().UnixMilli(), Day: 20251220, Epoch: 1, Price: p, MinSeconds: 1, SliceSeconds: 60,
		ExpiresAt: r.clock().Add(4 * time.Minute).UnixMilli(),
		Detail:    authz.Detail{From: "+31850835037", To: "+4915112345678", NumberID: "n1", Currency: "EUR", Tariff: "default@1"}}
	held, err := r.store.Authorize(t.Context(), &h)
	must(t, err)
	if held.Denied != "" {
		t.Fatalf("call %s is denied: %s", callID, held.Denied)
	}
	return h
}

func (r *rig) answer(t testing.TB, h authz.Hold) {
	t.Helper()
	_, err := r.store.Answered(t.Context(), authz.Answer{Key: h.Key, Account: h.Account, Epoch: 1, Now: r.clock().UnixMilli(), Day: h.Day, SliceMS: 60_000})
	must(t, err)
}

// reply is an answer as read.
type reply struct {
	status int
	header http.Header
	body   string
}

// get asks for a path below /api/v1/, or from the root.
func (r *rig) get(t testing.TB, key, path string, header ...string) reply {
	t.Helper()
	return r.send(t, http.MethodGet, key, path, nil, header...)
}

func (r *rig) send(t testing.TB, method, key, path string, body io.Reader, header ...string) reply {
	t.Helper()
	if !strings.HasPrefix(path, "/") {
		path = "/api/v1/" + path
	}
	req, err := http.NewRequestWithContext(t.Context(), method, r.server.URL+path, body)
	must(t, err)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := r.client.Do(req)
	must(t, err)
	b, err := io.ReadAll(resp.Body)
	must(t, errors.Join(err, resp.Body.Close()))
	return reply{resp.StatusCode, resp.Header, string(b)}
}

// into reads an answer that must be a success.
func (a reply) into(t testing.TB, v any) {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("answered %d: %s", a.status, a.body)
	}
	must(t, json.Unmarshal([]byte(a.body), v))
}

// refused checks an error answer.
func (a reply) refused(t testing.TB, what string, status int, code, param string) {
	t.Helper()
	var e struct {
		Error struct{ Code, Param, Message, Type string }
	}
	if err := json.Unmarshal([]byte(a.body), &e); err != nil {
		t.Fatalf("%s answered %d: %s", what, a.status, a.body)
	}
	if a.status != status || e.Error.Code != code || e.Error.Param != param || e.Error.Type == "" {
		t.Errorf("%s answered %d %+v, want %d %s %q", what, a.status, e.Error, status, code, param)
	}
}

// eventually polls until check is content.
func eventually(t testing.TB, what string, check func() bool) {
	t.Helper()
	services.Eventually(t, patience, func() error {
		if !check() {
			return fmt.Errorf("%s: not yet", what)
		}
		return nil
	})
}
