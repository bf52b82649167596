package ledger

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
)

// KnownCalls tells which of these calls the ledger has, and in what state.
func (l *Ledger) KnownCalls(ctx context.Context, uids []uuid.UUID) (map[uuid.UUID]authz.State, error) {
	known := make(map[uuid.UUID]authz.State, len(uids))
	if len(uids) == 0 {
		return known, nil
	}
	err := l.view(ctx, func(tx *Tx) error {
		clear(known)
		return tx.c.Query(ctx, tx.sql.CallsKnown, []any{uids}, func(row Scanner) error {
			var uid uuid.UUID
			var e entry
			var status, direction string
			var at time.Time
			err := row.Scan(&uid, &e.account, &status, &e.key.Switch, &direction, &e.key.CallID, &at,
				&e.sum.Seconds, &e.sum.Units, &e.sum.Micros, &e.sum.ExtraUnits, &e.sum.ExtraMicros)
			if err == nil {
				e.state, _, err = parseCallWords(status, direction)
			}
			known[uid] = e.state
			return err
		})
	})
	return known, wrap("known calls", err)
}
