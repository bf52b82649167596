package app

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/directory"
	"github.com/hmsovereign/ringfence/config"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/notify"
	"github.com/hmsovereign/ringfence/sync/portal/account"
	"github.com/hmsovereign/ringfence/sync/stripe"
)

// The admin API makes links that lead to the page's sign-in, beside what else the public listener serves.
func TestSignInLink(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	l := sqlitetest.Open(t)
	_, _, err := l.CreateAccount(ctx, authz.Account{ID: "org", Company: "Your Company", Status: authz.Active, Currency: "EUR", Tariff: "default", TimeZone: "UTC", Created: time.Now()})
	must(t, err)
	log := slog.New(slog.DiscardHandler)
	cfg, err := config.Load("", nil, map[string]any{"public.url": "https://calls.example.com"})
	must(t, err)
	a := &App{cfg: cfg, log: log, reg: prometheus.NewRegistry(), Ledger: l, Directory: directory.New(directory.Config{Log: log}), desk: stripe.NewDesk(stripe.DeskConfig{Ledger: l})}
	a.shop, err = stripe.New(stripe.Config{Ledger: l, Customers: a.desk})
	must(t, err)
	a.notifier, err = notify.New(notify.Config{}, l, log, nil)
	must(t, err)
	a.api = account.New(account.Config{Keys: l, Sums: l, Lists: l})
	must(t, a.openPage())
	t.Cleanup(a.page.Stop)

	ask := func(body string, want int) LinkView {
		t.Helper()
		w := httptest.NewRecorder()
		a.makeLink(w, httptest.NewRequestWithContext(ctx, http.MethodPost, "/admin/v1/links", strings.NewReader(body)))
		if w.Code != want || w.Header().Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
		var v LinkView
		must(t, json.Unmarshal(w.Body.Bytes(), &v))
		return v
	}
	ask(`{`, http.StatusBadRequest)
	ask(`{}`, http.StatusBadRequest)
	ask(`{"account":"org","junk":1}`, http.StatusBadRequest)
	ask(`{"account":"org","lasts_seconds":-1}`, http.StatusBadRequest)
	ask(`{"account":"org","lasts_seconds":604801}`, http.StatusBadRequest)
	ask(`{"account":"nobody"}`, http.StatusNotFound)
	made := ask(`{"account":"org"}`, http.StatusCreated)
	if lasts := time.Until(made.Expires); made.Account != "org" || lasts > linkLife || lasts < linkLife-time.Minute || !strings.HasPrefix(made.URL, "https://calls.example.com/billing/link?token=") {
		t.Errorf("made %+v", made)
	}

	server := httptest.NewServer(a.withPage(http.NotFoundHandler()))
	t.Cleanup(server.Close)
	jar, err := cookiejar.New(nil)
	must(t, err)
	client := &http.Client{Jar: jar, Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	read := func(resp *http.Response, err error) (*http.Response, string) {
		t.Helper()
		must(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		must(t, err)
		return resp, string(b)
	}
	if resp, _ := read(client.Get(server.URL + "/billingx")); resp.StatusCode != http.StatusNotFound || resp.Header.Get("Content-Security-Policy") != "" {
		t.Errorf("/billingx is answered %d by the page", resp.StatusCode)
	}
	link, err := url.Parse(made.URL)
	must(t, err)
	_, body := read(client.Get(server.URL + link.RequestURI()))
	found := regexp.MustCompile(`name="csrf" value="([^"]+)"`).FindStringSubmatch(body)
	if found == nil {
		t.Fatalf("the link leads to %s", body)
	}
	resp, body := read(client.PostForm(server.URL+"/billing/link", url.Values{"csrf": {found[1]}, "token": {link.Query().Get("token")}}))
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/billing" {
		t.Errorf("the button leads to %d %q %s", resp.StatusCode, resp.Header.Get("Location"), body)
	}
}
