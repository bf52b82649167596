package stripe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/portal/openapi/openapitest"
	"github.com/hmsovereign/ringfence/sync/stripe"
)

type callerKey struct{}

// api serves the shop's resources to whoever names an account, and compares every exchange with the document.
type api struct {
	t      testing.TB
	url    string
	client *http.Client
}

func (r *rig) api(routes []stripe.Route) *api {
	mux := http.NewServeMux()
	for _, route := range routes {
		mux.HandleFunc(route.Method+" "+route.Path, func(w http.ResponseWriter, req *http.Request) {
			for _, name := range []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} {
				w.Header().Set(name, "100")
			}
			if id := req.Header.Get("Authorization"); id != "" {
				req = req.WithContext(context.WithValue(req.Context(), callerKey{}, &authz.Account{ID: id, Status: authz.Active, Currency: "EUR"}))
			}
			route.Serve.ServeHTTP(w, req)
		})
	}
	server := httptest.NewServer(mux)
	r.t.Cleanup(server.Close)
	next := &http.Transport{}
	r.t.Cleanup(next.CloseIdleConnections)
	return &api{r.t, server.URL, &http.Client{Transport: openapitest.New(r.t).Transport(r.t, next)}}
}

// withCaller has the shop know who asks.
func withCaller(c *stripe.Config) {
	c.Caller = func(ctx context.Context) (*authz.Account, bool) {
		a, ok := ctx.Value(callerKey{}).(*authz.Account)
		return a, ok
	}
}

type answered struct {
	status int
	body   []byte
	header http.Header
}

func (a *api) do(method, path, account, body string, header ...string) answered {
	a.t.Helper()
	req, err := http.NewRequest(method, a.url+path, strings.NewReader(body))
	check(a.t, err)
	if account != "" {
		req.Header.Set("Authorization", account)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := a.client.Do(req)
	check(a.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	check(a.t, err)
	return answered{resp.StatusCode, b, resp.Header}
}

// field gives a part of a JSON answer as its text.
func (x answered) field(path ...string) string {
	raw := json.RawMessage(x.body)
	for _, name := range path {
		var o map[string]json.RawMessage
		if json.Unmarshal(raw, &o) != nil {
			return ""
		}
		raw = o[name]
	}
	return string(raw)
}

func TestAPI(t *testing.T) {
	r := newRig(t)
	s, _ := r.start(withCaller)
	a := r.api(s.Routes())
	acme, other := r.account("acme"), r.account("other")

	if x := a.do("GET", "/api/v1/checkout", acme, ""); x.status != 200 || x.field("price_per_minute") != "0.07" || x.field("available") != "true" {
		t.Errorf("offer: %d %s", x.status, x.body)
	}
	if x := a.do("GET", "/api/v1/checkout/quote?amount_minutes=500", acme, ""); x.status != 200 || x.field("total") != "42.35" || x.field("vat_rate") != "21" || x.field("minutes") != "500" {
		t.Errorf("quote: %d %s", x.status, x.body)
	}
	for body, param := range map[string]string{
		``:                           "",
		`[]`:                         "",
		`{} x`:                       "",
		`{}`:                         `"amount_minutes"`,
		`{"amount_minutes":"500"}`:   `"amount_minutes"`,
		`{"amount_minutes":1e3}`:     `"amount_minutes"`,
		`{"amount_minutes":null}`:    `"amount_minutes"`,
		`{"amount_minutes":0}`:       `"amount_minutes"`,
		`{"amount_minutes":-1}`:      `"amount_minutes"`,
		`{"amount_minutes":500.001}`: `"amount_minutes"`,
		`{"amount_minutes":99999999999999999999999999}`:                         `"amount_minutes"`,
		`{"amount_eur":4.99}`:                                                   `"amount_eur"`,
		`{"amount_eur":34.905}`:                                                 `"amount_eur"`,
		`{"amount_eur":35,"amount_minutes":500}`:                                `"amount_eur"`,
		`{"amount_eur":35,"price":1}`:                                           `"price"`,
		`{"amount_eur":35,"success_url":"https://evil.example/"}`:               `"success_url"`,
		`{"amount_eur":35,"cancel_url":7}`:                                      `"cancel_url"`,
		`{"amount_eur":35,"save_card":"yes"}`:                                   `"save_card"`,
		`{"amount_eur":35,"` + strings.Repeat("long", 100) + `":"x"}`:           `"` + strings.Repeat("long", 15) + `..."`,
		`{"amount_eur":35,"success_url":"` + site + `","cancel_url":"//x.com"}`: `"cancel_url"`,
	} {
		if x := a.do("POST", "/api/v1/checkout", acme, body); x.status != 400 || x.field("error", "param") != param || x.field("error", "code") != map[bool]string{false: `"invalid_request"`, true: `"missing_field"`}[body == `{}`] {
			t.Errorf("%s: %d %s", body, x.status, x.body)
		}
	}
	for _, query := range []string{"", "amount_minutes=500&amount_eur=35", "amount_minutes=1e3", "amount_minutes=500&amount_minutes=500", "minutes=500"} {
		if x := a.do("GET", "/api/v1/checkout/quote?"+query, acme, ""); x.status != 400 {
			t.Errorf("quote of %q: %d %s", query, x.status, x.body)
		}
	}

	made := a.do("POST", "/api/v1/checkout", acme, `{"amount_minutes":500,"success_url":"`+site+`/paid","cancel_url":"`+site+`","save_card":true}`)
	if made.status != 201 || !strings.Contains(made.field("url"), r.url) || made.field("quote", "total") != "42.35" {
		t.Fatalf("checkout: %d %s", made.status, made.body)
	}
	page, err := r.ledger.Purchases(t.Context(), acme, 1, 0)
	check(t, err)
	check(t, r.fake.Pay(page[0].Session))
	r.spendable(acme, 500*minute)
	r.quiet()

	list := a.do("GET", "/api/v1/invoices", acme, "")
	if list.status != 200 || list.field("pagination", "total") != "1" {
		t.Fatalf("invoices: %d %s", list.status, list.body)
	}
	invoices, _, err := s.Invoices(t.Context(), acme, 1, 0)
	check(t, err)
	id := invoices[0].ID
	if x := a.do("GET", "/api/v1/invoices/"+id, acme, ""); x.status != 200 || x.field("vat_amount") != "7.35" || x.field("status") != `"paid"` {
		t.Errorf("invoice: %d %s", x.status, x.body)
	}
	if x := a.do("GET", "/api/v1/invoices/"+id+"/pdf", acme, ""); x.status != 200 || !bytes.HasPrefix(x.body, []byte("%PDF-")) ||
		x.header.Get("Content-Disposition") != `attachment; filename="`+invoices[0].Number+`.pdf"` {
		t.Errorf("PDF: %d %v %.60q", x.status, x.header, x.body)
	}
	for _, path := range []string{"/api/v1/invoices/" + id, "/api/v1/invoices/" + id + "/pdf", "/api/v1/invoices/in_none"} {
		if x := a.do("GET", path, other, ""); x.status != 404 {
			t.Errorf("%s of another account: %d %s", path, x.status, x.body)
		}
	}
	for _, query := range []string{"limit=0", "limit=101", "offset=-1", "limit=x", "page=2", "limit=1&limit=2"} {
		if x := a.do("GET", "/api/v1/invoices?"+query, acme, ""); x.status != 400 {
			t.Errorf("invoices?%s: %d %s", query, x.status, x.body)
		}
	}

	if x := a.do("GET", "/api/v1/top-up", acme, ""); x.status != 200 || x.field("enabled") != "false" || x.field("card") != `"visa 4242"` {
		t.Errorf("top-up: %d %s", x.status, x.body)
	}
	for body, param := range map[string]string{
		`{"enabled":true}`: `"threshold_minutes"`,
		`{"enabled":true,"threshold_minutes":10,"amount_minutes":0.005}`: `"amount_minutes"`,
		`{"enabled":true,"threshold_minutes":10,"amount_minutes":1}`:     `"amount_minutes"`,
		`{"enabled":1}`: `"enabled"`,
		`{"enabled":true,"threshold_minutes":10,"amount_minutes":500,"max_per_day":1.5}`: `"max_per_day"`,
		`{"enabled":true,"threshold_minutes":9007199254,"amount_minutes":500,"x":1}`:     `"x"`,
	} {
		if x := a.do("PUT", "/api/v1/top-up", acme, body); x.status != 400 || x.field("error", "param") != param {
			t.Errorf("%s: %d %s", body, x.status, x.body)
		}
	}
	if x := a.do("PUT", "/api/v1/top-up", acme, `{"enabled":true,"threshold_minutes":10.5,"amount_minutes":500}`); x.status != 200 || x.field("threshold_minutes") != "10.5" {
		t.Errorf("top-up: %d %s", x.status, x.body)
	}
	if x := a.do("PUT", "/api/v1/top-up", other, `{"enabled":true,"threshold_minutes":10,"amount_minutes":500}`); x.status != 400 || x.field("error", "param") != `"enabled"` {
		t.Errorf("top-up without a card: %d %s", x.status, x.body)
	}
}

// Without a key the purchase side says so, and what was bought can still be read.
func TestAPINotConfigured(t *testing.T) {
	r := newRig(t)
	s := r.shop(withCaller, func(c *stripe.Config) { c.Key = "" })
	a := r.api(s.Routes())
	acme := r.account("acme", func(b *ledger.Billing) { b.Country = "DE" })
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/api/v1/checkout", `{"amount_minutes":500}`, 503},
		{"GET", "/api/v1/top-up", "", 503},
		{"PUT", "/api/v1/top-up", `{"enabled":false}`, 503},
		{"GET", "/api/v1/checkout", "", 200},
		{"GET", "/api/v1/checkout/quote?amount_eur=35", "", 200},
		{"GET", "/api/v1/invoices", "", 200},
		{"GET", "/api/v1/invoices/in_1/pdf", "", 404},
	} {
		x := a.do(c.method, c.path, acme, c.body)
		if x.status != c.status || c.status == 503 && x.field("error", "code") != `"service_unavailable"` {
			t.Errorf("%s %s: %d %s", c.method, c.path, x.status, x.body)
		}
	}
}
