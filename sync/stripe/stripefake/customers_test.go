package stripefake_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v76"

	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

// refused returns Stripe's error, which must be one of a status and a code.
func refused(t testing.TB, err error, status int, code string) *stripe.Error {
	t.Helper()
	var refusal *stripe.Error
	if !errors.As(err, &refusal) {
		t.Fatalf("got %v, want an error %d %s", err, status, code)
	}
	if refusal.HTTPStatusCode != status || string(refusal.Code) != code {
		t.Fatalf("got %d %q (%s), want %d %q", refusal.HTTPStatusCode, refusal.Code, refusal.Msg, status, code)
	}
	return refusal
}

func TestCustomers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	c := w.buyer("NL")
	params := &stripe.CustomerParams{Name: stripe.String("Pietersen"), TaxExempt: stripe.String("reverse")}
	params.AddMetadata("account", "acme")
	c = must[*stripe.Customer](t)(w.Customers.Update(c.ID, params))
	if c.Name != "Pietersen" || c.TaxExempt != "reverse" || c.Metadata["account"] != "acme" || c.Address.City != "Amsterdam" {
		t.Errorf("customer %+v", c)
	}
	params = &stripe.CustomerParams{}
	params.AddMetadata("account", "")
	if c = must[*stripe.Customer](t)(w.Customers.Update(c.ID, params)); len(c.Metadata) != 0 {
		t.Errorf("metadata %v", c.Metadata)
	}
	if listed := w.Customers.List(&stripe.CustomerListParams{Email: &c.Email}); !listed.Next() || listed.Customer().ID != c.ID {
		t.Errorf("the customer is not listed: %v", listed.Err())
	}
	if _, err := w.Customers.Get("cus_nobody", nil); err != nil {
		refused(t, err, http.StatusNotFound, "resource_missing")
	} else {
		t.Error("a customer that is not there")
	}
	_, err := w.Customers.New(&stripe.CustomerParams{Address: &stripe.AddressParams{Country: stripe.String("Holland")}})
	refused(t, err, http.StatusBadRequest, "country_code_invalid")
	must[*stripe.Customer](t)(w.Customers.Del(c.ID, nil))
	if c = must[*stripe.Customer](t)(w.Customers.Get(c.ID, nil)); !c.Deleted {
		t.Error("the customer is not deleted")
	}
	if _, err := w.Customers.Update(c.ID, params); err == nil {
		t.Error("a deleted customer was changed")
	}
	got := w.got()
	if got["customer.created"] != 1 || got["customer.updated"] != 2 || got["customer.deleted"] != 1 {
		t.Errorf("events %v", got)
	}
}

func TestTaxIDs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{VerifyAfter: time.Hour})
	c := w.buyer("DE")
	add := func(value string) *stripe.TaxID {
		return must[*stripe.TaxID](t)(w.TaxIDs.New(&stripe.TaxIDParams{
			Customer: &c.ID, Type: stripe.String("eu_vat"), Value: stripe.String(value),
		}))
	}
	good, bad, slow, gone := add("DE123456789"), add("DE111111111"), add("DE222222222"), add("DE333333333")
	if good.Verification.Status != "pending" || good.Country != "DE" {
		t.Errorf("tax id %+v", good)
	}
	w.Advance(time.Hour)
	status := func(id *stripe.TaxID) string {
		got := must[*stripe.TaxID](t)(w.TaxIDs.Get(id.ID, &stripe.TaxIDParams{Customer: &c.ID}))
		return string(got.Verification.Status)
	}
	for id, want := range map[*stripe.TaxID]string{good: "verified", bad: "unverified", slow: "pending", gone: "unavailable"} {
		if got := status(id); got != want {
			t.Errorf("%s is %s, want %s", id.Value, got, want)
		}
	}
	w.SetTaxIDStatus("DE222222222", stripefake.TaxIDVerified)
	if got := status(slow); got != "verified" {
		t.Errorf("%s is %s after all", slow.Value, got)
	}
	must[*stripe.TaxID](t)(w.TaxIDs.Del(good.ID, &stripe.TaxIDParams{Customer: &c.ID}))
	iter := w.TaxIDs.List(&stripe.TaxIDListParams{Customer: &c.ID})
	n := 0
	for iter.Next() {
		n++
	}
	if iter.Err() != nil || n != 3 {
		t.Errorf("%d tax ids, %v", n, iter.Err())
	}
	got := w.got()
	if got["customer.tax_id.created"] != 4 || got["customer.tax_id.updated"] != 4 || got["customer.tax_id.deleted"] != 1 {
		t.Errorf("events %v", got)
	}
	for _, value := range []string{"NL1", "DE12345678", "GR123456789", "XX123456789", ""} {
		_, err := w.TaxIDs.New(&stripe.TaxIDParams{Customer: &c.ID, Type: stripe.String("eu_vat"), Value: stripe.String(value)})
		if value == "" {
			refused(t, err, http.StatusBadRequest, "parameter_missing")
			continue
		}
		refused(t, err, http.StatusBadRequest, "tax_id_invalid")
	}
	for _, value := range []string{
		"ATU12345678", "BE0123456789", "BG123456789", "CY12345678X", "CZ12345678", "DE123456789", "DK12345678", "EE123456789",
		"EL123456789", "ESX1234567X", "FI12345678", "FRAB123456789", "HR12345678901", "HU12345678", "IE1234567AB",
		"IT12345678901", "LT123456789", "LU12345678", "LV12345678901", "MT12345678", "NL123456789B01", "PL1234567890",
		"PT123456789", "RO1234567890", "SE123456789123", "SI12345678", "SK1234567890", "XI123456789",
	} {
		add(value)
	}
}

func TestPaymentMethods(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	c := w.buyer("NL")
	method := must[*stripe.PaymentMethod](t)(w.PaymentMethods.Attach("pm_card_mastercard", &stripe.PaymentMethodAttachParams{Customer: &c.ID}))
	if method.Card.Brand != "mastercard" || method.Card.Last4 != "4444" || method.Customer.ID != c.ID {
		t.Errorf("payment method %+v", method)
	}
	method = must[*stripe.PaymentMethod](t)(w.PaymentMethods.Get(method.ID, nil))
	iter := w.PaymentMethods.List(&stripe.PaymentMethodListParams{Customer: &c.ID, Type: stripe.String("card")})
	if !iter.Next() || iter.PaymentMethod().ID != method.ID || iter.Next() {
		t.Error("the customer's payment methods are wrong")
	}
	c = must[*stripe.Customer](t)(w.Customers.Update(c.ID, &stripe.CustomerParams{
		InvoiceSettings: &stripe.CustomerInvoiceSettingsParams{DefaultPaymentMethod: &method.ID},
	}))
	if c.InvoiceSettings.DefaultPaymentMethod.ID != method.ID {
		t.Error("no default payment method")
	}
	if method = must[*stripe.PaymentMethod](t)(w.PaymentMethods.Detach(method.ID, nil)); method.Customer != nil {
		t.Error("the payment method is attached still")
	}
	if c = must[*stripe.Customer](t)(w.Customers.Get(c.ID, nil)); c.InvoiceSettings.DefaultPaymentMethod != nil {
		t.Error("the default payment method is there still")
	}
	_, err := w.PaymentMethods.Detach(method.ID, nil)
	refused(t, err, http.StatusBadRequest, "payment_method_unexpected_state")
}
