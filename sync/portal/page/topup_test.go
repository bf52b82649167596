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
