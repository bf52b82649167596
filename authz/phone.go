package authz

import (
	"strings"

	"github.com/nyaruka/phonenumbers"
)

// Dialled takes the dialled part out of a SIP or tel URI ("sip:+3185@host" gives
// "+3185"); anything else is given back as it is (RFC 3261 19.1, RFC 3966).
func Dialled(raw string) string {
	scheme, rest, ok := strings.Cut(raw, ":")
	if !ok {
		return raw
	}
	switch strings.ToLower(scheme) {
	case "sip", "sips":
		user, _, found := strings.Cut(rest, "@")
		if !found {
			return raw
		}
		user, _, _ = strings.Cut(user, ";")
		return user
	case "tel":
		number, _, _ := strings.Cut(rest, ";")
		return number
	}
	return raw
}

// E164 normalizes a number as a switch sends it to E.164 with its plus; country
// (ISO 3166-1 alpha-2) is where a national number is dialled from. What is no
// phone number ("anonymous", a user name, a short code) comes back as dialled,
// with false.
func E164(raw, country string) (string, bool) {
	s := Dialled(raw)
	if isE164(s) {
		return s, true
	}
	if len(s) < 5 || len(s) > 40 || strings.Trim(s, "0123456789+-.()/ ") != "" {
		return s, false
	}
	n, err := phonenumbers.Parse(s, country)
	if err != nil || !phonenumbers.IsPossibleNumber(n) {
		return s, false
	}
	e164 := phonenumbers.Format(n, phonenumbers.E164)
	if !isE164(e164) {
		return s, false
	}
	return e164, true
}

// isE164 is the common case: a plus and 7 to 15 digits, the first not 0.
func isE164(s string) bool {
	if len(s) < 8 || len(s) > 16 || s[0] != '+' || s[1] == '0' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
