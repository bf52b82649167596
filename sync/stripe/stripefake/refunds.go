package stripefake

import (
	"fmt"
	"slices"
	"time"
)

func (f *Fake) createRefund(c *call) (object, *Error) {
	chargeID, intentID, amount := c.str("charge"), c.str("payment_intent"), c.num("amount")
	reason := c.str("reason", "duplicate", "fraudulent", "requested_by_customer")
	metadata := c.texts("metadata")
	if c.has("amount") && amount <= 0 {
		c.complain(invalid("parameter_invalid_integer", "amount", "Invalid positive integer"))
	}
	if chargeID == "" && intentID == "" {
		c.complain(invalid("parameter_missing", "charge", "One of the following params should be provided for this request: payment_intent or charge."))
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if chargeID == "" {
		intent, err := f.find("payment_intent", intentID, "payment_intent")
		if err != nil {
			return nil, err
		}
		chargeID = intent.str("latest_charge")
		if intent.str("status") != "succeeded" {
			return nil, invalid("", "", "This PaymentIntent (%s) does not have a successful charge to refund.", intentID)
		}
	}
	charge, err := f.find("charge", chargeID, "charge")
	if err != nil {
		return nil, err
	}
	refund, err := f.refund(charge, amount, reason)
	if err != nil {
		return nil, err
	}
	refund["metadata"] = meta(metadata)
	f.emitRefund(charge, refund)
	return refund, nil
}

// refund gives money back; an amount of 0 is all that is left.
func (f *Fake) refund(charge object, amount int64, reason string) (object, *Error) {
	left := charge.num("amount") - charge.num("amount_refunded")
	if amount == 0 {
		amount = left
	}
	switch {
	case !charge.yes("paid"):
		return nil, invalid("", "", "Charge %s has not been paid, and cannot be refunded.", charge.id())
	case charge.yes("disputed"):
		return nil, invalid("charge_disputed", "", "Charge %s has been charged back; cannot issue a refund.", charge.id())
	case left == 0:
		return nil, invalid("charge_already_refunded", "", "Charge %s has already been refunded.", charge.id())
	case amount > left:
		return nil, invalid("", "amount", "Refund amount (€%s) is greater than unrefunded amount on charge (€%s)", euros(amount), euros(left))
	}
	charge["amount_refunded"] = charge.num("amount_refunded") + amount
	charge["refunded"] = amount == left
	refund := f.make("refund", "re")
	return refund.set(object{
		"amount": amount, "charge": charge.id(), "currency": charge["currency"], "payment_intent": charge["payment_intent"],
		"reason": orNil(reason), "status": "succeeded", "balance_transaction": "txn_" + f.random(24),
	}), nil
}

func (f *Fake) emitRefund(charge, refund object) {
	f.emit("charge.refunded", charge, nil)
	f.emit("refund.created", refund, nil)
}

func euros(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }

// Refund gives money of a charge or payment intent back, as from Stripe's dashboard, and returns the refund's id. An
// amount of 0 is all that is left.
func (f *Fake) Refund(id string, amount int64) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	charge, err := f.chargeOf(id)
	if err != nil {
		return "", err
	}
	refund, err := f.refund(charge, amount, "requested_by_customer")
	if err != nil {
		return "", err
	}
	f.emitRefund(charge, refund)
	return refund.id(), nil
}

// FailRefund has a refund fail after all, days later: the bank sent the money back, and the seller keeps it.
func (f *Fake) FailRefund(id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	refund, err := f.find("refund", id, "refund")
	if err != nil {
		return err
	}
	if refund.str("status") == "failed" {
		return nil
	}
	before := clone(refund)
	refund.set(object{
		"status": "failed", "failure_reason": "expired_or_canceled_card", "failure_balance_transaction": "txn_" + f.random(24),
	})
	charge := f.objects[refund.str("charge")]
	charge["amount_refunded"] = charge.num("amount_refunded") - refund.num("amount")
	charge["refunded"] = false
	f.emitUpdate("charge.refund.updated", refund, before)
	f.emitUpdate("refund.updated", refund, before)
	f.emit("refund.failed", refund, nil)
	return nil
}

// chargeOf finds the charge of a payment intent, a session or an invoice, or a charge.
func (f *Fake) chargeOf(id string) (object, *Error) {
	o := f.objects[id]
	switch o.str("object") {
	case "charge":
		return o, nil
	case "checkout.session", "invoice":
		if intent := o.str("payment_intent"); intent != "" {
			return f.chargeOf(intent)
		}
	case "payment_intent":
		if charge := f.objects[o.str("latest_charge")]; charge != nil {
			return charge, nil
		}
	}
	return nil, missing("charge", id, "charge")
}

func (f *Fake) getRefund(c *call) (object, *Error) { return f.find("refund", c.id, "refund") }

func (f *Fake) updateRefund(c *call) (object, *Error) {
	metadata := c.texts("metadata")
	if err := c.check(); err != nil {
		return nil, err
	}
	refund, err := f.find("refund", c.id, "refund")
	if err != nil {
		return nil, err
	}
	before := clone(refund)
	mergeMeta(refund, metadata)
	f.emitUpdate("charge.refund.updated", refund, before)
	f.emitUpdate("refund.updated", refund, before)
	return refund, nil
}

func (f *Fake) listRefunds(c *call) (object, *Error) {
	charge, intent := c.str("charge"), c.str("payment_intent")
	if c.id != "" {
		charge = c.id
	}
	return f.page(c, "refund", func(o object) bool {
		return (charge == "" || o.str("charge") == charge) && (intent == "" || o.str("payment_intent") == intent)
	})
}

// disputeFee is what Stripe takes for a dispute, in cents.
const disputeFee = 2000

// Dispute has a customer's bank take back the money of a charge, payment intent, session or invoice, and returns the
// dispute's id. An amount of 0 is all that was not refunded.
func (f *Fake) Dispute(id string, amount int64) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	charge, err := f.chargeOf(id)
	if err != nil {
		return "", err
	}
	left := charge.num("amount") - charge.num("amount_refunded")
	if amount == 0 {
		amount = left
	}
	if charge.yes("disputed") || amount > left || amount < 1 {
		return "", invalid("charge_disputed", "", "Charge %s cannot be disputed for %d", charge.id(), amount)
	}
	charge["disputed"] = true
	dispute := f.make("dispute", "dp")
	dispute.set(object{
		"amount": amount, "charge": charge.id(), "currency": charge["currency"], "payment_intent": charge["payment_intent"],
		"status": "needs_response",
	})
	dispute.sub("evidence_details")["due_by"] = f.time().Add(10 * 24 * time.Hour).Unix()
	f.emit("charge.dispute.created", dispute, nil)
	dispute["balance_transactions"] = []any{f.movement(dispute, -amount, disputeFee, "Chargeback withdrawal")}
	f.emit("charge.dispute.funds_withdrawn", dispute, nil)
	return dispute.id(), nil
}

// movement is a balance transaction of a dispute.
func (f *Fake) movement(dispute object, amount, fee int64, text string) object {
	return object{
		"id": "txn_" + f.random(24), "object": "balance_transaction", "amount": amount, "available_on": f.now(),
		"created": f.now(), "currency": dispute["currency"], "description": text + " for " + dispute.str("charge"),
		"exchange_rate": nil, "fee": fee, "fee_details": []any{object{
			"amount": fee, "application": nil, "currency": dispute["currency"], "description": "Dispute fee", "type": "stripe_fee",
		}},
		"net": amount - fee, "reporting_category": "dispute", "source": dispute.id(), "status": "pending", "type": "adjustment",
	}
}

// CloseDispute ends a dispute. Won, the money comes back.
func (f *Fake) CloseDispute(id string, won bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	dispute, err := f.find("dispute", id, "dispute")
	if err != nil {
		return err
	}
	if status := dispute.str("status"); status == "won" || status == "lost" {
		return fmt.Errorf("stripefake: dispute %s is %s already", id, status)
	}
	dispute["status"] = "lost"
	if won {
		dispute["status"] = "won"
		dispute["balance_transactions"] = append(slices.Clone(dispute.list("balance_transactions")),
			f.movement(dispute, dispute.num("amount"), -disputeFee, "Chargeback reversal"))
		f.emit("charge.dispute.funds_reinstated", dispute, nil)
	}
	f.emit("charge.dispute.closed", dispute, nil)
	return nil
}

func (f *Fake) getDispute(c *call) (object, *Error) { return f.find("dispute", c.id, "dispute") }

func (f *Fake) listDisputes(c *call) (object, *Error) {
	charge, intent := c.str("charge"), c.str("payment_intent")
	return f.page(c, "dispute", func(o object) bool {
		return (charge == "" || o.str("charge") == charge) && (intent == "" || o.str("payment_intent") == intent)
	})
}
