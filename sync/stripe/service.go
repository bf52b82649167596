package stripe

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe/vat"
)

// The tax modes.
const (
	TaxTable  = "table"  // the destination country's rate of a table
	TaxStripe = "stripe" // Stripe Tax
)

// Currency is the one that credit is sold in.
const Currency = "EUR"

// Balances is the balance store, for top-ups (package authz/balance).
type Balances interface {
	Balance(ctx context.Context, account string) (authz.Balance, error)
}

// Customers makes accounts known to Stripe.
type Customers interface {
	// Customer gives an account's billing details with its customer at Stripe, which is made where there is none.
	// Errors: ledger.ErrNotFound, ErrUnavailable, ErrRefused, *ledger.FieldError (details that Stripe does not take).
	Customer(ctx context.Context, account string) (ledger.Billing, error)
	// Refresh takes what Stripe says of a customer and its tax ids. Errors: ledger.ErrNotFound (nobody's), ErrUnavailable.
	Refresh(ctx context.Context, customer string) error
}

// Config is what a Service works with. A zero value that has a default is that.
type Config struct {
	Key           string // Stripe's secret or restricted key; empty: nothing is sold
	WebhookSecret string // whsec_...; empty: webhooks are refused
	URL           string // another API base, for tests

	Ledger    *ledger.Ledger
	Customers Customers
	Balances  Balances
	Apply     func(ctx context.Context, account string)        // has new grants applied to the balance at once
	Caller    func(ctx context.Context) (*authz.Account, bool) // whose API key a request has
	Account   func(id string) (*authz.Account, bool)           // from memory

	PublicURL string   // base URL by which customers reach this service
	Origins   []string // further origins (https://host) that a purchase may lead back to

	Price    credit.Micros // of a credit, without VAT; 70,000 (EUR 0.07)
	Packages []int64       // minutes, as offered
	Min, Max credit.Micros // of a purchase, without VAT; EUR 5 to EUR 10,000

	TaxMode string     // TaxTable, TaxStripe
	Seller  string     // country of the seller, ISO 3166-1 alpha-2
	Rates   *vat.Table // of mode table; nil: the built-in one

	Poll       time.Duration // between two looks at Stripe's list of events, 1 min
	TopUpEvery time.Duration // between two looks at the balances of accounts with a top-up, 2 s
	Expires    time.Duration // how long a purchase can be paid, 1 h; Stripe wants 30 min to 24 h
	Workers    int           // events worked at once, 4
	Lease      time.Duration // how long the work on one event or purchase may take, 10 s
	Claim      time.Duration // how long one sidecar has it for itself, 2 x Lease; two at one do no harm

	Transport http.RoundTripper // to Stripe; nil: Go's own
	Now       func() time.Time
	Log       *slog.Logger
	Metrics   *Metrics
}

func (c Config) withDefaults() (Config, error) {
	c.Price = cmp.Or(c.Price, 70_000)
	c.Min, c.Max = cmp.Or(c.Min, 5*credit.PerCurrency), cmp.Or(c.Max, 10_000*credit.PerCurrency)
	c.TaxMode, c.Seller = cmp.Or(c.TaxMode, TaxTable), cmp.Or(c.Seller, "NL")
	c.Poll, c.TopUpEvery, c.Expires = cmp.Or(c.Poll, time.Minute), cmp.Or(c.TopUpEvery, 2*time.Second), cmp.Or(c.Expires, time.Hour)
	c.Workers, c.Lease = cmp.Or(c.Workers, 4), cmp.Or(c.Lease, lease)
	c.Claim = cmp.Or(c.Claim, 2*c.Lease)
	if c.Rates == nil {
		rates, err := vat.BuiltIn()
		if err != nil {
			return c, err
		}
		c.Rates = rates
	}
	if c.Apply == nil {
		c.Apply = func(context.Context, string) {}
	}
	if c.Caller == nil {
		c.Caller = func(context.Context) (*authz.Account, bool) { return nil, false }
	}
	if c.Account == nil {
		c.Account = func(string) (*authz.Account, bool) { return nil, false }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	return c, nil
}

// Service sells credit. It is safe for concurrent use, and any number of sidecars may run one on one ledger.
type Service struct {
	cfg    Config
	ledger *ledger.Ledger
	api    *client // nil: no key
	log    *slog.Logger
	met    *Metrics
	wake   chan struct{}

	anyBrand        sync.Once // says that Checkout takes cards of any brand
	signed, refused noted     // webhooks with the secret's signature, and with another

	mu    sync.Mutex
	rates map[string]string // ids of Stripe's tax rates, by country and rate
}

// New makes a Service; [Service.Run] makes it work. Errors: the built-in table of rates cannot be read.
func New(cfg Config) (*Service, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, ledger: cfg.Ledger, log: cfg.Log, met: cfg.Metrics, wake: make(chan struct{}, 1), rates: make(map[string]string)}
	if cfg.Key != "" {
		s.api = newClient(cfg.Key, cfg.URL, cfg.Transport)
	}
	return s, nil
}

// billing is who an account's invoices are made out to.
func (s *Service) billing(ctx context.Context, account string) (ledger.Billing, error) {
	return s.ledger.Billing(ctx, account)
}

// customer is the same with the customer at Stripe.
func (s *Service) customer(ctx context.Context, account string) (ledger.Billing, error) {
	if s.api == nil {
		return ledger.Billing{}, ErrNotConfigured
	}
	return s.cfg.Customers.Customer(ctx, account)
}

// Configured tells whether there is a key, so that credit can be bought.
func (s *Service) Configured() bool { return s.api != nil }

// Run works events, asks Stripe what was missed, and tops accounts up, until ctx is done. Without a key it does nothing.
func (s *Service) Run(ctx context.Context) {
	if s.api == nil {
		return
	}
	var all sync.WaitGroup
	all.Go(func() { s.workEvents(ctx) })
	all.Go(func() { s.every(ctx, purchasesEvery, s.workPurchases) })
	all.Go(func() { s.every(ctx, s.cfg.Poll, s.poll) })
	all.Go(func() { s.every(ctx, s.cfg.TopUpEvery, s.topUps) })
	all.Wait()
}

const (
	purchasesEvery = time.Second // between two looks at purchases that are due
	eventsEvery    = time.Second // the same for events, which are worked at once where they arrive
	lease          = 10 * time.Second
)

// every calls fn now and in every interval, until ctx is done.
func (s *Service) every(ctx context.Context, interval time.Duration, fn func(context.Context) error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := fn(ctx); err != nil && ctx.Err() == nil {
			s.met.failures.Inc()
			s.log.Warn("the shop could not do its rounds; it tries again", logError, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// nothing tells whether an error only says that nothing is due.
func nothing(err error) bool { return errors.Is(err, ledger.ErrNotFound) }

const (
	logError    = "error"
	logEvent    = "event"
	logType     = "type"
	logAccount  = "account"
	logPurchase = "purchase"
	logUnits    = "units"
)
