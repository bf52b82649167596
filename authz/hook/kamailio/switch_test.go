package kamailio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/meter"
)

var (
	_ meter.Switch   = (*Switch)(nil)
	_ meter.Extender = (*Switch)(nil)
	_ meter.Lister   = (*Switch)(nil)
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The dialogs are as Kamailio 5.6.3 printed them.
const (
	talking = `{"h_entry":3681,"h_id":-3656,"ref":2,"call-id":"talks@pbx","from_uri":"sip:+31850835037@127.0.0.1:25061","to_uri":"sip:+31201234567@127.0.0.1:25060",
		"state":4,"start_ts":1795448832,"init_ts":1795448832,"end_ts":0,"duration":2,"timeout":1795449129,"lifetime":297,"dflags":643,"sflags":0,"iflags":1,
		"caller":{"tag":"1c6622","contact":"sip:+31850835037@127.0.0.1:25061","cseq":"1","route_set":"","socket":"udp:127.0.0.1:25060"},
		"callee":{"tag":"2d5203","contact":"sip:callee@127.0.0.1:25070","cseq":"0","route_set":"","socket":"udp:127.0.0.1:25060"},
		"profiles":[],"variables":[{"answered":"1795448832.466421"},{"limit_outbound":"297"},{"outbound":"account=acme"},{"to":"+31201234567"},{"from":"+31850835037"}]}`
	ringing = `{"h_entry":1,"h_id":2,"call-id":"rings@pbx","state":2,"caller":{"tag":"a","cseq":"7"},"callee":{"tag":""},"variables":[{"inbound":"account="}]}`
	onNet   = `{"h_entry":3,"h_id":4,"call-id":"both@pbx","state":4,"caller":{"tag":"a","cseq":"1"},"callee":{"tag":"b"},"variables":[{"inbound":"account=b"},{"outbound":"account=a"}]}`
	over    = `{"h_entry":5,"h_id":6,"call-id":"over@pbx","state":5,"caller":{"tag":"a","cseq":"1"},"callee":{"tag":"b"},"variables":[]}`
	mute    = `{"h_entry":7,"h_id":8,"call-id":"mute@pbx","state":4,"caller":{"tag":"a","cseq":"1"},"callee":{"tag":"b"},"variables":[]}`
)

// command is what the switch got.
type command struct {
	Method string
	Params json.RawMessage
	auth   string
}

// fake answers commands as Kamailio does.
type fake struct {
	*httptest.Server
	mu       sync.Mutex
	commands []command
	answer   func(w http.ResponseWriter, c command)
}

func newFake(t *testing.T, answer func(http.ResponseWriter, command)) *fake {
	f := &fake{answer: answer}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := command{auth: r.Header.Get("Authorization")}
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			t.Errorf("a command that is no JSON: %v", err)
		}
		f.mu.Lock()
		f.commands = append(f.commands, c)
		f.mu.Unlock()
		f.answer(w, c)
	}))
	t.Cleanup(f.Close)
	return f
}

// got are the commands but the look-ups.
func (f *fake) got() (all []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.commands {
		if c.Method != "dlg.dlg_list" {
			all = append(all, c.Method+" "+string(c.Params))
		}
	}
	return all
}

func (f *fake) open(t *testing.T, change func(*Config)) *Switch {
	t.Helper()
	cfg := Config{Name: "edge", ControlURL: f.URL + "/rpc", Token: "secret"}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// kamailio has some dialogs.
func kamailio(w http.ResponseWriter, c command) {
	result := func(text string) { fmt.Fprintf(w, `{"jsonrpc":"2.0","result":%s,"id":1}`, text) }
	fault := func(status int, text string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"jsonrpc":"2.0","error":{"code":%d,"message":%q},"id":1}`, status, text)
	}
	switch c.Method {
	case "dlg.list":
		result("[" + strings.Join([]string{talking, ringing, onNet, over, mute}, ",") + "]")
	case "dlg.dlg_list":
		for _, d := range []string{talking, ringing, onNet, over, mute} {
			if strings.Contains(d, `"call-id":`+strings.Trim(string(c.Params), "[]")) {
				result(d)
				return
			}
		}
		result("{}")
	case "dlg.end_dlg":
		if !strings.Contains(string(c.Params), "-3656") && !strings.Contains(string(c.Params), "[3,4") {
			fault(404, "Dialog not found")
			return
		}
		result("{}")
	case "ringfence.cancel", "ringfence.extend":
		result("{}")
	default:
		fault(500, "Method Not Found")
	}
}

func key(d authz.Direction, id string) authz.Key {
	return authz.Key{Switch: "edge", Direction: d, CallID: id}
}

func TestHangup(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		key    authz.Key
		reason string
		want   string // the command; empty: no such call
	}{
		"talking":          {key(authz.Outbound, "talks@pbx"), "insufficient_credits", `dlg.end_dlg [3681,-3656,"Reason: Q.850;cause=31;text=\"insufficient_credits\"\r\n"]`},
		"a strange reason": {key(authz.Outbound, "talks@pbx"), "a\"b\\\r\nVia: x", `dlg.end_dlg [3681,-3656,"Reason: Q.850;cause=31;text=\"a_b___Via: x\"\r\n"]`},
		"ringing":          {key(authz.Inbound, "rings@pbx"), "killed", `ringfence.cancel {"call_id":"rings@pbx","cseq":"7"}`},
		"on-net, one leg":  {key(authz.Inbound, "both@pbx"), "killed", `dlg.end_dlg [3,4,"Reason: Q.850;cause=31;text=\"killed\"\r\n"]`},
		"other direction":  {key(authz.Inbound, "talks@pbx"), "killed", ""},
		"over":             {key(authz.Outbound, "over@pbx"), "killed", ""},
		"unknown":          {key(authz.Outbound, "nobody@pbx"), "killed", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, kamailio)
			err := f.open(t, nil).Hangup(t.Context(), c.key, c.reason)
			got := strings.Join(f.got(), "\n")
			if got != c.want || errors.Is(err, meter.ErrNoSuchCall) != (c.want == "") || err != nil && c.want != "" {
				t.Errorf("%s, %v; want %s", got, err, c.want)
			}
			if f.commands[0].auth != "Bearer secret" {
				t.Errorf("authorization %q", f.commands[0].auth)
			}
		})
	}
}

// A call may end between the look-up and the command.
func TestHangupOfWhatIsJustOver(t *testing.T) {
	t.Parallel()
	f := newFake(t, kamailio)
	if err := f.open(t, nil).Hangup(t.Context(), key(authz.Outbound, "mute@pbx"), "killed"); !errors.Is(err, meter.ErrNoSuchCall) {
		t.Errorf("%v, want no such call", err)
	}
}

func TestExtend(t *testing.T) {
	t.Parallel()
	f := newFake(t, kamailio)
	s := f.open(t, nil)
	if err := s.Extend(t.Context(), key(authz.Inbound, "both@pbx"), 90); err != nil {
		t.Error(err)
	}
	if err := s.Extend(t.Context(), key(authz.Inbound, "nobody@pbx"), 90); !errors.Is(err, meter.ErrNoSuchCall) {
		t.Errorf("%v, want no such call", err)
	}
	want := []string{`ringfence.extend {"call_id":"both@pbx","direction":"inbound","from_tag":"a","max_seconds":90,"to_tag":"b"}`}
	if diff := cmp.Diff(want, f.got()); diff != "" {
		t.Error(diff)
	}
}

func TestWarn(t *testing.T) {
	t.Parallel()
	if err := newFake(t, kamailio).open(t, nil).Warn(t.Context(), key(authz.Outbound, "talks@pbx"), 30); !errors.Is(err, meter.ErrNoControl) {
		t.Errorf("%v, want no control", err)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	got, err := newFake(t, kamailio).open(t, nil).List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []authz.Key{
		key(authz.Outbound, "talks@pbx"), key(authz.Inbound, "rings@pbx"),
		key(authz.Outbound, "both@pbx"), key(authz.Inbound, "both@pbx"),
		key(authz.Outbound, "mute@pbx"), key(authz.Inbound, "mute@pbx"), // which of them, it does not say
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestListOfNone(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(w http.ResponseWriter, _ command) { fmt.Fprint(w, `{"jsonrpc":"2.0","result":[],"id":1}`) })
	if got, err := f.open(t, nil).List(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

// What is no whole answer is an error, and never an empty listing nor an unknown call.
func TestUnknownIsNotAbsent(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(http.ResponseWriter){
		"no memory to print": func(http.ResponseWriter) {},
		"no JSON":            func(w http.ResponseWriter) { fmt.Fprint(w, "<html>") },
		"no result":          func(w http.ResponseWriter) { fmt.Fprint(w, `{"jsonrpc":"2.0","id":1}`) },
		"null":               func(w http.ResponseWriter) { fmt.Fprint(w, `{"jsonrpc":"2.0","result":null,"id":1}`) },
		"a number":           func(w http.ResponseWriter) { fmt.Fprint(w, `{"jsonrpc":"2.0","result":7,"id":1}`) },
		"cut off":            func(w http.ResponseWriter) { fmt.Fprint(w, `{"jsonrpc":"2.0","result":[`+talking) },
		"two answers":        func(w http.ResponseWriter) { fmt.Fprint(w, `{"result":[]}{"result":[]}`) },
		"a dialog without id": func(w http.ResponseWriter) {
			fmt.Fprint(w, `{"result":[`+talking+`,{"h_entry":1,"h_id":2,"state":4}]}`)
		},
		"a dialog without state": func(w http.ResponseWriter) { fmt.Fprint(w, `{"result":[{"h_entry":1,"h_id":2,"call-id":"x"}]}`) },
		"a dialog without place": func(w http.ResponseWriter) { fmt.Fprint(w, `{"result":[{"call-id":"x","state":4}]}`) },
		"an error": func(w http.ResponseWriter) {
			w.WriteHeader(500)
			fmt.Fprint(w, `{"jsonrpc":"2.0","error":{"code":500,"message":"Failed to add fields"},"id":1}`)
		},
		"refused": func(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) },
		"elsewhere": func(w http.ResponseWriter) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
		"a result with a bad status": func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusBadGateway)
			fmt.Fprint(w, `{"result":[]}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newFake(t, func(w http.ResponseWriter, _ command) { answer(w) }).open(t, nil)
			if got, err := s.List(t.Context()); err == nil {
				t.Errorf("a listing of %v", got)
			}
			if err := s.Hangup(t.Context(), key(authz.Outbound, "x"), "killed"); err == nil || errors.Is(err, authz.ErrNoSuchCall) {
				t.Errorf("hang up: %v", err)
			}
			if err := s.Extend(t.Context(), key(authz.Outbound, "x"), 9); err == nil || errors.Is(err, authz.ErrNoSuchCall) {
				t.Errorf("extend: %v", err)
			}
		})
	}
}

// Kamailio leaves what it cannot parse without an answer: an attempt is bounded, and repeated.
func TestSilence(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	attempts := 0
	f := newFake(t, func(w http.ResponseWriter, c command) {
		mu.Lock()
		attempts++
		n := attempts
		mu.Unlock()
		if n <= retries {
			panic(http.ErrAbortHandler) // the connection ends
		}
		kamailio(w, c)
	})
	if _, err := f.open(t, nil).List(t.Context()); err != nil {
		t.Error(err)
	}
	hold := make(chan struct{})
	silent := newFake(t, func(http.ResponseWriter, command) { <-hold })
	t.Cleanup(func() { close(hold) })
	s := silent.open(t, func(c *Config) { c.Timeout = 20 * time.Millisecond })
	if got, err := s.List(t.Context()); err == nil {
		t.Errorf("silence was taken for %v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.List(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want canceled", err)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "5080", "sip:127.0.0.1", "http://", "://"} {
		if _, err := New(Config{Name: "edge", ControlURL: url}, nil); err == nil || !strings.Contains(err.Error(), "edge") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// A secret in the URL stays out of errors.
func TestErrorsHideTheURL(t *testing.T) {
	t.Parallel()
	s, err := New(Config{Name: "edge", ControlURL: "http://user:hunter2@127.0.0.1:1/rpc", Timeout: time.Second}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.List(t.Context()); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}
