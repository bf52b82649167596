package ledger

import (
	"context"

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
		return tx.known(ctx, uids, func(uid uuid.UUID, e entry) { known[uid] = e.state })
	})
	return known, wrap("known calls", err)
}
