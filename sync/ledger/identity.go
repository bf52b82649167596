package ledger

import "context"

// identityStatements tell one ledger from another.
type identityStatements struct{ LedgerIdentity string }

// Identity tells this ledger from every other: 32 hexadecimal digits, made with the database and copied with it.
func (l *Ledger) Identity(ctx context.Context) (string, error) {
	var id string
	err := l.view(ctx, func(tx *Tx) (err error) {
		id, err = one(ctx, tx.c, tx.sql.LedgerIdentity, nil, column[string])
		return err
	})
	return id, wrap("which ledger this is", err)
}
