package notify_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
)

// names is a DNS server whose one answer the test changes (RFC 1035, as far as the resolver asks).
type names struct {
	conn net.PacketConn
	mu   sync.Mutex
	list []netip.Addr
	done chan struct{}
}

func serveNames(t *testing.T) *names {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	s := &names{conn: conn, done: make(chan struct{})}
	go s.serve()
	t.Cleanup(func() { _ = conn.Close(); <-s.done })
	return s
}

func (s *names) serve() {
	defer close(s.done)
	buf := make([]byte, 1500)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if out := s.answer(buf[:n]); out != nil {
			_, _ = s.conn.WriteTo(out, from)
		}
	}
}

func (s *names) answer(q []byte) []byte {
	const header, typeA = 12, 1
	end := header
	for end < len(q) && q[end] != 0 {
		end += int(q[end]) + 1
	}
	end += 5 // the root, type and class
	if len(q) < end {
		return nil
	}
	s.mu.Lock()
	list := s.list
	s.mu.Unlock()
	if binary.BigEndian.Uint16(q[end-4:]) != typeA {
		list = nil
	}
	out := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, byte(len(list)), 0, 0, 0, 0}, q[header:end]...)
	for _, a := range list {
		b := a.As4()
		out = append(out, 0xc0, header, 0, typeA, 0, 1, 0, 0, 0, 0, 0, 4, b[0], b[1], b[2], b[3])
	}
	return out
}

func (s *names) set(list ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = nil
	for _, a := range list {
		s.list = append(s.list, netip.MustParseAddr(a))
	}
}

func (s *names) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", s.conn.LocalAddr().String())
	}}
}

// both serves one handler on one port of two addresses of this machine.
func both(t *testing.T, h http.Handler) (port string) {
	t.Helper()
	for range 20 {
		one := httptest.NewUnstartedServer(h)
		_, port, _ = net.SplitHostPort(one.Listener.Addr().String())
		l, err := net.Listen("tcp", "127.0.0.2:"+port)
		if err != nil { // taken there
			one.Close()
			continue
		}
		two := httptest.NewUnstartedServer(h)
		_ = two.Listener.Close()
		two.Listener = l
		one.Start()
		two.Start()
		t.Cleanup(one.Close)
		t.Cleanup(two.Close)
		return port
	}
	t.Fatal("no port is free on both addresses")
	return ""
}

// What counts is where the name leads when the connection is made.
func TestNameThatChanges(t *testing.T) {
	t.Parallel()
	dns := serveNames(t)
	cfg := quick()
	cfg.Resolver, cfg.HTTP = dns.resolver(), true
	cfg.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")} // plays the public address
	var reached atomic.Int64
	port := both(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if host := q.Context().Value(http.LocalAddrContextKey).(net.Addr).String(); !strings.HasPrefix(host, "127.0.0.2:") {
			t.Errorf("%s was reached", host)
		}
		reached.Add(1)
		w.Header().Set("Connection", "close")
	}))
	r := newRigWith(t, cfg, "http://hook.example.test:"+port+"/")
	ctx := t.Context()
	const blocked = "the URL leads to an address that is not a public one"
	for i, step := range []struct {
		answer []string
		want   string
	}{
		{[]string{"127.0.0.2"}, ""},
		{[]string{"127.0.0.1"}, blocked},
		{[]string{"127.0.0.2"}, ""},
		{[]string{"10.0.0.1"}, blocked},
		{[]string{"169.254.169.254"}, blocked},
		{[]string{"127.0.0.1", "127.0.0.2"}, ""}, // only the permitted one is called
		{nil, "the URL's host was not found"},
	} {
		dns.set(step.answer...)
		got := ""
		if err := r.TestWebhook(ctx, acct); err != nil {
			got = err.Error()
		}
		if got != step.want {
			t.Errorf("step %d, %v: %q, want %q", i, step.answer, got, step.want)
		}
	}
	if n := reached.Load(); n != 3 {
		t.Errorf("reached %d times", n)
	}
}

// newRigWith is newRig with another webhook.
func newRigWith(t *testing.T, cfg configOf, url string) *rig {
	t.Helper()
	loop := cfg
	loop.Allow = append(loop.Allow[:len(loop.Allow):len(loop.Allow)], loopback...)
	r := newRigOn(t, sqlitetest.Open(t), loop)
	// Kept as it is: what is set is not looked at again, what is called is.
	_, err := r.ledger.SetWebhook(t.Context(), ledger.Webhook{Account: acct, URL: url, Secret: secret})
	must(t, err)
	r.Notifier = notifier(t, cfg, r.ledger)
	return r
}

// Neither an address written into the URL, in whatever form, nor a redirect leads inside.
func TestInsideIsNotReached(t *testing.T) {
	t.Parallel()
	var inside atomic.Int64
	secretService := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inside.Add(1) }))
	t.Cleanup(secretService.Close)
	_, port, err := net.SplitHostPort(secretService.Listener.Addr().String())
	must(t, err)

	cfg := quick()
	cfg.Allow, cfg.HTTP, cfg.Resolver = nil, true, serveNames(t).resolver() // which knows no name
	for _, host := range []string{"127.0.0.1", "[::ffff:127.0.0.1]", "0.0.0.0", "localhost", "localhost.", "2130706433", "0x7f.1", "127.1"} {
		r := newRigWith(t, cfg, "http://"+host+":"+port+"/")
		if err := r.TestWebhook(t.Context(), acct); err == nil {
			t.Errorf("%s was reached", host)
		}
	}

	r := newRig(t, quick())
	for _, code := range []int{301, 302, 303, 307, 308} {
		r.hook.answers(func(w http.ResponseWriter, _ *got) bool {
			w.Header().Set("Location", secretService.URL)
			w.WriteHeader(code)
			return false
		})
		want := fmt.Sprintf("the endpoint answered %d %s; redirects are not followed", code, http.StatusText(code))
		if err := r.TestWebhook(t.Context(), acct); err == nil || err.Error() != want {
			t.Errorf("redirect %d: %v", code, err)
		}
	}
	if n := inside.Load(); n != 0 {
		t.Errorf("what is inside was reached %d times", n)
	}
}

// No proxy of the environment sees what is sent.
func TestNoProxy(t *testing.T) {
	var proxied atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { proxied.Add(1) }))
	t.Cleanup(proxy.Close)
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	r := newRig(t, quick())
	must(t, r.TestWebhook(t.Context(), acct))
	if proxied.Load() != 0 {
		t.Error("the proxy was asked")
	}
}

// An answer without end, a slow one and one with huge headers hold nobody up.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	cfg := quick()
	cfg.Timeout = 500 * time.Millisecond
	r := newRig(t, cfg)
	gone := make(chan struct{}, 1)
	r.hook.answers(func(w http.ResponseWriter, _ *got) bool {
		w.WriteHeader(http.StatusOK)
		chunk := make([]byte, 32<<10)
		for {
			if _, err := w.Write(chunk); err != nil {
				gone <- struct{}{}
				return true
			}
		}
	})
	must(t, r.TestWebhook(t.Context(), acct)) // a 2xx acknowledges, whatever follows
	select {
	case <-gone:
	case <-time.After(patience):
		t.Error("the endless answer is still being read")
	}

	stuck := make(chan struct{})
	t.Cleanup(func() { close(stuck) })
	r.hook.answers(func(http.ResponseWriter, *got) bool { <-stuck; return false })
	if err := r.TestWebhook(t.Context(), acct); err == nil || err.Error() != "the endpoint did not answer within 500ms" {
		t.Errorf("a slow answer: %v", err)
	}

	r.hook.answers(func(w http.ResponseWriter, _ *got) bool {
		w.Header().Set("X-Large", strings.Repeat("x", 64<<10))
		return true
	})
	if err := r.TestWebhook(t.Context(), acct); err == nil {
		t.Error("64 KiB of headers were read")
	}
}

// What is wrong with an endpoint's TLS is told as such, and nothing is sent.
func TestTLS(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a message was sent") }))
	s.Config.ErrorLog = discardLog
	s.StartTLS()
	t.Cleanup(s.Close)
	r := newRig(t, quick())
	r.set("", s.URL)
	if err := r.TestWebhook(t.Context(), acct); err == nil || err.Error() != "the endpoint's TLS certificate was not accepted" {
		t.Errorf("a certificate of nobody: %v", err)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick())
	ctx := t.Context()
	var field *ledger.FieldError
	if err := r.SetWebhook(ctx, ledger.Webhook{Account: acct, URL: "http://10.0.0.1/"}); !errors.As(err, &field) || field.Field != "url" {
		t.Errorf("a private address: %v", err)
	}
	for _, s := range []string{"short", strings.Repeat("x", 201), "with a blank and long", "tab\tand some more text", "umlaut-ä-and-more-text"} {
		if err := r.SetWebhook(ctx, ledger.Webhook{Account: acct, URL: r.hook.URL, Secret: s}); !errors.As(err, &field) || field.Field != "secret" {
			t.Errorf("secret %q: %v", s, err)
		}
	}
	if err := r.SetAlerts(ctx, ledger.Alerts{Account: acct, Email: true}); !errors.As(err, &field) || field.Field != "email" {
		t.Errorf("e-mail without a server: %v", err)
	}
	if err := r.SetAlerts(ctx, ledger.Alerts{Account: acct, Below: -1}); !errors.As(err, &field) || field.Field != "below" {
		t.Errorf("a threshold below zero: %v", err)
	}
	if field.Message != "Write a number of minutes from 0 up." {
		t.Errorf("beside the field it says %q", field.Message)
	}
	kept, err := r.PutWebhook(ctx, ledger.Webhook{Account: acct, URL: r.hook.URL + "/other"})
	must(t, err)
	if kept.Secret != secret {
		t.Error("the secret changed with the URL")
	}
	must(t, r.SetWebhook(ctx, ledger.Webhook{Account: acct}))
	must(t, r.SetWebhook(ctx, ledger.Webhook{Account: acct}))
	if w, err := r.Webhook(ctx, acct); err != nil || w != (ledger.Webhook{}) {
		t.Errorf("removed, it is %+v, %v", w, err)
	}
	one, err := r.PutWebhook(ctx, ledger.Webhook{Account: acct, URL: r.hook.URL})
	must(t, err)
	must(t, r.SetWebhook(ctx, ledger.Webhook{Account: acct}))
	two, err := r.PutWebhook(ctx, ledger.Webhook{Account: acct, URL: r.hook.URL})
	must(t, err)
	if len(one.Secret) < 40 || one.Secret == two.Secret {
		t.Errorf("secrets are %q and %q", one.Secret, two.Secret)
	}
}
