package hook_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/hook"
)

// TestInsufficientOutboundIsTheDocuments compares with the customer's document,
// copied here as it is written there.
func TestInsufficientOutboundIsTheDocuments(t *testing.T) {
	const document = `{
  "error": {
    "code": "insufficient_credits",
    "message": "Insufficient credits to make outbound call. Please add credits in your billing dashboard."
  }
}`
	fake := &scripted{decide: func(context.Context, *authz.Request) authz.Decision {
		return authz.Decision{Code: authz.CodeInsufficientCredits, Param: "account", Message: "another message"}
	}}
	status, body := post(newServer(t, hook.Config{}, fake).Handler(), "/v1/authorize", outboundBody)
	want(t, "outbound without credit", status, body, http.StatusPaymentRequired, document)
}

func TestAllowedAnswer(t *testing.T) {
	const full = `{"decision":"allow","call_id":"a84b4c76e66710@pc33.example.com","call_uid":"0198c3a0-1111-7222-8333-444455556666",` +
		`"account":"org-1","number_id":"6f0c7a52-0000-4000-8000-000000000001","max_seconds":3600,"slice_seconds":60,` +
		`"expires_at":"2025-12-13T12:04:00.000Z","on_failure":"terminate"}`
	fake := &scripted{}
	h := newServer(t, hook.Config{}, fake).Handler()
	for _, path := range []string{"/v1/authorize", "/v1/quote"} {
		status, body := post(h, path, outboundBody)
		want(t, path, status, body, http.StatusOK, full)
	}
	if len(fake.asked) != 1 || len(fake.quoted) != 1 {
		t.Errorf("authorized %d and quoted %d times, want once each", len(fake.asked), len(fake.quoted))
	}

	fake.decide = func(context.Context, *authz.Request) authz.Decision {
		return authz.Decision{Allowed: true, MaxSeconds: 300, SliceSeconds: 60, Policy: "known"}
	}
	status, body := post(h, "/v1/authorize", outboundBody)
	want(t, "under the failure policy", status, body, http.StatusOK,
		`{"decision":"allow","call_id":"a84b4c76e66710@pc33.example.com","max_seconds":300,"slice_seconds":60,"on_failure":"continue","policy":"known"}`)
}

func TestDenials(t *testing.T) {
	codes := []authz.Code{
		authz.CodeInsufficientCredits, authz.CodeSpendLimitReached, authz.CodeAccountSuspended, authz.CodeDestinationBlocked,
		authz.CodeAccountNotFound, authz.CodeCallConflict, authz.CodeCallEnded, authz.CodeTooManyCalls, authz.CodeBalanceUnavailable,
	}
	cfg := hook.Config{Announcer: "127.0.0.1:5092", Language: "nl"}
	for _, code := range codes {
		h := newServer(t, cfg, &scripted{decide: denying(code)}).Handler()
		r := code.Refusal()
		status, body := post(h, "/v1/authorize", inboundBody)
		want(t, "inbound "+string(code), status, body, r.HTTP, fmt.Sprintf(
			`{"error":{"code":"%s","message":"%s"},"call":{"id":"a84b4c76e66710@pc33.example.com","status":"rejected"},`+
				`"audio":{"prompt":"%[3]s","language":"nl","url":"http://ringfence.test/v1/audio/%[3]s.nl.wav","sip_uri":"sip:%[3]s@127.0.0.1:5092;lang=nl"},`+
				`"hangup":{"sip":%d,"q850":%d}}`, code, r.Message, r.Prompt, r.SIP, r.Q850))
		if code == authz.CodeInsufficientCredits {
			continue
		}
		status, body = post(h, "/v1/authorize", outboundBody)
		want(t, "outbound "+string(code), status, body, r.HTTP, errorJSON(string(code), r.Message, ""))
	}
}

func TestInboundDenialWritten(t *testing.T) {
	fake := &scripted{decide: func(context.Context, *authz.Request) authz.Decision {
		return authz.Decision{Code: authz.CodeInsufficientCredits, Language: "de"}
	}}
	cfg := hook.Config{AudioURL: "https://prompts.example.com/"}
	status, body := post(newServer(t, cfg, fake).Handler(), "/v1/authorize", inboundBody)
	want(t, "inbound", status, body, 402, `{"error":{"code":"insufficient_credits","message":"Insufficient credits to receive inbound call. Please add credits in your billing dashboard."},`+
		`"call":{"id":"a84b4c76e66710@pc33.example.com","status":"rejected"},`+
		`"audio":{"prompt":"insufficient_credits","language":"de","url":"https://prompts.example.com/v1/audio/insufficient_credits.de.wav"},`+
		`"hangup":{"sip":402,"q850":21}}`)
}

// The account's own recording has to be asked for.
func TestInboundDenialNamesTheRecording(t *testing.T) {
	fake := &scripted{decide: func(context.Context, *authz.Request) authz.Decision {
		return authz.Decision{Code: authz.CodeInsufficientCredits, Account: "acme", Language: "de-AT"}
	}}
	asked := ""
	cfg := hook.Config{AudioURL: "https://prompts.example.com/", Announcer: "127.0.0.1:5092", Recording: func(prompt, account, language string) (string, bool) {
		asked = prompt + " " + account + " " + language
		return "de", true
	}}
	status, body := post(newServer(t, cfg, fake).Handler(), "/v1/authorize", inboundBody)
	if asked != "insufficient_credits acme de-AT" {
		t.Errorf("asked for %s", asked)
	}
	want(t, "inbound", status, body, 402, `{"error":{"code":"insufficient_credits","message":"Insufficient credits to receive inbound call. Please add credits in your billing dashboard."},`+
		`"call":{"id":"a84b4c76e66710@pc33.example.com","status":"rejected"},`+
		`"audio":{"prompt":"insufficient_credits","language":"de","url":"https://prompts.example.com/v1/audio/insufficient_credits.de.wav?account=acme",`+
		`"sip_uri":"sip:insufficient_credits@127.0.0.1:5092;lang=de;account=acme"},"hangup":{"sip":402,"q850":21}}`)
}

func TestDecidedAgainstForm(t *testing.T) {
	fake := &scripted{decide: func(context.Context, *authz.Request) authz.Decision {
		return authz.Decision{Code: authz.CodeInvalidRequest, Param: "mode", Message: "The tariff has no such mode."}
	}}
	status, body := post(newServer(t, hook.Config{}, fake).Handler(), "/v1/authorize", inboundBody)
	want(t, "an unknown mode", status, body, 400, `{"error":{"code":"invalid_request","message":"The tariff has no such mode.","param":"mode"}}`)
}

func TestEmptyDecisionIsUnavailable(t *testing.T) {
	status, body := post(newServer(t, hook.Config{}, &scripted{decide: denying("")}).Handler(), "/v1/authorize", outboundBody)
	want(t, "an empty decision", status, body, 503, errorJSON("balance_unavailable", "The balance cannot be checked right now.", ""))
}

func TestPanicIsUnavailable(t *testing.T) {
	fake := &scripted{
		decide: func(context.Context, *authz.Request) authz.Decision { panic("decide") },
		report: func(authz.Event) (authz.EventResult, error) { panic("report") },
	}
	h := newServer(t, hook.Config{}, fake).Handler()
	status, body := post(h, "/v1/authorize", outboundBody)
	want(t, "authorize", status, body, 503, errorJSON("balance_unavailable", "The balance cannot be checked right now.", ""))
	status, body = post(h, "/v1/events", `{"type":"answered","call_id":"c1"}`)
	want(t, "events", status, body, 503, errorJSON("balance_unavailable", "The event could not be worked right now; send it again.", ""))
}

func TestEventAnswers(t *testing.T) {
	settled := authz.Settlement{State: authz.StateSettled, UID: uid, TalkMS: 83_001, Units: 84_000, Micros: 98_000}
	lost, extra, again := settled, settled, settled
	lost.State, extra.ExtraUnits, again.Duplicate = authz.StateLost, 1200, true
	const id = `{"call_id":"c1","call_uid":"0198c3a0-1111-7222-8333-444455556666","status":`
	const cost = `,"duration_sec":84,"cost_units":84000,"cost_micros":98000`
	for _, c := range []struct {
		event  string
		result authz.EventResult
		err    error
		status int
		body   string
	}{
		{"answered", authz.EventResult{State: authz.StateLive}, nil, 200, `{"call_id":"c1","status":"live"}`},
		{"ended", authz.EventResult{State: authz.StateSettled, Settlement: settled}, nil, 200, id + `"settled"` + cost + `}`},
		{"ended", authz.EventResult{Settlement: lost}, nil, 200, id + `"lost"` + cost + `}`},
		{"ended", authz.EventResult{Settlement: extra}, nil, 200, id + `"settled"` + cost + `,"extra_units":1200}`},
		{"ended", authz.EventResult{Settlement: again}, nil, 200, id + `"settled"` + cost + `,"duplicate":true}`},
		{"ended", authz.EventResult{State: authz.StateSettled, Settlement: authz.Settlement{UID: uid}}, nil, 200,
			id + `"settled","duration_sec":0,"cost_units":0,"cost_micros":0}`},
		{"abandoned", authz.EventResult{Settlement: authz.Settlement{State: authz.StateReleased, UID: uid}}, nil, 200, id + `"released"}`},
		{"heartbeat", authz.EventResult{Action: "warn", Remaining: 20}, nil, 200, `{"action":"warn","remaining_seconds":20}`},
		{"heartbeat", authz.EventResult{}, nil, 200, `{"action":"continue","remaining_seconds":0}`},
		{"heartbeat", authz.EventResult{Kept: true, Action: "continue"}, nil, 200, `{"action":"continue","remaining_seconds":0}`},
		{"ended", authz.EventResult{Kept: true}, nil, 202, `{"call_id":"c1","status":"kept"}`},
		{"ended", authz.EventResult{}, fmt.Errorf("end: %w", authz.ErrNotAnswered), 400, errorJSON("missing_field",
			"answered_at is missing, and no answer of this call is recorded; send it, or null where the call was never answered.", "answered_at")},
		{"ended", authz.EventResult{}, fmt.Errorf("end: %w", authz.ErrExtraCurrency), 400, errorJSON("invalid_request",
			"extra_cost.currency is not the account's currency.", "extra_cost.currency")},
		{"answered", authz.EventResult{}, fmt.Errorf("answer: %w", authz.ErrCallConflict), 409, errorJSON("call_conflict",
			"This call id was used before with different input.", "")},
		{"answered", authz.EventResult{}, errors.New("anything"), 503, errorJSON("balance_unavailable",
			"The event could not be worked right now; send it again.", "")},
	} {
		fake := &scripted{report: func(authz.Event) (authz.EventResult, error) { return c.result, c.err }}
		status, body := post(newServer(t, hook.Config{}, fake).Handler(), "/v1/events", `{"type":"`+c.event+`","call_id":"c1"}`)
		want(t, c.event, status, body, c.status, c.body)
	}
}

func TestCallIDIsEchoedAsItIs(t *testing.T) {
	status, body := post(newServer(t, hook.Config{}, &scripted{}).Handler(), "/v1/events", `{"type":"answered","call_id":"<a&b>\u00e9\"\\"}`)
	want(t, "answered", status, body, 200, `{"call_id":"<a&b>é\"\\","status":"live"}`)
}

func TestWrongMethodAndPath(t *testing.T) {
	h := newServer(t, hook.Config{}, &scripted{}).Handler()
	for _, path := range []string{"/v1/authorize", "/v1/events", "/v1/quote"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		want(t, "GET "+path, w.Code, w.Body.String(), 405, errorJSON("method_not_allowed", "Use POST.", ""))
		if allow := w.Header().Get("Allow"); allow != "POST" {
			t.Errorf("GET %s allows %q", path, allow)
		}
	}
	for _, path := range []string{"/", "/v1/authorize/", "/v2/authorize", "/v1/audio/x.en.wav"} {
		status, body := post(h, path, "{}")
		want(t, path, status, body, 404, errorJSON("not_found", "There is no such hook.", ""))
	}
}

func TestAnswersAreJSON(t *testing.T) {
	h := newServer(t, hook.Config{}, &scripted{}).Handler()
	r := httptest.NewRequest(http.MethodPost, "/v1/authorize", strings.NewReader(outboundBody))
	w := httptest.NewRecorder() // no Content-Type: tolerated
	h.ServeHTTP(w, r)
	if ct, n := w.Header().Get("Content-Type"), w.Header().Get("Content-Length"); w.Code != 200 || ct != "application/json" || n != fmt.Sprint(w.Body.Len()) {
		t.Errorf("answered %d, Content-Type %q, Content-Length %q for %d bytes", w.Code, ct, n, w.Body.Len())
	}
}
