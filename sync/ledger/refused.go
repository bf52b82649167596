package ledger

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/hmsovereign/ringfence/authz"
)

// SetAside keeps the text of outbox entries that cannot become calls: refused records, and what no record can be read
// from. A text that is kept already is counted.
func (l *Ledger) SetAside(ctx context.Context, refused ...RefusedRecord) error {
	args := make([][]any, 0, len(refused))
	now := l.timestamp()
	for _, r := range refused {
		args = append(args, []any{digest(r.Raw), r.Raw, printable(r.Reason), now})
	}
	// One order for all writers, against deadlocks.
	slices.SortFunc(args, func(a, b []any) int { return slices.Compare(a[0].([]byte), b[0].([]byte)) })
	err := l.Update(ctx, func(tx *Tx) error {
		_, err := tx.c.ExecEach(ctx, tx.sql.RefusedPut, args)
		return err
	})
	return wrap("set refused records aside", err)
}

func digest(raw []byte) []byte {
	sum := sha256.Sum256(raw)
	return sum[:]
}

// printable makes any text fit for a text column.
func printable(s string) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return s
}

// RefusedRecords returns refused records with ids above one, by id, and how many there are in all.
func (l *Ledger) RefusedRecords(ctx context.Context, after int64, limit int) (page []RefusedRecord, total int64, err error) {
	err = l.view(ctx, func(tx *Tx) error {
		if page, err = list(ctx, tx.c, tx.sql.RefusedAfter, []any{after, rows(limit)}, readRefused); err != nil {
			return err
		}
		total, err = one(ctx, tx.c, tx.sql.RefusedCount, nil, column[int64])
		return err
	})
	return page, total, wrap("refused records", err)
}

// RefusedRecord returns one refused record. Errors: ErrNotFound.
func (l *Ledger) RefusedRecord(ctx context.Context, id int64) (RefusedRecord, error) {
	var r RefusedRecord
	err := l.view(ctx, func(tx *Tx) (err error) {
		r, err = one(ctx, tx.c, tx.sql.Refused, []any{id}, readRefused)
		return err
	})
	return r, wrap(fmt.Sprintf("refused record %d", id), err)
}

// RetryRefused ingests a refused record again, its account created meanwhile for instance, and forgets the refused
// one, in one transaction. Errors: ErrNotFound, ErrRefused (it is refused again and stays).
func (l *Ledger) RetryRefused(ctx context.Context, id int64, then ...Then) (Result, error) {
	results := make([]Result, 1)
	err := l.Update(ctx, func(tx *Tx) error {
		kept, err := one(ctx, tx.c, tx.sql.RefusedLocked, []any{id}, readRefused)
		if err != nil {
			return err
		}
		r, err := authz.ParseRecord(string(kept.Raw))
		if err != nil {
			return &RefusedError{UID: r.UID, Account: r.Account, Reason: err.Error()}
		}
		if err := checkRecord(&r); err != nil {
			return refuse(&r, err.Error()).Err
		}
		if err := tx.ingest(ctx, []authz.Record{r}, []int{0}, results, then); err != nil {
			return err
		}
		if results[0].Err != nil {
			return results[0].Err
		}
		_, err = tx.c.Exec(ctx, tx.sql.RefusedDelete, id)
		return err
	})
	if err != nil {
		return Result{}, fmt.Errorf("retry refused record %d: %w", id, err)
	}
	return results[0], nil
}

// DiscardRefused forgets a refused record for good. Errors: ErrNotFound.
func (l *Ledger) DiscardRefused(ctx context.Context, id int64) error {
	err := l.Update(ctx, func(tx *Tx) error {
		n, err := tx.c.Exec(ctx, tx.sql.RefusedDelete, id)
		if err == nil && n == 0 {
			err = ErrNotFound
		}
		return err
	})
	return wrap(fmt.Sprintf("discard refused record %d", id), err)
}

func readRefused(row Scanner) (RefusedRecord, error) {
	var r RefusedRecord
	err := row.Scan(&r.ID, &r.Raw, &r.Reason, &r.Count, &r.FirstSeen, &r.LastSeen)
	return r, err
}
