package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// errUnchanged undoes a change of the directory that turned out to be none.
var errUnchanged = errors.New("nothing changed")

// revise makes one change of the directory under a new revision, and returns that. Changes come one after the other:
// the revision's row is locked first of all.
func (l *Ledger) revise(ctx context.Context, change func(tx *Tx, rev int64) error) (int64, error) {
	var rev int64
	err := l.Update(ctx, func(tx *Tx) (err error) {
		if rev, err = one(ctx, tx.c, tx.sql.RevisionNext, nil, column[int64]); err != nil {
			return err
		}
		return change(tx, rev)
	})
	return rev, err
}

// Revision counts the changes of accounts, numbers, keys and tariffs: cheap to poll, and what [Ledger.Changes] takes.
// The use of a key is no change.
func (l *Ledger) Revision(ctx context.Context) (int64, error) {
	var n int64
	err := l.view(ctx, func(tx *Tx) (err error) {
		n, err = one(ctx, tx.c, tx.sql.Revision, nil, column[int64])
		return err
	})
	return n, wrap("directory revision", err)
}

// Changes returns what has changed after a revision; 0 gives the whole directory, removed numbers
// included: whoever mirrors it may still have them. Of tariffs each new version comes,
// oldest first; of everything else the present state.
func (l *Ledger) Changes(ctx context.Context, since int64) (Changes, error) {
	var c Changes
	err := l.view(ctx, func(tx *Tx) (err error) {
		c = Changes{}
		after := []any{since}
		if c.Revision, err = one(ctx, tx.c, tx.sql.Revision, nil, column[int64]); err != nil || c.Revision == since {
			return err
		}
		if c.Accounts, err = list(ctx, tx.c, tx.sql.AccountsChanged, after, readAccount); err != nil {
			return err
		}
		if c.Keys, err = list(ctx, tx.c, tx.sql.KeysChanged, after, readKey); err != nil {
			return err
		}
		if c.Tariffs, err = list(ctx, tx.c, tx.sql.TariffsChanged, after, readTariff); err != nil {
			return err
		}
		return tx.c.Query(ctx, tx.sql.NumbersChanged, after, func(row Scanner) error {
			n, err := readNumber(row)
			switch {
			case n.removed:
				c.Removed = append(c.Removed, n.Revised)
			case !n.removed:
				c.Numbers = append(c.Numbers, n.Revised)
			}
			return err
		})
	})
	if err != nil {
		return Changes{}, wrap(fmt.Sprintf("directory changes since revision %d", since), err)
	}
	return c, nil
}

// values drops the revisions.
func values[T any](list []Revised[T]) []T {
	out := make([]T, len(list))
	for i, r := range list {
		out[i] = r.Value
	}
	return out
}

// ignoreNotFound is for what need not be there.
func ignoreNotFound(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
