package hook_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/hook"
)

const emergencyAnswer = `{"decision":"allow","call_id":"c1","max_seconds":2147483,"slice_seconds":2147483,"on_failure":"continue","policy":"emergency"}`

const emergencyBody = `{"call_id":"c1","direction":"outbound","from":"+31850835037","to":"112"}`

// TestEmergencyGoesFirst: whatever else is wrong with the request, and whatever
// the authorizer says, the call goes.
func TestEmergencyGoesFirst(t *testing.T) {
	nameless := strings.Replace(emergencyAnswer, `"c1"`, `""`, 1)
	for _, c := range []struct {
		name, body, answer string
		asked              authz.Request
	}{
		{"nothing else", `{"to":"112"}`, nameless,
			authz.Request{Key: authz.Key{Switch: "default", Direction: authz.Outbound}, To: "112"}},
		{"all wrong", `{"call_id":"a\tb","direction":"up","from":"\u0000","to":"112","account":"\n","mode":"\n","switch":"a:b","at":"never"}`, nameless,
			authz.Request{Key: authz.Key{Switch: "default", Direction: authz.Outbound}, To: "112"}},
		{"wrong types", `{"call_id":"c1","direction":5,"from":[],"at":{},"to":"112"}`, emergencyAnswer,
			authz.Request{Key: authz.Key{Switch: "default", Direction: authz.Outbound, CallID: "c1"}, To: "112"}},
		{"to as a number", `{"call_id":"c1","direction":"inbound","to":112}`, emergencyAnswer,
			authz.Request{Key: authz.Key{Switch: "default", Direction: authz.Inbound, CallID: "c1"}, To: "112"}},
		{"not UTF-8", "{\"call_id\":\"c1\",\"from\":\"\xff\",\"to\":\"112\"}", emergencyAnswer,
			authz.Request{Key: authz.Key{Switch: "default", Direction: authz.Outbound, CallID: "c1"}, To: "112"}},
		{"unknown fields and an old time", `{"call_id":"c1","x":1,"at":1000000000,"to":"112","switch":"kam-1","account":"org-1","mode":"byok","from":"+31"}`, emergencyAnswer,
			authz.Request{Key: authz.Key{Switch: "kam-1", Direction: authz.Outbound, CallID: "c1"}, From: "+31", To: "112",
				Account: "org-1", Mode: "byok", At: 1_000_000_000_000}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake := &scripted{decide: denying(authz.CodeAccountSuspended)}
			status, body := post(newServer(t, hook.Config{}, fake).Handler(), "/v1/authorize", c.body)
			want(t, c.name, status, body, http.StatusOK, c.answer)
			// U+FFFD stands where the text was not UTF-8; it is not recorded.
			if len(fake.asked) != 1 || fake.asked[0] != c.asked {
				t.Errorf("asked %+v, want %+v", fake.asked, c.asked)
			}
		})
	}
}

func TestEmergencyAnswersWhatTheAuthorizerRecorded(t *testing.T) {
	fake := &scripted{decide: func(context.Context, *authz.Request) authz.Decision {
		return authz.Decision{Allowed: true, UID: uid, Account: "org-1", MaxSeconds: 2_147_483, SliceSeconds: 2_147_483, Policy: "emergency", OnFailure: "continue"}
	}}
	h := newServer(t, hook.Config{}, fake).Handler()
	status, body := post(h, "/v1/authorize", emergencyBody)
	want(t, "authorize", status, body, 200, `{"decision":"allow","call_id":"c1","call_uid":"0198c3a0-1111-7222-8333-444455556666","account":"org-1",`+
		`"max_seconds":2147483,"slice_seconds":2147483,"on_failure":"continue","policy":"emergency"}`)
	post(h, "/v1/quote", emergencyBody)
	if len(fake.asked) != 1 || len(fake.quoted) != 1 {
		t.Errorf("authorized %d and quoted %d times, want once each: a quote records nothing", len(fake.asked), len(fake.quoted))
	}
}

func TestEmergencyGoesThoughTheAuthorizerPanics(t *testing.T) {
	fake := &scripted{decide: func(context.Context, *authz.Request) authz.Decision { panic("no store") }}
	status, body := post(newServer(t, hook.Config{}, fake).Handler(), "/v1/authorize", emergencyBody)
	want(t, "authorize", status, body, 200, emergencyAnswer)
}

func TestEmergencyGoesThoughTheAuthorizerHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := make(chan struct{})
		fake := &scripted{decide: func(context.Context, *authz.Request) authz.Decision {
			<-never // heeds no context
			return authz.Decision{}
		}}
		h := newServer(t, hook.Config{}, fake).Handler()
		began := time.Now()
		status, body := post(h, "/v1/authorize", emergencyBody)
		want(t, "authorize", status, body, 200, emergencyAnswer)
		if took := time.Since(began); took != 300*time.Millisecond {
			t.Errorf("took %v, want the deadline and 50 ms", took)
		}
		close(never)
	})
}

func TestNearlyEmergencyIsNone(t *testing.T) {
	fake := &scripted{decide: denying(authz.CodeAccountSuspended)}
	h := newServer(t, hook.Config{}, fake).Handler()
	for _, body := range []string{`{"to":"1123"}`, `{"to":1.12e2}`, `{"to":["112"]}`, `{"to":{"to":"112"}}`, `{"to":"112"} x`, `{"to":"112"`} {
		if status, answer := post(h, "/v1/authorize", body); status != http.StatusBadRequest || len(fake.asked) != 0 {
			t.Errorf("%s answered %d %s", body, status, answer)
		}
	}
}

// TestOverload: at the limit calls are refused with what the caller hears, but
// neither events nor emergency calls are.
func TestOverload(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	fake := &scripted{decide: func(_ context.Context, r *authz.Request) authz.Decision {
		if r.To == "112" {
			return allow
		}
		entered <- struct{}{}
		<-release
		return allow
	}}
	reg := prometheus.NewRegistry()
	srv, err := hook.New(hook.Config{MaxConcurrent: 2}, fake, fake, nil, quiet(), hook.NewMetrics(reg))
	if err != nil {
		t.Fatal(err)
	}
	h := srv.Handler()
	done := make(chan int)
	for range 2 {
		go func() { status, _ := post(h, "/v1/authorize", outboundBody); done <- status }()
		<-entered
	}
	status, body := post(h, "/v1/authorize", outboundBody)
	want(t, "one too many", status, body, 503, errorJSON("balance_unavailable", "This sidecar is overloaded.", ""))
	status, body = post(h, "/v1/quote", inboundBody)
	if status != 503 || !strings.Contains(body, `"message":"This sidecar is overloaded."}`) || !strings.Contains(body, `"audio":{"prompt":"service_unavailable"`) {
		t.Errorf("inbound quote answered %d %s", status, body)
	}
	if status, body := post(h, "/v1/authorize", emergencyBody); status != 200 {
		t.Errorf("emergency answered %d %s", status, body)
	}
	if status, body := post(h, "/v1/events", `{"type":"ended","call_id":"c1"}`); status != 200 {
		t.Errorf("ended answered %d %s", status, body)
	}
	close(release)
	for range 2 {
		if status := <-done; status != 200 {
			t.Errorf("an admitted call answered %d", status)
		}
	}
	go func() { <-entered }()
	if status, body := post(h, "/v1/authorize", outboundBody); status != 200 {
		t.Errorf("after the load a call answered %d %s", status, body)
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP ringfence_hook_shed_total Authorize and quote requests refused unexamined (overloaded, draining).
# TYPE ringfence_hook_shed_total counter
ringfence_hook_shed_total{endpoint="authorize",reason="overloaded"} 1
ringfence_hook_shed_total{endpoint="quote",reason="overloaded"} 1
`), "ringfence_hook_shed_total"); err != nil {
		t.Error(err)
	}
}

// TestDraining: a server that is shutting down still takes ends and emergency
// calls on the connections it has.
func TestDraining(t *testing.T) {
	srv := newServer(t, hook.Config{}, &scripted{})
	stop(t, srv)
	status, body := post(srv.Handler(), "/v1/authorize", outboundBody)
	want(t, "authorize", status, body, 503, errorJSON("balance_unavailable", "This sidecar is shutting down.", ""))
	status, body = post(srv.Handler(), "/v1/events", `{"type":"ended","call_id":"c1"}`)
	want(t, "ended", status, body, 200, `{"call_id":"c1","status":"live"}`)
	if status, body := post(srv.Handler(), "/v1/authorize", emergencyBody); status != 200 {
		t.Errorf("emergency answered %d %s", status, body)
	}
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &scripted{decide: func(ctx context.Context, _ *authz.Request) authz.Decision {
			<-ctx.Done()
			return authz.Decision{Code: authz.CodeBalanceUnavailable}
		}}
		began := time.Now()
		status, body := post(newServer(t, hook.Config{Deadline: 80 * time.Millisecond}, fake).Handler(), "/v1/authorize", outboundBody)
		want(t, "authorize", status, body, 503, errorJSON("balance_unavailable", "The balance cannot be checked right now.", ""))
		if took := time.Since(began); took != 80*time.Millisecond {
			t.Errorf("took %v, want 80ms", took)
		}
	})
}

// TestClientLeavesBeforeItsAnswer closes the connection while the call is being
// decided: the allowed call's hold is given back, a denied one's needs nothing.
func TestClientLeavesBeforeItsAnswer(t *testing.T) {
	contexts := make(chan context.Context, 1)
	release := make(chan authz.Decision)
	fake := &scripted{gone: make(chan authz.Request, 1)}
	fake.decide = func(context.Context, *authz.Request) authz.Decision { return <-release }
	inner := newServer(t, hook.Config{}, fake).Handler()
	finished := make(chan struct{})
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		contexts <- r.Context()
		inner.ServeHTTP(w, r)
		finished <- struct{}{}
	}))
	defer ts.Close()

	leave := func(path string, half bool, d authz.Decision) (answer string) {
		t.Helper()
		c, err := net.Dial("tcp", ts.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(outboundBody), outboundBody)
		served := within(t, contexts)
		if half {
			c.(*net.TCPConn).CloseWrite()
		} else {
			c.Close()
		}
		within(t, served.Done())
		release <- d
		within(t, finished)
		if half {
			line, err := bufio.NewReader(c).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			return strings.TrimSpace(line)
		}
		return ""
	}

	leave("/v1/authorize", false, allow)
	if got := within(t, fake.gone); got.CallID != "a84b4c76e66710@pc33.example.com" {
		t.Errorf("gone said %+v", got)
	}
	// Who closed for writing only still reads, and must not let the call go.
	if got := leave("/v1/authorize", true, allow); got != "HTTP/1.1 503 Service Unavailable" {
		t.Errorf("a half-closed client was answered %q", got)
	}
	within(t, fake.gone)
	leave("/v1/authorize", false, authz.Decision{Code: authz.CodeTooManyCalls})
	leave("/v1/quote", false, allow)
	if len(fake.gone) > 0 {
		t.Error("gone was said of a denied call or of a quote")
	}
}

// within waits for a channel, but not for ever.
func within[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(wait):
		t.Fatal("nothing came in time")
		panic("unreachable")
	}
}

// deaf cannot be written to.
type deaf struct{ http.ResponseWriter }

func (deaf) Write([]byte) (int, error) { return 0, net.ErrClosed }

func TestUnwritableAnswerGivesTheHoldBack(t *testing.T) {
	fake := &scripted{gone: make(chan authz.Request, 1)}
	h := newServer(t, hook.Config{}, fake).Handler()
	h.ServeHTTP(deaf{httptest.NewRecorder()}, httptest.NewRequest(http.MethodPost, "/v1/authorize", strings.NewReader(outboundBody)))
	if len(fake.gone) != 1 {
		t.Error("gone was not said")
	}
}

func TestUnknownFieldsAreLoggedOnceAndCounted(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	reg := prometheus.NewRegistry()
	fake := &scripted{}
	srv, err := hook.New(hook.Config{}, fake, fake, nil, log, hook.NewMetrics(reg))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		post(srv.Handler(), "/v1/authorize", with("note", `"+31850835037"`))
		post(srv.Handler(), "/v1/events", `{"type":"ended","call_id":"c1","extra_cost":{"amount_micros":1,"currency":"EUR","why":"x"}}`)
	}
	if got, want := out.String(), `level=WARN msg="a switch sends a field that is not known; it is ignored" endpoint=authorize field=note
level=WARN msg="a switch sends a field that is not known; it is ignored" endpoint=events field=extra_cost.why
`; got != want {
		t.Errorf("logged\n%swant\n%s", got, want)
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP ringfence_hook_unknown_fields_total Fields sent by switches that no hook knows.
# TYPE ringfence_hook_unknown_fields_total counter
ringfence_hook_unknown_fields_total{endpoint="authorize"} 3
ringfence_hook_unknown_fields_total{endpoint="events"} 3
`), "ringfence_hook_unknown_fields_total"); err != nil {
		t.Error(err)
	}
}

func TestDenialsAreLoggedWithMaskedNumbers(t *testing.T) {
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler {
			return slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug})
		},
		"json": func(b *bytes.Buffer) slog.Handler {
			return slog.NewJSONHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug})
		},
	} {
		var out bytes.Buffer
		fake := &scripted{decide: denying(authz.CodeTooManyCalls)}
		srv, err := hook.New(hook.Config{}, fake, fake, nil, slog.New(handler(&out)), hook.NewMetrics(prometheus.NewRegistry()))
		if err != nil {
			t.Fatal(err)
		}
		post(srv.Handler(), "/v1/authorize", outboundBody)
		if got := out.String(); !strings.Contains(got, "+3185083****") || !strings.Contains(got, "outbound") || strings.Contains(got, "835037") || strings.Contains(got, "345678") {
			t.Errorf("%s log: %s", name, got)
		}
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	fake := &scripted{decide: denying(authz.CodeAccountSuspended)}
	srv, err := hook.New(hook.Config{}, fake, fake, nil, quiet(), hook.NewMetrics(reg))
	if err != nil {
		t.Fatal(err)
	}
	h := srv.Handler()
	post(h, "/v1/authorize", outboundBody)
	post(h, "/v1/authorize", "{")
	post(h, "/v1/authorize", emergencyBody)
	post(h, "/v1/events", `{"type":"ended","call_id":"c1"}`)
	post(h, "/nowhere", "")
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP ringfence_hook_requests_total Requests answered, by endpoint, HTTP status and error code (empty: none).
# TYPE ringfence_hook_requests_total counter
ringfence_hook_requests_total{code="",endpoint="authorize",status="200"} 1
ringfence_hook_requests_total{code="account_suspended",endpoint="authorize",status="403"} 1
ringfence_hook_requests_total{code="invalid_request",endpoint="authorize",status="400"} 1
ringfence_hook_requests_total{code="",endpoint="events",status="200"} 1
ringfence_hook_requests_total{code="not_found",endpoint="other",status="404"} 1
ringfence_hook_requests_total{code="",endpoint="quote",status="200"} 0
ringfence_hook_requests_total{code="",endpoint="other",status="200"} 0
# HELP ringfence_hook_decode_errors_total Requests refused for their form (body, too_large, utf8, json, type, missing, value).
# TYPE ringfence_hook_decode_errors_total counter
ringfence_hook_decode_errors_total{endpoint="authorize",reason="json"} 1
# HELP ringfence_hook_emergencies_total Emergency calls let go.
# TYPE ringfence_hook_emergencies_total counter
ringfence_hook_emergencies_total 1
# HELP ringfence_hook_in_flight Requests in progress.
# TYPE ringfence_hook_in_flight gauge
ringfence_hook_in_flight 0
`), "ringfence_hook_requests_total", "ringfence_hook_decode_errors_total", "ringfence_hook_emergencies_total", "ringfence_hook_in_flight"); err != nil {
		t.Error(err)
	}
}
