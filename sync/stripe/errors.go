package stripe

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/stripe/stripe-go/v76"

	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe/usage"
)

// Errors of this package; input that cannot be accepted is a *ledger.FieldError, and what the ledger says is its own.
var (
	// ErrNotConfigured: there is no key, so nothing is sold.
	ErrNotConfigured = errors.New("credit cannot be bought here: no payment provider is configured")
	// ErrUnavailable: Stripe does not answer, or not now.
	ErrUnavailable = errors.New("the payment provider does not answer right now")
	// ErrRefused: Stripe answers that the request cannot be, whatever the customer's input was. It is that of package usage.
	ErrRefused = usage.ErrRefused
	// ErrUsed: the idempotency key of a customer's request was used before, and cannot be again.
	ErrUsed = errors.New("the idempotency key was used before")
	// ErrKey: Stripe does not accept the key, or not for this; the operator has to look. It is an ErrUnavailable, as it
	// says nothing about the request.
	ErrKey error = keyError{}
)

type keyError struct{}

func (keyError) Error() string {
	return "the payment provider does not accept the key, or not for this (stripe.key)"
}

func (keyError) Is(target error) bool { return target == ErrUnavailable }

// badField is input that cannot be accepted.
func badField(field, format string, args ...any) error {
	return &ledger.FieldError{Field: field, Message: fmt.Sprintf(format, args...)}
}

// missingField is input that has to be there.
func missingField(field, message string) error {
	return &ledger.FieldError{Field: field, Message: message, Missing: true}
}

// translate turns an error of the SDK into one of this package's, once, the former wrapped.
func translate(what string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", what, err)
	}
	kind := ErrUnavailable
	if said := new(stripe.Error); errors.As(err, &said) {
		switch said.HTTPStatusCode {
		case http.StatusTooManyRequests, http.StatusConflict:
		case http.StatusUnauthorized, http.StatusForbidden:
			kind = ErrKey
		default:
			if said.HTTPStatusCode < http.StatusInternalServerError {
				kind = ErrRefused
			}
		}
		// The SDK's own text is the whole answer in JSON.
		return fmt.Errorf("%s: %w: %w", what, kind, &answered{said})
	}
	return fmt.Errorf("%s: %w: %w", what, kind, err)
}

// answered shows an answer of Stripe's as a sentence.
type answered struct{ is *stripe.Error }

func (e *answered) Error() string {
	text := fmt.Sprintf("Stripe answers %d", e.is.HTTPStatusCode)
	for _, part := range []string{string(e.is.Type), string(e.is.Code), string(e.is.DeclineCode), e.is.Param, e.is.Msg, e.is.RequestID} {
		if part != "" {
			text += ", " + part
		}
	}
	return text
}

func (e *answered) Unwrap() error { return e.is }

// saidOf is what Stripe says in an error, all zero where it is not Stripe's.
func saidOf(err error) *stripe.Error {
	said := new(stripe.Error)
	if errors.As(err, &said) {
		return said
	}
	return new(stripe.Error)
}

// missing tells whether Stripe says that there is no such object.
func missing(err error) bool {
	said := saidOf(err)
	return said.Code == stripe.ErrorCodeResourceMissing || said.HTTPStatusCode == http.StatusNotFound
}
