package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hmsovereign/ringfence/authz"
)

// echo allows every call and keeps what it was asked.
type echo struct {
	req *authz.Request
	ev  *authz.Event
}

func (e *echo) Emergency(dialled string) bool { return dialled == "112" }

func (e *echo) Authorize(_ context.Context, r *authz.Request) authz.Decision {
	e.req = r
	return authz.Decision{
		Allowed: true, Account: "org-1", NumberID: "6f0c7a52-0000-4000-8000-000000000001", MaxSeconds: 3600, SliceSeconds: 60,
		ExpiresAt: 1_765_627_440_000, UID: [16]byte{1, 2, 3}, OnFailure: "continue",
	}
}

func (e *echo) Quote(ctx context.Context, r *authz.Request) authz.Decision {
	return e.Authorize(ctx, r)
}
func (e *echo) Gone(*authz.Request, authz.Decision) {}

func (e *echo) Event(_ context.Context, ev authz.Event) (authz.EventResult, error) {
	e.ev = &ev
	return authz.EventResult{State: authz.StateLive}, nil
}

var fuzzNow = time.UnixMilli(1_765_627_200_000)

func newEcho(tb testing.TB, now func() time.Time) (*echo, http.Handler) {
	e := new(echo)
	s, err := New(Config{Now: now}, e, e, nil, slog.New(slog.DiscardHandler), NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		tb.Fatal(err)
	}
	return e, s.Handler()
}

func ask(h http.Handler, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
	return w
}

var seeds = []string{
	`{"call_id":"a@b","direction":"outbound","from":"+31850835037","to":"+4915112345678","account":"org-1","mode":"byok","switch":"kam-1","at":"1765627200.123456"}`,
	`{"call_id":"a@b","direction":"inbound","from":"","to":"+31850835037","at":1765627200.5,"x":{"y":[null]}}`,
	`{"to":"112"}`, `{"to":112,"call_id":[]}`, `{"CALL_ID":"x","Call_id":"\ud83d\ude00"}`,
	`{"type":"ended","call_id":"c","answered_at":null,"ended_at":"2025-12-13T12:00:00.001Z","cause":16,"extra_cost":{"amount_micros":5,"currency":"EUR"}}`,
	`{"type":"answered","call_id":"c","answered_at":1765627200.1,"at":"","cause":"16","from":"a","to":"b","account":"c","direction":"inbound"}`,
	"{\"call_id\":\"\xff\"}", `{"call_id":"\ud800"}`, `[]`, ``, `null`, `{}{}`, `{"at":1e400}`, `{"at":-0}`, `{"at":"00000000000000000000"}`,
}

// FuzzAuthorize: whatever the body, the answer is an allow or an error in its
// envelope, and what was taken, written as JSON again, is taken as the same.
func FuzzAuthorize(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		e, h := newEcho(t, func() time.Time { return fuzzNow })
		if !answered(t, ask(h, "/v1/authorize", body)) {
			return
		}
		first := *e.req
		if e.Emergency(first.To) {
			return // let go whatever its form
		}
		checkKey(t, body, first.Key)
		fields := map[string]any{"call_id": first.CallID, "direction": first.Direction, "from": first.From, "to": first.To,
			"account": first.Account, "mode": first.Mode, "switch": first.Switch, "at": wireTime(first.At)}
		again, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		if !answered(t, ask(h, "/v1/authorize", string(again))) || *e.req != first {
			t.Fatalf("%q was taken as %+v, and that, written as %s, as %+v", body, first, again, *e.req)
		}
	})
}

// FuzzEvent is the same for events.
func FuzzEvent(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		e, h := newEcho(t, func() time.Time { return fuzzNow })
		if !answered(t, ask(h, "/v1/events", body)) {
			return
		}
		first := *e.ev
		checkKey(t, body, first.Key)
		fields := map[string]any{"type": first.Type, "call_id": first.CallID, "switch": first.Switch, "account": first.Account,
			"from": first.From, "to": first.To, "cause": first.Cause, "at": wireTime(first.At), "ended_at": wireTime(first.EndedAt)}
		if first.Direction.Valid() {
			fields["direction"] = first.Direction
		}
		if first.NeverAnswered {
			fields["answered_at"] = nil
		} else if first.AnsweredAt != 0 {
			fields["answered_at"] = wireTime(first.AnsweredAt)
		}
		if first.ExtraCurrency != "" {
			fields["extra_cost"] = map[string]any{"amount_micros": first.ExtraMicros, "currency": first.ExtraCurrency}
		}
		again, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		if !answered(t, ask(h, "/v1/events", string(again))) || *e.ev != first {
			t.Fatalf("%q was taken as %+v, and that, written as %s, as %+v", body, first, again, *e.ev)
		}
	})
}

// answered checks an answer's form, and reports whether it is a 200.
func answered(t *testing.T, w *httptest.ResponseRecorder) bool {
	t.Helper()
	if w.Code == http.StatusOK {
		if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("answered %s", w.Body)
		}
		return true
	}
	var e envelope
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Error.Code == "" || e.Error.Message == "" {
		t.Fatalf("answered %d %s", w.Code, w.Body)
	}
	if w.Code != http.StatusBadRequest && w.Code != http.StatusRequestEntityTooLarge {
		t.Fatalf("answered %d %s", w.Code, w.Body)
	}
	return false
}

func checkKey(t *testing.T, body string, k authz.Key) {
	t.Helper()
	if !utf8.ValidString(body) || k.CallID == "" || len(k.CallID) > authz.MaxCallID || strings.ContainsAny(k.CallID, "\t\r\n\x00\uFFFD") ||
		k.Switch == "" || strings.Contains(k.Switch, ":") {
		t.Fatalf("%q was taken as %+v", body, k)
	}
}

// wireTime writes a time as Kamailio does; zero as not given.
func wireTime(ms int64) any {
	if ms == 0 {
		return nil
	}
	return time.UnixMilli(ms).UTC().Format(time.RFC3339Nano)
}

func TestParseStamp(t *testing.T) {
	for _, c := range []struct {
		text  string
		ms    int64
		wrong string
	}{
		{"1700000000.123456", 1_700_000_000_123, ""},
		{"1700000000.1", 1_700_000_000_100, ""},
		{"1700000000.9999999999999999", 1_700_000_000_999, ""},
		{"1700000000", 1_700_000_000_000, ""},
		{"0001700000000.001", 1_700_000_000_001, ""},
		// A float64 of this many digits would be off by a millisecond.
		{"4102444799.999", 4_102_444_799_999, ""},
		{"946684800", 946_684_800_000, ""},
		{"4102444800.000", 4_102_444_800_000, ""},
		{"4102444800.001", 0, stampRange},
		{"946684799.999", 0, stampRange},
		{"99999999999", 0, stampRange},
		{"100000000000", 0, stampMilli},
		{"1700000000000000", 0, stampMilli},
		{strings.Repeat("9", 64), 0, stampMilli},
		{strings.Repeat("9", 65), 0, stampText},
		{"-1700000000", 0, stampRange},
		{"1.7e9", 0, stampExp},
		{"17E+8", 0, stampExp},
		{"1700000000.", 0, stampText},
		{".5", 0, stampText},
		{".", 0, stampText},
		{"-", 0, stampText},
		{" 1700000000", 0, stampText},
		{"0x65", 0, stampText},
		{"1_700_000_000", 0, stampText},
		{"NaN", 0, stampText},
		{"2025-12-13T10:00:00.000Z", 1_765_620_000_000, ""},
		{"2025-12-13T12:00:00.1239+02:00", 1_765_620_000_123, ""},
		{"2025-12-13 10:00:00Z", 0, stampText},
		{"2025-02-30T10:00:00Z", 0, stampText},
		{"1999-12-31T23:59:59Z", 0, stampRange},
		{"2100-01-02T00:00:00Z", 0, stampRange},
	} {
		if ms, wrong := parseStamp(c.text); ms != c.ms || wrong != c.wrong {
			t.Errorf("parseStamp(%q) = %d, %q, want %d, %q", c.text, ms, wrong, c.ms, c.wrong)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	body := []byte(seeds[0])
	b.ReportAllocs()
	for b.Loop() {
		var in authorizeBody
		if d, p := decode(body, new(bytes.Reader), &in, authorizeNames); p != nil || d.wrong != nil {
			b.Fatal(p, d.wrong)
		}
		if _, p := in.request(fuzzNow.UnixMilli()); p != nil {
			b.Fatal(p)
		}
	}
}

func BenchmarkDecodeWithUnknownField(b *testing.B) {
	body := []byte(`{"note":1,` + seeds[0][1:])
	b.ReportAllocs()
	for b.Loop() {
		var in authorizeBody
		if d, p := decode(body, new(bytes.Reader), &in, authorizeNames); p != nil || d.wrong != nil || len(d.unknown) != 1 {
			b.Fatal(p, d)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	e := new(echo)
	req := &authz.Request{Key: authz.Key{CallID: "a84b4c76e66710@pc33.example.com"}}
	d := e.Authorize(context.Background(), req)
	b.ReportAllocs()
	for b.Loop() {
		encode(newAllow(req, &d), func([]byte) {})
	}
}

// sink is a ResponseWriter that costs nothing of its own.
type sink struct{ h http.Header }

func (s sink) Header() http.Header            { return s.h }
func (sink) Write(b []byte) (int, error)      { return len(b), nil }
func (sink) WriteHeader(int)                  {}
func (sink) FlushError() error                { return nil }
func (sink) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkHandler is all that the hook does itself: read, decode, check, ask an
// authorizer that costs nothing, encode, count.
func BenchmarkHandler(b *testing.B) {
	_, h := newEcho(b, func() time.Time { return fuzzNow })
	body := strings.NewReader(seeds[0])
	r := httptest.NewRequest(http.MethodPost, "/v1/authorize", body)
	r.Header.Set("Content-Type", "application/json")
	w := sink{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(seeds[0])
		h.ServeHTTP(w, r)
	}
}

// BenchmarkServer asks over loopback TCP, client included.
func BenchmarkServer(b *testing.B) {
	_, h := newEcho(b, func() time.Time { return fuzzNow })
	ts := httptest.NewServer(h)
	defer ts.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			resp, err := client.Post(ts.URL+"/v1/authorize", "application/json", strings.NewReader(seeds[0]))
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	})
}

// FuzzPlain: what the plain readers take they take as encoding/json does.
func FuzzPlain(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	for _, s := range []string{` { "call_id" : "a" , "from":"", "at" : 1765627200 } `, `{"at":01}`, `{"at":0.}`, `{"at":.5}`, `{"at":0}`, `{"at":0.5,"at":"x"}`,
		`{"call_id":"a","call_id":"b","from":"1","from":"2"}`, `{"cause":16,"cause":"x"}`, `{"cause":"x","cause":1.5}`, `{"to":"~\u007f"}`, "{\"to\":\"\x7f\"}", `{"a":"b",}`, `{"to":"1"`, `{"to":"1"}x`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var from string
		var fast, slow authorizeBody
		if fast.plain([]byte(body), &from) {
			if d, p := decode([]byte(body), new(bytes.Reader), &slow, authorizeNames); p != nil || d.wrong != nil || len(d.unknown) > 0 || !reflect.DeepEqual(fast, slow) {
				t.Errorf("%q is taken as %+v, but by encoding/json as %+v: %+v %+v", body, fast, slow, d, p)
			}
		}
		var fastEvent, slowEvent eventBody
		if fastEvent.plain([]byte(body)) {
			if d, p := decode([]byte(body), new(bytes.Reader), &slowEvent, eventNames); p != nil || d.wrong != nil || len(d.unknown) > 0 || !reflect.DeepEqual(fastEvent, slowEvent) {
				t.Errorf("%q is taken as %+v, but by encoding/json as %+v: %+v %+v", body, fastEvent, slowEvent, d, p)
			}
		}
	})
}

// TestPlainIsTheUsualCase: what the switches of this repository send is plain.
func TestPlainIsTheUsualCase(t *testing.T) {
	var from string
	if body := seeds[0]; !new(authorizeBody).plain([]byte(body), &from) {
		t.Errorf("not plain: %s", body)
	}
	for _, body := range []string{
		`{"type":"ended","call_id":"c@h","switch":"kam-1","direction":"outbound","ended_at":"1765627200.123","cause":"16"}`,
		`{"type":"answered","call_id":"c@h","switch":"kam-1","account":"org-1","at":1765627200.123}`,
	} {
		if !new(eventBody).plain([]byte(body)) {
			t.Errorf("not plain: %s", body)
		}
	}
}

// FuzzAppendAllow: an answer that is written out is what encoding/json writes.
func FuzzAppendAllow(f *testing.F) {
	f.Add("a@b", "org-1", "6f0c7a52-0000-4000-8000-000000000001", "continue", "known", int64(3600), int64(60), int64(1_765_627_440_001), []byte("0123456789abcdef"))
	f.Add("<&>", "", "", "", "", int64(-1), int64(0), int64(0), []byte{})
	f.Add("\u2028", "a\"b", "c\\d", "\x7f", "\xff", int64(0), int64(0), int64(-1), []byte{1})
	f.Fuzz(func(t *testing.T, id, account, number, onFailure, policy string, most, slice, expires int64, uid []byte) {
		req := &authz.Request{Key: authz.Key{CallID: id}}
		d := &authz.Decision{Allowed: true, Account: account, NumberID: number, OnFailure: onFailure, Policy: policy, MaxSeconds: most, SliceSeconds: slice, ExpiresAt: expires}
		copy(d.UID[:], uid)
		b, plain := appendAllow(nil, req, d)
		if !plain {
			return
		}
		encode(newAllow(req, d), func(want []byte) {
			if !bytes.Equal(b, want) {
				t.Errorf("%s\nwant\n%s", b, want)
			}
		})
	})
}
