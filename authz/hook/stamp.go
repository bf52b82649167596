package hook

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// The span within which a switch's clock is believed at all.
var (
	earliestStamp = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	latestStamp   = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
)

// maxStampLen bounds a time's text.
const maxStampLen = 64

// maxSecondDigits is how many digits Unix seconds have that may still be seconds.
const maxSecondDigits = 11

// What is wrong with a time, as the end of a sentence that begins with the field.
const (
	stampKind  = "must be an RFC 3339 string, or Unix seconds as a number or numeric string."
	stampText  = "must be an RFC 3339 time (2025-12-13T10:00:00.000Z) or plain decimal Unix seconds (1765620000.123)."
	stampExp   = "must be written without an exponent, which loses milliseconds."
	stampRange = "is before the year 2000 or after 2100."
	stampMilli = "is after the year 2100; it must be in seconds, and this looks like milliseconds or microseconds."
)

// stamp is a time as a switch writes it. Its UnmarshalJSON never fails: an
// error there would end the decoding before `to` is read, and an emergency call
// with a bad time would not be known as one.
type stamp struct {
	ms    int64  // Unix milliseconds; 0 = not given
	null  bool   // given as null
	wrong string // what is wrong with it; empty = nothing
}

// UnmarshalJSON takes an RFC 3339 string, or Unix seconds with an optional
// fraction as a number or a string. An empty string counts as not given.
func (s *stamp) UnmarshalJSON(b []byte) error {
	*s = stamp{}
	switch {
	case bytes.Equal(b, []byte("null")):
		s.null = true
	case b[0] == '"':
		if text := unquote(b); text != "" {
			s.ms, s.wrong = parseStamp(text)
		}
	case b[0] == '-' || (b[0] >= '0' && b[0] <= '9'):
		s.ms, s.wrong = parseStamp(string(b))
	default:
		s.wrong = stampKind
	}
	return nil
}

// unquote gives a JSON string's text.
func unquote(b []byte) string {
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b[1 : len(b)-1])
	}
	var text string
	if json.Unmarshal(b, &text) != nil {
		return string(b) // which is no time
	}
	return text
}

// parseStamp reads a time as Unix milliseconds, what is finer being cut off, or
// says what is wrong with it.
func parseStamp(text string) (int64, string) {
	if len(text) > maxStampLen {
		return 0, stampText
	}
	if !isNumber(text) {
		var t time.Time
		if err := t.UnmarshalText([]byte(text)); err != nil {
			return 0, stampText
		}
		return inSpan(t.UnixMilli())
	}
	if strings.ContainsAny(text, "eE") {
		return 0, stampExp
	}
	if text[0] == '-' {
		return 0, stampRange
	}
	whole, frac, point := strings.Cut(text, ".")
	if whole == "" || (point && frac == "") {
		return 0, stampText
	}
	whole = strings.TrimLeft(whole, "0")
	if len(whole) > maxSecondDigits {
		return 0, stampMilli
	}
	ms, _ := strconv.ParseInt("0"+whole, 10, 64) // few digits and nothing else: cannot fail
	for i := range 3 {
		ms *= 10
		if i < len(frac) {
			ms += int64(frac[i] - '0')
		}
	}
	return inSpan(ms)
}

// isNumber reports whether text is meant as a number: digits with at most one
// point, an exponent or a minus sign. Anything else is meant as RFC 3339.
func isNumber(text string) bool {
	text = strings.TrimPrefix(text, "-")
	mantissa, exp, hasExp := text, "", false
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		mantissa, exp, hasExp = text[:i], text[i+1:], true
	}
	whole, frac, _ := strings.Cut(mantissa, ".")
	if whole+frac == "" || !digitsOnly(whole) || !digitsOnly(frac) {
		return false
	}
	return !hasExp || digitsOnly(strings.TrimLeft(exp, "+-"))
}

func digitsOnly(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func inSpan(ms int64) (int64, string) {
	if ms < earliestStamp || ms > latestStamp {
		return 0, stampRange
	}
	return ms, ""
}
