package demo

import (
	"context"
	"fmt"

	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

const (
	stripeSecret = "whsec_demo"
	stripePort   = 8481 // of the pages where the demo's customers pay
)

// openStripe starts a Stripe of the demo's own, so that credit can be bought without a network. It is the same one
// after the sidecar's restart.
func (d *demo) openStripe(ctx context.Context) error {
	var err error
	if d.stripe, err = stripefake.New(stripefake.Config{}); err != nil {
		return fmt.Errorf("start the demo's Stripe: %w", err)
	}
	if d.stripeURL, err = d.stripe.Start(address(stripePort)); err != nil {
		return fmt.Errorf("start the demo's Stripe: %w", err)
	}
	d.stripe.AddEndpoint("http://"+d.public+stripe.WebhookPath, stripeSecret, stripe.EventTypes()...)
	meter, err := stripe.NewMeter(stripefake.Key, d.stripeURL, "", nil)
	if err == nil {
		err = meter.Create(ctx)
	}
	if err != nil {
		return fmt.Errorf("make the meter of the demo's Stripe: %w", err)
	}
	return nil
}

// stripeSettings lead the sidecar to it.
func (d *demo) stripeSettings(settings map[string]any) map[string]any {
	settings["stripe.key"], settings["stripe.webhook_secret"], settings["stripe.url"] = stripefake.Key, stripeSecret, d.stripeURL
	return settings
}
