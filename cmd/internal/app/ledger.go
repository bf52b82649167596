package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/directory"
	"github.com/hmsovereign/ringfence/config"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/postgres"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite"
	"github.com/hmsovereign/ringfence/sync/reconcile"
)

// OpenLedger opens the configured ledger. An embedded one is brought up to date
// at once; one in Postgres is migrated only by `ringfence migrate up`.
func OpenLedger(ctx context.Context, c *config.Config) (*ledger.Ledger, error) {
	l, err := openPlainLedger(ctx, c)
	if _, embedded := c.SQLitePath(); err != nil || !embedded {
		return l, err
	}
	if err := l.Migrate(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// openPlainLedger opens the ledger as it is.
func openPlainLedger(ctx context.Context, c *config.Config) (*ledger.Ledger, error) {
	if path, embedded := c.SQLitePath(); embedded {
		return sqlite.Open(ctx, path)
	}
	return postgres.Open(ctx, postgres.Config{URL: c.Ledger.URL.Reveal()})
}

// openLedger opens it for a sidecar. Postgres being away is no error: the
// outbox grows, and nothing else; a schema that does not fit is one.
func (a *App) openLedger(ctx context.Context) error {
	var err error
	if a.Ledger, err = OpenLedger(ctx, a.cfg); err != nil {
		return err
	}
	check, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	switch err := a.Ledger.CheckSchema(check); {
	case errors.Is(err, ledger.ErrSchema):
		return err
	case err != nil:
		a.log.Error("the ledger does not answer; calls go on, and their records wait in Redis", "error", err)
	}
	return nil
}

// ledgerBalances is the balance store as the admin API sees it: an account that
// Redis lacks comes back with what the ledger says, never with nothing.
type ledgerBalances struct {
	*balance.Store
	rebuild *reconcile.Rebuilder
}

// OpenAccount makes an account ready in Redis.
func (b ledgerBalances) OpenAccount(ctx context.Context, account string, _ authz.AccountStatus, _ int64) error {
	return b.rebuild.Open(ctx, account)
}

// mirrorDirectory keeps the directory's mirror in Redis what the ledger says:
// filled anew where it was lost, and completed where a change did not get there.
func (a *App) mirrorDirectory(ctx context.Context) {
	t := time.NewTicker(500 * time.Millisecond)
	defer t.Stop()
	var rev int64
	failing := false
	for {
		next, err := a.mirrorOnce(ctx, rev)
		switch {
		case err == nil:
			rev, failing = next, false
		case !failing && ctx.Err() == nil:
			failing = true
			a.log.Warn("directory not mirrored to Redis; the one in memory stays in force", "error", err)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

func (a *App) mirrorOnce(ctx context.Context, rev int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	was := rev
	if _, err := a.mirror.Changes(ctx, directory.Position{}); errors.Is(err, directory.ErrLost) {
		rev = -1
	} else if err != nil && !errors.Is(err, directory.ErrGap) {
		return rev, err
	}
	if rev > 0 {
		now, err := a.Ledger.Revision(ctx)
		if err != nil || now == rev {
			return rev, err
		}
	}
	if rev < 0 {
		// Whoever begins to fill has the others begin anew.
		if alone, err := a.mirrorLease(ctx, mirrorLeased); err != nil || !alone {
			return was, err
		}
		defer func() {
			end, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer done()
			_, _ = a.mirrorLease(end, 0) // it runs out by itself
		}()
		err := a.mirror.Replace(ctx, func(ctx context.Context) ([]directory.Change, error) {
			ch, err := a.Ledger.Changes(ctx, 0)
			rev = ch.Revision
			return directoryChanges(&ch), err
		})
		if err != nil {
			return 0, fmt.Errorf("fill the directory's mirror: %w", err)
		}
		a.log.Info("directory mirrored to Redis from the ledger", "revision", rev)
		return rev, nil
	}
	ch, err := a.Ledger.Changes(ctx, rev)
	if err != nil {
		return rev, err
	}
	for _, c := range directoryChanges(&ch) {
		if err := a.mirror.Put(ctx, c); err != nil {
			return rev, err
		}
	}
	return ch.Revision, nil
}

// mirrorLeased is how long one sidecar fills the directory's mirror alone.
const mirrorLeased = 20 * time.Second

func (a *App) mirrorLease(ctx context.Context, d time.Duration) (bool, error) {
	now := time.Now().UnixMilli()
	return a.Store.Lease(ctx, "directory", a.cfg.Instance, now, now+d.Milliseconds())
}

// directoryChanges are the ledger's changes as the directory has them.
func directoryChanges(ch *ledger.Changes) []directory.Change {
	var out []directory.Change
	for _, t := range ch.Tariffs {
		out = append(out, directory.Change{Kind: directory.KindTariff, Key: t.Value.ID(), Rev: t.Revision, Tariff: t.Value})
	}
	for _, x := range ch.Accounts {
		out = append(out, directory.Change{Kind: directory.KindAccount, Key: x.Value.ID, Rev: x.Revision, Account: &x.Value})
	}
	for _, n := range ch.Removed {
		out = append(out, directory.Change{Kind: directory.KindNumber, Key: n.Value.E164, Rev: n.Revision})
	}
	for _, n := range ch.Numbers {
		out = append(out, directory.Change{Kind: directory.KindNumber, Key: n.Value.E164, Rev: n.Revision, Number: &n.Value})
	}
	return out
}
