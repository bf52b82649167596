package stripe_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

// post brings a webhook and gives the status of the answer.
func post(s *stripe.Service, body []byte, signature string) int {
	req := httptest.NewRequest(http.MethodPost, stripe.WebhookPath, strings.NewReader(string(body)))
	if signature != "" {
		req.Header.Set("Stripe-Signature", signature)
	}
	w := httptest.NewRecorder()
	s.Webhook().ServeHTTP(w, req)
	return w.Code
}

// event is one as Stripe writes it.
func event(id, kind, object string) []byte {
	return fmt.Appendf(nil, `{"id":%q,"object":"event","api_version":%q,"created":%d,"type":%q,"data":{"object":%s}}`, id, stripe.APIVersion, time.Now().Unix(), kind, object)
}

// Nothing forged, stale or of another version is saved.
func TestSignatures(t *testing.T) {
	r := newRig(t)
	s := r.shop()
	now := time.Now()
	good := event("evt_1", "checkout.session.completed", `{"id":"cs_1"}`)
	for name, c := range map[string]struct {
		body      []byte
		signature string
		want      int
	}{
		"none":            {good, "", 400},
		"nonsense":        {good, "t=x,v1=y", 400},
		"another secret":  {good, stripefake.Sign(good, "whsec_other", now), 400},
		"another body":    {append(good, ' '), stripefake.Sign(good, secret, now), 400},
		"stale":           {good, stripefake.Sign(good, secret, now.Add(-6*time.Minute)), 400},
		"another version": {[]byte(strings.Replace(string(good), stripe.APIVersion, "2020-08-27", 1)), "", 400},
		"no JSON":         {[]byte("hello"), stripefake.Sign([]byte("hello"), secret, now), 400},
		"about nothing":   {event("evt_2", "invoice.paid", `{}`), "", 400},
		"no id":           {event("", "invoice.paid", `{"id":"in_1"}`), "", 400},
		"too long":        {event("evt_3", "invoice.paid", `{"id":"`+strings.Repeat("x", 2<<20)+`"}`), "", 400},
		"not ours":        {event("evt_4", "plan.created", `{"id":"plan_1"}`), "", 200},
		"good":            {good, stripefake.Sign(good, secret, now), 200},
		"good again":      {good, stripefake.Sign(good, secret, now), 200},
	} {
		if c.signature == "" && name != "none" {
			c.signature = stripefake.Sign(c.body, secret, now)
		}
		if got := post(s, c.body, c.signature); got != c.want {
			t.Errorf("%s: answered %d, want %d", name, got, c.want)
		}
	}
	n, err := r.ledger.ShopCounts(t.Context())
	check(t, err)
	if n.Waiting != 1 {
		t.Errorf("%d events are saved, want 1", n.Waiting)
	}
	for name, change := range map[string]func(*stripe.Config){
		"no key":    func(c *stripe.Config) { c.Key = "" },
		"no secret": func(c *stripe.Config) { c.WebhookSecret = "" },
	} {
		if got := post(r.shop(change), good, stripefake.Sign(good, secret, now)); got != http.StatusServiceUnavailable {
			t.Errorf("%s: answered %d", name, got)
		}
	}
	w := httptest.NewRecorder()
	s.Webhook().ServeHTTP(w, httptest.NewRequest(http.MethodGet, stripe.WebhookPath, nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET answered %d", w.Code)
	}
}

// Events for what nobody knows are kept and shown, and worked again when somebody says so.
func TestUnknownIsKept(t *testing.T) {
	r := newRig(t)
	s, _ := r.start()
	for _, body := range [][]byte{
		event("evt_session", "checkout.session.completed", `{"id":"cs_unknown"}`),
		event("evt_refund", "refund.created", `{"id":"re_unknown"}`),
		event("evt_customer", "customer.updated", `{"id":"cus_unknown"}`),
	} {
		if got := post(s, body, stripefake.Sign(body, secret, time.Now())); got != http.StatusOK {
			t.Errorf("answered %d", got)
		}
	}
	r.quiet()
	st, err := s.Status(t.Context())
	check(t, err)
	if st.Events.Aside != 3 || len(st.Aside) != 3 {
		t.Errorf("status is %+v", st)
	}
	for _, e := range st.Aside {
		if e.Problem == "" {
			t.Errorf("%s is aside without a reason", e.ID)
		}
	}

	// What was worked already may be worked again.
	acme := r.account("acme")
	made := r.buy(s, acme, 100)
	p := made.Purchase
	r.pay(made)
	r.spendable(acme, p.Units)
	r.quiet()
	var session string
	for _, e := range r.fake.Objects("event") {
		if e["type"] == "checkout.session.completed" {
			session = e["id"].(string)
		}
	}
	check(t, s.Replay(t.Context(), session))
	r.quiet()
	if g := r.granted(acme); g != p.Units {
		t.Errorf("a replay makes %d of %d", g, p.Units)
	}
	if err := s.Replay(t.Context(), "evt_none"); err == nil {
		t.Error("an event that does not exist was replayed")
	}
}

// Another currency or amount than was committed is never credited, and shown.
func TestSuspicious(t *testing.T) {
	for name, spoil := range map[string]func(map[string]any){
		"currency":   func(cs map[string]any) { cs["currency"] = "usd" },
		"net":        func(cs map[string]any) { cs["amount_subtotal"] = 1 },
		"gross":      func(cs map[string]any) { cs["amount_total"] = 1 },
		"no payment": func(cs map[string]any) { cs["payment_intent"] = nil },
		"for free":   func(cs map[string]any) { cs["payment_status"] = "no_payment_required" },
		"received":   func(cs map[string]any) { cs["payment_intent"].(map[string]any)["amount_received"] = 7 },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.fake.SetDelivery(stripefake.Delivering{Drop: func(kind string) bool { return kind != "checkout.session.completed" }})
			s, _ := r.start(func(c *stripe.Config) {
				c.Poll, c.Transport = time.Hour, rewriting{r.next, http.MethodGet, "/v1/checkout/sessions/", spoil}
			})
			acme := r.account("acme")
			r.pay(r.buy(s, acme, 500))
			services.Eventually(t, patience, func() error {
				st, err := s.Status(context.Background())
				if err == nil && (len(st.Aside) == 0 || len(st.Suspicion) != 1) {
					err = fmt.Errorf("status is %+v", st)
				}
				return err
			})
			if g := r.granted(acme); g != 0 {
				t.Errorf("%d granted", g)
			}
		})
	}
}

// rewriting changes answers on their way.
type rewriting struct {
	next   http.RoundTripper
	method string
	path   string
	change func(map[string]any)
}

func (x rewriting) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := x.next.RoundTrip(req)
	if err != nil || req.Method != x.method || !strings.HasPrefix(req.URL.Path, x.path) {
		return resp, err
	}
	var body map[string]any
	err = json.NewDecoder(resp.Body).Decode(&body)
	if err := resp.Body.Close(); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	x.change(body)
	w := httptest.NewRecorder()
	w.WriteHeader(resp.StatusCode)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		return nil, err
	}
	out := w.Result()
	out.Header = resp.Header.Clone()
	out.Header.Del("Content-Length")
	return out, nil
}

// No webhook arrives at all: the lists tell.
func TestNoWebhook(t *testing.T) {
	r := newRig(t)
	r.fake.SetDelivery(stripefake.Delivering{Drop: func(string) bool { return true }})
	s, _ := r.start()
	acme := r.account("acme")
	made := r.buy(s, acme, 500)
	r.pay(made)
	r.spendable(acme, 500*minute)
	_, err := r.fake.Refund(made.Purchase.Session, 0)
	check(t, err)
	r.spendable(acme, 0)
	n, err := s.Resync(t.Context(), time.Now().Add(-time.Hour))
	if err != nil || n != 0 {
		t.Errorf("resync finds %d, %v", n, err)
	}
}

// The invoice comes later than the payment, and no event tells of it: the credit does not wait, and the invoice is found.
func TestLateInvoice(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *stripefake.Config) { c.InvoiceAfter = 3 * time.Second })
	r.fake.SetDelivery(stripefake.Delivering{Drop: func(kind string) bool { return kind != "checkout.session.completed" }})
	s, _ := r.start(func(c *stripe.Config) { c.Poll = time.Hour })
	acme := r.account("acme")
	r.pay(r.buy(s, acme, 500))
	r.spendable(acme, 500*minute)
	if _, total, err := s.Invoices(t.Context(), acme, 10, 0); err != nil || total != 0 {
		t.Errorf("%d invoices, %v", total, err)
	}
	services.Eventually(t, patience, func() error {
		page, _, err := s.Invoices(context.Background(), acme, 10, 0)
		if err == nil && (len(page) != 1 || page[0].Status != "paid") {
			err = fmt.Errorf("invoices are %+v", page)
		}
		return err
	})
}

// Stripe away for a while: everything waits, and nothing is lost.
func TestStripeAway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s, _ := r.start()
	acme := r.account("acme")
	made := r.buy(s, acme, 500)
	r.fake.Inject(stripefake.Fault{Kind: stripefake.Refuse, Method: http.MethodGet, Status: http.StatusServiceUnavailable, Times: 12})
	r.fake.Inject(stripefake.Fault{Kind: stripefake.Refuse, Method: http.MethodGet, Status: http.StatusTooManyRequests, Times: 3, RetryAfter: time.Second})
	r.pay(made)
	r.spendable(acme, 500*minute)
	r.quiet()
	if n := r.granted(acme); n != 500*minute {
		t.Errorf("granted %d", n)
	}
}

// A connection that breaks before or after Stripe has made the session makes one session, and one purchase.
func TestBrokenCheckout(t *testing.T) {
	for _, kind := range []stripefake.FaultKind{stripefake.Cut, stripefake.Lose, stripefake.Refuse} {
		r := newRig(t)
		s := r.shop()
		acme := r.account("acme")
		r.fake.Inject(stripefake.Fault{Kind: kind, Method: http.MethodPost, Path: "/v1/checkout/sessions", Status: http.StatusConflict})
		made := r.buy(s, acme, 500)
		if n := len(r.fake.Objects("checkout.session")); n != 1 || made.URL == "" {
			t.Errorf("fault %d: %d sessions, page %q", kind, n, made.URL)
		}
	}
}

// A sidecar that dies after committing the purchase: it is completed, or it expires, and nothing is charged.
func TestUnfinishedCheckout(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	acme := r.account("acme")
	ctx, cancel := context.WithCancel(t.Context())
	broken := r.shop(func(c *stripe.Config) { c.Transport = cancelling{r.next, "/v1/checkout/sessions", cancel} })
	if _, err := broken.Checkout(ctx, acme, stripe.Request{Order: stripe.Order{Minutes: "500"}, SuccessURL: site, CancelURL: site}); err == nil {
		t.Fatal("the checkout worked")
	}
	page, err := r.ledger.Purchases(t.Context(), acme, 10, 0)
	check(t, err)
	if len(page) != 1 || page[0].Session != "" || page[0].State != ledger.PurchaseOpen {
		t.Fatalf("purchases are %+v", page)
	}
	r.start()
	services.Eventually(t, patience, func() error {
		p, err := r.ledger.Purchase(context.Background(), page[0].ID)
		if err == nil && p.Session == "" {
			err = fmt.Errorf("no session yet: %+v", p)
		}
		return err
	})
	if n := len(r.fake.Objects("checkout.session")); n != 1 {
		t.Errorf("%d sessions", n)
	}
}

// cancelling breaks off when a path is asked for.
type cancelling struct {
	next http.RoundTripper
	path string
	stop func()
}

func (x cancelling) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path == x.path {
		x.stop()
		return nil, context.Canceled
	}
	return x.next.RoundTrip(req)
}
