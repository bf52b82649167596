package openapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/hook"
	"github.com/hmsovereign/ringfence/authz/hook/hooktest"
	"github.com/hmsovereign/ringfence/sync/portal/openapi/openapitest"
)

const wait = 5 * time.Second

var noon = time.Date(2025, 12, 13, 12, 0, 0, 0, time.UTC)

// serve starts a hook server, and returns its address and a client whose every exchange is checked.
func serve(t *testing.T, v *openapitest.Validator, cfg hook.Config, auth hook.Authorizer, events hook.Events) (string, *http.Client) {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	cfg.Announcer = "127.0.0.1:5092"
	srv, err := hook.New(cfg, auth, events, http.HandlerFunc(prompt), slog.New(slog.DiscardHandler), hook.NewMetrics(prometheus.NewRegistry()))
	must(t, err)
	must(t, srv.Start(t.Context()))
	plain := &http.Transport{}
	t.Cleanup(func() {
		plain.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return "http://" + srv.Addr().String(), &http.Client{Transport: v.Transport(t, plain), Timeout: wait}
}

// prompt stands for the handler of package audio.
func prompt(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "audio/wav")
	_, _ = io.WriteString(w, "RIFF")
}

// TestHookServer: whatever the real hook server answers to a switch is in the document.
func TestHookServer(t *testing.T) {
	v := openapitest.New(t)
	hooktest.Run(t, func(t *testing.T) hooktest.World {
		m := hooktest.NewModel(noon)
		world := m.World()
		base, client := serve(t, v, hook.Config{Now: m.Now}, m, m)
		world.Switch = generic{base, client}
		return world
	})
	t.Run("bad requests", func(t *testing.T) { testBadRequests(t, v) })
	t.Run("every refusal", func(t *testing.T) { testRefusals(t, v) })

	seen, missing := v.Seen()
	missing = slices.DeleteFunc(missing, func(s string) bool {
		// Others are served by packages portal/account, stripe and audio.
		operation, _, _ := strings.Cut(s, " ")
		return !slices.Contains([]string{"authorize", "quote", "report"}, operation)
	})
	if len(missing) > 0 || len(seen) == 0 {
		t.Errorf("the document has answers that no test has seen: %s", strings.Join(missing, ", "))
	}
}

func testBadRequests(t *testing.T, v *openapitest.Validator) {
	m := hooktest.NewModel(noon)
	base, client := serve(t, v, hook.Config{Now: m.Now, Token: "secret"}, m, m)
	const outbound = `{"call_id":"c1","direction":"outbound","from":"+31850835037","to":"+4915112345678"}`
	for _, c := range []struct {
		method, path, token, body string
		status                    int
	}{
		{"POST", "/v1/authorize", "secret", `{`, 400},
		{"POST", "/v1/authorize", "secret", `{"call_id":"c1"}`, 400},
		{"POST", "/v1/authorize", "secret", outbound + strings.Repeat(" ", 65<<10), 413},
		{"POST", "/v1/authorize", "wrong", outbound, 401},
		{"POST", "/v1/authorize", "secret", outbound, 200},
		{"POST", "/v1/quote", "secret", `[]`, 400},
		{"POST", "/v1/quote", "", outbound, 401},
		{"POST", "/v1/quote", "secret", strings.Repeat(" ", 65<<10), 413},
		{"POST", "/v1/events", "secret", `{"type":"sung","call_id":"c1"}`, 400},
		{"POST", "/v1/events", "", `{"type":"ended","call_id":"c1"}`, 401},
		{"POST", "/v1/events", "secret", strings.Repeat(" ", 65<<10), 413},
		{"POST", "/v1/events", "secret", `{"type":"answered","call_id":"c1","switch":"","cause":16,"direction":"outbound","at":"1765627200.123"}`, 200},
		{"GET", "/v1/events", "secret", "", 405},
		{"POST", "/v1/sing", "secret", "{}", 404},
		{"GET", "/v1/audio/insufficient_credits.en.wav", "", "", 200},
	} {
		status := send(t, client, c.method, base+c.path, c.token, c.body)
		if status != c.status {
			t.Errorf("%s %s %.60s with token %q answered %d, want %d", c.method, c.path, c.body, c.token, status, c.status)
		}
	}
}

func send(t *testing.T, client *http.Client, method, url, token, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	must(t, err)
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	must(t, err)
	_, err = io.Copy(io.Discard, resp.Body)
	must(t, errors.Join(err, resp.Body.Close()))
	return resp.StatusCode
}

// refusing denies every call for one reason, and fails events with one error.
type refusing struct {
	code authz.Code
	err  error
}

func (r refusing) Emergency(string) bool { return false }
func (r refusing) Authorize(context.Context, *authz.Request) authz.Decision {
	return authz.Decision{Code: r.code}
}
func (r refusing) Quote(context.Context, *authz.Request) authz.Decision {
	return authz.Decision{Code: r.code}
}
func (r refusing) Gone(*authz.Request, authz.Decision) {}
func (r refusing) Event(context.Context, authz.Event) (authz.EventResult, error) {
	return authz.EventResult{}, r.err
}

// Every reason there is, for both directions, as an authorize and as a quote.
func testRefusals(t *testing.T, v *openapitest.Validator) {
	for _, code := range []authz.Code{authz.CodeInvalidRequest, authz.CodeMissingField, authz.CodeInsufficientCredits, authz.CodeSpendLimitReached,
		authz.CodeAccountSuspended, authz.CodeDestinationBlocked, authz.CodeAccountNotFound, authz.CodeCallConflict, authz.CodeCallEnded,
		authz.CodeTooManyCalls, authz.CodeBalanceUnavailable} {
		t.Run(string(code), func(t *testing.T) {
			auth := refusing{code: code}
			base, client := serve(t, v, hook.Config{}, auth, auth)
			for _, path := range []string{"/v1/authorize", "/v1/quote"} {
				for _, direction := range []string{"inbound", "outbound"} {
					body := fmt.Sprintf(`{"call_id":"c1","direction":%q,"from":"+31850835037","to":"+4915112345678"}`, direction)
					if status := send(t, client, "POST", base+path, "", body); status != code.Refusal().HTTP {
						t.Errorf("%s %s answered %d", direction, path, status)
					}
				}
			}
		})
	}
	for status, err := range map[int]error{400: authz.ErrNotAnswered, 409: authz.ErrCallConflict, 503: errors.New("broken")} {
		auth := refusing{err: err}
		base, client := serve(t, v, hook.Config{}, auth, auth)
		if got := send(t, client, "POST", base+"/v1/events", "", `{"type":"ended","call_id":"c1","at":1765627200}`); got != status {
			t.Errorf("an event that fails with %q answered %d, want %d", err, got, status)
		}
	}
}

// generic is a switch that speaks the document's own dialect.
type generic struct {
	base   string
	client *http.Client
}

func (g generic) post(ctx context.Context, path string, body, into any) (int, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.base+path, bytes.NewReader(b))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := g.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, json.NewDecoder(resp.Body).Decode(into)
}

func (g generic) Authorize(ctx context.Context, r authz.Request) (hooktest.Answer, error) {
	return g.ask(ctx, "/v1/authorize", r)
}

func (g generic) Quote(ctx context.Context, r authz.Request) (hooktest.Answer, error) {
	return g.ask(ctx, "/v1/quote", r)
}

func (g generic) ask(ctx context.Context, path string, r authz.Request) (hooktest.Answer, error) {
	var a struct {
		UID        string `json:"call_uid"`
		MaxSeconds int64  `json:"max_seconds"`
		Error      struct {
			Code  authz.Code
			Param string
		}
		Audio  struct{ Prompt string }
		Hangup struct{ SIP, Q850 int }
	}
	status, err := g.post(ctx, path, map[string]any{"call_id": r.CallID, "direction": r.Direction, "from": r.From, "to": r.To,
		"switch": r.Switch, "account": r.Account}, &a)
	return hooktest.Answer{Go: status == http.StatusOK, Code: a.Error.Code, Param: a.Error.Param, UID: a.UID, MaxSeconds: a.MaxSeconds,
		Prompt: a.Audio.Prompt, SIP: a.Hangup.SIP, Q850: a.Hangup.Q850}, err
}

func (g generic) Report(ctx context.Context, ev authz.Event) (hooktest.Report, error) {
	body := map[string]any{"type": ev.Type, "call_id": ev.CallID, "switch": ev.Switch, "direction": ev.Direction, "account": ev.Account,
		"from": ev.From, "to": ev.To, "cause": ev.Cause}
	for name, ms := range map[string]int64{"at": ev.At, "answered_at": ev.AnsweredAt, "ended_at": ev.EndedAt} {
		if ms != 0 {
			body[name] = json.Number(strconv.FormatInt(ms/1000, 10) + fmt.Sprintf(".%03d", ms%1000))
		}
	}
	if ev.NeverAnswered {
		body["answered_at"] = nil
	}
	var a struct {
		Status      string
		DurationSec int64        `json:"duration_sec"`
		CostUnits   credit.Units `json:"cost_units"`
		Duplicate   bool
		Action      string
		Remaining   int64 `json:"remaining_seconds"`
		Error       struct {
			Code  authz.Code
			Param string
		}
	}
	status, err := g.post(ctx, "/v1/events", body, &a)
	return hooktest.Report{OK: status == http.StatusOK, Kept: status == http.StatusAccepted, Code: a.Error.Code, Param: a.Error.Param,
		Status: a.Status, DurationSec: a.DurationSec, CostUnits: a.CostUnits, Duplicate: a.Duplicate, Action: a.Action, Remaining: a.Remaining}, err
}
