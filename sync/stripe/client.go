package stripe

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/checkout/session"
	"github.com/stripe/stripe-go/v76/dispute"
	"github.com/stripe/stripe-go/v76/event"
	"github.com/stripe/stripe-go/v76/invoice"
	"github.com/stripe/stripe-go/v76/invoiceitem"
	"github.com/stripe/stripe-go/v76/paymentintent"
	"github.com/stripe/stripe-go/v76/paymentmethod"
	"github.com/stripe/stripe-go/v76/refund"
	"github.com/stripe/stripe-go/v76/tax/calculation"
	"github.com/stripe/stripe-go/v76/taxrate"
)

// APIVersion is the version of Stripe's API that this program speaks; webhook endpoints have to be made with it.
const APIVersion = stripe.APIVersion

// client is Stripe's API, as far as this package uses it.
type client struct {
	key     string
	plain   *http.Client // for PDFs, without the key
	backend stripe.Backend

	sessions session.Client
	invoices invoice.Client
	items    invoiceitem.Client
	intents  paymentintent.Client
	refunds  refund.Client
	disputes dispute.Client
	events   event.Client
	rates    taxrate.Client
	sums     calculation.Client
	cards    paymentmethod.Client
}

const (
	tries       = 3 // after the first
	firstPause  = 200 * time.Millisecond
	longPause   = 5 * time.Second
	oneRequest  = 20 * time.Second // one try of one request
	mostAnswers = 100              // of one page of a list
)

// newClient makes a client that tries again what may be tried again, over next (nil: Go's own transport).
func newClient(key, url string, next http.RoundTripper) *client {
	again := retryablehttp.NewClient()
	again.Logger, again.RetryMax, again.RetryWaitMin, again.RetryWaitMax = nil, tries, firstPause, longPause
	again.CheckRetry, again.ErrorHandler = worthRetrying, retryablehttp.PassthroughErrorHandler
	again.HTTPClient = &http.Client{Timeout: oneRequest, Transport: next}
	cfg := &stripe.BackendConfig{HTTPClient: again.StandardClient(), MaxNetworkRetries: stripe.Int64(0), EnableTelemetry: stripe.Bool(false),
		LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull}}
	if url != "" {
		cfg.URL = stripe.String(url)
	}
	b := keyed{stripe.GetBackendWithConfig(stripe.APIBackend, cfg)}
	return &client{key: key, backend: b, plain: again.StandardClient(),
		sessions: session.Client{B: b, Key: key}, invoices: invoice.Client{B: b, Key: key}, items: invoiceitem.Client{B: b, Key: key},
		intents: paymentintent.Client{B: b, Key: key}, refunds: refund.Client{B: b, Key: key}, disputes: dispute.Client{B: b, Key: key},
		events: event.Client{B: b, Key: key}, rates: taxrate.Client{B: b, Key: key}, sums: calculation.Client{B: b, Key: key},
		cards: paymentmethod.Client{B: b, Key: key}}
}

// worthRetrying goes by what Stripe says, where it does (docs.stripe.com/error-low-level, Stripe-Should-Retry).
func worthRetrying(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		if resp != nil {
			return false, nil
		}
		return false, ctx.Err()
	}
	if resp != nil {
		switch resp.Header.Get("Stripe-Should-Retry") {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		if resp.StatusCode == http.StatusConflict {
			return true, nil
		}
	}
	return retryablehttp.DefaultRetryPolicy(ctx, resp, err)
}

// keyed is a backend on which nothing is changed without an idempotency key of ours: the SDK would make one up, and a
// repetition after a crash would be another request.
type keyed struct{ stripe.Backend }

var errNoKey = errors.New("a request to Stripe that changes something has no idempotency key")

// Call implements stripe.Backend.
func (k keyed) Call(method, path, key string, params stripe.ParamsContainer, v stripe.LastResponseSetter) error {
	if method != http.MethodGet && (params == nil || params.GetParams() == nil || params.GetParams().IdempotencyKey == nil) {
		return errNoKey
	}
	return k.Backend.Call(method, path, key, params, v)
}

// get are the parameters of a request that changes nothing.
func get(ctx context.Context) stripe.Params { return stripe.Params{Context: ctx} }

// post are the parameters of a request that changes something: the same key, the same request, once.
func post(ctx context.Context, key string) stripe.Params {
	return stripe.Params{Context: ctx, IdempotencyKey: stripe.String(key)}
}

// anew makes a request once more, under a key of this hour, where Stripe answers with an error of its own: it keeps such
// answers for a day as well and repeats them for their key (docs.stripe.com/api/idempotent_requests). It is for requests
// of which one too many does no harm.
func anew[T any](now time.Time, key string, do func(key string) (T, error)) (T, error) {
	made, err := do(key)
	if saidOf(err).HTTPStatusCode < http.StatusInternalServerError {
		return made, err
	}
	return do(hourly(key, now))
}

// hourly is an idempotency key of the hour that it is used in.
func hourly(key string, now time.Time) string {
	return key + ":" + strconv.FormatInt(now.Unix()/int64(time.Hour/time.Second), 10)
}

// all are the parameters of a list, a page of it.
func all(ctx context.Context) stripe.ListParams {
	return stripe.ListParams{Context: ctx, Limit: stripe.Int64(mostAnswers)}
}
