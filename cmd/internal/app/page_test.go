package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
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
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/directory"
	"github.com/hmsovereign/ringfence/config"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/notify"
	"github.com/hmsovereign/ringfence/sync/portal/account"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
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

// The least amount on the page is what the API says that the least money buys, and can be bought.
func TestPageOffer(t *testing.T) {
	t.Parallel()
	l := sqlitetest.Open(t)
	for _, c := range []struct {
		price credit.Micros
		least string
	}{{70_000, "71.42"}, {65_500, "76.33"}, {50_000, "100"}, {1_000_000, "5"}, {3_000_000, "1.67"}} { // 1.66 would be EUR 4.98
		a := &App{Ledger: l, desk: stripe.NewDesk(stripe.DeskConfig{Ledger: l})}
		var err error
		a.shop, err = stripe.New(stripe.Config{Ledger: l, Customers: a.desk, Price: c.price, Min: 5_000_000, Max: 10_000_000_000})
		must(t, err)
		s := pageShop{a}
		o, err := s.Offer(t.Context(), "org")
		if err != nil || o.Least.Credits() != c.least {
			t.Errorf("at %s a credit the least is %s, %v, want %s", c.price.Money(), o.Least.Credits(), err, c.least)
		}
		if q, err := s.Quote(t.Context(), "org", o.Least); err != nil || q.Net != 500 && q.Net != 501 {
			t.Errorf("at %s a credit the least costs %+v, %v", c.price.Money(), q, err)
		}
	}
}

// visitor is somebody at the page of a whole sidecar, in a language.
type visitor struct {
	t      *testing.T
	at     string // the page's address
	client *http.Client
	lang   string
}

func (v *visitor) ask(method, path string, form url.Values) (*http.Response, string) {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), method, v.at+path, strings.NewReader(form.Encode()))
	must(v.t, err)
	req.Header.Set("Accept-Language", v.lang)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := v.client.Do(req)
	must(v.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(v.t, err)
	return resp, strings.ReplaceAll(html.UnescapeString(string(b)), "\u00a0", " ")
}

// post sends a form with the secret of the page that it is on.
func (v *visitor) post(from, path string, pairs ...string) (*http.Response, string) {
	v.t.Helper()
	_, body := v.ask(http.MethodGet, from, nil)
	found := regexp.MustCompile(`name="csrf" value="([^"]+)"`).FindAllStringSubmatch(body, -1)
	if found == nil {
		v.t.Fatalf("%s has no form: %s", from, body)
	}
	form := url.Values{"csrf": {found[len(found)-1][1]}}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return v.ask(http.MethodPost, path, form)
}

// reads fails the test unless a page says all of some texts, and nothing in English.
func (v *visitor) reads(body string, texts ...string) {
	v.t.Helper()
	for _, text := range texts {
		if !strings.Contains(body, text) {
			v.t.Errorf("%s: %q is not in %s", v.lang, text, body)
		}
	}
	if strings.Contains(body, `lang="en"`) || !strings.Contains(body, `<html lang="`+v.lang+`">`) {
		v.t.Errorf("not all is in %s: %s", v.lang, body)
	}
}

// What the services of a whole sidecar say is on the page in the visitor's language.
func TestPageSpeaks(t *testing.T) {
	const secret = "whsec_test"
	fake, err := stripefake.New(stripefake.Config{})
	must(t, err)
	stripeURL, err := fake.Start("127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { must(t, fake.Close()) })
	cfg, err := config.Load("", []string{"RINGFENCE_STRIPE_KEY=" + stripefake.Key, "RINGFENCE_STRIPE_URL=" + stripeURL, "RINGFENCE_STRIPE_WEBHOOK_SECRET=" + secret,
		"RINGFENCE_HOOK_LISTEN=127.0.0.1:0", "RINGFENCE_PUBLIC_LISTEN=127.0.0.1:0", "RINGFENCE_OPS_LISTEN=127.0.0.1:0", "RINGFENCE_DATA_DIR=" + t.TempDir()}, map[string]any{"sip.listen": ""})
	must(t, err)
	a, err := New(t.Context(), cfg, Options{Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	org := authz.Account{ID: "org", Company: "Your Company", Status: authz.Active, Currency: "EUR", Tariff: "default", TimeZone: "UTC"}
	_, _, err = a.Ledger.CreateAccount(t.Context(), org)
	must(t, err)
	must(t, a.Store.OpenAccount(t.Context(), "org", authz.Active, org.Day(time.Now())))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, context.Background()) }()
	t.Cleanup(func() {
		stop()
		must(t, <-done)
	})
	at := "http://" + a.PublicAddr()
	fake.AddEndpoint(at+stripe.WebhookPath, secret, stripe.EventTypes()...)
	services.Eventually(t, 30*time.Second, func() error { // the directory learns of the account in a moment
		if _, known := a.Directory.Account("org"); !known {
			return errors.New("the account is not known yet")
		}
		return nil
	})
	key, _, err := account.NewKeys(a.Ledger, a.api.Invalidate, nil, a.log).Create(ctx, "org", "test", time.Time{})
	must(t, err)
	jar, err := cookiejar.New(nil)
	must(t, err)
	client := &http.Client{Jar: jar, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(client.CloseIdleConnections)
	nl, de := &visitor{t, at, client, "nl"}, &visitor{t, at, client, "de"}
	if resp, body := nl.post("/billing/sign-in", "/billing/sign-in", "key", key); resp.Header.Get("Location") != "/billing" {
		t.Fatalf("sign-in is answered %s %s", resp.Status, body)
	}

	// Details that are wrong.
	for v, want := range map[*visitor][]string{
		nl: {"Dit veld is verplicht.", "Het controlecijfer van dit btw-nummer klopt niet", "als land is Duitsland gekozen, dus het moet met DE beginnen", "Nederlandse btw: 21%"},
		de: {"Dies ist ein Pflichtfeld.", "Die Prüfziffer dieser USt-IdNr. stimmt nicht", "Als Land ist Deutschland gewählt, daher muss sie mit DE beginnen", "Niederländische MwSt.: 21 %"},
	} {
		_, body := v.post("/billing/details", "/billing/details", "company_name", "A", "line1", "Dam 1", "postal_code", "1012 JS", "country", "NL", "vat_id", "NL820646661B01")
		v.reads(body, `id="city-problem">`+want[0], `id="vat_id-problem">`+want[1])
		_, body = v.post("/billing/details", "/billing/details", "company_name", "A", "line1", "Dam 1", "postal_code", "1012 JS", "city", "Amsterdam", "country", "DE", "vat_id", "NL820646660B01")
		v.reads(body, want[2])
		_, body = v.ask(http.MethodGet, "/billing/add-credits?package=500", nil)
		v.reads(body, want[3], "Your Company")
	}

	_, body := nl.ask(http.MethodGet, "/billing/details", nil)
	nl.reads(body, `<option value="DE" data-postal`, `<option value="IE">`, `<option value="GB">`)

	// A verified VAT ID of another country.
	if resp, body := nl.post("/billing/details", "/billing/details", "company_name", "Their Company", "line1", "Hauptstr. 1", "postal_code", "10115", "city", "Berlin",
		"country", "DE", "vat_id", "DE136695976"); resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("details are answered %s %s", resp.Status, body)
	}
	services.Eventually(t, 30*time.Second, func() error {
		b, err := a.desk.Billing(ctx, "org")
		if err == nil && b.VATStatus != ledger.VATVerified {
			err = fmt.Errorf("details %+v", b)
		}
		return err
	})
	for v, want := range map[*visitor]string{nl: "Btw verlegd: de afnemer is de btw verschuldigd", de: "Steuerschuldnerschaft des Leistungsempfängers"} {
		_, body := v.ask(http.MethodGet, "/billing/add-credits?package=500", nil)
		v.reads(body, want)
	}

	// A card that pays once, and is declined when the top-up asks it.
	resp, body := nl.post("/billing/add-credits?package=500", "/billing/add-credits", "package", "500", "total", "3500 EUR", "save_card", "on")
	if resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("buying is answered %s %s", resp.Status, body)
	}
	bought, err := a.Ledger.Purchases(ctx, "org", 1, 0)
	must(t, err)
	must(t, fake.PayWith(bought[0].Session, stripefake.Payment{Card: stripefake.CardFailsLater, Proven: true}))
	services.Eventually(t, 30*time.Second, func() error {
		b, err := a.desk.Billing(ctx, "org")
		if err == nil && b.Card == "" {
			err = errors.New("no card is kept yet")
		}
		return err
	})
	for v, want := range map[*visitor]string{nl: "Minstens 71,42 credits.", de: "Mindestens 71,42 Credits."} { // in credits, as all of the form
		_, body := v.post("/billing/add-credits", "/billing/top-up", "enabled", "on", "below", "1000", "credits", "71,41", "max_per_day", "3", "consent", "on")
		v.reads(body, `id="top-credits-problem">`+want)
	}
	if resp, body := nl.post("/billing/add-credits", "/billing/top-up", "enabled", "on", "below", "1000", "credits", "500", "max_per_day", "3", "consent", "on"); resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("the top-up is answered %s %s", resp.Status, body)
	}
	services.Eventually(t, 30*time.Second, func() error {
		u, err := a.shop.TopUp(ctx, "org")
		if err == nil && u.Problem == "" {
			err = fmt.Errorf("the top-up is %+v", u)
		}
		return err
	})
	var number string
	services.Eventually(t, 30*time.Second, func() error { // the invoice comes with an event of its own
		all, _, err := a.shop.Invoices(ctx, "org", 25, 0)
		for _, v := range all {
			if v.Purchase == bought[0].ID && v.Number != "" {
				number = v.Number
				return nil
			}
		}
		return fmt.Errorf("invoices %+v, %w", all, cmp.Or(err, errors.New("none is the purchase's")))
	})
	for v, want := range map[*visitor][]string{
		nl: {"Uw kaart is geweigerd. Volgende poging: ", `download>factuur ` + number + `</a>`},
		de: {"Ihre Karte wurde abgelehnt. Nächster Versuch: ", `download>Rechnung ` + number + `</a>`},
	} {
		_, body := v.ask(http.MethodGet, "/billing/add-credits", nil)
		v.reads(body, want[0])
		_, body = v.ask(http.MethodGet, "/billing", nil)
		v.reads(body, want...)
	}
}
