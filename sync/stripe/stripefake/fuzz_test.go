package stripefake_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake/stripefaketest"
)

// FuzzRequests puts requests to an account that has one of everything: whatever is sent, the answer is one of Stripe's.
func FuzzRequests(f *testing.F) {
	for _, seed := range []struct{ method, path, body string }{
		{"POST", "/v1/customers", "name=A&address[country]=NL&metadata[a]=b&tax_id_data[0][type]=eu_vat&tax_id_data[0][value]=DE123456789"},
		{"POST", "/v1/customers/{customer}", "invoice_settings[default_payment_method]={payment_method}&email=a@b"},
		{"POST", "/v1/customers/{customer}/tax_ids", "type=eu_vat&value=NL123456789B01"},
		{"POST", "/v1/checkout/sessions", "mode=payment&success_url=http://x&line_items[0][quantity]=2&line_items[0][price_data][currency]=eur&line_items[0][price_data][unit_amount_decimal]=7.5&line_items[0][price_data][product_data][name]=c&automatic_tax[enabled]=true"},
		{"GET", "/v1/checkout/sessions?expand[]=data.payment_intent.latest_charge&limit=3&created[gte]=1", ""},
		{"GET", "/v1/checkout/sessions/{checkout.session}?expand[]=line_items&expand[]=invoice", ""},
		{"POST", "/v1/invoices", "customer={customer}&default_tax_rates[]={tax_rate}&pending_invoice_items_behavior=include"},
		{"POST", "/v1/invoiceitems", "customer={customer}&unit_amount=-5&quantity=3&currency=eur"},
		{"POST", "/v1/invoices/{invoice}/pay", "payment_method={payment_method}&off_session=false"},
		{"POST", "/v1/invoices/{invoice}/void", ""},
		{"POST", "/v1/refunds", "charge={charge}&amount=5"},
		{"POST", "/v1/tax_rates", "display_name=V&percentage=25.5&inclusive=true"},
		{"POST", "/v1/tax/calculations", "currency=eur&customer={customer}&line_items[0][amount]=100&expand[]=line_items"},
		{"POST", "/v1/billing/meter_events", "event_name=e&payload[value]=1e3&payload[stripe_customer_id]={customer}&identifier=x"},
		{"GET", "/v1/billing/meters/{billing.meter}/event_summaries?customer={customer}&start_time=0&end_time=3600&value_grouping_window=hour", ""},
		{"GET", "/v1/events?types[]=invoice.*&ending_before={event}", ""},
		{"POST", "/v1/payment_methods/{payment_method}/detach", ""},
		{"POST", "/v1/prices", "currency=eur&unit_amount=1&product_data[name]=p&recurring[interval]=month"},
		{"DELETE", "/v1/customers/{customer}", ""},
		{"POST", "/v1/webhook_endpoints", "url=http://x&enabled_events[]=*"},
		{"POST", "/v1/x", "a[b[c]]=1&a[]=2&[=3&%zz&a=4"},
	} {
		f.Add(seed.method, seed.path, seed.body)
	}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		fake, err := stripefake.New(stripefake.Config{
			Webhooks: &http.Client{Transport: stripefake.Through(http.NotFoundHandler())},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer fake.Close()
		ids := furnish(t, fake)
		path, body = ids.Replace(path), ids.Replace(body)
		target, err := url.ParseRequestURI("http://stripe.example" + path)
		if err != nil || !strings.HasPrefix(path, "/v1/") || strings.Contains(path, "//") || strings.Contains(path, "/.") {
			return
		}
		r, err := http.NewRequestWithContext(t.Context(), method, target.String(), strings.NewReader(body))
		if err != nil {
			return
		}
		r.SetBasicAuth(stripefake.Key, "")
		for range 2 { // the second time, the first has had its effect
			r.Body = http.NoBody
			if body != "" {
				r.Body, _ = r.GetBody()
			}
			answer, err := stripefake.Through(fake).RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			text := readAll(t, answer.Body)
			if !json.Valid([]byte(text)) || answer.StatusCode >= 500 {
				t.Fatalf("%d %s", answer.StatusCode, text)
			}
			if err := stripefaketest.Answer([]byte(text)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// furnish makes one of everything and returns what replaces {kind} by its id.
func furnish(t testing.TB, fake *stripefake.Fake) *strings.Replacer {
	t.Helper()
	var ids []string
	post := func(path, body string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://stripe.example"+path, strings.NewReader(strings.NewReplacer(ids...).Replace(body)))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(stripefake.Key, "")
		answer, err := stripefake.Through(fake).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		text := readAll(t, answer.Body)
		var made struct{ ID, Object string }
		if err := json.Unmarshal([]byte(text), &made); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s", path, answer.StatusCode, text)
		}
		ids = append(ids, "{"+made.Object+"}", made.ID)
	}
	post("/v1/customers", "name=A&address[country]=NL")
	customer := ids[1]
	post("/v1/tax_rates", "display_name=V&percentage=21&inclusive=false")
	post("/v1/billing/meters", "display_name=m&event_name=e&default_aggregation[formula]=sum")
	post("/v1/checkout/sessions", "mode=payment&success_url=http://x&customer={customer}&invoice_creation[enabled]=true&line_items[0][quantity]=1&line_items[0][price_data][currency]=eur&line_items[0][price_data][unit_amount]=700&line_items[0][price_data][product_data][name]=c")
	if err := fake.Pay(ids[len(ids)-1]); err != nil {
		t.Fatal(err)
	}
	card, err := fake.AddCard(customer, stripefake.CardAlwaysAsks)
	if err != nil {
		t.Fatal(err)
	}
	ids = append(ids, "{payment_method}", card)
	post("/v1/invoices", "customer={customer}")
	post("/v1/invoiceitems", "customer={customer}&invoice={invoice}&amount=100&currency=eur")
	for _, kind := range []string{"charge", "payment_intent", "event", "product", "price"} {
		ids = append(ids, "{"+kind+"}", fake.Objects(kind)[0]["id"].(string))
	}
	return strings.NewReplacer(ids...)
}
