package hook_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/hook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wait bounds everything that a test waits for.
const wait = 5 * time.Second

// noon is the clock of tests whose clock stands still.
var noon = time.Date(2025, 12, 13, 12, 0, 0, 0, time.UTC)

var uid = uuid.MustParse("0198c3a0-1111-7222-8333-444455556666")

// scripted is an Authorizer and Events that answer what the test says and keep
// what they were asked.
type scripted struct {
	decide func(context.Context, *authz.Request) authz.Decision // nil: allow
	report func(authz.Event) (authz.EventResult, error)         // nil: live

	mu     sync.Mutex
	asked  []authz.Request
	quoted []authz.Request
	events []authz.Event
	gone   chan authz.Request // nil: not wanted
}

func (s *scripted) Emergency(dialled string) bool { return dialled == "112" }

func (s *scripted) Authorize(ctx context.Context, r *authz.Request) authz.Decision {
	s.mu.Lock()
	s.asked = append(s.asked, *r)
	s.mu.Unlock()
	return s.answer(ctx, r)
}

func (s *scripted) Quote(ctx context.Context, r *authz.Request) authz.Decision {
	s.mu.Lock()
	s.quoted = append(s.quoted, *r)
	s.mu.Unlock()
	return s.answer(ctx, r)
}

func (s *scripted) answer(ctx context.Context, r *authz.Request) authz.Decision {
	if s.decide != nil {
		return s.decide(ctx, r)
	}
	return allow
}

func (s *scripted) Gone(r *authz.Request, _ authz.Decision) { s.gone <- *r }

func (s *scripted) Event(_ context.Context, ev authz.Event) (authz.EventResult, error) {
	s.mu.Lock()
	s.events = append(s.events, ev)
	s.mu.Unlock()
	if s.report != nil {
		return s.report(ev)
	}
	return authz.EventResult{State: authz.StateLive}, nil
}

var allow = authz.Decision{
	Allowed: true, UID: uid, Account: "org-1", NumberID: "6f0c7a52-0000-4000-8000-000000000001",
	MaxSeconds: 3600, SliceSeconds: 60, ExpiresAt: noon.UnixMilli() + 240_000, OnFailure: "terminate",
}

func denying(code authz.Code) func(context.Context, *authz.Request) authz.Decision {
	return func(context.Context, *authz.Request) authz.Decision { return authz.Decision{Code: code} }
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newServer(t testing.TB, cfg hook.Config, s *scripted) *hook.Server {
	t.Helper()
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return noon }
	}
	srv, err := hook.New(cfg, s, s, nil, quiet(), hook.NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	return srv
}

// start serves until the test ends.
func start(t *testing.T, srv *hook.Server) string {
	t.Helper()
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, srv) })
	return "http://" + srv.Addr().String()
}

func stop(t *testing.T, srv *hook.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

// client returns an HTTP client whose connections end with the test.
func client(t *testing.T, transport *http.Transport) *http.Client {
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: wait}
}

// post asks a handler without a network.
func post(h http.Handler, path, body string) (int, string) {
	r := httptest.NewRequest(http.MethodPost, "http://ringfence.test"+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func want(t *testing.T, what string, status int, body string, wantStatus int, wantBody string) {
	t.Helper()
	if status != wantStatus || body != wantBody {
		t.Errorf("%s answered %d\n got %s\nwant %d\n     %s", what, status, body, wantStatus, wantBody)
	}
}

func readAll(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const outboundBody = `{"call_id":"a84b4c76e66710@pc33.example.com","direction":"outbound","from":"+31850835037","to":"+4915112345678"}`

const inboundBody = `{"call_id":"a84b4c76e66710@pc33.example.com","direction":"inbound","from":"+4915112345678","to":"+31850835037"}`
