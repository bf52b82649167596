package stripe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

const (
	topUpsPerDay = 3  // where the customer says nothing
	topUpsMost   = 24 // what the customer may ask for
	topUpPage    = 500
	topUpTries   = 60 // looks at one that neither succeeds nor fails, before its invoice is voided
	// authTime is how long a customer may take to confirm a payment that the bank wants confirmed.
	authTime = 72 * time.Hour
	// One that could not be started waits so long, and doubles that each time.
	firstWait, lastWait = time.Minute, time.Hour
)

// TopUp returns an account's auto top-up: off where it was never set. Errors: ledger.ErrUnavailable.
func (s *Service) TopUp(ctx context.Context, account string) (ledger.TopUp, error) {
	t, err := s.ledger.TopUp(ctx, account)
	if errors.Is(err, ledger.ErrNotFound) {
		return ledger.TopUp{Account: account, MaxPerDay: topUpsPerDay}, nil
	}
	return t, err
}

// TopUpChange is what a customer sets; 0 MaxPerDay is the default of 3.
type TopUpChange struct {
	Enabled      bool
	Below, Units credit.Units
	MaxPerDay    int64
}

// SetTopUp sets an account's auto top-up; whatever went wrong before is forgotten, and a payment that waits for the customer
// is given up.
// Errors: *ledger.FieldError, ErrNotConfigured, ledger.ErrNotFound (the account).
func (s *Service) SetTopUp(ctx context.Context, account string, c TopUpChange) (ledger.TopUp, error) {
	if s.api == nil {
		return ledger.TopUp{}, ErrNotConfigured
	}
	if c.MaxPerDay == 0 {
		c.MaxPerDay = topUpsPerDay
	}
	switch {
	case c.MaxPerDay < 1 || c.MaxPerDay > topUpsMost:
		return ledger.TopUp{}, badField("max_per_day", "This has to be from 1 to %d.", topUpsMost)
	case c.Below < 0 || c.Enabled && c.Below == 0 || c.Below > credit.Max:
		return ledger.TopUp{}, badField("threshold_minutes", "The threshold must be above zero.")
	case c.Units < 0 || c.Units > credit.Max:
		return ledger.TopUp{}, badField(fieldMinutes, "The amount must be above zero.")
	}
	if c.Enabled {
		_, err := s.ofUnits(fieldMinutes, c.Units)
		if err == nil {
			err = s.sells("enabled", account)
		}
		if err != nil {
			return ledger.TopUp{}, err
		}
		b, err := s.billing(ctx, account)
		if err != nil {
			return ledger.TopUp{}, err
		}
		if b.Card == "" {
			return ledger.TopUp{}, badField("enabled", "Save a card first: buy credit once and agree that the card is kept.")
		}
	}
	return s.ledger.SetTopUp(ctx, account, ledger.TopUp{Enabled: c.Enabled, Below: c.Below, Units: c.Units, MaxPerDay: c.MaxPerDay})
}

// topUps looks at the balances of accounts with a top-up, and starts one where the balance has fallen low. What counts
// is credit that no call holds: a call in progress finds the new credit when it asks for its next slice.
func (s *Service) topUps(ctx context.Context) error {
	for after := ""; ; {
		page, err := s.ledger.TopUps(ctx, after, topUpPage)
		if err != nil {
			return err
		}
		for i := range page {
			after = page[i].Account
			if err := s.consider(ctx, &page[i]); err != nil && ctx.Err() == nil {
				s.met.failures.Inc()
				s.log.Warn("top-up not started", logAccount, after, logError, err)
			}
		}
		if len(page) < topUpPage || ctx.Err() != nil {
			return nil
		}
	}
}

// consider starts an account's top-up where it is due.
func (s *Service) consider(ctx context.Context, t *ledger.TopUp) error {
	b, err := s.cfg.Balances.Balance(ctx, t.Account)
	if errors.Is(err, authz.ErrLost) || errors.Is(err, authz.ErrDown) {
		return nil // what is not known is not low
	}
	if err != nil {
		return err
	}
	if b.Available >= t.Below || b.Suspended {
		return nil
	}
	if _, err := s.ledger.OpenTopUp(ctx, t.Account); !errors.Is(err, ledger.ErrNotFound) {
		return err // one is under way
	}
	// The balance may be what it was before a top-up that was granted just now.
	sums, err := s.ledger.Totals(ctx, t.Account)
	if err != nil {
		return err
	}
	if sums.Grants > b.GrantSeq {
		s.cfg.Apply(ctx, t.Account)
		return nil
	}
	p, err := s.startTopUp(ctx, t, b.GrantSeq)
	switch {
	case errors.Is(err, ledger.ErrExists), errors.Is(err, ledger.ErrNotDue):
		return nil // another sidecar was faster, or the customer
	case errors.Is(err, ledger.ErrConflict):
		return s.putOff(ctx, t, b.GrantSeq, false, func(t *ledger.TopUp) {
			t.Problem, t.NotBefore = fmt.Sprintf("There were %d top-ups in 24 hours, as many as you allow.", t.MaxPerDay), s.cfg.Now().Add(10*time.Minute)
		})
	case errors.Is(err, errStop):
		return s.putOff(ctx, t, b.GrantSeq, true, func(t *ledger.TopUp) { t.Enabled, t.Problem = false, err.Error() })
	case err != nil:
		if ctx.Err() != nil {
			return err // this sidecar stops
		}
		return errors.Join(err, s.notStarted(ctx, t, b.GrantSeq, err))
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Lease)
	defer cancel()
	return s.workTopUp(ctx, p)
}

// errStop is why a top-up cannot work until the customer sets it again.
var errStop = errors.New("the top-up cannot work")

// stopError is an errStop, in words for the customer.
type stopError string

func (e stopError) Error() string      { return string(e) }
func (stopError) Is(target error) bool { return target == errStop }

// startTopUp commits a top-up that was found due with so many grants in the balance.
func (s *Service) startTopUp(ctx context.Context, t *ledger.TopUp, grants int64) (ledger.Purchase, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Lease)
	defer cancel()
	who, err := s.customer(ctx, t.Account)
	if err != nil {
		return ledger.Purchase{}, err
	}
	if who.Card == "" {
		return ledger.Purchase{}, stopError("There is no saved card any more.")
	}
	net, err := s.ofUnits(fieldMinutes, t.Units)
	if err != nil {
		return ledger.Purchase{}, stopError("The amount is not sold any more.")
	}
	q, tax, err := s.quote(ctx, who, t.Units, net)
	if err != nil {
		return ledger.Purchase{}, err
	}
	return s.commit(ctx, ledger.Purchase{Account: t.Account, Kind: ledger.PurchaseTopUp, Units: t.Units, Quoted: q.Total}, net, tax, func(ctx context.Context, p ledger.Purchase) (ledger.Purchase, error) {
		p.ExpiresAt = p.CreatedAt.Add(authTime)
		return s.ledger.AddTopUp(ctx, p, *t, grants)
	})
}

// notStarted puts a top-up off that could not even be committed, for longer each time, and tells the customer where it
// is the customer's to mend.
func (s *Service) notStarted(ctx context.Context, t *ledger.TopUp, grants int64, why error) error {
	told, wait := "The top-up could not be started. It is tried again.", firstWait
	var field *ledger.FieldError
	if errors.As(why, &field) {
		told = field.Message
	}
	again := t.Problem == told
	if again {
		wait = nextWait(t.NotBefore.Sub(t.UpdatedAt))
	}
	return s.putOff(ctx, t, grants, field != nil && !again, func(t *ledger.TopUp) { t.Problem, t.NotBefore = told, s.cfg.Now().Add(wait) })
}

// nextWait is how long a top-up waits that could not be started after the last wait either.
func nextWait(last time.Duration) time.Duration { return min(max(2*last, firstWait), lastWait) }

// putOff changes a top-up that could not be started, unless that has become untrue.
func (s *Service) putOff(ctx context.Context, t *ledger.TopUp, grants int64, tell bool, change func(*ledger.TopUp)) error {
	err := s.ledger.PutOffTopUp(ctx, *t, grants, tell, change)
	if errors.Is(err, ledger.ErrNotDue) {
		return nil
	}
	return err
}

type topUpView struct {
	Enabled   bool           `json:"enabled"`
	Below     credit.Minutes `json:"threshold_minutes"`
	Units     credit.Minutes `json:"amount_minutes"`
	MaxPerDay int64          `json:"max_per_day"`
	Card      string         `json:"card,omitempty"`
	Problem   string         `json:"problem,omitempty"`
	PayURL    string         `json:"pay_url,omitempty"`
	NotBefore string         `json:"next_attempt_at,omitempty"`
}

func (s *Service) viewTopUp(r *http.Request, account string, t ledger.TopUp) (int, any, error) {
	b, err := s.billing(r.Context(), account)
	if err != nil {
		return 0, nil, err
	}
	v := topUpView{Enabled: t.Enabled, Below: credit.Minutes(t.Below), Units: credit.Minutes(t.Units), MaxPerDay: t.MaxPerDay, Card: b.CardName, Problem: t.Problem, PayURL: t.PayURL}
	if t.NotBefore.After(s.cfg.Now()) {
		v.NotBefore = stamp(t.NotBefore)
	}
	return http.StatusOK, v, nil
}

func (s *Service) getTopUp(r *http.Request, a *authz.Account) (int, any, error) {
	if s.api == nil {
		return 0, nil, ErrNotConfigured
	}
	t, err := s.TopUp(r.Context(), a.ID)
	if err != nil {
		return 0, nil, err
	}
	return s.viewTopUp(r, a.ID, t)
}

func (s *Service) putTopUp(r *http.Request, a *authz.Account) (int, any, error) {
	if s.api == nil {
		return 0, nil, ErrNotConfigured
	}
	var in struct {
		Enabled   bool    `json:"enabled"`
		Below     decimal `json:"threshold_minutes"`
		Amount    decimal `json:"amount_minutes"`
		MaxPerDay int64   `json:"max_per_day"`
	}
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	c := TopUpChange{Enabled: in.Enabled, MaxPerDay: in.MaxPerDay}
	for _, f := range []struct {
		name string
		text decimal
		to   *credit.Units
	}{{"threshold_minutes", in.Below, &c.Below}, {fieldMinutes, in.Amount, &c.Units}} {
		if f.text == "" {
			continue
		}
		micros, err := credit.ParseMoney(string(f.text))
		if err != nil || micros%ledger.MicrosPerCent != 0 || micros > credit.Micros(credit.Max/int64(credit.PerCredit)) {
			return 0, nil, badField(f.name, "Write a plain decimal number with two decimals at most.")
		}
		*f.to = credit.Units(micros/ledger.MicrosPerCent) * (credit.PerCredit / 100)
	}
	t, err := s.SetTopUp(r.Context(), a.ID, c)
	if err != nil {
		return 0, nil, err
	}
	return s.viewTopUp(r, a.ID, t)
}
