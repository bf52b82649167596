package stripefake_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/client"
	"github.com/stripe/stripe-go/v76/webhook"
	"go.uber.org/goleak"

	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake/stripefaketest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "whsec_test"

// world is a fake with stripe-go connected to it, and somebody who takes its webhooks.
type world struct {
	*stripefake.Fake
	*client.API
	t   testing.TB
	url string

	mu     sync.Mutex
	events []stripe.Event
	fail   int // of the next webhooks
}

func newWorld(t testing.TB, cfg stripefake.Config) *world {
	t.Helper()
	fake, err := stripefake.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(func() {
		if err := fake.Close(); err != nil {
			t.Error(err)
		}
		transport.CloseIdleConnections()
	})
	url, err := fake.Start("")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Fake: fake, t: t, url: url}
	w.API = connect(url, stripefake.Key, stripefaketest.Transport(t, transport))
	taker := httptest.NewServer(http.HandlerFunc(w.take))
	t.Cleanup(taker.Close)
	fake.AddEndpoint(taker.URL, secret)
	return w
}

// connect is a client of stripe-go without retries.
func connect(url, key string, transport http.RoundTripper) *client.API {
	backend := stripe.GetBackendWithConfig(stripe.APIBackend, &stripe.BackendConfig{
		URL: stripe.String(url), MaxNetworkRetries: stripe.Int64(0), LeveledLogger: &stripe.LeveledLogger{},
		HTTPClient: &http.Client{Transport: transport, Timeout: 10 * time.Second}, EnableTelemetry: stripe.Bool(false),
	})
	return client.New(key, &stripe.Backends{API: backend, Connect: backend, Uploads: backend})
}

// take takes a webhook as a customer of Stripe does.
func (w *world) take(rw http.ResponseWriter, r *http.Request) {
	payload, err := io.ReadAll(r.Body)
	if err != nil {
		return // the fake was closed while it sent
	}
	if err := stripefaketest.Answer(payload); err != nil {
		w.t.Errorf("webhook: %v", err)
	}
	event, err := webhook.ConstructEventWithOptions(payload, r.Header.Get("Stripe-Signature"), secret,
		webhook.ConstructEventOptions{IgnoreTolerance: true})
	if err != nil {
		w.t.Error(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail > 0 {
		w.fail--
		http.Error(rw, "not now", http.StatusServiceUnavailable)
		return
	}
	w.events = append(w.events, event)
}

// got waits for the webhooks that are due and returns how many of each type were taken.
func (w *world) got() map[string]int {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if err := w.Flush(ctx); err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	kinds := make(map[string]int)
	for _, e := range w.events {
		kinds[string(e.Type)]++
	}
	return kinds
}

// must returns what a call returned, which must have succeeded.
func must[T any](t testing.TB) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// buyer is a customer in a country.
func (w *world) buyer(country string) *stripe.Customer {
	w.t.Helper()
	return must[*stripe.Customer](w.t)(w.Customers.New(&stripe.CustomerParams{
		Name: stripe.String("Jansen & Zn"), Email: stripe.String("info@jansen.example"),
		Address: &stripe.AddressParams{Line1: stripe.String("Damrak 1"), City: stripe.String("Amsterdam"), Country: &country},
	}))
}

// session is for credit of an amount, with an invoice.
func (w *world) session(customer string, cents int64, change ...func(*stripe.CheckoutSessionParams)) *stripe.CheckoutSession {
	w.t.Helper()
	params := &stripe.CheckoutSessionParams{
		Mode: stripe.String("payment"), Customer: &customer,
		SuccessURL: stripe.String("http://shop.example/done?s={CHECKOUT_SESSION_ID}"), CancelURL: stripe.String("http://shop.example/back"),
		PaymentMethodTypes: stripe.StringSlice([]string{"card"}),
		LineItems: []*stripe.CheckoutSessionLineItemParams{{
			Quantity: stripe.Int64(1),
			PriceData: &stripe.CheckoutSessionLineItemPriceDataParams{
				Currency: stripe.String("eur"), UnitAmount: &cents, TaxBehavior: stripe.String("exclusive"),
				ProductData: &stripe.CheckoutSessionLineItemPriceDataProductDataParams{Name: stripe.String("500 credits")},
			},
		}},
		InvoiceCreation:   &stripe.CheckoutSessionInvoiceCreationParams{Enabled: stripe.Bool(true)},
		AutomaticTax:      &stripe.CheckoutSessionAutomaticTaxParams{Enabled: stripe.Bool(true)},
		CustomerUpdate:    &stripe.CheckoutSessionCustomerUpdateParams{Address: stripe.String("auto"), Name: stripe.String("auto")},
		TaxIDCollection:   &stripe.CheckoutSessionTaxIDCollectionParams{Enabled: stripe.Bool(true)},
		ConsentCollection: &stripe.CheckoutSessionConsentCollectionParams{TermsOfService: stripe.String("required")},
		PaymentIntentData: &stripe.CheckoutSessionPaymentIntentDataParams{
			SetupFutureUsage: stripe.String("off_session"), Metadata: map[string]string{"purchase": "p1"},
		},
	}
	params.AddMetadata("purchase", "p1")
	for _, c := range change {
		c(params)
	}
	return must[*stripe.CheckoutSession](w.t)(w.CheckoutSessions.New(params))
}

func TestPurchase(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	s := w.session(w.buyer("NL").ID, 3500)
	if s.AmountTotal != 4235 || s.AmountSubtotal != 3500 || s.TotalDetails.AmountTax != 735 || s.URL == "" {
		t.Fatalf("session of %d, %d, %d at %q", s.AmountSubtotal, s.TotalDetails.AmountTax, s.AmountTotal, s.URL)
	}
	if err := w.Pay(s.ID); err != nil {
		t.Fatal(err)
	}
	params := &stripe.CheckoutSessionParams{}
	params.AddExpand("payment_intent.latest_charge")
	params.AddExpand("invoice")
	params.AddExpand("line_items")
	s = must[*stripe.CheckoutSession](t)(w.CheckoutSessions.Get(s.ID, params))
	if s.PaymentStatus != "paid" || s.Status != "complete" || s.PaymentIntent.Status != "succeeded" {
		t.Errorf("session is %s, %s; payment %s", s.Status, s.PaymentStatus, s.PaymentIntent.Status)
	}
	if c := s.PaymentIntent.LatestCharge; !c.Paid || c.Amount != 4235 || c.PaymentMethodDetails.Card.Last4 != "4242" {
		t.Errorf("charge %+v", c)
	}
	in := s.Invoice
	if in.Number != "RF-0001" || in.Status != "paid" || in.Total != 4235 || in.TotalExcludingTax != 3500 || in.Tax != 735 ||
		len(in.TotalTaxAmounts) != 1 || in.TotalTaxAmounts[0].Amount != 735 || in.Lines.Data[0].Amount != 3500 {
		t.Errorf("invoice %+v", in)
	}
	for _, kind := range []string{
		"checkout.session.completed", "payment_intent.succeeded", "charge.succeeded", "invoice.created", "invoice.finalized",
		"invoice.paid", "payment_method.attached",
	} {
		if n := w.got()[kind]; n != 1 {
			t.Errorf("%d events %s", n, kind)
		}
	}
}

func atoi(t testing.TB, text string) int {
	t.Helper()
	return must[int](t)(strconv.Atoi(text))
}

func readAll(t testing.TB, r io.Reader) string {
	t.Helper()
	return string(must[[]byte](t)(io.ReadAll(r)))
}
