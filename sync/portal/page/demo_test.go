package page_test

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/hmsovereign/ringfence/deploy/services"
)

var (
	printedLink = regexp.MustCompile(`http://[0-9.:]+/billing/link\?token=\S+`)
	dated       = regexp.MustCompile(`RF-\d+`)
)

// A newcomer's first minute: the demo's link leads to a living page, where credit
// is bought on the payment page of a Stripe that is played, with everything
// between them real.
func TestDemo(t *testing.T) {
	services.Tool(t, "chromium", "chromium")
	demo := services.Process(t, services.Binary(t), []string{"demo"}, nil)
	said := func(pattern *regexp.Regexp) (found string) {
		services.Eventually(t, time.Minute, func() error {
			if found = pattern.FindString(demo.Logs()); found == "" {
				return fmt.Errorf("%s is not in %s", pattern, demo.Logs())
			}
			return nil
		})
		return found
	}
	link := said(printedLink)
	said(regexp.MustCompile("the sidecar is back")) // the demo's own restart is not this test's
	at, err := url.Parse(link)
	must(t, err)
	base := "http://" + at.Host

	c := newChrome(t, "en-GB", at.Host)
	c.paying = true
	c.open(link)
	c.sees("This link signs you in once.")
	c.press("main button")
	c.sees("Acme Telecom", "Live calls")
	c.sees("outbound") // the demo's calls go on
	first := c.text("[data-part=moves] tbody tr")
	services.Eventually(t, patience, func() error { // a call has ended, and nobody has reloaded the page
		if c.text("[data-part=moves] tbody tr") == first && eval[int](c, "document.querySelectorAll('[data-part=moves] tr').length") < 5 {
			return errors.New("nothing has moved")
		}
		return nil
	})
	c.shoot("demo-overview")

	c.open(base + "/billing/details")
	c.fill("#company_name", "Acme Telecom BV", "#line1", "Keizersgracht 1", "#postal_code", "1015 CN", "#city", "Amsterdam", "#vat_id", "NL12", "#email", "accounts@example.com")
	eval[string](c, `document.querySelector("#country").value = "NL"`)
	c.press("main form button")
	if c.sees("Please check what is marked below."); c.value("#city") != "Amsterdam" || c.value("#vat_id") != "NL12" || c.text("#vat_id-problem") == "" {
		t.Error("the form did not keep what was typed, or does not say what is wrong")
	}
	c.shoot("demo-details-wrong")
	c.fill("#vat_id", "NL820646660B01")
	c.press("main form button")
	c.sees("Your details are saved.", "NL820646660B01")

	c.open(base + "/billing/add-credits")
	c.click(`input[name=package][value="500"]`)
	c.sees("€35.00", "VAT 21%", "€7.35", "€42.35")
	before := credits(t, c, base)
	c.open(base + "/billing/add-credits?package=500")
	c.click("input[name=save_card]")
	c.press("#quote button")
	c.sees("This is not Stripe", "42.35")
	c.press("#pay")
	c.sees("500 credits have been added")
	c.shoot("demo-paid")
	if after := credits(t, c, base); after < before+450 || after > before+500 {
		t.Errorf("the balance went from %.2f to %.2f", before, after)
	}

	c.open(base + "/billing/invoices")
	services.Eventually(t, patience, func() error { // the invoice comes with an event of its own
		text, err := chromedp.Run(c.ctx, chromedp.Evaluate[string](`document.body.innerText`))
		if err == nil && !dated.MatchString(text) {
			err = errors.Join(fmt.Errorf("no invoice in %s", text), chromedp.Do(c.ctx, chromedp.Reload()))
		}
		return err
	})
	c.sees("€35.00", "€7.35", "€42.35", "paid")
	c.shoot("demo-invoices")
	if got := eval[string](c, `fetch(document.querySelector("a[download]").href).then((r) => r.text())`); !strings.HasPrefix(got, "%PDF-") {
		t.Errorf("the PDF begins with %.40q", got)
	}

	// The card that was kept may be used from now on, if the customer says so.
	c.open(base + "/billing/add-credits")
	c.sees("Saved card: ")
	c.click("#enabled")
	c.fill("#top-below", "50", "#top-credits", "500")
	c.press("#top-up button")
	c.sees("Without your consent the card cannot be charged.")
	c.click("#consent")
	c.press("#top-up button")
	c.sees("Automatic top-up is on.")

	c.press(".who button")
	c.sees("You are signed out.")
	c.open(link)
	c.press("main button")
	c.sees("This link has been used")
}

// credits reads the balance off the overview.
func credits(t *testing.T, c *chrome, base string) float64 {
	t.Helper()
	c.open(base + "/billing")
	var n float64
	_, err := fmt.Sscanf(strings.ReplaceAll(c.text("[data-field=credits]"), ",", ""), "%f", &n)
	must(t, err)
	return n
}
