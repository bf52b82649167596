package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

// conn is a ledger.Conn.
type conn struct {
	tx pgx.Tx
}

func (c *conn) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	tag, err := c.tx.Exec(ctx, sql, arguments(args)...)
	return tag.RowsAffected(), translate(ctx, err)
}

// ExecEach sends all rows in one pipeline: one round trip.
func (c *conn) ExecEach(ctx context.Context, sql string, rows [][]any) (int64, error) {
	var batch pgx.Batch
	for _, row := range rows {
		batch.Queue(sql, arguments(row)...)
	}
	results := c.tx.SendBatch(ctx, &batch)
	var changed int64
	var err error
	for range rows {
		tag, execErr := results.Exec()
		if execErr != nil {
			err = execErr
			break
		}
		changed += tag.RowsAffected()
	}
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	return changed, translate(ctx, err)
}

func (c *conn) Query(ctx context.Context, sql string, args []any, row func(ledger.Scanner) error) error {
	rows, err := c.tx.Query(ctx, sql, arguments(args)...)
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

// arguments turns the values of ledger.Conn into those of pgx, in place.
func arguments(args []any) []any {
	for i, arg := range args {
		switch v := arg.(type) {
		case time.Time:
			args[i] = pgtype.Timestamptz{Time: v, Valid: !v.IsZero()}
		case uuid.UUID:
			args[i] = pgtype.UUID{Bytes: v, Valid: true}
		case []uuid.UUID:
			list := make([]pgtype.UUID, len(v))
			for j := range v {
				list[j] = pgtype.UUID{Bytes: v[j], Valid: true}
			}
			args[i] = list
		}
	}
	return args
}

// scanner reads the present row of a query.
type scanner struct {
	rows pgx.Rows
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

// moment reads a timestamptz in UTC, NULL as zero.
type moment time.Time

func (m *moment) ScanTimestamptz(v pgtype.Timestamptz) error {
	*m = moment{}
	if v.Valid {
		*m = moment(v.Time.UTC())
	}
	return nil
}

// uid reads a uuid.
type uid uuid.UUID

func (u *uid) ScanUUID(v pgtype.UUID) error {
	*u = v.Bytes
	return nil
}
