package stripe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// The codes of errors, as in the rest of the public API.
const (
	codeInvalid     = "invalid_request"
	codeMissing     = "missing_field"
	codeNotFound    = "not_found"
	codeConflict    = "conflict"
	codeUnavailable = "service_unavailable"
	codeInternal    = "internal_error"
)

// apiError is what goes into an error answer.
type apiError struct {
	status                      int
	code, message, param, retry string
}

// writeError answers with an error, in the envelope of the public API.
func writeError(w http.ResponseWriter, e *apiError) {
	kind := "invalid_request_error"
	if e.status >= http.StatusInternalServerError {
		kind = "api_error"
	}
	if e.retry != "" {
		w.Header().Set("Retry-After", e.retry)
	}
	body := struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Param   string `json:"param,omitempty"`
		Type    string `json:"type"`
	}{e.code, e.message, e.param, kind}
	writeJSON(w, e.status, map[string]any{"error": body})
}

// writeJSON answers with a body, indented as in the customer's document.
func writeJSON(w http.ResponseWriter, status int, body any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(body); err != nil {
		http.Error(w, "{}", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a client that is gone needs no answer
}

// fail answers with what an error of this package or the ledger means to a customer, and logs what is wrong here.
func (s *Service) fail(w http.ResponseWriter, r *http.Request, err error) {
	var field *ledger.FieldError
	switch {
	case errors.As(err, &field):
		writeError(w, &apiError{status: http.StatusBadRequest, code: codeOfField(field), param: field.Field, message: field.Message})
	case errors.Is(err, ErrNotConfigured):
		writeError(w, &apiError{status: http.StatusServiceUnavailable, code: codeUnavailable, message: "Credit cannot be bought here: no payment provider is configured."})
	case errors.Is(err, ledger.ErrNotFound):
		writeError(w, &apiError{status: http.StatusNotFound, code: codeNotFound, message: "There is no such thing in this account."})
	case errors.Is(err, ErrUsed):
		writeError(w, &apiError{status: http.StatusConflict, code: codeConflict, param: headerKey,
			message: "This Idempotency-Key was used before: for another purchase, or for one that is paid, over, or taxed otherwise by now. Take a new key."})
	case errors.Is(err, ledger.ErrConflict), errors.Is(err, ledger.ErrExists):
		writeError(w, &apiError{status: http.StatusConflict, code: codeConflict, message: "This contradicts what was asked for before."})
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrRefused):
		s.log.Warn("Stripe did not do what a customer asked for", "path", r.URL.Path, logError, err)
		writeError(w, &apiError{status: http.StatusServiceUnavailable, code: codeUnavailable, retry: "5", message: "The payment provider does not answer right now. Please try again."})
	case errors.Is(err, ledger.ErrUnavailable), errors.Is(err, ledger.ErrSchema), errors.Is(err, context.DeadlineExceeded):
		s.log.Warn("the ledger did not answer a customer", "path", r.URL.Path, logError, err)
		writeError(w, &apiError{status: http.StatusServiceUnavailable, code: codeUnavailable, retry: "1", message: "The ledger does not answer right now. Please try again."})
	case r.Context().Err() != nil:
	default:
		s.log.Error("request of the shop failed", "path", r.URL.Path, logError, err)
		writeError(w, &apiError{status: http.StatusInternalServerError, code: codeInternal, message: "Something went wrong on our side."})
	}
}

// codeOfField is the code of an error about a field.
func codeOfField(f *ledger.FieldError) string {
	if f.Missing {
		return codeMissing
	}
	return codeInvalid
}

// Route is a resource of the public API, answered behind its API keys and limits.
type Route struct {
	Method string
	Path   string // a pattern of http.ServeMux without method
	Write  bool   // a suspended account may not
	Serve  http.Handler
}

// resource answers one request of an account with a body, or an error of this package or the ledger.
func (s *Service) resource(method, path string, write bool, work func(r *http.Request, a *authz.Account) (int, any, error)) Route {
	return Route{Method: method, Path: path, Write: write, Serve: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := s.cfg.Caller(r.Context())
		if !ok {
			writeError(w, &apiError{status: http.StatusUnauthorized, code: "unauthorized", message: "An API key is asked for."})
			return
		}
		status, body, err := work(r, a)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		writeJSON(w, status, body)
	})}
}

// decode reads a JSON object into a struct, and refuses fields it does not have by name. Errors: *ledger.FieldError.
func decode(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	var raw map[string]json.RawMessage
	if err := d.Decode(&raw); err != nil || d.More() {
		return badField("", "The body must be one JSON object.")
	}
	fields := map[string]reflect.Value{}
	v := reflect.ValueOf(into).Elem()
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		fields[name] = v.Field(i)
	}
	names := make([]string, 0, len(raw))
	for name := range raw {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		f, ok := fields[name]
		if !ok {
			return badField(clip(name), "There is no such field.")
		}
		if err := json.Unmarshal(raw[name], f.Addr().Interface()); err != nil {
			return badField(name, "This has to be %s.", form(f.Type()))
		}
	}
	return nil
}

// form says in words what a field takes.
func form(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[decimal]():
		return "a number"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int64:
		return "a whole number"
	case t.Kind() == reflect.String:
		return "a text"
	}
	return "something else"
}

// decimal is a JSON number as it was written: no float touches it.
type decimal string

// UnmarshalJSON takes a number, and nothing else.
func (d *decimal) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '-' && (b[0] < '0' || b[0] > '9') {
		return fmt.Errorf("%s is not a number", clip(string(b)))
	}
	*d = decimal(b)
	return nil
}

// clip keeps what a client sent short.
func clip(s string) string {
	const most = 60
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
