package stripe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/stripe/stripe-go/v76"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe/vat"
)

// asideError says why nothing can be made of what Stripe told: somebody has to look.
type asideError struct{ why string }

func (e *asideError) Error() string { return e.why }

func aside(format string, args ...any) error { return &asideError{fmt.Sprintf(format, args...)} }

// settleSession brings the ledger to what Stripe says of a Checkout session now.
func (s *Service) settleSession(ctx context.Context, id string) error {
	cs, err := s.api.sessions.Get(id, &stripe.CheckoutSessionParams{Params: get(ctx), Expand: stripe.StringSlice([]string{"payment_intent", "payment_intent.payment_method"})})
	if err != nil {
		return translate("read session "+id, err)
	}
	p, err := s.purchaseOf(ctx, cs.ID, "", "", cs.Metadata)
	if err != nil {
		return err
	}
	intent := cs.PaymentIntent
	switch {
	case cs.PaymentStatus == stripe.CheckoutSessionPaymentStatusPaid && intent != nil:
	case cs.PaymentStatus == stripe.CheckoutSessionPaymentStatusPaid, cs.PaymentStatus == stripe.CheckoutSessionPaymentStatusNoPaymentRequired:
		return s.suspicious(ctx, p, "session %s is paid without a payment", cs.ID)
	case cs.Status == stripe.CheckoutSessionStatusExpired:
		return s.abandon(ctx, p, ledger.PurchaseExpired, "")
	case cs.Status == stripe.CheckoutSessionStatusComplete && intent != nil &&
		(intent.Status == stripe.PaymentIntentStatusCanceled || intent.Status == stripe.PaymentIntentStatusRequiresPaymentMethod):
		return s.abandon(ctx, p, ledger.PurchaseFailed, "the payment was declined")
	default:
		return nil // not paid yet
	}
	pay := ledger.Payment{Intent: intent.ID, Session: cs.ID, Currency: string(cs.Currency), Net: cs.AmountSubtotal, Gross: cs.AmountTotal, At: s.cfg.Now()}
	if intent.AmountReceived > 0 && intent.AmountReceived != cs.AmountTotal {
		return s.suspicious(ctx, p, "session %s is of %d cents, but %s received %d", cs.ID, cs.AmountTotal, intent.ID, intent.AmountReceived)
	}
	if intent.LatestCharge != nil {
		pay.Charge = intent.LatestCharge.ID
	}
	pay.Card, pay.CardName = cardOf(intent)
	if cs.Invoice != nil {
		pay.Invoice = cs.Invoice.ID
	}
	if err := s.paid(ctx, p, pay); err != nil || pay.Invoice == "" {
		return err
	}
	return s.settleInvoice(ctx, pay.Invoice)
}

// paid grants a payment and has it applied at once. What is granted already is applied again, which changes nothing
// unless a crash came between.
func (s *Service) paid(ctx context.Context, p ledger.Purchase, pay ledger.Payment) error {
	var was ledger.Billing
	if p.SaveCard {
		var err error
		if was, err = s.billing(ctx, p.Account); err != nil {
			return err
		}
	}
	_, first, err := s.ledger.PayPurchase(ctx, p.ID, pay)
	switch {
	case errors.Is(err, ledger.ErrConflict), errors.Is(err, ledger.ErrInvalid):
		return s.suspicious(ctx, p, "%s", err)
	case err != nil:
		return err
	}
	if first {
		s.met.purchases.WithLabelValues(p.Kind, string(ledger.PurchasePaid)).Inc()
		s.met.sold.Add(float64(p.Units))
		s.log.Info("credit bought", logAccount, p.Account, logPurchase, p.ID, logUnits, int64(p.Units), "payment", pay.Intent)
	}
	s.cfg.Apply(ctx, p.Account)
	if first && p.SaveCard {
		s.spare(ctx, p.Account, was.Card, pay.Card)
	}
	return nil
}

// suspicious keeps a purchase aside: never credited unless somebody has looked.
func (s *Service) suspicious(ctx context.Context, p ledger.Purchase, format string, args ...any) error {
	err := aside(format, args...)
	if p.ID != uuid.Nil {
		_, noted := s.ledger.ChangePurchase(ctx, p.ID, func(p *ledger.Purchase) error {
			p.Problem = err.Error()
			return nil
		})
		if noted != nil {
			return fmt.Errorf("keep aside (%v): %w", err, noted) // it is found again
		}
		s.log.Error("purchase kept aside", logAccount, p.Account, logPurchase, p.ID, logError, err)
	}
	return err
}

// purchaseOf finds the purchase of something of Stripe's, by its own ids or by the metadata that it was made with.
func (s *Service) purchaseOf(ctx context.Context, session, intent, invoice string, metadata map[string]string) (ledger.Purchase, error) {
	p, err := s.ledger.PurchaseOf(ctx, session, intent, invoice)
	if !errors.Is(err, ledger.ErrNotFound) {
		return p, err
	}
	what := strings.Join(strings.Fields(session+" "+intent+" "+invoice), " ")
	id, bad := uuid.Parse(metadata[keyPurchase])
	if bad != nil {
		return p, aside("%s belongs to no purchase", what)
	}
	p, err = s.ledger.Purchase(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return p, aside("%s belongs to purchase %s of account %q, which the ledger does not know", what, id, metadata[keyAccount])
	}
	return p, err
}

// settleInvoice keeps an invoice as Stripe shows it now, and grants what it paid for, or what its session did.
func (s *Service) settleInvoice(ctx context.Context, id string) error {
	v, err := s.api.invoices.Get(id, &stripe.InvoiceParams{Params: get(ctx), Expand: stripe.StringSlice([]string{"total_tax_amounts.tax_rate", "payment_intent.payment_method"})})
	if err != nil {
		return translate("read invoice "+id, err)
	}
	intent := ""
	if v.PaymentIntent != nil {
		intent = v.PaymentIntent.ID
	}
	p, err := s.purchaseOf(ctx, "", intent, v.ID, v.Metadata)
	if err != nil {
		return err
	}
	if err := s.ledger.PutInvoice(ctx, invoiceOf(v, &p)); err != nil {
		return err
	}
	if p.Invoice == "" {
		_, err := s.ledger.ChangePurchase(ctx, p.ID, func(p *ledger.Purchase) error { p.Invoice = v.ID; return nil })
		switch {
		case errors.Is(err, ledger.ErrConflict), errors.Is(err, ledger.ErrExists):
			return s.suspicious(ctx, p, "%s", err)
		case err != nil:
			return err
		}
	}
	if p.Kind == ledger.PurchaseCheckout {
		if p.State == ledger.PurchasePaid || p.Session == "" {
			return nil
		}
		return s.settleSession(ctx, p.Session) // an invoice that is made after a payment need not name it
	}
	switch {
	case v.Status == stripe.InvoiceStatusPaid && v.PaidOutOfBand:
		return s.suspicious(ctx, p, "invoice %s was paid outside of Stripe", v.ID)
	case v.Status == stripe.InvoiceStatusPaid:
		// The customer's balance at Stripe may have paid a part, or all without any payment intent: the total is what was paid.
		pay := ledger.Payment{Intent: cmp.Or(intent, v.ID), Invoice: v.ID, Currency: string(v.Currency), Net: netOf(v), Gross: v.Total, At: s.cfg.Now()}
		if v.Charge != nil {
			pay.Charge = v.Charge.ID
		}
		pay.Card, pay.CardName = cardOf(v.PaymentIntent)
		if err := s.paid(ctx, p, pay); err != nil {
			return err
		}
		return s.toppedUp(ctx, &p)
	case v.Status == stripe.InvoiceStatusVoid, v.Status == stripe.InvoiceStatusUncollectible:
		return s.abandon(ctx, p, ledger.PurchaseFailed, "the invoice is "+string(v.Status))
	}
	return nil
}

// netOf is an invoice's amount without VAT.
func netOf(v *stripe.Invoice) int64 {
	if v.SubtotalExcludingTax != 0 {
		return v.SubtotalExcludingTax
	}
	return v.Subtotal
}

// invoiceOf is an invoice as the ledger keeps it.
func invoiceOf(v *stripe.Invoice, p *ledger.Purchase) ledger.Invoice {
	out := ledger.Invoice{ID: v.ID, Account: p.Account, Purchase: p.ID, Number: v.Number, Status: string(v.Status), Date: time.Unix(v.Created, 0),
		Currency: strings.ToUpper(string(v.Currency)), Net: netOf(v), Total: v.Total, PayURL: v.HostedInvoiceURL, PDFURL: v.InvoicePDF}
	if at := v.StatusTransitions; at != nil && at.FinalizedAt != 0 {
		out.Date = time.Unix(at.FinalizedAt, 0)
	}
	out.ReverseCharge = v.Metadata[keyReverse] == "true"
	for _, part := range v.TotalTaxAmounts {
		out.VAT += part.Amount
		out.ReverseCharge = out.ReverseCharge || part.TaxabilityReason == stripe.InvoiceTotalTaxAmountTaxabilityReasonReverseCharge
		if part.TaxRate != nil && part.Amount != 0 {
			out.VATRate += vat.Hundredths(strconv.FormatFloat(part.TaxRate.Percentage, 'f', -1, 64)) // which JSON brings as a float
		}
	}
	return out
}

// cardOf is the card that paid, and what customers know it by; empty: none is known.
func cardOf(paid *stripe.PaymentIntent) (id, name string) {
	if paid == nil || paid.PaymentMethod == nil {
		return "", ""
	}
	m := paid.PaymentMethod
	if m.Card == nil {
		return m.ID, "card"
	}
	return m.ID, string(m.Card.Brand) + " " + m.Card.Last4
}

// purchaseOfIntent finds the paid purchase of a payment; one that is not known to be paid is settled first.
func (s *Service) purchaseOfIntent(ctx context.Context, of *stripe.PaymentIntent) (ledger.Purchase, error) {
	if of == nil {
		return ledger.Purchase{}, aside("a charge without a payment intent is none of ours")
	}
	p, err := s.ledger.PurchaseOf(ctx, "", of.ID, "")
	if err == nil && p.State == ledger.PurchasePaid || err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return p, err
	}
	intent, err := s.api.intents.Get(of.ID, &stripe.PaymentIntentParams{Params: get(ctx)})
	if err != nil {
		return p, translate("read payment "+of.ID, err)
	}
	if p, err = s.purchaseOf(ctx, "", of.ID, "", intent.Metadata); err != nil {
		if intent.Invoice == nil {
			return p, err
		}
		p, err = s.ledger.PurchaseOf(ctx, "", "", intent.Invoice.ID)
		if errors.Is(err, ledger.ErrNotFound) {
			err = aside("payment %s belongs to no purchase", of.ID)
		}
		if err != nil {
			return p, err
		}
	}
	switch {
	case p.Session != "":
		err = s.settleSession(ctx, p.Session)
	case intent.Invoice != nil:
		err = s.settleInvoice(ctx, intent.Invoice.ID)
	}
	if err != nil {
		return p, err
	}
	if p, err = s.ledger.Purchase(ctx, p.ID); err == nil && p.State != ledger.PurchasePaid {
		err = aside("payment %s was given back, but purchase %s is not paid", of.ID, p.ID)
	}
	return p, err
}

// settleRefund takes back what a refund gave back, or gives it again where the refund failed.
func (s *Service) settleRefund(ctx context.Context, id string) error {
	r, err := s.api.refunds.Get(id, &stripe.RefundParams{Params: get(ctx)})
	if err != nil {
		return translate("read refund "+id, err)
	}
	back := ledger.Payback{Reference: "re:" + r.ID, Amount: r.Amount, Currency: string(r.Currency), Reason: "refund"}
	switch {
	case failed(r):
		known, err := s.ledger.PaidBack(ctx, back.Reference)
		if err != nil || !known {
			return err
		}
	case r.Status == stripe.RefundStatusSucceeded, r.Status == stripe.RefundStatusPending:
		taken, err := s.takeBack(ctx, r.PaymentIntent, back)
		if err != nil || taken == 0 {
			return err
		}
		// It may have failed since it was read, and whoever was told of that found nothing to give again.
		if r, err = s.api.refunds.Get(id, &stripe.RefundParams{Params: get(ctx)}); err != nil {
			return translate("read refund "+id+" again", err)
		}
		if !failed(r) {
			return nil
		}
	default:
		return nil // it needs something of the customer first
	}
	back.Reference, back.Amount, back.Reason = back.Reference+":failed", -r.Amount, "failed refund"
	_, err = s.takeBack(ctx, r.PaymentIntent, back)
	return err
}

// failed tells whether the money of a refund did not leave.
func failed(r *stripe.Refund) bool {
	return r.Status == stripe.RefundStatusFailed || r.Status == stripe.RefundStatusCanceled
}

// settleCharge settles all refunds of a charge.
func (s *Service) settleCharge(ctx context.Context, id string) error {
	list := s.api.refunds.List(&stripe.RefundListParams{ListParams: all(ctx), Charge: stripe.String(id)})
	var errs, unclear []error
	for list.Next() {
		err := s.settleRefund(ctx, list.Refund().ID)
		if is := new(asideError); errors.As(err, &is) {
			unclear = append(unclear, err)
		} else {
			errs = append(errs, err)
		}
	}
	if err := list.Err(); err != nil {
		errs = append(errs, translate("list the refunds of "+id, err))
	}
	if err := errors.Join(errs...); err != nil {
		return err // tried again, with those that are unclear
	}
	return errors.Join(unclear...)
}

// settleDispute takes back what a dispute withdrew, and gives again what it reinstated. The type of the event says what
// happened where the dispute itself does not yet.
func (s *Service) settleDispute(ctx context.Context, id, event string) error {
	d, err := s.api.disputes.Get(id, &stripe.DisputeParams{Params: get(ctx)})
	if err != nil {
		return translate("read dispute "+id, err)
	}
	withdrawn := event == string(stripe.EventTypeChargeDisputeFundsWithdrawn)
	reinstated := event == string(stripe.EventTypeChargeDisputeFundsReinstated)
	for _, b := range d.BalanceTransactions {
		withdrawn, reinstated = withdrawn || b.Amount < 0, reinstated || b.Amount > 0
	}
	reference := "dp:" + d.ID
	back := ledger.Payback{Reference: reference + ":withdrawn", Amount: d.Amount, Currency: string(d.Currency), Reason: "dispute"}
	if withdrawn || reinstated {
		if _, err := s.takeBack(ctx, d.PaymentIntent, back); err != nil {
			return err
		}
	}
	if reinstated {
		back.Reference, back.Amount, back.Reason = reference+":reinstated", -d.Amount, "dispute won"
		_, err = s.takeBack(ctx, d.PaymentIntent, back)
	}
	return err
}

// takeBack takes credit back for money that went back, and tells how many units it took now.
func (s *Service) takeBack(ctx context.Context, of *stripe.PaymentIntent, back ledger.Payback) (credit.Units, error) {
	p, err := s.purchaseOfIntent(ctx, of)
	if err != nil {
		return 0, err
	}
	_, units, err := s.ledger.TakeBack(ctx, p.ID, back)
	switch {
	case errors.Is(err, ledger.ErrConflict), errors.Is(err, ledger.ErrInvalid):
		return 0, s.suspicious(ctx, p, "%s", err)
	case err != nil:
		return 0, err
	}
	if units > 0 {
		s.met.taken.Add(float64(units))
	} else {
		s.met.sold.Add(float64(-units))
	}
	if units != 0 {
		s.log.Info("credit taken back", logAccount, p.Account, logPurchase, p.ID, logUnits, int64(units), "reference", back.Reference)
	}
	s.cfg.Apply(ctx, p.Account)
	return units, nil
}
