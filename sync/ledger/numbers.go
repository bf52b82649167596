package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
)

// AddNumber gives an account a number. An empty ID becomes a new UUID, a zero Created the present. A number has one
// owner: the error names it.
// Errors: ErrExists (this account has it, or the id is taken), ErrConflict (another account has it), ErrNotFound (the
// account), ErrInvalid.
func (l *Ledger) AddNumber(ctx context.Context, n authz.Number) (made authz.Number, rev int64, err error) {
	if n.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return authz.Number{}, 0, wrap("mint the id of a number", err)
		}
		n.ID = id.String()
	}
	n.Created = l.keptOr(n.Created)
	texts := []field{{"id", n.ID}, {"number", n.E164}, {"account", n.Account}}
	if err := errors.Join(checkGiven(texts...), checkTexts(append(texts, field{"name", n.Name})...)); err != nil {
		return authz.Number{}, 0, wrap("add number "+authz.Mask(n.E164), err)
	}
	rev, err = l.revise(ctx, func(tx *Tx, rev int64) error {
		owned, err := one(ctx, tx.c, tx.sql.Number, []any{n.E164}, readNumber)
		switch {
		case err == nil && owned.Value.Account == n.Account:
			return problem(ErrExists, "number %s belongs to account %q already", authz.Mask(n.E164), n.Account)
		case err == nil:
			return problem(ErrConflict, "number %s belongs to account %q; remove it there first", authz.Mask(n.E164), owned.Value.Account)
		case !errors.Is(err, ErrNotFound):
			return err
		}
		if _, err := tx.account(ctx, tx.sql.Account, n.Account); err != nil {
			return err
		}
		_, err = tx.c.Exec(ctx, tx.sql.NumberInsert, n.ID, n.E164, n.Account, n.Name, n.Created, rev)
		return err
	})
	if err != nil {
		return authz.Number{}, 0, wrap("add number "+authz.Mask(n.E164), err)
	}
	return n, rev, nil
}

// RenameNumber changes the name of a number in use. Errors: ErrNotFound, ErrInvalid.
func (l *Ledger) RenameNumber(ctx context.Context, e164, name string) (now authz.Number, rev int64, err error) {
	if err := checkTexts(field{"name", name}); err != nil {
		return authz.Number{}, 0, wrap("rename number "+authz.Mask(e164), err)
	}
	return l.changeNumber(ctx, e164, "rename", l.sql.NumberRename, name)
}

// RemoveNumber takes a number out of use and returns it as it was; calls keep its id. It may be added again, to any
// account, under a new id. Errors: ErrNotFound.
func (l *Ledger) RemoveNumber(ctx context.Context, e164 string) (was authz.Number, rev int64, err error) {
	return l.changeNumber(ctx, e164, "remove", l.sql.NumberRemove, l.timestamp())
}

func (l *Ledger) changeNumber(ctx context.Context, e164, what, sql string, to any) (authz.Number, int64, error) {
	var n numberRow
	rev, err := l.revise(ctx, func(tx *Tx, rev int64) (err error) {
		n, err = one(ctx, tx.c, sql, []any{e164, to, rev}, readNumber)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		err = noNumber(e164)
	}
	if err != nil {
		return authz.Number{}, 0, wrap(what+" number", err)
	}
	return n.Value, rev, nil
}

// Number returns a number in use. Errors: ErrNotFound.
func (l *Ledger) Number(ctx context.Context, e164 string) (authz.Number, error) {
	var n numberRow
	err := l.view(ctx, func(tx *Tx) (err error) {
		n, err = one(ctx, tx.c, tx.sql.Number, []any{e164}, readNumber)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		err = noNumber(e164)
	}
	return n.Value, err
}

func noNumber(e164 string) error {
	return problem(ErrNotFound, "no account has number %s", authz.Mask(e164))
}

// Numbers returns an account's numbers in use, or everybody's for an empty account.
func (l *Ledger) Numbers(ctx context.Context, account string) ([]authz.Number, error) {
	sql, args := l.sql.Numbers, []any(nil)
	if account != "" {
		sql, args = l.sql.NumbersOfAccount, []any{account}
	}
	var all []authz.Number
	err := l.view(ctx, func(tx *Tx) error {
		all = nil
		return tx.c.Query(ctx, sql, args, func(row Scanner) error {
			n, err := readNumber(row)
			all = append(all, n.Value)
			return err
		})
	})
	return all, wrap("numbers", err)
}

// numberRow is a number that may have been removed.
type numberRow struct {
	Revised[authz.Number]
	removed bool
}

func readNumber(row Scanner) (numberRow, error) {
	var r numberRow
	n := &r.Value
	var removed time.Time
	err := row.Scan(&n.ID, &n.E164, &n.Account, &n.Name, &n.Created, &removed, &r.Revision)
	r.removed = !removed.IsZero()
	return r, err
}
