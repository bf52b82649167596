package vat

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// What can be wrong with a VAT ID.
var (
	// ErrNoPrefix: it does not begin with a country's two letters.
	ErrNoPrefix = errors.New("has no prefix of an EU country")
	// ErrForm: it has not the form of its country.
	ErrForm = errors.New("has not the form of its country")
	// ErrCheckDigit: its check digits do not fit the others: a slip of the keyboard.
	ErrCheckDigit = errors.New("has a wrong check digit")
	// ErrCountry: it is another country's than the one it is given for.
	ErrCountry = errors.New("is another country's")
)

// longest is more than any VAT ID has, blanks included.
const longest = 40

// ID is a VAT ID of the EU or of Northern Ireland, in its canonical form.
type ID struct {
	Prefix string // of its country: EL for Greece, XI for Northern Ireland
	Number string // what follows
}

// String is the ID as it is written: NL123456789B01. Empty: none.
func (id ID) String() string { return id.Prefix + id.Number }

// StripeType is the type of Stripe's tax id (docs.stripe.com/billing/customer/tax-ids): all the IDs of this package,
// those of Northern Ireland included, are eu_vat. Other countries' tax numbers play no part in EU VAT, and are not kept.
func (id ID) StripeType() string {
	if id.Prefix == "" {
		return ""
	}
	return "eu_vat"
}

// form is what a country's numbers look like (VIES FAQ, question 11), with an example for people.
type form struct {
	number  *regexp.Regexp
	example string
	valid   func(number string) bool // check digits; nil: not checked
}

func like(pattern, example string, valid func(string) bool) form {
	return form{regexp.MustCompile(`^(?:` + pattern + `)$`), example, valid}
}

// forms are those of every prefix. Where the check digits are not public, have exceptions, or take more than some lines
// (BG, CZ, ES, LT, LV, XI), Stripe's verification finds what the form lets through.
var forms = map[string]form{
	"AT": like(`U[0-9]{8}`, "ATU12345675", checkAT),
	"BE": like(`[01][0-9]{9}`, "BE0123456749", checkBE),
	"BG": like(`[0-9]{9,10}`, "BG123456789", nil),
	"CY": like(`[0-9]{8}[A-Z]`, "CY10259033P", checkCY),
	"CZ": like(`[0-9]{8,10}`, "CZ12345678", nil),
	"DE": like(`[1-9][0-9]{8}`, "DE123456788", checkMod1110),
	"DK": like(`[1-9][0-9]{7}`, "DK12345674", checkDK),
	"EE": like(`[0-9]{9}`, "EE123456780", checkEE),
	"EL": like(`[0-9]{9}`, "EL123456783", checkEL),
	"ES": like(`[A-Z][0-9]{7}[A-Z]|[0-9]{8}[A-Z]|[A-Z][0-9]{8}`, "ESX1234567X", nil),
	"FI": like(`[0-9]{8}`, "FI12345671", checkFI),
	"FR": like(`[A-HJ-NP-Z0-9]{2}[0-9]{9}`, "FR12345678901", checkFR),
	"HR": like(`[0-9]{11}`, "HR12345678903", checkMod1110),
	"HU": like(`[0-9]{8}`, "HU12345676", checkHU),
	"IE": like(`[0-9]{7}[A-W][A-IW]?|[0-9][A-Z+*][0-9]{5}[A-W]`, "IE1234567FA", checkIE),
	"IT": like(`[0-9]{11}`, "IT12345678903", luhn),
	"LT": like(`[0-9]{9}|[0-9]{12}`, "LT123456789", nil),
	"LU": like(`[0-9]{8}`, "LU12345613", checkLU),
	"LV": like(`[0-9]{11}`, "LV12345678901", nil),
	"MT": like(`[0-9]{8}`, "MT12345634", checkMT),
	"NL": like(`[0-9]{9}B[0-9]{2}`, "NL123456782B90", checkNL),
	"PL": like(`[0-9]{10}`, "PL1234567883", checkPL),
	"PT": like(`[0-9]{9}`, "PT123456789", checkPT),
	"RO": like(`[1-9][0-9]{1,9}`, "RO1234567897", checkRO),
	"SE": like(`[0-9]{12}`, "SE123456789701", checkSE),
	"SI": like(`[1-9][0-9]{7}`, "SI12345679", checkSI),
	"SK": like(`[1-9][0-9]{9}`, "SK1234567895", checkSK),
	"XI": like(`[0-9]{9}|[0-9]{12}|GD[0-9]{3}|HA[0-9]{3}`, "XI123456789", nil),
}

// separators are what people put between the parts of a number.
var separators = strings.NewReplacer(" ", "", "\u00a0", "", "\u202f", "", "\t", "", ".", "", "-", "", "\u2010", "", "\u2011", "", "\u2013", "", "/", "", ",", "", "_", "")

// Normalize brings what somebody typed into the canonical form, without checking it: capitals, no blanks, dots or
// dashes, EL for Greece's GR, and a Belgian number of before 2008 with its leading 0.
func Normalize(raw string) string {
	if len(raw) > longest*4 {
		return raw[:0]
	}
	s := strings.ToUpper(separators.Replace(raw))
	if rest, ok := strings.CutPrefix(s, "GR"); ok {
		s = prefixGreece + rest
	}
	if len(s) == 11 && strings.HasPrefix(s, "BE") {
		s = "BE0" + s[2:]
	}
	return s
}

// Parse reads a VAT ID as people write it. Errors: [ErrNoPrefix], [ErrForm], [ErrCheckDigit], each with a sentence on
// what to do.
func Parse(raw string) (ID, error) {
	s := Normalize(raw)
	if len(s) < 2 {
		return ID{}, fmt.Errorf("%w: write it with its country's letters, like NL123456782B90", ErrNoPrefix)
	}
	id := ID{Prefix: s[:2], Number: s[2:]}
	f, ok := forms[id.Prefix]
	if !ok {
		return ID{}, fmt.Errorf("%w: write it with its country's letters, like NL123456782B90", ErrNoPrefix)
	}
	if !f.number.MatchString(id.Number) {
		return ID{}, fmt.Errorf("%w: one of %s looks like %s", ErrForm, id.Prefix, f.example)
	}
	if f.valid != nil && !f.valid(id.Number) {
		return ID{}, fmt.Errorf("%w: compare it with the one on your registration", ErrCheckDigit)
	}
	return id, nil
}

// ParseFor reads a VAT ID that belongs to a business in a country (ISO 3166-1 alpha-2). An ID without the letters of
// its country is given them. Errors: those of [Parse], and [ErrCountry].
func ParseFor(country, raw string) (ID, error) {
	prefix := Prefix(country)
	if prefix == "" {
		return ID{}, fmt.Errorf("%w: VAT IDs are those of the EU and of Northern Ireland; leave it empty", ErrCountry)
	}
	id, err := Parse(raw)
	if country == "GB" && !strings.HasPrefix(Normalize(raw), prefixNorthernIreland) {
		return ID{}, fmt.Errorf("%w: only numbers of Northern Ireland, which begin with XI, are VAT IDs here; leave it empty", ErrCountry)
	}
	if errors.Is(err, ErrNoPrefix) {
		id, err = Parse(prefix + raw)
	}
	if err != nil {
		return ID{}, err
	}
	if id.Prefix != prefix {
		return ID{}, fmt.Errorf("%w: the address is in %s, so it has to begin with %s", ErrCountry, country, prefix)
	}
	return id, nil
}
