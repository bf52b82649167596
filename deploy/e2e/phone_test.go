package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/deploy/services"
)

// phone is one sipp.
type phone struct {
	*services.Daemon
	t     testing.TB
	port  int
	trace string // file with every message it sent and got
}

func (p *phone) uri() string { return fmt.Sprintf("sip:127.0.0.1:%d", p.port) }

// sipp starts one from a port.
func sipp(t testing.TB, port int, scenario string, args ...string) *phone {
	t.Helper()
	file, err := filepath.Abs(filepath.Join("testdata", scenario))
	must(t, err)
	dir := t.TempDir()
	p := &phone{t: t, port: port, trace: filepath.Join(dir, "messages")}
	args = append([]string{"-sf", file, "-i", "127.0.0.1", "-p", strconv.Itoa(port), "-buff_size", "2000000", "-nostdin", "-trace_msg", "-message_file", p.trace}, args...)
	// Its screens are of no use in a log; its complaints come on standard error.
	args = append([]string{"-c", `exec "$0" "$@" >/dev/null`, services.Tool(t, "sipp", sippPackages)}, args...)
	p.Daemon = services.Command{Path: "/bin/sh", Args: args, Env: []string{"TZ=UTC", "TERM=dumb"}, Dir: dir}.Start(t)
	return p
}

// answer starts a callee, on a port of its own.
func (s *stack) answer(scenario string) *phone {
	s.t.Helper()
	p := sipp(s.t, services.FreePort(s.t), scenario)
	// It does not heed SIGTERM while it has nothing to do.
	s.t.Cleanup(p.Kill)
	return p
}

// ring is what a caller does.
type ring struct {
	from, to string
	port     int           // its own; 0: any of a customer
	talk     time.Duration // as the scenario takes it
	audio    int           // port for audio; 0: none listens
	calls    int           // 0: one
	rate     int           // calls a second; 0: as sipp has it
}

// call starts a caller.
func (s *stack) call(t testing.TB, scenario string, r ring) *phone {
	t.Helper()
	if r.port == 0 {
		r.port = services.FreePort(t)
	}
	if r.audio == 0 {
		r.audio = 9
	}
	args := []string{"-key", "from", r.from, "-key", "to", r.to, "-key", "rtp", strconv.Itoa(r.audio), "-d", strconv.FormatInt(r.talk.Milliseconds(), 10),
		"-m", strconv.Itoa(max(r.calls, 1)), "-timeout", "110s", "-timeout_error"}
	if r.rate > 0 {
		args = append(args, "-r", strconv.Itoa(r.rate), "-l", strconv.Itoa(max(r.calls, 1)))
	}
	return sipp(t, r.port, scenario, append(args, fmt.Sprintf("127.0.0.1:%d", s.sip))...)
}

// done waits until the caller has played its scenario, which must have gone as written.
func (p *phone) done() {
	p.t.Helper()
	if code := p.Wait(2 * time.Minute); code != 0 {
		p.t.Errorf("sipp on port %d ended with %d; its messages:\n%s", p.port, code, p.said())
	}
}

// message is one SIP message as a phone saw it.
type message struct {
	at    time.Time
	sent  bool
	text  string
	start string // first line
}

func (m message) String() string {
	arrow := "<-"
	if m.sent {
		arrow = "->"
	}
	return fmt.Sprintf("%s %s %s", m.at.Format("15:04:05.000"), arrow, m.start)
}

// header is the value of the first header of a name.
func (m message) header(name string) string {
	for line := range strings.Lines(m.text) {
		if n, v, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok && strings.EqualFold(n, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// traced is how sipp heads a message in its trace.
var traced = regexp.MustCompile(`(?m)^-{40,} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6})\n\w+ message (sent|received)[^\n]*\n\n`)

// messages are those seen so far, in order.
func (p *phone) messages() []message {
	p.t.Helper()
	raw, err := os.ReadFile(p.trace)
	if os.IsNotExist(err) {
		return nil
	}
	must(p.t, err)
	raw = bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
	heads := traced.FindAllSubmatchIndex(raw, -1)
	var all []message
	for i, h := range heads {
		end := len(raw)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		at, err := time.ParseInLocation("2006-01-02 15:04:05.000000", string(raw[h[2]:h[3]]), time.UTC)
		must(p.t, err)
		text := string(raw[h[1]:end])
		start, _, _ := strings.Cut(text, "\n")
		all = append(all, message{at: at, sent: string(raw[h[4]:h[5]]) == "sent", text: text, start: start})
	}
	return all
}

func (p *phone) said() string {
	var b strings.Builder
	for _, m := range p.messages() {
		fmt.Fprintln(&b, m)
	}
	return b.String()
}

// of are the messages of one call.
func of(all []message, callID string) []message {
	return slices.DeleteFunc(slices.Clone(all), func(m message) bool { return m.header("Call-ID") != callID })
}

// find gives the first message that begins so and was sent, or received, so.
func find(all []message, sent bool, start string) (message, bool) {
	for _, m := range all {
		if m.sent == sent && strings.HasPrefix(m.start, start) {
			return m, true
		}
	}
	return message{}, false
}

// await waits for a message.
func (p *phone) await(sent bool, start string) message {
	p.t.Helper()
	var found message
	services.Eventually(p.t, 2*patience, func() error {
		m, ok := find(p.messages(), sent, start)
		if !ok {
			return fmt.Errorf("the phone on port %d has not had %q:\n%s", p.port, start, p.said())
		}
		found = m
		return nil
	})
	return found
}

// awaitOf waits for a message of one call.
func (p *phone) awaitOf(callID string, sent bool, start string) message {
	p.t.Helper()
	var found message
	services.Eventually(p.t, 2*patience, func() error {
		m, ok := find(of(p.messages(), callID), sent, start)
		if !ok {
			return fmt.Errorf("the phone on port %d has not had %q of %s", p.port, start, callID)
		}
		found = m
		return nil
	})
	return found
}

// id waits for the call to be made, and gives its Call-ID.
func (p *phone) id() string {
	p.t.Helper()
	return p.await(true, "INVITE ").header("Call-ID")
}

// final is the status with which the INVITE was answered at last.
func (p *phone) final() int {
	p.t.Helper()
	for _, m := range p.messages() {
		status, _ := strconv.Atoi(strings.TrimPrefix(m.start, "SIP/2.0 ")[:3])
		if !m.sent && strings.HasSuffix(m.header("CSeq"), " INVITE") && status >= 200 {
			return status
		}
	}
	p.t.Fatalf("no final answer:\n%s", p.said())
	return 0
}
