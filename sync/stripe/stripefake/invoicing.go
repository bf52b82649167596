package stripefake

import (
	"net/http"
)

func (f *Fake) finalizeInvoice(c *call) (object, *Error) {
	advance, set := c.yes("auto_advance"), c.sent("auto_advance")
	if err := c.check(); err != nil {
		return nil, err
	}
	invoice, err := f.find("invoice", c.id, "invoice")
	if err != nil {
		return nil, err
	}
	if invoice.str("status") != "draft" {
		return nil, invalid("invoice_not_editable", "", "This invoice is already finalized, you can't re-finalize a non-draft invoice.")
	}
	if set {
		invoice["auto_advance"] = advance
	}
	f.finalize(invoice)
	return invoice, nil
}

// finalize numbers a draft and makes its payment; one of nothing, or less, is paid with that.
func (f *Fake) finalize(invoice object) {
	f.address(invoice)
	f.retax(invoice)
	f.number(invoice)
	f.balance(invoice)
	if invoice.num("amount_due") > 0 {
		intent := f.newIntent(invoice.num("amount_due"), invoice.str("currency"), invoice.str("customer"))
		intent.set(object{"invoice": invoice.id(), "description": "Payment for Invoice", "setup_future_usage": nil})
		invoice["payment_intent"] = intent.id()
	}
	f.emit("invoice.finalized", invoice, nil)
	if invoice.num("amount_due") <= 0 {
		f.settle(invoice, nil)
	}
}

// balance has the customer's balance pay what it can of an invoice.
func (f *Fake) balance(invoice object) {
	customer := f.objects[invoice.str("customer")]
	start, due := customer.num("balance"), invoice.num("amount_due")
	if start >= 0 {
		return
	}
	paid := min(-start, max(due, 0))
	customer["balance"] = start + paid
	invoice.set(object{"starting_balance": start, "ending_balance": start + paid, "amount_due": due - paid, "amount_remaining": due - paid})
}

// SetBalance sets a customer's balance, in cents: what is below zero pays the invoices that are finalized next.
func (f *Fake) SetBalance(customer string, cents int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	o, err := f.customer(customer, "customer")
	if err != nil {
		return err
	}
	before := clone(o)
	o["balance"] = cents
	f.emitUpdate("customer.updated", o, before)
	return nil
}

func (f *Fake) payInvoice(c *call) (object, *Error) {
	id, outside := c.str("payment_method"), c.yes("paid_out_of_band")
	offSession := !c.sent("off_session") || c.yes("off_session")
	c.ignore("forgive", "mandate")
	if err := c.check(); err != nil {
		return nil, err
	}
	invoice, err := f.find("invoice", c.id, "invoice")
	if err != nil {
		return nil, err
	}
	switch invoice.str("status") {
	case "draft":
		f.finalize(invoice)
	case "paid":
		return nil, invalid("invoice_already_paid", "", "Invoice is already paid")
	case "void":
		return nil, invalid("", "", "You cannot pay an invoice that is void.")
	}
	switch {
	case invoice.str("status") == "paid": // of nothing
	case outside:
		invoice["paid_out_of_band"] = true
		f.settle(invoice, nil)
	default:
		if err := f.collect(invoice, id, !offSession); err != nil {
			return nil, err
		}
	}
	return invoice, nil
}

// collect takes an invoice's money from a saved card.
func (f *Fake) collect(invoice object, id string, present bool) *Error {
	customer := f.objects[invoice.str("customer")]
	if id == "" {
		id = invoice.str("default_payment_method")
	}
	if id == "" {
		id = customer.sub("invoice_settings").str("default_payment_method")
	}
	if id == "" {
		return &Error{Status: http.StatusBadRequest, Type: typeInvalid, Code: "missing", Message: "There is no `default_payment_method` set " +
			"on this Customer or Invoice. Please set a `default_payment_method`, or pass one in `payment_method`."}
	}
	method, err := f.ownMethod(id, customer.id(), "payment_method")
	if err != nil {
		return err
	}
	intent := f.objects[invoice.str("payment_intent")]
	refusal := f.try(intent, method, present, false)
	if refusal == nil {
		f.settle(invoice, f.objects[intent.str("latest_charge")])
		return nil
	}
	f.unpaid(invoice, refusal)
	return refusal
}

// unpaid records that an attempt to pay an invoice failed.
func (f *Fake) unpaid(invoice object, refusal *Error) {
	invoice.set(object{
		"attempted": true, "attempt_count": invoice.num("attempt_count") + 1, "charge": refusal.charge,
	})
	f.emit("invoice.payment_failed", invoice, nil)
	if refusal.Code == "authentication_required" {
		f.emit("invoice.payment_action_required", invoice, nil)
	}
}

// PayInvoice pays an open invoice on its hosted page with a card.
func (f *Fake) PayInvoice(id string, p Payment) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.payHosted(id, p); err != nil {
		return err
	}
	return nil
}

func (f *Fake) payHosted(id string, p Payment) *Error {
	invoice, err := f.find("invoice", id, "invoice")
	if err != nil {
		return err
	}
	if status := invoice.str("status"); status != "open" {
		return invalid("", "", "This invoice is %s.", status)
	}
	number := p.Card
	if number == "" {
		number = CardVisa
	}
	method, err := f.newMethod(number)
	if err != nil {
		return err
	}
	intent := f.objects[invoice.str("payment_intent")]
	if refusal := f.try(intent, method, true, p.Proven); refusal != nil {
		f.unpaid(invoice, refusal)
		return refusal
	}
	f.settle(invoice, f.objects[intent.str("latest_charge")])
	return nil
}

func (f *Fake) voidInvoice(c *call) (object, *Error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	invoice, err := f.find("invoice", c.id, "invoice")
	if err != nil {
		return nil, err
	}
	if status := invoice.str("status"); status != "open" && status != "uncollectible" {
		return nil, notIn("open", invoice)
	}
	invoice.set(object{"status": "void", "auto_advance": false})
	invoice.sub("status_transitions")["voided_at"] = f.now()
	if intent := f.objects[invoice.str("payment_intent")]; intent != nil {
		intent.set(object{"status": "canceled", "canceled_at": f.now(), "cancellation_reason": "void_invoice"})
		f.emit("payment_intent.canceled", intent, nil)
	}
	f.emit("invoice.voided", invoice, nil)
	return invoice, nil
}

func (f *Fake) abandonInvoice(c *call) (object, *Error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	invoice, err := f.find("invoice", c.id, "invoice")
	if err != nil {
		return nil, err
	}
	if invoice.str("status") != "open" {
		return nil, notIn("open", invoice)
	}
	invoice["status"] = "uncollectible"
	invoice.sub("status_transitions")["marked_uncollectible_at"] = f.now()
	f.emit("invoice.marked_uncollectible", invoice, nil)
	return invoice, nil
}

func (f *Fake) updateInvoice(c *call) (object, *Error) {
	fields, metadata := object{}, c.texts("metadata")
	for _, name := range []string{"description", "footer", "default_payment_method"} {
		if c.sent(name) {
			fields[name] = orNil(c.str(name))
		}
	}
	if c.sent("auto_advance") {
		fields["auto_advance"] = c.yes("auto_advance")
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	invoice, err := f.find("invoice", c.id, "invoice")
	if err != nil {
		return nil, err
	}
	if method, _ := fields["default_payment_method"].(string); method != "" {
		if _, err := f.ownMethod(method, invoice.str("customer"), "default_payment_method"); err != nil {
			return nil, err
		}
	}
	before := clone(invoice)
	invoice.set(fields)
	mergeMeta(invoice, metadata)
	f.emitUpdate("invoice.updated", invoice, before)
	return invoice, nil
}

func (f *Fake) deleteInvoice(c *call) (object, *Error) {
	if _, err := f.find("invoice", c.id, "invoice"); err != nil {
		return nil, err
	}
	invoice, err := f.draft(c.id)
	if err != nil {
		return nil, invalid("", "", "You can only delete draft invoices.")
	}
	f.drop("invoice", invoice.id())
	f.emit("invoice.deleted", invoice, nil)
	return object{"id": invoice.id(), "object": "invoice", "deleted": true}, nil
}

func (f *Fake) getInvoice(c *call) (object, *Error) { return f.find("invoice", c.id, "invoice") }

func (f *Fake) listInvoices(c *call) (object, *Error) {
	customer, status := c.str("customer"), c.str("status", "draft", "open", "paid", "uncollectible", "void")
	method := c.str("collection_method", "charge_automatically", "send_invoice")
	return f.page(c, "invoice", func(o object) bool {
		return (customer == "" || o.str("customer") == customer) && (status == "" || o.str("status") == status) &&
			(method == "" || o.str("collection_method") == method)
	})
}

func (f *Fake) listLines(c *call) (object, *Error) {
	invoice, err := f.find("invoice", c.id, "invoice")
	if err != nil {
		return nil, err
	}
	var lines []object
	for _, l := range invoice.sub("lines").list("data") {
		o, _ := l.(object)
		lines = append(lines, o)
	}
	return pageOf(c, lines, func(object) bool { return true })
}

func (f *Fake) getItem(c *call) (object, *Error) { return f.find("invoiceitem", c.id, "id") }

func (f *Fake) listItemsPending(c *call) (object, *Error) {
	customer, invoice, pending := c.str("customer"), c.str("invoice"), c.yes("pending")
	return f.page(c, "invoiceitem", func(o object) bool {
		return (customer == "" || o.str("customer") == customer) && (invoice == "" || o.str("invoice") == invoice) &&
			(!pending || o.str("invoice") == "")
	})
}
