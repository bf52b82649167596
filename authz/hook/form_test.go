package hook_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/hook"
)

func errorJSON(code, message, param string) string {
	if param == "" {
		return fmt.Sprintf(`{"error":{"code":%q,"message":%s}}`, code, jsonText(message))
	}
	return fmt.Sprintf(`{"error":{"code":%q,"message":%s,"param":%q}}`, code, jsonText(message), param)
}

func jsonText(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }

// with replaces one field of a good authorize; without drops it.
func with(field, value string) string {
	fields := map[string]string{"call_id": `"c1"`, "direction": `"inbound"`, "from": `"+4915112345678"`, "to": `"+31850835037"`}
	fields[field] = value
	var b strings.Builder
	for _, name := range []string{"call_id", "direction", "from", "to", "account", "mode", "switch", "at", "note"} {
		if v := fields[name]; v != "" {
			fmt.Fprintf(&b, `,%q:%s`, name, v)
		}
	}
	return "{" + b.String()[1:] + "}"
}

func without(field string) string { return with(field, "") }

func TestAuthorizeRefusesBadForm(t *testing.T) {
	const (
		invalid   = "invalid_request"
		missing   = "missing_field"
		stampText = " must be an RFC 3339 time (2025-12-13T10:00:00.000Z) or plain decimal Unix seconds (1765620000.123)."
	)
	long := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
	for _, c := range []struct {
		name, body           string
		code, message, param string
	}{
		{"empty", "", invalid, "The body is empty; a JSON object is wanted.", ""},
		{"blank", " \n", invalid, "The body is empty; a JSON object is wanted.", ""},
		{"array", "[" + outboundBody + "]", invalid, "The body must be a JSON object.", ""},
		{"null", "null", invalid, "The body must be a JSON object.", ""},
		{"string", `"call"`, invalid, "The body must be a JSON object.", ""},
		{"form", "call_id=1&to=112", invalid, "The body must be a JSON object.", ""},
		{"cut off", `{"call_id":"c1","direction":`, invalid, "The body is not valid JSON: it ends too early.", ""},
		{"cut off in a string", `{"call_id":"c1`, invalid, "The body is not valid JSON: it ends too early.", ""},
		{"syntax", `{"call_id":c1}`, invalid, "The body is not valid JSON: invalid character 'c' looking for beginning of value, at byte 12.", ""},
		{"trailing comma", `{"call_id":"c1",}`, invalid, "The body is not valid JSON: invalid character '}' looking for beginning of object key string, at byte 17.", ""},
		{"raw tab in a string", "{\"call_id\":\"a\tb\"}", invalid, `The body is not valid JSON: invalid character '\\t' in string literal, at byte 14.`, ""},
		{"trailing garbage", outboundBody + "\n x", invalid, fmt.Sprintf("The body goes on after its JSON object, at byte %d.", len(outboundBody)+2), ""},
		{"two objects", outboundBody + outboundBody, invalid, fmt.Sprintf("The body goes on after its JSON object, at byte %d.", len(outboundBody)), ""},
		{"not UTF-8", with("from", "\"\xff\""), invalid, "The body is not valid UTF-8.", ""},
		{"not UTF-8 in an unknown field", with("note", "\"\xc3\x28\""), invalid, "The body is not valid UTF-8.", ""},
		{"half a surrogate pair", with("call_id", `"\ud800"`), invalid, "call_id holds U+FFFD, which is not a printable character.", "call_id"},
		{"too deep", `{"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "}", invalid, "The body is not valid JSON: invalid character '[' exceeded max depth, at byte 10005.", ""},

		{"call_id type", with("call_id", "5"), invalid, "call_id must be a string, not number.", "call_id"},
		{"direction type", with("direction", "true"), invalid, "direction must be a string, not bool.", "direction"},
		{"from type", with("from", "{}"), invalid, "from must be a string, not object.", "from"},
		{"to type", with("to", "31850835037"), invalid, "to must be a string, not number.", "to"},
		{"account type", with("account", "[]"), invalid, "account must be a string, not array.", "account"},
		{"type beside an unknown field", `{"note":1,` + with("mode", "1")[1:], invalid, "mode must be a string, not number.", "mode"},

		{"no call_id", without("call_id"), missing, "call_id is missing.", "call_id"},
		{"null call_id", with("call_id", "null"), missing, "call_id is missing.", "call_id"},
		{"empty call_id", with("call_id", `""`), missing, "call_id is missing.", "call_id"},
		{"no direction", without("direction"), missing, "direction is missing.", "direction"},
		{"no from", without("from"), missing, "from is missing.", "from"},
		{"no to", without("to"), missing, "to is missing.", "to"},
		{"empty to", with("to", `""`), missing, "to is missing.", "to"},
		{"outbound from nobody", `{"call_id":"c1","direction":"outbound","from":"","to":"+31850835037"}`, missing, "from is missing.", "from"},

		{"direction", with("direction", `"in"`), invalid, `direction must be "inbound" or "outbound".`, "direction"},
		{"direction case", with("direction", `"Inbound"`), invalid, `direction must be "inbound" or "outbound".`, "direction"},
		{"long call_id", with("call_id", long(129)), invalid, "call_id is longer than 128 bytes.", "call_id"},
		{"control in call_id", with("call_id", `"a\u0000b"`), invalid, "call_id holds U+0000, which is not a printable character.", "call_id"},
		{"invisible in call_id", with("call_id", `"a\u200bb"`), invalid, "call_id holds U+200B, which is not a printable character.", "call_id"},
		{"delete in call_id", with("call_id", `"a\u007f"`), invalid, "call_id holds U+007F, which is not a printable character.", "call_id"},
		{"tab in from", with("from", `"+31\t85"`), invalid, "from holds U+0009, which is not a printable character.", "from"},
		{"newline in to", with("to", `"+31\n85"`), invalid, "to holds U+000A, which is not a printable character.", "to"},
		{"long from", with("from", long(129)), invalid, "from is longer than 128 bytes.", "from"},
		{"long to", with("to", long(129)), invalid, "to is longer than 128 bytes.", "to"},
		{"long account", with("account", long(129)), invalid, "account is longer than 128 bytes.", "account"},
		{"tab in account", with("account", `"a\tb"`), invalid, "account holds U+0009, which is not a printable character.", "account"},
		{"long mode", with("mode", long(65)), invalid, "mode is longer than 64 bytes.", "mode"},
		{"switch with a colon", with("switch", `"a:b"`), invalid, "switch must be 1 to 64 letters, digits, points, underscores or hyphens.", "switch"},
		{"long switch", with("switch", long(65)), invalid, "switch must be 1 to 64 letters, digits, points, underscores or hyphens.", "switch"},

		{"at type", with("at", "true"), invalid, "at must be an RFC 3339 string, or Unix seconds as a number or numeric string.", "at"},
		{"at text", with("at", `"yesterday"`), invalid, "at" + stampText, "at"},
		{"at without zone", with("at", `"2025-12-13T12:00:00"`), invalid, "at" + stampText, "at"},
		{"at in milliseconds", with("at", "1765627200000"), invalid, "at is after the year 2100; it must be in seconds, and this looks like milliseconds or microseconds.", "at"},
		{"at exponent", with("at", "1.7656272e9"), invalid, "at must be written without an exponent, which loses milliseconds.", "at"},
		{"at zero", with("at", "0"), invalid, "at is before the year 2000 or after 2100.", "at"},
		{"at old", with("at", "1765627138.9"), invalid, "at is 61 s ago; a call is authorized within 60 s (is the switch's clock right?).", "at"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake := &scripted{}
			h := newServer(t, hook.Config{}, fake).Handler()
			for _, path := range []string{"/v1/authorize", "/v1/quote"} {
				status, body := post(h, path, c.body)
				want(t, path, status, body, http.StatusBadRequest, errorJSON(c.code, c.message, c.param))
			}
			if len(fake.asked)+len(fake.quoted) > 0 {
				t.Error("the authorizer was asked")
			}
		})
	}
}

func TestAuthorizeTakes(t *testing.T) {
	key := authz.Key{Switch: "default", Direction: authz.Inbound, CallID: "c1"}
	plain := authz.Request{Key: key, From: "+4915112345678", To: "+31850835037"}
	change := func(f func(*authz.Request)) authz.Request { r := plain; f(&r); return r }
	for _, c := range []struct {
		name, body string
		want       authz.Request
	}{
		{"plain", without("note"), plain},
		{"with space around", "\r\n\t " + without("note") + " \n", plain},
		{"nulls", `{"account":null,"mode":null,"switch":null,"at":null,` + without("note")[1:], plain},
		{"empty texts", `{"account":"","mode":"","switch":"","at":"",` + without("note")[1:], plain},
		{"a field twice: the last", `{"call_id":"c0",` + without("note")[1:], plain},
		{"unknown fields", `{"note":{"a":[1]},"x":null,` + without("note")[1:], plain},
		{"withheld caller", with("from", `""`), change(func(r *authz.Request) { r.From = "" })},
		{"all", `{"account":"org-1","mode":"byok","switch":"kam-1.a_B","at":1765627199.123456,` + without("note")[1:],
			change(func(r *authz.Request) {
				r.Account, r.Mode, r.Switch, r.At = "org-1", "byok", "kam-1.a_B", 1765627199123
			})},
		{"printable call id", with("call_id", `"<a&b>@пример.例 \"\\/😀"`), change(func(r *authz.Request) { r.CallID = `<a&b>@пример.例 "\/😀` })},
		{"escaped pair", with("call_id", `"\ud83d\ude00"`), change(func(r *authz.Request) { r.CallID = "😀" })},
		{"128 bytes", with("call_id", `"`+strings.Repeat("é", 64)+`"`), change(func(r *authz.Request) { r.CallID = strings.Repeat("é", 64) })},
		{"60 s old", with("at", `"2025-12-13T11:59:00Z"`), change(func(r *authz.Request) { r.At = noon.UnixMilli() - 60_000 })},
		{"from the future", with("at", `"2025-12-13T13:00:00+01:00"`), change(func(r *authz.Request) { r.At = noon.UnixMilli() })},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake := &scripted{}
			status, body := post(newServer(t, hook.Config{}, fake).Handler(), "/v1/authorize", c.body)
			if status != http.StatusOK || len(fake.asked) != 1 || fake.asked[0] != c.want {
				t.Errorf("answered %d %s and asked %+v, want %+v", status, body, fake.asked, c.want)
			}
		})
	}
}

func TestEventRefusesBadForm(t *testing.T) {
	const invalid, missing = "invalid_request", "missing_field"
	for _, c := range []struct {
		body                 string
		code, message, param string
	}{
		{`{"call_id":"c1"}`, missing, "type is missing.", "type"},
		{`{"type":"over","call_id":"c1"}`, invalid, "type must be answered, heartbeat, ended or abandoned.", "type"},
		{`{"type":"ended"}`, missing, "call_id is missing.", "call_id"},
		{`{"type":"ended","call_id":"c1","direction":"up"}`, invalid, `direction must be "inbound" or "outbound".`, "direction"},
		{`{"type":"ended","call_id":"c1","switch":"a b"}`, invalid, "switch must be 1 to 64 letters, digits, points, underscores or hyphens.", "switch"},
		{`{"type":"ended","call_id":"c1","cause":{}}`, invalid, "cause must be a string or the number of a cause.", "cause"},
		{`{"type":"ended","call_id":"c1","cause":-1}`, invalid, "cause must be a string or the number of a cause.", "cause"},
		{`{"type":"ended","call_id":"c1","cause":"a\u0007"}`, invalid, "cause holds U+0007, which is not a printable character.", "cause"},
		{`{"type":"ended","call_id":"c1","ended_at":"soon"}`, invalid,
			"ended_at must be an RFC 3339 time (2025-12-13T10:00:00.000Z) or plain decimal Unix seconds (1765620000.123).", "ended_at"},
		{`{"type":"ended","call_id":"c1","answered_at":946684799.999}`, invalid, "answered_at is before the year 2000 or after 2100.", "answered_at"},
		{`{"type":"ended","call_id":"c1","answered_at":"0"}`, invalid, "answered_at is before the year 2000 or after 2100.", "answered_at"},
		{`{"type":"ended","call_id":"c1","ended_at":-5}`, invalid, "ended_at is before the year 2000 or after 2100.", "ended_at"},
		{`{"type":"ended","call_id":"c1","at":"4102444800.001"}`, invalid, "at is before the year 2000 or after 2100.", "at"},
		{`{"type":"answered","call_id":"c1","answered_at":null}`, invalid, "answered_at must not be null in an answered event.", "answered_at"},
		{`{"type":"ended","call_id":"c1","extra_cost":5}`, invalid, "extra_cost must be an object, not number.", "extra_cost"},
		{`{"type":"ended","call_id":"c1","extra_cost":{"currency":"EUR"}}`, missing, "extra_cost.amount_micros is missing.", "extra_cost.amount_micros"},
		{`{"type":"ended","call_id":"c1","extra_cost":{"amount_micros":5}}`, missing, "extra_cost.currency is missing.", "extra_cost.currency"},
		{`{"type":"ended","call_id":"c1","extra_cost":{"amount_micros":-1,"currency":"EUR"}}`, invalid, "extra_cost.amount_micros must not be negative.", "extra_cost.amount_micros"},
		{`{"type":"ended","call_id":"c1","extra_cost":{"amount_micros":1.5,"currency":"EUR"}}`, invalid,
			"extra_cost.amount_micros must be an integer, not number 1.5.", "extra_cost.amount_micros"},
		{`{"type":"ended","call_id":"c1","extra_cost":{"amount_micros":"5","currency":"EUR"}}`, invalid,
			"extra_cost.amount_micros must be an integer, not string.", "extra_cost.amount_micros"},
		{`{"type":"ended","call_id":"c1","extra_cost":{"amount_micros":9223372036854775808,"currency":"EUR"}}`, invalid,
			"extra_cost.amount_micros must be an integer, not number 9223372036854775808.", "extra_cost.amount_micros"},
		{`{"type":"ended","call_id":"c1","extra_cost":{"amount_micros":100000001,"currency":"EUR"}}`, invalid,
			"extra_cost.amount_micros is above the configured 100000000.", "extra_cost.amount_micros"},
		{`{"type":"ended","call_id":"c1","extra_cost":{"amount_micros":5,"currency":"euro"}}`, invalid,
			"extra_cost.currency must be the three capital letters of ISO 4217, such as EUR.", "extra_cost.currency"},
	} {
		fake := &scripted{}
		status, body := post(newServer(t, hook.Config{}, fake).Handler(), "/v1/events", c.body)
		want(t, c.body, status, body, http.StatusBadRequest, errorJSON(c.code, c.message, c.param))
		if len(fake.events) > 0 {
			t.Errorf("%s reached Events", c.body)
		}
	}
}

func TestEventTakes(t *testing.T) {
	now := noon.UnixMilli()
	key := authz.Key{Switch: "default", CallID: "c1"}
	for _, c := range []struct {
		body string
		want authz.Event
	}{
		{`{"type":"ended","call_id":"c1"}`, authz.Event{Type: "ended", Key: key}},
		{`{"type":"ended","call_id":"c1","answered_at":null,"ended_at":"1765627199.5"}`,
			authz.Event{Type: "ended", Key: key, NeverAnswered: true, At: now - 500, EndedAt: now - 500}},
		{`{"type":"ended","call_id":"c1","answered_at":"","at":1765627199}`,
			authz.Event{Type: "ended", Key: key, At: now - 1000, EndedAt: now - 1000}},
		{`{"type":"ended","call_id":"c1","answered_at":1765627100.0019,"at":1765627201,"ended_at":1765627199,"cause":16}`,
			authz.Event{Type: "ended", Key: key, AnsweredAt: now - 99_999, At: now + 1000, EndedAt: now - 1000, Cause: "16"}},
		{`{"type":"answered","call_id":"c1","at":"2025-12-13T12:00:00Z"}`,
			authz.Event{Type: "answered", Key: key, At: now, AnsweredAt: now}},
		{`{"type":"answered","call_id":"c1","answered_at":"2025-12-13t12:00:00.001Z","at":1765627201}`, authz.Event{}},
		{`{"type":"abandoned","call_id":"c1","cause":null,"extra_cost":null}`, authz.Event{Type: "abandoned", Key: key}},
		{`{"type":"heartbeat","call_id":"c1","switch":"fs-2","account":"org-1","direction":"outbound","from":"+31","to":"+49","cause":"x"}`,
			authz.Event{Type: "heartbeat", Key: authz.Key{Switch: "fs-2", Direction: authz.Outbound, CallID: "c1"},
				Account: "org-1", From: "+31", To: "+49", Cause: "x"}},
		{`{"type":"ended","call_id":"c1","extra_cost":{"amount_micros":100000000,"currency":"EUR","why":"tokens"}}`,
			authz.Event{Type: "ended", Key: key, ExtraMicros: 100_000_000, ExtraCurrency: "EUR"}},
	} {
		fake := &scripted{}
		status, body := post(newServer(t, hook.Config{}, fake).Handler(), "/v1/events", c.body)
		if c.want.Type == "" {
			if status != http.StatusBadRequest {
				t.Errorf("%s answered %d %s, want 400", c.body, status, body)
			}
			continue
		}
		c.want.ReceivedAt = now
		if status != http.StatusOK || len(fake.events) != 1 || fake.events[0] != c.want {
			t.Errorf("%s answered %d %s and gave %+v, want %+v", c.body, status, body, fake.events, c.want)
		}
	}
}

func TestBodyLimit(t *testing.T) {
	h := newServer(t, hook.Config{}, &scripted{}).Handler()
	fill := func(n int) string {
		head := `{"note":"`
		tail := `",` + without("note")[1:]
		return head + strings.Repeat("x", n-len(head)-len(tail)) + tail
	}
	if status, body := post(h, "/v1/authorize", fill(64<<10)); status != http.StatusOK {
		t.Errorf("64 KiB answered %d %s", status, body)
	}
	tooLarge := errorJSON("invalid_request", "The body is larger than 64 KiB.", "")
	for _, path := range []string{"/v1/authorize", "/v1/quote", "/v1/events"} {
		status, body := post(h, path, fill(64<<10+1))
		want(t, path, status, body, http.StatusRequestEntityTooLarge, tooLarge)
	}
}
