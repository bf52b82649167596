package stripefake

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// checkout is what a session's parameters ask for beyond what the session shows.
type checkout struct {
	*cart
	invoice      object   // invoice_data; nil: no invoice is made
	intent       object   // fields of the payment intent
	save         string   // setup_future_usage
	blocked      []string // brands_blocked
	saveAddress  bool
	saveName     bool
	customer     string
	makeCustomer bool
	payment      string // the payment intent, once somebody tried to pay
}

// The least and most that Stripe charges, in cents.
const (
	minAmount = 50
	maxAmount = 99_999_999
)

func (f *Fake) createSession(c *call) (object, *Error) {
	order, fields := f.readSession(c)
	if err := c.check(); err != nil {
		return nil, err
	}
	var customer object
	if order.customer != "" {
		var err *Error
		if customer, err = f.customer(order.customer, "customer"); err != nil {
			return nil, err
		}
	}
	if err := f.checkSession(c, order, customer); err != nil {
		return nil, err
	}
	auto := order.place.auto
	order.place = f.where(customer, auto)
	f.levy(order.cart)
	subtotal, taxed, total := order.sums()
	switch {
	case total < minAmount:
		return nil, invalid("amount_too_small", "", "The Checkout Session's total amount due must add up to at least €0.50 %s", order.currency)
	case total > maxAmount:
		return nil, invalid("amount_too_large", "", "The Checkout Session's total amount must be no more than €999,999.99")
	}
	session := f.shape("checkout.session")
	session["id"] = "cs_test_a1" + f.random(56)
	session["created"] = f.now()
	f.keep("checkout.session", session)
	expires := f.time().Add(24 * time.Hour)
	if at, ok := fields["expires_at"].(int64); ok {
		expires = time.Unix(at, 0)
	}
	session.set(fields)
	session.set(object{
		"currency": order.currency, "amount_subtotal": subtotal, "amount_total": total, "customer": orNil(order.customer),
		"expires_at": expires.Unix(), "url": f.cfg.URL + "/c/pay/" + session.id(), "status": "open",
		"payment_status": "unpaid",
		"total_details":  object{"amount_discount": int64(0), "amount_shipping": int64(0), "amount_tax": taxed},
		"automatic_tax":  automaticTax(order.cart, "requires_location_inputs"),
	})
	if customer != nil {
		session["customer_details"] = f.customerDetails(customer)
	} else if email := session.str("customer_email"); email != "" {
		session["customer_details"] = f.customerDetails(object{"email": email, "tax_exempt": "none"})
	}
	f.carts[session.id()] = order.cart
	f.orders[session.id()] = order
	f.later(expires.Sub(f.time()), func() { f.expireNow(session) })
	return session, nil
}

func automaticTax(c *cart, unknown string) object {
	if !c.place.auto {
		return object{"enabled": false, "liability": nil, "status": nil}
	}
	status := "complete"
	if c.place.country == "" {
		status = unknown
	}
	return object{"enabled": true, "liability": object{"type": "self"}, "status": status}
}

func (f *Fake) customerDetails(customer object) object {
	taxIDs := []any{}
	for _, id := range f.taxIDs(customer.id()) {
		taxIDs = append(taxIDs, object{"type": id.str("type"), "value": id.str("value")})
	}
	return object{
		"address": cloneValue(customer["address"]), "email": customer["email"], "name": customer["name"],
		"phone": customer["phone"], "tax_exempt": customer["tax_exempt"], "tax_ids": taxIDs,
	}
}

// readSession reads all of a session's parameters.
func (f *Fake) readSession(c *call) (*checkout, object) {
	order := &checkout{cart: &cart{}, intent: object{}}
	fields := object{"metadata": meta(c.texts("metadata")), "mode": c.need("mode", "payment", "setup", "subscription")}
	if mode := fields["mode"]; mode != "payment" && mode != "" {
		c.complain(invalid("", "mode", "stripefake has no sessions in mode %v", mode))
	}
	fields["success_url"] = c.need("success_url")
	fields["cancel_url"] = orNil(c.str("cancel_url"))
	for _, name := range []string{"client_reference_id", "customer_email", "locale", "billing_address_collection", "submit_type"} {
		fields[name] = orNil(c.str(name))
	}
	if c.has("expires_at") {
		at := c.num("expires_at")
		fields["expires_at"] = at
		if wait := time.Unix(at, 0).Sub(f.time()); wait < 30*time.Minute-time.Second || wait > 24*time.Hour+time.Second {
			c.complain(invalid("", "expires_at", "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation."))
		}
	}
	kinds := c.strs("payment_method_types")
	if len(kinds) == 0 {
		kinds = []string{"card"}
	}
	fields["payment_method_types"] = anys(kinds)
	order.customer = c.str("customer")
	switch creation := c.str("customer_creation", "always", "if_required"); {
	case order.customer != "" && creation != "":
		c.complain(invalid("", "customer_creation", "`customer_creation` cannot be set when `customer` is set."))
	case order.customer == "":
		order.makeCustomer = creation == "always"
		fields["customer_creation"] = "if_required"
		if order.makeCustomer {
			fields["customer_creation"] = "always"
		}
	}
	update := c.sub("customer_update")
	order.saveAddress = update.str("address", "auto", "never") == "auto"
	order.saveName = update.str("name", "auto", "never") == "auto"
	update.str("shipping", "auto", "never")
	if c.has("customer_update") && order.customer == "" {
		c.complain(invalid("", "customer_update", "`customer_update` can only be used with `customer`."))
	}
	auto := c.sub("automatic_tax")
	order.place.auto = auto.yes("enabled")
	auto.ignore("liability")
	collect := c.sub("tax_id_collection")
	if collect.yes("enabled") {
		fields["tax_id_collection"] = object{"enabled": true}
	}
	if consent := c.sub("consent_collection"); c.has("consent_collection") {
		reuse := any(nil)
		if c.sub("consent_collection").has("payment_method_reuse_agreement") {
			reuse = object{"position": consent.sub("payment_method_reuse_agreement").need("position", "auto", "hidden")}
		}
		fields["consent_collection"] = object{
			"promotions":                     orNil(consent.str("promotions", "auto", "none")),
			"terms_of_service":               orNil(consent.str("terms_of_service", "none", "required")),
			"payment_method_reuse_agreement": reuse,
		}
	}
	f.readInvoiceCreation(c, order, fields)
	f.readIntentData(c, order)
	f.readLines(c, order)
	c.str("ui_mode", "hosted")
	c.str("currency")
	c.yes("allow_promotion_codes")
	c.sub("phone_number_collection").yes("enabled")
	if text := c.sub("custom_text"); c.has("custom_text") {
		texts := object{"after_submit": nil, "shipping_address": nil, "submit": nil, "terms_of_service_acceptance": nil}
		for name := range texts {
			if text.has(name) {
				texts[name] = object{"message": text.sub(name).need("message")}
			}
		}
		fields["custom_text"] = texts
	}
	c.ignore("payment_method_configuration")
	if !f.cfg.NoBrands {
		allowed := slices.Sorted(maps.Values(brandsBlocked))
		order.blocked = c.sub("payment_method_options").sub("card").sub("restrictions").strs("brands_blocked", allowed...)
	}
	return order, fields
}

func (f *Fake) readInvoiceCreation(c *call, order *checkout, fields object) {
	if !c.has("invoice_creation") {
		return
	}
	creation := c.sub("invoice_creation")
	enabled, data := creation.yes("enabled"), creation.sub("invoice_data")
	invoice := object{
		"metadata": meta(data.texts("metadata")), "description": orNil(data.str("description")), "footer": orNil(data.str("footer")),
	}
	shown := clone(invoice).set(object{
		"account_tax_ids": nil, "custom_fields": nil, "issuer": object{"type": "self"}, "rendering_options": nil,
	})
	data.ignore("custom_fields", "rendering_options", "account_tax_ids", "issuer")
	fields["invoice_creation"] = object{"enabled": enabled, "invoice_data": shown}
	if enabled {
		order.invoice = invoice
	}
}

func (f *Fake) readIntentData(c *call, order *checkout) {
	data := c.sub("payment_intent_data")
	order.save = data.str("setup_future_usage", "off_session", "on_session")
	order.intent.set(object{
		"metadata": meta(data.texts("metadata")), "description": orNil(data.str("description")),
		"receipt_email": orNil(data.str("receipt_email")), "setup_future_usage": orNil(order.save),
		"statement_descriptor":        orNil(data.str("statement_descriptor")),
		"statement_descriptor_suffix": orNil(data.str("statement_descriptor_suffix")),
		"capture_method":              "automatic",
	})
	data.str("capture_method", "automatic", "automatic_async")
}

// readLines reads what is sold.
func (f *Fake) readLines(c *call, order *checkout) {
	for _, p := range c.list("line_items") {
		l := &line{quantity: p.num("quantity"), rates: p.strs("tax_rates")}
		if !p.has("quantity") {
			c.complain(p.missing("quantity"))
		}
		if id := p.str("price"); id != "" {
			price, err := f.find("price", id, p.name+"[price]")
			if err != nil {
				c.complain(err)
				continue
			}
			l.price, l.currency, l.amount = price, price.str("currency"), price.num("unit_amount")*l.quantity
			l.text = f.objects[price.str("product")].str("name")
			l.inclusive = price.str("tax_behavior") == "inclusive"
		} else {
			f.readPriceData(p.sub("price_data"), l)
		}
		p.ignore("adjustable_quantity", "dynamic_tax_rates")
		if order.currency != "" && order.currency != l.currency {
			c.complain(invalid("", "line_items", "All prices on a Checkout Session must have the same currency."))
		}
		if order.place.auto && len(l.rates) > 0 {
			c.complain(invalid("", "line_items", "You cannot specify `tax_rates` when `automatic_tax[enabled]=true`."))
		}
		order.currency = l.currency
		order.lines = append(order.lines, l)
	}
	if len(order.lines) == 0 {
		c.complain(c.missing("line_items"))
	}
}

// readPriceData reads a price that is made in passing.
func (f *Fake) readPriceData(p *params, l *line) {
	l.currency = strings.ToLower(p.need("currency"))
	if l.currency != "" && len(l.currency) != 3 {
		p.complain(invalid("", p.name+"[currency]", "Invalid currency: %s", l.currency))
	}
	unit, decimal := p.num("unit_amount"), p.str("unit_amount_decimal")
	switch {
	case !p.has("unit_amount") && decimal == "":
		p.complain(p.missing("unit_amount"))
	case decimal != "":
		amount, err := decimalAmount(decimal, max(l.quantity, 1))
		if err != nil {
			p.complain(invalid("", p.name+"[unit_amount_decimal]", "Invalid decimal: %s", decimal))
		}
		l.amount = amount
	default:
		l.amount = unit * l.quantity
		decimal = itoa(unit)
	}
	if unit < 0 {
		p.complain(invalid("parameter_invalid_integer", p.name+"[unit_amount]", "Invalid non-negative integer"))
	}
	behavior := p.str("tax_behavior", "exclusive", "inclusive", "unspecified")
	l.inclusive = behavior == "inclusive"
	product := p.str("product")
	data := p.sub("product_data")
	if product == "" {
		l.text = data.need("name")
	}
	description, metadata := data.str("description"), data.texts("metadata")
	code := data.str("tax_code")
	data.strs("images")
	l.newPrice = func() {
		if product == "" {
			made := f.make("product", "prod").set(object{
				"name": l.text, "description": orNil(description), "metadata": meta(metadata), "tax_code": orNil(code), "updated": f.now(),
				"active": false,
			})
			product = made.id()
		}
		l.price = f.make("price", "price").set(object{
			"currency": l.currency, "unit_amount_decimal": decimal, "product": product, "active": false,
			"tax_behavior": orNil(behavior),
		})
		l.price["unit_amount"] = any(nil)
		if !strings.Contains(decimal, ".") {
			l.price["unit_amount"] = l.amount / max(l.quantity, 1)
		}
		if behavior == "" {
			l.price["tax_behavior"] = "unspecified"
		}
	}
}

// checkSession refuses what Stripe refuses of parameters that are right one by one.
func (f *Fake) checkSession(c *call, order *checkout, customer object) *Error {
	for _, l := range order.lines {
		if err := f.usable(l.rates, "line_items[0][tax_rates]"); err != nil {
			return err
		}
	}
	if order.place.auto && customer != nil && !order.saveAddress && customer.sub("address").str("country") == "" {
		return invalid("customer_tax_location_invalid", "", "Automatic tax calculation in Checkout requires a valid address on the Customer. "+
			"Add a valid address to the Customer or set either `customer_update[address]` to 'auto' or `customer_update[shipping]` to 'auto' to save the address entered in Checkout to the Customer.")
	}
	collects := c.sub("tax_id_collection").yes("enabled")
	if collects && customer != nil && !order.saveName {
		return invalid("", "tax_id_collection", "Tax ID collection requires updating business name on the customer. "+
			"To enable tax ID collection for an existing customer, please set `customer_update[name]` to `auto`.")
	}
	for _, l := range order.lines {
		l.id = "li_" + f.random(24)
		if l.newPrice != nil {
			l.newPrice()
		}
	}
	return nil
}

// items are a session's line items.
func (f *Fake) items(c *cart) []any {
	items := []any{}
	for _, l := range c.lines {
		added, included := l.tax()
		items = append(items, f.shape("item").set(object{
			"id": l.id, "currency": l.currency, "description": l.text, "quantity": l.quantity, "price": clone(l.price),
			"amount_subtotal": l.amount, "amount_tax": added + included, "amount_total": l.amount + added,
		}))
	}
	return items
}

func (f *Fake) getSession(c *call) (object, *Error) {
	return f.find("checkout.session", c.id, "session")
}

func (f *Fake) listSessions(c *call) (object, *Error) {
	customer, intent, status := c.str("customer"), c.str("payment_intent"), c.str("status", "complete", "expired", "open")
	email := c.sub("customer_details").str("email")
	return f.page(c, "checkout.session", func(o object) bool {
		return (customer == "" || o.str("customer") == customer) && (intent == "" || o.str("payment_intent") == intent) &&
			(status == "" || o.str("status") == status) && (email == "" || o.sub("customer_details").str("email") == email)
	})
}

func (f *Fake) listItems(c *call) (object, *Error) {
	cart := f.carts[c.id]
	if cart == nil {
		return nil, missing("checkout.session", c.id, "session")
	}
	var items []object
	for _, item := range f.items(cart) {
		o, _ := item.(object)
		items = append(items, o)
	}
	return pageOf(c, items, func(object) bool { return true })
}

func (f *Fake) expireSession(c *call) (object, *Error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	session, err := f.find("checkout.session", c.id, "session")
	if err != nil {
		return nil, err
	}
	if session.str("status") != "open" {
		return nil, invalid("", "", "Only Checkout Sessions with a status in [\"open\"] can be expired. This Checkout Session has a status of %s.", session.str("status"))
	}
	f.expireNow(session)
	return session, nil
}

func (f *Fake) expireNow(session object) {
	if session.str("status") != "open" {
		return
	}
	session.set(object{"status": "expired", "url": nil})
	f.emit("checkout.session.expired", session, nil)
}
