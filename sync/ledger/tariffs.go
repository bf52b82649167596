package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hmsovereign/ringfence/authz/tariff"
)

// PutTariff keeps a tariff: a new one, or a new version of one. The rates in force again change nothing; others get a
// version above the last, or the one they came with if that is higher. A version never changes.
// Errors: ErrConflict (another currency: its accounts' money is in the old one), ErrInvalid.
func (l *Ledger) PutTariff(ctx context.Context, t *tariff.Table) (now *tariff.Table, rev int64, err error) {
	var was Revised[*tariff.Table]
	rev, err = l.revise(ctx, func(tx *Tx, rev int64) (err error) {
		if was, err = tx.tariff(ctx, t.ID()); ignoreNotFound(err) != nil {
			return err
		}
		now = t
		if old := was.Value; old != nil {
			if old.Currency() != t.Currency() {
				return problem(ErrConflict, "tariff %q is in %s: put the one in %s under another id", t.ID(), old.Currency(), t.Currency())
			}
			same, err := sameRates(old, t)
			if err != nil {
				return err
			}
			if same && was.Revision > 0 {
				return errUnchanged
			}
			if !same && t.Version() <= old.Version() {
				now = t.WithVersion(old.Version() + 1)
			}
		}
		body, err := json.Marshal(now)
		if err != nil {
			return invalid("tariff cannot be written: %v", err)
		}
		_, err = tx.c.Exec(ctx, tx.sql.TariffInsert, now.ID(), now.Version(), string(body), l.timestamp(), rev)
		return err
	})
	if errors.Is(err, errUnchanged) {
		return was.Value, was.Revision, nil
	}
	if err != nil {
		return nil, 0, wrap("put tariff", err)
	}
	return now, rev, nil
}

// sameRates tells whether two tariffs differ in their version at most.
func sameRates(a, b *tariff.Table) (bool, error) {
	x, err := json.Marshal(a.WithVersion(0))
	if err != nil {
		return false, invalid("tariff cannot be written: %v", err)
	}
	y, err := json.Marshal(b.WithVersion(0))
	if err != nil {
		return false, invalid("tariff cannot be written: %v", err)
	}
	return bytes.Equal(x, y), nil
}

// tariff reads the version in force; "default" always exists, with revision 0 until another is put under its id.
func (tx *Tx) tariff(ctx context.Context, id string) (Revised[*tariff.Table], error) {
	t, err := one(ctx, tx.c, tx.sql.TariffLatest, []any{id}, readTariff)
	if !errors.Is(err, ErrNotFound) {
		return t, err
	}
	if d := tariff.Default(); id == d.ID() {
		return Revised[*tariff.Table]{Value: d}, nil
	}
	return t, noTariff(id)
}

func noTariff(id string) error { return problem(ErrNotFound, "there is no tariff %q", id) }

// Tariff returns the version of a tariff that is in force; "default" always exists. Errors: ErrNotFound.
func (l *Ledger) Tariff(ctx context.Context, id string) (*tariff.Table, error) {
	var t Revised[*tariff.Table]
	err := l.view(ctx, func(tx *Tx) (err error) {
		t, err = tx.tariff(ctx, id)
		return err
	})
	return t.Value, err
}

// TariffVersion returns one version of a tariff. Errors: ErrNotFound.
func (l *Ledger) TariffVersion(ctx context.Context, id string, version int64) (*tariff.Table, error) {
	if d := tariff.Default(); id == d.ID() && version == d.Version() {
		return d, nil
	}
	var t Revised[*tariff.Table]
	err := l.view(ctx, func(tx *Tx) (err error) {
		t, err = one(ctx, tx.c, tx.sql.TariffVersion, []any{id, version}, readTariff)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		err = problem(ErrNotFound, "tariff %q has no version %d", id, version)
	}
	return t.Value, err
}

// Tariffs returns the version in force of every tariff that has been put.
func (l *Ledger) Tariffs(ctx context.Context) ([]*tariff.Table, error) {
	var all []Revised[*tariff.Table]
	err := l.view(ctx, func(tx *Tx) (err error) {
		all, err = list(ctx, tx.c, tx.sql.TariffsLatest, nil, readTariff)
		return err
	})
	return values(all), wrap("tariffs", err)
}

func readTariff(row Scanner) (Revised[*tariff.Table], error) {
	var r Revised[*tariff.Table]
	var body []byte
	err := row.Scan(&body, &r.Revision)
	if err == nil {
		if r.Value, err = tariff.Parse(body); err != nil {
			err = fmt.Errorf("a tariff in the ledger cannot be read: %w", err)
		}
	}
	return r, err
}
