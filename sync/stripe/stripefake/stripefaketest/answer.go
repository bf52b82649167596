package stripefaketest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/stripe/stripe-go/v76"
)

// kinds are stripe-go's types of the objects that the fake answers.
var kinds = map[string]reflect.Type{
	"account":                     reflect.TypeFor[stripe.Account](),
	"balance_transaction":         reflect.TypeFor[stripe.BalanceTransaction](),
	"billing.meter":               reflect.TypeFor[stripe.BillingMeter](),
	"billing.meter_event":         reflect.TypeFor[stripe.BillingMeterEvent](),
	"billing.meter_event_summary": reflect.TypeFor[stripe.BillingMeterEventSummary](),
	"charge":                      reflect.TypeFor[stripe.Charge](),
	"checkout.session":            reflect.TypeFor[stripe.CheckoutSession](),
	"customer":                    reflect.TypeFor[stripe.Customer](),
	"dispute":                     reflect.TypeFor[stripe.Dispute](),
	"event":                       reflect.TypeFor[stripe.Event](),
	"invoice":                     reflect.TypeFor[stripe.Invoice](),
	"invoiceitem":                 reflect.TypeFor[stripe.InvoiceItem](),
	"item":                        reflect.TypeFor[stripe.LineItem](),
	"line_item":                   reflect.TypeFor[stripe.InvoiceLineItem](),
	"payment_intent":              reflect.TypeFor[stripe.PaymentIntent](),
	"payment_method":              reflect.TypeFor[stripe.PaymentMethod](),
	"price":                       reflect.TypeFor[stripe.Price](),
	"product":                     reflect.TypeFor[stripe.Product](),
	"refund":                      reflect.TypeFor[stripe.Refund](),
	"tax.calculation":             reflect.TypeFor[stripe.TaxCalculation](),
	"tax.calculation_line_item":   reflect.TypeFor[stripe.TaxCalculationLineItem](),
	"tax.settings":                reflect.TypeFor[stripe.TaxSettings](),
	"tax_id":                      reflect.TypeFor[stripe.TaxID](),
	"tax_rate":                    reflect.TypeFor[stripe.TaxRate](),
	"webhook_endpoint":            reflect.TypeFor[stripe.WebhookEndpoint](),
}

// Answer tells what in an answer of the API, or in the body of a webhook, stripe-go v76 does not know, or takes for
// another type.
func Answer(body []byte) error {
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return fmt.Errorf("is not JSON: %w", err)
	}
	return check("", value, nil)
}

// check compares a value with a type; nil: the one that its field "object" names.
func check(at string, value any, want reflect.Type) error {
	switch v := value.(type) {
	case map[string]any:
		return checkObject(at, v, want)
	case []any:
		if want != nil && want.Kind() != reflect.Slice {
			return fmt.Errorf("%s is a list, not %v", at, want)
		}
		var element reflect.Type
		if want != nil {
			element = want.Elem()
		}
		var errs []error
		for i, e := range v {
			errs = append(errs, check(fmt.Sprintf("%s[%d]", at, i), e, element))
		}
		return errors.Join(errs...)
	case nil:
		return nil
	default:
		return checkPlain(at, v, want)
	}
}

func checkPlain(at string, value any, want reflect.Type) error {
	if want == nil {
		return nil
	}
	for want.Kind() == reflect.Pointer {
		want = want.Elem()
	}
	ok := false
	switch v := value.(type) {
	case bool:
		ok = want.Kind() == reflect.Bool
	case string:
		// An id stands for the object that can be expanded; a decimal may come as text.
		ok = want.Kind() == reflect.String || want.Kind() == reflect.Struct || want.Kind() == reflect.Float64
	case float64:
		ok = want.Kind() == reflect.Float64 || (want.Kind() == reflect.Int64 || want.Kind() == reflect.Uint64) && v == float64(int64(v))
	}
	if !ok {
		return fmt.Errorf("%s is %v, not %v", at, value, want)
	}
	return nil
}

func checkObject(at string, fields map[string]any, want reflect.Type) error {
	for want != nil && want.Kind() == reflect.Pointer {
		want = want.Elem()
	}
	name, _ := fields["object"].(string)
	if known, ok := kinds[name]; ok {
		want = known
	}
	if name == "list" {
		var errs []error
		for key := range fields {
			if key != "object" && key != "url" && key != "has_more" && key != "data" {
				errs = append(errs, fmt.Errorf("%s.%s: a list has no such field", at, key))
			}
		}
		return errors.Join(append(errs, check(at+".data", fields["data"], reflect.TypeFor[[]any]()))...)
	}
	if inner, ok := fields["error"]; ok && name == "" && want == nil {
		return check("error", inner, reflect.TypeFor[stripe.Error]())
	}
	switch {
	case want == nil && at == "":
		return fmt.Errorf("an object %q, which is not known", name)
	case want == nil || want.Kind() == reflect.Interface:
		return nil // free-form
	case want.Kind() == reflect.Map:
		var errs []error
		for key, value := range fields {
			errs = append(errs, check(at+"."+key, value, want.Elem()))
		}
		return errors.Join(errs...)
	case want == reflect.TypeFor[stripe.EventData]():
		return check(at+".object", fields["object"], nil)
	case want.Kind() != reflect.Struct:
		return fmt.Errorf("%s is an object, not %v", at, want)
	}
	if fields["deleted"] == true {
		return nil // nothing but the id is left
	}
	known := make(map[string]reflect.Type)
	collect(want, known)
	var errs []error
	for key, value := range fields {
		field, ok := known[key]
		if !ok {
			errs = append(errs, fmt.Errorf("%s.%s: %v has no such field", at, key, want))
			continue
		}
		errs = append(errs, check(at+"."+key, value, field))
	}
	return errors.Join(errs...)
}

// collect lists a struct's fields by their names in JSON.
func collect(t reflect.Type, into map[string]reflect.Type) {
	for field := range t.Fields() {
		tag, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous && tag == "":
			inner := field.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				collect(inner, into)
			}
		case tag != "" && tag != "-":
			into[tag] = field.Type
		}
	}
}
