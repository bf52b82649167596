package stripefake

import (
	"net/http"
	"strings"
)

// Outcome is what becomes of a payment with a card.
type Outcome string

// The outcomes. All but the first two are Stripe's decline codes.
const (
	Succeeds         Outcome = "succeeds"
	NeedsCustomer    Outcome = "authentication_required"
	Declined         Outcome = "generic_decline"
	NoFunds          Outcome = "insufficient_funds"
	ExpiredCard      Outcome = "expired_card"
	FraudulentlyUsed Outcome = "fraudulent"
)

// Numbers of test cards (https://docs.stripe.com/testing), and two of the fake's own.
const (
	CardVisa          = "4242424242424242"
	CardMastercard    = "5555555555554444"
	CardAmex          = "378282246310005"
	CardDiscover      = "6011111111111117"
	CardDeclined      = "4000000000000002"
	CardNoFunds       = "4000000000009995"
	CardExpired       = "4000000000000069"
	CardAuthenticates = "4000002500003155" // needs the customer once; saved, it pays without
	CardAlwaysAsks    = "4000002760003184" // needs the customer each time; saved, it cannot pay without
	CardFailsLater    = "4000000000000341" // pays at Checkout; saved, it is declined
)

// card is what the fake knows of a payment method beyond what it tells.
type card struct {
	number string
	brand  string
	on     Outcome // with the customer present
	off    Outcome // without
}

var cardNumbers = map[string]card{
	CardVisa:          {brand: "visa", on: Succeeds, off: Succeeds},
	CardMastercard:    {brand: "mastercard", on: Succeeds, off: Succeeds},
	CardAmex:          {brand: "amex", on: Succeeds, off: Succeeds},
	CardDiscover:      {brand: "discover", on: Succeeds, off: Succeeds},
	CardDeclined:      {brand: "visa", on: Declined, off: Declined},
	CardNoFunds:       {brand: "visa", on: NoFunds, off: NoFunds},
	CardExpired:       {brand: "visa", on: ExpiredCard, off: ExpiredCard},
	CardAuthenticates: {brand: "visa", on: NeedsCustomer, off: Succeeds},
	CardAlwaysAsks:    {brand: "visa", on: NeedsCustomer, off: NeedsCustomer},
	CardFailsLater:    {brand: "visa", on: Succeeds, off: Declined},
}

// named are Stripe's ready-made payment methods, which may be attached by name.
var named = map[string]string{
	"pm_card_visa": CardVisa, "pm_card_mastercard": CardMastercard, "pm_card_amex": CardAmex,
	"pm_card_visa_chargeDeclined": CardDeclined, "pm_card_visa_chargeDeclinedInsufficientFunds": CardNoFunds,
	"pm_card_chargeCustomerFail": CardFailsLater, "pm_card_authenticationRequired": CardAlwaysAsks,
	"pm_card_authenticationRequiredOnSetup": CardAuthenticates,
}

// newMethod makes a payment method of a card number.
func (f *Fake) newMethod(number string) (object, *Error) {
	number = strings.ReplaceAll(number, " ", "")
	kind, ok := cardNumbers[number]
	if !ok {
		return nil, &Error{Status: http.StatusPaymentRequired, Type: typeCard, Code: "incorrect_number", Param: "number",
			Message: "Your card number is incorrect."}
	}
	kind.number = number
	method := f.make("payment_method", "pm")
	method.sub("card").set(object{
		"brand": kind.brand, "display_brand": display(kind.brand), "last4": number[len(number)-4:],
		"fingerprint": "fp" + number[len(number)-8:],
		"networks":    object{"available": []any{kind.brand}, "preferred": nil},
	})
	f.cards[method.id()] = &kind
	return method, nil
}

func display(brand string) string {
	if brand == "amex" {
		return "american_express"
	}
	return brand
}

// brandsBlocked are what a session can be told to refuse, by the brands of cards
// (https://docs.stripe.com/payments/checkout/customization/card-brands).
var brandsBlocked = map[string]string{
	"visa": "visa", "mastercard": "mastercard", "amex": "american_express", "discover": "discover_global_network",
}

// SetCard changes what becomes of payments with a saved payment method: with the customer present, and without.
func (f *Fake) SetCard(paymentMethod string, present, absent Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if kind := f.cards[paymentMethod]; kind != nil {
		kind.on, kind.off = present, absent
	}
}

// AddCard saves a card to a customer and returns the payment method's id.
func (f *Fake) AddCard(customer, number string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	owner, err := f.customer(customer, "customer")
	if err != nil {
		return "", err
	}
	method, err := f.newMethod(number)
	if err != nil {
		return "", err
	}
	f.attach(method, owner)
	return method.id(), nil
}

func (f *Fake) attach(method, customer object) {
	if method.str("customer") == customer.id() {
		return
	}
	method["customer"] = customer.id()
	f.emit("payment_method.attached", method, nil)
}

func (f *Fake) getMethod(c *call) (object, *Error) { return f.method(c.id, "payment_method") }

// method finds a payment method; a ready-made one is made.
func (f *Fake) method(id, param string) (object, *Error) {
	if number, ok := named[id]; ok {
		return f.newMethod(number)
	}
	return f.find("payment_method", id, param)
}

func (f *Fake) listMethods(c *call) (object, *Error) {
	id := c.str("customer")
	if strings.HasPrefix(c.path, "/v1/customers/") {
		id = c.id
	}
	kind := c.str("type")
	if id != "" {
		if _, err := f.customer(id, "customer"); err != nil {
			return nil, err
		}
	}
	return f.page(c, "payment_method", func(o object) bool {
		return o.str("customer") != "" && (id == "" || o.str("customer") == id) && (kind == "" || o.str("type") == kind)
	})
}

func (f *Fake) attachMethod(c *call) (object, *Error) {
	id := c.need("customer")
	if err := c.check(); err != nil {
		return nil, err
	}
	customer, err := f.customer(id, "customer")
	if err != nil {
		return nil, err
	}
	method, err := f.method(c.id, "payment_method")
	if err != nil {
		return nil, err
	}
	if owner := method.str("customer"); owner != "" && owner != id {
		return nil, invalid("payment_method_unexpected_state", "", "The payment method you provided has already been attached to a customer.")
	}
	f.attach(method, customer)
	return method, nil
}

func (f *Fake) detachMethod(c *call) (object, *Error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	method, err := f.find("payment_method", c.id, "payment_method")
	if err != nil {
		return nil, err
	}
	customer := f.objects[method.str("customer")]
	if customer == nil {
		return nil, invalid("payment_method_unexpected_state", "",
			"The payment method you provided is not attached to a customer so detachment is impossible.")
	}
	before := clone(method)
	method["customer"] = nil
	if settings := customer.sub("invoice_settings"); settings.str("default_payment_method") == method.id() {
		settings["default_payment_method"] = nil
	}
	f.emitUpdate("payment_method.detached", method, before)
	return method, nil
}
