package page_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// Whoever keeps a card is told what it is charged for: at once, where the top-up is on.
func TestCardConsent(t *testing.T) {
	r, b := signedIn(t)
	for lang, want := range map[string][2]string{
		"en": {"It is charged without me only after I turn those on", "Keep my card. Automatic top-up is on and will use it from now on."},
		"nl": {"Hij wordt pas zonder mij belast nadat ik dat aanzet", "Bewaar mijn kaart. Automatisch opwaarderen staat aan en gebruikt deze kaart vanaf nu."},
		"de": {"Sie wird erst ohne mein Zutun belastet, wenn ich das einschalte", "Meine Karte speichern. Automatisches Aufladen ist eingeschaltet und verwendet sie ab jetzt."},
	} {
		b.lang = lang
		for i, on := range []bool{false, true} {
			r.shop.topUps["acme"] = ledger.TopUp{Account: "acme", Enabled: on, Below: 50 * credit.PerCredit, Units: 500 * credit.PerCredit, MaxPerDay: 2, Problem: "Your card was declined."}
			for _, part := range []string{"", "&part=quote"} {
				got := b.get("/billing/add-credits?package=500" + part)
				got.shows(t, http.StatusOK, `<input type="checkbox" name="save_card"> <span>`, want[i])
				if strings.Contains(got.body, want[1-i]) {
					t.Errorf("%s: the top-up is on: %v, but it says %q", lang, on, want[1-i])
				}
			}
		}
	}
	// The same where a purchase is shown again.
	r.shop.topUps["acme"] = ledger.TopUp{}
	b.lang = "en"
	b.post("/billing/add-credits?package=500", "/billing/add-credits", "package", "500", "total", "1 EUR", "save_card", "on").
		shows(t, http.StatusUnprocessableEntity, `name="save_card" checked> <span>Keep my card for automatic top-ups.`)
}

// The form is shown where it can be of use, as it is set.
func TestTopUpForm(t *testing.T) {
	r, b := signedIn(t)
	const form, consent = `action="/billing/top-up"`, `name="consent" id="consent"`
	b.get("/billing/add-credits").shows(t, http.StatusOK, "No card is saved yet. Tick “Keep my card” with your next purchase.")
	if strings.Contains(b.last.body, form) {
		t.Error("without a card there is a form that would be refused")
	}
	r.shop.billing["acme"] = ledger.Billing{Account: "acme", Card: "pm_1", CardName: "visa 4242"}
	b.get("/billing/add-credits").shows(t, http.StatusOK, form, consent+`> <span>I agree that`)
	set := ledger.TopUp{Account: "acme", Enabled: true, Below: 50 * credit.PerCredit, Units: 500 * credit.PerCredit, MaxPerDay: 2}
	r.shop.topUps["acme"] = set
	for lang, want := range map[string]string{"en": "At most (purchases in 24 hours)", "nl": "Hoogstens (aankopen in 24 uur)", "de": "Höchstens (Käufe in 24 Stunden)"} {
		b.lang = lang
		b.get("/billing/add-credits").shows(t, http.StatusOK, consent+` checked>`, want+"</label>", `value="2"`)
	}
	b.lang = "en"
	// Whoever takes it back has it taken back.
	b.post("/billing/add-credits", "/billing/top-up", "enabled", "on", "below", "50", "credits", "500", "max_per_day", "2").
		shows(t, http.StatusUnprocessableEntity, "Without your consent the card cannot be charged.", consent+` aria-invalid="true"`)
	// A card that is gone must not keep anybody from turning it off.
	r.shop.billing["acme"] = ledger.Billing{Account: "acme"}
	b.get("/billing/add-credits").shows(t, http.StatusOK, "No card is saved yet.", form, `id="enabled" checked>`)
	b.post("/billing/add-credits", "/billing/top-up", "below", "50", "credits", "500").to(t, "/billing/add-credits?done=top-up-off#top-up")
	if strings.Contains(b.get("/billing/add-credits").body, form) {
		t.Error("without a card there is a form that would be refused")
	}
}
