package openapitest

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const account = `{"id":"a","company_name":"c","minutes_balance":500,"monthly_usage_minutes":120,"email":"","active_numbers":0,
	"active_calls":null,"currency":"EUR","status":"active","time_zone":"UTC"}`

const usage = `{"usage":[{"id":"019b1730-5e80-7f24-8000-0123456789ab","duration_sec":84,"created_at":"2025-12-13T10:00:00.000Z","number_id":"",
	"direction":"inbound","status":"ended","minutes":1.4,"cost":0.098}],
	"summary":{"total_seconds":84,"total_minutes":1.4,"total_cost":0.10,"currency":"EUR","total_calls":1,
	"from":"2025-12-01T00:00:00.000Z","to":"2025-12-31T23:59:59.999Z"},"pagination":{"total":1,"limit":100,"offset":0}}`

const failure = `{"error":{"code":"not_found","message":"m","type":"invalid_request_error"}}`

func header(more ...string) http.Header {
	h := http.Header{"Content-Type": {"application/json; charset=utf-8"}}
	for _, name := range []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} {
		h.Set(name, "100")
	}
	for i := 0; i+1 < len(more); i += 2 {
		h.Set(more[i], more[i+1])
	}
	return h
}

// What the document allows passes, and each thing that it does not is found.
func TestCheck(t *testing.T) {
	v := New(t)
	const accountURL, usageURL = "http://x/api/v1/account", "http://x/api/v1/usage"
	without := func(h http.Header, name string) http.Header {
		h = maps.Clone(h)
		h.Del(name)
		return h
	}
	const allow = `{"decision":"allow","call_id":"c","max_seconds":1,"slice_seconds":1,"on_failure":"continue"}`
	const ask = `{"call_id":"c","direction":"inbound","from":"","to":"+31850835037","new_field":1,"at":null}`
	for _, c := range []struct {
		name, method, url string
		body              string
		status            int
		header            http.Header
		answer            string
		says              string // empty: fits
	}{
		{"account", "GET", accountURL, "", 200, header(), account, ""},
		{"null where a null may be, and a constant header", "GET", accountURL, "", 200, header("X-Ringfence-Balance", "ledger"), account, ""},
		{"usage", "GET", usageURL + "?start_date=2025-12-01&limit=5", "", 200, header(), usage, ""},
		{"head", "HEAD", accountURL, "", 200, header(), "", ""},
		{"nothing there", "GET", "http://x/api/v2/account", "", 404, header(), failure, ""},
		{"hook", "POST", "http://x/v1/authorize", ask, 200, header(), allow, ""},

		{"new field", "GET", accountURL, "", 200, header(), strings.Replace(account, `{`, `{"new":1,`, 1), "new"},
		{"new field within a referred list", "GET", usageURL, "", 200, header(), strings.Replace(usage, `"minutes"`, `"new":1,"minutes"`, 1), "new"},
		{"field missing", "GET", accountURL, "", 200, header(), strings.Replace(account, `"email":"",`, "", 1), "email"},
		{"text for a number", "GET", accountURL, "", 200, header(), strings.Replace(account, "500", `"500"`, 1), "minutes_balance"},
		{"null where none may be", "GET", accountURL, "", 200, header(), strings.Replace(account, "500", "null", 1), "minutes_balance"},
		{"time without milliseconds", "GET", usageURL, "", 200, header(), strings.Replace(usage, "10:00:00.000Z", "10:00:00Z", 1), "created_at"},
		{"unknown word", "GET", usageURL, "", 200, header(), strings.Replace(usage, "inbound", "sideways", 1), "direction"},
		{"header missing", "GET", accountURL, "", 200, without(header(), "X-RateLimit-Reset"), account, "X-RateLimit-Reset"},
		{"header of another value", "GET", accountURL, "", 200, header("X-Ringfence-Balance", "guess"), account, "X-Ringfence-Balance"},
		{"header of another type", "GET", accountURL, "", 200, header("X-RateLimit-Limit", "many"), account, "X-RateLimit-Limit"},
		{"status that is not documented", "GET", accountURL, "", 418, header(), failure, "status"},
		{"another content type", "GET", accountURL, "", 200, header("Content-Type", "text/html"), account, "Content-Type"},
		{"parameter that is not documented", "GET", accountURL + "?junk=1", "", 200, header(), account, "junk"},
		{"parameter that the document forbids", "GET", usageURL + "?limit=1001", "", 200, header(), usage, "limit"},
		{"the same, refused", "GET", usageURL + "?limit=1001", "", 400, header(), strings.Replace(failure, "not_found", "invalid_request", 1), ""},
		{"error without type", "GET", accountURL, "", 400, header(), `{"error":{"code":"invalid_request","message":"m"}}`, "type"},
		{"error of unknown code", "GET", accountURL, "", 400, header(), strings.Replace(failure, "not_found", "oops", 1), "code"},
		{"success where nothing is", "GET", "http://x/api/v2/account", "", 200, header(), account, "has nothing"},
		{"text where nothing is", "GET", "http://x/api/v2/account", "", 404, header("Content-Type", "text/plain"), "404 page not found", "Content-Type"},
		{"hook that takes what is forbidden", "POST", "http://x/v1/authorize", `{"call_id":""}`, 200, header(), allow, "call_id"},
		{"half of a denial", "POST", "http://x/v1/authorize", ask, 402, header(),
			`{"error":{"code":"insufficient_credits","message":"m"},"hangup":{"sip":402,"q850":21}}`, "hangup"},
		{"new field in one of two forms", "POST", "http://x/v1/events", `{"type":"heartbeat","call_id":"c"}`, 200, header(),
			`{"action":"warn","remaining_seconds":1,"new":1}`, "missing properties"},
	} {
		h := http.Header{"Content-Type": {"application/json"}}
		err := v.Check(Exchange{Method: c.method, URL: c.url, Header: h, Body: []byte(c.body),
			Status: c.status, AnswerHeader: c.header, Answer: []byte(c.answer)})
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: error is %v, want one about %q", c.name, err, c.says)
		}
	}
	seen, missing := v.Seen()
	if len(seen) < 4 || len(missing) == 0 || seen[0] != "authorize 200" {
		t.Errorf("seen %v, missing %v", seen, missing)
	}
}

// recording is a test that keeps what it was told.
type recording struct {
	testing.TB
	errors int
}

func (r *recording) Errorf(string, ...any) { r.errors++ }

type answering func(*http.Request) (*http.Response, error)

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

// The transport fails the test for an answer that does not fit, and hands every answer on as it was.
func TestTransport(t *testing.T) {
	broken := errors.New("broke off")
	for _, c := range []struct {
		name, answer string
		fails        error
		errors       int
	}{
		{"fits", account, nil, 0},
		{"does not fit", "{}", nil, 1},
		{"breaks off", account[:20], broken, 0},
	} {
		rec := &recording{TB: t}
		client := http.Client{Transport: New(t).Transport(rec, answering(func(r *http.Request) (*http.Response, error) {
			body := io.Reader(strings.NewReader(c.answer))
			if c.fails != nil {
				body = io.MultiReader(body, failing{c.fails})
			}
			return &http.Response{StatusCode: 200, Header: header(), Body: io.NopCloser(body), Request: r}, nil
		}))}
		resp, err := client.Get("http://x/api/v1/account")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if closing := resp.Body.Close(); closing != nil {
			t.Fatal(closing)
		}
		if string(got) != c.answer || !errors.Is(err, c.fails) || rec.errors != c.errors {
			t.Errorf("%s: read %q, %v; %d errors", c.name, got, err, rec.errors)
		}
	}
}
