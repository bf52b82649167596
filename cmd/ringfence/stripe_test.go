package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What the stripe commands show of usage, and what they ask for.
func TestStripeUsage(t *testing.T) {
	const wrong = `{"id":"rf-acme-20251213T12-1","account":"acme","hour":"2025-12-13T12:00:00Z","seconds":84,"minute":"2025-12-13T12:00:00Z",
		"state":"wrong","attempts":2,"problem":"Stripe has 91 seconds in its minute","due_at":"2025-12-13T14:00:00Z"}`
	const queue = `[{"state":"frozen","batches":1,"seconds":16,"oldest_hour":"2025-12-13T13:00:00Z"},{"state":"wrong","batches":1,"seconds":84,"oldest_hour":"2025-12-13T12:00:00Z"}]`
	const totals = `{"settled_seconds":130,"reported_seconds":100,"proven_seconds":11,"unreported_seconds":35,"owed_seconds":5}`
	answers := map[string]string{
		"GET /admin/v1/stripe/status":                      `{"configured":true,"top_ups_failing":[{"account":"zeta","enabled":true,"problem":"Your card was declined.","next_attempt_at":"2025-12-13T15:00:00Z"}],"usage":{"waiting":` + queue + `,"wrong":[` + wrong + `]}}`,
		"GET /admin/v1/stripe/usage":                       `{"reporting":true,"waiting":` + queue + `}`,
		"GET /admin/v1/accounts/acme/usage-reporting":      `{"account":"acme","report":true,"reporting":true,"totals":` + totals + `,"problems":[` + wrong + `]}`,
		"POST /admin/v1/accounts/acme/usage-reporting/off": `{"account":"acme","report":false,"reporting":true,"totals":` + totals + `,"problems":[]}`,
		"GET /admin/v1/accounts/quiet/usage-reporting":     `{"account":"quiet","report":true,"totals":{},"problems":[]}`,
		"POST /admin/v1/stripe/meter":                      `{"event":"ringfence_talk_seconds"}`,
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.Method+" "+r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, answer)
	}))
	defer srv.Close()
	for _, c := range []struct {
		args string
		want []string
	}{
		{"stripe status", []string{"usage", "100 seconds in 2 batches wait to be reported, the oldest of 2025-12-13T12:00:00Z", "rf-acme-20251213T12-1", "acme", "wrong", "91 seconds"}},
		{"stripe status", []string{"top-up", "zeta", "on", "Your card was declined. Next attempt at 2025-12-13T15:00:00Z."}},
		{"stripe usage", []string{"frozen", "16", "wrong", "84"}},
		{"stripe usage acme", []string{"reporting", "on", "settled", "130 s", "reported", "100 s", "proven", "11 s", "owed", "5 s", "not to be reported", "35 s", "yet to be reported", "0 s",
			"2025-12-13T12:00:00Z", "84", "wrong", "2", "91 seconds"}},
		{"stripe usage acme --report off", []string{"acme", "reporting", "off", "settled", "130"}},
		{"stripe usage quiet", []string{"once stripe.key", "settled", "0"}},
		{"stripe meter create", []string{"ringfence_talk_seconds"}},
	} {
		args := append(strings.Fields(c.args), "--ops-url", srv.URL)
		out, errOut, code := command(t, args...)
		rest := out
		if strings.HasPrefix(c.args, "stripe meter") {
			rest = errOut // there is nothing but a remark
		}
		for _, want := range c.want {
			_, after, found := strings.Cut(rest, want)
			if !found {
				t.Errorf("%s lacks %q:\n%s%s", c.args, want, errOut, out)
				break
			}
			rest = after
		}
		if code != exitOK {
			t.Errorf("%s: code %d", c.args, code)
		}
		asJSON, errOut, code := command(t, append(args, "--json")...)
		if code != exitOK || errOut != "" || !strings.HasPrefix(asJSON, "{") {
			t.Errorf("%s --json: code %d, %s%s", c.args, code, errOut, asJSON)
		}
	}
}
