package page_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/portal/page"
)

// forms are all that change something, with input that would be accepted.
var forms = []struct {
	path string
	form url.Values
}{
	{"/billing/sign-out", nil},
	{"/billing/add-credits", url.Values{"package": {"500"}, "total": {"4235 EUR"}}},
	{"/billing/top-up", url.Values{}},
	{"/billing/card/remove", nil},
	{"/billing/details", url.Values{"company_name": {"Mallory"}}},
	{"/billing/alerts", url.Values{"below": {"10"}}},
	{"/billing/webhook", url.Values{"url": {"https://mallory.example/"}}},
	{"/billing/webhook/test", nil},
	{"/billing/keys", url.Values{"name": {"mallory"}}},
	{"/billing/keys/some/revoke", nil},
}

// changed tells what of the account's is no longer as the test began.
func (s *shop) changed() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.orders) > 0:
		return "order"
	case len(s.billing) > 0:
		return "billing"
	case len(s.alerts) > 0:
		return "alerts"
	case len(s.hooks) > 0:
		return "webhook"
	case s.removed > 0:
		return "card"
	case s.tested > 0:
		return "test"
	}
	return ""
}

// A form that another site sends, with the cookie that the browser adds, does nothing.
func TestForgedForms(t *testing.T) {
	r := newRig(t)
	b := r.browser(t)
	b.signIn(r.open(t, "acme", 500))
	b.get("/billing/keys")
	csrf := secretField.FindStringSubmatch(b.last.body)[1]
	other := r.browser(t)
	other.signIn(r.open(t, "other", 500))
	other.get("/billing/keys")
	foreign := secretField.FindStringSubmatch(other.last.body)[1]

	for _, f := range forms {
		for name, c := range map[string]struct {
			csrf   string
			header []string
		}{
			"no secret":                {"", nil},
			"a wrong secret":           {strings.Repeat("A", len(csrf)), nil},
			"another session's secret": {foreign, nil},
			"another site":             {csrf, []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://mallory.example"}},
			"a sibling site":           {csrf, []string{"Sec-Fetch-Site", "same-site", "Origin", "https://mallory.example"}},
			"an old browser elsewhere": {csrf, []string{"Sec-Fetch-Site", "", "Origin", "https://mallory.example"}},
			"a sandboxed frame":        {csrf, []string{"Sec-Fetch-Site", "", "Origin", "null"}},
		} {
			form := url.Values{"csrf": {c.csrf}}
			for k, v := range f.form {
				form[k] = v
			}
			if got := b.do(http.MethodPost, f.path, form, c.header...); got.status != http.StatusForbidden {
				t.Errorf("%s with %s: %d to %q", f.path, name, got.status, got.header.Get("Location"))
			}
		}
		if got := b.get(f.path + "?csrf=" + csrf); got.status == http.StatusSeeOther && f.path != "/billing/sign-out" {
			t.Errorf("%s as a GET: %d", f.path, got.status)
		}
	}
	if what := r.shop.changed(); what != "" {
		t.Errorf("the %s was changed", what)
	}
	if keys, err := r.keys.List(t.Context(), "acme"); err != nil || len(keys) != 1 || !keys[0].Revoked.IsZero() {
		t.Errorf("keys are %+v, %v", keys, err)
	}
	b.get("/billing").shows(t, http.StatusOK, "Sign out")
}

// The sign-in itself cannot be forged: nobody is signed in to an account that somebody else chose.
func TestForgedSignIn(t *testing.T) {
	r := newRig(t)
	key := r.open(t, "mallory", 1)
	token, hash := page.MintToken()
	must(t, r.ledger.AddSignInLink(t.Context(), ledger.SignInLink{Hash: hash, Account: "mallory", Created: r.clock(), Expires: r.clock().Add(time.Hour)}))
	victim := r.browser(t)
	for _, f := range []struct {
		path string
		form url.Values
	}{{"/billing/sign-in", url.Values{"key": {key}}}, {"/billing/link", url.Values{"token": {token}}}} {
		if got := victim.do(http.MethodPost, f.path, f.form); got.status != http.StatusForbidden {
			t.Errorf("%s without the form's secret: %d", f.path, got.status)
		}
		if got := victim.do(http.MethodPost, f.path, f.form, "Sec-Fetch-Site", "cross-site"); got.status != http.StatusForbidden {
			t.Errorf("%s from another site: %d", f.path, got.status)
		}
	}
	// Looking at the link, as programs that check messages do, signs nobody in and does not use it up.
	victim.get("/billing/link?token="+token).shows(t, http.StatusOK, "This link signs you in once.")
	if victim.cookie("ringfence_session") != "" {
		t.Error("there is a session")
	}
	victim.post("/billing/link?token="+token, "/billing/link", "token", token).to(t, "/billing")
}

// A token that was there before the sign-in is none afterwards, and every sign-in brings a new one.
func TestFixation(t *testing.T) {
	r := newRig(t)
	key := r.open(t, "acme", 500)
	b := r.browser(t)
	planted, _ := page.MintToken()
	u, err := url.Parse(r.server.URL)
	must(t, err)
	b.client.Jar.SetCookies(u, []*http.Cookie{{Name: "ringfence_session", Value: planted, Path: "/"}})
	b.signIn(key)
	first := b.cookie("ringfence_session")
	if first == planted || first == "" {
		t.Errorf("the session is %q, planted was %q", first, planted)
	}
	// The same browser signs in again: the first session is over.
	b.get("/billing/link?token=x")
	secret := secretField.FindStringSubmatch(b.last.body)[1]
	b.do(http.MethodPost, "/billing/sign-in", url.Values{"csrf": {secret}, "key": {key}}).to(t, "/billing")
	second := b.cookie("ringfence_session")
	if second == first {
		t.Error("the second sign-in kept the first one's token")
	}
	for _, old := range []string{planted, first} {
		thief := r.browser(t)
		thief.client.Jar.SetCookies(u, []*http.Cookie{{Name: "ringfence_session", Value: old, Path: "/"}})
		thief.get("/billing").to(t, "/billing/sign-in")
	}
	b.get("/billing").shows(t, http.StatusOK)
}

// What customers and operators write is text, wherever it is shown.
func TestScripts(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>'{{.CSRF}}`
	r := newRig(t)
	key := r.open(t, "acme", 500, func(a *authz.Account) { a.Company = evil })
	r.people.mu.Lock()
	r.people.numbers[0].Name = evil
	r.people.mu.Unlock()
	r.ingest(t, used("acme", time.Now(), 60), rejected(used("acme", time.Now(), 1), evil))
	r.grant(t, authz.Grant{Account: "acme", Units: 60_000, Kind: ledger.KindBonus, Reference: "x", Reason: evil})
	r.call(t, "acme", "live", time.Second)
	_, _, err := r.keys.Create(t.Context(), "acme", evil, time.Time{})
	must(t, err)
	r.shop.billing["acme"] = ledger.Billing{Account: "acme", Company: evil, City: evil, VATID: evil, Card: "pm_1", CardName: evil, Email: evil}
	r.shop.hooks["acme"] = ledger.Webhook{URL: "https://example.com/" + evil, Secret: evil}
	r.shop.topUps["acme"] = ledger.TopUp{Enabled: true, Problem: evil, PayURL: "javascript:alert(3)"}
	r.shop.invoices["acme"] = []ledger.Invoice{{ID: evil, Number: evil, Status: "paid", Currency: "EUR"}}
	b := r.browser(t)
	b.signIn(key)
	for _, path := range []string{"", "/usage", "/calls", "/statement", "/add-credits?package=500", "/add-credits?credits=" + url.QueryEscape(evil), "/invoices", "/details", "/notices",
		"/keys", "/calls?status=" + url.QueryEscape(evil), "/usage?month=" + url.QueryEscape(evil), "?done=" + url.QueryEscape(evil), "/" + url.PathEscape(evil)} {
		got := b.get("/billing" + path)
		if strings.Contains(got.body, "<script>alert") || strings.Contains(got.body, "<img src=x") || strings.Contains(got.body, `href="javascript:`) {
			t.Errorf("%s shows it as it is: %s", path, got.body)
		}
		if got.status >= 500 {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	for _, f := range forms {
		if f.path == "/billing/sign-out" || strings.Contains(f.path, "revoke") {
			continue
		}
		pairs := []string{}
		for _, name := range []string{"package", "credits", "total", "enabled", "below", "max_per_day", "company_name", "email", "country", "vat_id", "url", "secret", "name", "lasts"} {
			pairs = append(pairs, name, evil)
		}
		if got := b.post("/billing/keys", f.path, pairs...); strings.Contains(got.body, "<script>alert") || strings.Contains(got.body, "<img src=x") {
			t.Errorf("%s shows it as it is: %s", f.path, got.body)
		}
	}
	// The events of the live page carry HTML too.
	if e := b.watch(t).event(); e.HTML == nil || strings.Contains(*e.HTML, "<img src=x") || !strings.Contains(*e.HTML, "&lt;img src=x") {
		t.Errorf("event: %+v", e)
	}
	fresh := r.browser(t)
	if got := fresh.get("/billing/sign-in?next=" + url.QueryEscape(evil)); strings.Contains(got.body, "<script>alert") {
		t.Error("the sign-in shows it as it is")
	}
	if got := fresh.get("/billing/link?token=" + url.QueryEscape(evil)); strings.Contains(got.body, "<script>alert") {
		t.Error("the link shows it as it is")
	}
}

// What is another account's is not found.
func TestOtherAccounts(t *testing.T) {
	r := newRig(t)
	b := r.browser(t)
	b.signIn(r.open(t, "acme", 500))
	r.open(t, "other", 500)
	r.shop.invoices["other"] = []ledger.Invoice{{ID: "in_other_1", Number: "RF-0007", Status: "paid", Currency: "EUR"}}
	r.shop.invoices["acme"] = []ledger.Invoice{{ID: "in_acme_1", Number: "RF-0001\r\nX: y\"", Status: "paid", Currency: "EUR"}}
	own := b.get("/billing/invoices/in_acme_1/pdf")
	own.shows(t, http.StatusOK, "%PDF")
	if got := own.header.Get("Content-Disposition"); got != `attachment; filename="RF-0001Xy.pdf"` || own.header.Get("Content-Type") != "application/pdf" {
		t.Errorf("the PDF comes as %q", got)
	}
	for _, id := range []string{"in_other_1", "in_none", "..%2f..%2fother", "%00"} {
		b.get("/billing/invoices/"+id+"/pdf").shows(t, http.StatusNotFound, "There is no such page.")
	}
	if got := b.get("/billing/invoices"); strings.Contains(got.body, "RF-0007") {
		t.Error("another account's invoice is listed")
	}
	keys, err := r.keys.List(t.Context(), "other")
	must(t, err)
	b.post("/billing/keys", "/billing/keys/"+keys[0].ID+"/revoke").shows(t, http.StatusNotFound)
	if keys, err = r.keys.List(t.Context(), "other"); err != nil || !keys[0].Revoked.IsZero() {
		t.Errorf("another account's key is %+v, %v", keys, err)
	}
}

// Nothing that is sent here becomes the target of a redirection.
func TestOpenRedirect(t *testing.T) {
	r := newRig(t)
	key := r.open(t, "acme", 500)
	for asked, want := range map[string]string{
		"/billing/usage?month=2026-01": "/billing/usage?month=2026-01",
		"//mallory.example":            "/billing",
		"https://mallory.example/":     "/billing",
		"/\\mallory.example":           "/billing",
		"/billing/../../evil":          "/billing",
		"/billing//mallory.example":    "/billing",
		"/billingx":                    "/billing",
		"javascript:alert(1)":          "/billing",
		"/billing\r\nX: y":             "/billing",
		"/billing/sign-out":            "/billing",
		"/billing/live":                "/billing",
		"%2f%2fmallory.example":        "/billing",
	} {
		b := r.browser(t)
		b.post("/billing/sign-in", "/billing/sign-in", "key", key, "next", asked).to(t, want)
	}

	// The payment page returns to where this page says, whatever the form says.
	b := r.browser(t)
	b.signIn(key)
	got := b.post("/billing/add-credits?package=500", "/billing/add-credits?success_url=https://mallory.example", "package", "500", "total", "4235 EUR",
		"success_url", "https://mallory.example/", "cancel_url", "https://mallory.example/")
	if !strings.HasPrefix(got.header.Get("Location"), r.shop.checkout.URL+"/") {
		t.Errorf("led to %q: %s", got.header.Get("Location"), got.body)
	}
	if o := r.shop.orders[0]; o.SuccessURL != r.server.URL+"/billing/paid" || !strings.HasPrefix(o.CancelURL, r.server.URL+"/billing/add-credits?") || o.SaveCard {
		t.Errorf("the order is %+v", o)
	}
	// And a payment page that is none is not gone to.
	r.shop.leadTo = "https://mallory.example/pay"
	b.post("/billing/add-credits?package=500", "/billing/add-credits", "package", "500", "total", "4235 EUR").shows(t, http.StatusInternalServerError)
}

// Every answer keeps browsers from keeping, framing, guessing and loading from elsewhere.
func TestHeaders(t *testing.T) {
	r := newRig(t)
	key := r.open(t, "acme", 500)
	b := r.browser(t)
	b.signIn(key)
	for _, path := range []string{"/billing", "/billing/sign-in", "/billing/nowhere", "/billing/add-credits", "/billing/invoices/x/pdf"} {
		h := b.get(path).header
		policy := h.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: the policy is %q, without %s", path, policy, part)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, r.shop.checkout.URL) != (path == "/billing/add-credits") {
			t.Errorf("%s: the policy is %q", path, policy)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin", "Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin"} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
	}
	got := b.get("/billing/sign-in", "X-Forwarded-Proto", "https")
	if got.header.Get("Strict-Transport-Security") == "" {
		t.Error("no Strict-Transport-Security over TLS")
	}
}
