package portal

import (
	"errors"
	"net/mail"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nyaruka/phonenumbers"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

const (
	mostName      = 200 // characters
	mostEmail     = 254 // RFC 5321 4.5.3.1.3, less the angle brackets
	mostReference = 200
	mostReason    = 500
	mostCalls     = 1_000_000

	// mostGranted is a bound against slips of the keyboard: 100 million minutes.
	mostGranted = 100_000_000 * credit.PerCredit
)

var (
	idForm       = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	languageForm = regexp.MustCompile(`^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$`) // BCP 47, the usual part of it
)

// checks gathers what is wrong with a request.
type checks struct{ errs []*Error }

func (c *checks) fail(param, format string, args ...any) {
	c.errs = append(c.errs, invalid(param, format, args...))
}

func (c *checks) err() error { return join(c.errs) }

// given reports a required text that is not there.
func (c *checks) given(param, value string) bool {
	if value == "" {
		c.errs = append(c.errs, missing(param))
		return false
	}
	return true
}

// id is the form of an account's or a tariff's id. No colon or space: ids are
// parts of keys.
func (c *checks) id(param, value string) {
	if c.given(param, value) && !idForm.MatchString(value) {
		c.fail(param, "%.80q is not an id: write 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', beginning with a letter or digit", value)
	}
}

// text is a line of readable text.
func (c *checks) text(param, value string, most int) {
	switch {
	case utf8.RuneCountInString(value) > most:
		c.fail(param, "is longer than %d characters", most)
	case strings.ContainsFunc(value, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }):
		c.fail(param, "has a control character")
	case strings.TrimSpace(value) != value:
		c.fail(param, "begins or ends with a space")
	}
}

func (c *checks) email(value string) {
	if value == "" {
		return
	}
	a, err := mail.ParseAddress(value)
	if err != nil || a.Address != value || len(value) > mostEmail {
		c.fail("email", "%.80q is not an e-mail address", value)
	}
}

func (c *checks) language(value string) {
	if value != "" && !languageForm.MatchString(value) {
		c.fail("language", "%.40q is not a language code such as en, nl or de-AT", value)
	}
}

func (c *checks) timeZone(value string) {
	_, err := time.LoadLocation(value)
	if err != nil || value == "" || value == "Local" {
		c.fail("time_zone", "%.80q is not a time zone of the IANA database, such as Europe/Amsterdam or UTC", value)
	}
}

func (c *checks) limits(l *authz.Limits) {
	within := func(param string, value, most int64) {
		if value < 0 || value > most {
			c.fail(param, "%d is not from 1 to %d, or 0 for no limit", value, most)
		}
	}
	within("limits.max_calls", int64(l.MaxCalls), mostCalls)
	within("limits.max_seconds", l.MaxSeconds, tariff.Unlimited)
	within("limits.spend_per_day", int64(l.SpendPerDay), credit.Max)
}

// account checks all that an account says of itself.
func (c *checks) account(a *authz.Account) {
	if c.given("company_name", a.Company) {
		c.text("company_name", a.Company, mostName)
	}
	c.email(a.Email)
	c.language(a.Language)
	c.timeZone(a.TimeZone)
	c.limits(&a.Limits)
}

// number reads a phone number in international form, with any punctuation, and
// gives its E.164 form. A number of the right length that lies in no range
// known to be in use is taken with a warning: ranges are opened faster than
// they become known.
func (c *checks) number(param, value string) (e164, warning string) {
	if !c.given(param, value) {
		return "", ""
	}
	if !strings.HasPrefix(value, "+") {
		c.fail(param, "%.40q does not begin with + and the country code: write E.164, such as +31850835037", value)
		return "", ""
	}
	n, err := phonenumbers.Parse(value, "ZZ")
	if err != nil {
		c.fail(param, "%.40q is not a phone number: write E.164, such as +31850835037", value)
		return "", ""
	}
	e164 = phonenumbers.Format(n, phonenumbers.E164)
	if !sameDigits(value, e164) {
		c.fail(param, "%.40q is not in international form; did you mean %s?", value, e164)
		return "", ""
	}
	switch phonenumbers.IsPossibleNumberWithReason(n) {
	case phonenumbers.IS_POSSIBLE:
	case phonenumbers.TOO_SHORT:
		c.fail(param, "%s is too short for its country", e164)
	case phonenumbers.TOO_LONG:
		c.fail(param, "%s is too long for its country", e164)
	case phonenumbers.INVALID_COUNTRY_CODE:
		c.fail(param, "%s has no country code that exists", e164)
	default:
		c.fail(param, "%s cannot be a number of its country", e164)
	}
	if !phonenumbers.IsValidNumber(n) {
		warning = e164 + " lies in no range that is known to be in use: check its digits"
	}
	return e164, warning
}

// sameDigits tells whether two numbers differ in punctuation only, so that
// nothing (an extension, a national 0) was dropped or put in.
func sameDigits(a, b string) bool {
	digits := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' || unicode.IsLetter(r) {
				return r
			}
			return -1
		}, s)
	}
	return digits(a) == digits(b)
}

// units reads an amount of credit given in minutes or in units.
func (c *checks) units(minutes *decimal, units *credit.Units) credit.Units {
	var u credit.Units
	param := "minutes"
	switch {
	case minutes != nil && units != nil:
		c.fail("units", "is given beside minutes: give one of them")
		return 0
	case minutes != nil:
		var err error
		if u, err = credit.ParseCredits(string(*minutes)); err != nil {
			c.fail(param, "%s", reason(err))
			return 0
		}
	case units != nil:
		param, u = "units", *units
	default:
		c.errs = append(c.errs, missing(param))
		return 0
	}
	switch {
	case u == 0:
		c.fail(param, "must not be 0")
	case u > mostGranted || u < -mostGranted:
		c.fail(param, "is beyond %s minutes in one grant", mostGranted.Credits())
	}
	return u
}

// reason drops what package credit says before its own reason: the parameter
// is named already.
func reason(err error) string {
	text := err.Error()
	for _, kind := range []error{credit.ErrSyntax, credit.ErrPrecision, credit.ErrRange} {
		if errors.Is(err, kind) {
			if at := strings.Index(text, kind.Error()); at >= 0 {
				return text[at:]
			}
		}
	}
	return text
}
