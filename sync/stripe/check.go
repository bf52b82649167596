package stripe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/tax/settings"
	"github.com/stripe/stripe-go/v76/webhookendpoint"
)

// Finding is what a check of one thing at Stripe found.
type Finding struct {
	Name string // stripe key, stripe webhook, stripe secret, stripe tax
	Note string
	Err  error // nil: in order, as far as is known
	Open bool  // it is not known
}

// WebhookPath is where Stripe posts its events, on the public listener.
const WebhookPath = "/stripe/webhook"

// Check asks Stripe whether the key, the webhook endpoint and the tax settings are right, and the ledger (which may be
// nil) whether the webhook secret is. It changes nothing.
func Check(ctx context.Context, cfg Config) []Finding {
	if cfg.Key == "" {
		return nil
	}
	api := newClient(cfg.Key, cfg.URL, cfg.Transport)
	note, err := api.checkKey(ctx)
	out := []Finding{{Name: "stripe key", Note: note, Err: err}}
	if err != nil {
		return out
	}
	note, err = api.checkEndpoint(ctx, cfg.PublicURL)
	out = append(out, Finding{Name: "stripe webhook", Note: note, Err: err})
	note, known, err := checkSecret(ctx, &cfg)
	out = append(out, Finding{"stripe secret", note, err, !known})
	if cfg.TaxMode == TaxStripe {
		note, err = api.checkTax(ctx)
		out = append(out, Finding{Name: "stripe tax", Note: note, Err: err})
	}
	return out
}

func (c *client) checkKey(ctx context.Context) (string, error) {
	err := c.backend.Call(http.MethodGet, "/v1/account", c.key, &stripe.AccountParams{Params: get(ctx)}, &stripe.Account{})
	if saidOf(err).HTTPStatusCode == http.StatusForbidden && strings.HasPrefix(c.key, "rk_") {
		err = nil // a restricted key that may not read the account is a key all the same
	}
	err = translate("the account cannot be read", err)
	if errors.Is(err, ErrRefused) || errors.Is(err, ErrKey) {
		err = fmt.Errorf("%w; look at stripe.key (RINGFENCE_STRIPE_KEY)", err)
	}
	if err != nil {
		return "", err
	}
	mode := "live"
	if strings.Contains(c.key, "_test_") {
		mode = "test"
	}
	return "is accepted, " + mode + " mode, API version " + APIVersion, nil
}

// checkEndpoint looks for the webhook endpoint that leads here.
func (c *client) checkEndpoint(ctx context.Context, public string) (string, error) {
	if public == "" {
		return "", errors.New("public.url is not set, so the webhook endpoint cannot be recognized; set it to the address by which customers reach this service")
	}
	want := strings.TrimSuffix(public, "/") + WebhookPath
	list := webhookendpoint.Client{B: c.backend, Key: c.key}.List(&stripe.WebhookEndpointListParams{ListParams: all(ctx)})
	for list.Next() {
		e := list.WebhookEndpoint()
		if strings.TrimSuffix(e.URL, "/") != want {
			continue
		}
		var missing []string
		for _, t := range EventTypes() {
			if !slices.Contains(e.EnabledEvents, t) && !slices.Contains(e.EnabledEvents, "*") {
				missing = append(missing, t)
			}
		}
		switch {
		case e.Status != "enabled":
			return "", fmt.Errorf("endpoint %s is %s; enable it in Stripe's dashboard", e.ID, e.Status)
		case e.APIVersion != APIVersion:
			return "", fmt.Errorf("endpoint %s has API version %q, whose events are refused; make it anew with %s", e.ID, e.APIVersion, APIVersion)
		case len(missing) > 0:
			return "", fmt.Errorf("endpoint %s does not send %s; add them", e.ID, strings.Join(missing, ", "))
		}
		return "endpoint " + e.ID + " sends all that is needed to " + want, nil
	}
	if err := list.Err(); err != nil {
		return "", translate("list webhook endpoints", err)
	}
	return "", fmt.Errorf("no endpoint leads to %s; make one with API version %s and the events %s", want, APIVersion, strings.Join(EventTypes(), ", "))
}

func (c *client) checkTax(ctx context.Context) (string, error) {
	s, err := settings.Client{B: c.backend, Key: c.key}.Get(&stripe.TaxSettingsParams{Params: get(ctx)})
	if err != nil {
		return "", translate("read the settings of Stripe Tax", err)
	}
	if s.Status != stripe.TaxSettingsStatusActive {
		return "", fmt.Errorf("the set-up of Stripe Tax is %s; finish it in Stripe's dashboard, or set stripe.tax.mode to table", s.Status)
	}
	return "Stripe Tax is active", nil
}
