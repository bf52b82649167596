package page

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// services are the folders whose sentences customers meet on the page.
var services = []string{"../../stripe", "../../stripe/vat", "../../notify", "../../ledger", "../../reconcile"}

// gap stands in a text for what a service fills in.
const gap = "\x00"

var verb = regexp.MustCompile(`%[-+# 0]*[0-9.]*[a-zA-Z]`)

// literals are the texts of a Go file: its string literals, and what is put together with +. Verbs are gaps.
func literals(t *testing.T, file string) (all []string) {
	t.Helper()
	syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var text func(n ast.Expr) string
	text = func(n ast.Expr) string {
		switch e := n.(type) {
		case *ast.BasicLit:
			if e.Kind == token.STRING {
				s, err := strconv.Unquote(e.Value)
				if err != nil {
					t.Fatal(err)
				}
				return strings.ReplaceAll(verb.ReplaceAllString(s, gap), "%%", "%")
			}
		case *ast.BinaryExpr:
			if e.Op == token.ADD {
				return text(e.X) + text(e.Y)
			}
		}
		return gap
	}
	ast.Inspect(syntax, func(n ast.Node) bool {
		e, ok := n.(ast.Expr)
		if ok {
			if s := text(e); strings.Trim(s, gap) != "" {
				all = append(all, s)
				return false
			}
		}
		return true
	})
	return all
}

// goFiles are the files of a folder, tests left out.
func goFiles(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(folder + "/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no Go files: %v", folder, err)
	}
	return slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, "_test.go") })
}

// made tells whether a text can be what comes of texts of the sources: one of them, with its gaps filled by {name}s or
// by others of them.
func made(text string, from []*regexp.Regexp) bool {
	return slices.ContainsFunc(from, func(p *regexp.Regexp) bool {
		found := p.FindStringSubmatch(text)
		return found != nil && !slices.ContainsFunc(found[1:], func(part string) bool {
			return blank.FindString(part) != part && !made(part, from)
		})
	})
}

// The English that sentences of the services are found by is what their sources say.
func TestSayingsAreTheServices(t *testing.T) {
	var from []*regexp.Regexp
	for _, folder := range services {
		for _, file := range goFiles(t, folder) {
			for _, s := range literals(t, file) {
				if !strings.ContainsFunc(s, unicode.IsLetter) {
					continue // what is all gap is anything
				}
				from = append(from, regexp.MustCompile(`(?s)^`+strings.ReplaceAll(regexp.QuoteMeta(s), gap, `(.+)`)+`$`))
			}
		}
	}
	for key, text := range langs(t)["en"].words {
		if strings.HasPrefix(key, saidPrefix) && !made(text, from) {
			t.Errorf("no service says %q (%s)", text, key)
		}
	}
}

// unsaid are files whose sentences no customer meets on the page.
var unsaid = map[string]string{
	"answer.go": "of the API", "api.go": "of the API", "billing_api.go": "of the API", "checkout.go": "of addresses to return to, which are the page's own",
	"events.go": "for Stripe", "metrics.go": "for the operator", "message.go": "in webhooks",
}

// unmet are sentences of other files that no customer meets on the page either.
var unmet = []string{
	"Give " + gap + " or " + gap + ", not both.", "Say how much: amount_minutes or amount_eur.", "Amounts have two decimals at most.", // the page asks for minutes
	"Write a plain decimal number, such as 500 or 34.90.", "Write a plain decimal number with two decimals at most.", // the page writes it
}

// Whatever the services say in a sentence is said in the visitor's language, or is not for the page.
func TestServicesAreSaid(t *testing.T) {
	en := langs(t)["en"]
	var vatIDs []string // "This VAT ID ..." goes on with what package vat says
	for key, text := range en.words {
		if strings.HasPrefix(key, saidPrefix+"vat_id.") {
			vatIDs = append(vatIDs, blank.ReplaceAllString(text, gap))
		}
	}
	met := map[string]bool{}
	for _, folder := range services {
		for _, file := range goFiles(t, folder) {
			if unsaid[filepath.Base(file)] != "" {
				continue
			}
			for _, s := range literals(t, file) {
				if rest, wrong := strings.CutPrefix(s, gap+": "); wrong && filepath.Base(file) == "id.go" && !slices.ContainsFunc(vatIDs, func(said string) bool { return strings.HasSuffix(said, ": "+rest+".") }) {
					t.Errorf("lang/*.json have no %q of a VAT ID", rest)
				}
				if !unicode.IsUpper([]rune(s)[0]) || !strings.HasSuffix(s, ".") || !strings.Contains(s, " ") {
					continue
				}
				if slices.Contains(unmet, s) {
					met[s] = true
					continue
				}
				if key, _ := en.sayings.find(strings.ReplaceAll(s, gap, "1")); key == "" && s != "This VAT ID "+gap+"." {
					t.Errorf("%s says %q, which lang/*.json have not under %q", file, strings.ReplaceAll(s, gap, "%"), saidPrefix)
				}
			}
		}
	}
	for _, s := range unmet {
		if !met[s] {
			t.Errorf("nobody says %q any more", s)
		}
	}
}

// Each is found by its own English, whatever is filled in.
func TestSayingsAreFound(t *testing.T) {
	const id = "0198c2f1-0b1c-7c3a-8a55-0d6b7a6f0a11"
	all := langs(t)
	for key, text := range all["en"].words {
		if !strings.HasPrefix(key, saidPrefix) {
			continue
		}
		said := blank.ReplaceAllString(strings.ReplaceAll(text, "{id}", id), "Some Thing")
		if found, _ := all["en"].sayings.find(said); found != key {
			t.Errorf("%q is taken for %s, not %s", said, found, key)
		}
		if got := all["en"].say(said).String(); got != strings.ReplaceAll(said, id, "…7a6f0a11") {
			t.Errorf("the English page says %q of %q", got, said)
		}
	}
}

// memberVAT finds the EU's countries in package vat.
var memberVAT = regexp.MustCompile(`"([A-Z]{2})": "([A-Z][a-z]+)"`)

func TestSay(t *testing.T) {
	all := langs(t)
	for _, c := range []struct{ said, nl, de string }{
		{"This is required.", "Dit veld is verplicht.", "Dies ist ein Pflichtfeld."},
		{"This is longer than 200 characters.", "Dit is langer dan 200 tekens.", "Das ist länger als 200 Zeichen."},
		{"This VAT ID is another country's: the address is in DE, so it has to begin with DE.",
			"Dit btw-nummer is van een ander land: als land is Duitsland gekozen, dus het moet met DE beginnen.",
			"Diese USt-IdNr. gehört zu einem anderen Land: Als Land ist Deutschland gewählt, daher muss sie mit DE beginnen."},
		{"Dutch VAT 21%", "Nederlandse btw: 21%", "Niederländische MwSt.: 21 %"},
		{"FR VAT 5.5%", "Franse btw: 5,5%", "Französische MwSt.: 5,5 %"},
		{"GB VAT 20%", "GB btw: 20%", "GB MwSt.: 20 %"},
		{"A purchase is of EUR 5.00 to EUR 10000.00 without VAT, which is 71.42 to 142857.14 minutes.",
			"Een aankoop is van € 5,00 tot € 10000,00 exclusief btw; dat zijn 71,42 tot 142857,14 minuten.",
			"Ein Kauf beträgt 5,00 € bis 10000,00 € ohne MwSt., das sind 71,42 bis 142857,14 Minuten."},
		{"the endpoint answered 301 Moved Permanently; redirects are not followed",
			"de server antwoordde [301 Moved Permanently]; doorverwijzingen worden niet gevolgd",
			"der Server antwortete [301 Moved Permanently]; Weiterleitungen wird nicht gefolgt"},
		{"The payment provider does not take this: Invalid {country}: X. Please correct your billing details.",
			"De betaaldienst accepteert dit niet: [Invalid {country}: X.] Pas uw bedrijfsgegevens aan.",
			"Der Zahlungsdienstleister nimmt das nicht an: [Invalid {country}: X.] Bitte korrigieren Sie Ihre Firmendaten."},
		{"A service that says something new.", "[A service that says something new.]", "[A service that says something new.]"},
		{"", "", ""},
	} {
		for tag, want := range map[string]string{"nl": c.nl, "de": c.de} {
			var got strings.Builder
			for _, p := range all[tag].say(c.said) {
				if p.English {
					p.Text = "[" + p.Text + "]"
				}
				got.WriteString(p.Text)
			}
			if got.String() != want {
				t.Errorf("%q in %s is %q, want %q", c.said, tag, got.String(), want)
			}
		}
	}
	countries := 0
	for _, file := range goFiles(t, "../../stripe/vat") {
		for _, m := range memberVAT.FindAllStringSubmatch(source(t, file), -1) {
			countries++
			for _, l := range all {
				if key := saidCountry + m[1]; all["en"].words[key] != m[2] || l.say(m[2]+" VAT 20%").String() == m[2]+" VAT 20%" && l.tag != "en" {
					t.Errorf("%s VAT is not said in %s", m[2], l.tag)
				}
			}
		}
	}
	if countries != 27 {
		t.Errorf("%d countries, want the EU's 27", countries)
	}
}

// A grant says why it was made where its kind does not.
func TestWhy(t *testing.T) {
	all := langs(t)
	const id = "0198c2f1-0b1c-7c3a-8a55-0d6b7a6f0a11"
	for tag, want := range map[string]string{"en": "automatic top-up", "nl": "automatisch opgewaardeerd", "de": "automatisch aufgeladen"} {
		for reason, want := range map[string]string{"purchase " + id: "", "automatic top-up " + id: want} { // beside an invoice, which tells which
			if got := all[tag].why(&authz.Grant{Kind: ledger.KindPurchase, Reason: reason}, true); got != want {
				t.Errorf("%q in %s is for %q, want %q", reason, tag, got, want)
			}
		}
	}
	for _, c := range []struct{ kind, reason, en, nl, de string }{
		{ledger.KindPurchase, "purchase " + id, "purchase …7a6f0a11", "aankoop …7a6f0a11", "Kauf …7a6f0a11"},
		{ledger.KindPurchase, "automatic top-up " + id, "automatic top-up …7a6f0a11", "automatisch opgewaardeerd …7a6f0a11", "automatisch aufgeladen …7a6f0a11"},
		{ledger.KindPurchase, "purchase order 4711-2", "purchase order 4711-2", "purchase order 4711-2", "purchase order 4711-2"},
		{ledger.KindRefund, "refund", "", "", ""},
		{ledger.KindRefund, "dispute", "dispute", "betaling betwist", "Zahlung angefochten"},
		{ledger.KindBonus, "voor uw geduld", "voor uw geduld", "voor uw geduld", "voor uw geduld"},
		{ledger.KindBonus, "Your card was declined.", "Your card was declined.", "Your card was declined.", "Your card was declined."},
		{ledger.KindBonus, "", "", "", ""},
	} {
		for tag, want := range map[string]string{"en": c.en, "nl": c.nl, "de": c.de} {
			if got := all[tag].why(&authz.Grant{Kind: c.kind, Reason: c.reason}, false); got != want {
				t.Errorf("a %s for %q in %s is for %q, want %q", c.kind, c.reason, tag, got, want)
			}
		}
	}
}
