package stripefake_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v76"

	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	if stripe.APIVersion != stripefake.APIVersion {
		t.Fatalf("the fake speaks %s, stripe-go %s", stripefake.APIVersion, stripe.APIVersion)
	}
}

// ask makes a request without stripe-go and returns status and body.
func (w *world) ask(method, path, body string, header map[string]string) (int, string) {
	w.t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode, readAll(w.t, answer.Body)
}

func TestAccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	const good = "Bearer " + stripefake.Key
	for name, test := range map[string]struct {
		path   string
		header map[string]string
		status int
		says   string
	}{
		"no key":       {"/v1/account", nil, 401, "did not provide an API key"},
		"wrong key":    {"/v1/account", map[string]string{"Authorization": "Bearer sk_test_secret_of_mine"}, 401, "sk_t**************mine"},
		"basic":        {"/v1/account", map[string]string{"Authorization": "Basic c2tfdGVzdF9yaW5nZmVuY2U6"}, 200, `"acct_`},
		"version":      {"/v1/account", map[string]string{"Authorization": good, "Stripe-Version": "2020-08-27"}, 400, "2020-08-27"},
		"good version": {"/v1/account", map[string]string{"Authorization": good, "Stripe-Version": "2023-10-16"}, 200, `"acct_`},
		"no such URL":  {"/v1/unicorns", map[string]string{"Authorization": good}, 404, "Unrecognized request URL (GET: /v1/unicorns)"},
		"unknown":      {"/v1/customers?colour=blue", map[string]string{"Authorization": good}, 400, "parameter_unknown"},
		"expand":       {"/v1/customers?expand[]=data.colour", map[string]string{"Authorization": good}, 200, `"list"`},
	} {
		if status, body := w.ask(http.MethodGet, test.path, "", test.header); status != test.status || !strings.Contains(body, test.says) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	account := must[*stripe.Account](t)(w.Accounts.Get())
	if account.Country != "NL" || !account.ChargesEnabled {
		t.Errorf("account %+v", account)
	}
	w.SetChargesEnabled(false)
	if account = must[*stripe.Account](t)(w.Accounts.Get()); account.ChargesEnabled {
		t.Error("the account may take payments still")
	}
	w.buyer("NL")
	if status, body := w.ask(http.MethodGet, "/v1/customers?expand[]=data.colour", "", map[string]string{"Authorization": good}); status != 400 {
		t.Errorf("expand: %d %s", status, body)
	}
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	create := func(key, name string) (*stripe.Customer, error) {
		params := &stripe.CustomerParams{Name: &name}
		params.SetIdempotencyKey(key)
		return w.Customers.New(params)
	}
	first := must[*stripe.Customer](t)(create("one", "A"))
	again := must[*stripe.Customer](t)(create("one", "A"))
	if again.ID != first.ID || again.LastResponse.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("%s, then %s", first.ID, again.ID)
	}
	_, err := create("one", "B")
	if refusal := refused(t, err, http.StatusBadRequest, ""); refusal.Type != stripe.ErrorTypeIdempotency {
		t.Errorf("error %+v", refusal)
	}
	if other := must[*stripe.Customer](t)(create("two", "A")); other.ID == first.ID {
		t.Error("another key made the same customer")
	}
	// A declined payment is remembered, a wrong parameter is not.
	c := w.buyer("NL")
	card := must[string](t)(w.AddCard(c.ID, stripefake.CardFailsLater))
	in := w.draft(c.ID, card)
	pay := func(key string) error {
		params := &stripe.InvoicePayParams{}
		params.SetIdempotencyKey(key)
		_, err := w.Invoices.Pay(in.ID, params)
		return err
	}
	refused(t, pay("pay"), http.StatusPaymentRequired, "card_declined")
	w.SetCard(card, stripefake.Succeeds, stripefake.Succeeds)
	refused(t, pay("pay"), http.StatusPaymentRequired, "card_declined")
	if err := pay("pay again"); err != nil {
		t.Error(err)
	}
	w.Advance(25 * time.Hour)
	if later := must[*stripe.Customer](t)(create("one", "B")); later.ID == first.ID {
		t.Error("the key was remembered for longer than a day")
	}
}

func TestPages100(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	var ids []string
	for i := range 25 {
		ids = append(ids, must[*stripe.Customer](t)(w.Customers.New(&stripe.CustomerParams{Name: stripe.String(fmt.Sprint(i))})).ID)
	}
	params := &stripe.CustomerListParams{}
	params.Limit = stripe.Int64(10)
	iter, n := w.Customers.List(params), 0
	for iter.Next() {
		n++
		if want := ids[25-n]; iter.Customer().ID != want {
			t.Fatalf("customer %d is %s, want %s", n, iter.Customer().ID, want)
		}
	}
	if n != 25 || iter.Err() != nil {
		t.Errorf("%d customers, %v", n, iter.Err())
	}
	params = &stripe.CustomerListParams{}
	params.EndingBefore, params.Limit, params.Single = &ids[10], stripe.Int64(2), true
	if iter = w.Customers.List(params); !iter.Next() {
		t.Fatal(iter.Err())
	}
	if list := iter.CustomerList(); len(list.Data) != 2 || !list.HasMore {
		t.Errorf("%d customers, more: %v", len(list.Data), list.HasMore)
	}
	params = &stripe.CustomerListParams{}
	params.Limit, params.Single = stripe.Int64(101), true
	if iter = w.Customers.List(params); iter.Next() || iter.Err() == nil {
		t.Error("a page of 101")
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	create := func(key string) error {
		params := &stripe.CustomerParams{Name: stripe.String("A")}
		if key != "" {
			params.SetIdempotencyKey(key)
		}
		_, err := w.Customers.New(params)
		return err
	}
	for status, code := range map[int]string{400: "", 429: "rate_limit", 500: "", 503: ""} {
		w.Inject(stripefake.Fault{Status: status, Path: "/v1/customers", Times: 2})
		refused(t, create("a"), status, code)
		must[*stripe.Account](t)(w.Accounts.Get()) // another path
		refused(t, create("a"), status, code)
	}
	if n := len(w.Objects("customer")); n != 0 {
		t.Errorf("%d customers", n)
	}
	w.Inject(stripefake.Fault{Kind: stripefake.Cut, Method: http.MethodPost})
	if err := create("b"); err == nil || len(w.Objects("customer")) != 0 {
		t.Error("cut: the request had an effect")
	}
	w.Inject(stripefake.Fault{Kind: stripefake.Lose, Skip: 1})
	if err := create("c"); err != nil {
		t.Error(err)
	}
	if err := create("d"); err == nil {
		t.Error("lose: there was an answer")
	}
	if n := len(w.Objects("customer")); n != 2 {
		t.Errorf("lose: %d customers", n)
	}
	if err := create("d"); err != nil || len(w.Objects("customer")) != 2 {
		t.Errorf("lose, again: %v", err)
	}
	w.Inject(stripefake.Fault{Kind: stripefake.Hang})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	params := &stripe.CustomerParams{Name: stripe.String("A")}
	params.Context = ctx
	if _, err := w.Customers.New(params); err == nil || ctx.Err() == nil {
		t.Errorf("hang: %v", err)
	}
	w.Inject(stripefake.Fault{Kind: stripefake.Hang, For: time.Millisecond})
	if err := create(""); err == nil {
		t.Error("hang: there was an answer")
	}
	w.Inject(stripefake.Fault{Times: 10})
	w.ClearFaults()
	if err := create(""); err != nil {
		t.Error(err)
	}
	if last := w.Requests()[len(w.Requests())-1]; last.Path != "/v1/customers" || last.Params.Get("name") != "A" || last.Status != 200 {
		t.Errorf("request %+v", last)
	}
}

func TestCatalog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	settings := must[*stripe.TaxSettings](t)(w.TaxSettings.Get(nil))
	if settings.Status != "active" || settings.HeadOffice.Address.Country != "NL" || settings.Defaults.TaxBehavior != "exclusive" {
		t.Errorf("settings %+v", settings)
	}
	w.SetTaxSettings("pending", "")
	if settings = must[*stripe.TaxSettings](t)(w.TaxSettings.Get(nil)); settings.Status != "pending" {
		t.Errorf("settings %+v", settings)
	}
	rate := must[*stripe.TaxRate](t)(w.TaxRates.New(&stripe.TaxRateParams{
		DisplayName: stripe.String("VAT"), Percentage: stripe.Float64(8.1), Inclusive: stripe.Bool(false), TaxType: stripe.String("vat"),
		Country: stripe.String("CH"), Jurisdiction: stripe.String("CH"), Description: stripe.String("VAT Switzerland"),
	}))
	if rate.Percentage != 8.1 || !rate.Active {
		t.Errorf("rate %+v", rate)
	}
	must[*stripe.TaxRate](t)(w.TaxRates.Update(rate.ID, &stripe.TaxRateParams{Active: stripe.Bool(false)}))
	if iter := w.TaxRates.List(&stripe.TaxRateListParams{Active: stripe.Bool(false)}); !iter.Next() || iter.TaxRate().ID != rate.ID {
		t.Errorf("rates: %v", iter.Err())
	}
	product := must[*stripe.Product](t)(w.Products.New(&stripe.ProductParams{Name: stripe.String("credit")}))
	price := must[*stripe.Price](t)(w.Prices.New(&stripe.PriceParams{
		Currency: stripe.String("eur"), UnitAmount: stripe.Int64(7), Product: &product.ID, TaxBehavior: stripe.String("exclusive"),
	}))
	if product = must[*stripe.Product](t)(w.Products.Get(product.ID, nil)); product.Name != "credit" {
		t.Errorf("product %+v", product)
	}
	if iter := w.Products.List(&stripe.ProductListParams{Active: stripe.Bool(true)}); !iter.Next() || iter.Product().ID != product.ID {
		t.Errorf("products: %v", iter.Err())
	}
	if rate = must[*stripe.TaxRate](t)(w.TaxRates.Get(rate.ID, nil)); rate.Active {
		t.Error("the rate is active still")
	}
	if price = must[*stripe.Price](t)(w.Prices.Get(price.ID, nil)); price.UnitAmount != 7 || price.Type != "one_time" {
		t.Errorf("price %+v", price)
	}
	s := w.session(w.buyer("NL").ID, 1000, func(p *stripe.CheckoutSessionParams) {
		p.LineItems[0].PriceData, p.LineItems[0].Price, p.LineItems[0].Quantity = nil, &price.ID, stripe.Int64(500)
	})
	if s.AmountSubtotal != 3500 {
		t.Errorf("session of %d", s.AmountSubtotal)
	}
	items := w.CheckoutSessions.ListLineItems(&stripe.CheckoutSessionListLineItemsParams{Session: &s.ID})
	if !items.Next() || items.LineItem().Quantity != 500 || items.LineItem().AmountTotal != 4235 {
		t.Errorf("items: %v", items.Err())
	}
}

func TestCalculations(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	params := func(country string) *stripe.TaxCalculationParams {
		p := &stripe.TaxCalculationParams{
			Currency: stripe.String("eur"),
			LineItems: []*stripe.TaxCalculationLineItemParams{{
				Amount: stripe.Int64(1000), Reference: stripe.String("credit"), TaxBehavior: stripe.String("exclusive"), TaxCode: stripe.String("txcd_10000000"),
			}},
			CustomerDetails: &stripe.TaxCalculationCustomerDetailsParams{
				Address: &stripe.AddressParams{Country: &country}, AddressSource: stripe.String("billing"),
			},
		}
		p.AddExpand("line_items")
		return p
	}
	for country, tax := range map[string]int64{"NL": 210, "DE": 190, "FI": 255, "US": 0} {
		c := must[*stripe.TaxCalculation](t)(w.TaxCalculations.New(params(country)))
		if c.AmountTotal != 1000+tax || c.TaxAmountExclusive != tax || len(c.TaxBreakdown) != 1 || c.LineItems.Data[0].AmountTax != tax {
			t.Errorf("%s: %+v", country, c)
		}
	}
	firm := params("DE")
	firm.CustomerDetails.TaxIDs = []*stripe.TaxCalculationCustomerDetailsTaxIDParams{{Type: stripe.String("eu_vat"), Value: stripe.String("DE123456789")}}
	if c := must[*stripe.TaxCalculation](t)(w.TaxCalculations.New(firm)); c.TaxAmountExclusive != 0 || c.TaxBreakdown[0].TaxabilityReason != "reverse_charge" {
		t.Errorf("reverse charge: %+v", c)
	}
	customer := params("DE")
	customer.CustomerDetails, customer.Customer = nil, &w.buyer("NL").ID
	if c := must[*stripe.TaxCalculation](t)(w.TaxCalculations.New(customer)); c.TaxAmountExclusive != 210 || c.TaxBreakdown[0].TaxRateDetails.PercentageDecimal != "21.0" {
		t.Errorf("of a customer: %+v", c)
	}
	nowhere := params("")
	nowhere.CustomerDetails.Address = &stripe.AddressParams{City: stripe.String("Utopia")}
	_, err := w.TaxCalculations.New(nowhere)
	refused(t, err, http.StatusBadRequest, "customer_tax_location_invalid")
}
