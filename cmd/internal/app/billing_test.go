package app

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/portal/account"
	"github.com/hmsovereign/ringfence/sync/portal/openapi/openapitest"
	"github.com/hmsovereign/ringfence/sync/stripe"
)

// alone is a directory of one account.
type alone struct{ account *authz.Account }

func (a alone) Ready() bool                              { return true }
func (a alone) NumberCount(string) int                   { return 0 }
func (a alone) Account(id string) (*authz.Account, bool) { return a.account, id == a.account.ID }

// The billing details behind API keys, as customers use them; every answer is held against the OpenAPI document.
func TestBillingBehindKeys(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	l := sqlitetest.Open(t)
	people := alone{&authz.Account{ID: "org", Company: "Your Company", Email: "billing@example.com", Status: authz.Active, Currency: "EUR", Tariff: "default", TimeZone: "UTC", Created: time.Now()}}
	_, _, err := l.CreateAccount(ctx, *people.account)
	must(t, err)
	a := &App{desk: stripe.NewDesk(stripe.DeskConfig{Ledger: l})}
	a.shop, err = stripe.New(stripe.Config{Ledger: l, Customers: a.desk, Caller: func(ctx context.Context) (*authz.Account, bool) {
		caller, ok := account.CallerOf(ctx)
		return caller.Account, ok
	}})
	must(t, err)
	api := account.New(account.Config{Routes: a.shopRoutes(), Directory: people, Keys: l, Sums: l, Lists: l, Limit: 8})
	key, _, err := account.NewKeys(l, api.Invalidate, nil, nil).Create(ctx, "org", "test", time.Time{})
	must(t, err)
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	docs := openapitest.New(t)
	client := &http.Client{Transport: docs.Transport(t, server.Client().Transport), Timeout: 10 * time.Second}
	ask := func(method, key, query, body string, want int) string {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, method, server.URL+"/api/v1/billing"+query, strings.NewReader(body))
		must(t, err)
		req.Header.Set("Content-Type", "application/json")
		if key != "" {
			req.Header.Set("Authorization", "Bearer "+key)
		}
		resp, err := client.Do(req)
		must(t, err)
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		must(t, err)
		if resp.StatusCode != want {
			t.Errorf("%s %s%s: %s %s, want %d", method, body, query, resp.Status, answer, want)
		}
		return string(answer)
	}
	const details = `{"company_name":"Their Company","address":{"line1":"Damrak 1","postal_code":"1012 LG","city":"Amsterdam","country":"NL"},"vat_id":"NL004495445B01"}`
	ask(http.MethodGet, key, "", "", http.StatusOK)
	ask(http.MethodPut, key, "", details, http.StatusOK)
	if got := ask(http.MethodGet, key, "", "", http.StatusOK); !strings.Contains(got, `"vat_status": "pending"`) {
		t.Errorf("details are %s", got)
	}
	ask(http.MethodGet, key, "?junk=1", "", http.StatusBadRequest)
	if got := ask(http.MethodPut, key, "", `{"address":{}}`, http.StatusBadRequest); !strings.Contains(got, `"errors"`) {
		t.Errorf("errors are %s", got)
	}
	ask(http.MethodPut, "", "", details, http.StatusUnauthorized)
	ask(http.MethodPut, key, "", strings.Repeat(" ", 65<<10), http.StatusRequestEntityTooLarge)
	people.account.Status = authz.Suspended
	ask(http.MethodPut, key, "", details, http.StatusForbidden)
	ask(http.MethodGet, key, "", "", http.StatusOK)
	ask(http.MethodGet, key, "", "", http.StatusTooManyRequests)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
