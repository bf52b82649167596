package stripe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/stripe/stripe-go/v76"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe/vat"
)

const (
	topUpsPerDay = 3  // where the customer says nothing
	topUpsMost   = 24 // what the customer may ask for
	topUpPage    = 500
	topUpTries   = 60 // looks at one that neither succeeds nor fails, before its invoice is voided
	// authTime is how long a customer may take to confirm a payment that the bank wants confirmed.
	authTime = 72 * time.Hour
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

// SetTopUp sets an account's auto top-up; whatever went wrong before is forgotten.
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
	return s.ledger.ChangeTopUp(ctx, account, func(t *ledger.TopUp) error {
		*t = ledger.TopUp{Enabled: c.Enabled, Below: c.Below, Units: c.Units, MaxPerDay: c.MaxPerDay}
		return nil
	})
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
	return s.topUp(ctx, t)
}

// topUp commits one top-up and pays it.
func (s *Service) topUp(ctx context.Context, t *ledger.TopUp) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Lease)
	defer cancel()
	who, err := s.customer(ctx, t.Account)
	if err != nil {
		return err
	}
	if who.Card == "" {
		return s.stopTopUp(ctx, t.Account, "There is no saved card any more.")
	}
	net, err := s.ofUnits(fieldMinutes, t.Units)
	if err != nil {
		return s.stopTopUp(ctx, t.Account, "The amount is not sold any more.")
	}
	_, tax, err := s.quote(ctx, who, t.Units, net)
	if err != nil {
		return err
	}
	p, err := s.commit(ctx, ledger.Purchase{Account: t.Account, Kind: ledger.PurchaseTopUp, Units: t.Units}, net, tax, func(ctx context.Context, p ledger.Purchase) (ledger.Purchase, error) {
		p.ExpiresAt = p.CreatedAt.Add(authTime)
		return s.ledger.AddTopUp(ctx, p, t.MaxPerDay)
	})
	switch {
	case errors.Is(err, ledger.ErrExists):
		return nil // another sidecar was faster
	case errors.Is(err, ledger.ErrConflict):
		_, err := s.ledger.ChangeTopUp(ctx, t.Account, func(t *ledger.TopUp) error {
			t.Problem, t.NotBefore = fmt.Sprintf("There were %d top-ups in 24 hours, as many as you allow.", t.MaxPerDay), s.cfg.Now().Add(10*time.Minute)
			return nil
		})
		return err
	case err != nil:
		return err
	}
	return s.workTopUp(ctx, p)
}

// stopTopUp turns a top-up off that cannot work.
func (s *Service) stopTopUp(ctx context.Context, account, why string) error {
	_, err := s.ledger.FailTopUp(ctx, account, uuid.Nil, func(t *ledger.TopUp) error {
		t.Enabled, t.Problem = false, why
		return nil
	})
	return err
}

// workTopUp brings a top-up on from wherever it is: each step is the same request when it is repeated.
func (s *Service) workTopUp(ctx context.Context, p ledger.Purchase) error {
	if p.State != ledger.PurchaseOpen {
		if p.Invoice == "" {
			return nil
		}
		return s.settleInvoice(ctx, p.Invoice)
	}
	now := s.cfg.Now()
	if p.Invoice == "" && now.After(p.CreatedAt.Add(giveUp)) {
		return s.abandon(ctx, p, ledger.PurchaseExpired, "Stripe never made an invoice for it")
	}
	v, err := s.topUpInvoice(ctx, &p)
	if errors.Is(err, ErrRefused) {
		return errors.Join(err, s.declined(ctx, &p, nil, "Your card could not be charged.", err.Error()))
	}
	if err != nil {
		return err
	}
	if v.Status != stripe.InvoiceStatusOpen {
		return s.settleInvoice(ctx, v.ID)
	}
	if now.After(p.ExpiresAt) {
		return s.declined(ctx, &p, v, "The payment was not confirmed in time.", "not confirmed in time")
	}
	if p.Problem == ledger.AwaitsCustomer {
		return s.settleInvoice(ctx, v.ID) // the customer's turn
	}
	return s.charge(ctx, &p, v)
}

// topUpInvoice makes the invoice of a top-up, or reads it where it is made.
func (s *Service) topUpInvoice(ctx context.Context, p *ledger.Purchase) (*stripe.Invoice, error) {
	about := map[string]string{keyPurchase: p.ID.String(), keyAccount: p.Account}
	if p.Tax == taxReverse {
		about[keyReverse] = "true"
	}
	id := p.Invoice
	if id == "" {
		who, err := s.customer(ctx, p.Account)
		if err != nil {
			return nil, err
		}
		params := &stripe.InvoiceParams{Params: post(ctx, stepKey(p.ID, "invoice")), Customer: stripe.String(who.Customer), Currency: stripe.String(currencyCode),
			AutoAdvance: stripe.Bool(false), CollectionMethod: stripe.String("charge_automatically"), Description: stripe.String(describe(p.Units)),
			PendingInvoiceItemsBehavior: stripe.String("exclude"), Metadata: about}
		switch p.Tax {
		case taxAuto:
			params.AutomaticTax = &stripe.InvoiceAutomaticTaxParams{Enabled: stripe.Bool(true)}
		case taxReverse:
			params.Footer = stripe.String(vat.NoteReverseCharge)
		}
		made, err := s.api.invoices.New(params)
		if err != nil {
			return nil, translate("make the invoice of a top-up", err)
		}
		id = made.ID
		if _, err := s.ledger.ChangePurchase(ctx, p.ID, func(p *ledger.Purchase) error { p.Invoice = id; return nil }); err != nil {
			return nil, err
		}
	}
	v, err := s.api.invoices.Get(id, &stripe.InvoiceParams{Params: get(ctx)})
	if err != nil {
		return nil, translate("read invoice "+id, err)
	}
	if v.Status != stripe.InvoiceStatusDraft {
		return v, nil
	}
	item := &stripe.InvoiceItemParams{Params: post(ctx, stepKey(p.ID, "item")), Customer: stripe.String(v.Customer.ID), Invoice: stripe.String(id),
		Amount: stripe.Int64(cents(p)), Currency: stripe.String(currencyCode), Description: stripe.String(describe(p.Units)), TaxBehavior: stripe.String("exclusive")}
	switch p.Tax {
	case taxAuto:
		item.TaxCode = stripe.String(taxCode)
	case taxReverse, taxNone:
	default:
		item.TaxRates = stripe.StringSlice([]string{p.Tax})
	}
	if _, err := s.api.items.New(item); err != nil {
		return nil, translate("fill the invoice of a top-up", err)
	}
	v, err = s.api.invoices.FinalizeInvoice(id, &stripe.InvoiceFinalizeInvoiceParams{Params: post(ctx, stepKey(p.ID, "finalize")), AutoAdvance: stripe.Bool(false)})
	return v, translate("finalize the invoice of a top-up", err)
}

// charge has the saved card pay an invoice, once: a repetition is told what became of the first.
func (s *Service) charge(ctx context.Context, p *ledger.Purchase, v *stripe.Invoice) error {
	if v.Total <= 0 || netOf(v) != cents(p) {
		return errors.Join(s.suspicious(ctx, *p, "invoice %s is of %d cents, not %d", v.ID, netOf(v), cents(p)),
			s.declined(ctx, p, v, "Something went wrong on our side.", "the invoice has another amount"))
	}
	who, err := s.billing(ctx, p.Account)
	if err != nil {
		return err
	}
	if who.Card == "" {
		return s.declined(ctx, p, v, "There is no saved card any more.", "no card")
	}
	_, err = s.api.invoices.Pay(v.ID, &stripe.InvoicePayParams{Params: post(ctx, stepKey(p.ID, "pay")), OffSession: stripe.Bool(true), PaymentMethod: stripe.String(who.Card)})
	code, status := codeOf(err)
	switch {
	case err == nil:
		return s.settleInvoice(ctx, v.ID)
	case code == stripe.ErrorCodeInvoicePaymentIntentRequiresAction, code == stripe.ErrorCodeAuthenticationRequired:
		return s.confirm(ctx, p, v)
	case status == http.StatusPaymentRequired:
		return s.declined(ctx, p, v, "Your card was declined.", translate("pay", err).Error())
	case status >= http.StatusBadRequest && status < http.StatusInternalServerError && status != http.StatusTooManyRequests && status != http.StatusConflict:
		// It may be paid after all: by an earlier try, or by the customer.
		if settled := s.settleInvoice(ctx, v.ID); settled != nil {
			return settled
		}
		if now, found := s.ledger.Purchase(ctx, p.ID); found != nil || now.State == ledger.PurchasePaid {
			return found
		}
		return s.declined(ctx, p, v, "Your card could not be charged.", translate("pay", err).Error())
	case p.Attempts > topUpTries:
		return s.declined(ctx, p, v, "Your card could not be charged.", translate("pay", err).Error())
	}
	return translate("pay the invoice of a top-up", err)
}

// confirm gives the customer the page where the bank's question can be answered; nothing is tried again.
func (s *Service) confirm(ctx context.Context, p *ledger.Purchase, v *stripe.Invoice) error {
	_, err := s.ledger.ChangePurchase(ctx, p.ID, func(p *ledger.Purchase) error { p.Problem = ledger.AwaitsCustomer; return nil })
	if err != nil {
		return err
	}
	_, err = s.ledger.FailTopUp(ctx, p.Account, p.ID, func(t *ledger.TopUp) error {
		t.Problem, t.PayURL = "Your bank asks you to confirm the payment.", v.HostedInvoiceURL
		return nil
	})
	if err == nil {
		err = s.settleInvoice(ctx, v.ID)
	}
	return err
}

// declined ends a top-up that could not be paid: its invoice is voided first, so that nobody pays it later, and the
// next one waits.
func (s *Service) declined(ctx context.Context, p *ledger.Purchase, v *stripe.Invoice, told, why string) error {
	if v != nil {
		void := &stripe.InvoiceVoidInvoiceParams{Params: post(ctx, stepKey(p.ID, "void"))}
		if _, err := s.api.invoices.VoidInvoice(v.ID, void); err != nil {
			// Paid in this moment?
			if settled := s.settleInvoice(ctx, v.ID); settled != nil {
				return errors.Join(translate("void the invoice of a top-up", err), settled)
			}
			now, found := s.ledger.Purchase(ctx, p.ID)
			if found != nil || now.State == ledger.PurchasePaid {
				return found
			}
			return translate("void the invoice of a top-up", err)
		}
	}
	// The wait comes before the end of the purchase: after that the next may begin.
	_, err := s.ledger.FailTopUp(ctx, p.Account, uuid.NewSHA1(p.ID, []byte("declined")), func(t *ledger.TopUp) error {
		if t.NotBefore.After(s.cfg.Now()) {
			return nil // a repetition
		}
		t.Decline(s.cfg.Now(), told)
		t.PayURL = ""
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.abandon(ctx, *p, ledger.PurchaseFailed, why); err != nil {
		return err
	}
	if v != nil {
		return s.settleInvoice(ctx, v.ID)
	}
	return nil
}

// toppedUp forgets what went wrong before a top-up that is paid.
func (s *Service) toppedUp(ctx context.Context, p *ledger.Purchase) error {
	if p.Kind != ledger.PurchaseTopUp {
		return nil
	}
	t, err := s.ledger.TopUp(ctx, p.Account)
	if errors.Is(err, ledger.ErrNotFound) || err == nil && t.Declined == 0 && t.Problem == "" && t.PayURL == "" && t.NotBefore.IsZero() {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := s.ledger.Purchase(ctx, p.ID)
	if err != nil || t.UpdatedAt.After(now.PaidAt) {
		return err // what went wrong since
	}
	_, err = s.ledger.ChangeTopUp(ctx, p.Account, func(t *ledger.TopUp) error {
		t.Declined, t.Problem, t.PayURL, t.NotBefore = 0, "", "", time.Time{}
		return nil
	})
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
