package stripefake_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/webhook"

	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

func TestSignature(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	w.buyer("NL")
	w.got()
	w.mu.Lock()
	id := w.events[0].ID
	w.mu.Unlock()
	payload := w.Event(id)
	header := stripefake.Sign(payload, secret, time.Now())
	event, err := webhook.ConstructEvent(payload, header, secret)
	if err != nil || event.ID != id || event.APIVersion != stripe.APIVersion {
		t.Errorf("%v, %+v", err, event)
	}
	if _, err := webhook.ConstructEvent(payload, header, "whsec_other"); err == nil {
		t.Error("another secret's signature was taken")
	}
	if _, err := webhook.ConstructEvent(payload, stripefake.Sign(payload, secret, time.Now().Add(-time.Hour)), secret); err == nil {
		t.Error("a stale signature was taken")
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	w.mu.Lock()
	w.fail = 3
	w.mu.Unlock()
	w.buyer("NL")
	if n := len(w.got()); n != 0 {
		t.Errorf("%d events were taken", n)
	}
	for _, wait := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
		w.Advance(wait)
	}
	if n := w.got()["customer.created"]; n != 1 {
		t.Errorf("%d events", n)
	}
	if all := w.Deliveries(); len(all) != 4 || all[3].Attempt != 4 || all[3].Status != 200 || all[0].Status != 503 {
		t.Errorf("deliveries %+v", all)
	}
}

func TestDeliveryControls(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	w.Hold()
	w.buyer("NL")
	if n := len(w.got()); n != 0 {
		t.Error("held back, and yet delivered")
	}
	w.Release(true)
	if n := w.got()["customer.created"]; n != 1 {
		t.Errorf("%d after the release", n)
	}
	w.SetDelivery(stripefake.Delivering{Copies: 3, Delay: time.Hour})
	w.buyer("NL")
	if n := w.got()["customer.created"]; n != 1 {
		t.Errorf("%d before the delay", n)
	}
	w.Advance(time.Hour)
	if n := w.got()["customer.created"]; n != 4 {
		t.Errorf("%d after the delay", n)
	}
	w.SetDelivery(stripefake.Delivering{Drop: func(kind string) bool { return kind == "customer.created" }})
	c := w.buyer("NL")
	must[*stripe.Customer](t)(w.Customers.Update(c.ID, &stripe.CustomerParams{Name: stripe.String("B")}))
	if got := w.got(); got["customer.created"] != 4 || got["customer.updated"] != 1 {
		t.Errorf("events %v", got)
	}
	w.Hold()
	w.buyer("NL")
	if n := w.Discard(); n != 0 { // dropped already
		t.Errorf("%d discarded", n)
	}
	w.Release(false)
}

func TestRedeliver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	s := w.session(w.buyer("NL").ID, 1000)
	if err := w.Pay(s.ID); err != nil {
		t.Fatal(err)
	}
	before := w.got()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := w.Redeliver(ctx, 5, 3); err != nil {
		t.Fatal(err)
	}
	for kind, n := range w.got() {
		if n != 6*before[kind] {
			t.Errorf("%d of %s, %d before", n, kind, before[kind])
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var order []string
	for _, e := range w.events {
		order = append(order, e.ID)
	}
	first := order[:len(order)/6]
	if slices.Equal(first, order[len(order)/6:2*len(order)/6]) {
		t.Error("redelivered in the same order")
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	params := &stripe.CustomerParams{Name: stripe.String("A")}
	params.SetIdempotencyKey("key")
	c := must[*stripe.Customer](t)(w.Customers.New(params))
	must[*stripe.Customer](t)(w.Customers.Update(c.ID, &stripe.CustomerParams{Name: stripe.String("B")}))
	list := func(params *stripe.EventListParams) []*stripe.Event {
		t.Helper()
		var all []*stripe.Event
		iter := w.Events.List(params)
		for iter.Next() {
			all = append(all, iter.Event())
		}
		if iter.Err() != nil {
			t.Fatal(iter.Err())
		}
		return all
	}
	all := list(&stripe.EventListParams{})
	if len(all) != 2 || all[0].Type != "customer.updated" || all[0].GetPreviousValue("name") != "A" || all[0].GetObjectValue("name") != "B" {
		t.Errorf("events %+v", all)
	}
	if all[1].Request.IdempotencyKey != "key" || all[1].GetObjectValue("name") != "A" {
		t.Errorf("the older event %+v", all[1])
	}
	if got := list(&stripe.EventListParams{Type: stripe.String("customer.*")}); len(got) != 2 {
		t.Errorf("%d of customer.*", len(got))
	}
	if got := list(&stripe.EventListParams{Types: stripe.StringSlice([]string{"customer.created", "invoice.paid"})}); len(got) != 1 {
		t.Errorf("%d of two types", len(got))
	}
	w.got()
	if got := list(&stripe.EventListParams{DeliverySuccess: stripe.Bool(false)}); len(got) != 0 {
		t.Errorf("%d not delivered", len(got))
	}
	byTime := &stripe.EventListParams{}
	byTime.CreatedRange = &stripe.RangeQueryParams{GreaterThan: w.Now().Unix()}
	if got := list(byTime); len(got) != 0 {
		t.Errorf("%d of the future", len(got))
	}
	if e := must[*stripe.Event](t)(w.Events.Get(all[0].ID, nil)); e.ID != all[0].ID {
		t.Error("another event")
	}
	w.Advance(31 * 24 * time.Hour)
	if got := list(&stripe.EventListParams{}); len(got) != 0 {
		t.Errorf("%d after a month", len(got))
	}
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	made := must[*stripe.WebhookEndpoint](t)(w.WebhookEndpoints.New(&stripe.WebhookEndpointParams{
		URL: stripe.String(w.url + "/nowhere"), EnabledEvents: stripe.StringSlice([]string{"invoice.paid"}), APIVersion: stripe.String(stripe.APIVersion),
	}))
	if made.Secret == "" || made.Status != "enabled" {
		t.Errorf("endpoint %+v", made)
	}
	if got := must[*stripe.WebhookEndpoint](t)(w.WebhookEndpoints.Get(made.ID, nil)); got.Secret != "" || got.APIVersion != stripe.APIVersion {
		t.Errorf("endpoint %+v", got)
	}
	iter, n := w.WebhookEndpoints.List(&stripe.WebhookEndpointListParams{}), 0
	for iter.Next() {
		n++
	}
	if n != 2 || iter.Err() != nil {
		t.Errorf("%d endpoints, %v", n, iter.Err())
	}
	must[*stripe.WebhookEndpoint](t)(w.WebhookEndpoints.Update(made.ID, &stripe.WebhookEndpointParams{Disabled: stripe.Bool(true)}))
	must[*stripe.WebhookEndpoint](t)(w.WebhookEndpoints.Del(made.ID, nil))
	_, err := w.WebhookEndpoints.New(&stripe.WebhookEndpointParams{
		URL: stripe.String("http://x.example"), EnabledEvents: stripe.StringSlice([]string{"*"}), APIVersion: stripe.String("latest"),
	})
	refused(t, err, 400, "")
}

// TestEndpointOfAnotherVersion sends events that stripe-go refuses.
func TestEndpointOfAnotherVersion(t *testing.T) {
	t.Parallel()
	refusals := make(chan error, 1)
	fake, err := stripefake.New(stripefake.Config{
		Webhooks: &http.Client{Transport: stripefake.Through(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, err := webhook.ConstructEvent([]byte(readAll(t, r.Body)), r.Header.Get("Stripe-Signature"), secret)
			refusals <- err
		}))},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	api := connect("http://stripe.example", stripefake.Key, stripefake.Through(fake))
	id := fake.AddEndpoint("http://ringfence.example", secret)
	fake.SetEndpointVersion(id, "2020-08-27")
	must[*stripe.Customer](t)(api.Customers.New(&stripe.CustomerParams{}))
	if err := <-refusals; err == nil || !strings.Contains(err.Error(), "2020-08-27") {
		t.Errorf("stripe-go says %v", err)
	}
	if e := must[*stripe.WebhookEndpoint](t)(api.WebhookEndpoints.Get(id, nil)); e.APIVersion != "2020-08-27" {
		t.Errorf("endpoint of %s", e.APIVersion)
	}
}

// TestClock lets the bubble's clock do what Advance does elsewhere.
func TestClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		taken := make(chan string, 10)
		taker := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			var event stripe.Event
			if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
				t.Error(err)
			}
			taken <- string(event.Type)
		})
		fake, err := stripefake.New(stripefake.Config{
			VerifyAfter: time.Hour, Webhooks: &http.Client{Transport: stripefake.Through(taker)},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer fake.Close()
		fake.AddEndpoint("http://ringfence.example/stripe/webhook", secret, "customer.tax_id.*")
		api := connect("http://stripe.example", stripefake.Key, stripefake.Through(fake))
		c := must[*stripe.Customer](t)(api.Customers.New(&stripe.CustomerParams{}))
		id := must[*stripe.TaxID](t)(api.TaxIDs.New(&stripe.TaxIDParams{Customer: &c.ID, Type: stripe.String("eu_vat"), Value: stripe.String("DE123456789")}))
		check := func(want stripe.TaxIDVerificationStatus) {
			t.Helper()
			got := must[*stripe.TaxID](t)(api.TaxIDs.Get(id.ID, &stripe.TaxIDParams{Customer: &c.ID}))
			if got.Verification.Status != want {
				t.Errorf("%s, want %s", got.Verification.Status, want)
			}
		}
		check("pending")
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		check("verified")
		if first, second := <-taken, <-taken; first != "customer.tax_id.created" || second != "customer.tax_id.updated" {
			t.Errorf("webhooks %s, %s", first, second)
		}

		fake.Inject(stripefake.Fault{Kind: stripefake.Lose})
		if _, err := api.Customers.New(&stripe.CustomerParams{}); err == nil || len(fake.Objects("customer")) != 2 {
			t.Errorf("lose: %v", err)
		}
		fake.Inject(stripefake.Fault{Kind: stripefake.Hang})
		if _, err := api.Customers.New(&stripe.CustomerParams{}); err == nil {
			t.Error("hang: there was an answer")
		}
	})
}
