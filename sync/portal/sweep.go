package portal

import (
	"context"
	"errors"
	"time"

	"github.com/hmsovereign/ringfence/authz"
)

// sweeps compares all accounts with the balance store, again and again.
func (c *Completer) sweeps(ctx context.Context) {
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		if !c.cfg.Directory.Ready() {
			wait.Reset(sweepFirst)
			continue
		}
		result := "done"
		if err := c.sweep(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			result = "failed"
			c.log.Warn("accounts are not all compared with the balance store", "error", err)
		}
		c.met.sweeps.WithLabelValues(result).Inc()
		wait.Reset(c.cfg.Interval)
	}
}

// sweepStep is how many accounts are looked at between two pauses.
const sweepStep = 50

// sweep kicks every account whose balance is not what the book has recorded.
// What it compares was read at different times, so that a difference may be a
// change under way; completing that once more does no harm.
func (c *Completer) sweep(ctx context.Context) error {
	last := map[string]int64{}
	err := c.cfg.Book.LastGrants(ctx, func(account string, number int64) error {
		last[account] = number
		return nil
	})
	if err != nil {
		return err
	}
	var lost, behind int
	pause := time.NewTicker(max(time.Second*sweepStep/time.Duration(c.cfg.Pace), time.Millisecond))
	defer pause.Stop()
	for i, a := range c.cfg.Directory.Accounts("", 0) {
		if i > 0 && i%sweepStep == 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-pause.C:
			}
		}
		b, err := c.balance(ctx, a.ID)
		switch {
		case errors.Is(err, authz.ErrLost):
			if last[a.ID] > 0 {
				lost++
				continue
			}
			c.Kick(a.ID)
		case err != nil:
			return err
		case b.GrantSeq > last[a.ID]:
			if c.behind(ctx, a.ID, b.GrantSeq) {
				behind++
			}
		case b.GrantSeq < last[a.ID], b.Suspended != (a.Status != authz.Active):
			c.Kick(a.ID)
		}
	}
	c.met.lost.Set(float64(lost))
	c.met.behind.Set(float64(behind))
	if lost > 0 || behind > 0 {
		c.log.Error("accounts need to be reconciled", "lost", lost, "book_behind", behind)
	}
	return nil
}

func (c *Completer) balance(ctx context.Context, account string) (authz.Balance, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	return c.cfg.Balances.Balance(ctx, account)
}

// behind tells whether the book really lacks a grant that the balance store has
// applied: it may have got one since the sweep began.
func (c *Completer) behind(ctx context.Context, account string, number int64) bool {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	grants, err := c.cfg.Book.Grants(ctx, account, number-1, 1)
	return err == nil && len(grants) == 0
}
