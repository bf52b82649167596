package stripe

import (
	"context"
	"net/http"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/stripe/stripe-go/v76"

	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe/usage"
)

// NewMeter makes the meter of talk time, over the same API as the shop; name is that of its events ("" is
// usage.EventName). Without a key there is none.
func NewMeter(key, url, name string, transport http.RoundTripper) (*usage.Meter, error) {
	if key == "" {
		return nil, ErrNotConfigured
	}
	return usage.NewMeter(newOnce(url, transport), newClient(key, url, transport).backend, key, name), nil
}

const markUsage = "stripe-usage"

// UsageTurn gives one sidecar at a time the turn to report usage (usage.Config), so that its rate is that of all.
// Errors: ledger.ErrUnavailable.
func UsageTurn(l *ledger.Ledger) func(ctx context.Context, lasts time.Duration) (bool, error) {
	return func(ctx context.Context, lasts time.Duration) (bool, error) {
		_, err := l.ClaimMark(ctx, markUsage, time.Now(), lasts)
		if nothing(err) {
			return false, nil
		}
		return err == nil, err
	}
}

// newOnce makes a backend that tries each request once: the ledger repeats meter events, and has to know what became
// of each try.
func newOnce(url string, next http.RoundTripper) stripe.Backend {
	single := retryablehttp.NewClient()
	single.Logger, single.RetryMax, single.ErrorHandler = nil, 0, retryablehttp.PassthroughErrorHandler
	single.CheckRetry = func(context.Context, *http.Response, error) (bool, error) { return false, nil }
	single.HTTPClient = &http.Client{Timeout: oneRequest, Transport: usage.Once(next)}
	cfg := &stripe.BackendConfig{HTTPClient: single.StandardClient(), MaxNetworkRetries: stripe.Int64(0), EnableTelemetry: stripe.Bool(false),
		LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull}}
	if url != "" {
		cfg.URL = stripe.String(url)
	}
	return keyed{stripe.GetBackendWithConfig(stripe.APIBackend, cfg)}
}
