package stripefake

import (
	"encoding/json"
	"math/big"
	"slices"
	"strings"
)

// ratField is a number as JSON has it.
func ratField(r *big.Rat) any {
	if r.IsInt() && r.Num().IsInt64() {
		return r.Num().Int64()
	}
	return json.Number(strings.TrimRight(r.FloatString(12), "0"))
}

func (f *Fake) getAccount(c *call) (object, *Error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return f.account, nil
}

// SetChargesEnabled says whether the account may take payments, as /v1/account tells.
func (f *Fake) SetChargesEnabled(enabled bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.account["charges_enabled"] = enabled
}

func (f *Fake) createProduct(c *call) (object, *Error) {
	fields := object{
		"name": c.need("name"), "description": orNil(c.str("description")), "tax_code": orNil(c.str("tax_code")),
		"metadata": meta(c.texts("metadata")), "updated": f.now(),
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return f.make("product", "prod").set(fields), nil
}

func (f *Fake) getProduct(c *call) (object, *Error) { return f.find("product", c.id, "id") }

func (f *Fake) listProducts(c *call) (object, *Error) {
	byActive, active := c.sent("active"), c.yes("active")
	return f.page(c, "product", func(o object) bool { return !byActive || o.yes("active") == active })
}

func (f *Fake) createPrice(c *call) (object, *Error) {
	currency, amount, product := strings.ToLower(c.need("currency")), c.num("unit_amount"), c.str("product")
	fraction, behavior := c.str("unit_amount_decimal"), c.str("tax_behavior", "exclusive", "inclusive", "unspecified")
	if !c.has("unit_amount") && fraction == "" {
		c.complain(c.missing("unit_amount"))
	}
	data := c.sub("product_data")
	name := ""
	if product == "" {
		name = data.need("name")
	}
	recurring := c.sub("recurring")
	repeats := any(nil)
	if c.has("recurring") {
		usage := recurring.str("usage_type", "licensed", "metered")
		if usage == "" {
			usage = "licensed"
		}
		interval := recurring.need("interval", "day", "week", "month", "year")
		count := max(recurring.num("interval_count"), 1)
		fields := object{"aggregate_usage": nil, "interval": interval, "interval_count": count, "usage_type": usage}
		if meter := recurring.str("meter"); meter != "" {
			fields["meter"] = meter
			if _, err := f.find("billing.meter", meter, "recurring[meter]"); err != nil {
				c.complain(err)
			}
		}
		repeats = fields
	}
	fields := object{
		"currency": currency, "unit_amount": amount, "unit_amount_decimal": itoa(amount), "recurring": repeats,
		"nickname": orNil(c.str("nickname")), "metadata": meta(c.texts("metadata")), "lookup_key": orNil(c.str("lookup_key")),
		"tax_behavior": behavior, "type": "one_time",
	}
	if behavior == "" {
		fields["tax_behavior"] = "unspecified"
	}
	if repeats != nil {
		fields["type"] = "recurring"
	}
	if fraction != "" {
		fields["unit_amount"], fields["unit_amount_decimal"] = nil, fraction
	}
	c.ignore("billing_scheme")
	if err := c.check(); err != nil {
		return nil, err
	}
	if product == "" {
		product = f.make("product", "prod").set(object{"name": name, "updated": f.now()}).id()
	} else if _, err := f.find("product", product, "product"); err != nil {
		return nil, err
	}
	fields["product"] = product
	return f.make("price", "price").set(fields), nil
}

func (f *Fake) getPrice(c *call) (object, *Error) { return f.find("price", c.id, "price") }

func (f *Fake) listPrices(c *call) (object, *Error) {
	byActive, active := c.sent("active"), c.yes("active")
	product, kind, currency := c.str("product"), c.str("type", "one_time", "recurring"), c.str("currency")
	keys := c.strs("lookup_keys")
	recurring := c.sub("recurring")
	meter, usage, interval := recurring.str("meter"), recurring.str("usage_type"), recurring.str("interval")
	return f.page(c, "price", func(o object) bool {
		r := o.sub("recurring")
		return (!byActive || o.yes("active") == active) && (product == "" || o.str("product") == product) &&
			(kind == "" || o.str("type") == kind) && (currency == "" || o.str("currency") == currency) &&
			(meter == "" || r.str("meter") == meter) && (usage == "" || r.str("usage_type") == usage) &&
			(interval == "" || r.str("interval") == interval) && (len(keys) == 0 || slices.Contains(keys, o.str("lookup_key")))
	})
}

// AddPrice attaches a price to a meter, in the currency's smallest unit for each unit of usage, for tests of the
// warning that usage would be charged twice. It returns the price's id.
func (f *Fake) AddPrice(meter, currency string, unitAmount int64) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	product := f.make("product", "prod").set(object{"name": "usage", "updated": f.now()})
	return f.make("price", "price").set(object{
		"currency": currency, "unit_amount": unitAmount, "unit_amount_decimal": itoa(unitAmount), "type": "recurring",
		"product": product.id(), "recurring": object{
			"aggregate_usage": nil, "interval": "month", "interval_count": int64(1), "usage_type": "metered", "meter": meter,
		},
	}).id()
}

// SetPrice says what a price is in a currency, its own or a further one: an amount for each unit of usage, or several for
// tiers of 100 units.
func (f *Fake) SetPrice(price, currency string, unitAmounts ...int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	option := object{"custom_unit_amount": nil, "tax_behavior": "unspecified", "tiers": nil, "unit_amount": nil, "unit_amount_decimal": nil}
	if len(unitAmounts) == 1 {
		option.set(object{"unit_amount": unitAmounts[0], "unit_amount_decimal": itoa(unitAmounts[0])})
	} else {
		tiers := make([]any, len(unitAmounts))
		for i, amount := range unitAmounts {
			tiers[i] = object{"flat_amount": nil, "flat_amount_decimal": nil, "unit_amount": amount, "unit_amount_decimal": itoa(amount), "up_to": int64(100 * (i + 1))}
		}
		tiers[len(tiers)-1].(object)["up_to"] = nil
		option["tiers"] = tiers
	}
	o := f.objects[price]
	if currency == o.str("currency") {
		o.set(object{"unit_amount": option["unit_amount"], "unit_amount_decimal": option["unit_amount_decimal"]})
		if len(unitAmounts) > 1 {
			o.set(object{"billing_scheme": "tiered", "tiers_mode": "graduated"})
		}
	}
	if f.options[price] == nil {
		f.options[price] = object{}
	}
	f.options[price][currency] = option
}

// includeOptions puts into a price what Stripe does only on request: its tiers, its amounts in each currency, and their
// tiers.
func (f *Fake) includeOptions(o object, path []string) {
	options := f.options[o.id()]
	switch path[0] {
	case "tiers":
		o["tiers"] = clone(options.sub(o.str("currency"))["tiers"])
	case "currency_options":
		if o["currency_options"] == nil {
			all := clone(options)
			for currency := range all {
				delete(all.sub(currency), "tiers")
			}
			o["currency_options"] = all
		}
		if len(path) == 3 && path[2] == "tiers" && options.sub(path[1]) != nil {
			o.sub("currency_options").sub(path[1])["tiers"] = clone(options.sub(path[1])["tiers"])
		}
	}
}
