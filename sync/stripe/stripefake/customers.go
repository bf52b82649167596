package stripefake

import "strings"

// address reads an address.
func address(p *params, key string) any {
	if !p.sent(key) {
		return nil
	}
	if !p.has(key) {
		p.ignore(key)
		return nil
	}
	a := p.sub(key)
	fields := object{}
	for _, name := range []string{"city", "country", "line1", "line2", "postal_code", "state"} {
		fields[name] = orNil(a.str(name))
	}
	if country, _ := fields["country"].(string); country != "" && (len(country) != 2 || strings.ToUpper(country) != country) {
		p.complain(invalid("country_code_invalid", a.name+"[country]",
			"Country '%s' is unknown. Try using a 2-character alphanumeric country code instead, such as 'US', 'EG', or 'GB'.", country))
	}
	return fields
}

// customerFields reads what may be set on a customer; only what was sent.
func customerFields(c *call) object {
	fields := object{}
	for _, name := range []string{"name", "email", "phone", "description"} {
		if c.sent(name) {
			fields[name] = orNil(c.str(name))
		}
	}
	if email, _ := fields["email"].(string); email != "" && !strings.Contains(email, "@") {
		c.complain(invalid("email_invalid", "email", "Invalid email address: %s", email))
	}
	if c.sent("address") {
		fields["address"] = address(c.params, "address")
	}
	if c.sent("tax_exempt") {
		fields["tax_exempt"] = c.str("tax_exempt", "none", "exempt", "reverse")
	}
	if c.sent("preferred_locales") {
		fields["preferred_locales"] = anys(c.strs("preferred_locales"))
	}
	c.ignore("shipping", "tax", "balance", "invoice_prefix", "next_invoice_sequence")
	return fields
}

func (f *Fake) createCustomer(c *call) (object, *Error) {
	fields, metadata := customerFields(c), c.texts("metadata")
	settings := c.sub("invoice_settings")
	def := settings.str("default_payment_method")
	settings.ignore("custom_fields", "footer", "rendering_options")
	type taxID struct{ kind, value string }
	var taxIDs []taxID
	for _, data := range c.list("tax_id_data") {
		taxIDs = append(taxIDs, taxID{data.need("type"), data.need("value")})
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if def != "" {
		return nil, missing("payment_method", def, "invoice_settings[default_payment_method]")
	}
	for _, id := range taxIDs {
		if err := checkTaxID(id.kind, id.value); err != nil {
			return nil, err
		}
	}
	customer := f.newCustomer(fields, metadata)
	for _, id := range taxIDs {
		f.addTaxID(customer, id.kind, id.value)
	}
	return customer, nil
}

func (f *Fake) newCustomer(fields object, metadata map[string]string) object {
	customer := f.make("customer", "cus").set(fields)
	customer["invoice_prefix"] = strings.ToUpper(f.random(8))
	customer["metadata"] = meta(metadata)
	f.emit("customer.created", customer, nil)
	return customer
}

func (f *Fake) updateCustomer(c *call) (object, *Error) {
	fields, metadata := customerFields(c), c.texts("metadata")
	settings := c.sub("invoice_settings")
	setDefault, def := settings.sent("default_payment_method"), settings.str("default_payment_method")
	settings.ignore("custom_fields", "footer", "rendering_options")
	if err := c.check(); err != nil {
		return nil, err
	}
	customer, err := f.customer(c.id, "id")
	if err != nil {
		return nil, err
	}
	if def != "" {
		method, err := f.find("payment_method", def, "invoice_settings[default_payment_method]")
		if err != nil {
			return nil, err
		}
		if method.str("customer") != customer.id() {
			return nil, invalid("resource_missing", "invoice_settings[default_payment_method]",
				"The customer does not have a payment method with the ID %s. The payment method must be attached to the customer.", def)
		}
	}
	before := clone(customer)
	customer.set(fields)
	mergeMeta(customer, metadata)
	if setDefault {
		customer.sub("invoice_settings")["default_payment_method"] = orNil(def)
	}
	f.emitUpdate("customer.updated", customer, before)
	return customer, nil
}

// customer finds one that was not deleted.
func (f *Fake) customer(id, param string) (object, *Error) {
	customer, err := f.find("customer", id, param)
	if err == nil && customer.yes("deleted") {
		return nil, missing("customer", id, param)
	}
	return customer, err
}

func (f *Fake) getCustomer(c *call) (object, *Error) {
	return f.find("customer", c.id, "id")
}

func (f *Fake) deleteCustomer(c *call) (object, *Error) {
	customer, err := f.customer(c.id, "id")
	if err != nil {
		return nil, err
	}
	f.emit("customer.deleted", customer, nil)
	stub := object{"id": customer.id(), "object": "customer", "deleted": true}
	f.objects[customer.id()] = stub
	return stub, nil
}

func (f *Fake) listCustomers(c *call) (object, *Error) {
	email := c.str("email")
	return f.page(c, "customer", func(o object) bool {
		return !o.yes("deleted") && (email == "" || o.str("email") == email)
	})
}
