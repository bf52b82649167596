package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/hmsovereign/ringfence/cmd/internal/app"
	"github.com/hmsovereign/ringfence/config"
)

// configFlags are shared by the commands that read the configuration.
type configFlags struct {
	Config string            `short:"c" type:"path" placeholder:"FILE" help:"Configuration file. Default: ./ringfence.yaml, then /etc/ringfence/ringfence.yaml, then none."`
	Set    map[string]string `placeholder:"KEY=VALUE" help:"Override a setting, such as hook.listen=127.0.0.1:9000. May be repeated."`
	Log    string            `name:"log-level" placeholder:"LEVEL" help:"debug, info, warn or error."`
}

func (f *configFlags) load(c *console) (*config.Config, error) {
	over := map[string]any{}
	for k, v := range f.Set {
		over[k] = v
	}
	if f.Log != "" {
		over["log.level"] = f.Log
	}
	path := f.Config
	for _, e := range c.environ {
		if v, ok := strings.CutPrefix(e, "RINGFENCE_CONFIG="); ok && path == "" {
			path = v
		}
	}
	return config.Load(path, c.environ, over)
}

type serveCmd struct {
	configFlags
}

// Help is shown by ringfence serve --help.
func (*serveCmd) Help() string {
	return `With no configuration at all it runs on stores of its own: Redis in process and SQLite in ./ringfence-data.

Signals: SIGTERM or Ctrl-C stops softly (a second one hurries), SIGHUP reads the configuration again and applies what can
change while calls are on.`
}

// Run serves until a signal.
func (s *serveCmd) Run(c *console) error {
	cfg, err := s.load(c)
	if err != nil {
		return fmt.Errorf("configuration:\n%w", err)
	}
	log, level := app.Logger(cfg.Log, c.err)
	a, err := app.New(c.ctx, cfg, app.Options{Log: log, Level: level})
	if err != nil {
		return err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	again := make(chan os.Signal, 2)
	ctx, hurry := context.WithCancel(context.Background())
	defer hurry()
	go func() {
		for {
			select {
			case <-hup:
				next, err := s.load(c)
				if err != nil {
					log.Error("configuration not reloaded; the old one stays in force", "error", err)
					continue
				}
				a.Reload(next)
			case <-again:
				log.Warn("second signal: stopping at once")
				hurry()
			case <-ctx.Done():
				return
			}
		}
	}()
	go func() {
		select {
		case <-c.ctx.Done():
			signal.Notify(again, os.Interrupt, syscall.SIGTERM)
		case <-ctx.Done():
		}
	}()
	err = a.Run(c.ctx, ctx)
	signal.Stop(again)
	return err
}
