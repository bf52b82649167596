package stripefake

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// Payment is what a customer enters on the page of a Checkout session.
type Payment struct {
	Card    string // number; default CardVisa
	Proven  bool   // the customer showed his bank that it is him, should the card ask
	Country string // of the billing address; default: the customer's own, else the seller's country
	Name    string
	Email   string
}

// Pay pays an open Checkout session with a card that works, as the customer would on its page.
func (f *Fake) Pay(session string) error {
	return f.PayWith(session, Payment{})
}

// Decline has a customer try to pay an open session with a card that is declined. The session stays open.
func (f *Fake) Decline(session string) error {
	err := f.PayWith(session, Payment{Card: CardDeclined})
	var refusal *Error
	if errors.As(err, &refusal) && refusal.Type == typeCard {
		return nil
	}
	return cmp.Or(err, fmt.Errorf("stripefake: %s was not declined", session))
}

// PayWith pays an open session. The error is an *Error: of a declined card, or because the session is not open.
func (f *Fake) PayWith(session string, p Payment) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.payNow(session, p); err != nil {
		return err
	}
	return nil
}

// PayAsync pays an open session by a way that takes days: the session is complete and unpaid, the payment processing.
// SettleAsync ends that.
func (f *Fake) PayAsync(session string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, order, err := f.openSession(session)
	if err != nil {
		return err
	}
	f.locate(s, order, Payment{})
	customer := f.payer(s, order, Payment{})
	intent := f.sessionIntent(s, order, customer)
	intent["payment_method_types"] = []any{"sepa_debit"}
	method, refusal := f.newMethod(CardVisa)
	if refusal != nil {
		return refusal
	}
	delete(method, "card")
	method.set(object{"type": "sepa_debit", "sepa_debit": object{
		"bank_code": "INGB", "branch_code": "", "country": "NL", "fingerprint": "fp" + f.random(8),
		"generated_from": nil, "last4": "6264",
	}})
	charge := f.newCharge(intent, method)
	charge.set(object{
		"status": "pending", "paid": true, "captured": true,
		"payment_method_details": object{"type": "sepa_debit", "sepa_debit": object{
			"bank_code": "INGB", "branch_code": "", "country": "NL", "fingerprint": "fp", "last4": "6264", "mandate": nil,
		}},
	})
	intent.set(object{"status": "processing", "latest_charge": charge.id(), "payment_method": method.id()})
	s.set(object{"status": "complete", "payment_status": "unpaid", "payment_intent": intent.id(), "url": nil})
	f.emit("charge.pending", charge, nil)
	f.emit("payment_intent.processing", intent, nil)
	f.emit("checkout.session.completed", s, nil)
	return nil
}

// SettleAsync ends a payment that PayAsync began: the money came, or it did not.
func (f *Fake) SettleAsync(session string, paid bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.find("checkout.session", session, "session")
	if err != nil {
		return err
	}
	intent := f.objects[s.str("payment_intent")]
	if intent.str("status") != "processing" {
		return fmt.Errorf("stripefake: payment of %s is not processing", session)
	}
	charge := f.objects[intent.str("latest_charge")]
	if paid {
		f.succeed(intent, charge)
		s["payment_status"] = "paid"
		f.emit("checkout.session.async_payment_succeeded", s, nil)
		f.invoiceSession(s, f.orders[session], intent)
		return nil
	}
	charge.set(object{
		"status": "failed", "paid": false, "captured": false, "failure_code": "charge_exceeds_source_limit",
		"failure_message": "The bank refused the direct debit.", "outcome": outcomeField("", "charge_exceeds_source_limit"),
	})
	intent.set(object{"status": "requires_payment_method", "payment_method": nil, "last_payment_error": object{
		"type": typeCard, "code": "charge_exceeds_source_limit", "message": "The bank refused the direct debit.",
		"charge": charge.id(),
	}})
	f.emit("charge.failed", charge, nil)
	f.emit("payment_intent.payment_failed", intent, nil)
	f.emit("checkout.session.async_payment_failed", s, nil)
	return nil
}

func (f *Fake) openSession(id string) (object, *checkout, error) {
	session, err := f.find("checkout.session", id, "session")
	if err != nil {
		return nil, nil, err
	}
	if status := session.str("status"); status != "open" {
		return nil, nil, invalid("", "", "This Checkout Session is %s.", status)
	}
	return session, f.orders[id], nil
}

// payNow pays a session with a card.
func (f *Fake) payNow(id string, p Payment) error {
	session, order, err := f.openSession(id)
	if err != nil {
		return err
	}
	method, refusal := f.newMethod(cmp.Or(p.Card, CardVisa))
	if refusal != nil {
		return refusal
	}
	if brand := method.sub("card").str("brand"); slices.Contains(order.blocked, brandsBlocked[brand]) {
		return &Error{Status: http.StatusPaymentRequired, Type: typeCard, Code: "card_not_supported", Param: "number",
			Message: "We do not accept " + brand + " cards. Please use another card."}
	}
	f.locate(session, order, p)
	customer := f.objects[order.customer]
	intent := f.sessionIntent(session, order, customer)
	details := session.sub("customer_details")
	method["billing_details"] = object{
		"address": orEmptyAddress(details.sub("address")), "email": details["email"], "name": details["name"], "phone": nil,
	}
	if refusal := f.try(intent, method, true, p.Proven); refusal != nil {
		return refusal
	}
	customer = f.payer(session, order, p)
	if customer != nil {
		for _, id := range []string{intent.id(), intent.str("latest_charge")} {
			f.objects[id]["customer"] = customer.id()
		}
		if order.save != "" {
			f.attach(method, customer)
		}
	}
	session.set(object{
		"status": "complete", "payment_status": "paid", "payment_intent": intent.id(), "url": nil,
		"customer": intent["customer"],
	})
	if session.sub("consent_collection") != nil {
		session["consent"] = object{"promotions": nil, "terms_of_service": "accepted"}
	}
	if f.cfg.InvoiceAfter > 0 {
		f.emit("checkout.session.completed", session, nil)
		f.later(f.cfg.InvoiceAfter, func() { f.invoiceSession(session, order, intent) })
		return nil
	}
	f.invoiceSession(session, order, intent)
	f.emit("checkout.session.completed", session, nil)
	return nil
}

func orEmptyAddress(a object) object {
	empty := object{"city": nil, "country": nil, "line1": nil, "line2": nil, "postal_code": nil, "state": nil}
	return empty.set(a)
}

// locate takes the address that the customer entered, and levies the tax that goes with it.
func (f *Fake) locate(session object, order *checkout, p Payment) {
	customer := f.objects[order.customer]
	where := f.where(customer, order.place.auto)
	where.country = cmp.Or(p.Country, where.country, f.cfg.Country)
	order.place = where
	f.levy(order.cart)
	subtotal, taxed, total := order.sums()
	details := clone(session.sub("customer_details"))
	if details == nil {
		details = f.customerDetails(object{"tax_exempt": "none"})
	}
	if details.sub("address") == nil || p.Country != "" {
		details["address"] = orEmptyAddress(object{"country": where.country})
	}
	if name := cmp.Or(p.Name, details.str("name")); name != "" {
		details["name"] = name
	}
	details["email"] = cmp.Or(p.Email, details.str("email"), "buyer@example.com")
	session.set(object{
		"amount_subtotal": subtotal, "amount_total": total, "customer_details": details,
		"total_details": object{"amount_discount": int64(0), "amount_shipping": int64(0), "amount_tax": taxed},
		"automatic_tax": automaticTax(order.cart, "requires_location_inputs"),
	})
}

// payer is the customer that a session is paid by: its own, brought up to date as the session says, or a new one where
// one is wanted.
func (f *Fake) payer(session object, order *checkout, p Payment) object {
	details := session.sub("customer_details")
	customer := f.objects[order.customer]
	if customer == nil {
		if !order.makeCustomer && order.invoice == nil && order.save == "" {
			return nil
		}
		customer = f.newCustomer(object{
			"email": details["email"], "name": details["name"], "address": cloneValue(details["address"]),
		}, nil)
		order.customer = customer.id()
		session["customer"] = customer.id()
		return customer
	}
	before := clone(customer)
	if order.saveAddress {
		customer["address"] = cloneValue(details["address"])
	}
	if order.saveName && p.Name != "" {
		customer["name"] = p.Name
	}
	f.emitUpdate("customer.updated", customer, before)
	return customer
}

// sessionIntent is the payment of a session: the one of an earlier try, or a new one.
func (f *Fake) sessionIntent(session object, order *checkout, customer object) object {
	if intent := f.objects[order.payment]; intent != nil {
		intent["amount"] = session["amount_total"]
		return intent
	}
	intent := f.newIntent(session.num("amount_total"), order.currency, customer.str("id"))
	intent.set(clone(order.intent))
	intent["payment_method_types"] = clone(session.list("payment_method_types"))
	order.payment = intent.id()
	return intent
}

// invoiceSession makes the invoice of a paid session, where it asked for one.
func (f *Fake) invoiceSession(session object, order *checkout, intent object) {
	if order.invoice == nil {
		return
	}
	invoice := f.newInvoice(f.objects[intent.str("customer")], order.currency)
	invoice.set(clone(order.invoice))
	invoice.set(object{"auto_advance": false, "automatic_tax": automaticTax(order.cart, "requires_location_inputs")})
	sold := &cart{currency: order.currency, place: order.place}
	for _, l := range order.lines {
		copied := *l
		sold.lines = append(sold.lines, &copied)
	}
	f.drafts[invoice.id()] = sold
	f.total(invoice)
	f.emit("invoice.created", invoice, nil)
	f.number(invoice)
	charge := f.objects[intent.str("latest_charge")]
	if !f.cfg.NoInvoiceIntent {
		invoice["payment_intent"], intent["invoice"], charge["invoice"] = intent.id(), invoice.id(), invoice.id()
	}
	f.emit("invoice.finalized", invoice, nil)
	session["invoice"] = invoice.id()
	f.settle(invoice, charge)
}
