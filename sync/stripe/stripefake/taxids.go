package stripefake

import (
	"regexp"
	"strings"
)

// The states of a tax id's verification.
const (
	TaxIDPending     = "pending"
	TaxIDVerified    = "verified"
	TaxIDUnverified  = "unverified"
	TaxIDUnavailable = "unavailable"
)

// VerifyByNumber decides as Stripe's test mode does, by the digits in a number (https://docs.stripe.com/billing/testing):
// 111111111 is unverified, 222222222 stays pending, and, of the fake alone, 333333333 is unavailable. Others are
// verified, as far as Stripe verifies their kind.
func VerifyByNumber(kind, value string) string {
	switch {
	case strings.Contains(value, "111111111"):
		return TaxIDUnverified
	case strings.Contains(value, "222222222"):
		return TaxIDPending
	case strings.Contains(value, "333333333"), kind != "eu_vat" && kind != "gb_vat" && kind != "au_abn":
		return TaxIDUnavailable
	default:
		return TaxIDVerified
	}
}

// euVAT are the formats of https://ec.europa.eu/taxation_customs/vies/faq.html, by prefix.
var euVAT = map[string]*regexp.Regexp{
	"AT": regexp.MustCompile(`^U\d{8}$`),
	"BE": regexp.MustCompile(`^[01]\d{9}$`),
	"BG": regexp.MustCompile(`^\d{9,10}$`),
	"CY": regexp.MustCompile(`^\d{8}[A-Z]$`),
	"CZ": regexp.MustCompile(`^\d{8,10}$`),
	"DE": regexp.MustCompile(`^\d{9}$`),
	"DK": regexp.MustCompile(`^\d{8}$`),
	"EE": regexp.MustCompile(`^\d{9}$`),
	"EL": regexp.MustCompile(`^\d{9}$`),
	"ES": regexp.MustCompile(`^[A-Z0-9]\d{7}[A-Z0-9]$`),
	"FI": regexp.MustCompile(`^\d{8}$`),
	"FR": regexp.MustCompile(`^[A-HJ-NP-Z0-9]{2}\d{9}$`),
	"HR": regexp.MustCompile(`^\d{11}$`),
	"HU": regexp.MustCompile(`^\d{8}$`),
	"IE": regexp.MustCompile(`^(\d{7}[A-W][A-I]?|\d[A-Z+*]\d{5}[A-W])$`),
	"IT": regexp.MustCompile(`^\d{11}$`),
	"LT": regexp.MustCompile(`^(\d{9}|\d{12})$`),
	"LU": regexp.MustCompile(`^\d{8}$`),
	"LV": regexp.MustCompile(`^\d{11}$`),
	"MT": regexp.MustCompile(`^\d{8}$`),
	"NL": regexp.MustCompile(`^[A-Z0-9+*]{10}\d{2}$`),
	"PL": regexp.MustCompile(`^\d{10}$`),
	"PT": regexp.MustCompile(`^\d{9}$`),
	"RO": regexp.MustCompile(`^\d{2,10}$`),
	"SE": regexp.MustCompile(`^\d{12}$`),
	"SI": regexp.MustCompile(`^\d{8}$`),
	"SK": regexp.MustCompile(`^\d{10}$`),
	"XI": regexp.MustCompile(`^(\d{9}|\d{12}|GD\d{3}|HA\d{3})$`),
}

var gbVAT = regexp.MustCompile(`^GB(\d{9}|\d{12}|GD\d{3}|HA\d{3})$`)

// checkTaxID refuses numbers of a wrong format.
func checkTaxID(kind, value string) *Error {
	ok := value != ""
	switch kind {
	case "eu_vat":
		if len(value) < 4 {
			ok = false
			break
		}
		format := euVAT[value[:2]]
		ok = format != nil && format.MatchString(value[2:])
	case "gb_vat":
		ok = gbVAT.MatchString(value)
	default:
		if !strings.Contains(kind, "_") {
			return invalid("", "type", "Invalid type: must be one of eu_vat, gb_vat, us_ein, ...")
		}
	}
	if !ok {
		return invalid("tax_id_invalid", "value", "Invalid value for %s.", kind)
	}
	return nil
}

func (f *Fake) createTaxID(c *call) (object, *Error) {
	kind, value := c.need("type"), c.need("value")
	if err := c.check(); err != nil {
		return nil, err
	}
	customer, err := f.customer(c.id, "customer")
	if err != nil {
		return nil, err
	}
	if err := checkTaxID(kind, value); err != nil {
		return nil, err
	}
	return f.addTaxID(customer, kind, value), nil
}

func (f *Fake) addTaxID(customer object, kind, value string) object {
	country := any(nil)
	switch {
	case strings.HasPrefix(value, "EL"):
		country = "GR"
	case strings.HasPrefix(value, "XI"):
		country = "GB"
	case kind == "eu_vat" || kind == "gb_vat":
		country = value[:2]
	case len(kind) > 2:
		country = strings.ToUpper(kind[:2])
	}
	taxID := f.make("tax_id", "txi").set(object{
		"type": kind, "value": value, "country": country, "customer": customer.id(),
		"owner": object{"type": "customer", "customer": customer.id()},
	})
	f.emit("customer.tax_id.created", taxID, nil)
	f.later(f.cfg.VerifyAfter, func() {
		verdict, ok := f.verdicts[value]
		if !ok {
			verdict = f.cfg.Verify(kind, value)
		}
		f.verify(taxID.id(), verdict)
	})
	return taxID
}

// verify sets the outcome of a verification.
func (f *Fake) verify(id, status string) {
	taxID := f.objects[id]
	if taxID == nil || taxID.sub("verification").str("status") == status {
		return
	}
	before := clone(taxID)
	verification := object{"status": status, "verified_address": nil, "verified_name": nil}
	if status == TaxIDVerified {
		customer := f.objects[taxID.str("customer")]
		verification["verified_name"] = orNil(strings.ToUpper(customer.str("name")))
		verification["verified_address"] = orNil(strings.ToUpper(customer.sub("address").str("line1")))
	}
	taxID["verification"] = verification
	f.emitUpdate("customer.tax_id.updated", taxID, before)
}

// SetTaxIDStatus decides about a number: tax ids that have it, and those that will.
func (f *Fake) SetTaxIDStatus(value, status string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.verdicts[value] = status
	for _, id := range f.kinds["tax_id"] {
		if f.objects[id].str("value") == value {
			f.verify(id, status)
		}
	}
	f.nudge()
}

// taxIDs lists a customer's, the newest first.
func (f *Fake) taxIDs(customer string) []object {
	var found []object
	for i := len(f.kinds["tax_id"]) - 1; i >= 0; i-- {
		if id := f.objects[f.kinds["tax_id"][i]]; id.str("customer") == customer {
			found = append(found, id)
		}
	}
	return found
}

func (f *Fake) getTaxID(c *call) (object, *Error) {
	taxID, err := f.find("tax_id", c.id2, "id")
	if err == nil && taxID.str("customer") != c.id {
		return nil, missing("tax_id", c.id2, "id")
	}
	return taxID, err
}

func (f *Fake) deleteTaxID(c *call) (object, *Error) {
	taxID, err := f.getTaxID(c)
	if err != nil {
		return nil, err
	}
	f.drop("tax_id", taxID.id())
	f.emit("customer.tax_id.deleted", taxID, nil)
	return object{"id": taxID.id(), "object": "tax_id", "deleted": true}, nil
}

func (f *Fake) listTaxIDs(c *call) (object, *Error) {
	if _, err := f.customer(c.id, "customer"); err != nil {
		return nil, err
	}
	return f.page(c, "tax_id", func(o object) bool { return o.str("customer") == c.id })
}
