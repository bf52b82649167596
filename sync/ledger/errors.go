package ledger

import (
	"fmt"

	"github.com/google/uuid"
)

// Error is a kind of failure. Errors of this package wrap one of those below, and tell packages that do not import
// this one by the word of Problem.
type Error struct{ word, text string }

// Error says what is wrong.
func (e *Error) Error() string { return e.text }

// Problem is not_found, exists, conflict, invalid or unavailable.
func (e *Error) Problem() string { return e.word }

// The kinds. The drivers translate their database's errors into these once; the database's own stays wrapped for the
// log. A context that is over is reported as its own error, not as one of these.
var (
	// ErrNotFound: no such account, number, key, tariff, call or refused record.
	ErrNotFound = &Error{"not_found", "not in the ledger"}
	// ErrExists: the id, number or key is taken.
	ErrExists = &Error{"exists", "exists already"}
	// ErrConflict: the same reference came before with different input, or the change contradicts what the ledger
	// holds.
	ErrConflict = &Error{"conflict", "conflicts with what the ledger holds"}
	// ErrInvalid: the input can never be kept, whatever the ledger holds.
	ErrInvalid = &Error{"invalid", "cannot be kept"}
	// ErrRefused: a record that the ledger can never take; see [RefusedError].
	ErrRefused = &Error{"invalid", "record refused"}
	// ErrUnavailable: the database did not answer, or takes no writes now. Whether the change was made is unknown;
	// every write may be repeated.
	ErrUnavailable = &Error{"unavailable", "the ledger is not available"}
	// ErrSchema: the database has not been migrated to what this program needs, or by a newer one.
	ErrSchema = &Error{"unavailable", "the ledger's schema does not fit this program"}
	// ErrLocked: another sidecar has the SQLite ledger open.
	ErrLocked = &Error{"unavailable", "another sidecar has this ledger open"}
)

// worded is a kind of failure in words of its own.
type worded struct {
	kind *Error
	text string
}

func (w *worded) Error() string { return w.text }
func (w *worded) Unwrap() error { return w.kind }

func problem(kind *Error, format string, args ...any) error {
	return &worded{kind, fmt.Sprintf(format, args...)}
}

// wrap names what failed.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// RefusedError says why a record can never be inserted. It is an [ErrRefused].
type RefusedError struct {
	UID     uuid.UUID
	Account string
	Reason  string
}

// Error names the call and the reason.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("%v: call %s of account %q: %s", ErrRefused, e.UID, e.Account, e.Reason)
}

// Unwrap makes it an ErrRefused.
func (e *RefusedError) Unwrap() error { return ErrRefused }
