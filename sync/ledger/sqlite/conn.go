package sqlite

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

// conn is a ledger.Conn.
type conn struct {
	tx *sql.Tx
}

func (c *conn) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	if err := arguments(args); err != nil {
		return 0, err
	}
	result, err := c.tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, translate(ctx, err)
	}
	return result.RowsAffected()
}

// ExecEach prepares the statement once.
func (c *conn) ExecEach(ctx context.Context, query string, rows [][]any) (int64, error) {
	stmt, err := c.tx.PrepareContext(ctx, query)
	if err != nil {
		return 0, translate(ctx, err)
	}
	defer stmt.Close()
	var changed int64
	for _, row := range rows {
		if err := arguments(row); err != nil {
			return 0, err
		}
		result, err := stmt.ExecContext(ctx, row...)
		if err != nil {
			return 0, translate(ctx, err)
		}
		n, err := result.RowsAffected()
		if err != nil {
			return 0, err
		}
		changed += n
	}
	return changed, nil
}

func (c *conn) Query(ctx context.Context, query string, args []any, row func(ledger.Scanner) error) error {
	if err := arguments(args); err != nil {
		return err
	}
	rows, err := c.tx.QueryContext(ctx, query, args...)
	if err != nil {
		return translate(ctx, err)
	}
	defer rows.Close()
	s := &scanner{rows: rows}
	for rows.Next() {
		if err := row(s); err != nil {
			return err
		}
	}
	return translate(ctx, rows.Err())
}

// arguments turns the values of ledger.Conn into those of SQLite, in place: times into milliseconds, lists into JSON
// for json_each (uids in hexadecimal).
func arguments(args []any) error {
	for i, arg := range args {
		switch v := arg.(type) {
		case time.Time:
			args[i] = nil
			if !v.IsZero() {
				args[i] = v.UnixMilli()
			}
		case uuid.UUID:
			args[i] = v[:]
		case []string:
			text, err := json.Marshal(v)
			if err != nil {
				return fmt.Errorf("%w: %w", ledger.ErrInvalid, err)
			}
			args[i] = string(text)
		case []uuid.UUID:
			list := make([]string, len(v))
			for j := range v {
				list[j] = hex.EncodeToString(v[j][:])
			}
			text, err := json.Marshal(list)
			if err != nil {
				return fmt.Errorf("%w: %w", ledger.ErrInvalid, err)
			}
			args[i] = string(text)
		}
	}
	return nil
}

// scanner reads the present row of a query.
type scanner struct {
	rows *sql.Rows
	dest []any
}

func (s *scanner) Scan(dest ...any) error {
	s.dest = s.dest[:0]
	for _, d := range dest {
		switch v := d.(type) {
		case *time.Time:
			d = (*moment)(v)
		case *uuid.UUID:
			d = (*uid)(v)
		}
		s.dest = append(s.dest, d)
	}
	return s.rows.Scan(s.dest...)
}

// moment reads milliseconds as a time in UTC, NULL as zero.
type moment time.Time

// Scan implements sql.Scanner.
func (m *moment) Scan(v any) error {
	switch ms := v.(type) {
	case nil:
		*m = moment{}
	case int64:
		*m = moment(time.UnixMilli(ms).UTC())
	default:
		return fmt.Errorf("a time is kept as %T, not as milliseconds", v)
	}
	return nil
}

// uid reads 16 bytes.
type uid uuid.UUID

// Scan implements sql.Scanner.
func (u *uid) Scan(v any) error {
	b, ok := v.([]byte)
	if !ok || len(b) != len(u) {
		return fmt.Errorf("a call uid is kept as %T, not as %d bytes", v, len(u))
	}
	copy(u[:], b)
	return nil
}
