package directory

import "fmt"

// Error is a kind of failure. Errors of this package wrap one of those below,
// and tell packages that do not import this one by the word of Problem.
type Error struct{ problem, text string }

// Error says what is wrong.
func (e *Error) Error() string { return e.text }

// Problem is not_found, exists, conflict, invalid or unavailable.
func (e *Error) Problem() string { return e.problem }

// The kinds.
var (
	// ErrNotFound: there is no such account, number or tariff.
	ErrNotFound = &Error{"not_found", "not found"}
	// ErrExists: it is there already.
	ErrExists = &Error{"exists", "exists already"}
	// ErrConflict: it is there and says something else.
	ErrConflict = &Error{"conflict", "conflict"}
	// ErrInvalid: the change would make no sense.
	ErrInvalid = &Error{"invalid", "invalid"}
	// ErrUnavailable: the store did not answer or cannot take writes.
	ErrUnavailable = &Error{"unavailable", "the directory's store is not available"}
	// ErrLost: Redis holds no directory although there was one, or it was
	// filled by nobody yet. That means lost, never empty.
	ErrLost = &Error{"unavailable", "Redis holds no directory"}
	// ErrGap: the changes since a position are not all known any more; only a
	// full load helps.
	ErrGap = &Error{"conflict", "changes are missing"}
	// ErrSnapshot: a snapshot file is damaged or of another version.
	ErrSnapshot = &Error{"invalid", "directory snapshot cannot be used"}
)

// problem is a kind of failure in words of its own.
type problem struct {
	kind *Error
	text string
}

func (p *problem) Error() string { return p.text }
func (p *problem) Unwrap() error { return p.kind }

func problemf(kind *Error, format string, args ...any) error {
	return &problem{kind, fmt.Sprintf(format, args...)}
}
