package stripe_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake/stripefaketest"
)

// patience bounds each wait for something that has no time of its own.
const patience = 90 * time.Second

const (
	secret = "whsec_test"
	site   = "https://customer.example"
	minute = credit.PerCredit
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rig is a Stripe, a ledger, balances, and sidecars' shops on them.
type rig struct {
	t        testing.TB
	fake     *stripefake.Fake
	url      string
	ledger   *ledger.Ledger
	balances *balances
	next     http.RoundTripper
	desk     *stripe.Desk
	hooks    *httptest.Server
	gate     atomic.Pointer[away]

	mu    sync.Mutex
	shops []*stripe.Service
}

func newRig(t testing.TB, change ...func(*stripefake.Config)) *rig {
	t.Helper()
	return newRigOn(t, sqlitetest.Open(t), change...)
}

// newRigOn makes one on a ledger.
func newRigOn(t testing.TB, l *ledger.Ledger, change ...func(*stripefake.Config)) *rig {
	t.Helper()
	var cfg stripefake.Config
	for _, c := range change {
		c(&cfg)
	}
	fake, err := stripefake.New(cfg)
	check(t, err)
	t.Cleanup(func() { check(t, fake.Close()) })
	url, err := fake.Start("")
	check(t, err)
	plain := &http.Transport{}
	t.Cleanup(plain.CloseIdleConnections)
	r := &rig{t: t, fake: fake, url: url, ledger: l, next: stripefaketest.Transport(t, plain), balances: &balances{ledger: l, of: map[string]*held{}}}
	r.desk = stripe.NewDesk(stripe.DeskConfig{Key: stripefake.Key, URL: url, Ledger: l, Transport: r.next})
	r.hooks = httptest.NewServer(http.HandlerFunc(r.webhook))
	t.Cleanup(r.hooks.Close)
	fake.AddEndpoint(r.hooks.URL, secret, stripe.EventTypes()...)
	return r
}

// webhook brings an event to one of the sidecars.
func (r *rig) webhook(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	shops := r.shops
	r.mu.Unlock()
	if len(shops) == 0 {
		http.Error(w, "no sidecar", http.StatusBadGateway)
		return
	}
	shops[rand.IntN(len(shops))].Webhook().ServeHTTP(w, req)
}

func (r *rig) config() stripe.Config {
	return stripe.Config{Key: stripefake.Key, WebhookSecret: secret, URL: r.url, Ledger: r.ledger, Customers: r.desk, Balances: r.balances,
		Apply: r.balances.apply, PublicURL: "https://pay.example", Origins: []string{site}, Packages: []int64{100, 500},
		Poll: 200 * time.Millisecond, TopUpEvery: 50 * time.Millisecond, Transport: gated{r},
		Log: slog.New(slog.NewTextHandler(r.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))}
}

// shop makes a sidecar's shop that does nothing by itself and gets no webhook.
func (r *rig) shop(change ...func(*stripe.Config)) *stripe.Service {
	r.t.Helper()
	cfg := r.config()
	for _, c := range change {
		c(&cfg)
	}
	s, err := stripe.New(cfg)
	check(r.t, err)
	return s
}

// start makes a sidecar's shop that runs, and gets webhooks, until stop or the end of the test.
func (r *rig) start(change ...func(*stripe.Config)) (s *stripe.Service, stop func()) {
	r.t.Helper()
	s = r.shop(change...)
	halt := r.run(s)
	unhook := r.hook(s)
	stop = func() {
		unhook()
		halt()
	}
	r.t.Cleanup(stop)
	return s, stop
}

// run has a shop work until stop.
func (r *rig) run(s *stripe.Service) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// hook has a shop get webhooks until stop.
func (r *rig) hook(s *stripe.Service) (stop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shops = append(slices.Clip(r.shops), s)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.shops = slices.DeleteFunc(slices.Clone(r.shops), func(other *stripe.Service) bool { return other == s })
	}
}

func (r *rig) account(id string, change ...func(*ledger.Billing)) string {
	r.t.Helper()
	_, _, err := r.ledger.CreateAccount(context.Background(), authz.Account{ID: id, Company: "Your Company", Email: "billing@example.com", Status: authz.Active,
		Currency: "EUR", Tariff: "default", Language: "nl", TimeZone: "Europe/Amsterdam"})
	check(r.t, err)
	b := ledger.Billing{Account: id, Company: "Your Company", Email: "billing@example.com", Line1: "Dam 1", PostalCode: "1012 JS", City: "Amsterdam", Country: "NL"}
	for _, c := range change {
		c(&b)
	}
	_, err = r.ledger.SetBilling(context.Background(), b)
	check(r.t, err)
	if b.VATID != "" {
		check(r.t, r.desk.Sync(context.Background()))
	}
	return id
}

// vatIs waits until Stripe has said so of an account's VAT ID.
func (r *rig) vatIs(account string, want ledger.VATStatus) {
	r.t.Helper()
	services.Eventually(r.t, patience, func() error {
		b, err := r.ledger.Billing(context.Background(), account)
		if err == nil && b.VATStatus != want {
			err = errors.Join(fmt.Errorf("%s is %s, want %s", b.VATID, b.VATStatus, want), r.desk.Refresh(context.Background(), b.Customer))
		}
		return err
	})
}

// buy opens a purchase of so many minutes.
func (r *rig) buy(s *stripe.Service, account string, minutes int) stripe.Started {
	r.t.Helper()
	made, err := s.Checkout(context.Background(), account, stripe.Request{Order: stripe.Order{Minutes: fmt.Sprint(minutes)}, SuccessURL: site + "/paid", CancelURL: site, SaveCard: true})
	check(r.t, err)
	return made
}

func (r *rig) pay(made stripe.Started) {
	r.t.Helper()
	check(r.t, r.fake.Pay(made.Purchase.Session))
}

// granted is what all grants of an account add up to.
func (r *rig) granted(account string) credit.Units {
	r.t.Helper()
	sums, err := r.ledger.Totals(context.Background(), account)
	check(r.t, err)
	return sums.Granted
}

// spendable waits until an account can spend so much.
func (r *rig) spendable(account string, want credit.Units) {
	r.t.Helper()
	services.Eventually(r.t, patience, func() error {
		b, err := r.balances.Balance(context.Background(), account)
		if err == nil && b.Available != want {
			err = fmt.Errorf("account %s can spend %d, want %d", account, b.Available, want)
		}
		return err
	})
}

// quiet waits until every event is worked and every webhook delivered.
func (r *rig) quiet() {
	r.t.Helper()
	check(r.t, r.fake.Flush(context.Background()))
	services.Eventually(r.t, patience, func() error {
		n, err := r.ledger.ShopCounts(context.Background())
		if err == nil && n.Waiting > 0 {
			_, failing, _ := r.ledger.EventsAside(context.Background(), 3)
			err = fmt.Errorf("%d events wait", n.Waiting)
			for _, e := range failing {
				err = fmt.Errorf("%w; %s %s: %s", err, e.Type, e.ID, e.Problem)
			}
		}
		return err
	})
}

// balances is a balance store: grants are applied in order, each once.
type balances struct {
	ledger *ledger.Ledger
	mu     sync.Mutex
	of     map[string]*held
	away   bool
}

type held struct {
	units     credit.Units
	seq       int64
	spent     credit.Units
	suspended bool
}

func (b *balances) at(account string) *held {
	if b.of[account] == nil {
		b.of[account] = &held{}
	}
	return b.of[account]
}

func (b *balances) apply(ctx context.Context, account string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.at(account)
	grants, err := b.ledger.Grants(ctx, account, h.seq, 0)
	if err != nil {
		return // another does it
	}
	for _, g := range grants {
		h.units, h.seq = h.units+g.Units, g.Number
	}
}

func (b *balances) spend(account string, units credit.Units) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at(account).spent += units
}

func (b *balances) suspend(account string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at(account).suspended = true
}

// down has the store not answer.
func (b *balances) down(away bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = away
}

func (b *balances) Balance(_ context.Context, account string) (authz.Balance, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away {
		return authz.Balance{}, authz.ErrDown
	}
	h := b.at(account)
	return authz.Balance{Available: h.units - h.spent, Granted: h.units, Settled: h.spent, GrantSeq: h.seq, Suspended: h.suspended}, nil
}

// away has Stripe refuse requests of a path until it is back.
func (r *rig) away(pattern string) *away {
	a := &away{r: r, path: pattern}
	r.gate.Store(a)
	return a
}

type away struct {
	r       *rig
	path    string
	back    atomic.Bool
	refused atomic.Int64
}

func (a *away) RoundTrip(req *http.Request) (*http.Response, error) {
	if match, err := path.Match(a.path, req.URL.Path); err != nil || !match || req.Method != http.MethodPost || a.back.Load() {
		return a.r.next.RoundTrip(req)
	}
	a.refused.Add(1)
	return nil, errors.New("Stripe is away")
}

// gaveUp waits until a request was refused as often as it is tried.
func (a *away) gaveUp() {
	a.r.t.Helper()
	services.Eventually(a.r.t, patience, func() error {
		if n := a.refused.Load(); n < 4 {
			return fmt.Errorf("Stripe was asked %d times", n)
		}
		return nil
	})
}

// gated is the way to Stripe, which may be closed.
type gated struct{ r *rig }

func (g gated) RoundTrip(req *http.Request) (*http.Response, error) {
	if a := g.r.gate.Load(); a != nil {
		return a.RoundTrip(req)
	}
	return g.r.next.RoundTrip(req)
}
