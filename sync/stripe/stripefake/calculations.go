package stripefake

import "time"

func (f *Fake) createCalculation(c *call) (object, *Error) {
	currency := c.need("currency")
	id := c.str("customer")
	details := c.sub("customer_details")
	given := c.has("customer_details")
	where := place{auto: true, exempt: "none"}
	addr := address(details, "address")
	source := details.str("address_source", "billing", "shipping")
	if addr != nil && source == "" {
		c.complain(details.missing("address_source"))
	}
	if override := details.str("taxability_override", "none", "customer_exempt", "reverse_charge"); override != "" {
		where.exempt = map[string]string{"none": "none", "customer_exempt": "exempt", "reverse_charge": "reverse"}[override]
	}
	details.ignore("ip_address")
	taxIDs := []any{}
	for _, taxID := range details.list("tax_ids") {
		kind, value := taxID.need("type"), taxID.need("value")
		if err := checkTaxID(kind, value); err != nil {
			c.complain(err)
		}
		where.taxID = where.taxID || kind == "eu_vat"
		taxIDs = append(taxIDs, object{"type": kind, "value": value})
	}
	type item struct {
		amount, quantity         int64
		reference, behavior, tax string
	}
	var items []item
	for _, p := range c.list("line_items") {
		items = append(items, item{
			p.needNum("amount"), max(p.num("quantity"), 1), p.str("reference"),
			p.str("tax_behavior", "exclusive", "inclusive"), p.str("tax_code"),
		})
		p.ignore("product")
	}
	if len(items) == 0 {
		c.complain(c.missing("line_items"))
	}
	c.ignore("tax_date", "ship_from_details")
	if err := c.check(); err != nil {
		return nil, err
	}
	if id != "" {
		if given {
			return nil, invalid("", "customer", "You may only specify one of these parameters: customer, customer_details.")
		}
		customer, err := f.customer(id, "customer")
		if err != nil {
			return nil, err
		}
		where = f.where(customer, true)
		addr, source = customer["address"], "billing"
		for _, taxID := range f.taxIDs(id) {
			taxIDs = append(taxIDs, object{"type": taxID.str("type"), "value": taxID.str("value")})
		}
	}
	place, _ := addr.(object)
	where.country = place.str("country")
	if where.country == "" {
		return nil, invalid("customer_tax_location_invalid", "customer_details[address]",
			"We could not determine the customer's tax location based on the provided address.")
	}
	cart := &cart{currency: currency, place: where}
	for _, i := range items {
		cart.lines = append(cart.lines, &line{currency: currency, quantity: i.quantity, amount: i.amount, inclusive: i.behavior == "inclusive"})
	}
	f.levy(cart)

	calculation := f.make("tax.calculation", "taxcalc")
	delete(calculation, "created")
	var added, included, total int64
	breakdown, lines := []any{}, []any{}
	for i, l := range cart.lines {
		more, within := l.tax()
		added, included, total = added+more, included+within, total+l.amount+more
		lines = append(lines, object{
			"id": "tax_li_" + f.random(14), "object": "tax.calculation_line_item", "amount": l.amount, "amount_tax": more + within,
			"livemode": false, "product": nil, "quantity": l.quantity, "reference": orNil(items[i].reference),
			"tax_behavior": behavior(l.inclusive), "tax_breakdown": nil, "tax_code": orNil(items[i].tax),
		})
	}
	for _, sum := range taxAmounts(cart.lines) {
		s, _ := sum.(object)
		rate := f.objects[s.str("tax_rate")]
		breakdown = append(breakdown, object{
			"amount": s["amount"], "inclusive": s["inclusive"], "taxability_reason": s["taxability_reason"],
			"taxable_amount": s["taxable_amount"],
			"tax_rate_details": object{
				"country": where.country, "state": nil, "tax_type": "vat", "percentage_decimal": decimal(scaled(rate)),
			},
		})
	}
	calculation.set(object{
		"currency": currency, "customer": orNil(id), "amount_total": total, "tax_amount_exclusive": added,
		"tax_amount_inclusive": included, "tax_breakdown": breakdown, "tax_date": f.now(),
		"expires_at": f.time().Add(48 * time.Hour).Unix(),
		"customer_details": object{
			"address": addr, "address_source": orNil(source), "ip_address": nil, "tax_ids": taxIDs,
			"taxability_override": map[string]string{"exempt": "customer_exempt", "reverse": "reverse_charge"}[where.exempt],
		},
	})
	if where.exempt == "none" || where.exempt == "" {
		calculation.sub("customer_details")["taxability_override"] = "none"
	}
	f.calculated[calculation.id()] = lines
	return calculation, nil
}

// decimal is a percentage as text, as calculations have it: 21.0.
func decimal(percent int64) string {
	switch v := percentField(percent).(type) {
	case int64:
		return itoa(v) + ".0"
	default:
		return toText(v)
	}
}

func behavior(inclusive bool) string {
	if inclusive {
		return "inclusive"
	}
	return "exclusive"
}

func (f *Fake) getTaxSettings(c *call) (object, *Error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	settings := f.shape("tax.settings")
	settings.sub("head_office").sub("address")["country"] = f.cfg.Country
	settings.set(f.taxSettings)
	return settings, nil
}

// SetTaxSettings says what /v1/tax/settings answers: status active or pending, and the default tax behaviour
// (exclusive, inclusive, inferred_by_currency or "").
func (f *Fake) SetTaxSettings(status, behavior string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	details := object{"active": object{}}
	if status == "pending" {
		details = object{"pending": object{"missing_fields": []any{"head_office"}}}
	}
	f.taxSettings = object{
		"status": status, "status_details": details,
		"defaults": object{"tax_behavior": orNil(behavior), "tax_code": "txcd_10000000"},
	}
}
