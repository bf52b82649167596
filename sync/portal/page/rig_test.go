package page_test

import (
	"context"
	"errors"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/portal/account"
	"github.com/hmsovereign/ringfence/sync/portal/page"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for.
const patience = 30 * time.Second

var base = tariff.Price{Rate: credit.PerCredit, MicrosRate: 70_000, Initial: 1, Step: 1, CreditPrice: 70_000}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rig is a sidecar's billing page on an embedded ledger and balance store, with
// a shop and notices that the test plays.
type rig struct {
	ledger *ledger.Ledger
	store  *balance.Store
	people *people
	keys   *account.Keys
	shop   *shop
	mini   *miniredis.Miniredis
	cfg    page.Config
	page   *page.Page
	server *httptest.Server

	mu    sync.Mutex
	ahead time.Duration // of the clock
}

func newRig(t testing.TB, change ...func(*page.Config)) *rig {
	t.Helper()
	l := sqlitetest.Open(t)
	r := &rig{ledger: l, people: &people{all: map[string]*authz.Account{}}, mini: miniredis.NewMiniRedis()}
	must(t, r.mini.Start())
	t.Cleanup(r.mini.Close)
	rdb := redis.NewClient(&redis.Options{Addr: r.mini.Addr()})
	t.Cleanup(func() { must(t, rdb.Close()) })
	var err error
	r.store, err = balance.New(rdb, balance.Config{Partitions: 4, Embedded: true}, nil)
	must(t, err)
	t.Cleanup(r.store.Close)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	r.keys = account.NewKeys(l, nil, r.clock, log)
	r.shop = newShop(r)
	t.Cleanup(r.shop.checkout.Close)
	api := account.New(account.Config{Directory: r.people, Keys: l, Sums: l, Lists: l, Balances: r.store, Log: log})
	r.cfg = page.Config{Directory: r.people, Sessions: l, KeyLookup: l, Keys: r.keys, Book: l, Balances: r.store, Statement: api.ServeStatement,
		Shop: r.shop, TopUps: r.shop, Invoices: r.shop, Details: r.shop, Alerting: r.shop, Webhooks: r.shop,
		WatchEvery: 100 * time.Millisecond, RedisTimeout: 5 * time.Second, Now: r.clock, Log: log}
	r.cfg.FormAction = []string{r.shop.checkout.URL}
	for _, c := range change {
		c(&r.cfg)
	}
	r.page, err = page.New(r.cfg)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.page.Run(ctx)
	}()
	r.server = httptest.NewServer(r.page)
	t.Cleanup(func() {
		r.page.Stop()
		r.server.Close()
		cancel()
		<-done
	})
	return r
}

func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Add(r.ahead)
}

func (r *rig) advance(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ahead += d
}

// people is a directory.
type people struct {
	mu      sync.Mutex
	all     map[string]*authz.Account
	numbers []authz.Number
}

func (p *people) Ready() bool { return true }

func (p *people) Account(id string) (*authz.Account, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := p.all[id]
	return a, ok
}

func (p *people) put(a authz.Account) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all[a.ID] = &a
}

func (p *people) Numbers(id, _ string, _ int) []authz.Number {
	p.mu.Lock()
	defer p.mu.Unlock()
	var own []authz.Number
	for _, n := range p.numbers {
		if n.Account == id {
			own = append(own, n)
		}
	}
	return own
}

func (p *people) NumberCount(id string) int { return len(p.Numbers(id, "", 0)) }

const (
	did     = "+31850835037"
	someone = "+4930123456"
)

// open makes an account with a number and some credit, and a key of it.
func (r *rig) open(t testing.TB, id string, minutes int64, change ...func(*authz.Account)) string {
	t.Helper()
	now := r.clock()
	a := authz.Account{ID: id, Company: "Your Company", Email: "billing@example.com", Status: authz.Active, Currency: "EUR",
		Tariff: "default", TimeZone: "Europe/Amsterdam", Created: now}
	for _, c := range change {
		c(&a)
	}
	_, _, err := r.ledger.CreateAccount(t.Context(), a)
	must(t, err)
	must(t, a.Resolve(tariff.Default()))
	r.people.put(a)
	r.people.mu.Lock()
	r.people.numbers = append(r.people.numbers, authz.Number{ID: uuid.NewString(), E164: did, Account: id, Name: "Main line"})
	r.people.mu.Unlock()
	must(t, r.store.OpenAccount(t.Context(), id, authz.Active, a.Day(now)))
	if minutes != 0 {
		r.grant(t, authz.Grant{Account: id, Units: credit.Units(minutes) * credit.PerCredit, Kind: ledger.KindPurchase, Reference: "first", At: now.Add(-time.Hour)})
	}
	key, _, err := r.keys.Create(t.Context(), id, "Website", time.Time{})
	must(t, err)
	return key
}

func (r *rig) grant(t testing.TB, g authz.Grant) {
	t.Helper()
	must(t, r.give(t.Context(), g))
}

func (r *rig) give(ctx context.Context, g authz.Grant) error {
	made, _, err := r.ledger.AddGrant(ctx, g)
	if err == nil {
		_, err = r.store.Grant(ctx, g.Account, made.Number, made.Units)
	}
	return err
}

// used is the record of a call that ended then, after so many seconds.
func used(id string, ended time.Time, seconds int64) authz.Record {
	uid := uuid.Must(uuid.NewV7())
	answered := ended.Add(-time.Duration(seconds) * time.Second)
	return authz.Record{State: authz.StateSettled, Account: id, UID: uid, Seq: 1, Epoch: 1,
		Key: authz.Key{Switch: "sw1", Direction: authz.Inbound, CallID: uid.String()},
		At:  ended.UnixMilli(), AnsweredAt: answered.UnixMilli(), TalkMS: 1000 * seconds, CreatedAt: answered.Add(-5 * time.Second).UnixMilli(),
		Units: base.Cost(1000 * seconds), Micros: base.Money(1000 * seconds), Price: base, Reason: "16",
		Detail: authz.Detail{From: someone, To: did, Currency: "EUR", Tariff: "default@1"}}
}

func rejected(r authz.Record, reason string) authz.Record {
	r.State, r.Reason, r.AnsweredAt, r.TalkMS, r.Units, r.Micros = authz.StateRejected, reason, 0, 0, 0, 0
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

// call begins an outbound call that was answered some time ago.
func (r *rig) call(t testing.TB, id, callID string, ago time.Duration) authz.Hold {
	t.Helper()
	at := r.clock().Add(-ago)
	a, _ := r.people.Account(id)
	h := authz.Hold{Key: authz.Key{Switch: "sw1", Direction: authz.Outbound, CallID: callID}, UID: uuid.Must(uuid.NewV7()), Account: id, Hash: "h",
		Now: at.UnixMilli(), Day: a.Day(at), Epoch: 1, Price: base, MinSeconds: 1, SliceSeconds: 60, ExpiresAt: at.Add(4 * time.Minute).UnixMilli(),
		Detail: authz.Detail{From: did, To: someone, Currency: "EUR", Tariff: "default@1"}}
	held, err := r.store.Authorize(t.Context(), &h)
	must(t, err)
	if held.Denied != "" {
		t.Fatalf("call %s is denied: %s", callID, held.Denied)
	}
	_, err = r.store.Answered(t.Context(), authz.Answer{Key: h.Key, Account: id, Epoch: 1, Now: at.UnixMilli(), Day: h.Day, SliceMS: 60_000})
	must(t, err)
	return h
}

// browser is somebody without scripts: cookies, forms, and what a browser sends with them.
type browser struct {
	t      testing.TB
	rig    *rig
	client *http.Client
	lang   string
	last   reply
}

func (r *rig) browser(t testing.TB) *browser {
	jar, err := cookiejar.New(nil)
	must(t, err)
	return &browser{t: t, rig: r, client: &http.Client{Jar: jar, Timeout: patience, Transport: r.server.Client().Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

type reply struct {
	status int
	header http.Header
	body   string
}

func (b *browser) do(method, path string, form url.Values, header ...string) reply {
	b.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.rig.server.URL+path, body)
	must(b.t, err)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", b.rig.server.URL)
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	if b.lang != "" {
		req.Header.Set("Accept-Language", b.lang)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i+1] == "" {
			req.Header.Del(header[i])
		}
	}
	resp, err := b.client.Do(req)
	must(b.t, err)
	text, err := io.ReadAll(resp.Body)
	must(b.t, errors.Join(err, resp.Body.Close()))
	b.last = reply{resp.StatusCode, resp.Header, string(text)}
	return b.last
}

func (b *browser) get(path string, header ...string) reply {
	b.t.Helper()
	return b.do(http.MethodGet, path, nil, header...)
}

var secretField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// post sends a form with the secret of the page shown at from.
func (b *browser) post(from, path string, pairs ...string) reply {
	b.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	found := secretField.FindAllStringSubmatch(b.get(from).body, -1)
	if len(found) == 0 {
		b.t.Fatalf("%s has no form: %s", from, b.last.body)
	}
	form.Set("csrf", found[len(found)-1][1])
	return b.do(http.MethodPost, path, form)
}

// signIn signs in with a key.
func (b *browser) signIn(key string) {
	b.t.Helper()
	if got := b.post("/billing/sign-in", "/billing/sign-in", "key", key); got.status != http.StatusSeeOther || got.header.Get("Location") != "/billing" {
		b.t.Fatalf("sign-in answered %d to %q: %s", got.status, got.header.Get("Location"), got.body)
	}
}

// cookie is what the browser holds.
func (b *browser) cookie(name string) string {
	u, err := url.Parse(b.rig.server.URL)
	must(b.t, err)
	for _, c := range b.client.Jar.Cookies(u) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// shows fails the test unless a page shows all of some texts.
func (a reply) shows(t testing.TB, status int, texts ...string) {
	t.Helper()
	if a.status != status {
		t.Errorf("answered %d, want %d: %s", a.status, status, a.body)
	}
	plain := strings.ReplaceAll(html.UnescapeString(a.body), "\u00a0", " ")
	for _, text := range texts {
		if !strings.Contains(plain, text) {
			t.Errorf("%q is not shown in %s", text, plain)
		}
	}
}

// to fails the test unless an answer leads somewhere.
func (a reply) to(t testing.TB, where string) {
	t.Helper()
	if got := a.header.Get("Location"); a.status != http.StatusSeeOther || got != where {
		t.Errorf("answered %d to %q, want 303 to %q: %s", a.status, got, where, a.body)
	}
}
