package ledger

import (
	"context"
	"time"
)

// Ledger is the durable truth. Open one with package postgres or sqlite; it is safe for concurrent use.
//
// Every method may answer [ErrUnavailable] or the error of its context; further errors are listed where they can
// happen. Times are kept to the millisecond, in UTC.
type Ledger struct {
	db  Driver
	sql *statements
	now func() time.Time

	notice func(context.Context, *Tx, Notice) error // may be nil
}

// New makes a ledger of a driver. Errors: the driver lacks a statement.
func New(db Driver) (*Ledger, error) {
	sql, err := loadStatements(db.Statements())
	if err != nil {
		return nil, err
	}
	return &Ledger{db: db, sql: sql, now: time.Now}, nil
}

// Over returns the same ledger over another driver, made of its own: for tests of what a driver may do.
func (l *Ledger) Over(wrap func(Driver) Driver) *Ledger {
	other := *l
	other.db = wrap(l.db)
	return &other
}

// Clock returns the same ledger by another clock: for tests in which days pass.
func (l *Ledger) Clock(now func() time.Time) *Ledger {
	other := *l
	other.now = now
	return &other
}

// Close ends the ledger's connections.
func (l *Ledger) Close() error { return l.db.Close() }

// Migrate brings the schema up to what this program needs. It may run in several sidecars at once.
func (l *Ledger) Migrate(ctx context.Context) error { return l.db.Migrate(ctx, 0) }

// MigrateTo brings the schema up to one version, for tests of later migrations.
func (l *Ledger) MigrateTo(ctx context.Context, version int64) error {
	return l.db.Migrate(ctx, version)
}

// Migrations lists every step of the schema, oldest first.
func (l *Ledger) Migrations(ctx context.Context) ([]Migration, error) { return l.db.Migrations(ctx) }

// CheckSchema tells whether the database has the schema that this program needs. Errors: ErrSchema.
func (l *Ledger) CheckSchema(ctx context.Context) error {
	steps, err := l.db.Migrations(ctx)
	if err != nil {
		return err
	}
	var pending int
	for _, m := range steps {
		if m.Name == "" {
			return problem(ErrSchema, "the ledger's migration %d is from a newer version of this program; run that one", m.Version)
		}
		if m.Applied.IsZero() {
			pending++
		}
	}
	if pending > 0 {
		return problem(ErrSchema, "%d of the ledger's %d migrations are pending; run: ringfence migrate up", pending, len(steps))
	}
	return nil
}

// Tx is a transaction of the ledger: what is done through it happens as a whole or not at all.
type Tx struct {
	c   Conn
	l   *Ledger
	sql *statements
}

// Update runs fn in a transaction, which is committed unless fn fails. fn may be run more than once (after a deadlock)
// and must not have effects of its own that cannot be repeated.
func (l *Ledger) Update(ctx context.Context, fn func(*Tx) error) error {
	return l.db.Write(ctx, func(c Conn) error { return fn(&Tx{c: c, l: l, sql: l.sql}) })
}

// view runs fn on one snapshot.
func (l *Ledger) view(ctx context.Context, fn func(*Tx) error) error {
	return l.db.Read(ctx, func(c Conn) error { return fn(&Tx{c: c, l: l, sql: l.sql}) })
}

// timestamp is the present as it is kept.
func (l *Ledger) timestamp() time.Time { return kept(l.now()) }

// kept is a time as the ledger keeps it.
func kept(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Millisecond)
}

// keptOr is a time as the ledger keeps it, or the present for none.
func (l *Ledger) keptOr(t time.Time) time.Time {
	if t.IsZero() {
		return l.timestamp()
	}
	return kept(t)
}

// list runs a query and gathers what read makes of its rows.
func list[T any](ctx context.Context, c Conn, sql string, args []any, read func(Scanner) (T, error)) ([]T, error) {
	var out []T
	err := c.Query(ctx, sql, args, func(row Scanner) error {
		v, err := read(row)
		if err == nil {
			out = append(out, v)
		}
		return err
	})
	return out, err
}

// one runs a query that yields at most one row. Errors: ErrNotFound.
func one[T any](ctx context.Context, c Conn, sql string, args []any, read func(Scanner) (T, error)) (T, error) {
	rows, err := list(ctx, c, sql, args, read)
	var zero T
	if err != nil {
		return zero, err
	}
	if len(rows) == 0 {
		return zero, ErrNotFound
	}
	return rows[0], nil
}

// column reads a row of one column.
func column[T any](row Scanner) (T, error) {
	var v T
	err := row.Scan(&v)
	return v, err
}
