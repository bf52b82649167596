package stripefake

import (
	"fmt"
	"net/http"
	"strings"
)

// Error is a refusal in Stripe's words (https://docs.stripe.com/api/errors).
type Error struct {
	Status      int    // HTTP
	Type        string // api_error, card_error, idempotency_error or invalid_request_error
	Code        string // https://docs.stripe.com/error-codes
	DeclineCode string // of a card_error: why the issuer refused
	Param       string // the parameter that was wrong
	Message     string

	charge string // of a card_error
	intent object // of a card_error
	method object // of a card_error
}

// Error implements error.
func (e *Error) Error() string {
	text := fmt.Sprintf("stripefake: %d %s", e.Status, e.Type)
	if e.Code != "" {
		text += " " + e.Code
	}
	return text + ": " + e.Message
}

// envelope is the error as Stripe answers it.
func (e *Error) envelope(requestID string) object {
	fields := object{"type": e.Type, "message": e.Message}
	for key, value := range map[string]string{
		"code": e.Code, "decline_code": e.DeclineCode, "param": e.Param, "charge": e.charge,
	} {
		if value != "" {
			fields[key] = value
		}
	}
	if e.Code != "" {
		fields["doc_url"] = "https://stripe.com/docs/error-codes/" + strings.ReplaceAll(e.Code, "_", "-")
	}
	if e.intent != nil {
		fields["payment_intent"] = clone(e.intent)
	}
	if e.method != nil {
		fields["payment_method"] = clone(e.method)
	}
	if e.Type != typeAPI {
		fields["request_log_url"] = "https://dashboard.stripe.com/test/logs/" + requestID
	}
	return object{"error": fields}
}

const (
	typeAPI         = "api_error"
	typeCard        = "card_error"
	typeIdempotency = "idempotency_error"
	typeInvalid     = "invalid_request_error"
)

func invalid(code, param, format string, args ...any) *Error {
	return &Error{
		Status: http.StatusBadRequest, Type: typeInvalid, Code: code, Param: param,
		Message: fmt.Sprintf(format, args...),
	}
}

func missing(kind, id, param string) *Error {
	name := strings.ReplaceAll(strings.ReplaceAll(kind, ".", " "), " session", ".session")
	return &Error{
		Status: http.StatusNotFound, Type: typeInvalid, Code: "resource_missing", Param: param,
		Message: fmt.Sprintf("No such %s: '%s'", name, id),
	}
}
