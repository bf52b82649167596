package sqlite

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/internal/migrate"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// provider makes a migrator. It is not to be closed, since that would close the writer.
func (d *driver) provider() (*goose.Provider, error) {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectSQLite3, d.writer, files, migrate.Options()...)
}

func (d *driver) Migrate(ctx context.Context, version int64) error {
	p, err := d.provider()
	if err == nil {
		err = migrate.Up(ctx, p, version)
	}
	if err != nil {
		return fmt.Errorf("migrate the ledger: %w", translate(ctx, err))
	}
	return nil
}

func (d *driver) Migrations(ctx context.Context) ([]ledger.Migration, error) {
	p, err := d.provider()
	if err != nil {
		return nil, fmt.Errorf("migrations of the ledger: %w", err)
	}
	list, err := migrate.List(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("migrations of the ledger: %w", translate(ctx, err))
	}
	return list, nil
}
