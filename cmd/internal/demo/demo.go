package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/cmd/internal/app"
	"github.com/hmsovereign/ringfence/cmd/internal/cli"
	"github.com/hmsovereign/ringfence/config"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

// Options of a demo.
type Options struct {
	For     time.Duration // 0: until ctx is done
	Out     io.Writer
	Colour  bool // Out is a terminal
	Verbose io.Writer
}

// The people of the demo.
const (
	acme      = "acme"
	acmeDID   = "+31850835037"
	tight     = "tight"
	tightDID  = "+31850835038"
	broke     = "broke"
	brokeDID  = "+31850835039"
	someone   = "+31201234567"
	shortest  = 16 * time.Second // every scene fits in it
	tightness = "0.15"           // credits: 9 s of talk
)

// Run shows the demo. Its error tells that something went wrong, or that the
// sums do not add up.
func Run(ctx context.Context, opt Options) (err error) {
	v := &view{out: opt.Out, colour: opt.Colour, start: time.Now()}
	dir, err := os.MkdirTemp("", "ringfence-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	mini := miniredis.NewMiniRedis()
	if err := mini.StartAddr("127.0.0.1:0"); err != nil {
		return fmt.Errorf("start the embedded Redis: %w", err)
	}
	defer mini.Close()
	d := &demo{view: v, opt: opt, dir: dir, mini: mini, hook: address(8402), ops: address(9402), public: address(8480)}
	if d.sim, err = newSim("http://"+d.hook, v); err != nil {
		return err
	}
	defer d.sim.close()
	if err := d.openStripe(ctx); err != nil {
		return err
	}
	defer d.stripe.Close()
	if err := d.up(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.down()) }()
	if err := d.people(ctx); err != nil {
		return err
	}
	if err := d.intro(ctx); err != nil {
		return err
	}
	return d.play(ctx)
}

type demo struct {
	view              *view
	opt               Options
	dir               string
	mini              *miniredis.Miniredis
	sim               *sim
	admin             *cli.Client
	hook, ops, public string
	stripe            *stripefake.Fake
	stripeURL         string

	stop    context.CancelFunc
	stopped chan error
}

// address is the usual one where it is free, so that the commands shown are the
// ones of the documentation.
func address(port int) string {
	for _, p := range []int{port, 0} {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// up starts a sidecar; the second time it is the same one after a restart.
func (d *demo) up(ctx context.Context) error {
	cfg, err := config.Load("", nil, d.stripeSettings(map[string]any{
		"instance": "demo", "data_dir": d.dir, "redis.url": "redis://" + d.mini.Addr() + "/0",
		// The embedded Redis on a busy machine is no Redis that is down.
		"hook.deadline": "3s", "redis.timeout": "3s",
		"hook.listen": d.hook, "ops.listen": d.ops, "public.listen": d.public, "sip.listen": "",
		"calls.slice": "5s", "calls.extend_before": "2s", "calls.warn_before": "4s", "log.level": "warn",
		"switches": []map[string]any{{"name": "demo", "control_url": d.sim.url()}},
	}))
	if err != nil {
		return fmt.Errorf("demo configuration: %w", err)
	}
	log := slog.New(slog.NewTextHandler(d.logTo(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	a, err := app.New(ctx, cfg, app.Options{Log: log, Embedded: true})
	if err != nil {
		return err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop, d.stopped = stop, make(chan error, 1)
	go func() { d.stopped <- a.Run(run, context.WithoutCancel(ctx)) }()
	if d.admin, err = (cli.Admin{URL: "http://" + d.ops}).Client(); err != nil {
		return err
	}
	return d.ready(ctx)
}

func (d *demo) logTo() io.Writer {
	if d.opt.Verbose != nil {
		return d.opt.Verbose
	}
	return io.Discard
}

// ready waits until the sidecar can decide calls.
func (d *demo) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		resp, err := http.Get("http://" + d.ops + "/healthz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				if c, err := net.DialTimeout("tcp", d.hook, time.Second); err == nil {
					return c.Close()
				}
			}
		}
		select {
		case err := <-d.stopped:
			d.stopped <- err
			return fmt.Errorf("the sidecar stopped while starting: %w", err)
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return errors.New("the sidecar was not ready within 15 s")
		}
	}
}

// down stops the sidecar softly.
func (d *demo) down() error {
	d.stop()
	err := <-d.stopped
	d.stopped <- nil
	return err
}

// people makes the accounts.
func (d *demo) people(ctx context.Context) error {
	for _, p := range []struct{ id, company, did, minutes, language string }{
		{acme, "Acme Telecom", acmeDID, "500", "en"},
		{tight, "Nine Seconds Left BV", tightDID, tightness, "nl"},
		{broke, "No Credit GmbH", brokeDID, "", "de"},
	} {
		if err := d.admin.Do(ctx, http.MethodPost, "accounts", map[string]any{"id": p.id, "company_name": p.company, "language": p.language}, nil); err != nil {
			return fmt.Errorf("create account %s: %w", p.id, err)
		}
		if err := d.admin.Do(ctx, http.MethodPost, "numbers", map[string]any{"number": p.did, "account": p.id, "name": "Main line"}, nil); err != nil {
			return fmt.Errorf("add number %s: %w", p.did, err)
		}
		if p.minutes == "" {
			continue
		}
		if err := d.admin.Do(ctx, http.MethodPost, "accounts/"+p.id+"/grants", map[string]any{"minutes": p.minutes, "reference": "demo", "kind": "bonus"}, nil); err != nil {
			return fmt.Errorf("add credit to %s: %w", p.id, err)
		}
	}
	return nil
}

func (d *demo) intro(ctx context.Context) error {
	var link app.LinkView
	if err := d.admin.Do(ctx, http.MethodPost, "links", map[string]any{"account": acme, "lasts_seconds": 24 * 3600}, &link); err != nil {
		return fmt.Errorf("make a sign-in link: %w", err)
	}
	d.view.text(`Ringfence demo: a sidecar with stores of its own and a simulated switch. Everything below really happens, over HTTP.

  acme    %s  500 credits        tight   %s  %s credits (9 s)        broke   %s  none

See acme's billing page live, and buy credit with cards that pay or do not (the link signs in once):

  %s

Try it from another terminal while this runs:

  curl -s http://%s/v1/authorize -d '{"call_id":"mine-1","direction":"outbound","account":"acme","from":"%s","to":"%s"}'
  curl -s http://%s/v1/events -d '{"type":"ended","call_id":"mine-1","direction":"outbound","account":"acme","answered_at":null}'
  curl -s http://%s/v1/quote -d '{"call_id":"q","direction":"inbound","from":"%s","to":"%s"}'
  curl -s http://%s/readyz
  curl -s http://%s/metrics | grep ^ringfence_

`, acmeDID, tightDID, tightness, brokeDID, link.URL, d.hook, acmeDID, someone, d.hook, d.hook, someone, brokeDID, d.ops, d.ops)
	return nil
}

// play runs the scenes, then ordinary calls until the time is over, and sums up.
func (d *demo) play(ctx context.Context) error {
	d.view.start = time.Now()
	length := max(d.opt.For, shortest)
	placing, enough := context.WithCancel(ctx)
	defer enough()
	if d.opt.For > 0 {
		timer := time.AfterFunc(length-4*time.Second, enough)
		defer timer.Stop()
	}
	watching, unwatch := context.WithCancel(context.WithoutCancel(ctx))
	var watch, scenes sync.WaitGroup
	watch.Go(func() { d.watch(watching) })
	var mu sync.Mutex
	var errs []error
	for _, s := range d.scenes() {
		scenes.Go(func() {
			if !pause(placing, s.at) {
				return
			}
			if err := s.run(context.WithoutCancel(ctx)); err != nil {
				mu.Lock()
				errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
				mu.Unlock()
			}
		})
	}
	scenes.Go(func() {
		for i := 1; pause(placing, 3*time.Second); i++ {
			if d.opt.For > 0 && time.Since(d.view.start) > length-6*time.Second {
				return
			}
			c := call{id: fmt.Sprintf("more-%d", i), direction: "outbound", account: acme, from: acmeDID, to: someone, ring: 300 * time.Millisecond, talk: 2 * time.Second}
			if err := d.sim.place(context.WithoutCancel(ctx), c); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		}
	})
	scenes.Wait()
	if d.opt.For > 0 {
		_ = pause(ctx, time.Until(d.view.start.Add(d.opt.For)))
	}
	unwatch()
	watch.Wait()
	sum, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	return errors.Join(append(errs, d.summary(sum))...)
}

// creditOf is what the admin API says of an account's credit.
type creditOf struct {
	Minutes credit.Minutes `json:"minutes_balance"`
	Balance struct {
		Available int64 `json:"available_units"`
		Held      int64 `json:"held_units"`
		Granted   int64 `json:"granted_units"`
		Settled   int64 `json:"settled_units"`
		Calls     int64 `json:"calls"`
	} `json:"balance"`
}

func (d *demo) credit(ctx context.Context, account string) (c creditOf, err error) {
	err = d.admin.Do(ctx, http.MethodGet, "accounts/"+account+"/credit", nil, &c)
	return c, err
}

// watch keeps a terminal's last line.
func (d *demo) watch(ctx context.Context) {
	if !d.opt.Colour {
		return
	}
	for pause(ctx, 250*time.Millisecond) {
		var parts []string
		for _, id := range []string{acme, tight, broke} {
			if c, err := d.credit(ctx, id); err == nil {
				parts = append(parts, fmt.Sprintf("%s %s min, %d live", id, c.Minutes, c.Balance.Calls))
			}
		}
		if len(parts) > 0 {
			d.view.now(" " + strings.Join(parts, "   |   "))
		}
	}
}

// summary shows the sums and fails where they do not add up.
func (d *demo) summary(ctx context.Context) error {
	d.view.text("\nSummary, in credits: granted = available + held + settled, and settled = what the switch was told its calls cost\n\n  %-8s %12s %12s %12s %12s %14s\n",
		"account", "granted", "available", "held", "settled", "told")
	var errs []error
	for _, id := range []string{acme, tight, broke} {
		c, err := d.credit(ctx, id)
		if err != nil {
			return err
		}
		b := c.Balance
		d.sim.mu.Lock()
		told := d.sim.cost[id]
		d.sim.mu.Unlock()
		n := func(u int64) string { return credit.Units(u).Credits() }
		d.view.text("  %-8s %12s %12s %12s %12s %14s\n", id, n(b.Granted), n(b.Available), n(b.Held), n(b.Settled), n(told))
		if b.Granted != b.Available+b.Held+b.Settled {
			errs = append(errs, fmt.Errorf("%s: granted %d is not available %d + held %d + settled %d", id, b.Granted, b.Available, b.Held, b.Settled))
		}
		if b.Settled != told {
			errs = append(errs, fmt.Errorf("%s: settled %d units, but the switch was told %d", id, b.Settled, told))
		}
	}
	if len(errs) == 0 {
		d.view.text("\n  %d calls settled; the sums add up.\n", d.sim.ended)
	}
	return errors.Join(errs...)
}
