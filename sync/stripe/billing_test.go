package stripe_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake/stripefaketest"
)

// deskRig is a desk between a ledger and a Stripe.
type deskRig struct {
	t         *testing.T
	ledger    *ledger.Ledger
	fake      *stripefake.Fake
	transport http.RoundTripper
	desk      *stripe.Desk
	account   *authz.Account
}

func newDeskRig(t *testing.T, cfg stripefake.Config) *deskRig {
	t.Helper()
	fake, err := stripefake.New(cfg)
	deskMust(t, err)
	_, err = fake.Start("127.0.0.1:0")
	deskMust(t, err)
	t.Cleanup(func() { deskMust(t, fake.Close()) })
	l := sqlitetest.Open(t)
	plain := &http.Transport{}
	t.Cleanup(plain.CloseIdleConnections)
	r := &deskRig{t: t, ledger: l, fake: fake, transport: plain, account: &authz.Account{ID: "acct", Company: "Your Company", Email: "billing@example.com",
		Status: authz.Active, Currency: "EUR", Tariff: "default", Language: "nl", TimeZone: "UTC", Created: time.Now()}}
	_, _, err = l.CreateAccount(t.Context(), *r.account)
	deskMust(t, err)
	r.desk = r.sidecar()
	return r
}

// checked has all requests put to Stripe's own stripe-mock too.
func (r *deskRig) checked() *deskRig {
	r.transport = stripefaketest.Transport(r.t, r.transport)
	r.desk = r.sidecar()
	return r
}

// sidecar makes a desk, as of one more sidecar.
func (r *deskRig) sidecar() *stripe.Desk {
	return stripe.NewDesk(stripe.DeskConfig{Key: stripefake.Key, URL: r.fake.URL(), Ledger: r.ledger, Transport: r.transport, Now: r.now,
		Account: func(id string) (*authz.Account, bool) { return r.account, id == r.account.ID }})
}

// now is Stripe's clock, a little later than what the ledger has written by its own.
func (r *deskRig) now() time.Time { return r.fake.Now().Add(time.Second) }

func deskMust(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// details are in order.
func details(change ...func(*ledger.Billing)) ledger.Billing {
	b := ledger.Billing{Account: "acct", Company: "Their Company", Email: "invoices@example.com", Line1: "Damrak 1", PostalCode: "1012 LG", City: "Amsterdam", Country: "NL",
		VATID: "NL004495445B01"}
	for _, fn := range change {
		fn(&b)
	}
	return b
}

func (r *deskRig) set(b ledger.Billing) {
	r.t.Helper()
	if _, err := r.desk.SetBilling(r.t.Context(), b); err != nil {
		r.t.Fatal(err)
	}
}

func (r *deskRig) sync() {
	r.t.Helper()
	deskMust(r.t, r.desk.Sync(r.t.Context()))
}

func (r *deskRig) billing() ledger.Billing {
	r.t.Helper()
	b, err := r.desk.Billing(r.t.Context(), "acct")
	deskMust(r.t, err)
	return b
}

// customer is the account's at Stripe, and the tax ids it has.
func (r *deskRig) customer() (map[string]any, []string) {
	r.t.Helper()
	id := r.billing().Customer
	var taxIDs []string
	for _, o := range r.fake.Objects("tax_id") {
		if o["customer"] == id {
			taxIDs = append(taxIDs, fmt.Sprint(o["type"], " ", o["value"]))
		}
	}
	return r.fake.Object(id), taxIDs
}

func TestDetailsReachStripe(t *testing.T) {
	t.Parallel()
	r := newDeskRig(t, stripefake.Config{VerifyAfter: time.Minute}).checked()
	r.set(details())
	if b := r.billing(); b.VATStatus != ledger.VATPending || b.Customer != "" {
		t.Errorf("before Stripe knows: %+v", b)
	}
	r.sync()
	c, ids := r.customer()
	want := map[string]any{"name": "Their Company", "email": "invoices@example.com", "preferred_locales": []any{"nl"}, "metadata": map[string]any{"account": "acct"},
		"address": map[string]any{"line1": "Damrak 1", "line2": nil, "postal_code": "1012 LG", "city": "Amsterdam", "state": nil, "country": "NL"}}
	for key, value := range want {
		if got := fmt.Sprintf("%v", c[key]); got != fmt.Sprintf("%v", value) {
			t.Errorf("customer's %s is %v, want %v", key, got, value)
		}
	}
	if diff := cmp.Diff([]string{"eu_vat NL004495445B01"}, ids); diff != "" {
		t.Error(diff)
	}
	requests := len(r.fake.Requests())
	r.sync()
	if len(r.fake.Requests()) != requests {
		t.Error("details that are synced were synced again")
	}

	// Stripe has verified it by the time it is looked at again.
	r.fake.Advance(2 * time.Minute)
	deskMust(t, r.fake.Flush(t.Context()))
	r.sync()
	if b := r.billing(); b.VATStatus != ledger.VATVerified || b.TaxID == "" {
		t.Errorf("after verification: %+v", b)
	}
	r.fake.Advance(100 * 24 * time.Hour)
	requests = len(r.fake.Requests())
	r.sync()
	if len(r.fake.Requests()) != requests {
		t.Error("a verified VAT ID was looked at again")
	}

	// Another VAT ID replaces the first; none removes it.
	first := r.billing().Customer
	r.set(details(func(b *ledger.Billing) { b.Country, b.VATID = "GR", "gr 094259216" }))
	r.sync()
	if _, ids := r.customer(); len(ids) != 1 || ids[0] != "eu_vat EL094259216" || r.billing().Customer != first {
		t.Errorf("tax ids are %v", ids)
	}
	r.set(details(func(b *ledger.Billing) { b.VATID = "" }))
	r.sync()
	if _, ids := r.customer(); len(ids) != 0 || r.billing().TaxID != "" || r.billing().VATStatus != ledger.VATNone {
		t.Errorf("tax ids are %v, details %+v", ids, r.billing())
	}
	for _, q := range r.fake.Requests() {
		if q.Method != http.MethodGet && q.IdempotencyKey == "" {
			t.Errorf("%s %s has no idempotency key", q.Method, q.Path)
		}
	}
}

func TestVerification(t *testing.T) {
	t.Parallel()
	for number, want := range map[string]ledger.VATStatus{
		"DE136695976": ledger.VATVerified, "DE111111125": ledger.VATVerified, "BG111111111": ledger.VATUnverified, "BG222222222": ledger.VATPending, "BG333333333": ledger.VATUnavailable,
		"LT000000000": ledger.VATVerified,
	} {
		t.Run(number, func(t *testing.T) {
			t.Parallel()
			r := newDeskRig(t, stripefake.Config{})
			r.set(details(func(b *ledger.Billing) { b.Country, b.VATID = number[:2], number }))
			r.sync()
			deskMust(t, r.fake.Flush(t.Context()))
			deskMust(t, r.desk.Refresh(t.Context(), r.billing().Customer))
			if got := r.billing().VATStatus; got != want {
				t.Errorf("%s is %q, want %q", number, got, want)
			}
		})
	}
}

// A tax id that Stripe refuses is no VAT ID, and is not sent again and again.
func TestRefusedTaxID(t *testing.T) {
	t.Parallel()
	r := newDeskRig(t, stripefake.Config{})
	// Northern Ireland's form of a health authority is one that this Stripe takes; the refusal is played.
	r.fake.Inject(stripefake.Fault{Kind: stripefake.Refuse, Status: http.StatusBadRequest, Method: http.MethodPost, Path: "/v1/customers/*/tax_ids"})
	r.set(details())
	if err := r.desk.Sync(t.Context()); !errors.Is(err, stripe.ErrRefused) {
		t.Errorf("a refusal without a reason: %v", err)
	}
	s, err := r.ledger.BillingSync(t.Context(), "acct")
	deskMust(t, err)
	if s.Attempts != 1 || s.Problem == "" {
		t.Errorf("sync is %+v", s)
	}
	r.fake.Advance(time.Minute)
	r.sync()
	if b := r.billing(); b.TaxID == "" {
		t.Errorf("details are %+v", b)
	}
}

// Stripe is away: the details are kept, and reach it when it is back, whatever request it failed in.
func TestDetailsWhileStripeIsAway(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]stripefake.Fault{
		"errors":           {Kind: stripefake.Refuse, Status: 400, Times: 3},
		"busy":             {Kind: stripefake.Refuse, Status: 429, Times: 6},
		"lost answers":     {Kind: stripefake.Lose, Times: 6},
		"lost answer":      {Kind: stripefake.Lose, Skip: 1, Times: 4},
		"of the tax id":    {Kind: stripefake.Lose, Method: http.MethodPost, Path: "/v1/customers/*/tax_ids", Times: 5},
		"of the customer":  {Kind: stripefake.Lose, Method: http.MethodPost, Path: "/v1/customers", Times: 5},
		"list of tax ids":  {Kind: stripefake.Refuse, Status: 503, Method: http.MethodGet, Times: 5},
		"broken in each":   {Kind: stripefake.Cut, Times: 9},
		"server is broken": {Kind: stripefake.Refuse, Status: 500, Method: http.MethodPost, Times: 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newDeskRig(t, stripefake.Config{})
			r.fake.Inject(fault)
			r.set(details())
			for range 20 {
				_ = r.desk.Sync(t.Context()) // fails while Stripe does
				r.fake.Advance(time.Hour)
			}
			s, err := r.ledger.BillingSync(t.Context(), "acct")
			deskMust(t, err)
			if _, ids := r.customer(); s.Synced != s.Revision || len(ids) != 1 || len(r.fake.Objects("customer")) != 1 {
				t.Errorf("sync %+v, tax ids %v, %d customers", s, ids, len(r.fake.Objects("customer")))
			}
			if got := r.billing().VATStatus; got != ledger.VATVerified {
				t.Errorf("the VAT ID is %q", got)
			}
		})
	}
}

func TestCustomerOnDemand(t *testing.T) {
	t.Parallel()
	r := newDeskRig(t, stripefake.Config{})
	var wg sync.WaitGroup
	for range 4 {
		desk := r.sidecar()
		wg.Go(func() {
			if b, err := desk.Customer(t.Context(), "acct"); err != nil || b.Customer == "" {
				t.Errorf("%+v, %v", b, err)
			}
		})
	}
	wg.Wait()
	if n := len(r.fake.Objects("customer")); n != 1 {
		t.Errorf("%d customers were made", n)
	}
	r.sync()
	if c, _ := r.customer(); c["name"] != "Your Company" || c["email"] != "billing@example.com" {
		t.Errorf("the customer of an account without details is %v", c)
	}
	// Details that are not at Stripe yet get there before anything is bought.
	r.set(details())
	b, err := r.desk.Customer(t.Context(), "acct")
	deskMust(t, err)
	if c, ids := r.customer(); c["name"] != "Their Company" || len(ids) != 1 || b.TaxID == "" {
		t.Errorf("customer %v, tax ids %v, details %+v", c, ids, b)
	}
	if _, err := r.desk.Customer(t.Context(), "nobody"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("an unknown account's customer: %v", err)
	}
	none := stripe.NewDesk(stripe.DeskConfig{Ledger: r.ledger})
	if _, err := none.Customer(t.Context(), "acct"); !errors.Is(err, stripe.ErrNotConfigured) {
		t.Errorf("without a key: %v", err)
	}
	if _, err := none.SetBilling(t.Context(), details()); err != nil {
		t.Errorf("without a key details are kept: %v", err)
	}
	none.Run(t.Context()) // does nothing
}

// What somebody does in Stripe's dashboard: the tax id taken off is put back, a deleted customer is made anew.
func TestDashboard(t *testing.T) {
	t.Parallel()
	r := newDeskRig(t, stripefake.Config{}).checked()
	r.set(details())
	r.sync()
	was := r.billing()
	r.do(http.MethodDelete, "/v1/customers/"+was.Customer+"/tax_ids/"+was.TaxID)
	deskMust(t, r.desk.Refresh(t.Context(), was.Customer))
	r.sync()
	if _, ids := r.customer(); len(ids) != 1 || r.billing().TaxID == was.TaxID {
		t.Errorf("tax ids are %v, details %+v", ids, r.billing())
	}
	r.do(http.MethodDelete, "/v1/customers/"+was.Customer)
	r.set(details(func(b *ledger.Billing) { b.City = "Utrecht" }))
	r.sync()
	if c, ids := r.customer(); c["id"] == was.Customer || c["name"] != "Their Company" || len(ids) != 1 {
		t.Errorf("customer %v, tax ids %v", c, ids)
	}
	if err := r.desk.Refresh(t.Context(), "cus_nobody"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("somebody else's customer: %v", err)
	}
}

func (r *deskRig) do(method, path string) {
	r.t.Helper()
	req, err := http.NewRequest(method, r.fake.URL()+path, nil)
	deskMust(r.t, err)
	req.Header.Set("Authorization", "Bearer "+stripefake.Key)
	req.Header.Set("Stripe-Version", stripefake.APIVersion)
	req.Header.Set("Idempotency-Key", r.t.Name()+method+path)
	resp, err := (&http.Client{Transport: r.transport, Timeout: 5 * time.Second}).Do(req)
	deskMust(r.t, err)
	deskMust(r.t, resp.Body.Close())
	if resp.StatusCode != http.StatusOK {
		r.t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
}

// Several sidecars, and details that change meanwhile: Stripe ends up with the last.
func TestDesksRace(t *testing.T) {
	t.Parallel()
	r := newDeskRig(t, stripefake.Config{})
	var wg sync.WaitGroup
	for i := range 3 {
		desk := r.sidecar()
		wg.Go(func() {
			for j := range 5 {
				_, err := desk.SetBilling(t.Context(), details(func(b *ledger.Billing) { b.City = fmt.Sprint("City ", i, j) }))
				if err == nil {
					err = desk.Sync(t.Context())
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	r.sync()
	c, ids := r.customer()
	address, _ := c["address"].(map[string]any)
	if len(ids) != 1 || address["city"] != r.billing().City || len(r.fake.Objects("customer")) != 1 {
		t.Errorf("city %v, want %s; tax ids %v", address["city"], r.billing().City, ids)
	}
}

func TestRunSyncs(t *testing.T) {
	t.Parallel()
	r := newDeskRig(t, stripefake.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	desk := stripe.NewDesk(stripe.DeskConfig{Key: stripefake.Key, URL: r.fake.URL(), Ledger: r.ledger, Transport: r.transport, Every: time.Millisecond})
	go func() {
		defer close(done)
		desk.Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	r.set(details())
	deadline := time.After(patience)
	for r.billing().TaxID == "" {
		select {
		case <-deadline:
			t.Fatal("the details never reached Stripe")
		case <-time.After(time.Millisecond):
		}
	}
}

func TestBillingFields(t *testing.T) {
	t.Parallel()
	r := newDeskRig(t, stripefake.Config{})
	for name, c := range map[string]struct {
		change func(*ledger.Billing)
		fields string // that are wrong
	}{
		"in order":                 {func(*ledger.Billing) {}, ""},
		"nothing":                  {func(b *ledger.Billing) { *b = ledger.Billing{Account: "acct"} }, "company_name address.line1 address.city address.country"},
		"blanks":                   {func(b *ledger.Billing) { b.Company = " \t " }, "company_name"},
		"long company":             {func(b *ledger.Billing) { b.Company = strings.Repeat("é", 201) }, "company_name"},
		"control character":        {func(b *ledger.Billing) { b.City = "Amster\ndam" }, "address.city"},
		"not UTF-8":                {func(b *ledger.Billing) { b.Line1 = "\xff" }, "address.line1"},
		"no e-mail":                {func(b *ledger.Billing) { b.Email = "" }, ""},
		"bad e-mail":               {func(b *ledger.Billing) { b.Email = "Anna <anna@example.com>" }, "email"},
		"e-mail without a domain":  {func(b *ledger.Billing) { b.Email = "anna@localhost" }, "email"},
		"no postal code":           {func(b *ledger.Billing) { b.PostalCode = "" }, "address.postal_code"},
		"no postal code, Ireland":  {func(b *ledger.Billing) { b.PostalCode, b.Country, b.VATID = "", "IE", "IE6433435F" }, ""},
		"no postal code, Panama":   {func(b *ledger.Billing) { b.PostalCode, b.Country, b.VATID = "", "PA", "" }, ""},
		"country in small letters": {func(b *ledger.Billing) { b.Country = "nl" }, ""},
		"country UK":               {func(b *ledger.Billing) { b.Country = "UK" }, "address.country"},
		"country's name":           {func(b *ledger.Billing) { b.Country = "Netherlands" }, "address.country"},
		"Northern Ireland":         {func(b *ledger.Billing) { b.Country, b.VATID = "GB", "XI 123 456 789" }, ""},
		"Great Britain":            {func(b *ledger.Billing) { b.Country, b.VATID = "GB", "GB123456789" }, "vat_id"},
		"another country's VAT ID": {func(b *ledger.Billing) { b.VATID = "DE136695976" }, "vat_id"},
		"wrong check digit":        {func(b *ledger.Billing) { b.VATID = "NL004495446B01" }, "vat_id"},
		"VAT ID outside the EU":    {func(b *ledger.Billing) { b.Country = "US" }, "vat_id"},
		"several":                  {func(b *ledger.Billing) { b.City, b.Email, b.VATID = "", "x", "NL1" }, "address.city email vat_id"},
	} {
		_, err := r.desk.SetBilling(t.Context(), details(c.change))
		var fields []string
		for _, e := range joined(err) {
			var f *ledger.FieldError
			if !errors.As(e, &f) || f.Message == "" {
				t.Errorf("%s: %v", name, e)
				continue
			}
			fields = append(fields, f.Field)
		}
		if got := strings.Join(fields, " "); got != c.fields {
			t.Errorf("%s: wrong are %q, want %q", name, got, c.fields)
		}
	}
	if _, err := r.desk.SetBilling(t.Context(), details(func(b *ledger.Billing) { b.Account = "nobody" })); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("nobody's details: %v", err)
	}
}

func joined(err error) []error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return many.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

func TestBillingAPI(t *testing.T) {
	t.Parallel()
	r := newDeskRig(t, stripefake.Config{})
	s, err := stripe.New(stripe.Config{Ledger: r.ledger, Customers: r.desk, Caller: func(ctx context.Context) (*authz.Account, bool) { return r.account, ctx.Value(stranger{}) == nil }})
	deskMust(t, err)
	mux := http.NewServeMux()
	for _, route := range s.BillingRoutes(r.desk) {
		if (route.Method == http.MethodPut) != route.Write { // a suspended account may remove its card
			t.Errorf("%s %s: write is %v", route.Method, route.Path, route.Write)
		}
		mux.Handle(route.Method+" "+route.Path, route.Serve)
	}
	ask := func(method, body string, ctx context.Context) (int, map[string]any) {
		t.Helper()
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequestWithContext(ctx, method, "/api/v1/billing", strings.NewReader(body)))
		var v map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
			t.Fatalf("%s: %v", w.Body, err)
		}
		return w.Code, v
	}
	empty := map[string]any{"line1": "", "line2": "", "postal_code": "", "city": "", "state": "", "country": ""}
	status, got := ask(http.MethodGet, "", t.Context())
	want := map[string]any{"company_name": "Your Company", "email": "billing@example.com", "address": empty, "vat_id": "", "vat_status": "none", "card": "", "updated_at": nil}
	if diff := cmp.Diff(want, got); status != http.StatusOK || diff != "" {
		t.Errorf("%d %s", status, diff)
	}
	given := `{"company_name":"Their Company","email":"","address":{"line1":"Damrak 1","postal_code":"1012 LG","city":"Amsterdam","country":"NL"},"vat_id":"nl 0044.95.445.B01"}`
	want = map[string]any{"company_name": "Their Company", "email": "", "vat_id": "NL004495445B01", "vat_status": "pending", "card": "",
		"address": map[string]any{"line1": "Damrak 1", "line2": "", "postal_code": "1012 LG", "city": "Amsterdam", "state": "", "country": "NL"}}
	for _, method := range []string{http.MethodPut, http.MethodGet} {
		status, got = ask(method, given, t.Context())
		if diff := cmp.Diff(want, got, cmpopts.IgnoreMapEntries(func(key string, _ any) bool { return key == "updated_at" })); status != http.StatusOK || diff != "" {
			t.Errorf("%s: %d %s", method, status, diff)
		}
	}
	for body, want := range map[string]string{
		`{`:                         "invalid_request ",
		`[]`:                        "invalid_request ",
		`null`:                      "invalid_request ",
		`{"company_name":5}`:        "invalid_request company_name",
		`{"vat_id":null}`:           "invalid_request vat_id",
		`{"adress":{}}`:             "invalid_request adress",
		`{"vat_status":"verified"}`: "invalid_request vat_status",
		`{"address":"Damrak"}`:      "invalid_request address",
		`{"address":{"street":""}}`: "invalid_request address.street",
		`{"company_name":"x","address":{"line1":"x","city":"x","country":"US"},"vat_id":"US1"}`: "invalid_request vat_id",
		`{"company_name":"x","address":{"line1":"x","country":"US"}}`:                           "missing_field address.city",
	} {
		status, got := ask(http.MethodPut, body, t.Context())
		e, _ := got["error"].(map[string]any)
		param, _ := e["param"].(string)
		if status != http.StatusBadRequest || fmt.Sprint(e["code"], " ", param) != want || e["message"] == "" || e["type"] != "invalid_request_error" {
			t.Errorf("%s: %d %v, want %s", body, status, got, want)
		}
	}
	_, got = ask(http.MethodPut, `{"address":{"country":"UK","city":"x","line1":"y"},"vat_id":"1"}`, t.Context())
	e, _ := got["error"].(map[string]any)
	if list, _ := e["errors"].([]any); len(list) != 2 || e["code"] != "missing_field" || e["param"] != "company_name" {
		t.Errorf("several errors: %v", got)
	}
	for _, method := range []string{http.MethodGet, http.MethodPut} {
		if status, _ := ask(method, given, context.WithValue(t.Context(), stranger{}, true)); status != http.StatusUnauthorized {
			t.Errorf("%s of a stranger: %d", method, status)
		}
	}
}

type stranger struct{}
