package vat

import "time"

// Sale is what the tax of a purchase hangs on. Countries are ISO 3166-1 alpha-2 codes.
type Sale struct {
	Seller   string
	Buyer    string // empty: not known
	Verified bool   // the buyer has a VAT ID of its country that has been verified
	At       time.Time
}

// Tax is the tax of a sale.
type Tax struct {
	Rate          int64  // hundredths of a percent
	Country       string // whose VAT it is, ISO 3166-1 alpha-2; empty: none is due
	ReverseCharge bool   // the buyer accounts for it, in Country
	Note          string // why, for the customer and the invoice
}

// The notes on sales without a rate.
const (
	NoteReverseCharge = "Reverse charge: VAT to be accounted for by the recipient (Article 196 of Directive 2006/112/EC)"
	NoteOutside       = "Outside the scope of EU VAT"
)

// Decide says which tax a sale bears, by the rules of the package's description. Errors: [ErrNoRate].
func (t *Table) Decide(s Sale) (Tax, error) {
	buyer := taxed(s.Buyer)
	switch {
	case buyer == "" || buyer == taxed(s.Seller):
		return t.charge(taxed(s.Seller), s.At)
	case !InEU(buyer):
		return Tax{Note: NoteOutside}, nil
	case s.Verified:
		return Tax{Country: buyer, ReverseCharge: true, Note: NoteReverseCharge}, nil
	}
	return t.charge(buyer, s.At)
}

// charge is a country's own rate.
func (t *Table) charge(country string, at time.Time) (Tax, error) {
	rate, err := t.Rate(country, at)
	if err != nil {
		return Tax{}, err
	}
	name := members[country]
	if name == "" {
		name = country
	}
	return Tax{Rate: rate, Country: country, Note: name + " VAT " + Percent(rate) + "%"}, nil
}

// Amount is the tax on a net amount, in the currency's smallest unit, rounded half up once. A negative amount, a refund,
// is rounded as the positive one that it takes back.
func Amount(net, rate int64) int64 {
	if net < 0 {
		return -Amount(-net, rate)
	}
	const whole = 100_00
	return net/whole*rate + (net%whole*rate+whole/2)/whole
}
