package page_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/portal/account"
	"github.com/hmsovereign/ringfence/sync/portal/page"
)

// feed is the live page's events, as a browser takes them.
type feed struct {
	t     testing.TB
	lines *bufio.Scanner
}

// watch opens the live page's events.
func (b *browser) watch(t testing.TB) *feed {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.rig.server.URL+"/billing/live", nil)
	must(t, err)
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Accept-Language", b.lang)
	client := *b.client
	client.Timeout = 0
	resp, err := client.Do(req)
	must(t, err)
	t.Cleanup(func() {
		cancel()
		_ = resp.Body.Close()
	})
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("the stream is answered %d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	f := &feed{t, bufio.NewScanner(resp.Body)}
	f.lines.Buffer(nil, 1<<20)
	return f
}

// next is the next event's data.
func (f *feed) next() string {
	f.t.Helper()
	for f.lines.Scan() {
		if data, ok := strings.CutPrefix(f.lines.Text(), "data: "); ok {
			return data
		}
	}
	f.t.Fatalf("the stream ended: %v", f.lines.Err())
	return ""
}

func TestSignInRefused(t *testing.T) {
	r := newRig(t)
	r.open(t, "acme", 500)
	revoked, made, err := r.keys.Create(t.Context(), "acme", "old", time.Time{})
	must(t, err)
	_, err = r.keys.Revoke(t.Context(), made.ID)
	must(t, err)
	expired, _, err := r.keys.Create(t.Context(), "acme", "short", r.clock().Add(time.Minute))
	must(t, err)
	r.advance(time.Hour)
	b := r.browser(t)
	for key, want := range map[string]string{
		"":                "Enter your API key.",
		"rf_live_x":       "This is not a whole API key",
		account.MintKey(): "This API key is not known.",
		revoked:           "This API key was revoked.",
		expired:           "This API key has expired.",
	} {
		got := b.post("/billing/sign-in", "/billing/sign-in", "key", key)
		got.shows(t, http.StatusUnprocessableEntity, want)
		if key != "" && strings.Contains(got.body, key) {
			t.Error("the key is shown again")
		}
	}
	if b.cookie("ringfence_session") != "" {
		t.Error("there is a session")
	}
}

// Whoever fails too often waits, but a good key or link is never locked out: behind
// a proxy, others may have failed.
func TestSignInLimit(t *testing.T) {
	r := newRig(t)
	key := r.open(t, "acme", 500)
	b := r.browser(t)
	for range 10 {
		b.post("/billing/sign-in", "/billing/sign-in", "key", account.MintKey()).shows(t, http.StatusUnprocessableEntity)
	}
	got := b.post("/billing/sign-in", "/billing/sign-in", "key", account.MintKey())
	got.shows(t, http.StatusTooManyRequests, "Too many attempts")
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	b.post("/billing/sign-in", "/billing/sign-in", "key", "rf_live_x").shows(t, http.StatusTooManyRequests)
	b.post("/billing/link?token=x", "/billing/link", "token", "x").shows(t, http.StatusTooManyRequests)
	r.browser(t).signIn(key)
	token, hash := page.MintToken()
	must(t, r.ledger.AddSignInLink(t.Context(), ledger.SignInLink{Hash: hash, Account: "acme", Created: r.clock(), Expires: r.clock().Add(15 * time.Minute)}))
	r.browser(t).post("/billing/link?token="+token, "/billing/link", "token", token).to(t, "/billing")
	b.post("/billing/sign-in", "/billing/sign-in", "key", account.MintKey()).shows(t, http.StatusTooManyRequests)
	// Behind a proxy on this machine it is whom the proxy has seen, whatever else was claimed.
	b.get("/billing/sign-in")
	form := url.Values{"csrf": {secretField.FindStringSubmatch(b.last.body)[1]}, "key": {account.MintKey()}}
	for i := range 11 {
		want := http.StatusUnprocessableEntity
		if i == 10 {
			want = http.StatusTooManyRequests
		}
		b.do(http.MethodPost, "/billing/sign-in", form, "X-Forwarded-For", fmt.Sprintf("198.51.100.%d, 203.0.113.9", i)).shows(t, want)
	}
	b.do(http.MethodPost, "/billing/sign-in", form, "X-Forwarded-For", "203.0.113.9, 203.0.113.10").shows(t, http.StatusUnprocessableEntity)
	r.advance(61 * time.Second)
	b.signIn(key)
}

func TestCookie(t *testing.T) {
	r := newRig(t)
	key := r.open(t, "acme", 500)
	b := r.browser(t)
	got := b.post("/billing/sign-in", "/billing/sign-in", "key", key)
	set := got.header.Values("Set-Cookie")[0]
	for _, part := range []string{"ringfence_session=", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=43200"} {
		if !strings.Contains(set, part) {
			t.Errorf("the cookie is %q, without %s", set, part)
		}
	}
	if strings.Contains(set, "Secure") {
		t.Errorf("the cookie is %q on a plain connection, where it would not come back", set)
	}
	// Over TLS, here a proxy's, it is Secure and bound to this host.
	tls := r.browser(t)
	first := tls.get("/billing/sign-in", "X-Forwarded-Proto", "https").header.Get("Set-Cookie")
	if !strings.HasPrefix(first, "__Host-ringfence_form=") || !strings.Contains(first, "Secure") {
		t.Errorf("the cookie over TLS is %q", first)
	}
}

func TestSessionEnds(t *testing.T) {
	for name, end := range map[string]func(*rig, *browser){
		"sign out": func(_ *rig, b *browser) { b.post("/billing", "/billing/sign-out").to(b.t, "/billing/sign-in?done=out") },
		"unused":   func(r *rig, _ *browser) { r.advance(2*time.Hour + time.Second) },
		"its time is up": func(r *rig, b *browser) {
			for range 12 {
				r.advance(time.Hour)
				b.get("/billing/keys")
			}
		},
		"its key revoked": func(r *rig, b *browser) {
			keys, err := r.keys.List(b.t.Context(), "acme")
			must(b.t, err)
			b.post("/billing/keys", "/billing/keys/"+keys[0].ID+"/revoke").to(b.t, "/billing/keys?done=revoked")
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			b := r.browser(t)
			b.signIn(r.open(t, "acme", 500))
			u, err := url.Parse(r.server.URL)
			must(t, err)
			kept := b.client.Jar.Cookies(u)
			b.get("/billing").shows(t, http.StatusOK)
			end(r, b)
			thief := r.browser(t) // who has copied the cookie
			thief.client.Jar.SetCookies(u, kept)
			thief.get("/billing/usage?month=2026-01").to(t, "/billing/sign-in?next=%2Fbilling%2Fusage%3Fmonth%3D2026-01")
			if got := thief.get("/billing/live", "Accept", "text/event-stream"); got.status != http.StatusUnauthorized {
				t.Errorf("the stream is answered %d", got.status)
			}
		})
	}
}

func TestLink(t *testing.T) {
	r := newRig(t)
	r.open(t, "acme", 500)
	link := func() string {
		token, hash := page.MintToken()
		must(t, r.ledger.AddSignInLink(t.Context(), ledger.SignInLink{Hash: hash, Account: "acme", Created: r.clock(), Expires: r.clock().Add(15 * time.Minute)}))
		at := page.LinkURL(r.server.URL+"/", token)
		if !strings.HasPrefix(at, r.server.URL+"/billing/link?token=") {
			t.Errorf("the link is %s", at)
		}
		return token
	}
	token, late := link(), link()
	b := r.browser(t)
	b.post("/billing/link?token="+token, "/billing/link", "token", token).to(t, "/billing")
	b.get("/billing").shows(t, http.StatusOK, "Your Company")
	again := r.browser(t)
	again.post("/billing/link?token="+token, "/billing/link", "token", token).shows(t, http.StatusUnprocessableEntity, "This link has been used")
	r.advance(16 * time.Minute)
	again.post("/billing/link?token="+late, "/billing/link", "token", late).shows(t, http.StatusUnprocessableEntity, "This link has been used")
}

// A suspended account may look, take back that its card is charged, and sign out.
func TestSuspended(t *testing.T) {
	r := newRig(t)
	b := r.browser(t)
	b.signIn(r.open(t, "acme", 500))
	a, _ := r.people.Account("acme")
	now := *a
	now.Status = authz.Suspended
	r.people.put(now)
	b.get("/billing").shows(t, http.StatusOK, "This account is suspended")
	b.post("/billing/details", "/billing/details", "company_name", "New").shows(t, http.StatusForbidden, "nothing can be changed")
	r.shop.billing["acme"] = ledger.Billing{Account: "acme", Card: "pm_1", CardName: "visa 4242"}
	b.post("/billing/add-credits", "/billing/card/remove").to(t, "/billing/add-credits?done=card-removed#top-up")
	b.post("/billing", "/billing/sign-out").to(t, "/billing/sign-in?done=out")
}

// An account's requests are limited, those that change something more tightly; signing out is not.
func TestRequestLimit(t *testing.T) {
	r := newRig(t, func(c *page.Config) {
		c.Looks, c.Changes = account.NewQuota(account.Config{Limit: 12, Now: c.Now}), account.NewQuota(account.Config{Limit: 2, Now: c.Now})
	})
	b, other := r.browser(t), r.browser(t)
	b.signIn(r.open(t, "acme", 500))
	other.signIn(r.open(t, "other", 500))
	for range 2 { // and a look each
		b.post("/billing/notices", "/billing/webhook/test").to(t, "/billing/notices?done=sent")
	}
	got := b.post("/billing/notices", "/billing/webhook/test")
	got.shows(t, http.StatusTooManyRequests, "Too many requests.")
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	b.get("/billing/invoices/in_1/pdf").shows(t, http.StatusTooManyRequests)
	for range 3 {
		b.get("/billing/keys").shows(t, http.StatusOK)
	}
	if r.shop.tested != 2 {
		t.Errorf("%d tests were sent", r.shop.tested)
	}
	secret := secretField.FindStringSubmatch(b.get("/billing/keys").body)[1]
	b.get("/billing/keys")
	b.get("/billing/keys").shows(t, http.StatusTooManyRequests, "Too many requests.")
	b.get("/billing/live", "Accept", "text/event-stream").shows(t, http.StatusTooManyRequests)
	other.get("/billing/keys").shows(t, http.StatusOK)
	r.advance(61 * time.Second)
	b.get("/billing/keys").shows(t, http.StatusOK)
	for range 12 {
		b.get("/billing/keys")
	}
	b.do(http.MethodPost, "/billing/sign-out", url.Values{"csrf": {secret}}).to(t, "/billing/sign-in?done=out")
}
