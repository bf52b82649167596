package stripefake

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// scale is the unit of tax percentages here: Stripe keeps four decimals.
const scale = 10_000

// vat is the standard rate of the EU's countries in hundredths of a percent, as of January 2026
// (https://europa.eu/youreurope/business/taxation/vat/vat-rules-rates/).
var vat = map[string]int64{
	"AT": 2000, "BE": 2100, "BG": 2000, "CY": 1900, "CZ": 2100, "DE": 1900, "DK": 2500, "EE": 2400, "ES": 2100,
	"FI": 2550, "FR": 2000, "GR": 2400, "HR": 2500, "HU": 2700, "IE": 2300, "IT": 2200, "LT": 2100, "LU": 1700,
	"LV": 2100, "MT": 1800, "NL": 2100, "PL": 2300, "PT": 2300, "RO": 2100, "SE": 2500, "SI": 2200, "SK": 2300,
}

// place is what decides about the tax of a purchase.
type place struct {
	auto    bool   // Stripe Tax decides; otherwise the lines' own tax rates
	country string // of the buyer; "": not known
	exempt  string // the customer's tax_exempt
	taxID   bool   // the buyer has an EU VAT id
}

// line is a part of a cart.
type line struct {
	id        string
	item      string // invoice item
	text      string
	currency  string
	quantity  int64
	amount    int64 // of all, as priced
	inclusive bool  // the amount has the tax in it
	rates     []string
	price     object
	metadata  object
	taxes     []tax
	newPrice  func() // makes the price once the parameters are found right
}

// tax is one tax on a line.
type tax struct {
	amount    int64
	taxable   int64
	inclusive bool
	rate      string // txr_...
	reason    string // Stripe's taxability_reason
}

// cart is what is sold by a session or an invoice.
type cart struct {
	currency string
	lines    []*line
	place    place
}

func (l *line) tax() (added, included int64) {
	for _, t := range l.taxes {
		if t.inclusive {
			included += t.amount
		} else {
			added += t.amount
		}
	}
	return added, included
}

// subtotal, tax and total of a cart. The subtotal is the sum of the prices as given.
func (c *cart) sums() (subtotal, taxed, total int64) {
	for _, l := range c.lines {
		added, included := l.tax()
		subtotal += l.amount
		taxed += added + included
		total += l.amount + added
	}
	return subtotal, taxed, total
}

// levy computes the tax of every line.
func (f *Fake) levy(c *cart) {
	for _, l := range c.lines {
		l.taxes = nil
		switch {
		case c.place.auto && c.place.country == "":
			continue // not known yet
		case c.place.auto:
			percent, reason := f.reverse(c.place)
			l.taxes = []tax{f.levyOne(l.amount, f.autoRate(c.place.country, percent, l.inclusive), reason)}
		default:
			for _, id := range l.rates {
				rate := f.objects[id]
				if rate == nil {
					continue
				}
				t := f.levyOne(l.amount, rate, "standard_rated")
				if c.place.exempt != "none" && c.place.exempt != "" {
					t.amount, t.reason = 0, "customer_exempt"
					if c.place.exempt == "reverse" {
						t.reason = "reverse_charge"
					}
				}
				l.taxes = append(l.taxes, t)
			}
		}
	}
}

// reverse returns Stripe Tax's rate, in hundredths of a percent, and why it is that.
func (f *Fake) reverse(p place) (int64, string) {
	rate, inside := vat[p.country]
	switch {
	case p.exempt == "exempt":
		return 0, "customer_exempt"
	case p.exempt == "reverse":
		return 0, "reverse_charge"
	case !inside:
		return 0, "not_collecting"
	case p.taxID && p.country != f.cfg.Country:
		return 0, "reverse_charge"
	default:
		return rate, "standard_rated"
	}
}

// levyOne computes one rate's tax, rounded half up per line as Stripe does by default.
func (f *Fake) levyOne(amount int64, rate object, reason string) tax {
	t := tax{taxable: amount, inclusive: rate.yes("inclusive"), rate: rate.id(), reason: reason}
	percent := scaled(rate)
	if t.inclusive {
		t.taxable = roundDiv(amount, 100*scale, 100*scale+percent)
		t.amount = amount - t.taxable
	} else {
		t.amount = roundDiv(amount, percent, 100*scale)
	}
	return t
}

// roundDiv is a*b/c rounded half up, for what is not negative.
func roundDiv(a, b, c int64) int64 {
	n := new(big.Int).Mul(big.NewInt(a), big.NewInt(b))
	n.Mul(n, big.NewInt(2)).Add(n, big.NewInt(c))
	return n.Div(n, big.NewInt(2*c)).Int64()
}

// scaled returns a rate's percentage in units of scale.
func scaled(rate object) int64 {
	switch v := rate["percentage"].(type) {
	case int64:
		return v * scale
	case json.Number:
		percent, _ := parsePercent(v.String())
		return percent
	default:
		return 0
	}
}

// parsePercent reads 21 or 25.5; false: it is not a percentage.
func parsePercent(text string) (int64, bool) {
	whole, fraction, _ := strings.Cut(text, ".")
	if len(fraction) > 4 || strings.ContainsAny(text, "+-eE") {
		return 0, false
	}
	n, err := strconv.ParseInt(whole+(fraction + "0000")[:4], 10, 64)
	return n, err == nil && n <= 100*scale
}

// percentField is a percentage as a JSON number.
func percentField(percent int64) any {
	if percent%scale == 0 {
		return percent / scale
	}
	text := strconv.FormatInt(percent/scale, 10) + "." + strconv.FormatInt(scale+percent%scale, 10)[1:]
	return json.Number(strings.TrimRight(text, "0"))
}

// autoRate is the tax rate that Stripe Tax shows on an invoice.
func (f *Fake) autoRate(country string, hundredths int64, inclusive bool) object {
	key := country + strconv.FormatInt(hundredths, 10) + strconv.FormatBool(inclusive)
	if id, ok := f.rates[key]; ok {
		return f.objects[id]
	}
	rate := f.make("tax_rate", "txr").set(object{
		"active": false, "country": country, "jurisdiction": country, "jurisdiction_level": "country",
		"display_name": "VAT", "percentage": percentField(hundredths * scale / 100),
		"effective_percentage": percentField(hundredths * scale / 100), "inclusive": inclusive, "tax_type": "vat",
	})
	f.rates[key] = rate.id()
	return rate
}

// where tells what decides about a customer's tax.
func (f *Fake) where(customer object, auto bool) place {
	p := place{auto: auto, country: customer.sub("address").str("country"), exempt: customer.str("tax_exempt")}
	for _, id := range f.taxIDs(customer.id()) {
		p.taxID = p.taxID || id.str("type") == "eu_vat"
	}
	return p
}

func (f *Fake) createTaxRate(c *call) (object, *Error) {
	percent, ok := parsePercent(c.need("percentage"))
	if !ok {
		c.complain(invalid("", "percentage", "Invalid decimal: a percentage has at most 4 decimals"))
	}
	fields := object{
		"display_name": c.need("display_name"), "inclusive": c.yes("inclusive"), "active": !c.sent("active") || c.yes("active"),
		"percentage": percentField(percent), "country": orNil(c.str("country")), "description": orNil(c.str("description")),
		"jurisdiction": orNil(c.str("jurisdiction")), "state": orNil(c.str("state")),
		"tax_type": orNil(c.str("tax_type")), "metadata": meta(c.texts("metadata")), "jurisdiction_level": nil,
	}
	if !c.sent("inclusive") {
		c.complain(c.missing("inclusive"))
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	rate := f.make("tax_rate", "txr").set(fields)
	f.emit("tax_rate.created", rate, nil)
	return rate, nil
}

func (f *Fake) getTaxRate(c *call) (object, *Error) { return f.find("tax_rate", c.id, "id") }

func (f *Fake) updateTaxRate(c *call) (object, *Error) {
	fields := object{}
	if c.sent("active") {
		fields["active"] = c.yes("active")
	}
	for _, name := range []string{"display_name", "description", "country", "jurisdiction", "state", "tax_type"} {
		if c.sent(name) {
			fields[name] = orNil(c.str(name))
		}
	}
	metadata := c.texts("metadata")
	if err := c.check(); err != nil {
		return nil, err
	}
	rate, err := f.find("tax_rate", c.id, "id")
	if err != nil {
		return nil, err
	}
	before := clone(rate)
	rate.set(fields)
	mergeMeta(rate, metadata)
	f.emitUpdate("tax_rate.updated", rate, before)
	return rate, nil
}

func (f *Fake) listTaxRates(c *call) (object, *Error) {
	byActive, active := c.sent("active"), c.yes("active")
	byInclusive, inclusive := c.sent("inclusive"), c.yes("inclusive")
	return f.page(c, "tax_rate", func(o object) bool {
		return (!byActive || o.yes("active") == active) && (!byInclusive || o.yes("inclusive") == inclusive)
	})
}

// usable refuses tax rates that do not exist or were put away.
func (f *Fake) usable(rates []string, param string) *Error {
	for _, id := range rates {
		rate, err := f.find("tax_rate", id, param)
		if err != nil {
			return err
		}
		if !rate.yes("active") {
			return invalid("", param, "The tax rate %s is inactive.", id)
		}
	}
	return nil
}

// taxAmounts sums the taxes of lines by rate, as invoices do.
func taxAmounts(lines []*line) []any {
	var sums []tax
	for _, l := range lines {
		for _, t := range l.taxes {
			i := slices.IndexFunc(sums, func(s tax) bool { return s.rate == t.rate && s.reason == t.reason })
			if i < 0 {
				sums = append(sums, t)
				continue
			}
			sums[i].amount += t.amount
			sums[i].taxable += t.taxable
		}
	}
	fields := []any{}
	for _, s := range sums {
		fields = append(fields, object{
			"amount": s.amount, "inclusive": s.inclusive, "tax_rate": s.rate,
			"taxability_reason": s.reason, "taxable_amount": s.taxable,
		})
	}
	return fields
}

// decimalAmount is a unit price in fractions of the smallest unit times a quantity, rounded half up.
func decimalAmount(decimal string, quantity int64) (int64, error) {
	price, ok := new(big.Rat).SetString(decimal)
	if _, fraction, _ := strings.Cut(decimal, "."); !ok || len(fraction) > 12 || price.Sign() < 0 || strings.ContainsAny(decimal, "eE/+") {
		return 0, errors.New("not a decimal")
	}
	price.Mul(price, new(big.Rat).SetInt64(quantity)).Add(price, big.NewRat(1, 2))
	amount := new(big.Int).Div(price.Num(), price.Denom())
	if !amount.IsInt64() {
		return 0, errors.New("too large")
	}
	return amount.Int64(), nil
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func toText(value any) string { return fmt.Sprint(value) }
