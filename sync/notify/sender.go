package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

// The headers of a webhook.
const (
	HeaderEvent     = "X-Webhook-Event"
	HeaderID        = "X-Webhook-Id" // the delivery's: the same for each try
	HeaderTimestamp = "X-Webhook-Timestamp"
	HeaderSignature = "X-Webhook-Signature"
)

const (
	dialTimeout = 5 * time.Second
	maxAnswer   = 4 << 10  // of an answer's body, which is ignored
	maxHeaders  = 32 << 10 // of an answer
)

// Sign returns the value of X-Webhook-Signature for a body sent at a time.
func Sign(secret string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(strconv.AppendInt(nil, at.Unix(), 10))
	mac.Write([]byte{'.'})
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// failure is why a try did not arrive, in words for the customer.
type failure struct {
	text  string
	after time.Duration // the endpoint asked not to be called before
	cause error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.cause }

// sender makes one try.
type sender struct {
	guard   *guard
	client  *retryablehttp.Client
	timeout time.Duration
	now     func() time.Time
}

func newSender(g *guard, timeout time.Duration, resolver *net.Resolver, now func() time.Time) *sender {
	c := retryablehttp.NewClient()
	c.Logger = nil
	// A connection that broke is tried once more at once; everything else waits its turn in the queue.
	c.RetryMax, c.RetryWaitMin, c.RetryWaitMax = 1, 50*time.Millisecond, 200*time.Millisecond
	c.CheckRetry = broke
	c.ErrorHandler = retryablehttp.PassthroughErrorHandler
	c.HTTPClient = &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: nil, DialContext: g.dialer(resolver).DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: dialTimeout,
			MaxIdleConnsPerHost: perEndpoint, MaxIdleConns: 100, IdleConnTimeout: 30 * time.Second,
			MaxResponseHeaderBytes: maxHeaders, DisableCompression: true,
		},
	}
	return &sender{guard: g, client: c, timeout: timeout, now: now}
}

// broke tells whether a try ended without any answer and may be made again at once.
func broke(ctx context.Context, _ *http.Response, err error) (bool, error) {
	if err == nil || ctx.Err() != nil || errors.Is(err, ErrBlocked) {
		return false, err
	}
	var netErr net.Error
	if errors.As(err, &netErr) && netErr.Timeout() {
		return false, err
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isReset(err), nil
}

func (s *sender) close() { s.client.HTTPClient.CloseIdleConnections() }

// try posts a delivery once. Errors: *failure.
func (s *sender) try(ctx context.Context, d *ledger.Delivery) error {
	if err := s.guard.check(d.Endpoint); err != nil {
		return &failure{text: err.Error(), cause: err}
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, d.Endpoint, d.Body)
	if err != nil {
		return &failure{text: "the URL cannot be called", cause: err}
	}
	at := s.now()
	h := req.Header
	h.Set("Content-Type", "application/json")
	h.Set("User-Agent", "ringfence-webhook/1")
	h.Set(HeaderEvent, d.Event)
	h.Set(HeaderID, d.ID.String())
	h.Set(HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
	h.Set(HeaderSignature, Sign(d.Secret, at, d.Body))
	resp, err := s.client.Do(req)
	if err != nil {
		return s.failed(err)
	}
	defer resp.Body.Close()
	// What is left unread closes the connection.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code >= 300 && code < 400:
		return &failure{text: fmt.Sprintf("the endpoint answered %s; redirects are not followed", status(code))}
	default:
		return &failure{text: "the endpoint answered " + status(code), after: retryAfter(resp.Header.Get("Retry-After"), at)}
	}
}

func status(code int) string {
	if text := http.StatusText(code); text != "" {
		return strconv.Itoa(code) + " " + text
	}
	return strconv.Itoa(code)
}

// failed puts an error of the client into words that tell nothing of our network.
func (s *sender) failed(err error) error {
	var dns *net.DNSError
	var netErr net.Error
	text := "the connection failed"
	switch {
	case errors.Is(err, ErrBlocked):
		text = "the URL leads to an address that is not a public one"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		text = fmt.Sprintf("the endpoint did not answer within %s", s.timeout)
	case errors.As(err, &dns):
		text = "the URL's host was not found"
	case isTLS(err):
		text = "the endpoint's TLS certificate was not accepted"
	case isReset(err), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		text = "the endpoint broke the connection off"
	case isRefused(err):
		text = "the endpoint refused the connection"
	}
	return &failure{text: text, cause: err}
}

// retryAfter reads the header (RFC 9110, 10.2.3): seconds or a date.
func retryAfter(v string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(v); err == nil && n > 0 {
		return min(time.Duration(n)*time.Second, maxBackoff)
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(t.Sub(now), 0), maxBackoff)
	}
	return 0
}
