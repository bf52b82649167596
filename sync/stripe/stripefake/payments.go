package stripefake

import "net/http"

// newIntent makes a payment of an amount.
func (f *Fake) newIntent(amount int64, currency, customer string) object {
	intent := f.make("payment_intent", "pi")
	intent.set(object{
		"amount": amount, "currency": currency, "customer": orNil(customer), "status": "requires_payment_method",
		"client_secret": intent.id() + "_secret_" + f.random(24),
	})
	f.emit("payment_intent.created", intent, nil)
	return intent
}

// try pays an intent with a card, or records why it was not paid. With present the customer is there; with proven he
// has shown that it is him.
func (f *Fake) try(intent, method object, present, proven bool) *Error {
	kind := f.cards[method.id()]
	outcome := kind.off
	if present {
		outcome = kind.on
	}
	if outcome == NeedsCustomer && proven {
		outcome = Succeeds
	}
	charge := f.newCharge(intent, method)
	intent["latest_charge"] = charge.id()
	if outcome == Succeeds {
		intent["payment_method"] = method.id()
		f.succeed(intent, charge)
		return nil
	}
	refusal := decline(outcome)
	charge.set(object{
		"status": "failed", "paid": false, "captured": false, "amount_captured": int64(0), "balance_transaction": nil,
		"failure_code": refusal.Code, "failure_message": refusal.Message,
		"outcome": outcomeField("issuer_declined", refusal.DeclineCode),
	})
	refusal.charge, refusal.method = charge.id(), clone(method)
	last := refusal.envelope("").sub("error")
	delete(last, "request_log_url")
	intent.set(object{"status": "requires_payment_method", "last_payment_error": last, "payment_method": nil})
	refusal.intent = clone(intent)
	f.emit("charge.failed", charge, nil)
	f.emit("payment_intent.payment_failed", intent, nil)
	return refusal
}

// succeed has an intent's charge paid.
func (f *Fake) succeed(intent, charge object) {
	charge.set(object{
		"status": "succeeded", "paid": true, "captured": true, "amount_captured": charge["amount"],
		"balance_transaction": "txn_" + f.random(24), "outcome": outcomeField("approved_by_network", ""),
		"receipt_url": f.cfg.URL + "/receipts/" + charge.id(),
	})
	intent.set(object{
		"status": "succeeded", "amount_received": intent["amount"], "last_payment_error": nil, "next_action": nil,
		"processing": nil,
	})
	f.emit("charge.succeeded", charge, nil)
	f.emit("payment_intent.succeeded", intent, nil)
}

func outcomeField(network, reason string) object {
	kind, message := "authorized", "Payment complete."
	if reason != "" {
		kind, message = "issuer_declined", "The bank returned the decline code `"+reason+"`."
	}
	status := network
	if reason != "" {
		status = "declined_by_network"
	}
	return object{
		"network_status": status, "reason": orNil(reason), "risk_level": "normal", "risk_score": int64(20),
		"seller_message": message, "type": kind,
	}
}

// decline words an outcome as Stripe does.
func decline(outcome Outcome) *Error {
	refusal := &Error{
		Status: http.StatusPaymentRequired, Type: typeCard, Code: "card_declined", DeclineCode: string(outcome),
		Message: "Your card was declined.",
	}
	switch outcome {
	case NoFunds:
		refusal.Message = "Your card has insufficient funds."
	case ExpiredCard:
		refusal.Code, refusal.Param, refusal.Message = "expired_card", "exp_month", "Your card has expired."
	case NeedsCustomer:
		refusal.Code = "authentication_required"
		refusal.Message = "Your card was declined. This transaction requires authentication."
	}
	return refusal
}

func (f *Fake) newCharge(intent, method object) object {
	charge := f.make("charge", "ch")
	shown, paid := method.sub("card"), charge.sub("payment_method_details").sub("card")
	for _, name := range []string{"brand", "last4", "fingerprint", "exp_month", "exp_year", "country", "funding"} {
		paid[name] = shown[name]
	}
	paid["network"] = shown["brand"]
	paid["amount_authorized"] = intent["amount"]
	paid.sub("overcapture")["maximum_amount_capturable"] = intent["amount"]
	return charge.set(object{
		"amount": intent["amount"], "currency": intent["currency"], "customer": intent["customer"],
		"payment_intent": intent.id(), "payment_method": method.id(), "description": intent["description"],
		"invoice": intent["invoice"], "metadata": clone(intent.sub("metadata")),
		"billing_details": clone(method.sub("billing_details")),
	})
}

func (f *Fake) getIntent(c *call) (object, *Error) {
	c.ignore("client_secret")
	return f.find("payment_intent", c.id, "intent")
}

func (f *Fake) updateIntent(c *call) (object, *Error) {
	metadata, describe, description := c.texts("metadata"), c.sent("description"), c.str("description")
	if err := c.check(); err != nil {
		return nil, err
	}
	intent, err := f.find("payment_intent", c.id, "intent")
	if err != nil {
		return nil, err
	}
	mergeMeta(intent, metadata)
	if describe {
		intent["description"] = orNil(description)
	}
	return intent, nil
}

func (f *Fake) listIntents(c *call) (object, *Error) {
	customer := c.str("customer")
	return f.page(c, "payment_intent", func(o object) bool { return customer == "" || o.str("customer") == customer })
}

func (f *Fake) getCharge(c *call) (object, *Error) { return f.find("charge", c.id, "charge") }

func (f *Fake) listCharges(c *call) (object, *Error) {
	customer, intent := c.str("customer"), c.str("payment_intent")
	return f.page(c, "charge", func(o object) bool {
		return (customer == "" || o.str("customer") == customer) && (intent == "" || o.str("payment_intent") == intent)
	})
}
