package portal

import (
	"context"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// MinutesBalance is what would be left if every call ended at now (Unix ms):
// what is available, and of each call what it holds less what it has cost so
// far, connect fee included. A call that nobody has answered gives all of its
// hold back; one that has cost more than it holds counts against the rest.
func MinutesBalance(b authz.Balance, calls []authz.Call, now int64) credit.Minutes {
	left := b.Available
	for i := range calls {
		left += calls[i].Held - CostSoFar(&calls[i], now)
	}
	return credit.Minutes(left)
}

// CostSoFar is what a call would cost if it ended at now (Unix ms): nothing
// while nobody has answered it, and what it was charged once it is over.
func CostSoFar(c *authz.Call, now int64) credit.Units {
	switch {
	case c.State.Final():
		return c.Charged
	case c.State != authz.StateLive || c.AnsweredAt == 0:
		return 0
	}
	return c.Price.Cost(max(now-c.AnsweredAt, 0))
}

// balanceTries bounds how often a balance is read again because it moved while
// its calls were read.
const balanceTries = 3

// readBalance reads an account's balance with the calls that hold some of it.
func readBalance(ctx context.Context, balances Balances, calls CallReader, account string) (authz.Balance, []authz.Call, error) {
	b, err := balances.Balance(ctx, account)
	if err != nil || b.Calls == 0 {
		return b, nil, err
	}
	for try := 1; ; try++ {
		var live []authz.Call
		seen := map[authz.Key]int{}
		err := calls.Calls(ctx, account, func(c authz.Call, err error) error {
			if err != nil || c.State != authz.StateHeld && c.State != authz.StateLive {
				return nil // the meter reports what cannot be read
			}
			if at, twice := seen[c.Key]; twice {
				live[at] = c
				return nil
			}
			seen[c.Key] = len(live)
			live = append(live, c)
			return nil
		})
		if err != nil {
			return b, nil, err
		}
		after, err := balances.Balance(ctx, account)
		if err != nil || after.Seq == b.Seq || try == balanceTries {
			return after, live, err
		}
		b = after
	}
}
