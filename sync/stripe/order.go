package stripe

import (
	"context"
	"errors"
	"fmt"
	"math/bits"

	"github.com/stripe/stripe-go/v76"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe/vat"
)

// Order says how much credit is wanted: one of the two, as a plain decimal.
type Order struct {
	Minutes string // 500, 498.6
	Money   string // without VAT, 35, 34.90
}

// The names of an order's fields in the public API.
const (
	fieldMinutes = "amount_minutes"
	fieldMoney   = "amount_eur"
)

// amount is what an order comes to: units, and their price without VAT in cents.
func (s *Service) amount(o Order) (credit.Units, int64, error) {
	switch {
	case o.Minutes != "" && o.Money != "":
		return 0, 0, badField(fieldMoney, "Give %s or %s, not both.", fieldMinutes, fieldMoney)
	case o.Minutes != "":
		return s.amountOfMinutes(o.Minutes)
	case o.Money != "":
		return s.amountOfMoney(o.Money)
	}
	return 0, 0, missingField(fieldMinutes, "Say how much: amount_minutes or amount_eur.")
}

// amountOfMinutes rounds the price up to the cent: a cent never buys more than a cent's worth.
func (s *Service) amountOfMinutes(text string) (credit.Units, int64, error) {
	hundredths, err := credit.ParseMoney(text) // the same two decimals, and none of a credit's thirds
	if err != nil {
		return 0, 0, badDecimal(fieldMinutes, err)
	}
	if hundredths%ledger.MicrosPerCent != 0 {
		return 0, 0, badField(fieldMinutes, "Minutes have two decimals at most.")
	}
	if hundredths <= 0 {
		return 0, 0, badField(fieldMinutes, "The amount must be above zero.")
	}
	n := uint64(hundredths / ledger.MicrosPerCent)
	hi, units := bits.Mul64(n, uint64(credit.PerCredit/100))
	if hi > 0 || units > credit.Max {
		return 0, 0, s.outside(fieldMinutes)
	}
	cents, ok := mulDivUp(units, uint64(s.cfg.Price), uint64(credit.PerCredit)*uint64(ledger.MicrosPerCent))
	if !ok {
		return 0, 0, s.outside(fieldMinutes)
	}
	return credit.Units(units), cents, s.within(fieldMinutes, cents)
}

// amountOfMoney rounds units down.
func (s *Service) amountOfMoney(text string) (credit.Units, int64, error) {
	micros, err := credit.ParseMoney(text)
	if err != nil {
		return 0, 0, badDecimal(fieldMoney, err)
	}
	if micros%ledger.MicrosPerCent != 0 {
		return 0, 0, badField(fieldMoney, "Amounts have two decimals at most.")
	}
	if micros <= 0 {
		return 0, 0, badField(fieldMoney, "The amount must be above zero.")
	}
	cents := int64(micros / ledger.MicrosPerCent)
	if err := s.within(fieldMoney, cents); err != nil {
		return 0, 0, err
	}
	hi, lo := bits.Mul64(uint64(micros), uint64(credit.PerCredit))
	if hi >= uint64(s.cfg.Price) {
		return 0, 0, s.outside(fieldMoney)
	}
	units, _ := bits.Div64(hi, lo, uint64(s.cfg.Price))
	if units == 0 || units > credit.Max {
		return 0, 0, s.outside(fieldMoney)
	}
	return credit.Units(units), cents, nil
}

// ofUnits is the price of units without VAT, in cents.
func (s *Service) ofUnits(field string, units credit.Units) (int64, error) {
	if units <= 0 {
		return 0, badField(field, "The amount must be above zero.")
	}
	cents, ok := mulDivUp(uint64(units), uint64(s.cfg.Price), uint64(credit.PerCredit)*uint64(ledger.MicrosPerCent))
	if !ok {
		return 0, s.outside(field)
	}
	return cents, s.within(field, cents)
}

// mulDivUp is a x b / c rounded up, and whether it can be counted.
func mulDivUp(a, b, c uint64) (int64, bool) {
	hi, lo := bits.Mul64(a, b)
	lo, carry := bits.Add64(lo, c-1, 0)
	if hi += carry; hi >= c {
		return 0, false
	}
	q, _ := bits.Div64(hi, lo, c)
	return int64(q), q <= credit.Max
}

func (s *Service) within(field string, cents int64) error {
	if cents < int64(s.cfg.Min/ledger.MicrosPerCent) || cents > int64(s.cfg.Max/ledger.MicrosPerCent) {
		return s.outside(field)
	}
	return nil
}

func (s *Service) outside(field string) error {
	return badField(field, "A purchase is of EUR %s to EUR %s without VAT, which is %s to %s minutes.", s.cfg.Min.Money(), s.cfg.Max.Money(),
		credit.Minutes(s.cfg.Min.Units(s.cfg.Price)), credit.Minutes(s.cfg.Max.Units(s.cfg.Price)))
}

func badDecimal(field string, err error) error {
	switch {
	case errors.Is(err, credit.ErrPrecision):
		return badField(field, "Write two decimals at most.")
	case errors.Is(err, credit.ErrRange):
		return badField(field, "The amount is too large.")
	}
	return badField(field, "Write a plain decimal number, such as 500 or 34.90.")
}

// Quote says what an account would pay for an order.
// Errors: *ledger.FieldError; ledger.ErrNotFound; in tax mode stripe ErrNotConfigured, ErrUnavailable, ErrRefused.
func (s *Service) Quote(ctx context.Context, account string, o Order) (ledger.Quote, error) {
	units, net, err := s.amount(o)
	if err == nil {
		err = s.sells(fieldOf(o), account)
	}
	if err != nil {
		return ledger.Quote{}, err
	}
	b, err := s.payer(ctx, account)
	if err != nil {
		return ledger.Quote{}, err
	}
	q, _, err := s.quote(ctx, b, units, net)
	return q, err
}

func fieldOf(o Order) string {
	if o.Money != "" {
		return fieldMoney
	}
	return fieldMinutes
}

// sells refuses accounts whose credit is counted in another currency than it is sold in.
func (s *Service) sells(field, account string) error {
	if a, ok := s.cfg.Account(account); ok && a.Currency != "" && a.Currency != Currency {
		return badField(field, "Credit is sold in %s, but this account is in %s.", Currency, a.Currency)
	}
	return nil
}

// payer is who an account's invoices are made out to, without asking Stripe where that can be.
func (s *Service) payer(ctx context.Context, account string) (ledger.Billing, error) {
	if s.cfg.TaxMode == TaxStripe {
		return s.customer(ctx, account)
	}
	return s.billing(ctx, account)
}

// The words of a purchase's tax, besides the id of a tax rate of Stripe's.
const (
	taxNone    = "none"    // outside the EU
	taxReverse = "reverse" // reverse charge
	taxAuto    = "auto"    // Stripe Tax decides
)

// quote is the price with tax, and which tax that is; nil: Stripe Tax decides.
func (s *Service) quote(ctx context.Context, b ledger.Billing, units credit.Units, net int64) (ledger.Quote, *vat.Tax, error) {
	q := ledger.Quote{Units: units, Currency: Currency, Net: net}
	verified := b.VATID != "" && b.VATStatus == ledger.VATVerified
	// Stripe Tax takes any VAT ID for good, verified or not, and would leave out the VAT of one that may be made up
	// (docs.stripe.com/api/tax/calculations/create, customer_details.tax_ids): until it is verified the table decides.
	if s.cfg.TaxMode == TaxStripe && (b.VATID == "" || verified || !vat.InEU(b.Country)) {
		err := s.quoteOfStripe(ctx, b, &q)
		return q, nil, err
	}
	tax, err := s.cfg.Rates.Decide(vat.Sale{Seller: s.cfg.Seller, Buyer: b.Country, Verified: verified, At: s.cfg.Now()})
	if err != nil {
		return q, nil, fmt.Errorf("quote for account %q: %w", b.Account, err)
	}
	q.VAT, q.VATRate, q.ReverseCharge, q.Note = vat.Amount(net, tax.Rate), tax.Rate, tax.ReverseCharge, tax.Note
	q.Total = q.Net + q.VAT
	return q, &tax, nil
}

// quoteOfStripe asks Stripe Tax.
func (s *Service) quoteOfStripe(ctx context.Context, b ledger.Billing, q *ledger.Quote) error {
	if s.api == nil {
		return ErrNotConfigured
	}
	p := &stripe.TaxCalculationParams{Currency: stripe.String(currencyCode), Customer: stripe.String(b.Customer),
		LineItems: []*stripe.TaxCalculationLineItemParams{{Amount: stripe.Int64(q.Net), Reference: stripe.String("credit"),
			TaxBehavior: stripe.String("exclusive"), TaxCode: stripe.String(taxCode)}},
		Params: post(ctx, onceKey("quote"))}
	sum, err := s.api.sums.New(p)
	if code := saidOf(err).Code; code == "customer_tax_location_invalid" || code == "tax_calculation_customer_location_invalid" {
		return badField(fieldCountry, "Give your address first: the tax depends on it.")
	}
	if err != nil {
		return translate("calculate the tax of a purchase", err)
	}
	q.VAT, q.Total = sum.TaxAmountExclusive, sum.AmountTotal
	for _, part := range sum.TaxBreakdown {
		q.ReverseCharge = q.ReverseCharge || part.TaxabilityReason == stripe.TaxCalculationTaxBreakdownTaxabilityReasonReverseCharge
		if d := part.TaxRateDetails; d != nil && part.Amount != 0 {
			q.VATRate += vat.Hundredths(d.PercentageDecimal)
			q.Note = d.Country + " VAT " + vat.Percent(q.VATRate) + "%"
		}
	}
	if q.ReverseCharge {
		q.VATRate, q.Note = 0, vat.NoteReverseCharge
	}
	return nil
}
