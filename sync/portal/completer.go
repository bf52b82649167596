package portal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hmsovereign/ringfence/authz"
)

// CompleterConfig is what a Completer works with. Zero durations are the defaults.
type CompleterConfig struct {
	Book      Book
	Balances  Balances
	Directory Directory
	Interval  time.Duration // between two sweeps over all accounts, default 5 min
	Retry     time.Duration // before what could not be completed is tried again, at first, default 1 s
	Pace      int           // accounts a second that a sweep looks at, default 500
	Timeout   time.Duration // of one account, default 5 s
	Now       func() time.Time
	Log       *slog.Logger
	Metrics   *Metrics
}

// Completer brings the balance store to what the book has recorded where a
// change was interrupted between the two: accounts that are not open yet,
// grants above the account's grant_seq, statuses that differ. Every sidecar may
// run one; what is done twice has its effect once.
type Completer struct {
	cfg  CompleterConfig
	log  *slog.Logger
	met  *Metrics
	wake chan struct{}

	mu      sync.Mutex
	waiting map[string]bool
}

// NewCompleter makes a Completer; Run makes it work.
func NewCompleter(cfg CompleterConfig) *Completer {
	cfg.Interval = cmp.Or(cfg.Interval, 5*time.Minute)
	cfg.Retry = cmp.Or(cfg.Retry, time.Second)
	cfg.Pace = cmp.Or(cfg.Pace, 500)
	cfg.Timeout = cmp.Or(cfg.Timeout, 5*time.Second)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	return &Completer{cfg: cfg, log: cfg.Log, met: cfg.Metrics, wake: make(chan struct{}, 1), waiting: map[string]bool{}}
}

// Kick has an account completed soon. It does not wait.
func (c *Completer) Kick(account string) {
	c.mu.Lock()
	c.waiting[account] = true
	c.met.waiting.Set(float64(len(c.waiting)))
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

const (
	retryMost  = 30 * time.Second
	sweepFirst = 100 * time.Millisecond // until the directory is ready
)

// Run completes what it is kicked for, and sweeps over all accounts, at its
// start and then in every Interval, until ctx is done.
func (c *Completer) Run(ctx context.Context) {
	var sweeper sync.WaitGroup
	defer sweeper.Wait()
	sweeper.Go(func() { c.sweeps(ctx) })
	retry := time.NewTimer(c.cfg.Retry)
	defer retry.Stop()
	pause := c.cfg.Retry
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
			// What has just failed is not tried in the same breath.
			retry.Reset(min(pause, c.cfg.Retry))
		case <-retry.C:
			if c.work(ctx) {
				pause = c.cfg.Retry
				continue
			}
			pause = min(2*pause, retryMost)
			retry.Reset(pause)
		}
	}
}

// work completes all that waits. It tells whether nothing is left.
func (c *Completer) work(ctx context.Context) bool {
	c.mu.Lock()
	todo := slices.Sorted(maps.Keys(c.waiting))
	c.mu.Unlock()
	left := 0
	for _, account := range todo {
		c.mu.Lock()
		delete(c.waiting, account) // a kick from now on counts anew
		c.mu.Unlock()
		err := c.Complete(ctx, account)
		if ctx.Err() != nil {
			return false
		}
		switch {
		case err == nil:
		case errors.Is(err, authz.ErrLost), kindOf(err) == ErrNotFound:
			c.log.Error("change of an account cannot be completed", "account", account, "error", err)
		default:
			c.log.Warn("change of an account is not completed yet", "account", account, "error", err)
			left++
			c.mu.Lock()
			c.waiting[account] = true
			c.mu.Unlock()
		}
	}
	c.mu.Lock()
	c.met.waiting.Set(float64(len(c.waiting)))
	c.mu.Unlock()
	return left == 0
}

// Complete brings one account's balance to what the book has recorded. Errors:
// authz.ErrLost (the balance store lost it: only a rebuild from the ledger
// knows what was spent), ErrNotFound, ErrUnavailable, authz.ErrDown.
func (c *Completer) Complete(ctx context.Context, account string) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	_, err := c.cfg.Balances.Balance(ctx, account)
	if errors.Is(err, authz.ErrLost) {
		if err = openNew(ctx, c.cfg.Book, c.cfg.Balances, account, c.cfg.Now()); err == nil {
			c.completed("account", account)
		}
	}
	if err != nil {
		return err
	}
	err = completeGrants(ctx, c.cfg.Book, c.cfg.Balances, account, 0, func() { c.completed("grant", account) })
	if err != nil {
		return err
	}
	return c.status(ctx, account)
}

func (c *Completer) completed(what, account string) {
	c.met.completed.WithLabelValues(what).Inc()
	c.log.Info("an interrupted change is complete", "what", what, "account", account)
}

// statusTries bounds how often a status is set because it changed meanwhile.
const statusTries = 3

// status makes the balance store's status the book's. Whoever changes a status
// sets it after the book has it; so do we, and look at the book again: whatever
// the order, the last one to set it has seen what the book says last.
func (c *Completer) status(ctx context.Context, account string) error {
	for range statusTries {
		b, err := c.cfg.Balances.Balance(ctx, account)
		if err != nil {
			return err
		}
		a, err := c.cfg.Book.Account(ctx, account)
		if err != nil {
			return err
		}
		if b.Suspended == (a.Status != authz.Active) {
			return nil
		}
		if err := c.cfg.Balances.SetStatus(ctx, account, a.Status); err != nil {
			return err
		}
		c.completed("status", account)
	}
	return fmt.Errorf("status of account %s keeps changing: %w", account, ErrUnavailable)
}

// openNew opens an account in the balance store that does not have it, if it
// was never granted anything: then it cannot have spent anything either. Errors:
// authz.ErrLost where there are grants.
func openNew(ctx context.Context, book Book, balances Balances, account string, now time.Time) error {
	a, err := book.Account(ctx, account)
	if err != nil {
		return err
	}
	grants, err := book.Grants(ctx, account, 0, 1)
	if err != nil {
		return err
	}
	if len(grants) > 0 {
		return fmt.Errorf("account %s has grants and no balance: %w", account, authz.ErrLost)
	}
	return balances.OpenAccount(ctx, account, a.Status, day(a, now))
}

// day is an account's date at t.
func day(a authz.Account, t time.Time) int64 {
	if a.Location == nil {
		if loc, err := time.LoadLocation(a.TimeZone); err == nil {
			a.Location = loc
		}
	}
	return a.Day(t)
}
