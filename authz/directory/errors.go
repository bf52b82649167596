package directory

// Error is a kind of failure. Errors of this package wrap one of those below,
// and tell packages that do not import this one by the word of Problem.
type Error struct{ problem, text string }

// Error says what is wrong.
func (e *Error) Error() string { return e.text }

// Problem is not_found, exists, conflict, invalid or unavailable.
func (e *Error) Problem() string { return e.problem }

// The kinds.
var (
	// ErrConflict: it changed meanwhile.
	ErrConflict = &Error{"conflict", "conflict"}
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
