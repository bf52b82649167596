package hook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/hook"
	"github.com/hmsovereign/ringfence/authz/hook/hooktest"
)

// httpSwitch speaks the generic HTTP dialect.
type httpSwitch struct {
	base   string
	client *http.Client
}

func (s httpSwitch) post(ctx context.Context, path string, body, into any) (int, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.base+path, bytes.NewReader(b))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return 0, fmt.Errorf("status %d: %w", resp.StatusCode, err)
	}
	return resp.StatusCode, nil
}

func (s httpSwitch) Authorize(ctx context.Context, r authz.Request) (hooktest.Answer, error) {
	return s.ask(ctx, "/v1/authorize", r)
}

func (s httpSwitch) Quote(ctx context.Context, r authz.Request) (hooktest.Answer, error) {
	return s.ask(ctx, "/v1/quote", r)
}

func (s httpSwitch) ask(ctx context.Context, path string, r authz.Request) (hooktest.Answer, error) {
	body := map[string]any{"call_id": r.CallID, "direction": r.Direction, "from": r.From, "to": r.To, "switch": r.Switch}
	if r.Account != "" {
		body["account"] = r.Account
	}
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
	status, err := s.post(ctx, path, body, &a)
	return hooktest.Answer{
		Go: status == http.StatusOK, Code: a.Error.Code, Param: a.Error.Param, UID: a.UID, MaxSeconds: a.MaxSeconds,
		Prompt: a.Audio.Prompt, SIP: a.Hangup.SIP, Q850: a.Hangup.Q850,
	}, err
}

func (s httpSwitch) Report(ctx context.Context, ev authz.Event) (hooktest.Report, error) {
	body := map[string]any{
		"type": ev.Type, "call_id": ev.CallID, "switch": ev.Switch, "direction": ev.Direction,
		"account": ev.Account, "from": ev.From, "to": ev.To, "cause": ev.Cause,
	}
	seconds := func(name string, ms int64) {
		if ms != 0 {
			body[name] = json.Number(strconv.FormatInt(ms/1000, 10) + fmt.Sprintf(".%03d", ms%1000))
		}
	}
	seconds("at", ev.At)
	seconds("answered_at", ev.AnsweredAt)
	seconds("ended_at", ev.EndedAt)
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
	status, err := s.post(ctx, "/v1/events", body, &a)
	return hooktest.Report{
		OK: status == http.StatusOK, Kept: status == http.StatusAccepted, Code: a.Error.Code, Param: a.Error.Param,
		Status: a.Status, DurationSec: a.DurationSec, CostUnits: a.CostUnits, Duplicate: a.Duplicate,
		Action: a.Action, Remaining: a.Remaining,
	}, err
}

func modelServer(t *testing.T, cfg hook.Config) (*hook.Server, hooktest.World) {
	t.Helper()
	m := hooktest.NewModel(noon)
	cfg.Listen, cfg.Now = "127.0.0.1:0", m.Now
	srv, err := hook.New(cfg, m, m, nil, quiet(), hook.NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	return srv, m.World()
}

func TestHTTPDialect(t *testing.T) {
	hooktest.Run(t, func(t *testing.T) hooktest.World {
		srv, world := modelServer(t, hook.Config{})
		world.Switch = httpSwitch{base: start(t, srv), client: client(t, &http.Transport{})}
		return world
	})
}

func TestHTTPDialectOverUnixSocket(t *testing.T) {
	hooktest.Run(t, func(t *testing.T) hooktest.World {
		path := filepath.Join(t.TempDir(), "hook.sock")
		srv, world := modelServer(t, hook.Config{Socket: path})
		start(t, srv)
		world.Switch = httpSwitch{base: "http://ringfence", client: client(t, &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", path)
			},
		})}
		return world
	})
}
