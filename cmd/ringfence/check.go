package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hmsovereign/ringfence/cmd/internal/app"
	"github.com/hmsovereign/ringfence/config"
)

type checkCmd struct {
	configFlags
	Print   bool `help:"Also print the configuration in force, secrets redacted, with where each value comes from."`
	Offline bool `help:"Only the configuration: try no connection."`
}

// Run checks the configuration, all of it, then every connection.
func (k *checkCmd) Run(c *console) error {
	cfg, err := k.load(c)
	if err != nil {
		problems := config.Problems(err)
		for _, p := range problems {
			fmt.Fprintf(c.out, "FAIL  %v\n", p)
		}
		if len(problems) == 0 {
			return err
		}
		many := "s"
		if len(problems) == 1 {
			many = ""
		}
		fmt.Fprintf(c.out, "\n%d problem%s in the configuration\n", len(problems), many)
		return errShown
	}
	if k.Print {
		fmt.Fprintln(c.out, cfg.YAML())
	}
	from := cfg.Path()
	if from == "" {
		from = "no file: defaults and environment"
	}
	fmt.Fprintf(c.out, "ok    configuration (%s)\n", from)
	for _, w := range cfg.Warnings() {
		fmt.Fprintf(c.out, "warn  %s\n", w)
	}
	if k.Offline {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, 30*time.Second)
	defer cancel()
	failed := false
	for _, r := range app.Check(ctx, cfg) {
		switch {
		case errors.Is(r.Err, app.ErrNotConfigured), errors.Is(r.Err, app.ErrNotTried):
			fmt.Fprintf(c.out, "-     %-14s  %v\n", r.Name, r.Err)
		case r.Err != nil:
			failed = true
			fmt.Fprintf(c.out, "FAIL  %-14s  %v\n", r.Name, r.Err)
		case r.Open:
			fmt.Fprintf(c.out, "warn  %-14s  %s\n", r.Name, r.Note)
		default:
			fmt.Fprintf(c.out, "ok    %-14s  %s\n", r.Name, r.Note)
		}
	}
	if failed {
		return errShown
	}
	return nil
}
