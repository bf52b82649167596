package stripefake

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// newInvoice makes a draft.
func (f *Fake) newInvoice(customer object, currency string) object {
	invoice := f.make("invoice", "in")
	now := f.now()
	invoice.set(object{
		"account_country": f.cfg.Country, "account_name": f.cfg.Name, "currency": currency, "customer": customer.str("id"),
		"status": "draft", "period_start": now, "period_end": now,
	})
	invoice.sub("lines")["url"] = "/v1/invoices/" + invoice.id() + "/lines"
	f.address(invoice)
	return invoice
}

// address takes over who an invoice is for; Stripe does so until it is finalized.
func (f *Fake) address(invoice object) {
	customer := f.objects[invoice.str("customer")]
	taxIDs := []any{}
	for _, id := range f.taxIDs(customer.id()) {
		taxIDs = append(taxIDs, object{"type": id.str("type"), "value": id.str("value")})
	}
	invoice.set(object{
		"customer_address": cloneValue(customer["address"]), "customer_email": customer["email"],
		"customer_name": customer["name"], "customer_phone": customer["phone"],
		"customer_tax_exempt": customer["tax_exempt"], "customer_tax_ids": taxIDs,
	})
}

// total writes a cart into its invoice.
func (f *Fake) total(invoice object) {
	cart := f.drafts[invoice.id()]
	lines := []any{}
	var net int64
	for _, l := range cart.lines {
		_, included := l.tax()
		net += l.amount - included
		if l.id == "" || !strings.HasPrefix(l.id, "il_") {
			l.id = "il_" + f.random(24)
		}
		taxes := taxAmounts([]*line{l})
		rates := []any{}
		for _, id := range l.rates {
			rates = append(rates, clone(f.objects[id]))
		}
		var unit any
		if l.quantity > 0 {
			unit = itoa((l.amount - included) / l.quantity)
		}
		lines = append(lines, f.shape("line_item").set(object{
			"id": l.id, "amount": l.amount, "amount_excluding_tax": l.amount - included, "currency": l.currency,
			"description": l.text, "invoice": invoice.id(), "invoice_item": orNil(l.item), "quantity": l.quantity,
			"price": nilIfEmpty(clone(l.price)), "tax_amounts": taxes, "tax_rates": rates,
			"period": object{"start": invoice["created"], "end": invoice["created"]}, "type": "invoiceitem",
			"unit_amount_excluding_tax": unit, "metadata": orEmpty(l.metadata),
		}))
	}
	subtotal, taxed, total := cart.sums()
	invoice.sub("lines")["data"] = lines
	invoice.set(object{
		"subtotal": subtotal, "subtotal_excluding_tax": net, "tax": taxed, "total": total, "total_excluding_tax": net,
		"amount_due": total, "amount_remaining": total, "total_tax_amounts": taxAmounts(cart.lines),
	})
	if len(taxAmounts(cart.lines)) == 0 {
		invoice["tax"] = nil
	}
}

func nilIfEmpty(o object) any {
	if o == nil {
		return nil
	}
	return o
}

func orEmpty(o object) object {
	if o == nil {
		return object{}
	}
	return clone(o)
}

// number finalizes an invoice.
func (f *Fake) number(invoice object) {
	f.numbers++
	now := f.now()
	link := f.cfg.URL + "/i/" + invoice.id() + "/" + f.random(24)
	invoice.set(object{
		"status": "open", "number": fmt.Sprintf("%s-%04d", f.cfg.Prefix, f.numbers), "effective_at": now,
		"hosted_invoice_url": link, "invoice_pdf": link + "/pdf", "ending_balance": int64(0),
	})
	invoice.sub("status_transitions")["finalized_at"] = now
}

// settle marks an invoice paid by a charge; nil: out of band.
func (f *Fake) settle(invoice, charge object) {
	invoice.set(object{
		"status": "paid", "paid": true, "attempted": true, "amount_paid": invoice["amount_due"],
		"amount_remaining": int64(0), "auto_advance": false,
	})
	invoice.sub("status_transitions")["paid_at"] = f.now()
	if charge != nil {
		invoice["charge"] = charge.id()
		invoice["attempt_count"] = invoice.num("attempt_count") + 1
	}
	f.emit("invoice.paid", invoice, nil)
	f.emit("invoice.payment_succeeded", invoice, nil)
}

func (f *Fake) createInvoice(c *call) (object, *Error) {
	id := c.need("customer")
	fields := object{
		"collection_method": "charge_automatically", "description": orNil(c.str("description")), "footer": orNil(c.str("footer")),
		"metadata": meta(c.texts("metadata")), "auto_advance": c.yes("auto_advance"),
		"default_payment_method": orNil(c.str("default_payment_method")), "statement_descriptor": orNil(c.str("statement_descriptor")),
	}
	if method := c.str("collection_method", "charge_automatically", "send_invoice"); method != "" {
		fields["collection_method"] = method
	}
	if days := c.num("days_until_due"); days > 0 {
		fields["due_date"] = f.time().Add(time.Duration(days) * 24 * time.Hour).Unix()
	}
	rates := c.strs("default_tax_rates")
	auto := c.sub("automatic_tax")
	automatic := auto.yes("enabled")
	auto.ignore("liability")
	settings := c.sub("payment_settings")
	kinds := settings.strs("payment_method_types")
	settings.ignore("payment_method_options", "default_mandate")
	include := c.str("pending_invoice_items_behavior", "include", "exclude") == "include"
	currency := c.str("currency")
	c.ignore("custom_fields", "rendering", "rendering_options", "account_tax_ids", "issuer")
	if err := c.check(); err != nil {
		return nil, err
	}
	customer, err := f.customer(id, "customer")
	if err != nil {
		return nil, err
	}
	if err := f.usable(rates, "default_tax_rates"); err != nil {
		return nil, err
	}
	if automatic && len(rates) > 0 {
		return nil, invalid("", "default_tax_rates", "You cannot specify `default_tax_rates` when `automatic_tax[enabled]=true`.")
	}
	if method, _ := fields["default_payment_method"].(string); method != "" {
		if _, err := f.ownMethod(method, id, "default_payment_method"); err != nil {
			return nil, err
		}
	}
	if currency == "" {
		currency = "eur"
	}
	invoice := f.newInvoice(customer, currency).set(fields)
	if len(kinds) > 0 {
		invoice.sub("payment_settings")["payment_method_types"] = anys(kinds)
	}
	shown := []any{}
	for _, rate := range rates {
		shown = append(shown, clone(f.objects[rate]))
	}
	invoice["default_tax_rates"] = shown
	f.drafts[invoice.id()] = &cart{currency: currency, place: place{auto: automatic}}
	if include {
		for _, item := range f.kinds["invoiceitem"] {
			if o := f.objects[item]; o.str("customer") == id && o.str("invoice") == "" && o.str("currency") == currency {
				f.addItem(invoice, o)
			}
		}
	}
	f.retax(invoice)
	f.emit("invoice.created", invoice, nil)
	return invoice, nil
}

// retax brings a draft's taxes and sums up to date.
func (f *Fake) retax(invoice object) {
	cart := f.drafts[invoice.id()]
	cart.place = f.where(f.objects[invoice.str("customer")], cart.place.auto)
	var defaults []string
	for _, rate := range invoice.list("default_tax_rates") {
		o, _ := rate.(object)
		defaults = append(defaults, o.id())
	}
	for _, l := range cart.lines {
		if len(l.rates) == 0 {
			l.rates = defaults
		}
	}
	f.levy(cart)
	f.total(invoice)
	invoice["automatic_tax"] = automaticTax(cart, "requires_location_inputs")
}

// ownMethod finds a payment method of a customer.
func (f *Fake) ownMethod(id, customer, param string) (object, *Error) {
	method, err := f.find("payment_method", id, param)
	if err != nil {
		return nil, err
	}
	if method.str("customer") != customer {
		return nil, invalid("resource_missing", param, "The customer does not have a payment method with the ID %s. "+
			"The payment method must be attached to the customer.", id)
	}
	return method, nil
}

func (f *Fake) createItem(c *call) (object, *Error) {
	id, invoiceID := c.need("customer"), c.str("invoice")
	l := &line{quantity: 1, text: c.str("description"), metadata: meta(c.texts("metadata")), rates: c.strs("tax_rates")}
	if c.has("quantity") {
		l.quantity = c.num("quantity")
	}
	unit, fraction := c.num("unit_amount"), c.str("unit_amount_decimal")
	switch {
	case c.has("price_data"):
		data := c.sub("price_data")
		l.text = strings.TrimSpace(l.text)
		if !data.has("product") && !data.has("product_data") {
			c.complain(data.missing("product"))
		}
		f.readPriceData(data, l)
		l.newPrice()
	case c.has("amount"):
		l.amount, l.currency = c.num("amount"), strings.ToLower(c.need("currency"))
	case fraction != "":
		amount, err := decimalAmount(fraction, l.quantity)
		if err != nil {
			c.complain(invalid("", "unit_amount_decimal", "Invalid decimal: %s", fraction))
		}
		l.amount, l.currency = amount, strings.ToLower(c.need("currency"))
	case c.has("unit_amount"):
		l.amount, l.currency = unit*l.quantity, strings.ToLower(c.need("currency"))
	default:
		c.complain(c.missing("amount"))
	}
	c.str("currency")
	l.inclusive = l.inclusive || c.str("tax_behavior", "exclusive", "inclusive", "unspecified") == "inclusive"
	c.ignore("tax_code", "discountable", "period")
	if err := c.check(); err != nil {
		return nil, err
	}
	if _, err := f.customer(id, "customer"); err != nil {
		return nil, err
	}
	if err := f.usable(l.rates, "tax_rates"); err != nil {
		return nil, err
	}
	var invoice object
	if invoiceID != "" {
		var err *Error
		if invoice, err = f.draft(invoiceID); err != nil {
			return nil, err
		}
		if invoice.str("customer") != id {
			return nil, invalid("", "invoice", "The invoice %s is not for the customer %s.", invoiceID, id)
		}
		if invoice.str("currency") != l.currency {
			return nil, invalid("", "currency", "The currency of the invoice item must be the one of its invoice, %s.", invoice.str("currency"))
		}
	}
	item := f.make("invoiceitem", "ii")
	rates := []any{}
	for _, rate := range l.rates {
		rates = append(rates, clone(f.objects[rate]))
	}
	item.set(object{
		"amount": l.amount, "currency": l.currency, "customer": id, "date": item["created"], "description": orNil(l.text),
		"metadata": clone(l.metadata), "period": object{"start": item["created"], "end": item["created"]},
		"price": nilIfEmpty(clone(l.price)), "quantity": l.quantity, "tax_rates": rates,
		"unit_amount": l.amount / max(l.quantity, 1), "unit_amount_decimal": itoa(l.amount / max(l.quantity, 1)),
	})
	delete(item, "created")
	l.item = item.id()
	f.loose[item.id()] = l
	f.emit("invoiceitem.created", item, nil)
	if invoice != nil {
		f.addItem(invoice, item)
		f.retax(invoice)
		f.emit("invoice.updated", invoice, object{})
	}
	return item, nil
}

func (f *Fake) addItem(invoice, item object) {
	item["invoice"] = invoice.id()
	cart := f.drafts[invoice.id()]
	cart.lines = append(cart.lines, f.loose[item.id()])
}

// draft finds an invoice that may still be changed.
func (f *Fake) draft(id string) (object, *Error) {
	invoice, err := f.find("invoice", id, "invoice")
	if err != nil {
		return nil, err
	}
	if invoice.str("status") != "draft" {
		return nil, invalid("invoice_not_editable", "", "This invoice is no longer editable")
	}
	return invoice, nil
}

func notIn(status string, invoice object) *Error {
	return &Error{Status: http.StatusBadRequest, Type: typeInvalid, Code: "invoice_not_editable",
		Message: fmt.Sprintf("This invoice is %s; only one that is %s can be.", invoice.str("status"), status)}
}
