package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/internal/migrate"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

const (
	// Another sidecar's migration is waited for: a look a second, for ten minutes.
	lockEvery, lockTries = 1, 600
)

// provider makes a migrator for one use; close ends it.
func (d *driver) provider() (p *goose.Provider, close func(), err error) {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return nil, nil, err
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(lockEvery, lockTries))
	if err != nil {
		return nil, nil, err
	}
	db := stdlib.OpenDBFromPool(d.pool)
	p, err = goose.NewProvider(goose.DialectPostgres, db, files, append(migrate.Options(), goose.WithSessionLocker(locker))...)
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	// Closing db leaves the pool open, and says nothing of interest.
	return p, func() { _ = db.Close() }, nil
}

func (d *driver) Migrate(ctx context.Context, version int64) error {
	p, end, err := d.provider()
	if err != nil {
		return fmt.Errorf("migrate the ledger: %w", err)
	}
	defer end()
	if err := migrate.Up(ctx, p, version); err != nil {
		return fmt.Errorf("migrate the ledger: %w", translate(ctx, err))
	}
	return nil
}

func (d *driver) Migrations(ctx context.Context) ([]ledger.Migration, error) {
	p, end, err := d.provider()
	if err != nil {
		return nil, fmt.Errorf("migrations of the ledger: %w", err)
	}
	defer end()
	list, err := migrate.List(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("migrations of the ledger: %w", translate(ctx, err))
	}
	return list, nil
}
