package stripe

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
)

// Whatever a customer sends becomes details that are in their canonical form, or errors of fields.
func FuzzBillingBody(f *testing.F) {
	for _, seed := range []string{
		`{"company_name":"Your Company","email":"billing@example.com","address":{"line1":"Damrak 1","postal_code":"1012 LG","city":"Amsterdam","country":"nl"},"vat_id":"nl 0044.95.445.B01"}`,
		`{"address":{"country":"GR"},"vat_id":"GR094259216"}`, `{"address":null}`, `{"address":[]}`, `{"vat_id":"\u0000"}`, `[1`, `null`, "\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		b, err := readBilling(httptest.NewRequest("PUT", "/api/v1/billing", strings.NewReader(body)))
		if err == nil {
			err = checkBilling(&b)
		}
		if err != nil {
			if len(fieldErrors(err)) == 0 {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		again := b
		if err := errors.Join(checkBilling(&again)); err != nil || again != b {
			t.Fatalf("%q became %+v, then %+v, %v", body, b, again, err)
		}
	})
}
