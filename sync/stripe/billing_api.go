package stripe

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// BillingRoutes are the resources of the public API for billing details.
func (s *Service) BillingRoutes(d *Desk) []Route {
	return []Route{
		s.resource(http.MethodGet, "/api/v1/billing", false, func(r *http.Request, a *authz.Account) (int, any, error) {
			if err := noParameters(r); err != nil {
				return 0, nil, err
			}
			b, err := d.Billing(r.Context(), a.ID)
			return http.StatusOK, viewBilling(&b, a), err
		}),
		{Method: http.MethodPut, Path: "/api/v1/billing", Write: true, Serve: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.putBilling(w, r, d) })},
		// Whoever is suspended may still take it back that the card is charged.
		s.resource(http.MethodDelete, "/api/v1/billing/card", false, s.deleteCard),
	}
}

type addressView struct {
	Line1      string `json:"line1"`
	Line2      string `json:"line2"`
	PostalCode string `json:"postal_code"`
	City       string `json:"city"`
	State      string `json:"state"`
	Country    string `json:"country"`
}

type billingView struct {
	Company   string      `json:"company_name"`
	Email     string      `json:"email"`
	Address   addressView `json:"address"`
	VATID     string      `json:"vat_id"`
	VATStatus string      `json:"vat_status"`
	Card      string      `json:"card"`
	UpdatedAt *string     `json:"updated_at"`
}

// noParameters refuses a query, by the name of its first parameter. Errors: *ledger.FieldError.
func noParameters(r *http.Request) error {
	for _, name := range slices.Sorted(maps.Keys(r.URL.Query())) {
		return badField(clip(name), "There is no such parameter.")
	}
	return nil
}

// noVATID is the status of an account without a VAT ID.
const noVATID = "none"

// viewBilling shows an account's details. One that has told none is known by what the directory says.
func viewBilling(b *ledger.Billing, a *authz.Account) billingView {
	v := billingView{Company: b.Company, Email: b.Email, Address: addressView{b.Line1, b.Line2, b.PostalCode, b.City, b.State, b.Country},
		VATID: b.VATID, VATStatus: string(b.VATStatus), Card: b.CardName}
	if b.Company == "" {
		v.Company = a.Company
		if b.Email == "" {
			v.Email = a.Email
		}
	}
	if b.VATID == "" {
		v.VATStatus = noVATID
	}
	if !b.UpdatedAt.IsZero() {
		at := stamp(b.UpdatedAt)
		v.UpdatedAt = &at
	}
	return v
}

func (s *Service) putBilling(w http.ResponseWriter, r *http.Request, d *Desk) {
	a, ok := s.cfg.Caller(r.Context())
	if !ok {
		writeError(w, &apiError{status: http.StatusUnauthorized, code: "unauthorized", message: "An API key is asked for."})
		return
	}
	b, err := readBilling(r)
	if err == nil {
		b.Account = a.ID
		b, err = d.SetBilling(r.Context(), b)
	}
	switch fields := fieldErrors(err); {
	case errors.As(err, new(*http.MaxBytesError)):
		writeError(w, &apiError{status: http.StatusRequestEntityTooLarge, code: codeInvalid, message: "The request's body is too large."})
	case len(fields) > 0:
		writeFieldErrors(w, fields)
	case err != nil:
		s.fail(w, r, err)
	default:
		writeJSON(w, http.StatusOK, viewBilling(&b, a))
	}
}

// readBilling reads the details that a customer gives: all of them, what is left out is empty.
// Errors: *ledger.FieldError, joined.
func readBilling(r *http.Request) (ledger.Billing, error) {
	var b ledger.Billing
	if err := noParameters(r); err != nil {
		return b, err
	}
	body, err := io.ReadAll(r.Body)
	if errors.As(err, new(*http.MaxBytesError)) {
		return b, err
	}
	if err != nil {
		return b, badField("", "The body cannot be read whole.")
	}
	var address json.RawMessage
	err = readTexts("", body, map[string]*string{fieldCompany: &b.Company, fieldEmail: &b.Email, fieldVATID: &b.VATID}, &address)
	if address != nil {
		err = errors.Join(err, readTexts(fieldAddress+".", address, map[string]*string{fieldLine1: &b.Line1, fieldLine2: &b.Line2, fieldPostalCode: &b.PostalCode,
			fieldCity: &b.City, fieldState: &b.State, fieldCountry: &b.Country}, nil))
	}
	return b, err
}

// readTexts reads a JSON object of texts, and an address if address is not nil. It refuses what it does not know, by name.
func readTexts(prefix string, body []byte, fields map[string]*string, address *json.RawMessage) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil || raw == nil {
		if prefix != "" {
			return badField(fieldAddress, "This has to be an object.")
		}
		return badField("", "The body must be one JSON object.")
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		to, known := fields[prefix+name]
		switch {
		case known:
			if string(raw[name]) == "null" || json.Unmarshal(raw[name], to) != nil {
				errs = append(errs, badField(prefix+name, "This has to be a text."))
			}
		case prefix == "" && name == fieldAddress:
			*address = raw[name]
		case prefix == "" && (name == "vat_status" || name == "card" || name == "updated_at"):
			errs = append(errs, badField(name, "This can only be read: leave it out."))
		default:
			errs = append(errs, badField(clip(prefix+name), "There is no such field."))
		}
	}
	return errors.Join(errs...)
}

// fieldErrors gathers the field errors that are joined in err.
func fieldErrors(err error) []*ledger.FieldError {
	switch e := err.(type) {
	case nil:
		return nil
	case *ledger.FieldError:
		return []*ledger.FieldError{e}
	case interface{ Unwrap() []error }:
		var all []*ledger.FieldError
		for _, part := range e.Unwrap() {
			all = append(all, fieldErrors(part)...)
		}
		return all
	}
	return fieldErrors(errors.Unwrap(err))
}

// writeFieldErrors answers with everything that is wrong: the first error in the usual place, all of them in errors.
func writeFieldErrors(w http.ResponseWriter, fields []*ledger.FieldError) {
	type one struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Param   string `json:"param,omitempty"`
	}
	list := make([]one, 0, len(fields))
	for _, f := range fields {
		list = append(list, one{codeOfField(f), f.Message, f.Field})
	}
	body := struct {
		one
		Type   string `json:"type"`
		Errors []one  `json:"errors,omitempty"`
	}{one: list[0], Type: "invalid_request_error"}
	if len(list) > 1 {
		body.Errors = list
	}
	writeJSON(w, http.StatusBadRequest, map[string]any{"error": body})
}
