package app

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/config"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/usage"
	"github.com/hmsovereign/ringfence/sync/stripe/vat"
)

// openBilling makes the desk of the customers' billing details, and what reports their usage to Stripe.
func (a *App) openBilling() error {
	s := a.cfg.Stripe
	if s.Key != "" {
		if _, err := checkSeller(a.cfg); err != nil {
			return err
		}
	}
	a.desk = stripe.NewDesk(stripe.DeskConfig{Key: s.Key.Reveal(), URL: s.URL.Reveal(), Ledger: a.Ledger, Log: a.log,
		Account: func(id string) (*authz.Account, bool) { return a.Directory.Account(id) }})
	if s.Key == "" || !s.Usage.Report {
		return nil
	}
	meter, err := openMeter(a.cfg)
	if err != nil {
		return err
	}
	a.usage = usage.New(usage.Config{Book: a.Ledger, Stripe: meter, Customer: a.desk.CustomerOf, Gone: a.desk.Gone, Turn: stripe.UsageTurn(a.Ledger),
		Settle: s.Usage.Settle, Rate: float64(s.Usage.Rate), Log: a.log, Metrics: usage.NewMetrics(a.reg)})
	return nil
}

// checkSeller tells whether the seller's own VAT is known, where the table decides, and which table that is.
func checkSeller(c *config.Config) (string, error) {
	shop, err := shopConfig(c)
	if err != nil {
		return "", err
	}
	note := "the rates are those of stripe.tax.file"
	if shop.Rates == nil {
		note = "the built-in rates are those of " + vat.AsOf + "; where one has changed since, name a table in stripe.tax.file"
		if shop.Rates, err = vat.BuiltIn(); err != nil {
			return "", err
		}
	}
	if _, err := shop.Rates.Rate(shop.Seller, time.Now()); err != nil && shop.TaxMode == stripe.TaxTable {
		return "", fmt.Errorf("stripe.tax.seller %s: %w; add its rate to stripe.tax.file, or set stripe.tax.mode to stripe", c.Stripe.Tax.Seller, err)
	}
	return note, nil
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

// checkUsage looks at the seller's VAT, and asks Stripe, if it can be asked, whether the meter can be used, and that nobody is
// charged by it.
func checkUsage(ctx context.Context, c *config.Config, ask bool) []Checked {
	if c.Stripe.Key == "" {
		return nil
	}
	note, err := checkSeller(c)
	out := []Checked{{Name: "vat", Note: note, Err: err}}
	if !c.Stripe.Usage.Report || !ask {
		return out
	}
	meter, err := openMeter(c)
	if err == nil {
		err = meter.Check(ctx)
	}
	return append(out, Checked{Name: "stripe meter", Note: "takes events named " + c.Stripe.Usage.Event + ", and has no price", Err: err})
}

// accountUsage says whether an account's usage is reported to Stripe, and how far that is.
type accountUsage struct {
	Account   string             `json:"account"`
	Report    bool               `json:"report"`
	Reporting bool               `json:"reporting"` // for anybody: a meter is configured
	Totals    ledger.UsageTotals `json:"totals"`
	Problems  []stripe.UsageLine `json:"problems"` // batches that are not proven, and why
}

func (a *App) usageOf(ctx context.Context, id string) (accountUsage, error) {
	out := accountUsage{Account: id, Reporting: a.usage != nil}
	_, err := a.Ledger.Account(ctx, id)
	if err != nil {
		return out, err
	}
	if out.Report, err = a.Ledger.UsageReporting(ctx, id); err != nil {
		return out, err
	}
	if out.Totals, err = a.Ledger.UsageTotals(ctx, id); err != nil {
		return out, err
	}
	out.Problems, err = stripe.UsageProblems(ctx, a.Ledger, id, "")
	return out, err
}

// usageAdmin adds usage reporting to the admin API.
func (a *App) usageAdmin(add func(string, http.HandlerFunc)) {
	add("GET /admin/v1/stripe/usage", func(w http.ResponseWriter, r *http.Request) {
		queue, err := a.Ledger.UsageQueue(r.Context())
		if queue == nil {
			queue = []ledger.UsageQueue{}
		}
		a.shopAnswer(w, map[string]any{"reporting": a.usage != nil, "waiting": queue}, err)
	})
	add("POST /admin/v1/stripe/meter", func(w http.ResponseWriter, r *http.Request) {
		meter, err := openMeter(a.cfg)
		if err == nil {
			err = meter.Create(r.Context())
		}
		if err == nil {
			a.log.Info("admin: usage meter made", "event", a.cfg.Stripe.Usage.Event, "remote", r.RemoteAddr)
		}
		a.shopAnswer(w, map[string]string{"event": a.cfg.Stripe.Usage.Event}, err)
	})
	add("GET /admin/v1/accounts/{id}/usage-reporting", func(w http.ResponseWriter, r *http.Request) {
		of, err := a.usageOf(r.Context(), r.PathValue("id"))
		a.shopAnswer(w, of, err)
	})
	add("POST /admin/v1/accounts/{id}/usage-reporting/{set}", func(w http.ResponseWriter, r *http.Request) {
		id, set := r.PathValue("id"), r.PathValue("set")
		if set != "on" && set != "off" {
			refuse(w, http.StatusBadRequest, "invalid_request", "usage reporting is set on or off", "set")
			return
		}
		var of accountUsage
		err := a.Ledger.SetUsageReporting(r.Context(), id, set == "on", time.Now())
		if err == nil {
			a.log.Info("admin: usage reporting set", "account", id, "report", set, "remote", r.RemoteAddr)
			of, err = a.usageOf(r.Context(), id)
		}
		a.shopAnswer(w, of, err)
	})
}
