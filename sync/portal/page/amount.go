package page

import (
	"errors"
	"strings"

	"github.com/hmsovereign/ringfence/authz/credit"
)

const (
	decimals = 2  // of an amount, as whatever is sold has
	longest  = 18 // digits before the decimals: more than there can be, and fewer than the parser gives up at
)

// amount reads an amount of credit as it is typed. What is set already may have more decimals than can be typed anew.
// wrong is a text of the catalogue; empty: nothing is.
func (l *language) amount(text string, set credit.Units) (u credit.Units, wrong string) {
	plain, ok := l.read(text)
	if !ok {
		return 0, "shop.not_a_number"
	}
	if strings.HasPrefix(plain, "-") {
		return -1, "" // how far below zero is all the same
	}
	whole, part, _ := strings.Cut(plain, ".")
	u, err := credit.ParseCredits(plain)
	switch {
	case err == nil && u == set:
		return u, ""
	case errors.Is(err, credit.ErrRange), len(strings.TrimLeft(whole, "0")) > longest:
		return 0, "shop.too_large"
	case len(strings.TrimRight(part, "0")) > decimals:
		return 0, "shop.decimals"
	case err != nil:
		return 0, "shop.not_a_number"
	}
	return u, ""
}

// amount reads a field of credit that has to be above zero, and within the limits of what is sold where there are any.
// What is wrong is noted in the form; ok is false then.
func (v *visit) amount(f *form, field string, set credit.Units, sold Offer) (u credit.Units, ok bool) {
	text := f.Values[field]
	u, wrong := v.lang.amount(text, set)
	switch {
	case text == "":
		f.wrong(field, v.lang.text("form.required"))
	case sold.Most > 0 && (u > sold.Most || wrong == "shop.too_large"):
		f.wrong(field, v.lang.text("shop.too_much", "most", v.lang.brief(sold.Most)))
	case wrong != "":
		f.wrong(field, v.lang.text(wrong))
	case sold.Least > 0 && u < sold.Least:
		f.wrong(field, v.lang.text("shop.too_little", "least", v.lang.brief(sold.Least)))
	case u <= 0:
		f.wrong(field, v.lang.text("shop.above_zero"))
	default:
		return u, true
	}
	return 0, false
}
