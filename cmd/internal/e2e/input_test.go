package e2e

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
)

// Bad input gets its own code, never a 500, and never leaves a hold behind.
func TestBadInput(t *testing.T) {
	t.Parallel()
	d := deploy(t, nil)
	s := d.sidecar("only")
	s.listening()
	a, other := d.open("acme", 10*minute, s), d.open("other", 10*minute, s)
	held := d.open("suspended", 10*minute, s)
	s.admin(http.MethodPost, "accounts/suspended/suspend", nil)
	one := d.open("one-at-a-time", 10*minute, s)
	s.admin(http.MethodPatch, "accounts/one-at-a-time", map[string]any{"limits": map[string]any{"max_calls": 1, "spend_per_day": second / 2}})

	const bad, missing = "invalid_request", "missing_field"
	ask := func(changes map[string]any) map[string]any {
		m := d.out(a, "bad").fields(nil)
		maps.Copy(m, changes)
		return m
	}
	tell := func(changes map[string]any) map[string]any {
		m := ask(map[string]any{"type": "ended", "answered_at": nil})
		maps.Copy(m, changes)
		return m
	}
	without := func(m map[string]any, name string) map[string]any {
		delete(m, name)
		return m
	}
	raw := func(text string) []byte { return []byte(text) }
	past := time.Now().Add(-2 * time.Minute).Format(time.RFC3339)
	for name, c := range map[string]struct {
		path   string
		body   any
		status int
		code   string
		param  string
	}{
		"nothing":             {"authorize", raw(""), 400, bad, ""},
		"no JSON":             {"authorize", raw("call_id=1"), 400, bad, ""},
		"half a body":         {"authorize", raw(`{"call_id":"x",`), 400, bad, ""},
		"two bodies":          {"authorize", raw(`{}{}`), 400, bad, ""},
		"a list":              {"authorize", raw(`[]`), 400, bad, ""},
		"null":                {"authorize", raw(`null`), 400, bad, ""},
		"not UTF-8":           {"authorize", raw("{\"call_id\":\"\xff\",\"direction\":\"outbound\",\"from\":\"1\",\"to\":\"2\"}"), 400, bad, ""},
		"half a surrogate":    {"authorize", raw(`{"call_id":"\ud800","direction":"outbound","from":"1","to":"2"}`), 400, bad, "call_id"},
		"deep nesting":        {"authorize", raw(`{"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`), 400, bad, ""},
		"too large":           {"authorize", raw(`{"x":"` + strings.Repeat("x", 70000) + `"}`), 413, bad, ""},
		"no call_id":          {"authorize", without(ask(nil), "call_id"), 400, missing, "call_id"},
		"empty call_id":       {"authorize", ask(map[string]any{"call_id": ""}), 400, missing, "call_id"},
		"call_id a number":    {"authorize", ask(map[string]any{"call_id": 7}), 400, bad, "call_id"},
		"call_id with a tab":  {"authorize", ask(map[string]any{"call_id": "a\tb"}), 400, bad, "call_id"},
		"call_id with a NUL":  {"authorize", ask(map[string]any{"call_id": "a\x00b"}), 400, bad, "call_id"},
		"call_id too long":    {"authorize", ask(map[string]any{"call_id": strings.Repeat("x", 129)}), 400, bad, "call_id"},
		"no direction":        {"authorize", without(ask(nil), "direction"), 400, missing, "direction"},
		"direction up":        {"authorize", ask(map[string]any{"direction": "up"}), 400, bad, "direction"},
		"no from":             {"authorize", without(ask(nil), "from"), 400, missing, "from"},
		"from a list":         {"authorize", ask(map[string]any{"from": []string{"a"}}), 400, bad, "from"},
		"no to":               {"authorize", without(ask(nil), "to"), 400, missing, "to"},
		"to too long":         {"authorize", ask(map[string]any{"to": strings.Repeat("1", 129)}), 400, bad, "to"},
		"switch with a colon": {"authorize", ask(map[string]any{"switch": "a:b"}), 400, bad, "switch"},
		"at no time":          {"authorize", ask(map[string]any{"at": "yesterday"}), 400, bad, "at"},
		"at an object":        {"authorize", ask(map[string]any{"at": map[string]any{}}), 400, bad, "at"},
		"at long ago":         {"authorize", ask(map[string]any{"at": past}), 400, bad, "at"},
		"unknown account":     {"authorize", ask(map[string]any{"account": "nobody"}), 404, "account_not_found", "account"},
		"unknown number":      {"authorize", ask(map[string]any{"from": "+31850000000"}), 404, "account_not_found", "from"},
		"number of nobody":    {"authorize", ask(map[string]any{"direction": "inbound", "to": "+31850000000"}), 404, "account_not_found", "to"},
		"somebody else's":     {"authorize", ask(map[string]any{"direction": "inbound", "to": other.number, "account": a.id}), 400, bad, "account"},
		"suspended":           {"authorize", ask(map[string]any{"from": held.number}), 403, "account_suspended", ""},
		"spend limit":         {"authorize", ask(map[string]any{"from": one.number, "call_id": "spend"}), 402, "spend_limit_reached", ""},
		"a quote without to":  {"quote", without(ask(nil), "to"), 400, missing, "to"},
		"a quote of nobody":   {"quote", ask(map[string]any{"account": "nobody"}), 404, "account_not_found", "account"},

		"event of no type":             {"events", without(tell(nil), "type"), 400, missing, "type"},
		"event of another type":        {"events", tell(map[string]any{"type": "paused"}), 400, bad, "type"},
		"event without call_id":        {"events", without(tell(nil), "call_id"), 400, missing, "call_id"},
		"event with direction up":      {"events", tell(map[string]any{"direction": "up"}), 400, bad, "direction"},
		"ended_at of another century":  {"events", tell(map[string]any{"ended_at": "1925-01-01T00:00:00Z"}), 400, bad, "ended_at"},
		"ended_at not finite":          {"events", raw(`{"type":"ended","call_id":"x","ended_at":1e999}`), 400, bad, "ended_at"},
		"answered_at null in answered": {"events", tell(map[string]any{"type": "answered"}), 400, bad, "answered_at"},
		"cause an object":              {"events", tell(map[string]any{"cause": map[string]any{}}), 400, bad, "cause"},
		"extra_cost negative":          {"events", tell(map[string]any{"extra_cost": map[string]any{"amount_micros": -1, "currency": "EUR"}}), 400, bad, "extra_cost.amount_micros"},
		"extra_cost too much":          {"events", tell(map[string]any{"extra_cost": map[string]any{"amount_micros": 1 << 60, "currency": "EUR"}}), 400, bad, "extra_cost.amount_micros"},
		"extra_cost with a fraction":   {"events", tell(map[string]any{"extra_cost": map[string]any{"amount_micros": 0.5, "currency": "EUR"}}), 400, bad, "extra_cost.amount_micros"},
		"extra_cost of no currency":    {"events", tell(map[string]any{"extra_cost": map[string]any{"amount_micros": 1}}), 400, missing, "extra_cost.currency"},

		"no such hook": {"nothing", ask(nil), 404, "not_found", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.post("/v1/"+c.path, c.body)
			e, _ := got.body["error"].(map[string]any)
			param, _ := e["param"].(string)
			if got.status != c.status || got.code() != c.code || c.param != "" && param != c.param {
				t.Errorf("%v, want %d %s %s", got, c.status, c.code, c.param)
			}
			if message, _ := e["message"].(string); message == "" {
				t.Errorf("no message: %v", got)
			}
		})
	}
	if get, err := s.send(http.MethodGet, s.hook+"/v1/authorize", nil); err != nil || get.status != http.StatusMethodNotAllowed {
		t.Errorf("GET of a hook: %v %v", get, err)
	}

	// Whatever else is wrong, an emergency call goes.
	for _, body := range []any{raw(`{"to":"112"}`), raw(`{"to":"112","call_id":7,"direction":"up","from":[]}`),
		raw("{\"to\":\"911\",\"call_id\":\"\xff\"}"), ask(map[string]any{"to": "112", "account": "nobody", "at": "yesterday"})} {
		if got := s.post("/v1/authorize", body); got.status != http.StatusOK || got.text("policy") != "emergency" {
			t.Errorf("emergency call %s: %v", body, got)
		}
	}

	// Nothing is held, charged or on record but what was rejected by name.
	for _, x := range []account{a, other, held, one} {
		for key, r := range d.books(s, x) {
			if r.State != authz.StateRejected || r.Charged() != 0 {
				t.Errorf("%s is on record as %+v", key, r)
			}
		}
		if b := d.conserved(s, x); b.Available != 10*minute || b.Held != 0 {
			t.Errorf("%s has %+v left of 10 minutes", x.id, b)
		}
	}
}
