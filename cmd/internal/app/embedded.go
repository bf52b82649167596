package app

import (
	"context"
	"time"

	"github.com/hmsovereign/ringfence/authz"
)

// fillEmbedded gives the embedded Redis what the ledger and, after a soft stop,
// the journal have. Nobody else knows anything of it.
func (a *App) fillEmbedded(ctx context.Context) error {
	if _, err := a.mirrorOnce(ctx, 0); err != nil {
		return err
	}
	n, err := a.Rebuilder.All(ctx, nil)
	if err != nil {
		return err
	}
	if n > 0 {
		a.log.Info("balances taken from the ledger", "accounts", n)
	}
	if !a.left.Clean {
		return nil
	}
	for uid, c := range a.left.Calls {
		if _, err := a.Store.Restore(ctx, c, c.Epoch); err != nil {
			a.log.Error("live call not put back", "call", c.Key.String(), "account", c.Account, "error", err)
			continue
		}
		a.journal.Found(uid)
		delete(a.left.Calls, uid)
	}
	return nil
}

// closeJournal writes down what the next start needs.
func (a *App) closeJournal() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	j := a.journal
	a.journal = nil
	return j.Close(a.liveCalls(ctx), a.keeper.Records())
}

// liveCalls are the calls that hold credit when the sidecar stops: of an
// embedded Redis all, otherwise this sidecar's, which stay in Redis.
func (a *App) liveCalls(ctx context.Context) (calls []authz.Call) {
	if a.mini == nil {
		return a.Meter.Calls()
	}
	for p := range a.Store.Partitions() {
		err := a.Store.Accounts(ctx, p, func(account string) error {
			return a.Store.Calls(ctx, account, func(c authz.Call, err error) error {
				if err == nil && (c.State == authz.StateHeld || c.State == authz.StateLive) {
					calls = append(calls, c)
				}
				return nil
			})
		})
		if err != nil {
			a.log.Error("live calls not read: the next start cannot put them back", "error", err)
			return a.Meter.Calls()
		}
	}
	return calls
}
