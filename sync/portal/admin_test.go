package portal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/portal"
	"github.com/hmsovereign/ringfence/sync/portal/portaltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2025, 12, 13, 10, 0, 0, 0, time.UTC)

// world is an admin API over stand-ins.
type world struct {
	t         *testing.T
	book      *portaltest.Book
	directory *portaltest.Directory
	balances  *portaltest.Balances
	completer *portal.Completer
	now       time.Time
	log       bytes.Buffer
	handler   http.Handler
}

func newWorld(t *testing.T, change ...func(*portal.AdminConfig)) *world {
	w := &world{t: t, book: portaltest.NewBook(), directory: portaltest.NewDirectory(), balances: portaltest.NewBalances(), now: start}
	log := slog.New(slog.NewTextHandler(&w.log, nil))
	clock := func() time.Time { return w.now }
	w.completer = portal.NewCompleter(portal.CompleterConfig{Book: w.book, Balances: w.balances, Directory: w.directory, Now: clock, Log: log})
	cfg := portal.AdminConfig{Book: w.book, Mirror: w.directory, Directory: w.directory, Balances: w.balances, Calls: w.balances,
		Killer: w.balances, Completer: w.completer, Now: clock, Log: log}
	for _, c := range change {
		c(&cfg)
	}
	w.handler = portal.NewAdmin(cfg)
	return w
}

// answer is what the API gave.
type answer struct {
	status int
	header http.Header
	text   string
	body   map[string]any
}

// field gives a value out of the body by its path: "balance.available_units", "grants.0.number".
func (a answer) field(path string) any {
	var v any = a.body
	for name := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[name]
		case []any:
			var i int
			if _, err := fmt.Sscan(name, &i); err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func (w *world) request(method, path, body string) *http.Request {
	r := httptest.NewRequest(method, "http://127.0.0.1:9402/admin/v1/"+path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:50000"
	return r
}

func (w *world) send(r *http.Request) answer {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	a := answer{status: rec.Code, header: rec.Header(), text: rec.Body.String()}
	d := json.NewDecoder(strings.NewReader(a.text))
	d.UseNumber()
	if err := d.Decode(&a.body); err != nil {
		w.t.Errorf("%s %s answers %d with no JSON: %q", r.Method, r.URL, rec.Code, a.text)
	}
	return a
}

func (w *world) do(method, path, body string) answer {
	w.t.Helper()
	return w.send(w.request(method, path, body))
}

// must sends a request and wants a status and, in pairs, what fields of the answer print as.
func (w *world) must(method, path, body string, status int, fields ...string) answer {
	w.t.Helper()
	a := w.do(method, path, body)
	if a.status != status {
		w.t.Errorf("%s %s %s answers %d, want %d: %s", method, path, body, a.status, status, a.text)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		if got := fmt.Sprint(a.field(fields[i])); got != fields[i+1] {
			w.t.Errorf("%s %s: %s is %s, want %s: %s", method, path, fields[i], got, fields[i+1], a.text)
		}
	}
	return a
}

// refused sends a request and wants an error envelope.
func (w *world) refused(method, path, body string, status int, code, param, says string) {
	w.t.Helper()
	a := w.must(method, path, body, status, "error.code", code)
	got, _ := a.field("error.param").(string)
	text, _ := a.field("error.message").(string)
	if got != param || !strings.Contains(text, says) || text == "" {
		w.t.Errorf("%s %s %.200s: param %q, message %q; want %q and %q", method, path, body, got, text, param, says)
	}
}

func (w *world) account(id string) {
	w.t.Helper()
	w.must("POST", "accounts", fmt.Sprintf(`{"id":%q,"company_name":"Company %s"}`, id, id), 201)
}

func call(id, account string, state authz.State, held credit.Units) authz.Call {
	c := authz.Call{Key: authz.Key{Switch: "sw1", Direction: authz.Outbound, CallID: id}, Account: account, State: state,
		Held: held, UntilMS: 60_000, CreatedAt: start.UnixMilli(), ExpiresAt: start.Add(4 * time.Minute).UnixMilli(),
		Detail: authz.Detail{From: "+31850835037", To: "+31201234567", NumberID: "n1"}}
	if state == authz.StateLive {
		c.AnsweredAt = start.UnixMilli()
	}
	return c
}

func TestAccountLife(t *testing.T) {
	w := newWorld(t)
	w.must("POST", "accounts", `{"id":"acme","company_name":"Your Company","email":"ops@example.com","language":"nl",
		"time_zone":"Europe/Amsterdam","limits":{"max_calls":10,"spend_per_day":6000000}}`, 201,
		"id", "acme", "company_name", "Your Company", "status", "active", "currency", "EUR", "tariff", "default",
		"time_zone", "Europe/Amsterdam", "limits.max_calls", "10", "limits.spend_per_day", "6000000", "created_at", "2025-12-13T10:00:00Z")
	if b, err := w.balances.Balance(t.Context(), "acme"); err != nil || b.Day != 20251213 {
		t.Errorf("balance %+v, %v", b, err)
	}
	w.refused("POST", "accounts", `{"id":"acme","company_name":"Again"}`, 409, "conflict", "id", "exists")
	w.must("PATCH", "accounts/acme", `{"limits":{"max_seconds":3600},"email":""}`, 200,
		"limits.max_calls", "10", "limits.max_seconds", "3600", "email", "<nil>", "company_name", "Your Company")
	w.must("GET", "accounts/acme", "", 200, "minutes_balance", "0", "balance.available_units", "0", "limits.max_seconds", "3600")

	w.must("POST", "accounts/acme/suspend", "", 200, "status", "suspended")
	if b, _ := w.balances.Balance(t.Context(), "acme"); !b.Suspended {
		t.Error("the balance store does not know of the suspension")
	}
	w.must("POST", "accounts/acme/suspend", "{}", 200, "status", "suspended") // once more
	w.must("POST", "accounts/acme/resume", "", 200, "status", "active")
	if b, _ := w.balances.Balance(t.Context(), "acme"); b.Suspended {
		t.Error("the balance store does not know of the resumption")
	}

	for i := range 4 {
		w.account(fmt.Sprint("b", i))
	}
	w.must("GET", "accounts?limit=3", "", 200, "accounts.0.id", "acme", "accounts.2.id", "b1", "next", "b1")
	w.must("GET", "accounts?limit=3&after=b1", "", 200, "accounts.0.id", "b2", "accounts.1.id", "b3", "next", "<nil>")
	w.refused("GET", "accounts/nobody", "", 404, "not_found", "id", `"nobody"`)
}

func TestNumbers(t *testing.T) {
	w := newWorld(t)
	w.account("acme")
	w.account("beta")
	w.must("POST", "numbers", `{"number":"+31 85 083 5037","account":"acme","name":"Main line"}`, 201,
		"number", "+31850835037", "account", "acme", "name", "Main line", "warnings", "<nil>")
	w.refused("POST", "numbers", `{"number":"+31850835037","account":"beta"}`, 409, "conflict", "number", `"acme"`)
	w.refused("POST", "numbers", `{"number":"+31850835037","account":"acme"}`, 409, "conflict", "number", `"acme"`)
	w.refused("POST", "numbers", `{"number":"+31850835038","account":"nobody"}`, 404, "not_found", "account", `"nobody"`)
	w.must("POST", "numbers", `{"number":"+15551234567","account":"beta"}`, 201,
		"warnings.0", "+15551234567 lies in no range that is known to be in use: check its digits")
	w.must("GET", "numbers", "", 200, "numbers.0.number", "+15551234567", "numbers.1.account", "acme")
	w.must("GET", "numbers?account=beta&limit=1", "", 200, "numbers.0.account", "beta", "next", "<nil>")
	w.must("GET", "numbers?limit=1", "", 200, "next", "+15551234567")
	w.refused("GET", "numbers?account=nobody", "", 404, "not_found", "account", "")
	w.must("GET", "accounts/acme", "", 200, "active_numbers", "1")
	w.must("DELETE", "numbers/+31850835037", "", 200, "account", "acme", "killed", "<nil>")
	w.refused("DELETE", "numbers/+31850835037", "", 404, "not_found", "number", "+31850835037")
	if strings.Contains(w.log.String(), "835037") {
		t.Errorf("a number is in the log in full:\n%s", &w.log)
	}
}

func TestTariffs(t *testing.T) {
	w := newWorld(t)
	const half = "id: half\nrates: [{credits_per_minute: 0.5}]\n"
	w.must("PUT", "tariffs", half, 200, "id", "half", "version", "1", "currency", "EUR", "credit_price", "0.07")
	w.must("PUT", "tariffs", half, 200, "version", "1")
	w.must("PUT", "tariffs", "id: half\nrates: [{credits_per_minute: 0.6}]\n", 200, "version", "2")
	shown := w.must("GET", "tariffs/half", "", 200, "version", "2", "rates.0.units_per_minute", "36000")
	w.must("PUT", "tariffs", shown.text, 200, "version", "2") // what is shown can be put
	w.must("GET", "tariffs", "", 200, "tariffs.0.id", "default", "tariffs.1.id", "half")
	w.refused("GET", "tariffs/none", "", 404, "not_found", "id", "none")
	w.refused("PUT", "tariffs", "id: half\ncurrency: USD\ncredit_price: 0.08\nrates: [{credits_per_minute: 1}]\n", 409, "conflict", "currency", "EUR")

	w.must("PUT", "tariffs", "id: us\ncurrency: USD\ncredit_price: 0.08\nrates: [{credits_per_minute: 1}]\n", 200)
	w.must("POST", "accounts", `{"id":"joe","company_name":"Joe","tariff":"us"}`, 201, "currency", "USD")
	w.account("acme")
	w.must("PATCH", "accounts/acme", `{"tariff":"half"}`, 200, "tariff", "half", "currency", "EUR")
	w.refused("PATCH", "accounts/acme", `{"tariff":"us"}`, 409, "conflict", "tariff", "USD")
	w.refused("PATCH", "accounts/acme", `{"tariff":"none"}`, 404, "not_found", "tariff", "none")
	a := w.must("PUT", "tariffs", "id: two words\nrate: 1\nrates: [{credits_per_minute: -1}, {}]\n", 400, "error.code", "invalid_request")
	if errs, _ := a.field("error.errors").([]any); len(errs) < 3 || !strings.Contains(a.text, "rates[0].credits_per_minute") {
		t.Errorf("not everything that is wrong with a tariff is reported: %s", a.text)
	}
}

func TestCredit(t *testing.T) {
	w := newWorld(t)
	w.account("acme")
	w.must("POST", "accounts/acme/grants", `{"minutes":500,"reference":"pi:1","kind":"purchase","reason":"by card"}`, 201,
		"grant.number", "1", "grant.units", "30000000", "grant.minutes", "500", "grant.kind", "purchase", "created", "true",
		"applied", "true", "minutes_balance", "500")
	w.must("POST", "accounts/acme/grants", `{"minutes":"500.00","reference":"pi:1","kind":"purchase","reason":"by card"}`, 200,
		"grant.number", "1", "created", "false", "applied", "true", "minutes_balance", "500")
	w.refused("POST", "accounts/acme/grants", `{"minutes":400,"reference":"pi:1","kind":"purchase"}`, 409, "conflict", "reference", "pi:1")
	w.must("POST", "accounts/acme/grants", `{"minutes":-1.4,"reference":"fix-1"}`, 201,
		"grant.units", "-84000", "grant.kind", "adjustment", "minutes_balance", "498.6")
	w.must("POST", "accounts/acme/grants", `{"units":84000,"reference":"fix-2"}`, 201, "minutes_balance", "500")
	w.must("GET", "accounts/acme/credit", "", 200, "account", "acme", "minutes_balance", "500", "balance.granted_units", "30000000",
		"grants.0.number", "1", "grants.2.reference", "fix-2", "next", "<nil>")
	w.must("GET", "accounts/acme/credit?limit=2", "", 200, "grants.1.number", "2", "grants.2", "<nil>", "next", "2")
	w.must("GET", "accounts/acme/credit?limit=2&after=2", "", 200, "grants.0.number", "3")
	w.refused("POST", "accounts/nobody/grants", `{"minutes":1,"reference":"r"}`, 404, "not_found", "id", "nobody")
	w.refused("GET", "accounts/nobody/credit", "", 404, "not_found", "id", "nobody")

	// A live call: 30 s into a hold of 60 s.
	w.balances.AddCall(call("c1", "acme", authz.StateLive, credit.PerCredit))
	w.balances.AddCall(call("c2", "acme", authz.StateHeld, credit.PerCredit))
	w.now = start.Add(30 * time.Second)
	w.must("GET", "accounts/acme/credit", "", 200, "minutes_balance", "499.5", "balance.available_units", "29880000", "balance.held_units", "120000")
	w.must("GET", "accounts/acme", "", 200, "minutes_balance", "499.5", "balance.calls", "2")
}

func TestCalls(t *testing.T) {
	w := newWorld(t)
	w.account("acme")
	w.account("beta")
	odd := call("a/b?c=d&e@host.example;x", "acme", authz.StateLive, 1000)
	w.balances.AddCall(odd)
	inbound := call("shared@host", "beta", authz.StateLive, 1000)
	inbound.Direction = authz.Inbound
	outbound := call("shared@host", "acme", authz.StateHeld, 1000)
	outbound.CreatedAt++
	w.balances.AddCall(inbound)
	w.balances.AddCall(outbound)
	ended := call("ended", "acme", authz.StateSettled, 0)
	ended.AnsweredAt, ended.OverAt, ended.Charged = ended.CreatedAt, ended.CreatedAt+84_000, 84_000
	w.balances.AddCall(ended)
	w.balances.AddCall(authz.Call{Key: authz.Key{Switch: "sw1", Direction: authz.Outbound, CallID: "mark"}, Account: "acme", State: authz.StateMark})
	w.now = start.Add(1500 * time.Millisecond)

	w.must("GET", "calls", "", 200, "calls.2.call", "sw1:outbound:shared@host", "calls.3", "<nil>", "truncated", "<nil>")
	w.must("GET", "calls?limit=2", "", 200, "calls.2", "<nil>", "truncated", "true")
	w.must("GET", "calls?account=beta", "", 200, "calls.0.direction", "inbound", "calls.0.state", "live", "calls.0.talk_seconds", "2",
		"calls.0.cost_units", "2000", "calls.0.from", "+31850835037", "calls.1", "<nil>")
	w.refused("GET", "calls?account=nobody", "", 404, "not_found", "account", "nobody")

	show := func(text string) string { return "calls/show?call=" + url.QueryEscape(text) }
	w.must("GET", show(odd.CallID), "", 200, "call_id", odd.CallID, "account", "acme")
	w.must("GET", show(odd.Key.String()), "", 200, "call_id", odd.CallID)
	w.refused("GET", show("shared@host"), "", 409, "conflict", "call", "sw1:inbound:shared@host of account beta, sw1:outbound:shared@host of account acme")
	w.must("GET", show("sw1:inbound:shared@host"), "", 200, "account", "beta")
	w.must("GET", show("shared@host")+"&account=acme", "", 200, "direction", "outbound")
	uid := w.must("GET", show(odd.CallID), "", 200).field("call_uid").(string)
	w.must("GET", show(uid), "", 200, "call_id", odd.CallID)
	w.refused("GET", show("ended"), "", 404, "not_found", "call", "with their account")
	w.must("GET", show("ended")+"&account=acme", "", 200, "state", "settled", "talk_seconds", "84", "cost_units", "84000")
	w.refused("GET", show("mark")+"&account=acme", "", 404, "not_found", "call", "no call")
	w.refused("GET", show("sw1:outbound:mark"), "", 404, "not_found", "call", "")
	w.refused("GET", "calls/show", "", 400, "missing_field", "call", "")

	w.must("POST", "calls/kill", `{"call":"sw1:outbound:shared@host"}`, 202, "flags.0", "killed")
	w.refused("POST", "calls/kill", `{"call":"ended","account":"acme"}`, 409, "conflict", "call", "ended")
	w.refused("POST", "calls/kill", `{"call":"nothing"}`, 404, "not_found", "call", "nothing")
	w.refused("POST", "calls/kill", `{}`, 400, "missing_field", "call", "")

	a := w.must("POST", "accounts/acme/suspend", `{"kill":true}`, 200, "status", "suspended")
	if fmt.Sprint(a.field("killed")) != "[sw1:outbound:"+odd.CallID+" sw1:outbound:shared@host]" {
		t.Errorf("killed %v", a.field("killed"))
	}
}

// owner has calls in memory which the index does not name yet.
type owner []authz.Call

func (o owner) Calls() []authz.Call { return o }

// unindexed is a store whose index is behind.
type unindexed struct{ *portaltest.Balances }

func (unindexed) ScanIndex(context.Context, int, func(authz.Indexed) error) error { return nil }
func (unindexed) Find(context.Context, authz.Key) (string, error)                 { return "", authz.ErrUnknownCall }

func TestOwnCallsAreFoundAtOnce(t *testing.T) {
	w := newWorld(t, func(c *portal.AdminConfig) {
		store := c.Killer.(*portaltest.Balances)
		fresh, gone := call("fresh", "acme", authz.StateHeld, 1), call("gone", "acme", authz.StateLive, 1)
		fresh.UID = uuid.New()
		store.AddCall(fresh)
		c.Calls = unindexed{store}
		c.Killer = struct {
			portal.Killer
			portal.Owner
		}{store, owner{fresh, gone}}
	})
	w.account("acme")
	uid := w.must("GET", "calls", "", 200, "calls.0.call_id", "fresh", "calls.1", "<nil>").field("calls.0.call_uid").(string)
	for _, text := range []string{"fresh", "sw1:outbound:fresh", uid} {
		w.must("GET", "calls/show?call="+text, "", 200, "call_id", "fresh")
	}
	w.refused("GET", "calls/show?call=gone", "", 404, "not_found", "call", "gone")
}

func TestRemoveNumberKills(t *testing.T) {
	w := newWorld(t)
	w.account("acme")
	id := w.must("POST", "numbers", `{"number":"+31850835037","account":"acme"}`, 201).field("id").(string)
	on, off := call("on", "acme", authz.StateLive, 1), call("off", "acme", authz.StateLive, 1)
	on.Detail.NumberID = id
	w.balances.AddCall(on)
	w.balances.AddCall(off)
	w.must("DELETE", "numbers/+31850835037", `{"kill":true}`, 200, "killed.0", "sw1:outbound:on", "killed.1", "<nil>")
}

func TestOrphans(t *testing.T) {
	e := authz.Event{Type: authz.EventEnded, Key: authz.Key{Switch: "sw1", Direction: authz.Inbound, CallID: "x"}, To: "+31850835037",
		ReceivedAt: start.UnixMilli(), Cause: "16"}
	w := newWorld(t, func(c *portal.AdminConfig) { c.Orphans = func() []authz.Event { return []authz.Event{e} } })
	w.must("GET", "orphans", "", 200, "orphans.0.call", "sw1:inbound:x", "orphans.0.to", "+31850835037", "orphans.0.received_at", "2025-12-13T10:00:00Z")
	newWorld(t).must("GET", "orphans", "", 200, "orphans", "[]")
}

func TestBadInput(t *testing.T) {
	w := newWorld(t)
	w.account("acme")
	for _, c := range []struct{ method, path, body, code, param, says string }{
		{"POST", "accounts", ``, "invalid_request", "", "JSON object"},
		{"POST", "accounts", `[]`, "invalid_request", "", "JSON object"},
		{"POST", "accounts", `{"id":"x"`, "invalid_request", "", "breaks off"},
		{"POST", "accounts", `{"id":}`, "invalid_request", "id", "not JSON"},
		{"POST", "accounts", `{"id":"x","company_name":"X"} {}`, "invalid_request", "", "follows"},
		{"POST", "accounts", "{\"id\":\"\xff\"}", "invalid_request", "", "UTF-8"},
		{"POST", "accounts", `{"id":"x","company_name":"X","credits":5}`, "invalid_request", "credits", "not a known field"},
		{"POST", "accounts", `{"ID":"x","company_name":"X"}`, "invalid_request", "ID", "not a known field"},
		{"POST", "accounts", `{"id":"x","id":"y","company_name":"X"}`, "invalid_request", "id", "twice"},
		{"POST", "accounts", `{"id":"x","company_name":"X","parent":"acme"}`, "invalid_request", "parent", "do not exist yet"},
		{"PATCH", "accounts/acme", `{"parent":"acme"}`, "invalid_request", "parent", "do not exist yet"},
		{"POST", "accounts", `{"company_name":"X"}`, "missing_field", "id", "required"},
		{"POST", "accounts", `{"id":"x"}`, "missing_field", "company_name", "required"},
		{"POST", "accounts", `{"id":"a:b","company_name":"X"}`, "invalid_request", "id", "not an id"},
		{"POST", "accounts", `{"id":"` + strings.Repeat("a", 65) + `","company_name":"X"}`, "invalid_request", "id", "not an id"},
		{"POST", "accounts", `{"id":5,"company_name":"X"}`, "invalid_request", "id", "must be a text"},
		{"POST", "accounts", `{"id":null,"company_name":"X"}`, "invalid_request", "id", "must not be null"},
		{"POST", "accounts", `{"id":"x","company_name":"a\u0007b"}`, "invalid_request", "company_name", "control"},
		{"POST", "accounts", `{"id":"x","company_name":" X"}`, "invalid_request", "company_name", "space"},
		{"POST", "accounts", `{"id":"x","company_name":"` + strings.Repeat("é", 201) + `"}`, "invalid_request", "company_name", "longer"},
		{"POST", "accounts", `{"id":"x","company_name":"X","email":"a b"}`, "invalid_request", "email", "e-mail"},
		{"POST", "accounts", `{"id":"x","company_name":"X","email":"Joe <joe@example.com>"}`, "invalid_request", "email", "e-mail"},
		{"POST", "accounts", `{"id":"x","company_name":"X","language":"Dutch"}`, "invalid_request", "language", "language code"},
		{"POST", "accounts", `{"id":"x","company_name":"X","time_zone":"Mars/Olympus"}`, "invalid_request", "time_zone", "IANA"},
		{"POST", "accounts", `{"id":"x","company_name":"X","time_zone":"Local"}`, "invalid_request", "time_zone", "IANA"},
		{"POST", "accounts", `{"id":"x","company_name":"X","time_zone":"../../etc/passwd"}`, "invalid_request", "time_zone", "IANA"},
		{"POST", "accounts", `{"id":"x","company_name":"X","tariff":"a b"}`, "invalid_request", "tariff", "not an id"},
		{"POST", "accounts", `{"id":"x","company_name":"X","limits":5}`, "invalid_request", "limits", "JSON object"},
		{"POST", "accounts", `{"id":"x","company_name":"X","limits":{"max_call":5}}`, "invalid_request", "limits.max_call", "max_calls"},
		{"POST", "accounts", `{"id":"x","company_name":"X","limits":{"max_calls":-1}}`, "invalid_request", "limits.max_calls", "-1"},
		{"POST", "accounts", `{"id":"x","company_name":"X","limits":{"max_calls":1.5}}`, "invalid_request", "limits.max_calls", "whole number"},
		{"POST", "accounts", `{"id":"x","company_name":"X","limits":{"max_seconds":99999999}}`, "invalid_request", "limits.max_seconds", "2147483"},
		{"POST", "accounts", `{"id":"x","company_name":"X","limits":{"spend_per_day":99999999999999999999}}`, "invalid_request", "limits.spend_per_day", "whole"},
		{"PATCH", "accounts/acme", `{"status":"suspended"}`, "invalid_request", "status", "suspend"},
		{"PATCH", "accounts/acme", `{"id":"other"}`, "invalid_request", "id", "changed"},
		{"PATCH", "accounts/acme", `{"company_name":""}`, "missing_field", "company_name", ""},
		{"PATCH", "accounts/a%20b", `{}`, "invalid_request", "id", "not an id"},
		{"GET", "accounts?limit=0", "", "invalid_request", "limit", "1 to 1000"},
		{"GET", "accounts?limit=1001", "", "invalid_request", "limit", "1 to 1000"},
		{"GET", "accounts?limit=x", "", "invalid_request", "limit", "1 to 1000"},
		{"GET", "accounts?limit=1&limit=2", "", "invalid_request", "limit", "twice"},
		{"GET", "accounts?page=2", "", "invalid_request", "page", "not a known parameter"},
		{"GET", "accounts?after=%zz", "", "invalid_request", "", "cannot be read"},
		{"GET", "accounts?after=%ff", "", "invalid_request", "after", "UTF-8"},
		{"GET", "orphans?x=1", "", "invalid_request", "x", "there are none here"},
		{"POST", "accounts/acme/suspend", `{"kill":"yes"}`, "invalid_request", "kill", "true or false"},
		{"POST", "accounts/acme/resume", `{"kill":true}`, "invalid_request", "kill", "not a known field"},
		{"POST", "numbers", `{"account":"acme"}`, "missing_field", "number", ""},
		{"POST", "numbers", `{"number":"0850835037","account":"acme"}`, "invalid_request", "number", "country code"},
		{"POST", "numbers", `{"number":"+31","account":"acme"}`, "invalid_request", "number", "not a phone number"},
		{"POST", "numbers", `{"number":"+3185","account":"acme"}`, "invalid_request", "number", "too short"},
		{"POST", "numbers", `{"number":"+31850835037123456","account":"acme"}`, "invalid_request", "number", "too long"},
		{"POST", "numbers", `{"number":"+31 (0)85 083 5037","account":"acme"}`, "invalid_request", "number", "did you mean +31850835037"},
		{"POST", "numbers", `{"number":"+999123456789","account":"acme"}`, "invalid_request", "number", "not a phone number"},
		{"POST", "numbers", `{"number":"+31850835037;ext=5","account":"acme"}`, "invalid_request", "number", "international"},
		{"POST", "numbers", `{"number":"+٣١٨٥٠٨٣٥٠٣٧","account":"acme"}`, "invalid_request", "number", "did you mean"},
		{"DELETE", "numbers/none", "", "invalid_request", "number", "country code"},
		{"POST", "accounts/acme/grants", `{"minutes":5}`, "missing_field", "reference", ""},
		{"POST", "accounts/acme/grants", `{"reference":"r"}`, "missing_field", "minutes", ""},
		{"POST", "accounts/acme/grants", `{"minutes":0,"reference":"r"}`, "invalid_request", "minutes", "not be 0"},
		{"POST", "accounts/acme/grants", `{"minutes":1e3,"reference":"r"}`, "invalid_request", "minutes", "exponents"},
		{"POST", "accounts/acme/grants", `{"minutes":"1,5","reference":"r"}`, "invalid_request", "minutes", "point before decimals"},
		{"POST", "accounts/acme/grants", `{"minutes":true,"reference":"r"}`, "invalid_request", "minutes", "must be a number"},
		{"POST", "accounts/acme/grants", `{"minutes":[1],"reference":"r"}`, "invalid_request", "minutes", "must be a number"},
		{"POST", "accounts/acme/grants", `{"minutes":0.00001,"reference":"r"}`, "invalid_request", "minutes", "falls between"},
		{"POST", "accounts/acme/grants", `{"minutes":99999999999999999999,"reference":"r"}`, "invalid_request", "minutes", "out of range"},
		{"POST", "accounts/acme/grants", `{"minutes":100000001,"reference":"r"}`, "invalid_request", "minutes", "in one grant"},
		{"POST", "accounts/acme/grants", `{"minutes":5,"units":5,"reference":"r"}`, "invalid_request", "units", "one of them"},
		{"POST", "accounts/acme/grants", `{"units":0.5,"reference":"r"}`, "invalid_request", "units", "whole number"},
		{"POST", "accounts/acme/grants", `{"units":0,"reference":"r"}`, "invalid_request", "units", "not be 0"},
		{"POST", "accounts/acme/grants", `{"minutes":5,"reference":"r","kind":"gift"}`, "invalid_request", "kind", "purchase"},
		{"POST", "accounts/acme/grants", `{"minutes":5,"reference":"a\nb"}`, "invalid_request", "reference", "control"},
		{"POST", "accounts/acme/grants", `{"minutes":5,"reference":"r","reason":"` + strings.Repeat("x", 501) + `"}`, "invalid_request", "reason", "longer"},
		{"POST", "accounts/acme/grants?dry=1", `{"minutes":5,"reference":"r"}`, "invalid_request", "dry", ""},
		{"PUT", "tariffs", "\t", "invalid_request", "", ""},
		{"PUT", "tariffs", "", "invalid_request", "", ""},
		{"GET", "tariffs/a%2Fb", "", "invalid_request", "id", ""},
		{"GET", "calls?limit=10001", "", "invalid_request", "limit", ""},
	} {
		w.refused(c.method, c.path, c.body, 400, c.code, c.param, c.says)
	}
	a := w.do("POST", "accounts", `{"company_name":"","email":"x","limits":{"max_calls":-1},"colour":"red"}`)
	if !strings.Contains(a.text, "colour") {
		t.Errorf("unknown fields come first: %s", a.text)
	}
	a = w.do("POST", "accounts", `{"company_name":"","email":"x","limits":{"max_calls":-1}}`)
	errs, _ := a.field("error.errors").([]any)
	if len(errs) != 4 || !strings.Contains(a.text, `"param":"limits.max_calls"`) {
		t.Errorf("all four errors must be there: %s", a.text)
	}
	if page := w.must("GET", "accounts", "", 200); len(page.body["accounts"].([]any)) != 1 {
		t.Errorf("bad input has left something behind: %s", page.text)
	}
	w.refused("GET", "nothing", "", 404, "not_found", "", "nothing")
	w.refused("DELETE", "accounts", "", 405, "method_not_allowed", "", "GET, POST")
	if allow := w.do("DELETE", "accounts", "").header.Get("Allow"); allow != "GET, POST" {
		t.Errorf("Allow: %s", allow)
	}
	w.refused("POST", "accounts", `{"id":"`+strings.Repeat("x", 70_000)+`"}`, 413, "too_large", "", "65536 bytes")
	w.refused("PUT", "tariffs", strings.Repeat("#", 17<<20), 413, "too_large", "", "")
}

func TestDirectoryNotReady(t *testing.T) {
	w := newWorld(t)
	w.directory.SetReady(false)
	for _, path := range []string{"accounts", "numbers", "tariffs"} {
		w.refused("GET", path, "", 503, "service_unavailable", "", "not loaded")
	}
	w.account("acme") // the first account of all
}

func TestDeadline(t *testing.T) {
	w := newWorld(t, func(c *portal.AdminConfig) { c.Timeout = time.Nanosecond })
	w.refused("POST", "accounts", `{"id":"x","company_name":"X"}`, 503, "service_unavailable", "", "did not answer")
}

func TestGuard(t *testing.T) {
	open := newWorld(t)
	locked := newWorld(t, func(c *portal.AdminConfig) { c.Token = "s3cret" })
	for _, c := range []struct {
		name   string
		w      *world
		change func(*http.Request)
		status int
		says   string
	}{
		{"loopback", open, func(*http.Request) {}, 200, ""},
		{"IPv6 loopback", open, func(r *http.Request) { r.RemoteAddr, r.Host = "[::1]:1", "[::1]:9402" }, 200, ""},
		{"localhost", open, func(r *http.Request) { r.Host = "localhost:9402" }, 200, ""},
		{"another machine", open, func(r *http.Request) { r.RemoteAddr = "192.0.2.1:5" }, 403, "RINGFENCE_ADMIN_TOKEN"},
		{"no address", open, func(r *http.Request) { r.RemoteAddr = "@" }, 403, "RINGFENCE_ADMIN_TOKEN"},
		{"a name made to resolve to this machine", open, func(r *http.Request) { r.Host = "evil.example:9402" }, 403, "Host"},
		{"through a proxy", open, func(r *http.Request) { r.Header.Set("X-Forwarded-For", "192.0.2.1") }, 403, "proxy"},
		{"from a page of another site", open, func(r *http.Request) {
			r.Method = "POST"
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		}, 403, "another site"},
		{"no token", locked, func(*http.Request) {}, 401, "RINGFENCE_ADMIN_TOKEN"},
		{"another scheme", locked, func(r *http.Request) { r.SetBasicAuth("admin", "s3cret") }, 401, "Bearer"},
		{"wrong token", locked, func(r *http.Request) { r.Header.Set("Authorization", "Bearer s3cre") }, 401, "wrong"},
		{"token", locked, func(r *http.Request) { r.Header.Set("Authorization", "Bearer s3cret") }, 200, ""},
		{"token from anywhere", locked, func(r *http.Request) {
			r.RemoteAddr, r.Host = "192.0.2.1:5", "ops.example"
			r.Header.Set("Authorization", "bearer s3cret")
		}, 200, ""},
	} {
		r := c.w.request("GET", "accounts", "")
		c.change(r)
		a := c.w.send(r)
		text, _ := a.field("error.message").(string)
		if a.status != c.status || !strings.Contains(text, c.says) {
			t.Errorf("%s: %d %s, want %d and %q", c.name, a.status, a.text, c.status, c.says)
		}
		if a.status == 401 && a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: no WWW-Authenticate", c.name)
		}
	}
	if strings.Contains(locked.log.String(), "s3cre") {
		t.Errorf("the token is in the log:\n%s", &locked.log)
	}
	// What does not exist is told to nobody who may not ask.
	r := locked.request("GET", "nothing", "")
	if a := locked.send(r); a.status != 401 {
		t.Errorf("%d", a.status)
	}
}

func TestRealServer(t *testing.T) {
	w := newWorld(t)
	s := httptest.NewServer(w.handler)
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "POST", s.URL+"/admin/v1/accounts", strings.NewReader(`{"id":"acme","company_name":"Acme"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 201 || resp.Header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("%d %s, %v", resp.StatusCode, b, err)
	}
}
