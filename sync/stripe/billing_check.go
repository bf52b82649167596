package stripe

import (
	"errors"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe/vat"
)

// The names of billing details in the public API.
const (
	fieldCompany    = "company_name"
	fieldEmail      = "email"
	fieldAddress    = "address"
	fieldLine1      = "address.line1"
	fieldLine2      = "address.line2"
	fieldPostalCode = "address.postal_code"
	fieldCity       = "address.city"
	fieldState      = "address.state"
	fieldCountry    = "address.country"
	fieldVATID      = "vat_id"
)

const (
	longestDetail = 200 // characters
	longestEmail  = 254 // RFC 5321 4.5.3.1.3, less the angle brackets

	required = "This is required."
)

// checkBilling brings billing details into their canonical form, and reports everything that is wrong with them.
// Errors: *ledger.FieldError, joined.
func checkBilling(b *ledger.Billing) error {
	var errs []error
	for _, f := range []struct {
		name   string
		value  *string
		needed bool
	}{
		{fieldCompany, &b.Company, true}, {fieldEmail, &b.Email, false}, {fieldLine1, &b.Line1, true}, {fieldLine2, &b.Line2, false},
		{fieldPostalCode, &b.PostalCode, false}, {fieldCity, &b.City, true}, {fieldState, &b.State, false}, {fieldCountry, &b.Country, true},
	} {
		*f.value = strings.TrimSpace(*f.value)
		switch {
		case *f.value == "" && f.needed:
			errs = append(errs, missingField(f.name, required))
		case utf8.RuneCountInString(*f.value) > longestDetail:
			errs = append(errs, badField(f.name, "This is longer than %d characters.", longestDetail))
		case !utf8.ValidString(*f.value), strings.ContainsFunc(*f.value, unprintable):
			errs = append(errs, badField(f.name, "This has a character that cannot be printed."))
		}
	}
	if !isEmail(b.Email) {
		errs = append(errs, badField(fieldEmail, "This is not an e-mail address."))
	}
	b.Country = strings.ToUpper(b.Country)
	if b.Country != "" && !vat.KnownCountry(b.Country) {
		errs = append(errs, badField(fieldCountry, "This is not a country's code of two letters (ISO 3166-1 alpha-2), such as NL or DE; Greece is GR, the United Kingdom GB."))
	} else {
		errs = append(errs, checkPlace(b)...)
	}
	return errors.Join(errs...)
}

// NeedsPostalCode tells whether an address in a country (ISO 3166-1 alpha-2) has to have a postal code.
func NeedsPostalCode(country string) bool { return vat.InEU(country) && country != "IE" }

// checkPlace checks what hangs on the country.
func checkPlace(b *ledger.Billing) (errs []error) {
	if b.PostalCode == "" && NeedsPostalCode(b.Country) {
		errs = append(errs, missingField(fieldPostalCode, required))
	}
	if strings.TrimSpace(b.VATID) == "" {
		b.VATID = ""
		return errs
	}
	if b.Country == "" {
		return errs // which has been said
	}
	id, err := vat.ParseFor(b.Country, b.VATID)
	if err != nil {
		return append(errs, badField(fieldVATID, "This VAT ID %s.", err))
	}
	b.VATID = id.String()
	return errs
}

func unprintable(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }

// isEmail tells whether a text is an e-mail address and nothing else, or empty.
func isEmail(s string) bool {
	if s == "" {
		return true
	}
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s && len(s) <= longestEmail && strings.Contains(s[strings.LastIndexByte(s, '@'):], ".")
}
