package stripe

import (
	"strings"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe/vat"
)

// words is what an invoice says, in one language.
type words struct {
	minutes string // follows the number of credits bought, each of which is a minute at the base rate
	decimal string
	reverse string // that the recipient accounts for the VAT, as the law wants it to be said (Directive 2006/112/EC, Article 226, 11a)
}

// english is for whoever speaks none of the others, and for purchases of before their language was kept.
var english = words{"call minutes", ".", vat.NoteReverseCharge}

// languages are those of the billing page besides English.
var languages = map[string]words{
	"nl": {"belminuten", ",", "Btw verlegd (reverse charge): de afnemer is de btw verschuldigd (artikel 196 van Richtlijn 2006/112/EG)"},
	"de": {"Gesprächsminuten", ",", "Steuerschuldnerschaft des Leistungsempfängers (reverse charge, Artikel 196 der Richtlinie 2006/112/EG)"},
}

// languageOf is the language of an account's invoices as a purchase keeps it; empty: English.
func (s *Service) languageOf(account string) string {
	if a, ok := s.cfg.Account(account); ok {
		tag, _, _ := strings.Cut(strings.ToLower(a.Language), "-")
		if _, ok := languages[tag]; ok {
			return tag
		}
	}
	return ""
}

func wordsOf(p *ledger.Purchase) words {
	if w, ok := languages[p.Language]; ok {
		return w
	}
	return english
}

// describe names what is bought, on Stripe's page and the invoice.
func describe(p *ledger.Purchase) string {
	w := wordsOf(p)
	return strings.Replace(credit.Minutes(p.Units).String(), ".", w.decimal, 1) + " " + w.minutes
}
