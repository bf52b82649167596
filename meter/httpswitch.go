package meter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// HTTPConfig describes a switch that is controlled by JSON over HTTP. The zero
// value of a field is its default.
type HTTPConfig struct {
	Name       string
	ControlURL string            // gets every command by POST; empty: only heartbeats' answers reach the switch
	Token      string            // sent as bearer token; empty: none
	Extends    bool              // it understands "extend"
	Lists      bool              // it understands "list"
	Heartbeats bool              // all its calls send heartbeats
	Retries    int               // of a failed request, beside the first; default 2, below 0: none
	Timeout    time.Duration     // of one attempt; default 2 s
	Transport  http.RoundTripper // default: one of its own, without a proxy
}

// command is what the control URL gets.
type command struct {
	Action     string `json:"action"` // hangup, warn, extend or list
	CallID     string `json:"call_id,omitempty"`
	Direction  string `json:"direction,omitempty"`
	Switch     string `json:"switch"`
	Reason     string `json:"reason,omitempty"`
	Remaining  *int64 `json:"remaining_seconds,omitempty"`
	MaxSeconds int64  `json:"max_seconds,omitempty"`
}

// listed is the answer to "list". Calls absent altogether is no answer.
type listed struct {
	Calls *[]struct {
		CallID    string           `json:"call_id"`
		Direction tariff.Direction `json:"direction"`
	} `json:"calls"`
}

const (
	listMost   = 256 << 20 // bytes of a listing
	answerMost = 64 << 10
)

// HTTPSwitch controls a switch by JSON over HTTP.
type HTTPSwitch struct {
	cfg    HTTPConfig
	client *retryablehttp.Client
}

type httpExtender struct{ *HTTPSwitch }
type httpLister struct{ *HTTPSwitch }
type httpExtenderLister struct{ *HTTPSwitch }

// NewHTTPSwitch makes a Switch that is an Extender, Lister and Heartbeater as
// the configuration says. Errors: a control URL that is none.
func NewHTTPSwitch(cfg HTTPConfig, log *slog.Logger) (Switch, error) {
	if cfg.ControlURL != "" {
		u, err := url.Parse(cfg.ControlURL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return nil, fmt.Errorf("switch %s: control_url must be an http or https URL, such as http://127.0.0.1:8090/control", cfg.Name)
		}
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Second
	}
	if cfg.Retries == 0 {
		cfg.Retries = 2
	}
	if cfg.Transport == nil {
		cfg.Transport = &http.Transport{
			DialContext:         (&net.Dialer{Timeout: cfg.Timeout}).DialContext,
			MaxIdleConnsPerHost: portWorkers, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: cfg.Timeout,
		}
	}
	s := &HTTPSwitch{cfg: cfg, client: &retryablehttp.Client{
		HTTPClient: &http.Client{Transport: cfg.Transport, Timeout: cfg.Timeout,
			// A command is not carried, with its token, to wherever an answer points.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		Logger: quietLog{log}, RetryMax: max(cfg.Retries, 0), RetryWaitMin: 100 * time.Millisecond, RetryWaitMax: time.Second,
		CheckRetry: retryablehttp.DefaultRetryPolicy, Backoff: retryablehttp.DefaultBackoff, ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}}
	if cfg.ControlURL == "" {
		return s, nil
	}
	switch {
	case cfg.Extends && cfg.Lists:
		return httpExtenderLister{s}, nil
	case cfg.Extends:
		return httpExtender{s}, nil
	case cfg.Lists:
		return httpLister{s}, nil
	}
	return s, nil
}

// Heartbeats implements Heartbeater.
func (s *HTTPSwitch) Heartbeats() bool { return s.cfg.Heartbeats }

// Hangup implements Switch.
func (s *HTTPSwitch) Hangup(ctx context.Context, k authz.Key, reason string) error {
	c := s.command("hangup", k)
	c.Reason = reason
	return s.send(ctx, c, nil)
}

// Warn implements Switch.
func (s *HTTPSwitch) Warn(ctx context.Context, k authz.Key, remainingSeconds int64) error {
	c := s.command("warn", k)
	c.Remaining = &remainingSeconds
	return s.send(ctx, c, nil)
}

func (s *HTTPSwitch) extend(ctx context.Context, k authz.Key, maxSeconds int64) error {
	c := s.command("extend", k)
	c.MaxSeconds = maxSeconds
	return s.send(ctx, c, nil)
}

func (s *HTTPSwitch) list(ctx context.Context) ([]authz.Key, error) {
	var l listed
	if err := s.send(ctx, command{Action: "list", Switch: s.cfg.Name}, &l); err != nil {
		return nil, err
	}
	if l.Calls == nil {
		return nil, fmt.Errorf("switch %s: listing has no calls array", s.cfg.Name)
	}
	keys := make([]authz.Key, 0, len(*l.Calls))
	for i, c := range *l.Calls {
		if c.CallID == "" || !c.Direction.Valid() {
			return nil, fmt.Errorf("switch %s: call %d of its listing lacks call_id or direction", s.cfg.Name, i)
		}
		keys = append(keys, authz.Key{Switch: s.cfg.Name, Direction: c.Direction, CallID: c.CallID})
	}
	return keys, nil
}

// Extend implements Extender.
func (s httpExtender) Extend(ctx context.Context, k authz.Key, maxSeconds int64) error {
	return s.extend(ctx, k, maxSeconds)
}

// Extend implements Extender.
func (s httpExtenderLister) Extend(ctx context.Context, k authz.Key, maxSeconds int64) error {
	return s.extend(ctx, k, maxSeconds)
}

// List implements Lister.
func (s httpLister) List(ctx context.Context) ([]authz.Key, error) { return s.list(ctx) }

// List implements Lister.
func (s httpExtenderLister) List(ctx context.Context) ([]authz.Key, error) { return s.list(ctx) }

func (s *HTTPSwitch) command(action string, k authz.Key) command {
	return command{Action: action, CallID: k.CallID, Direction: k.Direction.String(), Switch: k.Switch}
}

// send posts a command. Errors: ErrNoSuchCall, ErrNoControl, or what went wrong.
func (s *HTTPSwitch) send(ctx context.Context, c command, into any) error {
	if s.cfg.ControlURL == "" {
		return ErrNoControl
	}
	body, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Action, err)
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, s.cfg.ControlURL, body)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Action, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if s.cfg.Token != "" {
		req.Header.Set("Authorization", "Bearer "+s.cfg.Token)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("%s at switch %s: %w", c.Action, s.cfg.Name, withoutURL(err))
	}
	defer func() {
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, answerMost)) // so that the connection can be used again
		_ = res.Body.Close()
	}()
	switch {
	case res.StatusCode == http.StatusNotFound && c.CallID != "", res.StatusCode == http.StatusGone && c.CallID != "":
		return fmt.Errorf("%s at switch %s: %w", c.Action, s.cfg.Name, ErrNoSuchCall)
	case res.StatusCode/100 != 2:
		return fmt.Errorf("%s at switch %s: answered %s", c.Action, s.cfg.Name, res.Status)
	case into == nil:
		return nil
	}
	limited := &io.LimitedReader{R: res.Body, N: listMost}
	d := json.NewDecoder(limited)
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%s at switch %s: answer: %w", c.Action, s.cfg.Name, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) || limited.N == 0 {
		return fmt.Errorf("%s at switch %s: answer goes on after its end", c.Action, s.cfg.Name)
	}
	return nil
}

// withoutURL keeps a control URL, which may hold a secret, out of the log.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// quietLog is retryablehttp.LeveledLogger: each attempt is only of interest
// when debugging, without its URL; the outcome is logged by the caller.
type quietLog struct{ log *slog.Logger }

func (q quietLog) Error(msg string, _ ...any) { q.log.Debug(msg) }
func (q quietLog) Info(msg string, _ ...any)  { q.log.Debug(msg) }
func (q quietLog) Debug(msg string, _ ...any) { q.log.Debug(msg) }
func (q quietLog) Warn(msg string, _ ...any)  { q.log.Debug(msg) }
