package ledger

import (
	"context"
	"io/fs"
	"time"
)

// Driver is what a database offers to the ledger: statements in its dialect, transactions, and a schema. Packages
// postgres and sqlite implement it. Its errors are those of this package, its database's own wrapped.
type Driver interface {
	// Statements holds the dialect's .sql files. Every statement of [Ledger] has a block in one of them that begins
	// with the line "-- name: NAME"; /*=NAME*/ in a block stands for another block.
	Statements() fs.FS
	// Read runs fn on one snapshot of the database, which it cannot change.
	Read(ctx context.Context, fn func(Conn) error) error
	// Write runs fn in a transaction and commits it unless fn fails. Where the database asks for it (deadlock,
	// serialization failure), fn is run again from the start, a bounded number of times.
	Write(ctx context.Context, fn func(Conn) error) error
	// Migrate brings the schema up to a version, or to the newest for 0. Two at once do not disturb each other.
	Migrate(ctx context.Context, version int64) error
	// Migrations lists all migrations, oldest first, with those that a newer program has applied.
	Migrations(ctx context.Context) ([]Migration, error)
	// Close ends the driver's connections.
	Close() error
}

// Conn runs statements within one transaction.
//
// Arguments are bool, int64, string, []byte, uuid.UUID, time.Time (zero is NULL), and the lists []string and
// []uuid.UUID. Results are read into pointers to the same, to types whose kind is int64 or string, and NULL times as
// zero. Times come back in UTC.
type Conn interface {
	// Exec runs a statement and tells how many rows it changed.
	Exec(ctx context.Context, sql string, args ...any) (int64, error)
	// ExecEach runs a statement once for each row of arguments, in as few round trips as the database allows, and
	// tells how many rows it changed in all.
	ExecEach(ctx context.Context, sql string, rows [][]any) (int64, error)
	// Query runs a statement and calls row for each row it yields, until row fails.
	Query(ctx context.Context, sql string, args []any, row func(Scanner) error) error
}

// Scanner reads the columns of the present row.
type Scanner interface {
	Scan(dest ...any) error
}

// Migration is one step of the schema.
type Migration struct {
	Version int64     `json:"version"`
	Name    string    `json:"name"`       // empty: applied by a newer program, unknown to this one
	Applied time.Time `json:"applied_at"` // zero: pending
}
