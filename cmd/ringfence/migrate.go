package main

import (
	"encoding/json"
	"fmt"

	"github.com/hmsovereign/ringfence/cmd/internal/app"
	"github.com/hmsovereign/ringfence/cmd/internal/cli"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

type migrateCmd struct {
	Up     migrateUpCmd     `cmd:"" help:"Bring the ledger's schema up to date."`
	Status migrateStatusCmd `cmd:"" help:"Show which steps of the schema are done."`
}

// Help is shown by ringfence migrate --help.
func (*migrateCmd) Help() string {
	return `Reads the same configuration as ringfence serve and talks to the ledger itself, not to a running sidecar:

  RINGFENCE_LEDGER_URL=postgres://ringfence@127.0.0.1:5432/ringfence ringfence migrate up

An embedded ledger (SQLite) is brought up to date by ringfence serve itself.`
}

type migrateUpCmd struct {
	configFlags
}

// Run migrates.
func (k *migrateUpCmd) Run(c *console) error {
	cfg, err := k.load(c)
	if err != nil {
		return fmt.Errorf("configuration:\n%w", err)
	}
	l, err := app.OpenLedger(c.ctx, cfg)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := l.Migrate(c.ctx); err != nil {
		return err
	}
	return showMigrations(c, l, false)
}

type migrateStatusCmd struct {
	configFlags
	JSON bool `name:"json" help:"As JSON."`
}

// Run shows the steps.
func (k *migrateStatusCmd) Run(c *console) error {
	cfg, err := k.load(c)
	if err != nil {
		return fmt.Errorf("configuration:\n%w", err)
	}
	l, err := app.OpenLedger(c.ctx, cfg)
	if err != nil {
		return err
	}
	defer l.Close()
	return showMigrations(c, l, k.JSON)
}

func showMigrations(c *console, l *ledger.Ledger, asJSON bool) error {
	steps, err := l.Migrations(c.ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(c.out).Encode(steps)
	}
	t := cli.NewTable("version", "name", "applied")
	pending := 0
	for _, s := range steps {
		if s.Applied.IsZero() {
			pending++
		}
		t.Row(s.Version, s.Name, s.Applied)
	}
	if err := t.Write(c.out); err != nil {
		return err
	}
	if pending > 0 {
		c.note("%d pending; run: ringfence migrate up", pending)
	}
	return nil
}
