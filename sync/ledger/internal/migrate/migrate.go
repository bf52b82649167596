// Package migrate is what both drivers share of their migrations.
package migrate

import (
	"context"
	"path"

	"github.com/pressly/goose/v3"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

// table records which migrations have been applied.
const table = "ringfence_migrations"

// Options are those of every provider: no migrations registered from elsewhere, a table of our own name.
func Options() []goose.ProviderOption {
	return []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithTableName(table)}
}

// Up applies what is pending, up to a version or to the newest for 0.
func Up(ctx context.Context, p *goose.Provider, version int64) error {
	if version == 0 {
		_, err := p.Up(ctx)
		return err
	}
	_, err := p.UpTo(ctx, version)
	return err
}

// List returns all migrations, oldest first, and last the newest that this program does not know, if there is one.
func List(ctx context.Context, p *goose.Provider) ([]ledger.Migration, error) {
	steps, err := p.Status(ctx)
	if err != nil {
		return nil, err
	}
	applied, newest, err := p.GetVersions(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]ledger.Migration, 0, len(steps)+1)
	for _, s := range steps {
		list = append(list, ledger.Migration{Version: s.Source.Version, Name: path.Base(s.Source.Path), Applied: s.AppliedAt})
	}
	if applied > newest {
		list = append(list, ledger.Migration{Version: applied})
	}
	return list, nil
}
