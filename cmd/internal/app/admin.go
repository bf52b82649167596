package app

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/portal"
	"github.com/hmsovereign/ringfence/sync/portal/account"
)

// admin makes the operator's API and what completes interrupted changes.
func (a *App) admin() (*portal.Admin, *portal.Completer) {
	met := portal.NewMetrics(a.reg)
	balances := ledgerBalances{a.Store, a.Rebuilder}
	completer := portal.NewCompleter(portal.CompleterConfig{Book: a.Ledger, Directory: a.Directory, Balances: balances, Log: a.log, Metrics: met})
	a.keys = account.NewKeyAdmin(account.KeyAdminConfig{Keys: account.NewKeys(a.Ledger, a.api.Invalidate, nil, a.log), Token: a.cfg.Ops.AdminToken.Reveal(), Log: a.log})
	return portal.NewAdmin(portal.AdminConfig{Book: a.Ledger, Mirror: a.Directory, Directory: a.Directory, Balances: balances, Calls: a.Store,
		Killer: a.Meter, Completer: completer, Orphans: a.orphans, Tariff: a.cfg.Tariffs.Default, Token: a.cfg.Ops.AdminToken.Reveal(), Log: a.log, Metrics: met}), completer
}

// loadTariffs puts the configured tariff files into the book, where their rates
// are not in force already: at the start, and each time new ones are named. One
// that cannot be read changes nothing; while the ledger is away it is tried again.
func (a *App) loadTariffs(ctx context.Context, files []string) {
	retry := time.NewTicker(tariffRetry)
	defer retry.Stop()
	for {
		var waiting []string
		for _, path := range files {
			err := a.loadTariff(ctx, path)
			if ctx.Err() != nil {
				return
			}
			if errors.Is(err, ledger.ErrUnavailable) {
				waiting = append(waiting, path)
			}
			if err != nil {
				a.log.Error("tariff file not applied", "file", path, "again", errors.Is(err, ledger.ErrUnavailable), "error", err)
			}
		}
		files = waiting
		if len(files) == 0 {
			retry.Stop()
		} else {
			retry.Reset(tariffRetry)
		}
		select {
		case files = <-a.tariffs:
		case <-retry.C:
		case <-ctx.Done():
			return
		}
	}
}

// tariffRetry is how often a tariff file is tried again while the ledger is away.
const tariffRetry = 10 * time.Second

func (a *App) loadTariff(ctx context.Context, path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	t, err := tariff.Parse(b)
	if err != nil {
		return err
	}
	now, rev, err := a.Ledger.PutTariff(ctx, t)
	if err != nil {
		return err
	}
	if err := a.Directory.PutTariff(ctx, rev, now); err != nil {
		return err
	}
	a.log.Info("tariff in force", "tariff", now.ID(), "version", now.Version(), "file", path)
	return nil
}

// orphans are the events whose call was never found.
func (a *App) orphans() []authz.Event {
	kept := a.Meter.Orphans()
	out := make([]authz.Event, len(kept))
	for i := range kept {
		out[i] = kept[i].Event
	}
	return out
}
