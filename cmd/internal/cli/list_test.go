package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/portal"
)

func TestListPages(t *testing.T) {
	ctx, s := bounded(t), newSidecar(t, "")
	c := client(t, Admin{URL: s.url})
	const n = 7
	for i := range n {
		id := fmt.Sprintf("a%d", i)
		if err := c.EnsureAccount(ctx, id, "Company"); err != nil {
			t.Fatal(err)
		}
		if err := c.EnsureCredit(ctx, "a0", credit.Units(i+1), fmt.Sprintf("r%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	for limit := 1; limit <= n+1; limit++ {
		query := url.Values{"limit": {fmt.Sprint(limit)}}
		raw, err := c.List(ctx, "accounts", query, "accounts")
		if err != nil {
			t.Fatal(err)
		}
		var accounts portal.AccountList
		if err := json.Unmarshal(raw, &accounts); err != nil || len(accounts.Accounts) != n || accounts.Accounts[n-1].ID != "a6" || accounts.Next != "" {
			t.Errorf("limit %d: %s, %v", limit, raw, err)
		}
		// The next page of grants is a number, and the list has other fields.
		if raw, err = c.List(ctx, "accounts/a0/credit", query, "grants"); err != nil {
			t.Fatal(err)
		}
		var grants portal.CreditView
		if err := json.Unmarshal(raw, &grants); err != nil || len(grants.Grants) != n || grants.Grants[n-1].Units != n || grants.Next != 0 ||
			grants.Account != "a0" || grants.Balance.Available != n*(n+1)/2 || !strings.HasPrefix(string(raw), `{"account":"a0",`) {
			t.Errorf("limit %d: %s, %v", limit, raw, err)
		}
	}
}

func TestListRefused(t *testing.T) {
	for body, want := range map[string]string{
		`[]`:                          "it is no object",
		`{"accounts":1}`:              "field accounts",
		`{}`:                          "field accounts",
		`{"accounts":[],"next":"a"}`:  "circles",
		`{"accounts":[1],"next":"a"}`: "circles",
		`{"accounts":[],"next":[]}`:   "field next",
	} {
		base := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }))
		if raw, err := client(t, Admin{URL: base}).List(bounded(t), "accounts", nil, "accounts"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %s, %v; want %q", body, raw, err, want)
		}
	}
}
