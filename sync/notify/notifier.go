package notify

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

// Config of a Notifier. The zero value of a field is its default.
type Config struct {
	Holder  string         // this sidecar's name, unique in the deployment
	Allow   []netip.Prefix // networks that webhooks may reach besides the public ones
	HTTP    bool           // webhooks without TLS are allowed
	Timeout time.Duration  // of one try; 10 s
	GiveUp  time.Duration  // age at which a delivery becomes a dead letter; 24 h
	Keep    time.Duration  // how long delivered ones are kept; 7 days
	Letters time.Duration  // how long dead letters are kept; 30 days
	Poll    time.Duration  // between two looks at the queue; 500 ms
	Lease   time.Duration  // of an endpoint; 60 s, at least four times Timeout
	Workers int            // webhooks' endpoints worked on at once; 64
	Mailers int            // addresses e-mailed at once; 4
	Backoff time.Duration  // after the first failure; 5 s
	Cool    time.Duration  // how long a breaker is open at first; 10 s

	SMTP       SMTP
	BillingURL string        // of the billing page, told in e-mail; may be empty
	Resolver   *net.Resolver // of webhooks' hosts; nil: the system's

	// Changed is told of an account whose webhooks or alerts changed, so that its sidecars know soon; may be nil.
	Changed func(ctx context.Context, account string)
}

func (c Config) withDefaults() Config {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	const day = 24 * time.Hour
	def(&c.Timeout, 10*time.Second)
	def(&c.GiveUp, day)
	def(&c.Keep, 7*day)
	def(&c.Letters, 30*day)
	def(&c.Poll, 500*time.Millisecond)
	def(&c.Lease, time.Minute)
	def(&c.Backoff, 5*time.Second)
	def(&c.Cool, 10*time.Second)
	c.Lease = max(c.Lease, 4*c.Timeout, 2*c.SMTP.Timeout)
	if c.Workers == 0 {
		c.Workers = 64
	}
	if c.Mailers == 0 {
		c.Mailers = 4
	}
	return c
}

const (
	perEndpoint = 4   // tries under way at once to one endpoint
	batchSize   = 100 // deliveries read at once of one endpoint
	tripAfter   = 5   // failures in a row that open a breaker
	maxBackoff  = 2 * time.Hour
	maxCool     = 10 * time.Minute
	stopWithin  = 5 * time.Second // for tries under way at a stop
	noteWithin  = 5 * time.Second // for writing down what became of them
	dropEvery   = time.Hour
	dropBatch   = 1000
	countEvery  = 15 * time.Second
)

// Notifier tells customers: it queues what they want to hear, and delivers it. Its methods may be called from any
// goroutine.
type Notifier struct {
	cfg    Config
	ledger *ledger.Ledger
	guard  *guard
	sender *sender
	mailer *mailer // nil: no e-mail
	log    *slog.Logger
	met    *Metrics
	now    func() time.Time

	look chan struct{}
	mu   sync.Mutex
	busy map[ledger.Lane]bool // lanes being worked on here
}

// New makes a Notifier, and has the ledger tell it of grants. met may be nil. Errors: the mail settings are wrong.
func New(cfg Config, l *ledger.Ledger, log *slog.Logger, met *Metrics) (*Notifier, error) {
	cfg = cfg.withDefaults()
	if met == nil {
		met = NewMetrics(nil)
	}
	n := &Notifier{cfg: cfg, ledger: l, guard: &guard{allow: cfg.Allow, http: cfg.HTTP}, log: log, met: met, now: time.Now,
		look: make(chan struct{}, 1), busy: map[ledger.Lane]bool{}}
	var err error
	if n.mailer, err = newMailer(cfg.SMTP, cfg.BillingURL, n.now); err != nil {
		return nil, fmt.Errorf("e-mail: %w", err)
	}
	n.sender = newSender(n.guard, cfg.Timeout, cfg.Resolver, n.now)
	l.OnNotice(n.Happened)
	return n, nil
}

// poke has the queue looked at soon: what was queued is there once its transaction is over.
func (n *Notifier) poke() {
	select {
	case n.look <- struct{}{}:
	default:
	}
}

// Run delivers until ctx is done; tries under way then get a few seconds to end.
func (n *Notifier) Run(ctx context.Context) {
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		t := time.NewTimer(stopWithin)
		defer t.Stop()
		select {
		case <-t.C:
			cancel()
		case <-hard.Done():
		}
	})()
	defer n.sender.close()
	var wg sync.WaitGroup
	wg.Go(func() { n.upkeep(ctx) })
	n.dispatch(ctx, hard, &wg)
	wg.Wait()
}

// pool are the workers of one kind of endpoint: a mail server that hangs takes none from the webhooks.
type pool struct {
	mail  bool
	slots chan struct{}
}

// dispatch hands ready endpoints to workers.
func (n *Notifier) dispatch(ctx, hard context.Context, wg *sync.WaitGroup) {
	freed, failing := false, false
	pools := []pool{{false, make(chan struct{}, n.cfg.Workers)}, {true, make(chan struct{}, n.cfg.Mailers)}}
	for ctx.Err() == nil {
		err := n.dispatchOnce(ctx, hard, wg, pools, &freed)
		if err != nil && ctx.Err() == nil && !failing {
			n.log.Error("the queue of customers' messages cannot be read; they wait", "error", err)
		}
		if err == nil && failing {
			n.log.Info("the queue of customers' messages is read again")
		}
		failing = err != nil
		// However many ask for a look, there is one in a tenth of the time between two.
		if wait(ctx, n.cfg.Poll/10, nil) {
			wait(ctx, n.cfg.Poll-n.cfg.Poll/10, n.look)
		}
	}
}

// wait waits for a time, or until it is woken; false: ctx is done.
func wait(ctx context.Context, d time.Duration, woken <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-woken:
	case <-ctx.Done():
		return false
	}
	return true
}

func (n *Notifier) dispatchOnce(ctx, hard context.Context, wg *sync.WaitGroup, pools []pool, freed *bool) error {
	if !*freed { // what this sidecar held before it was killed
		if err := n.ledger.FreeEndpoints(ctx, n.cfg.Holder); err != nil {
			return err
		}
		*freed = true
	}
	for _, p := range pools {
		if err := n.fill(ctx, hard, wg, p); err != nil {
			return err
		}
	}
	return nil
}

// fill gives the workers of a pool that are free something to do.
func (n *Notifier) fill(ctx, hard context.Context, wg *sync.WaitGroup, p pool) error {
	if len(p.slots) == cap(p.slots) {
		return nil
	}
	ready, err := n.ledger.ReadyEndpoints(ctx, n.now(), p.mail, cap(p.slots))
	if err != nil {
		return err
	}
	for _, of := range ready {
		if !n.take(of) {
			continue
		}
		select {
		case p.slots <- struct{}{}:
		default: // all are busy: it is found again
			n.leave(of)
			return nil
		}
		wg.Go(func() {
			tried, err := n.work(ctx, hard, of)
			<-p.slots
			n.leave(of)
			if err != nil && ctx.Err() == nil {
				n.log.Error("messages to a customer's endpoint are not worked on; they wait", "error", err)
			}
			if err == nil && tried {
				n.poke() // more may have come, or another endpoint waits for the slot
			}
		})
	}
	return nil
}

func (n *Notifier) take(of ledger.Lane) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.busy[of] {
		return false
	}
	n.busy[of] = true
	n.met.working.Set(float64(len(n.busy)))
	return true
}

func (n *Notifier) leave(of ledger.Lane) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.busy, of)
	n.met.working.Set(float64(len(n.busy)))
}

// upkeep counts the queue, and forgets what is long over.
func (n *Notifier) upkeep(ctx context.Context) {
	count, drop := time.NewTicker(countEvery), time.NewTicker(dropEvery)
	defer count.Stop()
	defer drop.Stop()
	n.drop(ctx)
	for {
		n.count(ctx)
		select {
		case <-count.C:
		case <-drop.C:
			n.drop(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (n *Notifier) count(ctx context.Context) {
	q, err := n.ledger.QueueDepth(ctx)
	if err != nil {
		return // a ledger that is away is logged by dispatch
	}
	n.met.pending.Set(float64(q.Pending))
	n.met.letters.Set(float64(q.Dead))
	n.met.age.Set(0)
	if !q.Oldest.IsZero() {
		n.met.age.Set(max(n.now().Sub(q.Oldest), 0).Seconds())
	}
}

func (n *Notifier) drop(ctx context.Context) {
	now := n.now()
	if _, err := n.ledger.DropDeliveries(ctx, now.Add(-n.cfg.Keep), now.Add(-n.cfg.Letters), dropBatch); err != nil && ctx.Err() == nil {
		n.log.Error("old deliveries not dropped; it is tried again", "error", err)
	}
	if _, err := n.ledger.DropEndpoints(ctx, now); err != nil && ctx.Err() == nil {
		n.log.Error("old endpoints not dropped; it is tried again", "error", err)
	}
}
