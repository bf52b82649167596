package page

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

func langs(t *testing.T) map[string]*language {
	t.Helper()
	all, err := loadLanguages()
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]*language{}
	for _, l := range all {
		by[l.tag] = l
	}
	return by
}

// Every catalogue has every text, with the same things to fill in.
func TestCatalogues(t *testing.T) {
	all := langs(t)
	en := all["en"]
	for tag, l := range all {
		for key, text := range l.words {
			if _, ok := en.words[key]; !ok {
				t.Errorf("%s: %q is in no other catalogue", tag, key)
			}
			if strings.TrimSpace(text) == "" {
				t.Errorf("%s: %q is empty", tag, key)
			}
		}
		for key, text := range en.words {
			if _, ok := l.words[key]; !ok {
				t.Errorf("%s: %q is missing", tag, key)
				continue
			}
			if strings.HasPrefix(key, "format.") {
				continue
			}
			want, got := blank.FindAllString(text, -1), blank.FindAllString(l.words[key], -1)
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(want, got) {
				t.Errorf("%s: %q has %v to fill in, English has %v", tag, key, got, want)
			}
		}
	}
}

var (
	inTemplate = regexp.MustCompile(`(?:\{\{|\()\s*(t|n) "([^"]+)"`)
	inPrint    = regexp.MustCompile(`\(print "([^"]+)"`)
	inGo       = regexp.MustCompile(`(?:text|plural|again|refused|problem\{[^,]+, )\(?"([a-z_]+\.[a-z_.0-9]+)"`)
)

// What templates and code say is in the catalogues, and nothing else is.
func TestTextsUsed(t *testing.T) {
	used := map[string]bool{}
	var prefixes []string
	files, err := fs.Glob(templates, "templates/*.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := fs.ReadFile(templates, file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range inTemplate.FindAllStringSubmatch(string(b), -1) {
			if m[1] == "n" {
				used[m[2]+".one"], used[m[2]+".other"] = true, true
			} else {
				used[m[2]] = true
			}
		}
		for _, m := range inPrint.FindAllStringSubmatch(string(b), -1) {
			prefixes = append(prefixes, m[1])
		}
	}
	en := langs(t)["en"]
	for key := range used {
		if _, ok := en.words[key]; !ok {
			t.Errorf("templates say %q, which is in no catalogue", key)
		}
	}
	for _, s := range logStatuses {
		prefixes = append(prefixes, "status."+s)
	}
	for _, key := range dones {
		used[key] = true
		if _, ok := en.words[key]; !ok {
			t.Errorf("%q is in no catalogue", key)
		}
	}
	for _, p := range []*problem{errNotFound, errForeign, errForm, errLimited, errStale, errSuspended, errUnavailable, errMissing, errInternal} {
		if _, ok := en.words[p.key]; !ok {
			t.Errorf("%q is in no catalogue", p.key)
		}
	}
	for _, kind := range []string{ledger.KindPurchase, ledger.KindBonus, ledger.KindAdjustment, ledger.KindRefund} {
		if _, ok := en.words["grant."+kind]; !ok {
			t.Errorf("no text for a %s", kind)
		}
	}
	for _, status := range []ledger.VATStatus{ledger.VATNone, ledger.VATPending, ledger.VATVerified, ledger.VATUnverified, ledger.VATUnavailable} {
		if _, ok := en.words["vat."+string(status)]; !ok {
			t.Errorf("no text for a VAT ID that is %q", status)
		}
	}
	for _, code := range []authz.Code{authz.CodeInvalidRequest, authz.CodeMissingField, authz.CodeInsufficientCredits, authz.CodeSpendLimitReached, authz.CodeAccountSuspended,
		authz.CodeDestinationBlocked, authz.CodeAccountNotFound, authz.CodeCallConflict, authz.CodeCallEnded, authz.CodeTooManyCalls, authz.CodeBalanceUnavailable} {
		if _, ok := en.words["reason."+string(code)]; !ok {
			t.Errorf("no words for a call rejected as %s", code)
		}
	}
	code := sources(t)
	for key := range en.words {
		if used[key] || strings.Contains(code, `"`+key+`"`) || strings.Contains(code, `"`+strings.TrimSuffix(strings.TrimSuffix(key, ".one"), ".other")+`"`) {
			continue
		}
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(key, p) }) ||
			slices.ContainsFunc([]string{"month.", "reason.", "cause.", "nav.", "format.", saidPrefix}, func(p string) bool { return strings.HasPrefix(key, p) }) {
			continue
		}
		t.Errorf("nobody says %q", key)
	}
	for _, m := range inGo.FindAllStringSubmatch(code, -1) {
		key := m[1]
		if _, ok := en.words[key]; !ok {
			if _, ok := en.words[key+".other"]; !ok {
				t.Errorf("the code says %q, which is in no catalogue", key)
			}
		}
	}
}

func TestNumbers(t *testing.T) {
	all := langs(t)
	for _, c := range []struct {
		what       string
		show       func(*language) string
		en, nl, de string
	}{
		{"credits", func(l *language) string { return l.credits(1234*credit.PerCredit + 30_000) }, "1,234.50", "1.234,50", "1.234,50"},
		{"credits below zero", func(l *language) string { return l.credits(-1) }, "−0.01", "−0,01", "−0,01"},
		{"cost", func(l *language) string { return l.change(-97_000) }, "−1.62", "−1,62", "−1,62"},
		{"gain", func(l *language) string { return l.change(97_000) }, "1.62", "1,62", "1,62"},
		{"brief", func(l *language) string { return l.brief(498*credit.PerCredit + 36_000) }, "498.6", "498,6", "498,6"},
		{"whole", func(l *language) string { return l.brief(1_000_000 * credit.PerCredit) }, "1,000,000", "1.000.000", "1.000.000"},
		{"money", func(l *language) string { return l.money(1_234_565_000, "EUR") }, "€1,234.57", "€ 1.234,57", "1.234,57 €"},
		{"refund", func(l *language) string { return l.money(-70_000, "EUR") }, "€−0.07", "€ −0,07", "−0,07 €"},
		{"price", func(l *language) string { return l.price(65_500, "EUR") }, "€0.0655", "€ 0,0655", "0,0655 €"},
		{"cents", func(l *language) string { return l.cents(4235, "EUR") }, "€42.35", "€ 42,35", "42,35 €"},
		{"yen", func(l *language) string { return l.cents(4235, "JPY") }, "JPY 4,235", "JPY 4.235", "JPY 4.235"},
		{"percent", func(l *language) string { return l.percent(2100) + " " + l.percent(550) }, "21% 5.5%", "21% 5,5%", "21 % 5,5 %"},
		{"date", func(l *language) string { return l.moment(time.Date(2026, 3, 5, 9, 7, 0, 0, time.UTC)) }, "5 Mar 2026, 09:07", "5 mrt 2026, 09:07", "05.03.2026, 09:07"},
		{"month", func(l *language) string { return l.month(time.Date(2026, 3, 5, 9, 7, 0, 0, time.UTC)) }, "March 2026", "maart 2026", "März 2026"},
		{"clock", func(l *language) string { return l.clock(65) + " " + l.clock(3723) }, "1:05 1:02:03", "1:05 1:02:03", "1:05 1:02:03"},
		{"plural", func(l *language) string { return l.plural("overview.live_calls", 1) }, "1 live call.", "1 lopend gesprek.", "1 laufender Anruf."},
		{"cause", func(l *language) string { return l.reason("ended", "127") }, "cause 127", "oorzaak 127", "Ursache 127"},
		{"country", func(l *language) string { return l.country("DE") + " " + l.country("ZZ") }, "Germany ZZ", "Duitsland ZZ", "Deutschland ZZ"},
		{"renamed countries", func(l *language) string { return l.country("MK") + ", " + l.country("SZ") }, "North Macedonia, Eswatini", "Noord-Macedonië, Eswatini", "Nordmazedonien, Eswatini"},
	} {
		for tag, want := range map[string]string{"en": c.en, "nl": c.nl, "de": c.de} {
			if got := strings.ReplaceAll(c.show(all[tag]), "\u00a0", " "); got != want {
				t.Errorf("%s in %s is %q, want %q", c.what, tag, got, want)
			}
		}
	}
}

// Countries are listed by the names that are shown, renamed ones too.
func TestCountriesSorted(t *testing.T) {
	for tag, l := range langs(t) {
		if len(l.countries) < 240 || !slices.IsSortedFunc(l.countries, func(x, y country) int { return strings.Compare(plain(x.Name), plain(y.Name)) }) {
			t.Errorf("%d countries in %s, sorted otherwise", len(l.countries), tag)
		}
	}
}

func TestCardNames(t *testing.T) {
	for name, want := range map[string]string{"visa 0341": "Visa •••• 0341", "mastercard 4444": "Mastercard •••• 4444", "amex 0005": "American Express •••• 0005",
		"cartes_bancaires 1234": "Cartes Bancaires •••• 1234", "newpay 1234": "newpay •••• 1234", "unknown 1234": "•••• 1234", "card": "", "": "", "My card": "My card", "visa 12345": "visa 12345"} {
		if got := strings.ReplaceAll(cardName(name), "\u00a0", " "); got != want {
			t.Errorf("%q is shown as %q, want %q", name, got, want)
		}
	}
}

// Numbers are read as they are written in the visitor's language.
func TestReadNumbers(t *testing.T) {
	all := langs(t)
	for _, c := range []struct{ tag, in, want string }{
		{"en", "1,234.5", "1234.5"}, {"en", "1,000", "1000"}, {"en", "498,6", "498.6"}, {"en", "498.6", "498.6"}, {"en", " 1 000 ", "1000"}, {"en", "1,234,567", "1234567"},
		{"nl", "1.234,5", "1234.5"}, {"nl", "1.000", "1000"}, {"nl", "498,6", "498.6"}, {"nl", "498.6", "498.6"}, {"nl", "0,125", "0.125"}, {"nl", "-2,5", "-2.5"}, {"nl", "−2", "-2"}, {"en", "1'000.5", "1000.5"},
		{"de", "1.234.567,89", "1234567.89"}, {"de", "12.5", "12.5"}, {"de", "1.234", "1234"},
	} {
		if got, ok := all[c.tag].read(c.in); got != c.want || !ok {
			t.Errorf("%q in %s is read as %q, %v, want %q", c.in, c.tag, got, ok, c.want)
		}
	}
	// What would be another number in the other grouping is none.
	for _, c := range []struct{ tag, in string }{
		{"en", "1.234,50"}, {"en", "1,23,4"}, {"en", "12,3456"}, {"en", "1.2.3"}, {"en", "0,125"}, {"en", "1,234,5"}, {"en", "1234,567"}, {"en", "1.000.000"},
		{"de", "1,234.50"}, {"de", "1.2345"}, {"de", "0.125"}, {"de", "1,234,567"}, {"de", "x"}, {"de", "1e3"}, {"de", ""}, {"de", "-"}, {"de", "5,"}, {"de", ",5"}, {"de", "1 00"}, {"de", "--5"},
	} {
		if got, ok := all[c.tag].read(c.in); ok {
			t.Errorf("%q in %s is read as %q", c.in, c.tag, got)
		}
	}
	for _, l := range all { // what is shown is read back
		for _, u := range []credit.Units{0, 600, 60_000, 123_456_000, 1_000_000 * credit.PerCredit} {
			text, ok := l.read(l.brief(u))
			if got, err := credit.ParseCredits(text); err != nil || got != u || !ok {
				t.Errorf("%q in %s is read back as %d, %v, want %d", l.brief(u), l.tag, got, err, u)
			}
		}
		for _, u := range []credit.Units{1, 1000, 750_003, 1_234*credit.PerCredit + 7} { // to the last unit
			text, ok := l.read(l.exact(u))
			if got, err := credit.ParseCredits(text); err != nil || got != u || !ok {
				t.Errorf("%q in %s is read back as %d, %v, want %d", l.exact(u), l.tag, got, err, u)
			}
		}
	}
}

func TestAcceptLanguage(t *testing.T) {
	v, err := loadViews(map[string]string{})
	if err != nil {
		t.Fatal(err)
	}
	for accept, want := range map[string]string{"": "en", "nl": "nl", "nl-BE,fr;q=0.5": "nl", "de-AT": "de", "fr,de;q=0.3": "de", "en;q=0.1, nl;q=0.9": "nl", "fr": "en", ";;;q=x": "en", "*": "en", strings.Repeat("x,", 9000): "en"} {
		if got := v.match(accept).tag; got != want {
			t.Errorf("%.40q is answered in %s, want %s", accept, got, want)
		}
	}
}

func TestChart(t *testing.T) {
	days := make([]bar, 31)
	days[3].Sum.Seconds, days[4].Sum.Seconds = 84, 3600
	c := draw(days)
	if c.Top != 4*1200 || len(c.Marks) != 5 || c.Marks[4].Seconds != c.Top {
		t.Errorf("the scale is %+v up to %d", c.Marks, c.Top)
	}
	if c.Bars[3].H < 2 || c.Bars[3].H >= c.Bars[4].H || c.Bars[5].H != 0 || c.Bars[30].X+c.Bars[30].W > c.Width {
		t.Errorf("bars are %+v", c.Bars[3:6])
	}
	if empty := draw(make([]bar, 28)); empty.Top <= 0 {
		t.Errorf("an empty month has a scale up to %d", empty.Top)
	}
}
