package account

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/portal"
)

// balanceHeader marks a balance that did not come from the balance store.
const balanceHeader = "X-Ringfence-Balance"

// accountBody is the answer of /api/v1/account: the document's fields, then ours.
type accountBody struct {
	ID      string         `json:"id"`
	Company string         `json:"company_name"`
	Balance credit.Minutes `json:"minutes_balance"`
	Monthly credit.Minutes `json:"monthly_usage_minutes"`

	Email    string              `json:"email"`
	Numbers  int                 `json:"active_numbers"`
	Calls    *int64              `json:"active_calls"` // null: not known now
	Currency string              `json:"currency"`
	Status   authz.AccountStatus `json:"status"`
	TimeZone string              `json:"time_zone"`
}

func (s *Server) account(w http.ResponseWriter, r *http.Request, c Caller) *Error {
	if q := readParams(r); q.err != nil {
		return q.err
	}
	ctx, a := r.Context(), c.Account
	month := thisMonth(a.Location, s.cfg.Now())
	used, err := s.cfg.Sums.Sum(ctx, a.ID, month.from, month.to)
	if err != nil {
		return storeError(err)
	}
	body := accountBody{ID: a.ID, Company: a.Company, Monthly: credit.MinutesOfSeconds(used.Seconds), Email: a.Email,
		Numbers: s.cfg.Directory.NumberCount(a.ID), Currency: a.Currency, Status: a.Status, TimeZone: a.TimeZone}
	b, calls, err := s.holdings(ctx, a.ID)
	if err == nil {
		active := int64(len(calls))
		body.Balance, body.Calls = portal.MinutesBalance(b, calls, s.cfg.Now().UnixMilli()), &active
	} else {
		// The ledger's balance is behind by the calls of this moment, and better than none.
		s.cfg.Metrics.fromLedger.Inc()
		s.calm.warn("balances are answered from the ledger", logAccount, a.ID, logError, err)
		totals, err := s.cfg.Sums.Totals(ctx, a.ID)
		if err != nil {
			return storeError(err)
		}
		body.Balance = credit.Minutes(totals.Balance())
		w.Header().Set(balanceHeader, "ledger")
	}
	WriteJSON(w, http.StatusOK, &body)
	return nil
}

func thisMonth(loc *time.Location, now time.Time) span {
	y, m, _ := now.In(loc).Date()
	return span{DayStart(y, m, 1, loc), DayStart(y, m+1, 1, loc)}
}

// balanceTries bounds how often a balance is read again because credit moved
// while its calls were read.
const balanceTries = 3

// holdings reads an account's balance and calls, as [Holdings] does. Errors: those of Balances.
func (s *Server) holdings(ctx context.Context, account string) (authz.Balance, []authz.Call, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RedisTimeout)
	defer cancel()
	return Holdings(ctx, s.cfg.Balances, account)
}

// Holdings reads an account's balance and the calls that hold some of it, as
// they were at one moment where that can be had. Errors: those of Balances.
func Holdings(ctx context.Context, balances Balances, account string) (authz.Balance, []authz.Call, error) {
	before, err := balances.Balance(ctx, account)
	for try := 1; err == nil && before.Calls > 0; try++ {
		var calls []authz.Call
		if calls, err = live(ctx, balances, account); err != nil {
			break
		}
		var after authz.Balance
		if after, err = balances.Balance(ctx, account); err != nil {
			break
		}
		if after.Seq == before.Seq || try == balanceTries {
			return after, calls, nil
		}
		before = after
	}
	return before, nil, err
}

// live reads an account's calls that are not over. Errors: those of Balances.
func live(ctx context.Context, balances Balances, account string) ([]authz.Call, error) {
	var calls []authz.Call
	at := map[authz.Key]int{} // a call that changes meanwhile may come twice
	err := balances.Calls(ctx, account, func(c authz.Call, err error) error {
		if err != nil || c.State != authz.StateHeld && c.State != authz.StateLive {
			return nil // the meter reports what cannot be read
		}
		if i, twice := at[c.Key]; twice {
			calls[i] = c
			return nil
		}
		at[c.Key] = len(calls)
		calls = append(calls, c)
		return nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.Join(authz.ErrDown, err)
	}
	return calls, err
}
