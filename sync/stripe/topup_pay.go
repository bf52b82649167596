package stripe

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/stripe/stripe-go/v76"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

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
	if p.TopUpDeclined() {
		return s.endDeclined(ctx, &p, nil)
	}
	off, unknown := s.calledOff(ctx, &p)
	if off || unknown != nil && p.Invoice == "" {
		return unknown
	}
	v, err := s.topUpInvoice(ctx, &p)
	if field := new(ledger.FieldError); errors.As(err, &field) { // details that Stripe does not take
		return s.declined(ctx, &p, nil, field.Message, err.Error())
	}
	if errors.Is(err, ErrRefused) || err != nil && now.After(p.ExpiresAt) {
		s.forgetRates()
		return errors.Join(err, s.declined(ctx, &p, nil, wentWrong, err.Error()))
	}
	if err != nil {
		return err
	}
	if v.Status != stripe.InvoiceStatusOpen {
		return s.settleTopUp(ctx, &p, v.ID)
	}
	if now.After(p.ExpiresAt) {
		return s.declined(ctx, &p, v, "The payment was not confirmed in time.", "not confirmed in time")
	}
	if p.Problem == ledger.AwaitsCustomer {
		return s.settleInvoice(ctx, v.ID) // the customer's turn
	}
	if unknown != nil {
		return unknown
	}
	return s.charge(ctx, &p, v)
}

// calledOff ends an open top-up that nobody wants any more: it may have waited for hours, while Stripe was away, and the
// customer has turned it off since, or has credit again. Where it may have been paid already, it is settled all the same.
// Errors: it cannot be told now, or not be ended.
func (s *Service) calledOff(ctx context.Context, p *ledger.Purchase) (bool, error) {
	why, err := s.unwanted(ctx, p)
	if err != nil || why == "" {
		return false, err
	}
	now, err := s.ledger.CallOffTopUp(ctx, p.ID, why, func(t *ledger.TopUp) {
		if t.PayURL != "" { // it waited for the customer
			t.Problem, t.PayURL = "", ""
		}
	})
	if err != nil {
		return false, err
	}
	s.log.Info("top-up called off", logAccount, p.Account, logPurchase, p.ID, "why", why)
	return true, s.endDeclined(ctx, &now, nil)
}

// unwanted says why an account does not want an open top-up now; empty: it does. Errors: the balance is not known.
func (s *Service) unwanted(ctx context.Context, p *ledger.Purchase) (string, error) {
	t, err := s.ledger.TopUp(ctx, p.Account)
	switch {
	case errors.Is(err, ledger.ErrNotFound), err == nil && !t.Enabled:
		return "the top-up is off", nil
	case err != nil:
		return "", err
	case t.Units != p.Units:
		return "the top-up is of another amount now", nil
	}
	b, err := s.granted(ctx, p.Account)
	switch {
	case err != nil:
		return "", err
	case b.Suspended:
		return "the account is suspended", nil
	case p.Problem == ledger.AwaitsCustomer: // whose card was asked already; calls that end raise the balance for a while
		other, err := s.outdated(ctx, p)
		if other {
			return "its tax is another by now", err
		}
		return "", err
	case b.Available >= t.Below:
		return "the balance is not low any more", nil
	}
	return "", nil
}

// granted is an account's balance with all its grants. Errors: ErrUnavailable (it is not known now).
func (s *Service) granted(ctx context.Context, account string) (authz.Balance, error) {
	for range 2 {
		b, err := s.cfg.Balances.Balance(ctx, account)
		if err != nil {
			return b, fmt.Errorf("%w: the balance of account %q is not known: %w", ErrUnavailable, account, err)
		}
		sums, err := s.ledger.Totals(ctx, account)
		if err != nil || sums.Grants <= b.GrantSeq {
			return b, err
		}
		s.cfg.Apply(ctx, account)
	}
	return authz.Balance{}, fmt.Errorf("%w: the balance of account %q lacks grants", ErrUnavailable, account)
}

// settleTopUp settles an invoice that nobody can pay any more. A top-up that it does not fit ends all the same.
func (s *Service) settleTopUp(ctx context.Context, p *ledger.Purchase, invoice string) error {
	err := s.settleInvoice(ctx, invoice)
	if unclear := new(asideError); !errors.As(err, &unclear) && !errors.Is(err, ledger.ErrConflict) && !errors.Is(err, ledger.ErrInvalid) {
		return err
	}
	return s.endAside(ctx, p, err)
}

// endAside ends a top-up that may be paid but cannot be granted: open it would hinder all later ones. It stays listed for
// the operator, and the next one waits, as after a declined card.
func (s *Service) endAside(ctx context.Context, p *ledger.Purchase, why error) error {
	_, err := s.ledger.DeclineTopUp(ctx, p.ID, why.Error(), func(t *ledger.TopUp) {
		t.Decline(s.cfg.Now(), wentWrong)
		t.PayURL = ""
	})
	if err == nil {
		err = s.abandon(ctx, *p, ledger.PurchaseFailed, ledger.KeptAside+why.Error())
	}
	if err != nil {
		return fmt.Errorf("end a top-up (%v): %w", why, err) // it is found again
	}
	return why
}

// wentWrong is what a customer is told of that only an operator can mend.
const wentWrong = "Something went wrong on our side."

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
		params := &stripe.InvoiceParams{Customer: stripe.String(who.Customer), Currency: stripe.String(currencyCode),
			AutoAdvance: stripe.Bool(false), CollectionMethod: stripe.String("charge_automatically"), Description: stripe.String(describe(p)),
			PendingInvoiceItemsBehavior: stripe.String("exclude"), Metadata: about,
			AutomaticTax:    &stripe.InvoiceAutomaticTaxParams{Enabled: stripe.Bool(p.Tax == taxAuto)}, // whatever the account's default is
			PaymentSettings: &stripe.InvoicePaymentSettingsParams{PaymentMethodTypes: stripe.StringSlice([]string{"card"})}}
		switch p.Tax {
		case taxReverse:
			params.Footer = stripe.String(wordsOf(p).reverse)
		}
		made, err := anew(s.cfg.Now(), stepKey(p.ID, "invoice"), func(key string) (*stripe.Invoice, error) {
			params.Params = post(ctx, key)
			return s.api.invoices.New(params)
		})
		if err != nil {
			return nil, s.gone(ctx, p.Account, translate("make the invoice of a top-up", err))
		}
		id = made.ID
		if _, err := s.ledger.ChangePurchase(ctx, p.ID, func(p *ledger.Purchase) error { p.Invoice = id; return nil }); err != nil {
			return nil, err
		}
		p.Invoice = id
	}
	v, err := s.api.invoices.Get(id, &stripe.InvoiceParams{Params: get(ctx)})
	if err != nil {
		return nil, translate("read invoice "+id, err)
	}
	if v.Status != stripe.InvoiceStatusDraft {
		return v, nil
	}
	if empty(v) {
		if err := s.fill(ctx, p, v); err != nil {
			return nil, err
		}
	}
	v, err = anew(s.cfg.Now(), stepKey(p.ID, "finalize"), func(key string) (*stripe.Invoice, error) {
		return s.api.invoices.FinalizeInvoice(id, &stripe.InvoiceFinalizeInvoiceParams{Params: post(ctx, key), AutoAdvance: stripe.Bool(false)})
	})
	if err != nil { // an error of Stripe's own may have had its effect
		if now, read := s.api.invoices.Get(id, &stripe.InvoiceParams{Params: get(ctx)}); read == nil && now.Status != stripe.InvoiceStatusDraft {
			return now, nil
		}
	}
	return v, translate("finalize the invoice of a top-up", err)
}

// fill puts the credit on the empty invoice of a top-up. After an error of Stripe's own it is asked for anew only where
// the invoice is still seen empty, so that it gets one line.
func (s *Service) fill(ctx context.Context, p *ledger.Purchase, v *stripe.Invoice) error {
	item := &stripe.InvoiceItemParams{Customer: stripe.String(v.Customer.ID), Invoice: stripe.String(v.ID),
		Amount: stripe.Int64(cents(p)), Currency: stripe.String(currencyCode), Description: stripe.String(describe(p)), TaxBehavior: stripe.String("exclusive")}
	switch p.Tax {
	case taxAuto:
		item.TaxCode = stripe.String(taxCode)
	case taxReverse, taxNone:
	default:
		item.TaxRates = stripe.StringSlice([]string{p.Tax})
	}
	_, err := anew(s.cfg.Now(), stepKey(p.ID, "item"), func(key string) (*stripe.InvoiceItem, error) {
		if item.IdempotencyKey != nil {
			if now, err := s.api.invoices.Get(v.ID, &stripe.InvoiceParams{Params: get(ctx)}); err != nil || !empty(now) {
				return nil, err
			}
		}
		item.Params = post(ctx, key)
		return s.api.items.New(item)
	})
	return translate("fill the invoice of a top-up", err)
}

// empty tells whether an invoice has no line.
func empty(v *stripe.Invoice) bool { return v.Lines == nil || len(v.Lines.Data) == 0 }

// charge has the saved card pay an invoice, once: a repetition is told what became of the first.
func (s *Service) charge(ctx context.Context, p *ledger.Purchase, v *stripe.Invoice) error {
	if v.Total <= 0 || netOf(v) != cents(p) || p.Quoted != 0 && v.Total != p.Quoted {
		return errors.Join(s.suspicious(ctx, *p, "invoice %s is of %d cents and %d with VAT, not %d and %d", v.ID, netOf(v), v.Total, cents(p), p.Quoted),
			s.declined(ctx, p, v, wentWrong, "the invoice has another amount"))
	}
	who, err := s.billing(ctx, p.Account)
	if err != nil {
		return err
	}
	if who.Card == "" {
		if off, err := s.calledOff(ctx, p); off || err != nil {
			return err // the customer has just removed it
		}
		return s.declined(ctx, p, v, "There is no saved card any more.", "no card")
	}
	key := stepKey(p.ID, "pay:"+who.Card) // with another card it is another request
	_, err = anew(s.cfg.Now(), key, func(now string) (*stripe.Invoice, error) {
		if now != key {
			if unpaid, err := s.unpaid(ctx, v.ID); err != nil || !unpaid {
				return nil, err
			}
		}
		return s.api.invoices.Pay(v.ID, &stripe.InvoicePayParams{Params: post(ctx, now), OffSession: stripe.Bool(true), PaymentMethod: stripe.String(who.Card)})
	})
	said := saidOf(err)
	code, status := said.Code, said.HTTPStatusCode
	switch {
	case err == nil:
		return s.settleInvoice(ctx, v.ID)
	case code == stripe.ErrorCodeInvoicePaymentIntentRequiresAction, code == stripe.ErrorCodeAuthenticationRequired, said.DeclineCode == stripe.DeclineCodeAuthenticationRequired: // its bank wants to hear the customer
		return s.confirm(ctx, p, v)
	case status == http.StatusPaymentRequired:
		return s.declined(ctx, p, v, "Your card was declined.", translate("pay", err).Error())
	case status == http.StatusUnauthorized, status == http.StatusForbidden: // the card was never asked
	case status >= http.StatusBadRequest && status < http.StatusInternalServerError && status != http.StatusTooManyRequests && status != http.StatusConflict:
		// It may be paid after all: by an earlier try, or by the customer.
		if settled := s.settleInvoice(ctx, v.ID); settled != nil {
			return settled
		}
		if now, found := s.ledger.Purchase(ctx, p.ID); found != nil || now.State == ledger.PurchasePaid {
			return found
		}
		if now, read := s.billing(ctx, p.Account); read != nil || now.Card != who.Card { // which took this one's place at Stripe, too
			return errors.Join(translate("pay the invoice of a top-up with the card before", err), read)
		}
		return s.declined(ctx, p, v, "Your card could not be charged.", translate("pay", err).Error())
	case p.Attempts > topUpTries:
		return s.declined(ctx, p, v, "Your card could not be charged.", translate("pay", err).Error())
	}
	return translate("pay the invoice of a top-up", err)
}

// unpaid tells whether no payment of an invoice has been made or is on its way.
func (s *Service) unpaid(ctx context.Context, id string) (bool, error) {
	v, err := s.api.invoices.Get(id, &stripe.InvoiceParams{Params: get(ctx), Expand: stripe.StringSlice([]string{"payment_intent"})})
	if err != nil {
		return false, err
	}
	paying := v.PaymentIntent != nil && v.PaymentIntent.Status == stripe.PaymentIntentStatusProcessing
	return v.Status == stripe.InvoiceStatusOpen && !paying, nil
}

// confirm gives the customer the page where the bank's question can be answered; nothing is tried again.
func (s *Service) confirm(ctx context.Context, p *ledger.Purchase, v *stripe.Invoice) error {
	err := s.ledger.AwaitCustomer(ctx, p.ID, func(t *ledger.TopUp) {
		t.Problem, t.PayURL = "Your bank asks you to confirm the payment.", v.HostedInvoiceURL
	})
	if err == nil {
		err = s.settleInvoice(ctx, v.ID)
	}
	return err
}

// declined ends a top-up that could not be paid. The wait comes first: once its invoice is void, the next may begin.
func (s *Service) declined(ctx context.Context, p *ledger.Purchase, v *stripe.Invoice, told, why string) error {
	now, err := s.ledger.DeclineTopUp(ctx, p.ID, why, func(t *ledger.TopUp) {
		t.Decline(s.cfg.Now(), told)
		t.PayURL = ""
	})
	if err != nil {
		return err
	}
	return s.endDeclined(ctx, &now, v)
}

// endDeclined closes the invoice of a declined top-up, so that nobody pays it later, then the top-up.
func (s *Service) endDeclined(ctx context.Context, p *ledger.Purchase, v *stripe.Invoice) error {
	if p.State != ledger.PurchaseOpen {
		return nil
	}
	if v == nil && p.Invoice != "" {
		var err error
		if v, err = s.api.invoices.Get(p.Invoice, &stripe.InvoiceParams{Params: get(ctx)}); missing(err) {
			v = nil
		} else if err != nil {
			return translate("read invoice "+p.Invoice, err)
		}
	}
	draft := v != nil && v.Status == stripe.InvoiceStatusDraft
	switch {
	case v == nil:
	case draft:
		if _, err := s.api.invoices.Del(v.ID, &stripe.InvoiceParams{Params: post(ctx, stepKey(p.ID, "delete"))}); err != nil && !missing(err) {
			return translate("delete the invoice of a top-up", err)
		}
	case v.Status != stripe.InvoiceStatusOpen:
		return s.settleTopUp(ctx, p, v.ID)
	default:
		if _, err := anew(s.cfg.Now(), stepKey(p.ID, "void"), func(key string) (*stripe.Invoice, error) {
			return s.api.invoices.VoidInvoice(v.ID, &stripe.InvoiceVoidInvoiceParams{Params: post(ctx, key)})
		}); err != nil {
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
	if err := s.abandon(ctx, *p, ledger.PurchaseFailed, p.Problem); err != nil || v == nil || draft {
		return err
	}
	return s.settleInvoice(ctx, v.ID)
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
		t.Forget()
		return nil
	})
	return err
}
