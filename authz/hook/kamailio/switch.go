package kamailio

import (
	"bytes"
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
)

// Config describes one Kamailio. The zero value of a field is its default.
type Config struct {
	Name       string
	ControlURL string            // of the RPC listener, such as http://127.0.0.1:5080/rpc
	Token      string            // sent as bearer token (RF_RPC_TOKEN); empty: none
	Timeout    time.Duration     // of one attempt; default 2 s
	Transport  http.RoundTripper // default: one of its own, without a proxy
}

const (
	listMost   = 256 << 20 // bytes of a listing: some 350,000 calls
	answerMost = 1 << 20   // of any other answer
	retries    = 2         // of an attempt that failed, beside the first
)

// Switch controls a Kamailio; it is the meter's Switch, Extender and Lister. Its
// methods may be called from any goroutine.
type Switch struct {
	cfg    Config
	client *retryablehttp.Client
}

// New makes a Switch. Errors: a control URL that is none.
func New(cfg Config, log *slog.Logger) (*Switch, error) {
	u, err := url.Parse(cfg.ControlURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("switch %s: control_url must be an http or https URL, such as http://127.0.0.1:5080/rpc", cfg.Name)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Second
	}
	if cfg.Transport == nil {
		// A connection is opened in less than a command takes, and one that is kept
		// would not outlive a restart of Kamailio.
		cfg.Transport = &http.Transport{DialContext: (&net.Dialer{Timeout: cfg.Timeout}).DialContext, DisableKeepAlives: true, TLSHandshakeTimeout: cfg.Timeout}
	}
	return &Switch{cfg: cfg, client: &retryablehttp.Client{
		HTTPClient: &http.Client{Transport: cfg.Transport, Timeout: cfg.Timeout,
			// A command is not carried, with its token, to wherever an answer points.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		Logger: quiet{log}, RetryMax: retries, RetryWaitMin: 50 * time.Millisecond, RetryWaitMax: time.Second,
		CheckRetry: again, Backoff: retryablehttp.DefaultBackoff, ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}}, nil
}

// again tells whether an attempt is worth repeating: only one without an answer
// is, since Kamailio's errors, 500 among them, are about the call.
func again(ctx context.Context, _ *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	return err != nil, nil
}

// Hangup implements meter.Switch. A call that still rings is cancelled.
func (s *Switch) Hangup(ctx context.Context, k authz.Key, reason string) error {
	d, err := s.find(ctx, k)
	if err != nil {
		return fmt.Errorf("hang up at switch %s: %w", s.cfg.Name, err)
	}
	if d.ringing() {
		_, err = s.call(ctx, answerMost, "ringfence.cancel", map[string]any{"call_id": d.CallID, "cseq": d.Caller.CSeq})
	} else {
		_, err = s.call(ctx, answerMost, "dlg.end_dlg", *d.Entry, *d.ID, "Reason: Q.850;cause=31;text=\""+text(reason)+"\"\r\n")
	}
	if err != nil {
		return fmt.Errorf("hang up at switch %s: %w", s.cfg.Name, gone(err))
	}
	return nil
}

// text is what of a reason may stand in a quoted string.
func text(reason string) string {
	return string(bytes.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '_'
		}
		return r
	}, []byte(reason)))
}

// Warn implements meter.Switch. Kamailio carries no media: it cannot.
func (s *Switch) Warn(context.Context, authz.Key, int64) error {
	return fmt.Errorf("warn at switch %s: %w", s.cfg.Name, authz.ErrNoControl)
}

// Extend implements meter.Extender.
func (s *Switch) Extend(ctx context.Context, k authz.Key, maxSeconds int64) error {
	d, err := s.find(ctx, k)
	if err == nil {
		_, err = s.call(ctx, answerMost, "ringfence.extend", map[string]any{"call_id": d.CallID, "from_tag": d.Caller.Tag, "to_tag": d.Callee.Tag,
			"direction": k.Direction.String(), "max_seconds": maxSeconds})
	}
	if err != nil {
		return fmt.Errorf("extend at switch %s: %w", s.cfg.Name, gone(err))
	}
	return nil
}

// List implements meter.Lister.
func (s *Switch) List(ctx context.Context) ([]authz.Key, error) {
	result, err := s.call(ctx, listMost, "dlg.list")
	if err != nil {
		return nil, fmt.Errorf("list at switch %s: %w", s.cfg.Name, err)
	}
	dialogs, err := parseDialogs(result)
	if err != nil {
		return nil, fmt.Errorf("list at switch %s: %w", s.cfg.Name, err)
	}
	return keys(s.cfg.Name, dialogs), nil
}

// find looks a call up. Errors: authz.ErrNoSuchCall.
func (s *Switch) find(ctx context.Context, k authz.Key) (*dialog, error) {
	result, err := s.call(ctx, answerMost, "dlg.dlg_list", k.CallID)
	if err != nil {
		return nil, err
	}
	dialogs, err := parseDialogs(result)
	if err != nil {
		return nil, err
	}
	for i := range dialogs {
		if d := &dialogs[i]; d.CallID == k.CallID && d.State != deleted && d.talks(k.Direction) {
			return d, nil
		}
	}
	return nil, authz.ErrNoSuchCall
}

// gone takes Kamailio's errors for what it did not find.
func gone(err error) error {
	if e, ok := errors.AsType[*rpcError](err); ok && e.Code == http.StatusNotFound {
		return fmt.Errorf("%w: %w", authz.ErrNoSuchCall, err)
	}
	return err
}

// call gives a command and its result. One argument that is a map stands for
// named parameters. Errors: *rpcError, or what went wrong.
func (s *Switch) call(ctx context.Context, most int64, method string, args ...any) (json.RawMessage, error) {
	command := map[string]any{"jsonrpc": "2.0", "method": method, "id": 1}
	if len(args) == 1 {
		if named, ok := args[0].(map[string]any); ok {
			command["params"] = named
		}
	}
	if command["params"] == nil && len(args) > 0 {
		command["params"] = args
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false) // a Call-ID with < or & stays as Kamailio knows it
	if err := enc.Encode(command); err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, s.cfg.ControlURL, body.Bytes())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, withoutURL(err))
	}
	req.Header.Set("Content-Type", "application/json")
	if s.cfg.Token != "" {
		req.Header.Set("Authorization", "Bearer "+s.cfg.Token)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, withoutURL(err))
	}
	defer res.Body.Close()
	limited := &io.LimitedReader{R: res.Body, N: most}
	result, err := parseAnswer(limited)
	switch _, answered := errors.AsType[*rpcError](err); {
	case answered:
	case res.StatusCode != http.StatusOK:
		err = fmt.Errorf("answered %s", res.Status)
	case limited.N == 0:
		err = fmt.Errorf("answer is longer than %d bytes", most)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	return result, nil
}

// withoutURL keeps a control URL, which may hold a secret, out of the log.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// quiet is retryablehttp.LeveledLogger: each attempt is only of interest when
// debugging, without its URL; the outcome is logged by the caller.
type quiet struct{ log *slog.Logger }

func (q quiet) Error(msg string, _ ...any) { q.log.Debug(msg) }
func (q quiet) Info(msg string, _ ...any)  { q.log.Debug(msg) }
func (q quiet) Debug(msg string, _ ...any) { q.log.Debug(msg) }
func (q quiet) Warn(msg string, _ ...any)  { q.log.Debug(msg) }
