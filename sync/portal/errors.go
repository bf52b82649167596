package portal

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// What a book may answer. A book in a package that does not import this one
// has errors with a method Problem() string instead, which gives the word.
var (
	ErrNotFound    = errors.New("not found")      // not_found
	ErrExists      = errors.New("exists already") // exists
	ErrConflict    = errors.New("conflict")       // conflict
	ErrInvalid     = errors.New("invalid")        // invalid
	ErrUnavailable = errors.New("not available")  // unavailable
)

// kindOf gives which of the errors above err is, or nil.
func kindOf(err error) error {
	for _, kind := range []error{ErrNotFound, ErrExists, ErrConflict, ErrInvalid, ErrUnavailable} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	var named interface{ Problem() string }
	if !errors.As(err, &named) {
		return nil
	}
	switch named.Problem() {
	case "not_found":
		return ErrNotFound
	case "exists":
		return ErrExists
	case "conflict":
		return ErrConflict
	case "invalid":
		return ErrInvalid
	case "unavailable":
		return ErrUnavailable
	}
	return nil
}

// The codes of errors.
const (
	CodeUnauthorized     = "unauthorized"
	CodeForbidden        = "forbidden"
	CodeInvalidRequest   = "invalid_request"
	CodeMissingField     = "missing_field"
	CodeNotFound         = "not_found"
	CodeMethodNotAllowed = "method_not_allowed"
	CodeConflict         = "conflict"
	CodeTooLarge         = "too_large"
	CodeUnavailable      = "service_unavailable"
	CodeInternal         = "internal_error"
)

// Error is what goes into an error answer.
type Error struct {
	Status  int      `json:"-"` // HTTP
	Code    string   `json:"code"`
	Message string   `json:"message"`
	Param   string   `json:"param,omitempty"`
	Errors  []*Error `json:"errors,omitempty"` // everything that is wrong, if it is more than one thing

	cause error // for the log
}

// Error gives the message, with the field it is about.
func (e *Error) Error() string {
	if e.Param == "" {
		return e.Message
	}
	return e.Param + ": " + e.Message
}

// Unwrap gives what caused it.
func (e *Error) Unwrap() error { return e.cause }

func invalid(param, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: CodeInvalidRequest, Param: param, Message: fmt.Sprintf(format, args...)}
}

func missing(param string) *Error {
	return &Error{Status: http.StatusBadRequest, Code: CodeMissingField, Param: param, Message: "is required"}
}

func notFound(param, format string, args ...any) *Error {
	return &Error{Status: http.StatusNotFound, Code: CodeNotFound, Param: param, Message: fmt.Sprintf(format, args...)}
}

func conflict(param, format string, args ...any) *Error {
	return &Error{Status: http.StatusConflict, Code: CodeConflict, Param: param, Message: fmt.Sprintf(format, args...)}
}

func unavailable(cause error, format string, args ...any) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Code: CodeUnavailable, Message: fmt.Sprintf(format, args...), cause: cause}
}

// join makes one error of many; nil of none.
func join(errs []*Error) error {
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	all := *errs[0]
	texts := make([]string, len(errs))
	for i, e := range errs {
		texts[i] = e.Error()
	}
	all.Message, all.Param, all.Errors = strings.Join(texts, "; "), "", errs
	return &all
}

// bookError turns what a book, a mirror or a balance store answered into an
// error answer. write says that the change may have been made all the same.
func bookError(err error, param string, write bool) *Error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	switch kindOf(err) {
	case ErrNotFound:
		e := notFound(param, "%s", err)
		return e
	case ErrExists, ErrConflict:
		return conflict(param, "%s", err)
	case ErrInvalid:
		return invalid(param, "%s", err)
	}
	switch {
	case errors.Is(err, authz.ErrUnknownCall):
		return notFound(param, "there is no such call, or it ended too long ago")
	case errors.Is(err, authz.ErrCallEnded):
		return conflict(param, "the call has ended")
	case errors.Is(err, authz.ErrLost):
		return unavailable(err, "the balance store has lost this account; it comes back when it has been rebuilt")
	case kindOf(err) == ErrUnavailable, errors.Is(err, authz.ErrDown):
		if write {
			return unavailable(err, "the store did not answer, so it is not known whether the change was recorded: look, and repeat it if it was not")
		}
		return unavailable(err, "the store did not answer; try again")
	}
	return &Error{Status: http.StatusInternalServerError, Code: CodeInternal, Message: "something is wrong here; the log says what", cause: err}
}

// tariffErrors turns the errors of a tariff file into one error answer.
func tariffErrors(err error) error {
	var list []error
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	} else {
		list = []error{err}
	}
	out := make([]*Error, 0, len(list))
	for _, e := range list {
		var f *tariff.FieldError
		if !errors.As(e, &f) {
			out = append(out, invalid("", "%s", e))
			continue
		}
		param, text := f.Field, strings.TrimPrefix(f.Error(), f.Field)
		out = append(out, invalid(param, "%s", strings.TrimLeft(text, ": ")))
	}
	return join(out)
}
