package page_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// What is wrong with an amount is told the same in every form that takes one, whatever the service would say.
func TestAmounts(t *testing.T) {
	r, b := signedIn(t)
	r.shop.billing["acme"] = ledger.Billing{Account: "acme", Card: "pm_1", CardName: "visa 4242"}
	nines := strings.Repeat("9", 20)
	for _, c := range []struct{ lang, typed, sold, set string }{ // for what is sold, and for a threshold
		{"en", "many", "This is not a number.", "This is not a number."},
		{"en", "49.99", "At least 50 credits.", ""},
		{"en", "0", "At least 50 credits.", "This has to be more than 0."},
		{"en", "-60", "At least 50 credits.", "This has to be more than 0."},
		{"en", "-" + nines, "At least 50 credits.", "This has to be more than 0."},
		{"en", "100,000.01", "At most 100,000 credits at once.", ""},
		{"en", nines, "At most 100,000 credits at once.", "This number is too large."},
		{"nl", strings.Repeat(nines, 4), "Hoogstens 100.000 credits per keer.", "Dit getal is te groot."},
		{"en", "60.125", "Use at most two decimals.", "Use at most two decimals."},
		{"de", "60,12345678", "Verwenden Sie höchstens zwei Nachkommastellen.", "Verwenden Sie höchstens zwei Nachkommastellen."},
		{"en", "60." + strings.Repeat("1", 70), "Use at most two decimals.", "Use at most two decimals."},
		{"en", "60.1200", "", ""},
		{"nl", "1.000,5", "", ""},
	} {
		b.lang = c.lang
		topUp := func(below, units string) reply {
			return b.post("/billing/add-credits", "/billing/top-up", "enabled", "on", "below", below, "credits", units, "max_per_day", "2", "consent", "on")
		}
		if c.sold != "" {
			topUp("50", c.typed).shows(t, http.StatusUnprocessableEntity, `value="`+c.typed+`"`, `id="top-credits-problem">`+c.sold)
			b.get("/billing/add-credits?credits="+c.typed).shows(t, http.StatusUnprocessableEntity, `id="credits-problem">`+c.sold)
		}
		if c.set != "" {
			topUp(c.typed, "500").shows(t, http.StatusUnprocessableEntity, `value="`+c.typed+`"`, `id="top-below-problem">`+c.set)
		}
		if c.set != "" && c.typed != "0" { // which is no alert
			b.post("/billing/notices", "/billing/alerts", "below", c.typed).shows(t, http.StatusUnprocessableEntity, `value="`+c.typed+`"`, `id="below-problem">`+c.set)
		}
		if c.sold == "" && c.set == "" {
			topUp(c.typed, c.typed).to(t, "/billing/add-credits?done=top-up#top-up")
			b.get("/billing/add-credits?credits="+c.typed).shows(t, http.StatusOK, "€")
		}
	}
	for lang, want := range map[string]string{"en": "This is required.", "nl": "Dit veld is verplicht.", "de": "Dies ist ein Pflichtfeld."} {
		b.lang = lang
		b.post("/billing/add-credits", "/billing/top-up", "enabled", "on", "below", "", "credits", " ", "max_per_day", "2", "consent", "on").
			shows(t, http.StatusUnprocessableEntity, `id="top-below-problem">`+want, `id="top-credits-problem">`+want)
	}
}

// What is set already can stay, with more decimals than can be typed.
func TestAmountsStay(t *testing.T) {
	r, b := signedIn(t)
	r.shop.billing["acme"] = ledger.Billing{Account: "acme", Card: "pm_1", CardName: "visa 4242"}
	set := ledger.TopUp{Account: "acme", Enabled: true, Below: 50*credit.PerCredit + 7, Units: 500*credit.PerCredit + 1, MaxPerDay: 3}
	r.shop.topUps["acme"] = set
	good := []string{"enabled", "on", "below", "50.000117", "credits", "500.000017", "max_per_day", "3", "consent", "on"}
	b.get("/billing/add-credits").shows(t, http.StatusOK, `value="50.000117"`, `value="500.000017"`)
	b.post("/billing/add-credits", "/billing/top-up", good...).to(t, "/billing/add-credits?done=top-up#top-up")
	if now := r.shop.topUps["acme"]; now != set {
		t.Errorf("the top-up is %+v, it was %+v", now, set)
	}
	other := slices.Clone(good)
	other[3] = "50.000133"
	b.post("/billing/add-credits", "/billing/top-up", other...).shows(t, http.StatusUnprocessableEntity, "Use at most two decimals.")
}
