package page_test

import (
	"net/http"
	"testing"
	"time"
)

// Every place of the page is shown to whoever is signed in, in every language.
func TestPlaces(t *testing.T) {
	r := newRig(t)
	key := r.open(t, "acme", 500)
	r.ingest(t, used("acme", time.Now().Add(-time.Minute), 84), rejected(used("acme", time.Now(), 1), "insufficient_credits"))
	r.call(t, "acme", "live-1", 7*time.Second)
	for _, c := range []struct {
		lang                               string
		balance, overview, reason, invoice string
	}{
		{"en", "499.8", "Overview", "not enough credits", "No invoices yet"},
		{"nl-NL,nl;q=0.9,en;q=0.8", "499,8", "Overzicht", "niet genoeg tegoed", "Nog geen facturen"},
		{"de", "499,8", "Übersicht", "nicht genug Guthaben", "Noch keine Rechnungen"},
	} {
		b := r.browser(t)
		b.lang = c.lang
		b.signIn(key)
		b.get("/billing").shows(t, http.StatusOK, c.overview, c.balance, "Main line", "Your Company", "0:0", someone)
		b.get("/billing/usage").shows(t, http.StatusOK, "1"+map[bool]string{true: ".", false: ","}[c.lang == "en"]+"4", "<svg")
		b.get("/billing/calls").shows(t, http.StatusOK, c.reason, "1:24")
		b.get("/billing/statement").shows(t, http.StatusOK, "498"+map[bool]string{true: ".", false: ","}[c.lang == "en"]+"60")
		b.get("/billing/add-credits").shows(t, http.StatusOK, "500", "0")
		b.get("/billing/invoices").shows(t, http.StatusOK, c.invoice)
		b.get("/billing/details").shows(t, http.StatusOK, `value="Your Company"`)
		b.get("/billing/notices").shows(t, http.StatusOK, "webhook")
		b.get("/billing/keys").shows(t, http.StatusOK, "Website", "rf_live_")
		b.get("/billing/nowhere").shows(t, http.StatusNotFound)
	}
}
