package stripefaketest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"sync"
	"testing"
)

// renamed are parameters of 2023-10-16 that the newer document has under other names, or nowhere.
var renamed = []struct{ method, path, param string }{
	{http.MethodPost, "/v1/invoiceitems", "unit_amount"},
	{http.MethodPost, "/v1/invoiceitems", "price"},
	{http.MethodPost, "/v1/invoices", "rendering_options"},
}

// Transport checks what passes through it on the way to the fake, and fails the test for what it finds. It may be used
// by several goroutines.
func Transport(t testing.TB, next http.RoundTripper) http.RoundTripper {
	t.Helper()
	handler, err := mock()
	if err != nil {
		t.Fatal(err)
	}
	return &checker{t: t, next: next, mock: handler}
}

// Proxy listens on a free port of 127.0.0.1 and passes on what it gets to the fake at a URL, checked; it returns its
// own URL, which is the API base for a client that runs as a process of its own. It ends with the test.
func Proxy(t testing.TB, fakeURL string) string {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	check := Transport(t, transport)
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := http.NewRequestWithContext(r.Context(), r.Method, fakeURL+r.URL.RequestURI(), r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		out.Header = r.Header.Clone()
		out.ContentLength = r.ContentLength
		answer, err := check.RoundTrip(out)
		if err != nil {
			// The fake broke the connection, so this one breaks too.
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				_, _ = conn.Write([]byte("HTTP/1.1 ")) // else Go's transport may send it again by itself
				_ = conn.Close()
			}
			return
		}
		defer answer.Body.Close()
		for name, values := range answer.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.StatusCode)
		_, _ = io.Copy(w, answer.Body) // the client may have gone
	}))
	t.Cleanup(listener.Close)
	return listener.URL
}

type checker struct {
	t    testing.TB
	next http.RoundTripper
	mock http.Handler

	mu sync.Mutex // stripe-mock is asked one thing at a time
}

// RoundTrip implements http.RoundTripper.
func (c *checker) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasPrefix(r.URL.Path, "/v1/") {
		return c.next.RoundTrip(r)
	}
	var sent []byte
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err = errors.Join(err, r.Body.Close()); err != nil {
			return nil, fmt.Errorf("stripefaketest: read the request: %w", err)
		}
		sent = body
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	answer, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(answer.Body)
	if err = errors.Join(err, answer.Body.Close()); err != nil {
		return nil, fmt.Errorf("stripefaketest: read the answer: %w", err)
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	what := r.Method + " " + r.URL.Path
	if err := Answer(body); err != nil {
		c.t.Errorf("the fake's answer to %s: %v", what, err)
	}
	if answer.StatusCode < http.StatusBadRequest {
		if refusal := c.ask(r, string(sent)); refusal != "" {
			c.t.Errorf("Stripe would refuse %s: %s\n\t%s%s", what, refusal, r.URL.RawQuery, sent)
		}
	}
	return answer, nil
}

// ask puts a request to stripe-mock; "" if it was accepted.
func (c *checker) ask(r *http.Request, sent string) string {
	target := *r.URL
	target.Scheme, target.Host = "", ""
	target.RawQuery = older(r.Method, r.URL.Path, target.RawQuery)
	sent = older(r.Method, r.URL.Path, sent)
	copied, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, target.RequestURI(), strings.NewReader(sent))
	if err != nil {
		return err.Error()
	}
	copied.Header.Set("Authorization", "Bearer sk_test_123")
	copied.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	recorder := httptest.NewRecorder()
	c.mu.Lock()
	c.mock.ServeHTTP(recorder, copied)
	c.mu.Unlock()
	if recorder.Code < http.StatusBadRequest {
		return ""
	}
	return fmt.Sprintf("%d %s", recorder.Code, strings.Join(strings.Fields(recorder.Body.String()), " "))
}

// older takes out of encoded parameters what only the older version has.
func older(method, where, encoded string) string {
	var kept []string
	for pair := range strings.SplitSeq(encoded, "&") {
		key, _, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(key)
		if err != nil {
			name = key
		}
		name, _, _ = strings.Cut(name, "[")
		drop := false
		for _, old := range renamed {
			matched, err := path.Match(old.path, where)
			drop = drop || err == nil && matched && old.method == method && old.param == name
		}
		if !drop {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "&")
}
