package page_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/portal/page"
)

// shotsVariable names the folder that screenshots are kept in; without it they go with the test.
const shotsVariable = "RINGFENCE_SCREENSHOTS"

// chrome is a window of Chromium that is watched: what its console says, and
// which hosts it asks.
type chrome struct {
	t     testing.TB
	ctx   context.Context
	shots string
	allow []string // hosts that may be asked; the first is the page's own

	paying bool // the demo's payment page, whose port is not known, may be asked too

	mu   sync.Mutex
	said []string
	out  []string // requests to other hosts
}

func newChrome(t testing.TB, lang string, allow ...string) *chrome {
	t.Helper()
	path := services.Tool(t, "chromium", "chromium")
	shots := os.Getenv(shotsVariable)
	if shots == "" {
		shots = t.TempDir()
	}
	must(t, os.MkdirAll(shots, 0o755))
	opened := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
		chromedp.Flag("accept-lang", lang), chromedp.Flag("lang", lang), chromedp.WSURLReadTimeout(time.Minute))
	alloc, end := chromedp.NewExecAllocator(context.Background(), opened...)
	t.Cleanup(end)
	c := &chrome{t: t, shots: shots, allow: allow}
	ctx, closeWindow := chromedp.NewContext(alloc, chromedp.WithListener(c.heard))
	t.Cleanup(closeWindow)
	c.ctx = ctx
	must(t, chromedp.Do(ctx))
	_, err := chromedp.Call(ctx, network.Enable, network.EnableParams{})
	must(t, err)
	_, err = chromedp.Call(ctx, log.Enable, cdp.Empty{})
	must(t, err)
	t.Cleanup(c.calm)
	return c
}

func (c *chrome) heard(event any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		var parts []string
		for _, a := range e.Args {
			parts = append(parts, string(a.Value))
		}
		c.said = append(c.said, string(e.Type)+": "+strings.Join(parts, " "))
	case *runtime.EventExceptionThrown:
		c.said = append(c.said, e.ExceptionDetails.Text+" "+e.ExceptionDetails.URL)
	case *log.EventEntryAdded:
		if u, err := url.Parse(e.Entry.URL); err == nil && u.Host != "" && u.Host != c.allow[0] {
			return // the payment page is not ours
		}
		c.said = append(c.said, string(e.Entry.Level)+": "+e.Entry.Text+" "+e.Entry.URL)
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(e.Request.URL)
		if err != nil || u.Scheme == "data" {
			return
		}
		for _, host := range c.allow {
			if u.Host == host {
				return
			}
		}
		if c.paying && strings.HasPrefix(u.Host, "127.0.0.1:") && e.Type == network.ResourceTypeDocument {
			c.allow = append(c.allow, u.Host)
			return
		}
		c.out = append(c.out, e.Request.URL)
	}
}

// calm fails the test where the console said anything, or another host was asked.
func (c *chrome) calm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, text := range c.said {
		// A form that is refused is answered 422, which Chromium calls a failure to load; the shop's script asks with it too.
		if !strings.Contains(text, "status of 422") {
			c.t.Errorf("the console says %s", text)
		}
	}
	for _, u := range c.out {
		c.t.Errorf("another host was asked: %s", u)
	}
}

func (c *chrome) do(steps ...chromedp.Action[chromedp.Void]) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		c.lost(err)
	}
}

// run runs an action that gives something.
func run[T any](c *chrome, a chromedp.Action[T]) T {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		c.lost(err)
	}
	return v
}

// lost ends the test, and says where the browser is.
func (c *chrome) lost(err error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("location.href + ' ' + document.body.innerText"))
	c.t.Fatalf("%v, at %s", err, text)
}

func (c *chrome) open(u string) { c.t.Helper(); c.do(chromedp.Navigate(u)) }

// press clicks on something that leads to another page, and waits for that.
func (c *chrome) press(what string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(what))); err != nil {
		c.lost(fmt.Errorf("press %s: %w", what, err))
	}
}

// click clicks on something that stays on the page.
func (c *chrome) click(what string) { c.t.Helper(); c.do(chromedp.Click(chromedp.CSS(what))) }

// fill types into fields, replacing what is there.
func (c *chrome) fill(pairs ...string) {
	c.t.Helper()
	for i := 0; i+1 < len(pairs); i += 2 {
		eval[bool](c, fmt.Sprintf("document.querySelector(%q).select() || true", pairs[i]))
		c.do(chromedp.SendKeys(chromedp.CSS(pairs[i]), pairs[i+1]))
	}
}

func (c *chrome) text(what string) string {
	c.t.Helper()
	return strings.ReplaceAll(run(c, chromedp.Text(chromedp.CSS(what))), "\u00a0", " ")
}

func (c *chrome) value(what string) string {
	c.t.Helper()
	return run(c, chromedp.Value(chromedp.CSS(what)))
}

// sees waits until the page says something.
func (c *chrome) sees(texts ...string) {
	c.t.Helper()
	for _, want := range texts {
		services.Eventually(c.t, patience, func() error {
			text, err := chromedp.Run(c.ctx, chromedp.Evaluate[string](`document.body ? document.body.innerText : ""`))
			if err != nil {
				return err
			}
			if text = strings.ReplaceAll(text, "\u00a0", " "); !strings.Contains(text, want) {
				return fmt.Errorf("%q is not in %s", want, text)
			}
			return nil
		})
	}
}

// eval runs a script of the test's, which the page's own policy does not hold.
func eval[T any](c *chrome, script string) T {
	c.t.Helper()
	return run(c, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
}

// shoot takes screenshots of the page as it is: on a phone and on a desktop, in the light and in the dark.
func (c *chrome) shoot(name string) {
	c.t.Helper()
	for _, size := range []struct {
		name          string
		width, height int64
		phone         bool
	}{{"phone", 390, 844, true}, {"desktop", 1280, 800, false}} {
		for _, scheme := range []string{"light", "dark"} {
			if os.Getenv(shotsVariable) == "" && size.phone != (scheme == "light") {
				continue // nobody will look at all of them
			}
			c.look(size.width, size.height, size.phone, scheme)
			shot := run(c, chromedp.FullScreenshot(100))
			must(c.t, os.WriteFile(filepath.Join(c.shots, name+"-"+size.name+"-"+scheme+".png"), shot, 0o644))
			if wide := eval[float64](c, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); wide > 0 {
				c.t.Errorf("%s on a %s is %v px wider than the screen", name, size.name, wide)
			}
		}
	}
	c.look(1280, 800, false, "light")
	c.usable(name)
}

// unusable lists what those miss who cannot see the page, or use no mouse.
const unusable = `(() => {
  const wrong = [];
  for (const e of document.querySelectorAll("input:not([type=hidden]):not([aria-hidden]), select"))
    if (!e.labels.length || !e.labels[0].innerText.trim()) wrong.push("no label: " + e.name);
  for (const e of document.querySelectorAll("button, a, summary"))
    if (!e.textContent.trim()) wrong.push("no words: " + e.outerHTML);
  for (const e of document.querySelectorAll("img:not([alt])")) wrong.push("no alternative: " + e.src);
  for (const e of document.querySelectorAll("[aria-describedby], [aria-labelledby]"))
    for (const id of ((e.getAttribute("aria-describedby") || "") + " " + (e.getAttribute("aria-labelledby") || "")).split(" "))
      if (id && !document.getElementById(id)) wrong.push("described by nothing: " + id);
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push("twice: " + id);
  if (document.querySelectorAll("h1").length !== 1) wrong.push("not one h1");
  if (!document.documentElement.lang) wrong.push("no language");
  for (const e of document.querySelectorAll("th")) if (!e.scope) wrong.push("no scope: " + e.innerText);
  return wrong.join("; ");
})()`

// usable fails the test where the page cannot be used by everybody.
func (c *chrome) usable(name string) {
	c.t.Helper()
	if wrong := eval[string](c, unusable); wrong != "" {
		c.t.Errorf("%s: %s", name, wrong)
	}
}

// look sets the screen's size and the visitor's taste.
func (c *chrome) look(width, height int64, phone bool, scheme string) {
	c.t.Helper()
	_, err := chromedp.Call(c.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1, Mobile: phone})
	must(c.t, err)
	_, err = chromedp.Call(c.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	must(c.t, err)
}

// A customer's whole visit.
func TestBrowser(t *testing.T) {
	r := newRig(t, func(c *page.Config) { c.NeedsPostalCode = func(country string) bool { return country == "NL" } })
	key := r.open(t, "acme", 500)
	payment := strings.TrimPrefix(r.shop.checkout.URL, "http://")
	c := newChrome(t, "en-GB", strings.TrimPrefix(r.server.URL, "http://"), payment)
	now := time.Now()
	for i := range 12 {
		r.ingest(t, used("acme", now.Add(-time.Duration(i)*26*time.Hour-time.Hour), int64(60+i*i*37)))
	}
	r.ingest(t, rejected(used("acme", now.Add(-time.Hour), 1), "insufficient_credits"), rejected(used("acme", now.Add(-2*time.Hour), 1), "too_many_calls"))

	// Signing in: first in vain.
	c.open(r.server.URL + "/billing/calls")
	c.sees("Sign in")
	c.fill("#key", "rf_live_wrong")
	c.press("main button")
	c.sees("This is not a whole API key")
	c.shoot("sign-in")
	c.fill("#key", key)
	c.press("main button")
	c.sees("Calls", "not enough credits", "too many calls at once")
	c.shoot("calls")

	// A call comes, runs, and costs.
	c.open(r.server.URL + "/billing")
	c.do(chromedp.KeyEvent("\t"))
	if got := eval[string](c, `document.activeElement.getAttribute("href")`); got != "#main" {
		t.Errorf("the first key leads to %q, not to the content", got)
	}
	c.sees("No calls right now")
	h := r.call(t, "acme", "live-1", 3*time.Second)
	r.call(t, "acme", "live-2", 70*time.Second)
	c.sees(someone, "Main line", "1:1")
	row := `[data-call="` + h.UID.String() + `"] `
	first, left := c.text(row+"[data-clock]"), c.text("[data-field=credits]")
	services.Eventually(t, patience, func() error {
		if c.text(row+"[data-clock]") == first || c.text("[data-field=credits]") == left {
			return fmt.Errorf("still %s and %s credits", first, left)
		}
		return nil
	})
	c.shoot("overview")
	r.mini.SetError("LOADING Redis is loading the dataset in memory")
	c.sees("The balance may be a little behind", "Live calls cannot be shown right now.")
	r.mini.SetError("")
	services.Eventually(t, patience, func() error {
		if eval[bool](c, `document.querySelector("[data-field=behind]").offsetHeight > 0 || !document.querySelector("[data-call]")`) {
			return errors.New("the balance is still said to be behind")
		}
		return nil
	})
	c.open(r.server.URL + "/billing/usage")
	c.sees("Minutes by day")
	c.shoot("usage")
	c.open(r.server.URL + "/billing/statement")
	c.sees("Opening balance")
	c.shoot("statement")
	r.grant(t, authz.Grant{Account: "acme", Units: credit.PerCredit, Kind: ledger.KindBonus, Reference: "thanks", Reason: "for your patience", At: time.Now()})
	c.sees("for your patience")

	testBrowserForms(t, r, c)
	testBrowserPurchase(t, r, c)

	c.press(".who button")
	c.sees("You are signed out.")
	c.open(r.server.URL + "/billing")
	c.sees("API key")
}

// The longer words of other languages fit as well.
func TestBrowserGerman(t *testing.T) {
	r := newRig(t)
	key := r.open(t, "acme", 500)
	r.ingest(t, used("acme", time.Now().Add(-time.Minute), 3700), rejected(used("acme", time.Now(), 1), "no_such_reason"))
	r.call(t, "acme", "live-1", 3*time.Second)
	r.shop.billing["acme"] = ledger.Billing{Account: "acme", Company: "Vermittlungsgesellschaft für Donaudampfschifffahrt mbH", Country: "DE", VATID: "DE811128135", VATStatus: ledger.VATUnverified, Card: "pm_1", CardName: "visa 4242"}
	r.shop.alerts["acme"] = ledger.Alerts{Account: "acme", Below: 1000 * credit.PerCredit}
	r.shop.topUps["acme"] = ledger.TopUp{Account: "acme", Enabled: true, Below: 1000 * credit.PerCredit, Units: 5000 * credit.PerCredit, MaxPerDay: 3,
		Problem: "There were 3 top-ups in 24 hours, as many as you allow.", PayURL: "https://pay.example.com/1", NotBefore: time.Now().Add(time.Hour)}
	r.shop.invoices["acme"] = []ledger.Invoice{{ID: "in_1", Account: "acme", Number: "RF-0001", Status: "open", Date: time.Now(), Currency: "EUR", Net: 3500, VAT: 735, VATRate: 2100, Total: 4235,
		PayURL: "https://pay.example.com/1"}}
	c := newChrome(t, "de", strings.TrimPrefix(r.server.URL, "http://"))
	c.open(r.server.URL + "/billing")
	c.fill("#key", key)
	c.press("main button")
	c.sees("Guthaben", "499,", "In 24 Stunden wurde 3-mal aufgeladen", "Nächster Versuch:")
	c.shoot("de-overview")
	for _, place := range []string{"usage", "calls", "statement", "add-credits?package=1000", "invoices", "details", "notices", "keys"} {
		c.open(r.server.URL + "/billing/" + place)
		name, _, _ := strings.Cut(place, "?")
		c.shoot("de-" + name)
	}
}

// Every form keeps what was typed and says what is wrong beside the field; then it is put right.
func testBrowserForms(t *testing.T, r *rig, c *chrome) {
	c.open(r.server.URL + "/billing/details")
	c.fill("#company_name", "Voice & Söhne <b>BV</b>", "#line1", "Keizersgracht 1", "#city", "Amsterdam", "#postal_code", "1015 CN", "#vat_id", "NL12", "#email", "nobody")
	for country, want := range map[string]string{"IE": "Postal code", "NL": "Postal code *"} { // marked as soon as the country is chosen
		for range 2 {
			eval[bool](c, `(() => { const e = document.querySelector("#country"); e.value = "`+country+`"; return e.dispatchEvent(new Event("change")); })()`)
		}
		if got := c.text("label[for=postal_code]"); got != want {
			c.t.Errorf("in %s the label is %q, want %q", country, got, want)
		}
	}
	eval[string](c, `document.querySelector("#country").value = "NL"`)
	c.press("main form button")
	c.sees("This is not an e-mail address.")
	c.fill("#email", "accounts@example.com")
	c.press("main form button")
	c.sees("A Dutch VAT ID looks like NL123456789B01.")
	if got := c.value("#line1") + c.value("#vat_id") + c.value("#country"); got != "Keizersgracht 1NL12NL" {
		t.Errorf("the form kept %q", got)
	}
	if got := eval[string](c, `document.activeElement.id`); got != "vat_id" {
		t.Errorf("the focus is on %q", got)
	}
	c.shoot("details-wrong")
	c.fill("#vat_id", "NL 1234.56.789.B01")
	c.press("main form button")
	c.sees("Your details are saved.", "verified")
	c.shoot("details")

	c.open(r.server.URL + "/billing/notices")
	c.fill("#below", "plenty")
	c.press(`form[action="/billing/alerts"] button`)
	c.sees("This is not a number.")
	c.fill("#below", "1,000")
	c.press(`form[action="/billing/alerts"] button`)
	c.sees("The alert is saved.")
	c.fill("#url", "example.com/hook")
	c.press(`form[action="/billing/webhook"] button`)
	c.sees("Enter a whole address")
	c.shoot("notices-wrong")
	c.fill("#url", "https://example.com/hook")
	c.press(`form[action="/billing/webhook"] button`)
	c.sees("The webhook is saved.", "Send test")
	c.press(`form[action="/billing/webhook/test"] button`)
	c.sees("The test has arrived.")
	c.shoot("notices")
	c.open(r.server.URL + "/billing")
	c.sees("Below your threshold of 1,000 credits.")

	c.open(r.server.URL + "/billing/keys")
	c.press(`form[action="/billing/keys"] button`)
	c.sees("Give the key a name.")
	c.fill("#name", "Dashboard")
	c.press(`form[action="/billing/keys"] button`)
	c.sees("Copy it now")
	if made := c.text("[data-key]"); !strings.HasPrefix(made, "rf_live_") {
		t.Errorf("the key shown is %q", made)
	}
	c.shoot("keys")
	c.click(".keys li:first-child summary")
	c.press(".keys li:first-child details button")
	c.sees("The key is revoked.")

	c.open(r.server.URL + "/billing/add-credits")
	c.sees("No card is saved yet.")
	c.shoot("top-up-no-card")
	r.shop.mu.Lock()
	r.shop.billing["acme"] = ledger.Billing{Account: "acme", Company: "Voice & Söhne <b>BV</b>", Card: "pm_1", CardName: "visa 4242"}
	r.shop.mu.Unlock()
	c.open(r.server.URL + "/billing/add-credits")
	c.click("#enabled")
	c.press("#top-up button")
	c.sees("Without your consent the card cannot be charged.", "This is required.")
	c.shoot("top-up-wrong")
}

// Credits are bought: chosen, quoted, paid on the payment page, waited for, there.
func testBrowserPurchase(t *testing.T, r *rig, c *chrome) {
	c.open(r.server.URL + "/billing/add-credits")
	c.click(`input[name=package][value="other"]`)
	c.fill("#credits", "7")
	c.press("form[data-quote] button")
	c.sees("At least 50 credits.")
	c.click(`input[name=package][value="500"]`)
	c.sees("€35.00", "VAT 21%", "€7.35", "€42.35")
	c.shoot("add-credits")
	c.click("input[name=save_card]")
	c.press("#quote button")
	c.sees("Payment page")
	c.press("#pay")
	c.sees("Waiting for the payment")
	c.shoot("paid-waiting")
	must(t, r.shop.paid(t.Context(), "acme"))
	c.sees("500 credits have been added", "credits")
	c.shoot("paid")
	if o := r.shop.orders[0]; !o.SaveCard || o.SuccessURL != r.server.URL+"/billing/paid" {
		t.Errorf("the order is %+v", o)
	}
	c.open(r.server.URL + "/billing/statement")
	c.sees("Credits bought invoice RF-0001")
	c.shoot("statement-purchase")
	c.open(r.server.URL + "/billing/invoices")
	c.sees("RF-0001", "€35.00", "€7.35", "€42.35", "21%")
	c.shoot("invoices")
	got := eval[string](c, `fetch(document.querySelector("a[download]").href).then((r) => r.text())`)
	if got != pdf {
		t.Errorf("the PDF is %q", got)
	}
}
