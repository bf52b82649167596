package account_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/portal/account"
)

// operate sends one request to the admin API of keys.
func operate(h http.Handler, method, path, body string, header ...string) (int, string) {
	req := httptest.NewRequest(method, "http://127.0.0.1:9402/admin/v1/keys"+path, strings.NewReader(body))
	req.RemoteAddr = "127.0.0.1:50000"
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

type madeAnswer struct {
	ledger.APIKey
	Key      string
	Replaces *ledger.APIKey
}

func read[T any](t *testing.T, status, want int, body string) T {
	t.Helper()
	var v T
	if status != want {
		t.Fatalf("answered %d, want %d: %s", status, want, body)
	}
	must(t, json.Unmarshal([]byte(body), &v))
	return v
}

// The whole life of a key, by the admin API.
func TestKeyAdmin(t *testing.T) {
	onLedgers(t, func(t *testing.T, r *rig) {
		r.open(t, "org-1", "UTC", 1)
		admin := account.NewKeyAdmin(account.KeyAdminConfig{Keys: r.keys})
		status, body := operate(admin, "POST", "", `{"account":"org-1","name":"ci","expires_at":"2026-01-01T00:00:00Z"}`)
		made := read[madeAnswer](t, status, 201, body)
		if made.Account != "org-1" || made.Name != "ci" || !account.WellFormed(made.Key) || !strings.HasPrefix(made.Key, made.Prefix) ||
			strings.Contains(strings.ToLower(body), "hash") {
			t.Errorf("made %s", body)
		}
		if r.get(t, made.Key, "account").status != 200 {
			t.Error("the key does not work")
		}
		status, body = operate(admin, "POST", "/"+made.ID+"/expire", `{"expires_at":null}`)
		if k := read[ledger.APIKey](t, status, 200, body); !k.Expires.IsZero() {
			t.Errorf("expires %v", k.Expires)
		}
		status, body = operate(admin, "POST", "/"+made.ID+"/rotate", `{"grace_seconds":60}`)
		rotated := read[madeAnswer](t, status, 201, body)
		if rotated.Replaces == nil || rotated.Replaces.ID != made.ID || !rotated.Replaces.Expires.Equal(today.Add(time.Minute)) || rotated.Key == made.Key {
			t.Errorf("rotated %s", body)
		}
		status, body = operate(admin, "DELETE", "/"+rotated.ID, "")
		if k := read[ledger.APIKey](t, status, 200, body); k.Revoked.IsZero() {
			t.Errorf("revoked %s", body)
		}
		r.get(t, rotated.Key, "account").refused(t, "revoked by the operator", 401, "api_key_revoked", "")
		status, body = operate(admin, "GET", "?account=org-1", "")
		all := read[struct{ Keys []ledger.APIKey }](t, status, 200, body).Keys
		if len(all) != 3 || strings.Contains(body, made.Key) || strings.Contains(body, rotated.Key) {
			t.Errorf("listed %s", body)
		}
		status, body = operate(admin, "GET", "?account=nobody", "")
		if len(read[struct{ Keys []ledger.APIKey }](t, status, 200, body).Keys) != 0 || !strings.Contains(body, `"keys": []`) {
			t.Errorf("listed %s", body)
		}
	})
}

func TestKeyAdminRefuses(t *testing.T) {
	r := newRig(t, sqlitetest.Open(t), services.Redis(t))
	r.open(t, "org-1", "UTC", 1)
	all, err := r.keys.List(t.Context(), "org-1")
	must(t, err)
	id := all[0].ID
	admin := account.NewKeyAdmin(account.KeyAdminConfig{Keys: r.keys})
	for _, c := range []struct {
		method, path, body string
		status             int
		code, param        string
	}{
		{"POST", "", `{}`, 400, "missing_field", "account"},
		{"POST", "", ``, 400, "missing_field", "account"},
		{"POST", "", `{"account":"org-1","nmae":"x"}`, 400, "invalid_request", "nmae"},
		{"POST", "", `{"account":5}`, 400, "invalid_request", "account"},
		{"POST", "", `{"account":"org-1"`, 400, "invalid_request", ""},
		{"POST", "", `{"account":"org-1"} {}`, 400, "invalid_request", ""},
		{"POST", "", "{\"account\":\"\xff\"}", 400, "invalid_request", ""},
		{"POST", "", `{"account":"org-1","expires_at":"2025-02-30T00:00:00Z"}`, 400, "invalid_request", "expires_at"},
		{"POST", "", `{"account":"org-1","expires_at":"2025-12-20T12:00:00Z"}`, 400, "invalid_request", "expires_at"},
		{"POST", "", fmt.Sprintf(`{"account":"org-1","name":%q}`, strings.Repeat("x", 201)), 400, "invalid_request", "name"},
		{"POST", "", `{"account":"org-1","name":"\u0000"}`, 400, "invalid_request", ""},
		{"POST", "", `{"account":"nobody"}`, 404, "not_found", ""},
		{"POST", "", strings.Repeat(" ", 10<<20), 413, "too_large", ""},
		{"GET", "?acount=x", "", 400, "invalid_request", "acount"},
		{"DELETE", "/nothing", "", 404, "not_found", ""},
		{"POST", "/" + id + "/expire", `{}`, 400, "missing_field", "expires_at"},
		{"POST", "/" + id + "/expire", `{"expires_at":"soon"}`, 400, "invalid_request", "expires_at"},
		{"POST", "/nothing/expire", `{"expires_at":null}`, 404, "not_found", ""},
		{"POST", "/" + id + "/rotate", `{"grace_seconds":-1}`, 400, "invalid_request", "grace_seconds"},
		{"POST", "/" + id + "/rotate", `{"grace_seconds":2592001}`, 400, "invalid_request", "grace_seconds"},
		{"POST", "/nothing/rotate", ``, 404, "not_found", ""},
		{"PUT", "", "", 405, "method_not_allowed", ""},
		{"GET", "/" + id, "", 405, "method_not_allowed", ""},
		{"GET", "/" + id + "/sing", "", 404, "not_found", ""},
	} {
		status, body := operate(admin, c.method, c.path, c.body)
		var e struct {
			Error struct{ Code, Param, Message string }
		}
		must(t, json.Unmarshal([]byte(body), &e))
		if status != c.status || e.Error.Code != c.code || e.Error.Param != c.param || e.Error.Message == "" {
			t.Errorf("%s %s %.80s answered %d %s", c.method, c.path, c.body, status, body)
		}
	}
	admin = account.NewKeyAdmin(account.KeyAdminConfig{Keys: account.NewKeys(noBook{r.ledger}, nil, nil, r.cfg.Log)})
	if status, body := operate(admin, "POST", "", `{"account":"org-1"}`); status != 503 || !strings.Contains(body, "service_unavailable") {
		t.Errorf("without a ledger: %d %s", status, body)
	}
}

// noBook is a ledger that takes no key.
type noBook struct{ *ledger.Ledger }

func (noBook) AddKey(context.Context, ledger.APIKey) (ledger.APIKey, int64, error) {
	return ledger.APIKey{}, 0, ledger.ErrUnavailable
}

// Only the operator gets in: by the token, or without one from this machine itself.
func TestKeyAdminGuard(t *testing.T) {
	r := newRig(t, sqlitetest.Open(t), services.Redis(t))
	open := account.NewKeyAdmin(account.KeyAdminConfig{Keys: r.keys})
	guarded := account.NewKeyAdmin(account.KeyAdminConfig{Keys: r.keys, Token: "secret"})
	for _, c := range []struct {
		what   string
		h      http.Handler
		header []string
		status int
	}{
		{"this machine", open, nil, 200},
		{"by name", open, []string{"Host", "localhost:9402"}, 200},
		{"another name", open, []string{"Host", "evil.example"}, 403},
		{"through a proxy", open, []string{"X-Forwarded-For", "10.0.0.1"}, 403},
		{"token", guarded, []string{"Authorization", "Bearer secret"}, 200},
		{"no token", guarded, nil, 401},
		{"wrong token", guarded, []string{"Authorization", "Bearer secret2"}, 401},
		{"another scheme", guarded, []string{"Authorization", "Basic secret"}, 401},
	} {
		if status, body := operate(c.h, "GET", "", "", c.header...); status != c.status {
			t.Errorf("%s: %d %s", c.what, status, body)
		}
	}
	req := httptest.NewRequest("GET", "http://127.0.0.1:9402/admin/v1/keys", nil)
	req.RemoteAddr = "192.0.2.1:50000"
	w := httptest.NewRecorder()
	if open.ServeHTTP(w, req); w.Code != 403 {
		t.Errorf("another machine: %d", w.Code)
	}
	req = httptest.NewRequest("POST", "http://127.0.0.1:9402/admin/v1/keys", strings.NewReader(`{"account":"org-1"}`))
	req.RemoteAddr = "127.0.0.1:50000"
	req.Header.Set("Origin", "https://evil.example")
	w = httptest.NewRecorder()
	if open.ServeHTTP(w, req); w.Code != 403 {
		t.Errorf("a page of another site: %d", w.Code)
	}
}
