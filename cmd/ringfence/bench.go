package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/cmd/internal/bench"
	"github.com/hmsovereign/ringfence/cmd/internal/cli"
)

type benchCmd struct {
	Hook       string        `default:"http://127.0.0.1:8402" help:"Hook listener: http://host:port or unix:///path."`
	HookToken  string        `env:"RINGFENCE_HOOK_TOKEN" help:"Token of the hook listener."`
	Redis      string        `required:"" env:"RINGFENCE_REDIS_URL" help:"URL of the Redis the sidecar uses."`
	Partitions int           `default:"64" help:"Partitions of the deployment."`
	Clients    int           `short:"n" default:"64" help:"Concurrent clients."`
	Rate       int           `help:"Also an open loop of so many requests a second."`
	Accounts   int           `default:"100" help:"Accounts to spread the calls over; they are created where missing."`
	For        time.Duration `default:"10s" help:"Length of each phase."`
	Live       int           `help:"Instead: place so many answered calls and show what metering them costs, in CPU and memory."`
	JSON       bool          `name:"json" help:"Print the report as JSON."`
	cli.Admin
}

// Help is shown by ringfence bench --help.
func (*benchCmd) Help() string {
	return `Needs a running sidecar (ringfence serve) on a real Redis, both on this machine for figures that mean something:

  ringfence serve --set redis.url=redis://127.0.0.1:6379/0 &
  ringfence bench --redis redis://127.0.0.1:6379/0 --rate 2000
  ringfence bench --redis redis://127.0.0.1:6379/0 --live 100000 --for 60s

It creates accounts named bench-0, bench-1 ... with a large credit, and gives back every hold it makes.`
}

// Run measures.
func (b *benchCmd) Run(c *console) error {
	if b.Clients < 1 || b.Accounts < 1 || b.For <= 0 || b.Live < 0 || b.Rate < 0 {
		return errors.New("--clients, --accounts and --for must be above zero, --rate and --live not below it")
	}
	if _, err := balance.New(nil, balance.Config{Partitions: b.Partitions}, nil); err != nil {
		return err
	}
	rdb, err := balance.Dial(balance.DialConfig{URL: b.Redis, PoolSize: b.Clients + 40, Timeout: 5 * time.Second})
	if err != nil {
		return err
	}
	defer rdb.Close()
	accounts, err := b.accounts(c)
	if err != nil {
		return err
	}
	cfg := bench.Config{Hook: b.Hook, HookToken: b.HookToken, Ops: b.URL, OpsToken: b.Token, Redis: rdb, Partitions: b.Partitions, Accounts: accounts,
		Clients: b.Clients, Rate: b.Rate, For: b.For, Out: c.err}
	if b.Live > 0 {
		rep, err := bench.Live(c.ctx, cfg, b.Live)
		if err != nil {
			return err
		}
		if b.JSON {
			return json.NewEncoder(c.out).Encode(rep)
		}
		_, err = fmt.Fprintf(c.out, "%d live calls (%d failed), placed at %.0f/s\nGo heap per call     %6.0f B\nRedis per call       %6.0f B\nmetered for %s\n  sidecar %.3f cores\n  Redis   %.3f cores\n",
			rep.Calls, rep.Failed, rep.Placed, rep.GoHeap, rep.RedisMemory, rep.Metered, rep.SidecarCores, rep.RedisCores)
		return err
	}
	rep, err := bench.Run(c.ctx, cfg)
	if err != nil {
		return err
	}
	if b.JSON {
		return json.NewEncoder(c.out).Encode(rep)
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "phase\trequests\terrors\tper second\tp50 us\tp99 us\tp99.9 us\tsidecar CPU us\tRedis CPU us\t")
	for _, p := range rep.Phases {
		fmt.Fprintf(w, "%s\t%d\t%d\t%.0f\t%.0f\t%.0f\t%.0f\t%.1f\t%.1f\t\n", p.Name, p.Requests, p.Errors, p.PerSecond, p.P50, p.P99, p.P999, p.SidecarCPU, p.RedisCPU)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "\nhook throughput / raw Redis: %.2f    p50 over raw: %.0f us    (%d clients, %d accounts)\n",
		rep.ThroughputRatio, rep.P50OverRaw, rep.Clients, rep.Accounts)
	return err
}

// accounts makes sure that the bench accounts are there and have credit.
func (b *benchCmd) accounts(c *console) ([]string, error) {
	admin, err := b.Admin.Client()
	if err != nil {
		return nil, err
	}
	ids := make([]string, b.Accounts)
	for i := range ids {
		ids[i] = fmt.Sprintf("bench-%d", i)
		if err := admin.EnsureAccount(c.ctx, ids[i], "Load run"); err != nil {
			return nil, err
		}
		if err := admin.EnsureCredit(c.ctx, ids[i], bench.Credit, "bench"); err != nil {
			return nil, err
		}
	}
	return ids, nil
}
