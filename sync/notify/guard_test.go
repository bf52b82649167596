package notify

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

func TestOnlyPublicAddresses(t *testing.T) {
	g := &guard{}
	for _, a := range []string{
		"127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
		"100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "192.88.99.1",
		"224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1",
		"64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::1", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%eth0", "fec0::1",
		"ff02::1", "3fff::1", "2a01:4f8::1%eth0",
	} {
		if g.permits(netip.MustParseAddr(a)) {
			t.Errorf("%s may be called", a)
		}
	}
	for _, a := range []string{"93.184.216.34", "1.1.1.1", "172.32.0.1", "100.128.0.1", "::ffff:93.184.216.34", "2a01:4f8::1", "2606:4700::1"} {
		if !g.permits(netip.MustParseAddr(a)) {
			t.Errorf("%s may not be called", a)
		}
	}
	g.allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	for a, want := range map[string]bool{"127.0.0.1": true, "::ffff:127.0.0.1": true, "127.0.0.2": false, "::1": false} {
		if g.permits(netip.MustParseAddr(a)) != want {
			t.Errorf("%s with 127.0.0.1 allowed: want %v", a, want)
		}
	}
	for _, a := range []string{"127.0.0.1:80", "[::1]:443", "no address", ""} {
		if err := (&guard{}).control("tcp", a, nil); !errors.Is(err, ErrBlocked) {
			t.Errorf("connecting to %q: %v", a, err)
		}
	}
}

func TestURLs(t *testing.T) {
	bare, test := &guard{}, &guard{allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	plain := &guard{http: true}
	for _, c := range []struct {
		guard *guard
		url   string
		says  string // empty: fine
	}{
		{bare, "https://example.com/hook?a=b", ""},
		{bare, "https://example.com:8443", ""},
		{bare, "https://[2a01:4f8::1]/hook", ""},
		{bare, "http://example.com/hook", "begins with https://"},
		{plain, "http://example.com/hook", ""},
		{plain, "ftp://example.com/hook", "begins with https://"},
		{bare, "", "Write a URL such as"},
		{bare, "example.com/hook", "Write a URL such as"},
		{bare, "https:example.com", "Write a URL such as"},
		{bare, "https:///hook", "Write a URL such as"},
		{bare, "https://:443/hook", "Write the host"},
		{bare, "https://exa mple.com/", "Write a URL such as"},
		{bare, "javascript:alert(1)", "Write a URL such as"},
		{bare, "mailto:a@example.com", "Write a URL such as"},
		{bare, "file:///etc/passwd", "Write a URL such as"},
		{bare, "https://user:secret@example.com/", "user and password"},
		{bare, "https://example.com/#x", "fragment"},
		{bare, "https://127.0.0.1/", "a public address"},
		{bare, "https://[::ffff:10.0.0.1]/", "a public address"},
		{bare, "https://169.254.169.254/latest/meta-data", "a public address"},
		{bare, "https://localhost/", "a public address"},
		{bare, "https://LOCALHOST./", "a public address"},
		{bare, "https://a.localhost/", "a public address"},
		{test, "http://127.0.0.1:8080/", ""},
		{test, "https://localhost/", ""},
		{test, "http://example.com/", "begins with https://"},
		{bare, "https://example.com/" + strings.Repeat("x", maxURL), "at most 2000 characters"},
	} {
		err := c.guard.check(c.url)
		var field *ledger.FieldError
		if c.says == "" && err != nil || c.says != "" && (!errors.As(err, &field) || field.Field != "url" || !strings.Contains(field.Message, c.says)) {
			t.Errorf("%s: %v, want %q", c.url, err, c.says)
		}
	}
}

func TestBackoff(t *testing.T) {
	for attempts, want := range map[int64]time.Duration{1: 5 * time.Second, 2: 10 * time.Second, 5: 80 * time.Second, 11: 5120 * time.Second,
		12: maxBackoff, 1000: maxBackoff, 1 << 40: maxBackoff} {
		for range 20 {
			if got := backoff(5*time.Second, attempts, maxBackoff); got < want*8/10 || got > want*12/10 {
				t.Fatalf("after %d attempts %s, want about %s", attempts, got, want)
			}
		}
	}
}

func TestRetryAfterHeader(t *testing.T) {
	now := time.Date(2025, 12, 13, 10, 0, 0, 0, time.UTC)
	for v, want := range map[string]time.Duration{"": 0, "120": 2 * time.Minute, "-5": 0, "x": 0, "999999999": maxBackoff, "99999999999999999999": 0,
		"Sat, 13 Dec 2025 10:01:00 GMT": time.Minute, "Sat, 13 Dec 2025 09:00:00 GMT": 0} {
		if got := retryAfter(v, now); got != want {
			t.Errorf("Retry-After: %s gives %s, want %s", v, got, want)
		}
	}
}

func TestShown(t *testing.T) {
	for endpoint, want := range map[string]string{"https://example.com/secret?token=x": "https://example.com", "mailto:a@example.com": "mailto", "\x00": "?"} {
		if got := shown(endpoint); got != want {
			t.Errorf("%q is logged as %q", endpoint, got)
		}
	}
}
