package stripefake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// APIVersion is the version of Stripe's API that the fake speaks: the one that stripe-go v76 is pinned to.
const APIVersion = "2023-10-16"

// Key is the secret key that the fake accepts unless Config names another.
const Key = "sk_test_ringfence"

// Config says how the fake behaves. The zero value will do.
type Config struct {
	Key     string           // secret key that requests must carry; default Key
	Version string           // the only Stripe-Version that requests may carry; default APIVersion
	URL     string           // base of the links to its pages; Start sets it
	Country string           // of the seller, ISO 3166-1 alpha-2; default NL
	Name    string           // of the seller, on pages and invoices; default Ringfence
	Prefix  string           // of invoice numbers: RF gives RF-0001; default RF
	Now     func() time.Time // default time.Now; signatures of webhooks carry it

	// VerifyAfter is how long a tax id stays pending; 0: its verification follows the answer at once.
	VerifyAfter time.Duration
	// Verify tells what becomes of a tax id (verified, unverified, unavailable or pending); default VerifyByNumber.
	Verify func(kind, value string) string
	// InvoiceAfter is the time from a Checkout payment to its invoice; 0: the invoice is there when the payment is.
	InvoiceAfter time.Duration
	// NoInvoiceIntent: the invoice of a Checkout payment does not name the payment, nor the payment the invoice.
	NoInvoiceIntent bool
	// NoBrands: Checkout does not know brands_blocked, which is newer than stripe-go v76.
	NoBrands bool
	// MeterLag is the time that meter events take to show in summaries.
	MeterLag time.Duration

	Webhooks *http.Client // that delivers webhooks; default: one with a timeout of 10 seconds
	Logger   *slog.Logger // default: none
}

// Fake is a Stripe account. It is an http.Handler; make one with New and end it with Close.
type Fake struct {
	cfg    Config
	mux    *http.ServeMux
	pages  *pages
	log    *slog.Logger
	cancel context.CancelFunc
	ctx    context.Context // of deliveries
	done   chan struct{}   // closed when the worker has ended
	wake   chan struct{}   // tells the worker that there may be something to do

	mu      sync.Mutex // guards all that follows
	closed  bool
	offset  time.Duration // by which Advance moved the clock
	rand    *rand.Rand
	shapes  map[string]object   // of each kind
	objects map[string]object   // by id
	kinds   map[string][]string // ids of a kind, oldest first
	account object

	answers  map[string]*answer // by idempotency key
	faults   []*Fault
	requests []Request
	key      string  // idempotency key of the request that is worked on
	tasks    []*task // that wait for their time

	cards       map[string]*card     // by payment method
	carts       map[string]*cart     // by checkout session
	orders      map[string]*checkout // by checkout session
	drafts      map[string]*cart     // by invoice
	loose       map[string]*line     // by invoice item
	numbers     int64                // invoices finalized
	rates       map[string]string    // tax rates made for automatic tax
	calculated  map[string][]any     // line items of tax calculations
	options     map[string]object    // of prices: what they are in each currency
	taxSettings object               // set by SetTaxSettings
	verdicts    map[string]string    // set by SetTaxIDStatus, by value
	usage       []*usage
	usageIDs    map[string]time.Time // when a meter event's identifier was taken

	endpoints  []*endpoint
	queue      []*delivery // webhooks that wait
	deliveries []Delivery  // webhooks that were tried
	delivery   Delivering
	held       bool
	idle       []chan struct{} // closed when nothing is due

	server *http.Server
	served chan struct{}
}

// New makes an account with nothing in it.
func New(cfg Config) (*Fake, error) {
	cfg.Key = cmp.Or(cfg.Key, Key)
	cfg.Version = cmp.Or(cfg.Version, APIVersion)
	cfg.Country = cmp.Or(cfg.Country, "NL")
	cfg.Name = cmp.Or(cfg.Name, "Ringfence")
	cfg.Prefix = cmp.Or(cfg.Prefix, "RF")
	cfg.URL = strings.TrimSuffix(cmp.Or(cfg.URL, "http://stripe.invalid"), "/")
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Verify == nil {
		cfg.Verify = VerifyByNumber
	}
	if cfg.Webhooks == nil {
		cfg.Webhooks = &http.Client{Timeout: 10 * time.Second}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	shapes, err := readShapes()
	if err != nil {
		return nil, err
	}
	pages, err := readPages()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &Fake{
		cfg: cfg, mux: http.NewServeMux(), pages: pages, log: cfg.Logger,
		ctx: ctx, cancel: cancel, done: make(chan struct{}), wake: make(chan struct{}, 1),
		rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), shapes: shapes,
		objects: make(map[string]object), kinds: make(map[string][]string),
		answers: make(map[string]*answer), cards: make(map[string]*card), carts: make(map[string]*cart),
		drafts: make(map[string]*cart), orders: make(map[string]*checkout), usageIDs: make(map[string]time.Time), rates: make(map[string]string), calculated: make(map[string][]any), options: make(map[string]object), loose: make(map[string]*line),
		verdicts: make(map[string]string), delivery: Delivering{Retry: true},
	}
	f.account = f.shape("account").set(object{
		"id": "acct_" + f.random(16), "created": f.now(), "country": cfg.Country,
	})
	f.routes()
	go f.work()
	return f, nil
}

// Start serves the fake on a TCP address of this machine ("" means a free port of 127.0.0.1) and returns its base URL,
// which is what stripe-go's backend URL must be.
func (f *Fake) Start(addr string) (string, error) {
	listener, err := net.Listen("tcp", cmp.Or(addr, "127.0.0.1:0"))
	if err != nil {
		return "", fmt.Errorf("stripefake: listen: %w", err)
	}
	server := &http.Server{Handler: f, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return f.ctx }}
	served := make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.server != nil {
		return "", errors.Join(errors.New("stripefake: started twice, or closed"), listener.Close())
	}
	f.server, f.served = server, served
	f.cfg.URL = "http://" + listener.Addr().String()
	go func() {
		defer close(served)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			f.log.Error("stripefake: serve", "error", err)
		}
	}()
	return f.cfg.URL, nil
}

// URL is the base of the fake's addresses.
func (f *Fake) URL() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cfg.URL
}

// Close ends the fake: requests and deliveries under way are broken off. It may be called more than once.
func (f *Fake) Close() error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		<-f.done
		return nil
	}
	f.closed = true
	server, served := f.server, f.served
	f.mu.Unlock()

	f.cancel()
	<-f.done
	f.cfg.Webhooks.CloseIdleConnections()
	if server == nil {
		return nil
	}
	err := server.Close()
	<-served
	if err != nil {
		return fmt.Errorf("stripefake: close: %w", err)
	}
	return nil
}

// Now is the fake's time.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.time()
}

func (f *Fake) time() time.Time { return f.cfg.Now().Add(f.offset) }

func (f *Fake) now() int64 { return f.time().Unix() }

// Advance moves the fake's clock forward and waits until what has become due is done: tax ids verified, sessions
// expired, webhooks delivered or tried again.
func (f *Fake) Advance(d time.Duration) {
	f.mu.Lock()
	f.offset += d
	f.mu.Unlock()
	_ = f.wait(context.Background()) // closed: nothing will be due
}

// Flush waits until nothing is due: no webhook waits to be delivered now, no task to be run. Deliveries that are held
// back, or wait for another try, do not count.
func (f *Fake) Flush(ctx context.Context) error {
	return f.wait(ctx)
}

func (f *Fake) wait(ctx context.Context) error {
	idle := make(chan struct{})
	f.mu.Lock()
	f.idle = append(f.idle, idle)
	f.mu.Unlock()
	f.nudge()
	select {
	case <-idle:
		return nil
	case <-f.done:
		return errors.New("stripefake: closed")
	case <-ctx.Done():
		return fmt.Errorf("stripefake: webhooks are still being delivered: %w", context.Cause(ctx))
	}
}

// Object returns a copy of one of the account's objects by its id, with null, bool, int64, json.Number, string,
// []any and map[string]any in it; nil if there is none.
func (f *Fake) Object(id string) map[string]any {
	f.mu.Lock()
	defer f.mu.Unlock()
	return plain(f.objects[id])
}

// Objects returns copies of all objects of a kind, as Stripe names it ("charge", "checkout.session"), oldest first.
func (f *Fake) Objects(kind string) []map[string]any {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []map[string]any
	for _, id := range f.kinds[kind] {
		all = append(all, plain(f.objects[id]))
	}
	return all
}

// plain turns an object into the maps that other packages can read.
func plain(o object) map[string]any {
	if o == nil {
		return nil
	}
	copied := make(map[string]any, len(o))
	for key, value := range o {
		copied[key] = plainValue(value)
	}
	return copied
}

func plainValue(value any) any {
	switch v := value.(type) {
	case object:
		return plain(v)
	case []any:
		list := make([]any, len(v))
		for i, element := range v {
			list[i] = plainValue(element)
		}
		return list
	default:
		return v
	}
}
