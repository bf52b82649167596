package credit

import (
	"fmt"
	"strconv"
	"strings"
)

// places is how many decimals an amount of either kind needs at most: a micro
// is 0.000001, and six decimals tell every unit (0.0000166...) from the next.
const (
	places   = 6
	scale    = 1_000_000
	maxInput = 64
)

// ParseCredits reads a number of credits: 500, 498.6, -2.5. It wants a plain
// decimal (no exponent, sign other than "-", space or digit grouping) that is
// a whole number of units. Thirds have no finite decimal, so the six-decimal
// form that [Units.Credits] prints for them (0.016667 for 1,000 units) is read
// back as that very unit, and any other value between two units is refused.
//
// Errors: ErrSyntax, ErrPrecision, ErrRange, each with the input and a reason.
func ParseCredits(s string) (Units, error) {
	neg, whole, frac, err := parseDecimal(s)
	if err != nil {
		return 0, fmt.Errorf("credits %q: %w", clip(s), err)
	}
	part, ok := unitsOfMillionths(frac)
	if !ok {
		return 0, fmt.Errorf("credits %q: %w: 1 credit is %d units and this falls between two; the finest decimal step is 0.00005",
			clip(s), ErrPrecision, int64(PerCredit))
	}
	n, ok := compose(neg, whole, int64(PerCredit), part)
	if !ok {
		return 0, fmt.Errorf("credits %q: %w: the most is %s", clip(s), ErrRange, Units(Max).Credits())
	}
	return Units(n), nil
}

// ParseMoney reads an amount of money in units of its currency: 35, 0.07,
// -8.40. The syntax is that of [ParseCredits]; at most six decimals.
//
// Errors: ErrSyntax, ErrPrecision, ErrRange, each with the input and a reason.
func ParseMoney(s string) (Micros, error) {
	neg, whole, frac, err := parseDecimal(s)
	if err != nil {
		return 0, fmt.Errorf("money %q: %w", clip(s), err)
	}
	n, ok := compose(neg, whole, scale, frac)
	if !ok {
		return 0, fmt.Errorf("money %q: %w: the most is %s", clip(s), ErrRange, Micros(Max).Money())
	}
	return Micros(n), nil
}

// Credits prints u in credits, so that [ParseCredits] reads back the same u:
// exact with as few decimals as it takes (500, 498.6, -2.5), or with six
// where the value is a third of something (0.016667 for 1,000 units).
func (u Units) Credits() string {
	abs := magnitude(int64(u))
	whole, rest := abs/uint64(PerCredit), int64(abs%uint64(PerCredit))
	return format(u < 0, whole, millionthsOfUnits(rest), 0)
}

// Money prints m exactly, with at least two decimals: 8.40, 0.07, 0.000001.
func (m Micros) Money() string {
	abs := magnitude(int64(m))
	return format(m < 0, abs/scale, int64(abs%scale), 2)
}

// unitsOfMillionths converts millionths of a credit into units, and reports
// whether a unit prints as exactly that many.
func unitsOfMillionths(frac int64) (int64, bool) {
	units := (frac*3 + 25) / 50
	return units, millionthsOfUnits(units) == frac
}

// millionthsOfUnits rounds to the nearest millionth; a third never ties.
func millionthsOfUnits(units int64) int64 { return (units*50 + 1) / 3 }

// parseDecimal splits a plain decimal into its sign, its whole part and its
// fraction in millionths.
func parseDecimal(s string) (neg bool, whole, frac int64, err error) {
	if s == "" {
		return false, 0, 0, fmt.Errorf("%w: empty", ErrSyntax)
	}
	if len(s) > maxInput {
		return false, 0, 0, fmt.Errorf("%w: longer than %d characters", ErrSyntax, maxInput)
	}
	digits, neg := strings.CutPrefix(s, "-")
	if i := strings.IndexFunc(digits, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }); i >= 0 {
		return false, 0, 0, fmt.Errorf("%w: %s", ErrSyntax, whyNot(digits[i:]))
	}
	w, f, point := strings.Cut(digits, ".")
	switch {
	case w == "":
		return false, 0, 0, fmt.Errorf("%w: no digit before the point", ErrSyntax)
	case point && f == "":
		return false, 0, 0, fmt.Errorf("%w: no digit after the point", ErrSyntax)
	case strings.Contains(f, "."):
		return false, 0, 0, fmt.Errorf("%w: more than one point", ErrSyntax)
	case len(w) > 1 && w[0] == '0':
		return false, 0, 0, fmt.Errorf("%w: leading zero", ErrSyntax)
	}
	f = strings.TrimRight(f, "0")
	if len(f) > places {
		return false, 0, 0, fmt.Errorf("%w: more than %d decimals", ErrPrecision, places)
	}
	whole, err = strconv.ParseInt(w, 10, 64)
	if err != nil {
		return false, 0, 0, fmt.Errorf("%w: too many digits", ErrRange)
	}
	for i := range places {
		frac *= 10
		if i < len(f) {
			frac += int64(f[i] - '0')
		}
	}
	return neg, whole, frac, nil
}

// whyNot explains the first character that a plain decimal cannot contain.
func whyNot(rest string) string {
	switch r := []rune(rest)[0]; r {
	case 'e', 'E':
		return "exponents are not read; write the digits out"
	case ',', '_', '\'':
		return fmt.Sprintf("unexpected %q; write digits without grouping, and a point before decimals", r)
	case ' ', '\t', '\r', '\n':
		return "remove the space"
	case '+', '-':
		return fmt.Sprintf("unexpected %q; only a single leading minus sign is read", r)
	default:
		return fmt.Sprintf("unexpected %q", r)
	}
}

// compose returns ±(whole*per + part), and false beyond ±Max.
func compose(neg bool, whole, per, part int64) (int64, bool) {
	if whole > (Max-part)/per {
		return 0, false
	}
	n := whole*per + part
	if neg {
		n = -n
	}
	return n, true
}

// format prints a sign, a whole part and a fraction in millionths, with no
// trailing zero beyond the given number of decimals.
func format(neg bool, whole uint64, frac int64, decimals int) string {
	b := make([]byte, 0, 24)
	if neg {
		b = append(b, '-')
	}
	b = strconv.AppendUint(b, whole, 10)
	end := len(b)
	if frac != 0 || decimals > 0 {
		b = append(b, '.')
		for div := int64(scale / 10); div > 0; div /= 10 {
			b = append(b, byte('0'+frac/div%10))
		}
		end += 1 + decimals
		for len(b) > end && b[len(b)-1] == '0' {
			b = b[:len(b)-1]
		}
	}
	return string(b)
}

// clip keeps an error readable when its input is not.
func clip(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}
