package tariff

import (
	"fmt"
	"maps"
	"slices"
)

// alwaysEmergency are let through in every country: 112 (GSM and EU) and 911
// (North America), which 3GPP TS 22.101 has every phone know.
var alwaysEmergency = [...]string{"112", "911"}

// longestEmergency bounds an emergency number, in digits.
const longestEmergency = 15

// Emergency is the set of numbers that are let through before anything else is
// looked at: never held, never charged. It does not change once made. A nil one
// knows 112 and 911.
type Emergency struct {
	numbers map[string]struct{}
}

// NewEmergency returns the numbers of all the given countries (ISO 3166-1
// alpha-2, such as GB) together with 112 and 911. A number is 2 to 15 digits as
// dialled. Errors: every wrong entry, joined, each a *FieldError.
func NewEmergency(numbers map[string][]string) (*Emergency, error) {
	e := &Emergency{numbers: make(map[string]struct{})}
	var p problems
	for _, n := range alwaysEmergency {
		e.numbers[n] = struct{}{}
	}
	for _, country := range slices.Sorted(maps.Keys(numbers)) {
		if !isUpper(country, 2) {
			p.add(&FieldError{Field: "emergency", Value: country, Problem: "not a country code",
				Remedy: "write the two capital letters of ISO 3166-1, such as GB"})
		}
		for i, n := range numbers[country] {
			if len(n) < 2 || len(n) > longestEmergency || !isDigits(n) {
				p.add(&FieldError{Field: fmt.Sprintf("emergency.%s[%d]", country, i), Value: n,
					Problem: "not an emergency number",
					Remedy:  fmt.Sprintf("write its 2 to %d digits as they are dialled", longestEmergency)})
				continue
			}
			e.numbers[n] = struct{}{}
		}
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return e, nil
}

// Match reports whether the digits dialled are exactly an emergency number of
// any country given. Spaces, points, hyphens, parentheses and one leading plus
// are looked through; nothing else is, and a number that merely begins with an
// emergency number does not match.
func (e *Emergency) Match(raw string) bool {
	var buf [longestEmergency]byte
	n, plus := 0, false
	for i := range len(raw) {
		switch c := raw[i]; {
		case c == ' ' || c == '.' || c == '-' || c == '(' || c == ')':
		case c == '+' && n == 0 && !plus:
			plus = true
		case c >= '0' && c <= '9' && n < len(buf):
			buf[n] = c
			n++
		default:
			return false
		}
	}
	if e == nil {
		return slices.Contains(alwaysEmergency[:], string(buf[:n]))
	}
	_, ok := e.numbers[string(buf[:n])]
	return ok
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func isUpper(s string, n int) bool {
	for i := range len(s) {
		if s[i] < 'A' || s[i] > 'Z' {
			return false
		}
	}
	return len(s) == n
}
