package page_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/portal/page"
)

func signedIn(t *testing.T, change ...func(*page.Config)) (*rig, *browser) {
	t.Helper()
	r := newRig(t, change...)
	b := r.browser(t)
	b.signIn(r.open(t, "acme", 500))
	return r, b
}

func TestDetails(t *testing.T) {
	r, b := signedIn(t)
	long := strings.Repeat("é", 201)
	for name, c := range map[string]struct {
		pairs []string
		want  string
	}{
		"no company":  {[]string{"company_name", " ", "city", "Utrecht"}, "Enter the name that your invoices are made out to."},
		"long":        {[]string{"company_name", "A", "line1", long, "city", "Utrecht"}, "At most 200 characters."},
		"mail":        {[]string{"company_name", "A", "email", "a b@c", "city", "Utrecht"}, "This is not an e-mail address."},
		"mail name":   {[]string{"company_name", "A", "email", "Me <a@example.com>", "city", "Utrecht"}, "This is not an e-mail address."},
		"country":     {[]string{"company_name", "A", "country", "XX", "city", "Utrecht"}, "Choose a country from the list."},
		"not a field": {[]string{"company_name", "A", "vat_id", "NL1", "city", "Utrecht"}, "A Dutch VAT ID looks like NL123456789B01."},
		"bad bytes":   {[]string{"company_name", "\xff\xfe", "city", "Utrecht"}, "At most 200 characters."},
	} {
		got := b.post("/billing/details", "/billing/details", c.pairs...)
		got.shows(t, http.StatusUnprocessableEntity, c.want, `value="Utrecht"`, `aria-invalid="true"`)
		if len(r.shop.billing) > 0 {
			t.Errorf("%s was kept", name)
		}
	}
	b.post("/billing/details", "/billing/details", "company_name", "A BV", "country", "de", "vat_id", " de 811-128.135 ", "email", "a@example.com").to(t, "/billing/details?done=details")
	got := r.shop.billing["acme"]
	if got.Account != "acme" || got.Company != "A BV" || got.Country != "DE" || got.VATID != "DE811128135" || got.VATStatus != ledger.VATPending {
		t.Errorf("kept %+v", got)
	}
	b.get("/billing/details?done=details").shows(t, http.StatusOK, "Your details are saved.", "is being verified", `<option value="DE" selected>Germany`)

	// The verdict on the stored VAT ID is not of another one in the field.
	for vatID, said := range map[string]bool{"NL1": false, "FR83404833048": false, "": false, "de 811.128.135": true} {
		got := b.post("/billing/details", "/billing/details", "company_name", "A BV", "country", "XX", "vat_id", vatID)
		got.shows(t, http.StatusUnprocessableEntity, `value="`+vatID+`"`)
		if strings.Contains(got.body, `class="state"`) != said {
			t.Errorf("beside %q it says what is known of DE811128135: %v", vatID, !said)
		}
	}

	// What the form does not hold stays.
	kept := r.shop.billing["acme"]
	kept.Customer, kept.Card = "cus_1", "pm_1"
	r.shop.billing["acme"] = kept
	b.post("/billing/details", "/billing/details", "company_name", "B BV").to(t, "/billing/details?done=details")
	if got := r.shop.billing["acme"]; got.Customer != "cus_1" || got.Card != "pm_1" || got.Company != "B BV" || got.Country != "" {
		t.Errorf("kept %+v", got)
	}
}

// What an address has to have is marked: a postal code where the country has them.
func TestDetailsRequired(t *testing.T) {
	r, b := signedIn(t, func(c *page.Config) {
		c.NeedsPostalCode = func(country string) bool { return country == "NL" || country == "DE" }
	})
	const star = ` <span class="must" aria-hidden="true">*</span></label>`
	for country, coded := range map[string]bool{"": false, "NL": true, "IE": false} {
		r.shop.billing["acme"] = ledger.Billing{Account: "acme", Company: "A", Country: country}
		got := b.get("/billing/details")
		got.shows(t, http.StatusOK, "Company name"+star, "Street and number"+star, "City"+star, "Country"+star, "Address, second line</label>", "State or province</label>", "VAT ID</label>",
			`<option value="NL" data-postal`, `<option value="GB">`)
		if strings.Contains(got.body, "Postal code"+star) != coded || strings.Count(got.body, `aria-required="true"`) != map[bool]int{false: 4, true: 5}[coded] {
			t.Errorf("in %q a postal code is marked: %v", country, !coded)
		}
	}
	b.post("/billing/details", "/billing/details", "company_name", " ", "country", "de").shows(t, http.StatusUnprocessableEntity, "Postal code"+star)
}

func TestNotices(t *testing.T) {
	r, b := signedIn(t)
	for _, c := range []struct{ below, want string }{{"many", "This is not a number."}, {"-5", "This has to be more than 0."}, {"1e3", "This is not a number."}} {
		b.post("/billing/notices", "/billing/alerts", "below", c.below).shows(t, http.StatusUnprocessableEntity, c.want, `value="`+c.below+`"`)
	}
	r.shop.reject = &ledger.FieldError{Field: "email", Message: "No billing address is known yet."}
	b.post("/billing/notices", "/billing/alerts", "below", "10", "email", "on").shows(t, http.StatusUnprocessableEntity, "No billing address is known yet.",
		`aria-invalid="true" aria-describedby="email-problem"`, `id="email-problem"`)
	r.shop.reject = nil
	b.post("/billing/notices", "/billing/alerts", "below", "12.5", "email", "on").to(t, "/billing/notices?done=alerts")
	if a := r.shop.alerts["acme"]; a != (ledger.Alerts{Account: "acme", Below: 750_000, Email: true}) {
		t.Errorf("alerts are %+v", a)
	}
	// A form holds what is set to the last unit: saved again, it changes nothing.
	r.shop.alerts["acme"] = ledger.Alerts{Account: "acme", Below: 750_007}
	b.get("/billing/notices").shows(t, http.StatusOK, `value="12.500117"`)
	b.post("/billing/notices", "/billing/alerts", "below", "12.500117").to(t, "/billing/notices?done=alerts")
	if a := r.shop.alerts["acme"]; a.Below != 750_007 {
		t.Errorf("alerts are %+v", a)
	}
	b.post("/billing/notices", "/billing/alerts", "below", "1.234,50").shows(t, http.StatusUnprocessableEntity, "This is not a number.", `value="1.234,50"`)
	b.post("/billing/notices", "/billing/alerts", "below", "").to(t, "/billing/notices?done=alerts")
	if a := r.shop.alerts["acme"]; a.Below != 0 || a.Email {
		t.Errorf("alerts are %+v", a)
	}

	for _, u := range []string{"example.com", "ftp://example.com/x", "https://", "https://" + strings.Repeat("a", 2000)} {
		b.post("/billing/notices", "/billing/webhook", "url", u).shows(t, http.StatusUnprocessableEntity, "Enter a whole address", `value="`+u+`"`)
	}
	b.post("/billing/notices", "/billing/webhook", "url", "https://example.com/x", "secret", "short").shows(t, http.StatusUnprocessableEntity, "From 16 to 200", `value="short"`)
	r.shop.reject = &ledger.FieldError{Field: "url", Message: "This address is not reachable from here."}
	b.post("/billing/notices", "/billing/webhook", "url", "https://10.0.0.1/").shows(t, http.StatusUnprocessableEntity, "This address is not reachable from here.")
	r.shop.reject = nil
	b.post("/billing/notices", "/billing/webhook", "url", "https://example.com/x").to(t, "/billing/notices?done=webhook")
	first := r.shop.hooks["acme"]
	if first.URL != "https://example.com/x" || len(first.Secret) < 32 {
		t.Errorf("webhook is %+v", first)
	}
	b.post("/billing/notices", "/billing/webhook", "url", "https://example.com/y").to(t, "/billing/notices?done=webhook")
	if now := r.shop.hooks["acme"]; now.Secret != first.Secret || now.URL != "https://example.com/y" {
		t.Errorf("webhook is %+v", now)
	}
	b.get("/billing/notices").shows(t, http.StatusOK, first.Secret, "Send test")
	r.shop.reject = errors.New("example.com answered 500")
	b.post("/billing/notices", "/billing/webhook/test").shows(t, http.StatusUnprocessableEntity, "The test did not arrive:", "example.com answered 500")
	r.shop.reject = nil
	b.post("/billing/notices", "/billing/webhook/test").to(t, "/billing/notices?done=sent")
	b.post("/billing/notices", "/billing/webhook", "url", "").to(t, "/billing/notices?done=webhook-off")
	if now := r.shop.hooks["acme"]; now.URL != "" || now.Secret != "" {
		t.Errorf("webhook is %+v", now)
	}
}

// What a service says is said in the visitor's language; what the page has no words for is marked as English.
func TestServicesWords(t *testing.T) {
	r, b := signedIn(t)
	b.lang = "nl"
	r.shop.reject = errors.Join(&ledger.FieldError{Field: "address.city", Message: "This is required."}, &ledger.FieldError{Field: "address.line1", Message: "This is new."},
		&ledger.FieldError{Field: "address.planet", Message: "This is not an e-mail address."},
		&ledger.FieldError{Field: "country", Message: "The payment provider does not take this: Invalid country. Please correct your billing details."})
	b.post("/billing/details", "/billing/details", "company_name", "A").shows(t, http.StatusUnprocessableEntity, `id="city-problem">Dit veld is verplicht.</p>`,
		`id="line1-problem"><span lang="en">This is new.</span></p>`, `<li>Dit is geen e-mailadres.</li>`,
		`id="country-problem">De betaaldienst accepteert dit niet: <span lang="en">Invalid country.</span> Pas uw bedrijfsgegevens aan.</p>`)
	r.shop.hooks["acme"] = ledger.Webhook{Account: "acme", URL: "https://example.com/x"}
	r.shop.reject = errors.New("the endpoint answered 502 Bad Gateway")
	b.post("/billing/notices", "/billing/webhook/test").shows(t, http.StatusUnprocessableEntity, `De test is niet aangekomen: de server antwoordde <span lang="en">502 Bad Gateway</span>`)
	r.shop.reject = fmt.Errorf("test: %w", &ledger.FieldError{Field: "url", Message: "Write a URL that leads to a public address."})
	b.post("/billing/notices", "/billing/webhook/test").shows(t, http.StatusUnprocessableEntity, `De test is niet aangekomen: Vul een URL in die naar een openbaar adres leidt.</p>`)
	b.get("/billing/add-credits?package=500").shows(t, http.StatusOK, "Nederlandse btw: 21%")

	r.grant(t, authz.Grant{Account: "acme", Units: 100, Kind: ledger.KindPurchase, Reference: "pi:1", Reason: "purchase 0198c2f1-0b1c-7c3a-8a55-0d6b7a6f0a11", At: r.clock()})
	r.grant(t, authz.Grant{Account: "acme", Units: -100, Kind: ledger.KindRefund, Reference: "re:1", Reason: "refund", At: r.clock()})
	for _, place := range []string{"/billing", "/billing/statement"} {
		b.get(place).shows(t, http.StatusOK, `<span class="kind">Tegoed gekocht</span> <span class="sub">aankoop …7a6f0a11</span>`, `<span class="kind">Terugbetaling</span>
`)
	}
}

// hanging is a customer's server that does not answer, and a ledger that does not either once its time is over.
type hanging struct{ *shop }

func (h hanging) TestWebhook(ctx context.Context, _ string) error {
	if end, _ := ctx.Deadline(); time.Until(end) < 2*time.Second {
		return errors.New("the test has only the time of an answer")
	}
	<-ctx.Done()
	return errors.New("example.com did not answer within 10 seconds")
}

func (h hanging) Webhook(ctx context.Context, account string) (ledger.Webhook, error) {
	if err := ctx.Err(); err != nil {
		return ledger.Webhook{}, err
	}
	return h.shop.Webhook(ctx, account)
}

// A test that takes longer than an answer may shows what came of it.
func TestWebhookHangs(t *testing.T) {
	_, b := signedIn(t, func(c *page.Config) {
		c.Webhooks = hanging{c.Webhooks.(*shop)}
		c.Timeout, c.TestTimeout = 2*time.Second, 3*time.Second
	})
	b.post("/billing/notices", "/billing/webhook", "url", "https://example.com/x").to(t, "/billing/notices?done=webhook")
	b.post("/billing/notices", "/billing/webhook/test").shows(t, http.StatusUnprocessableEntity, "The test did not arrive:", "example.com did not answer", `value="https://example.com/x"`)
}

func TestBuying(t *testing.T) {
	r, b := signedIn(t)
	for query, want := range map[string]string{
		"package=&credits=":           "Choose how many credits you want.",
		"package=other&credits=":      "Choose how many credits you want.",
		"package=other&credits=x":     "This is not a number.",
		"credits=1.234,50":            "This is not a number.",
		"package=77":                  "There is no such package.",
		"package=other&credits=49.99": "At least 50 credits.",
		"package=other&credits=-1":    "At least 50 credits.",
		"credits=100001":              "At most 100,000 credits at once.",
		"credits=99999999999999999":   "At most 100,000 credits at once.",
	} {
		b.get("/billing/add-credits?"+query).shows(t, http.StatusUnprocessableEntity, want)
	}
	b.get("/billing/add-credits?credits=1,000.5").shows(t, http.StatusOK, "1,000.5 credits", "€70.03", "€14.71", "€84.74", "VAT 21%", "Dutch VAT")
	b.get("/billing/add-credits?package=500").shows(t, http.StatusOK, "Billed to Your Company. ")
	r.shop.billing["acme"] = ledger.Billing{Account: "acme", Company: "Their Company", Country: "DE", VATID: "DE811128135"}
	b.get("/billing/add-credits?package=500").shows(t, http.StatusOK, "Billed to Their Company, Germany, DE811128135. ")
	b.get("/billing/add-credits?package=77").shows(t, http.StatusUnprocessableEntity, `aria-invalid="true" aria-describedby="package-problem"`, `id="package-problem"`)
	b.get("/billing/add-credits?package=500&part=quote").shows(t, http.StatusOK, "€42.35")
	if strings.Contains(b.last.body, "<html") {
		t.Error("the part is a whole page")
	}

	// What is not what was shown is shown anew.
	b.post("/billing/add-credits?package=500", "/billing/add-credits", "package", "500", "total", "1 EUR").shows(t, http.StatusUnprocessableEntity, "The price has changed", "€42.35")
	b.post("/billing/add-credits?package=500", "/billing/add-credits", "package", "500").shows(t, http.StatusUnprocessableEntity, "The price has changed")
	r.shop.reject = &ledger.FieldError{Field: "amount_minutes", Message: "Not more than EUR 30 a day."}
	b.post("/billing/add-credits?package=500", "/billing/add-credits", "package", "500", "total", "4235 EUR").shows(t, http.StatusUnprocessableEntity, "Not more than EUR 30 a day.")
	r.shop.reject = ledger.ErrUnavailable
	b.post("/billing/add-credits?package=500", "/billing/add-credits", "package", "500", "total", "4235 EUR").shows(t, http.StatusServiceUnavailable)
	r.shop.reject = nil
	if len(r.shop.orders) != 0 {
		t.Fatalf("orders are %+v", r.shop.orders)
	}

	b.get("/billing/paid").shows(t, http.StatusOK, "There is no purchase yet.")
	b.get("/billing?purchase=paid").to(t, "/billing/paid")
	b.get("/billing?purchase=cancelled").to(t, "/billing/add-credits?done=not-paid")
	b.post("/billing/add-credits?package=500", "/billing/add-credits", "package", "500", "total", "4235 EUR", "save_card", "on")
	if o := r.shop.orders[0]; o.Account != "acme" || o.Units != 500*credit.PerCredit || !o.SaveCard {
		t.Errorf("the order is %+v", o)
	}
	cancelled := strings.TrimPrefix(r.shop.orders[0].CancelURL, r.server.URL)
	for lang, want := range map[string]string{"en": "Not paid: nothing was charged.", "nl": "Niet betaald: er is niets afgeschreven.", "de": "Nicht bezahlt: Es wurde nichts abgebucht."} {
		b.lang = lang
		b.get(cancelled).shows(t, http.StatusOK, `<p class="warn" role="status">`+want, `value="500" checked`, `name="total" value="4235 EUR"`)
	}
	b.lang = ""
	b.get("/billing/paid").shows(t, http.StatusOK, "Waiting for the payment", `http-equiv="refresh"`)
	must(t, r.shop.paid(t.Context(), "acme"))
	b.get("/billing/paid").shows(t, http.StatusOK, "500 credits have been added", "1,000.00")
	for state, want := range map[ledger.PurchaseState]string{ledger.PurchaseFailed: "did not go through", ledger.PurchaseExpired: "not paid in time"} {
		r.shop.purchases["acme"][0].State = state
		b.get("/billing/paid?part=outcome").shows(t, http.StatusOK, want)
	}
}

// A customer whose address is not known is told before the invoice is made.
func TestQuoteWithoutAddress(t *testing.T) {
	r, b := signedIn(t)
	says := map[string]string{"en": `Your address is not known yet, so the invoice will not have it. <a href="/billing/details">Enter your address</a>`,
		"nl": `Uw adres is nog niet bekend en ontbreekt dan op de factuur. <a href="/billing/details">Vul uw adres in</a>`,
		"de": `Ihre Adresse ist noch nicht bekannt und fehlt dann auf der Rechnung. <a href="/billing/details">Adresse eingeben</a>`}
	for lang, want := range says {
		b.lang = lang
		for _, x := range []ledger.Billing{{}, {Company: "A", Country: "NL"}, {Company: "A", Line1: "Dam 1", City: "Amsterdam"}} {
			r.shop.billing["acme"] = x
			b.get("/billing/add-credits?package=500&part=quote").shows(t, http.StatusOK, want)
		}
		r.shop.billing["acme"] = ledger.Billing{Company: "A", Line1: "Dam 1", City: "Amsterdam", Country: "NL"}
		for _, place := range []string{"/billing/add-credits?package=500", "/billing/add-credits"} {
			if strings.Contains(b.get(place).body, `<p class="warn">`) {
				t.Errorf("%s warns of an address that is known", place)
			}
		}
	}
}

// A purchase is done where the balance has it, not as soon as the ledger does.
func TestPaidBeforeTheBalance(t *testing.T) {
	r, b := signedIn(t)
	b.post("/billing/add-credits?package=500", "/billing/add-credits", "package", "500", "total", "4235 EUR")
	made, _, err := r.ledger.AddGrant(t.Context(), authz.Grant{Account: "acme", Units: 500 * credit.PerCredit, Kind: ledger.KindPurchase, Reference: "pi:1", At: r.clock()})
	must(t, err)
	r.shop.purchases["acme"][0].State = ledger.PurchasePaid
	if got := b.get("/billing/paid?part=outcome"); strings.Contains(got.body, "have been added") || !strings.Contains(got.body, "data-again") {
		t.Errorf("before the balance store has it, it says %s", got.body)
	}
	b.get("/billing/paid").shows(t, http.StatusOK, "Waiting for the payment", `http-equiv="refresh"`)
	r.mini.SetError("LOADING Redis is loading the dataset in memory")
	b.get("/billing/paid").shows(t, http.StatusOK, "500 credits have been added", "1,000.00") // the ledger's balance has it
	r.mini.SetError("")
	_, err = r.store.Grant(t.Context(), "acme", made.Number, made.Units)
	must(t, err)
	b.get("/billing/paid").shows(t, http.StatusOK, "500 credits have been added", "1,000.00")
}

func TestTopUp(t *testing.T) {
	r, b := signedIn(t)
	good := []string{"enabled", "on", "below", "50", "credits", "500", "max_per_day", "2", "consent", "on"}
	b.post("/billing/add-credits", "/billing/top-up", good...).shows(t, http.StatusUnprocessableEntity, "There is no saved card to pay with yet.", `value="50"`)
	r.shop.billing["acme"] = ledger.Billing{Account: "acme", Card: "pm_1", CardName: "visa 4242"}
	without := slices.Clone(good[:8])
	b.post("/billing/add-credits", "/billing/top-up", without...).shows(t, http.StatusUnprocessableEntity, "Without your consent the card cannot be charged.")
	for field, value := range map[string]string{"below": "x", "credits": "0", "max_per_day": "25"} {
		pairs := slices.Clone(good)
		pairs[slices.Index(pairs, field)+1] = value
		b.post("/billing/add-credits", "/billing/top-up", pairs...).shows(t, http.StatusUnprocessableEntity, `value="`+value+`"`, "Please check what is marked below.")
	}
	if len(r.shop.topUps) > 0 {
		t.Errorf("kept %+v", r.shop.topUps)
	}
	b.post("/billing/add-credits", "/billing/top-up", good...).to(t, "/billing/add-credits?done=top-up#top-up")
	if got := r.shop.topUps["acme"]; !got.Enabled || got.Below != 50*credit.PerCredit || got.Units != 500*credit.PerCredit || got.MaxPerDay != 2 {
		t.Errorf("top-up is %+v", got)
	}
	b.get("/billing").shows(t, http.StatusOK, "500 credits when below 50")
	b.get("/billing/add-credits").shows(t, http.StatusOK, "Saved card: Visa •••• 4242")
	b.post("/billing/add-credits", "/billing/top-up", "below", "50", "credits", "500").to(t, "/billing/add-credits?done=top-up-off#top-up")
	if r.shop.topUps["acme"].Enabled {
		t.Error("top-up is still on")
	}
}

// The saved card is removed on a second thought, and only while there is one.
func TestCardRemoved(t *testing.T) {
	r, b := signedIn(t)
	const remove = "/billing/card/remove"
	if got := b.get("/billing/add-credits"); strings.Contains(got.body, remove) {
		t.Error("a card that is not saved can be removed")
	}
	r.shop.billing["acme"] = ledger.Billing{Account: "acme", Card: "pm_1", CardName: "visa 4242"}
	r.shop.topUps["acme"] = ledger.TopUp{Account: "acme", Enabled: true, Below: 50 * credit.PerCredit, Units: 500 * credit.PerCredit}
	b.get("/billing/add-credits").shows(t, http.StatusOK, "Visa •••• 4242 is removed here and at our payment provider", remove)
	r.shop.reject = ledger.ErrUnavailable
	b.post("/billing/add-credits", remove).shows(t, http.StatusServiceUnavailable, "")
	r.shop.reject = nil
	if r.shop.billing["acme"].Card == "" {
		t.Error("removed while the payment provider is away")
	}
	b.post("/billing/add-credits", remove).to(t, "/billing/add-credits?done=card-removed#top-up")
	b.get("/billing/add-credits?done=card-removed").shows(t, http.StatusOK, "The card is removed.", "No card is saved yet.")
	if now := r.shop.topUps["acme"]; r.shop.billing["acme"].Card != "" || now.Enabled {
		t.Errorf("billing details are %+v, the top-up is %+v", r.shop.billing["acme"], now)
	}
}

// What is wrong with the top-up is told where it is set and on the overview, with what can be done about it.
func TestTopUpTrouble(t *testing.T) {
	r, b := signedIn(t)
	at := r.clock().Add(time.Hour)
	acme, _ := r.people.Account("acme")
	when := at.In(acme.Location).Format("15:04")
	set := ledger.TopUp{Account: "acme", Enabled: true, Below: 50 * credit.PerCredit, Units: 500 * credit.PerCredit, MaxPerDay: 2}
	for _, c := range []struct {
		name string
		set  func(*ledger.TopUp)
		want string // empty: nothing
	}{
		{"nothing", func(u *ledger.TopUp) { u.NotBefore = r.clock().Add(-time.Minute) }, ""},
		{"declined", func(u *ledger.TopUp) { u.Problem, u.NotBefore = "Your card was declined.", at },
			"Automatisch opwaarderen: Uw kaart is geweigerd. Volgende poging: "},
		{"waits", func(u *ledger.TopUp) { u.NotBefore = at }, `role="status"> Volgende poging: `},
		{"to confirm", func(u *ledger.TopUp) {
			u.Problem, u.PayURL = "Your bank asks you to confirm the payment.", "https://pay.example.com/1"
		}, `opwaarderen: Uw bank vraagt u de betaling te bevestigen. <a href="https://pay.example.com/1" rel="noreferrer">Nu betalen</a></p>`},
		{"turned off", func(u *ledger.TopUp) {
			u.Enabled, u.Problem, u.NotBefore = false, "It was turned off, since a payment was given back. You can turn it on again.", at
		}, "opwaarderen: Het is uitgezet, omdat een betaling is terugbetaald. U kunt het weer aanzetten.</p>"},
	} {
		now := set
		c.set(&now)
		r.shop.topUps["acme"] = now
		b.lang = "nl"
		for _, place := range []string{"/billing", "/billing/add-credits"} {
			got := b.get(place)
			got.shows(t, http.StatusOK, c.want)
			if told := strings.Count(got.body, "Volgende poging") + strings.Count(got.body, "Automatisch opwaarderen: "); told > 0 != (c.want != "") {
				t.Errorf("%s: %s tells %d times of trouble", c.name, place, told)
			}
			if strings.HasSuffix(c.want, "poging: ") && !strings.Contains(got.body, ", "+when+".</p>") {
				t.Errorf("%s: %s does not say when: %s", c.name, place, got.body)
			}
		}
	}
	b.get("/billing").shows(t, http.StatusOK, `<a href="/billing/add-credits#top-up">Wijzigen<span class="hidden">: Automatisch opwaarderen</span></a>`,
		`<a href="/billing/notices">Wijzigen<span class="hidden">: Melding</span></a>`)
}

// What is open can be paid; nothing else leads to a payment page.
func TestInvoices(t *testing.T) {
	r, b := signedIn(t)
	for i, status := range []string{"draft", "open", "paid", "void", "uncollectible"} {
		r.shop.invoices["acme"] = append(r.shop.invoices["acme"], ledger.Invoice{ID: "in_" + status, Number: fmt.Sprintf("RF-000%d", i), Status: status, Currency: "EUR",
			PayURL: "https://pay.example.com/" + status})
	}
	r.shop.invoices["acme"] = append(r.shop.invoices["acme"], ledger.Invoice{ID: "in_6", Number: "RF-0006", Status: "open", Currency: "EUR"})
	for lang, pay := range map[string]string{"en": "Pay", "nl": "Betalen", "de": "Bezahlen"} {
		b.lang = lang
		got := b.get("/billing/invoices")
		void := map[string]string{"en": "void", "nl": "geannuleerd", "de": "storniert"}[lang] // not what is overdue, as "vervallen" may be
		got.shows(t, http.StatusOK, `<a href="https://pay.example.com/open" rel="noreferrer">`+pay+`<span class="hidden"> RF-0001</span></a>`, `<span class="tag void">`+void+`</span>`)
		if n := strings.Count(got.body, "https://pay.example.com"); n != 1 {
			t.Errorf("%d invoices can be paid", n)
		}
	}
}

func TestKeys(t *testing.T) {
	r, b := signedIn(t)
	b.post("/billing/keys", "/billing/keys", "name", "", "lasts", "90d").shows(t, http.StatusUnprocessableEntity, "Give the key a name.", `value="90d" selected`)
	b.post("/billing/keys", "/billing/keys", "name", strings.Repeat("x", 101)).shows(t, http.StatusUnprocessableEntity, "At most 100 characters.")
	b.post("/billing/keys", "/billing/keys", "name", "a", "lasts", "1h").shows(t, http.StatusUnprocessableEntity, "Choose one from the list.",
		`aria-invalid="true" aria-describedby="lasts-problem lasts-hint"`, `id="lasts-problem"`)
	made := b.post("/billing/keys", "/billing/keys", "name", "CRM", "lasts", "90d")
	made.shows(t, http.StatusCreated, "has been made", "rf_live_")
	_, after, _ := strings.Cut(made.body, "data-key>")
	key, _, _ := strings.Cut(after, "<")
	if strings.Contains(b.get("/billing/keys").body, key) {
		t.Error("the key is shown again")
	}
	fresh := r.browser(t)
	fresh.signIn(key)
	keys, err := r.keys.List(t.Context(), "acme")
	must(t, err)
	last := keys[len(keys)-1]
	if last.Name != "CRM" || last.Expires.Sub(r.clock()) < 89*24*time.Hour {
		t.Errorf("made %+v", last)
	}
	b.post("/billing/keys", "/billing/keys/"+last.ID+"/revoke").to(t, "/billing/keys?done=revoked")
	fresh.get("/billing").to(t, "/billing/sign-in")
	b.get("/billing/keys").shows(t, http.StatusOK, "revoked")
}

// Sections whose service is not there say so; the rest works.
func TestMissing(t *testing.T) {
	_, b := signedIn(t, func(c *page.Config) {
		c.Shop, c.TopUps, c.Invoices, c.Details, c.Alerting, c.Webhooks, c.Statement = nil, nil, nil, nil, nil, nil, nil
	})
	const missing = "Not available here"
	b.get("/billing").shows(t, http.StatusOK, "500.00", "not available")
	for _, path := range []string{"/add-credits", "/invoices", "/details", "/notices"} {
		b.get("/billing"+path).shows(t, http.StatusOK, missing)
	}
	b.get("/billing/add-credits?package=500").shows(t, http.StatusOK, missing)
	b.get("/billing/paid").shows(t, http.StatusServiceUnavailable)
	b.get("/billing/invoices/in_1/pdf").shows(t, http.StatusNotFound)
	b.get("/billing/statement.csv").shows(t, http.StatusNotFound)
	for _, path := range []string{"/add-credits", "/top-up", "/details", "/alerts", "/webhook", "/webhook/test"} {
		b.post("/billing/keys", "/billing"+path, "package", "500").shows(t, http.StatusServiceUnavailable, "This is not available here.")
	}
}

func TestLists(t *testing.T) {
	r, b := signedIn(t)
	now := r.clock()
	var all []authz.Record
	for i := range 120 {
		all = append(all, used("acme", now.Add(-time.Duration(i)*time.Minute), 1))
	}
	r.ingest(t, append(all, rejected(used("acme", now, 1), "destination_blocked"))...)
	b.get("/billing/calls").shows(t, http.StatusOK, "Page 1 of 3", "destination not allowed")
	b.get("/billing/calls?page=3&status=ended").shows(t, http.StatusOK, "Page 3 of 3", `href="/billing/calls?page=2&status=ended"`)
	b.get("/billing/calls?page=-1").shows(t, http.StatusOK, "Page 1 of 3")
	b.get("/billing/calls?page=999").shows(t, http.StatusOK, "No calls here yet.")
	if got := b.get("/billing/calls?status=rejected"); strings.Contains(got.body, "normal hang-up") {
		t.Error("other calls are among the rejected ones")
	}
	b.get("/billing/usage?month=2020-02").shows(t, http.StatusOK, "February 2020", "0 minutes")
	b.get("/billing/usage?month=9999-02").shows(t, http.StatusOK, now.Format("2006"))
	got := b.get("/billing/statement.csv")
	if got.status != http.StatusOK || !strings.HasPrefix(got.header.Get("Content-Type"), "text/csv") || !strings.Contains(got.body, "purchase") {
		t.Errorf("the file is %d %v", got.status, got.header)
	}
	b.get("/billing?part=moves").shows(t, http.StatusOK, someone)
	// A long call that has just ended is among the latest movements, whatever began since.
	long := used("acme", r.clock(), 7*3600)
	long.Detail.From = "+4940987654"
	r.ingest(t, long)
	b.get("/billing?part=moves").shows(t, http.StatusOK, "+4940987654")
	b.do(http.MethodPost, "/billing/calls", url.Values{}).shows(t, http.StatusNotFound)
	b.get("/billing/").to(t, "/billing")
}
