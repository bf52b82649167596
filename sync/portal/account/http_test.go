package account_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/portal/account"
)

// What is not there, or not done so, is answered in JSON as well, with or without a key.
func TestNothingThere(t *testing.T) {
	r := newRig(t, sqlitetest.Open(t), services.Redis(t))
	key := r.open(t, "org-1", "UTC", 1)
	for _, k := range []string{key, ""} {
		for path, says := range map[string]string{
			"/api/v2/account":                      `There is no version \"v2\" of this API; use v1.`,
			"/api/v1/accounts":                     `There is no resource \"/api/v1/accounts\".`,
			"/api/v1/account/":                     "There is no resource",
			"/api//v1/account":                     "There is no",
			"/api/v1/../v1/account":                "There is no",
			"/api/":                                "There is no version",
			"/":                                    "There is no resource",
			"/api/v1/usage/1":                      "There is no resource",
			"/api/v1/%27%3BDROP%20TABLE--":         "DROP TABLE",
			"/api/v1/" + strings.Repeat("x", 5000): "xxx...",
		} {
			answer := r.get(t, k, path)
			answer.refused(t, path, 404, "not_found", "")
			if !strings.Contains(answer.body, says) || len(answer.body) > 500 {
				t.Errorf("%s answered %s", path, answer.body)
			}
		}
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "SING"} {
			for _, path := range []string{"account", "usage", "calls", "statement", "openapi.yaml"} {
				answer := r.send(t, method, k, path, nil)
				answer.refused(t, method+" "+path, 405, "method_not_allowed", "")
				if answer.header.Get("Allow") != "GET, HEAD" {
					t.Errorf("%s %s: %v", method, path, answer.header)
				}
			}
		}
	}
}

func TestHeaders(t *testing.T) {
	r := newRig(t, sqlitetest.Open(t), services.Redis(t))
	key := r.open(t, "org-1", "UTC", 1)
	for _, path := range []string{"account", "usage", "calls", "statement", "nothing", "usage?limit=0"} {
		h := r.get(t, key, path).header
		for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			"Referrer-Policy": "no-referrer", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Vary": "Accept, Authorization"} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, h.Get(name))
			}
		}
		head := r.send(t, http.MethodHead, key, path, nil)
		if full := r.get(t, key, path); head.status != full.status || head.body != "" || head.header.Get("Content-Type") != full.header.Get("Content-Type") {
			t.Errorf("HEAD %s: %d %v", path, head.status, head.header)
		}
	}
}

// The document is there for everybody, and is not sent twice.
func TestOpenAPIIsServed(t *testing.T) {
	r := newRig(t, sqlitetest.Open(t), services.Redis(t))
	for _, path := range []string{"openapi.json", "openapi.yaml"} {
		first := r.get(t, "", path)
		if first.status != 200 || !strings.Contains(first.body, "/api/v1/account") || first.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %d %v", path, first.status, first.header)
		}
		if again := r.get(t, "", path, "If-None-Match", first.header.Get("ETag")); again.status != 304 || again.body != "" {
			t.Errorf("%s again: %d, %d bytes", path, again.status, len(again.body))
		}
	}
}

// zeros is an endless body.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// A 10 MB body is refused, declared or not; a small one is not looked at.
func TestLargeBody(t *testing.T) {
	r := newRig(t, sqlitetest.Open(t), services.Redis(t))
	key := r.open(t, "org-1", "UTC", 1)
	r.client = r.server.Client() // the checking transport would keep the body
	const size = 10 << 20
	for _, path := range []string{"account", "usage", "calls", "statement", "openapi.json"} {
		for _, declared := range []bool{true, false} {
			req, err := http.NewRequestWithContext(t.Context(), "GET", r.server.URL+"/api/v1/"+path, io.LimitReader(zeros{}, size))
			must(t, err)
			if declared {
				req.ContentLength = size
			}
			req.Header.Set("Authorization", "Bearer "+key)
			resp, err := r.client.Do(req)
			must(t, err)
			b, err := io.ReadAll(resp.Body)
			must(t, err)
			must(t, resp.Body.Close())
			reply{resp.StatusCode, resp.Header, string(b)}.refused(t, path, 413, "invalid_request", "")
		}
		if status := r.send(t, "GET", key, path, strings.NewReader("{}")).status; status != 200 {
			t.Errorf("%s with a small body: %d", path, status)
		}
	}
}

const injection = `x'; DROP TABLE calls; DELETE FROM accounts; --" $1 %s {{.}} <script>`

// SQL in every text there is changes nothing and comes back as it went in.
func TestSQLInEveryText(t *testing.T) {
	onLedgers(t, func(t *testing.T, r *rig) {
		bystander := r.open(t, "org-2", "UTC", 5)
		r.ingest(t, used("org-2", today, 60))
		_, _, err := r.ledger.CreateAccount(t.Context(), authz.Account{ID: injection, Company: injection, Email: injection, Status: authz.Active,
			Currency: "EUR", Tariff: "default", Language: injection, TimeZone: "UTC"})
		must(t, err)
		r.people.put(authz.Account{ID: injection, Company: injection, Email: injection, Status: authz.Active, Currency: "EUR", TimeZone: "UTC", Location: time.UTC})
		key, made, err := r.keys.Create(t.Context(), injection, injection, time.Time{})
		must(t, err)
		_, _, err = r.ledger.AddGrant(t.Context(), authz.Grant{Account: injection, Units: 60_000, Kind: ledger.KindBonus, Reference: injection, Reason: injection, At: today})
		must(t, err)
		c := used(injection, today, 6)
		c.Key.CallID, c.Reason = injection, injection
		c.Detail = authz.Detail{From: injection, To: injection, FromRaw: injection, ToRaw: injection, NumberID: injection, Mode: injection,
			Tariff: injection, Prefix: injection, Currency: "EUR"}
		r.ingest(t, c)

		var a struct {
			ID      string
			Company string `json:"company_name"`
			Email   string
			Balance float64 `json:"minutes_balance"`
		}
		r.get(t, key, "account").into(t, &a)
		if a.ID != injection || a.Company != injection || a.Email != injection || a.Balance != 0.9 {
			t.Errorf("account: %+v", a)
		}
		var u usageAnswer
		r.get(t, key, "usage").into(t, &u)
		if len(u.Usage) != 1 || u.Usage[0].NumberID != injection {
			t.Errorf("usage: %+v", u)
		}
		var l callsAnswer
		r.get(t, key, "calls").into(t, &l)
		if len(l.Calls) != 1 || l.Calls[0].Caller != injection || l.Calls[0].Agent != injection || l.Calls[0].Reason != injection {
			t.Errorf("calls: %+v", l)
		}
		var s statementAnswer
		r.get(t, key, "statement").into(t, &s)
		s.adds(t)
		if len(s.Lines) != 2 || s.Lines[0].Grant.Reference != injection || s.Lines[0].Grant.Reason != injection || s.Lines[1].Call.Caller != injection {
			t.Errorf("statement: %+v", s)
		}
		for _, id := range []string{injection, made.ID + injection} {
			if _, err := r.keys.Revoke(t.Context(), id); err == nil {
				t.Errorf("key %q was revoked", id)
			}
		}
		if all, err := r.keys.List(t.Context(), injection); err != nil || len(all) != 1 || all[0].Name != injection {
			t.Errorf("keys: %+v, %v", all, err)
		}
		var b accountAnswer
		r.get(t, bystander, "account").into(t, &b)
		r.get(t, bystander, "usage").into(t, &u)
		if b.Balance != 5 || len(u.Usage) != 1 {
			t.Errorf("somebody else's: %+v, %+v", b, u)
		}
	})
}

// panicking is a ledger that does.
type panicking struct{ away }

func (panicking) Usage(context.Context, string, time.Time, time.Time, int, int) ([]ledger.Call, ledger.Sum, error) {
	panic("usage")
}

// A panic is answered, counted, and ends nothing.
func TestPanicIsAnswered(t *testing.T) {
	reg := prometheus.NewRegistry()
	r := newRig(t, sqlitetest.Open(t), services.Redis(t), func(c *account.Config) { c.Lists, c.Metrics = panicking{}, account.NewMetrics(reg) })
	key := r.open(t, "org-1", "UTC", 1)
	r.get(t, key, "usage").refused(t, "panic", 500, "internal_error", "")
	r.get(t, key, "account").into(t, new(accountAnswer))
	r.get(t, key, "nothing").refused(t, "nothing", 404, "not_found", "")
	want := `
# HELP ringfence_api_panics_total Panics in the customers' API.
# TYPE ringfence_api_panics_total counter
ringfence_api_panics_total 1
# HELP ringfence_api_requests_total Requests to the customers' API, by route and HTTP status (499: the client left).
# TYPE ringfence_api_requests_total counter
ringfence_api_requests_total{route="/api/v1/account",status="200"} 1
ringfence_api_requests_total{route="/api/v1/usage",status="500"} 1
ringfence_api_requests_total{route="none",status="404"} 1
`
	must(t, testutil.GatherAndCompare(reg, strings.NewReader(want), "ringfence_api_panics_total", "ringfence_api_requests_total"))
}

// Every answer that the document promises of this API was seen, and held against it.
func TestEveryDocumentedAnswer(t *testing.T) {
	server := services.Redis(t)
	l := sqlitetest.Open(t)
	r := newRig(t, l, server)
	key := r.open(t, "org-1", "UTC", 1)
	docs := r.docs
	on := func(change func(*account.Config)) *rig {
		other := newRig(t, l, server, change)
		other.docs, other.people.all = docs, r.people.all
		other.server, other.client = other.serve(t, other.api)
		return other
	}
	failing := func(err error) *rig {
		return on(func(c *account.Config) { c.Sums, c.Lists = away{l, err}, away{l, err} })
	}
	broken, down, limited := failing(io.ErrUnexpectedEOF), failing(ledger.ErrUnavailable), on(func(c *account.Config) { c.Limit = 1 })
	for _, path := range []string{"account", "usage", "calls", "statement", "openapi.json", "openapi.yaml"} {
		ok := r.get(t, key, path)
		r.get(t, key, path+"?junk=1")
		if tag := ok.header.Get("ETag"); tag != "" {
			r.get(t, key, path, "If-None-Match", tag)
		} else {
			r.get(t, "", path)
			broken.get(t, key, path)
			down.get(t, key, path)
		}
		r.send(t, "GET", key, path, strings.NewReader(strings.Repeat(" ", 65<<10)))
		limited.get(t, key, path)
	}
	_, missing := docs.Seen()
	missing = slices.DeleteFunc(missing, func(s string) bool {
		// Nothing that can only be read is forbidden to a key of its account; the rest are hooks, and routes of others.
		operation, status, _ := strings.Cut(s, " ")
		return status == "403" || !slices.Contains([]string{"getAccount", "listUsage", "listCalls", "getStatement", "getDocumentJSON", "getDocumentYAML"}, operation)
	})
	if len(missing) > 0 {
		t.Errorf("not seen: %s", strings.Join(missing, ", "))
	}
}
