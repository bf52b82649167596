package account

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/portal"
)

// Codes of errors that only the customers' API has; the others are portal's.
const (
	CodeKeyExpired   = "api_key_expired"
	CodeKeyRevoked   = "api_key_revoked"
	CodeRateExceeded = "rate_limit_exceeded"
)

// Types of errors: what kind of thing is wrong, for whoever does not know the code.
const (
	TypeAuthentication = "authentication_error"
	TypePermission     = "permission_error"
	TypeRequest        = "invalid_request_error"
	TypeBilling        = "billing_error"
	TypeRateLimit      = "rate_limit_error"
	TypeServer         = "api_error"
)

// Error is an error answer: {"error":{"code","message","param"?,"type"}}.
type Error struct {
	Status  int    `json:"-"` // HTTP
	Code    string `json:"code"`
	Message string `json:"message"`
	Param   string `json:"param,omitempty"`
	Type    string `json:"type"` // empty: by Status

	RetryAfter int64 `json:"-"` // seconds; 0: none
	Cause      error `json:"-"` // for the log
}

// Error gives the message, with the parameter it is about.
func (e *Error) Error() string {
	if e.Param == "" {
		return e.Message
	}
	return e.Param + ": " + e.Message
}

// Unwrap gives what caused it.
func (e *Error) Unwrap() error { return e.Cause }

// typeOf is the type that belongs to an HTTP status.
func typeOf(status int) string {
	switch {
	case status == http.StatusUnauthorized:
		return TypeAuthentication
	case status == http.StatusPaymentRequired:
		return TypeBilling
	case status == http.StatusForbidden:
		return TypePermission
	case status == http.StatusTooManyRequests:
		return TypeRateLimit
	case status >= http.StatusInternalServerError:
		return TypeServer
	}
	return TypeRequest
}

// invalid is a parameter that cannot be used; the text goes on after its name.
func invalid(param, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: portal.CodeInvalidRequest, Param: param, Message: param + " " + fmt.Sprintf(format, args...)}
}

func unauthorized(code, message string) *Error {
	return &Error{Status: http.StatusUnauthorized, Code: code, Message: message}
}

var errTooLarge = &Error{Status: http.StatusRequestEntityTooLarge, Code: portal.CodeInvalidRequest, Message: "The request's body is too large."}

// unavailable is a store that does not answer now.
func unavailable(cause error, message string) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Code: portal.CodeUnavailable, Message: message, RetryAfter: 1, Cause: cause}
}

// storeError turns what a store answered into an error answer.
func storeError(err error) *Error {
	var own *Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, ledger.ErrUnavailable), errors.Is(err, ledger.ErrSchema), errors.Is(err, context.DeadlineExceeded):
		return unavailable(err, "The ledger does not answer right now. Please try again.")
	}
	return &Error{Status: http.StatusInternalServerError, Code: portal.CodeInternal, Message: "Something went wrong on our side.", Cause: err}
}

// WriteError answers with an error, in the envelope that all of the API uses.
func WriteError(w http.ResponseWriter, e *Error) {
	shown := *e
	if shown.Type == "" {
		shown.Type = typeOf(e.Status)
	}
	h := w.Header()
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(e.RetryAfter, 10))
	}
	if e.Status == http.StatusUnauthorized {
		challenge := `Bearer realm="ringfence"`
		if e != errNoKey { // RFC 6750 3.1
			challenge += `, error="invalid_token"`
		}
		h.Set("WWW-Authenticate", challenge)
	}
	WriteJSON(w, e.Status, map[string]*Error{"error": &shown})
}

// WriteJSON answers with a body, indented as in the customer's document.
func WriteJSON(w http.ResponseWriter, status int, body any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(body); err != nil {
		// None of the bodies holds what JSON has no form for.
		http.Error(w, "{}", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a client that is gone needs no answer
}

// rateExceeded is a request too many; after is in seconds.
func rateExceeded(after int64) *Error {
	return &Error{Status: http.StatusTooManyRequests, Code: CodeRateExceeded, RetryAfter: after,
		Message: fmt.Sprintf("Too many requests. Please retry after %d seconds.", after)}
}
