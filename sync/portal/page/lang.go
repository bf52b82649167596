package page

import (
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	textlang "golang.org/x/text/language"
	"golang.org/x/text/language/display"

	"github.com/hmsovereign/ringfence/authz/credit"
)

//go:embed lang/*.json
var catalogues embed.FS

// languages are those of the catalogues; the first is for whoever reads none of them.
var languages = []string{"en", "nl", "de"}

// language is what the page says and how it writes numbers, for one of them.
type language struct {
	tag       string
	words     map[string]string
	countries []country
	sayings   *sayings // of all languages
}

type country struct{ Code, Name string }

// loadLanguages reads the catalogues.
func loadLanguages() ([]*language, error) {
	all := make([]*language, 0, len(languages))
	for _, tag := range languages {
		b, err := fs.ReadFile(catalogues, "lang/"+tag+".json")
		if err != nil {
			return nil, err
		}
		l := &language{tag: tag}
		if err := json.Unmarshal(b, &l.words); err != nil {
			return nil, fmt.Errorf("lang/%s.json: %w", tag, err)
		}
		l.countries = countries(textlang.MustParse(tag))
		all = append(all, l)
	}
	known := newSayings(all[0].words)
	for _, l := range all {
		l.sayings = known
	}
	return all, nil
}

// reserved are codes that ISO 3166-1 keeps for what is no country: no address is there.
var reserved = []string{"AC", "CP", "DG", "EA", "EU", "EZ", "IC", "TA", "UN"}

// renamed are countries that golang.org/x/text still calls by an earlier name.
var renamed = map[string]map[string]string{
	"en": {"MK": "North Macedonia", "SZ": "Eswatini"},
	"nl": {"MK": "Noord-Macedonië", "SZ": "Eswatini"},
	"de": {"MK": "Nordmazedonien", "SZ": "Eswatini"},
}

// countries are all of ISO 3166-1 under their names in a language, by name.
func countries(tag textlang.Tag) []country {
	names := display.Regions(tag)
	var all []country
	for a := 'A'; a <= 'Z'; a++ {
		for b := 'A'; b <= 'Z'; b++ {
			code := string(a) + string(b)
			r, err := textlang.ParseRegion(code)
			if err != nil || !r.IsCountry() || r.String() != code || r.Canonicalize() != r || slices.Contains(reserved, code) {
				continue
			}
			if name := cmp.Or(renamed[tag.String()][code], names.Name(r)); name != "" {
				all = append(all, country{code, name})
			}
		}
	}
	slices.SortFunc(all, func(x, y country) int { return strings.Compare(plain(x.Name), plain(y.Name)) })
	return all
}

// plain sorts Österreich among the O.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if i := strings.IndexRune("ÄÅÖÜÉÇ", unicode.ToUpper(r)); i >= 0 {
			return map[rune]rune{'Ä': 'a', 'Å': 'a', 'Ö': 'o', 'Ü': 'u', 'É': 'e', 'Ç': 'c'}[unicode.ToUpper(r)]
		}
		return unicode.ToLower(r)
	}, s)
}

// text gives a text of the catalogue, with {name} replaced by what follows it.
func (l *language) text(key string, pairs ...any) string {
	s, ok := l.words[key]
	if !ok {
		return key
	}
	if len(pairs) == 0 {
		return s
	}
	with := make([]string, 0, len(pairs))
	for i := 0; i+1 < len(pairs); i += 2 {
		with = append(with, "{"+fmt.Sprint(pairs[i])+"}", fmt.Sprint(pairs[i+1]))
	}
	return strings.NewReplacer(with...).Replace(s)
}

// plural gives the text of key.one or key.other for a number, which is {n}.
func (l *language) plural(key string, n int64) string {
	form := ".other"
	if n == 1 {
		form = ".one"
	}
	return l.text(key+form, "n", l.whole(n))
}

// whole writes a number with its thousands apart: 1,234 or 1.234.
func (l *language) whole(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "−", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + l.words["format.thousands"] + s[i:]
	}
	return sign + s
}

// hundredths writes a number of them, always with both.
func (l *language) hundredths(n int64) string {
	sign, whole, part := "", n/100, n%100
	if n < 0 {
		sign, whole, part = "−", -whole, -part
	}
	return sign + l.whole(whole) + l.words["format.decimal"] + fmt.Sprintf("%02d", part)
}

// credits writes credit, rounded down to 0.01: 498.60.
func (l *language) credits(u credit.Units) string {
	const per = int64(credit.PerCredit) / 100
	n := int64(u) / per
	if int64(u)%per < 0 {
		n--
	}
	return l.hundredths(n)
}

// change writes what a call cost or a grant brought, rounded to the nearest
// 0.01, the same whether it is shown as a cost or as a loss.
func (l *language) change(u credit.Units) string {
	const per = int64(credit.PerCredit) / 100
	n, half := int64(u), per/2
	if n < 0 {
		half = -half
	}
	return l.hundredths((n + half) / per)
}

// brief writes credit with no more decimals than it takes: 500, 498.6.
func (l *language) brief(u credit.Units) string {
	s := l.credits(u)
	whole, part, _ := strings.Cut(s, l.words["format.decimal"])
	if part = strings.TrimRight(part, "0"); part == "" {
		return whole
	}
	return whole + l.words["format.decimal"] + part
}

// currencySigns are those that need no explanation in the languages at hand.
var currencySigns = map[string]string{"EUR": "€", "USD": "$", "GBP": "£"}

// noDecimals are currencies whose smallest unit is the whole one (ISO 4217).
var noDecimals = []string{"BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"}

// money writes an amount, rounded half up to the cent.
func (l *language) money(m credit.Micros, currency string) string {
	n := int64(m) / 10_000
	switch rest := int64(m) % 10_000; {
	case rest >= 5_000:
		n++
	case rest <= -5_000:
		n--
	}
	return l.priced(l.hundredths(n), currency)
}

// price writes an amount exactly, with at least two decimals: 0.07, 0.065.
func (l *language) price(m credit.Micros, currency string) string {
	return l.priced(strings.Replace(m.Money(), ".", l.words["format.decimal"], 1), currency)
}

// cents writes an amount in the currency's smallest unit.
func (l *language) cents(n int64, currency string) string {
	if slices.Contains(noDecimals, currency) {
		return l.priced(l.whole(n), currency)
	}
	return l.priced(l.hundredths(n), currency)
}

func (l *language) priced(amount, currency string) string {
	sign, ok := currencySigns[currency]
	if !ok {
		return currency + "\u00a0" + amount
	}
	return strings.NewReplacer("{sign}", sign, "{amount}", amount, " ", "\u00a0").Replace(l.words["format.money"])
}

// percent writes hundredths of a percent: 21%, 5.5%.
func (l *language) percent(n int64) string {
	s := l.hundredths(n)
	whole, part, _ := strings.Cut(s, l.words["format.decimal"])
	if part = strings.TrimRight(part, "0"); part != "" {
		whole += l.words["format.decimal"] + part
	}
	return strings.ReplaceAll(l.text("format.percent", "n", whole), " ", "\u00a0")
}

// clock writes seconds of talk: 0:05, 1:02:03.
func (l *language) clock(sec int64) string {
	if sec < 3600 {
		return fmt.Sprintf("%d:%02d", sec/60, sec%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", sec/3600, sec/60%60, sec%60)
}

// date writes a day: 23 Nov 2026, 23.11.2026.
func (l *language) date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	y, m, d := t.Date()
	return l.text("format.date", "d", d, "dd", fmt.Sprintf("%02d", d), "mm", fmt.Sprintf("%02d", int(m)), "mon", l.words["month.short."+strconv.Itoa(int(m))], "y", y)
}

// moment writes a day and a time of day.
func (l *language) moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return l.date(t) + ", " + t.Format("15:04")
}

// month writes one: November 2026.
func (l *language) month(t time.Time) string {
	return l.words["month."+strconv.Itoa(int(t.Month()))] + " " + strconv.Itoa(t.Year())
}

// exact writes credit so that [language.read] brings back the same: 1234.5,
// without its thousands apart.
func (l *language) exact(u credit.Units) string {
	return strings.Replace(u.Credits(), ".", l.words["format.decimal"], 1)
}

// read turns a number as it is typed in this language into the plain decimal
// that the parsers take: "1.234,50" in Dutch and German, "1,234.50" in English.
// A single separator with one or two digits after it is the decimal one, whoever
// writes it. Thousands may also be apart by spaces or apostrophes. What is
// written in another way is not guessed at: ok is false.
func (l *language) read(s string) (plain string, ok bool) {
	decimal, thousands := l.words["format.decimal"], l.words["format.thousands"]
	s = strings.TrimSpace(s)
	sign := ""
	for _, minus := range []string{"-", "−"} {
		if rest, found := strings.CutPrefix(s, minus); found {
			sign, s = "-", rest
			break
		}
	}
	if i := strings.LastIndexAny(s, ".,"); i >= 0 && strings.Count(s, ".")+strings.Count(s, ",") == 1 {
		if after := len(s) - i - 1; after == 1 || after == 2 {
			decimal = string(s[i])
		}
	}
	whole, part, broken := strings.Cut(s, decimal)
	groups := strings.Split(strings.NewReplacer(" ", thousands, "\u00a0", thousands, "\u202f", thousands, "'", thousands).Replace(whole), thousands)
	for i, group := range groups {
		switch {
		case !digits(group), i > 0 && len(group) != 3:
			return "", false
		case i == 0 && len(groups) > 1 && (len(group) > 3 || group[0] == '0'):
			return "", false // 0,125 is no thousands
		}
	}
	if !broken {
		return sign + strings.Join(groups, ""), true
	}
	return sign + strings.Join(groups, "") + "." + part, digits(part)
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
