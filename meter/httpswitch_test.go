package meter_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/meter"
)

// control is a switch's control URL: it answers with what is queued, then 200.
type control struct {
	*httptest.Server
	mu      sync.Mutex
	bodies  []string
	headers []http.Header
	answers []func(http.ResponseWriter, *http.Request)
}

func newControl(t *testing.T, answers ...func(http.ResponseWriter, *http.Request)) *control {
	c := &control{answers: answers}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body) // a test's own client
		c.mu.Lock()
		c.bodies, c.headers = append(c.bodies, string(b)), append(c.headers, r.Header)
		var answer func(http.ResponseWriter, *http.Request)
		if len(c.answers) > 0 {
			answer, c.answers = c.answers[0], c.answers[1:]
		}
		c.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func status(code int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func says(body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

func (c *control) asked() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.bodies...)
}

// httpSwitch makes one whose transport keeps no connection after the test.
func httpSwitch(t *testing.T, cfg meter.HTTPConfig) meter.Switch {
	t.Helper()
	cfg.Name = "pbx"
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	if cfg.Transport == nil {
		cfg.Transport = transport
	}
	sw, err := meter.NewHTTPSwitch(cfg, discard)
	must(t, err)
	return sw
}

func TestHTTPSwitchCommands(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	c.answers = append(c.answers, nil, nil, nil, says(`{"calls":[{"call_id":"a@b","direction":"inbound","state":"up"},{"call_id":"c","direction":"outbound"}]}`))
	sw := httpSwitch(t, meter.HTTPConfig{ControlURL: c.URL + "/control", Token: "s3cret", Extends: true, Lists: true, Heartbeats: true})
	k := authz.Key{Switch: "pbx", Direction: authz.Inbound, CallID: `a"b@c`}
	ctx := t.Context()
	must(t, sw.Hangup(ctx, k, meter.ReasonKilled))
	must(t, sw.Warn(ctx, k, 0))
	must(t, sw.(meter.Extender).Extend(ctx, k, 300))
	keys, err := sw.(meter.Lister).List(ctx)
	must(t, err)
	if diff := cmp.Diff([]authz.Key{{Switch: "pbx", Direction: authz.Inbound, CallID: "a@b"}, {Switch: "pbx", Direction: authz.Outbound, CallID: "c"}}, keys); diff != "" {
		t.Error(diff)
	}
	want := []string{
		`{"action":"hangup","call_id":"a\"b@c","direction":"inbound","switch":"pbx","reason":"killed"}`,
		`{"action":"warn","call_id":"a\"b@c","direction":"inbound","switch":"pbx","remaining_seconds":0}`,
		`{"action":"extend","call_id":"a\"b@c","direction":"inbound","switch":"pbx","max_seconds":300}`,
		`{"action":"list","switch":"pbx"}`,
	}
	if diff := cmp.Diff(want, c.asked()); diff != "" {
		t.Error(diff)
	}
	for _, h := range c.headers {
		equal(t, "token", h.Get("Authorization"), "Bearer s3cret")
		equal(t, "type", h.Get("Content-Type"), "application/json")
	}
	equal(t, "heartbeats", sw.(meter.Heartbeater).Heartbeats(), true)
}

func TestHTTPSwitchDoesOnlyWhatItIsSaidTo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cfg     meter.HTTPConfig
		extends bool
		lists   bool
	}{
		"plain":   {meter.HTTPConfig{ControlURL: "http://127.0.0.1/"}, false, false},
		"extends": {meter.HTTPConfig{ControlURL: "http://127.0.0.1/", Extends: true}, true, false},
		"lists":   {meter.HTTPConfig{ControlURL: "http://127.0.0.1/", Lists: true}, false, true},
		"both":    {meter.HTTPConfig{ControlURL: "http://127.0.0.1/", Lists: true, Extends: true}, true, true},
		"no URL":  {meter.HTTPConfig{Lists: true, Extends: true}, false, false},
	} {
		sw := httpSwitch(t, c.cfg)
		_, extends := sw.(meter.Extender)
		_, lists := sw.(meter.Lister)
		if extends != c.extends || lists != c.lists {
			t.Errorf("%s: extends %v, lists %v", name, extends, lists)
		}
	}
	if err := httpSwitch(t, meter.HTTPConfig{}).Hangup(t.Context(), key("c"), ""); !errors.Is(err, meter.ErrNoControl) {
		t.Errorf("no URL: %v", err)
	}
	for _, bad := range []string{"127.0.0.1:80", "ftp://x/", "http://", "http://a b/"} {
		if _, err := meter.NewHTTPSwitch(meter.HTTPConfig{Name: "pbx", ControlURL: bad}, discard); err == nil || !strings.Contains(err.Error(), "control_url") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestHTTPSwitchFailures(t *testing.T) {
	t.Parallel()
	drop := func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = c.Close()
		}
	}
	for name, c := range map[string]struct {
		answers []func(http.ResponseWriter, *http.Request)
		want    error // nil: no error
		some    string
		asked   int
	}{
		"the call is unknown":     {answers: []func(http.ResponseWriter, *http.Request){status(404)}, want: meter.ErrNoSuchCall, asked: 1},
		"the call is gone":        {answers: []func(http.ResponseWriter, *http.Request){status(410)}, want: meter.ErrNoSuchCall, asked: 1},
		"fails once":              {answers: []func(http.ResponseWriter, *http.Request){status(503)}, asked: 2},
		"drops the connection":    {answers: []func(http.ResponseWriter, *http.Request){drop}, asked: 2},
		"keeps failing":           {answers: []func(http.ResponseWriter, *http.Request){status(500), status(500), status(500)}, some: "500", asked: 3},
		"refuses the token":       {answers: []func(http.ResponseWriter, *http.Request){status(401)}, some: "401", asked: 1},
		"points elsewhere":        {answers: []func(http.ResponseWriter, *http.Request){redirect}, some: "302", asked: 1},
		"knows the call at last":  {answers: []func(http.ResponseWriter, *http.Request){status(502), status(404)}, want: meter.ErrNoSuchCall, asked: 2},
		"accepts without content": {answers: []func(http.ResponseWriter, *http.Request){status(204)}, asked: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctl := newControl(t, c.answers...)
			err := httpSwitch(t, meter.HTTPConfig{ControlURL: ctl.URL + "/?key=hidden"}).Hangup(t.Context(), key("c"), meter.ReasonCredit)
			switch {
			case c.want != nil && !errors.Is(err, c.want), c.some != "" && (err == nil || !strings.Contains(err.Error(), c.some)), c.want == nil && c.some == "" && err != nil:
				t.Errorf("error %v, want %v %s", err, c.want, c.some)
			case err != nil && strings.Contains(err.Error(), "hidden"):
				t.Errorf("the URL's secret is in %q", err)
			}
			equal(t, "requests", len(ctl.asked()), c.asked)
		})
	}
}

func redirect(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "/elsewhere", http.StatusFound)
}

// A switch that takes connections and never answers does not hold anybody
// longer than the deadline.
func TestHTTPSwitchThatHangs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = l.Close() }()
	sw := httpSwitch(t, meter.HTTPConfig{ControlURL: "http://" + l.Addr().String(), Timeout: 50 * time.Millisecond, Retries: -1})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := sw.Hangup(ctx, key("c"), ""); err == nil || ctx.Err() != nil {
		t.Errorf("error %v, context %v", err, ctx.Err())
	}
}

// What is no listing is never read as "no calls".
func TestHTTPListingThatIsNone(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"no body":             status(200),
		"no calls":            says(`{}`),
		"null":                says(`{"calls":null}`),
		"other JSON":          says(`[]`),
		"cut short":           says(`{"calls":[{"call_id":"a","direction":"inbound"}`),
		"goes on":             says(`{"calls":[]} {}`),
		"an unknown way":      says(`{"calls":[{"call_id":"a","direction":"sideways"}]}`),
		"a call without way":  says(`{"calls":[{"call_id":"a"}]}`),
		"a call without name": says(`{"calls":[{"direction":"inbound"}]}`),
		"not found":           status(404),
		"HTML":                says(`<html>`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctl := newControl(t, answer)
			keys, err := httpSwitch(t, meter.HTTPConfig{ControlURL: ctl.URL, Lists: true}).(meter.Lister).List(t.Context())
			if err == nil || errors.Is(err, meter.ErrNoSuchCall) {
				t.Errorf("listed %v, error %v", keys, err)
			}
		})
	}
	ctl := newControl(t, says(`{"calls":[]}`))
	keys, err := httpSwitch(t, meter.HTTPConfig{ControlURL: ctl.URL, Lists: true}).(meter.Lister).List(t.Context())
	must(t, err)
	equal(t, "calls", len(keys), 0)
}

func FuzzHTTPListing(f *testing.F) {
	f.Add(`{"calls":[{"call_id":"a@b","direction":"inbound"}]}`)
	f.Add(`{"calls":[]}`)
	f.Add(`{"calls":null}`)
	f.Fuzz(func(t *testing.T, body string) {
		sw, err := meter.NewHTTPSwitch(meter.HTTPConfig{Name: "pbx", ControlURL: "http://127.0.0.1/", Lists: true, Retries: -1, Transport: canned(body)}, discard)
		must(t, err)
		keys, err := sw.(meter.Lister).List(t.Context())
		if err != nil {
			return
		}
		var l struct{ Calls []any }
		if json.Unmarshal([]byte(body), &l) != nil || len(l.Calls) != len(keys) {
			t.Errorf("%q was read as %v", body, keys)
		}
		for _, k := range keys {
			if k.CallID == "" || !k.Direction.Valid() || k.Switch != "pbx" {
				t.Errorf("%q gave %+v", body, k)
			}
		}
	})
}

// canned is a transport that answers every request with the same text.
type canned string

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Status: "200 OK", Body: io.NopCloser(strings.NewReader(string(c))), Request: r}, nil
}
