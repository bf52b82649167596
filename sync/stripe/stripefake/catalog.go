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
