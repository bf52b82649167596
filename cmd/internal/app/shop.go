package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/config"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/portal/account"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/usage"
	"github.com/hmsovereign/ringfence/sync/stripe/vat"
)

// shopConfig copies what the shop goes by.
func shopConfig(c *config.Config) (stripe.Config, error) {
	s := c.Stripe
	out := stripe.Config{Key: s.Key.Reveal(), WebhookSecret: s.WebhookSecret.Reveal(), URL: s.URL.Reveal(), PublicURL: publicURL(c), Origins: s.ReturnOrigins,
		Price: credit.Micros(s.PriceMicros), Min: credit.Micros(s.MinMicros), Max: credit.Micros(s.MaxMicros), Poll: s.PollEvery, TaxMode: s.Tax.Mode, Seller: s.Tax.Seller}
	for _, p := range s.Packages {
		n, err := strconv.ParseInt(p, 10, 64)
		if err != nil {
			return out, fmt.Errorf("stripe.packages %q: %w", p, err)
		}
		out.Packages = append(out.Packages, n)
	}
	if s.Tax.File == "" {
		return out, nil
	}
	f, err := os.Open(s.Tax.File)
	if err != nil {
		return out, fmt.Errorf("stripe.tax.file: %w", err)
	}
	defer f.Close()
	if out.Rates, err = vat.ReadTable(f); err != nil {
		return out, fmt.Errorf("stripe.tax.file %s: %w", s.Tax.File, err)
	}
	return out, nil
}

// publicURL is where customers reach the public listener.
func publicURL(c *config.Config) string {
	if u := c.Public.URL.Reveal(); u != "" {
		return u
	}
	return "http://" + c.Public.Listen
}

// openShop makes what sells credit.
func (a *App) openShop() error {
	c, err := shopConfig(a.cfg)
	if err != nil {
		return err
	}
	c.Ledger, c.Balances, c.Log, c.Metrics = a.Ledger, a.Store, a.log, stripe.NewMetrics(a.reg)
	c.Customers, c.Account = a.desk, a.Directory.Account
	c.Caller = func(ctx context.Context) (*authz.Account, bool) {
		caller, ok := account.CallerOf(ctx)
		return caller.Account, ok
	}
	c.Apply = func(ctx context.Context, id string) {
		if err := a.completer.Complete(ctx, id); err != nil {
			a.completer.Kick(id)
		}
	}
	a.shop, err = stripe.New(c)
	return err
}

// shopRoutes are the shop's resources of the public API.
func (a *App) shopRoutes() []account.Route {
	var out []account.Route
	for _, r := range append(a.shop.Routes(), a.shop.BillingRoutes(a.desk)...) {
		out = append(out, account.Route{Method: r.Method, Path: r.Path, Write: r.Write, Serve: r.Serve})
	}
	return out
}

// publicHandler serves the public listener: the API, and Stripe's webhook beside it.
func (a *App) publicHandler() http.Handler {
	webhook := a.shop.Webhook()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == stripe.WebhookPath {
			webhook.ServeHTTP(w, r)
			return
		}
		a.api.ServeHTTP(w, r)
	})
}

// shopAdmin adds the shop to the admin API.
func (a *App) shopAdmin(add func(string, http.HandlerFunc)) {
	add("GET /admin/v1/stripe/status", func(w http.ResponseWriter, r *http.Request) {
		st, err := a.shop.Status(r.Context())
		a.shopAnswer(w, st, err)
	})
	add("POST /admin/v1/stripe/resync", func(w http.ResponseWriter, r *http.Request) {
		hours := int64(24 * 30)
		if text := r.URL.Query().Get("hours"); text != "" {
			var err error
			if hours, err = strconv.ParseInt(text, 10, 64); err != nil || hours < 1 || hours > 24*30 {
				refuse(w, http.StatusBadRequest, "invalid_request", "must be a whole number from 1 to 720", "hours")
				return
			}
		}
		n, err := a.shop.Resync(r.Context(), time.Now().Add(-time.Duration(hours)*time.Hour))
		a.shopAnswer(w, map[string]int{"new_events": n}, err)
	})
	add("POST /admin/v1/stripe/events/{id}/replay", func(w http.ResponseWriter, r *http.Request) {
		a.shopAnswer(w, map[string]string{"outcome": "will be worked again"}, a.shop.Replay(r.Context(), r.PathValue("id")))
	})
}

func (a *App) shopAnswer(w http.ResponseWriter, v any, err error) {
	switch {
	case err == nil:
		answer(w, v)
	case errors.Is(err, ledger.ErrNotFound):
		refuse(w, http.StatusNotFound, "not_found", err.Error(), "id")
	case errors.Is(err, stripe.ErrNotConfigured):
		refuse(w, http.StatusServiceUnavailable, "service_unavailable", "no stripe.key is configured (RINGFENCE_STRIPE_KEY), so nothing is sold", "")
	case errors.Is(err, usage.ErrMeter):
		refuse(w, http.StatusConflict, "conflict", err.Error(), "")
	default:
		refuse(w, http.StatusServiceUnavailable, "service_unavailable", err.Error(), "")
	}
}

// checkShop asks Stripe whether the settings are right, and tells whether Stripe can be asked.
func checkShop(ctx context.Context, c *config.Config) (out []Checked, asked bool) {
	cfg, err := shopConfig(c)
	if err != nil {
		return []Checked{{Name: "stripe", Err: err}}, true
	}
	if cfg.Key == "" {
		return []Checked{{Name: "stripe", Err: fmt.Errorf("%w: no stripe.key, so nothing is sold", ErrNotConfigured)}}, false
	}
	cfg.PublicURL = c.Public.URL.Reveal()
	if cfg.Ledger = madeLedger(ctx, c); cfg.Ledger != nil {
		defer cfg.Ledger.Close()
	}
	for _, f := range stripe.Check(ctx, cfg) {
		out = append(out, Checked{f.Name, f.Note, f.Err, f.Open})
		asked = asked || f.Err == nil
	}
	if !asked {
		out = append(out, Checked{Name: "stripe", Err: fmt.Errorf("%w: webhook, secret, tax and meter, as Stripe could not be asked with this key", ErrNotTried)})
	}
	return out, asked
}

// madeLedger opens the ledger if there is one that can be read now: checkLedger says why not.
func madeLedger(ctx context.Context, c *config.Config) *ledger.Ledger {
	if path, embedded := c.SQLitePath(); embedded {
		if _, err := os.Stat(path); err != nil {
			return nil
		}
	}
	l, err := openPlainLedger(ctx, c)
	if err != nil {
		return nil
	}
	return l
}
