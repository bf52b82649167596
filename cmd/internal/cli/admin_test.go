package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/sync/portal"
)

func TestURL(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "http://127.0.0.1:9402",
		"http://127.0.0.1:9402/":   "http://127.0.0.1:9402",
		"https://rf.example:9/ops": "https://rf.example:9/ops",
	} {
		if got := client(t, Admin{URL: in}).base; got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
	for _, in := range []string{"127.0.0.1:9402", "ftp://x", "http://", "http://x:bad", "/admin", "http://x?y=1", "http://x#y"} {
		if _, err := (Admin{URL: in}).Client(); err == nil || !strings.Contains(err.Error(), "RINGFENCE_OPS_URL") {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestToken(t *testing.T) {
	s := newSidecar(t, "s3cret")
	for token, want := range map[string]string{"": "RINGFENCE_ADMIN_TOKEN", "wrong": "the admin token is wrong", "s3cret": ""} {
		err := client(t, Admin{URL: s.url, Token: token}).Do(bounded(t), http.MethodGet, "accounts", nil, nil)
		switch {
		case want == "" && err != nil:
			t.Errorf("right token: %v", err)
		case want != "" && (!Is(err, portal.CodeUnauthorized) || !strings.Contains(err.Error(), want)):
			t.Errorf("token %q: %v, want %q", token, err, want)
		}
	}
}

// What answers may be no sidecar at all, or one that is not well.
func TestOtherAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"page":        {404, "<html>not here</html>", "which is no answer of a sidecar's admin API: name its ops listener"},
		"empty":       {502, "", "502 Bad Gateway, which is no answer"},
		"no message":  {500, `{"error":{}}`, "500 Internal Server Error, which is no answer"},
		"no object":   {200, "hello", "what is no answer of a sidecar's admin API"},
		"another API": {404, `{"error":{"code":"not_found","message":"There is no such hook."}}`, "There is no such hook. (asked http://"},
		"an entity":   {404, `{"error":{"code":"not_found","message":"there is no account","param":"id"}}`, "there is no account"},
		"field":       {400, `{"error":{"code":"missing_field","message":"is required","param":"minutes"}}`, "minutes: is required"},
		"redirect":    {304, "", "304 Not Modified, which is no answer"},
		"too long":    {200, `"` + strings.Repeat("x", 1000) + `"`, "longer than 1000 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			base := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			}))
			var out json.RawMessage
			cl := client(t, Admin{URL: base})
			cl.limit = 1000
			err := cl.Do(bounded(t), http.MethodGet, "accounts", nil, &out)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + l.Addr().String()
	l.Close()
	err = client(t, Admin{URL: base}).Do(bounded(t), http.MethodGet, "accounts", nil, nil)
	if err == nil || !strings.Contains(err.Error(), "no sidecar answers at "+base+"; start one with: ringfence serve") {
		t.Errorf("nobody there: %v", err)
	}
	c := client(t, Admin{URL: "http://user:hunter2@" + l.Addr().String()})
	if err := c.Do(bounded(t), http.MethodGet, "accounts", nil, nil); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the password shows: %v", err)
	}
}

func TestSlow(t *testing.T) {
	release := make(chan struct{})
	reached := make(chan struct{}, 2)
	base := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		reached <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() { close(release) })
	c := client(t, Admin{URL: base})
	c.http.Timeout = 20 * time.Millisecond
	err := c.Do(bounded(t), http.MethodGet, "accounts", nil, nil)
	if err == nil || !strings.Contains(err.Error(), "did not answer within") || strings.Contains(err.Error(), "repeat") {
		t.Errorf("slow: %v", err)
	}
	<-reached

	c.http.Timeout = within
	ctx, cancel := context.WithCancel(bounded(t))
	go func() { <-reached; cancel() }()
	err = c.Do(ctx, http.MethodPost, "accounts", struct{}{}, nil)
	if err == nil || !strings.Contains(err.Error(), "interrupted") || !strings.Contains(err.Error(), "look whether the change was made") {
		t.Errorf("interrupted: %v", err)
	}
}

func TestBrokenOff(t *testing.T) {
	base := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, `{"accounts":[`)
	}))
	err := client(t, Admin{URL: base}).Do(bounded(t), http.MethodDelete, "accounts", nil, nil)
	if err == nil || !strings.Contains(err.Error(), "broke") || !strings.Contains(err.Error(), "look whether") {
		t.Errorf("broken off: %v", err)
	}
}

func TestFile(t *testing.T) {
	var got string
	base := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 100)
		n, _ := r.Body.Read(b)
		got = string(b[:n])
		fmt.Fprint(w, "{}")
	}))
	if err := client(t, Admin{URL: base}).Do(bounded(t), http.MethodPut, "tariffs", File("id: x\n"), nil); err != nil || got != "id: x\n" {
		t.Errorf("sent %q, %v", got, err)
	}
}

func TestNamed(t *testing.T) {
	err := fmt.Errorf("create: %w", &APIError{Message: "a; b", Errors: []*APIError{
		{Message: "is required", Param: "company_name"}, {Message: "is odd", Param: "other"},
	}})
	got := Named(err, Words{Names: map[string]string{"company_name": "--company"}}).Error()
	if want := "several things are wrong:\n  --company: is required\n  other: is odd"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if plain := context.Canceled; Named(plain, Words{}) != plain {
		t.Error("another error was changed")
	}
}

func TestPath(t *testing.T) {
	for want, parts := range map[string][]string{
		"accounts/acme/grants":  {"accounts", "acme", "grants"},
		"numbers/+31850835037":  {"numbers", "+31850835037"},
		"accounts/a%2Fb%3Fc%20": {"accounts", "a/b?c "},
	} {
		if got := Path(parts...); got != want {
			t.Errorf("%v is %s, want %s", parts, got, want)
		}
		if _, err := url.Parse("http://x/" + Path(parts...)); err != nil {
			t.Error(err)
		}
	}
}
