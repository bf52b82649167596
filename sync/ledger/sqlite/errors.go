package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	driversqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

// primary is the part of an extended result code that is the primary one (sqlite.org/rescode.html).
const primary = 0xff

// translate turns an error of SQLite into one of the ledger's, with the former wrapped.
func translate(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if kind := kindOf(ctx, err); kind != nil {
		return fmt.Errorf("%w: %w", kind, err)
	}
	return err
}

// kindOf says which of the ledger's errors an error is, or nil for none.
func kindOf(ctx context.Context, err error) error {
	if over := ctx.Err(); over != nil {
		return over
	}
	var own *driversqlite.Error
	if !errors.As(err, &own) {
		if errors.Is(err, sql.ErrConnDone) || errors.Is(err, sql.ErrTxDone) || err.Error() == closed {
			return ledger.ErrUnavailable
		}
		return nil
	}
	switch own.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return ledger.ErrExists
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return ledger.ErrNotFound
	}
	switch own.Code() & primary {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE:
		return ledger.ErrInvalid
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
		sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB,
		sqlite3.SQLITE_PERM, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_INTERRUPT:
		return ledger.ErrUnavailable
	case sqlite3.SQLITE_ERROR:
		return kindOfMessage(own.Error())
	}
	return nil
}

// busy tells whether another connection holds a lock.
func busy(err error) bool {
	var own *driversqlite.Error
	return errors.As(err, &own) && own.Code()&primary == sqlite3.SQLITE_BUSY
}

// database/sql has no error value for this one.
const closed = "sql: database is closed"

// kindOfMessage tells a schema that does not fit from other errors, which SQLite gives one code.
func kindOfMessage(message string) error {
	for _, missing := range []string{"no such table", "no such column", "has no column named"} {
		if strings.Contains(message, missing) {
			return ledger.ErrSchema
		}
	}
	return nil
}
