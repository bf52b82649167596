package app

import (
	"context"
	"net/http"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/config"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/usage"
)

// openBilling makes the desk of the customers' billing details, and what reports their usage to Stripe.
func (a *App) openBilling() error {
	s := a.cfg.Stripe
	a.desk = stripe.NewDesk(stripe.DeskConfig{Key: s.Key.Reveal(), URL: s.URL.Reveal(), Ledger: a.Ledger, Log: a.log,
		Account: func(id string) (*authz.Account, bool) { return a.Directory.Account(id) }})
	if s.Key == "" || !s.Usage.Report {
		return nil
	}
	meter, err := openMeter(a.cfg)
	if err != nil {
		return err
	}
	a.usage = usage.New(usage.Config{Book: a.Ledger, Stripe: meter, Customer: a.desk.CustomerOf, Settle: s.Usage.Settle, Rate: float64(s.Usage.Rate),
		Log: a.log, Metrics: usage.NewMetrics(a.reg)})
	return nil
}

func openMeter(c *config.Config) (*usage.Meter, error) {
	return stripe.NewMeter(c.Stripe.Key.Reveal(), c.Stripe.URL.Reveal(), c.Stripe.Usage.Event, nil)
}

// runBilling syncs details and reports usage until ctx is done.
func (a *App) runBilling(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.desk.Run(ctx)
	}()
	if a.usage != nil {
		a.usage.Run(ctx)
	}
	<-done
}

// checkUsage asks Stripe whether the meter can be used, and that nobody is charged by it.
func checkUsage(ctx context.Context, c *config.Config) []Checked {
	if c.Stripe.Key == "" || !c.Stripe.Usage.Report {
		return nil
	}
	meter, err := openMeter(c)
	if err == nil {
		err = meter.Check(ctx)
	}
	return []Checked{{"stripe meter", "takes events named " + c.Stripe.Usage.Event + ", and has no price", err}}
}

// usageAdmin adds usage reporting to the admin API.
func (a *App) usageAdmin(add func(string, http.HandlerFunc)) {
	add("GET /admin/v1/stripe/usage", func(w http.ResponseWriter, r *http.Request) {
		queue, err := a.Ledger.UsageQueue(r.Context())
		a.shopAnswer(w, map[string]any{"reporting": a.usage != nil, "waiting": queue}, err)
	})
}
