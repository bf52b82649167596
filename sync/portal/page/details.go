package page

import (
	"net/http"
	"net/mail"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

type detailsData struct {
	form
	Available bool
	Now       ledger.Billing
	needs     func(country string) bool
}

// NeedsPostalCode tells whether an address in a country has to have one.
func (d *detailsData) NeedsPostalCode(country string) bool {
	return d.needs(strings.ToUpper(country))
}

// Verdict tells whether what is known of the stored VAT ID is said of the one in the form.
func (d *detailsData) Verdict() bool {
	return d.Now.VATID != "" && d.Wrong["vat_id"] == nil && plainVATID(d.Values["vat_id"]) == d.Now.VATID
}

// plainVATID takes out what a VAT ID is written apart with.
func plainVATID(typed string) string {
	return strings.ToUpper(strings.NewReplacer(" ", "", "\u00a0", "", ".", "", "-", "").Replace(typed))
}

// detailFields are the form's, by the names of the public API.
var detailFields = []string{"company_name", "email", "line1", "line2", "postal_code", "city", "state", "country", "vat_id"}

// longestDetail bounds a field, in characters.
const longestDetail = 200

func (p *Page) showDetails(v *visit) error {
	d := &detailsData{Available: p.cfg.Details != nil, needs: p.cfg.NeedsPostalCode}
	if d.Available {
		var err error
		if d.Now, err = p.cfg.Details.Billing(v.ctx, v.account.ID); err != nil {
			return err
		}
		b := &d.Now
		if b.Company == "" {
			b.Company, b.Email = v.account.Company, v.account.Email
		}
		d.Values = map[string]string{"company_name": b.Company, "email": b.Email, "line1": b.Line1, "line2": b.Line2, "postal_code": b.PostalCode,
			"city": b.City, "state": b.State, "country": b.Country, "vat_id": b.VATID}
	}
	return v.render(http.StatusOK, "details", "details", d)
}

func (p *Page) setDetails(v *visit) error {
	if p.cfg.Details == nil {
		return errMissing
	}
	d := &detailsData{Available: true, needs: p.cfg.NeedsPostalCode, form: v.typed(detailFields...)}
	var err error
	if d.Now, err = p.cfg.Details.Billing(v.ctx, v.account.ID); err != nil {
		return err
	}
	b := d.Now // what is not in the form stays
	x := d.Values
	b.Account = v.account.ID
	b.Company, b.Email, b.Line1, b.Line2, b.PostalCode, b.City, b.State = x["company_name"], x["email"], x["line1"], x["line2"], x["postal_code"], x["city"], x["state"]
	b.Country = strings.ToUpper(x["country"])
	b.VATID = plainVATID(x["vat_id"])
	for _, name := range detailFields {
		if utf8.RuneCountInString(x[name]) > longestDetail || !utf8.ValidString(x[name]) {
			d.wrong(name, v.lang.text("details.too_long", "most", longestDetail))
		}
	}
	if b.Company == "" {
		d.wrong("company_name", v.lang.text("details.no_company"))
	}
	if a, err := mail.ParseAddress(b.Email); b.Email != "" && (err != nil || a.Address != b.Email) {
		d.wrong("email", v.lang.text("details.bad_email"))
	}
	if b.Country != "" && !slices.ContainsFunc(v.lang.countries, func(c country) bool { return c.Code == b.Country }) {
		d.wrong("country", v.lang.text("details.bad_country"))
	}
	if !d.Bad() {
		_, err := p.cfg.Details.SetBilling(v.ctx, b)
		if err = v.take(&d.form, err, map[string]string{"company": "company_name"}); err != nil {
			return err
		}
	}
	if d.Bad() {
		return v.render(http.StatusUnprocessableEntity, "details", "details", d)
	}
	return v.redirect(Path + "/details?done=details")
}
