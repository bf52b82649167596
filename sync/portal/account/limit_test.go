package account_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/portal/account"
)

// use makes one request with a key that is well-formed.
func use(t testing.TB, api http.Handler) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("GET", "/api/v1/openapi.json", nil)
	r.Header.Set("Authorization", "Bearer "+account.MintKey())
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	return w
}

func limited(limit int) func(*account.Config) {
	return func(c *account.Config) { c.Limit = limit }
}

// A hundred requests of a key in a minute are answered, across sidecars, and the next ones told when to come again.
func TestRateLimit(t *testing.T) {
	r := newRig(t, sqlitetest.Open(t), services.Redis(t), limited(0))
	key := r.open(t, "org-1", "UTC", 1)
	another := r.open(t, "org-2", "UTC", 1)
	second := newRig(t, r.ledger, r.redis, limited(0))
	second.people.all = r.people.all
	sidecars := []*rig{r, second}
	reset := strconv.FormatInt(today.Add(time.Minute).Unix(), 10)
	for i := range 100 {
		paths := []string{"account", "usage?limit=0", "nothing", "openapi.json"} // whatever the answer is
		h := sidecars[i%2].get(t, key, paths[i%4]).header
		if h.Get("X-RateLimit-Limit") != "100" || h.Get("X-RateLimit-Remaining") != strconv.Itoa(99-i) || h.Get("X-RateLimit-Reset") != reset {
			t.Fatalf("request %d: %v", i, h)
		}
	}
	for _, sidecar := range sidecars {
		sidecar.advance(17500 * time.Millisecond)
		answer := sidecar.get(t, key, "account")
		answer.refused(t, "request 101", 429, "rate_limit_exceeded", "")
		if !strings.Contains(answer.body, `"message": "Too many requests. Please retry after 43 seconds."`) || answer.header.Get("Retry-After") != "43" ||
			answer.header.Get("X-RateLimit-Remaining") != "0" || answer.header.Get("X-RateLimit-Reset") != reset {
			t.Errorf("request 101: %v %s", answer.header, answer.body)
		}
	}
	if status := r.get(t, another, "account").status; status != 200 {
		t.Errorf("another key: %d", status)
	}
	r.advance(42499 * time.Millisecond)
	if answer := r.get(t, key, "account"); answer.status != 429 || answer.header.Get("Retry-After") != "1" {
		t.Errorf("a millisecond before the reset: %d %v", answer.status, answer.header)
	}
	r.advance(time.Millisecond)
	if answer := r.get(t, key, "account"); answer.status != 200 || answer.header.Get("X-RateLimit-Remaining") != "99" {
		t.Errorf("after the reset: %d %v", answer.status, answer.header)
	}
	// Requests without a key are counted by address.
	for range 100 {
		r.get(t, "", "account").refused(t, "no key", 401, "unauthorized", "")
	}
	r.get(t, "", "account").refused(t, "no key, too often", 429, "rate_limit_exceeded", "")
	if status := r.get(t, key, "account").status; status != 200 {
		t.Errorf("a key from the same address: %d", status)
	}
}

// Whoever comes at once, no more than the limit go.
func TestRateLimitRace(t *testing.T) {
	server := services.Redis(t)
	l := sqlitetest.Open(t)
	sidecars := []*rig{newRig(t, l, server, limited(30)), newRig(t, l, server, limited(30))}
	key := sidecars[0].open(t, "org-1", "UTC", 1)
	a, _ := sidecars[0].people.Account("org-1")
	sidecars[1].people.put(*a)
	var allowed atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 10 {
				if sidecars[i%2].get(t, key, "openapi.json").status == 200 {
					allowed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if allowed.Load() != 30 {
		t.Errorf("%d requests were let through, want 30", allowed.Load())
	}
}

// Without Redis each sidecar goes on counting alone, from where it was; never an error.
func TestRateLimitWithoutRedis(t *testing.T) {
	r := newRig(t, sqlitetest.Open(t), services.Redis(t), limited(10))
	key := r.open(t, "org-1", "UTC", 1)
	for range 4 {
		r.get(t, key, "usage").into(t, new(usageAnswer))
	}
	r.redis.Kill()
	for i := range 6 {
		answer := r.get(t, key, "usage")
		if answer.status != 200 || answer.header.Get("X-RateLimit-Remaining") != strconv.Itoa(5-i) {
			t.Fatalf("request %d without Redis: %d %v", i, answer.status, answer.header)
		}
	}
	r.get(t, key, "usage").refused(t, "one too many", 429, "rate_limit_exceeded", "")
	r.redis.Start()
	r.advance(2 * time.Second) // Redis is asked again; it has forgotten
	services.Eventually(t, patience, func() error {
		answer := r.get(t, key, "usage")
		r.advance(time.Second)
		if answer.status != 200 {
			return fmt.Errorf("status %d", answer.status)
		}
		return nil
	})
}

// A Redis that is frozen costs one short wait, not an error and not one at every request.
func TestRateLimitWithFrozenRedis(t *testing.T) {
	r := newRig(t, sqlitetest.Open(t), services.Redis(t), func(c *account.Config) { c.RedisTimeout = 400 * time.Millisecond })
	key := r.open(t, "org-1", "UTC", 1)
	r.redis.Pause()
	defer r.redis.Resume()
	start := time.Now()
	for range 20 {
		if answer := r.get(t, key, "usage"); answer.status != 200 {
			t.Fatalf("status %d", answer.status)
		}
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("20 requests took %v", took)
	}
	if b := r.get(t, key, "account"); b.header.Get("X-Ringfence-Balance") != "ledger" {
		t.Errorf("%d %v", b.status, b.header)
	}
}

// A quota beside the API's is counted in the same Redis, for all sidecars together.
func TestQuota(t *testing.T) {
	server := services.Redis(t)
	l := sqlitetest.Open(t)
	one, other := newRig(t, l, server, limited(30)), newRig(t, l, server, limited(30))
	first, second := one.api.Quota(3), other.api.Quota(3)
	for i, q := range []*account.Quota{first, second, first} {
		if _, ok := q.Take(t.Context(), "page:org-1"); !ok {
			t.Errorf("request %d is refused", i)
		}
	}
	after, ok := second.Take(t.Context(), "page:org-1")
	if ok || after < time.Second || after > time.Minute {
		t.Errorf("one too many: %v, again after %v", ok, after)
	}
	if _, ok := second.Take(t.Context(), "page:org-2"); !ok {
		t.Error("another account is refused")
	}
}
