package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/sync/portal"
	"github.com/hmsovereign/ringfence/sync/portal/account"
	"github.com/hmsovereign/ringfence/sync/portal/portaltest"
)

var update = flag.Bool("update", false, "write what the commands print into testdata/*.transcript")

// noon is when everything in the transcripts happens.
var noon = time.Date(2025, 12, 13, 12, 0, 0, 0, time.UTC)

// TestTranscripts runs the commands of testdata/*.transcript against the real
// admin API over stores in memory, a fresh one for each file, and compares
// what they print. In a transcript
//
//	# is a comment
//	$ ringfence account list      is a command; ~ stands for the folder testdata
//	! text                        was printed on standard error
//	? 1                           was the exit code, where it was not 0
//
// and the rest was printed on standard output. Of ids and keys, which are minted
// at random, an x stands for each character, and SIDECAR for the sidecar's
// address. With -update the files are written anew.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.transcript")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".transcript"), func(t *testing.T) {
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t)
			var got bytes.Buffer
			for line := range strings.Lines(string(want)) {
				switch {
				case strings.HasPrefix(line, "#"):
					if got.Len() > 0 {
						got.WriteByte('\n')
					}
					got.WriteString(line)
				case strings.HasPrefix(line, "$ ringfence "):
					got.WriteString(line)
					got.WriteString(w.run(strings.Replace(strings.TrimPrefix(line, "$ ringfence "), "~", "testdata", 1)))
				}
			}
			if *update {
				if err := os.WriteFile(name, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			compare(t, string(want), got.String())
		})
	}
}

// compare reports the first line that differs.
func compare(t *testing.T, want, got string) {
	t.Helper()
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		line := func(s []string) string {
			if i < len(s) {
				return s[i]
			}
			return "(the end)"
		}
		if line(w) != line(g) {
			t.Fatalf("line %d\n got  %s\n want %s\nall of it:\n%s", i+1, line(g), line(w), got)
		}
	}
}

// world is a sidecar's admin API over stores in memory.
type world struct {
	t         *testing.T
	addr      string
	balances  *portaltest.Balances
	directory *portaltest.Directory
	orphans   []authz.Event
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, balances: portaltest.NewBalances(), directory: portaltest.NewDirectory()}
	now := func() time.Time { return noon }
	keys := account.NewKeyAdmin(account.KeyAdminConfig{Keys: account.NewKeys(&keyBook{}, nil, now, slog.New(slog.DiscardHandler))})
	mux := http.NewServeMux()
	mux.Handle(account.KeysPath, keys)
	mux.Handle(account.KeysPath+"/", keys)
	mux.Handle(portal.AdminPath, portal.NewAdmin(portal.AdminConfig{
		Book: portaltest.NewBook(), Mirror: w.directory, Directory: w.directory, Balances: w.balances, Calls: w.balances, Killer: w.balances,
		Now: now, Orphans: func() []authz.Event { return w.orphans },
	}))
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	w.at(srv.Listener.Addr().String())
	t.Setenv("RINGFENCE_ADMIN_TOKEN", "")
	return w
}

// at says where the commands look for the sidecar.
func (w *world) at(addr string) {
	w.addr = addr
	w.t.Setenv("RINGFENCE_OPS_URL", "http://"+addr)
}

var (
	mintedID  = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	mintedKey = regexp.MustCompile(`\brf_live_[0-9A-Za-z]+`)
)

// crossed puts an x for each letter and digit.
func crossed(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' {
			return r
		}
		return 'x'
	}, s)
}

// run runs a command line and gives what it printed, as transcripts have it.
func (w *world) run(line string) string {
	w.t.Helper()
	args := words(w.t, strings.TrimSpace(line))
	if args[0] == "TEST" {
		return w.happens(args[1:])
	}
	out, errOut, code := command(w.t, args...)
	var b strings.Builder
	b.WriteString(out)
	if out != "" && !strings.HasSuffix(out, "\n") {
		w.t.Errorf("%s: standard output does not end with a new line", line)
	}
	for l := range strings.Lines(errOut) {
		b.WriteString("! " + l)
	}
	if code != exitOK {
		fmt.Fprintf(&b, "? %d\n", code)
	}
	text := mintedID.ReplaceAllStringFunc(b.String(), crossed)
	text = mintedKey.ReplaceAllStringFunc(text, func(key string) string { return key[:8] + crossed(key[8:]) })
	return strings.ReplaceAll(text, w.addr, "SIDECAR")
}

// command runs a command line.
func command(t *testing.T, args ...string) (out, errOut string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var o, e bytes.Buffer
	code = run(ctx, args, os.Environ(), &o, &e)
	return o.String(), e.String(), code
}

// happens makes something happen that no command can.
func (w *world) happens(args []string) string {
	ms := func(before time.Duration) int64 { return noon.Add(-before).UnixMilli() }
	switch strings.Join(args, " ") {
	case "calls":
		for i, c := range []authz.Call{
			{Key: authz.Key{Switch: "kam1", Direction: authz.Outbound, CallID: "a/b@pbx:5060"}, State: authz.StateLive, Held: 2 * credit.PerCredit,
				UntilMS: 120_000, CreatedAt: ms(90 * time.Second), AnsweredAt: ms(84 * time.Second), ProofAt: ms(10 * time.Second), MaxSeconds: 3600, Epoch: 7,
				Detail: authz.Detail{From: "+31850835037", To: "+31201234567", Mode: "byok", Tariff: "default@1", Prefix: "31", NumberID: uuid.NewString()}},
			{Key: authz.Key{Switch: "kam1", Direction: authz.Inbound, CallID: "twin"}, State: authz.StateHeld, Held: credit.PerCredit,
				UntilMS: 60_000, CreatedAt: ms(5 * time.Second), ExpiresAt: ms(-235 * time.Second), Epoch: 7,
				Detail: authz.Detail{From: "anonymous", To: "+31850835037"}},
			{Key: authz.Key{Switch: "kam2", Direction: authz.Inbound, CallID: "twin"}, State: authz.StateHeld, Held: credit.PerCredit,
				UntilMS: 60_000, CreatedAt: ms(4 * time.Second), ExpiresAt: ms(-236 * time.Second), Epoch: 7,
				Detail: authz.Detail{From: "+31612345678", To: "+31850835037"}},
			{Key: authz.Key{Switch: "kam1", Direction: authz.Outbound, CallID: "over"}, State: authz.StateSettled, Charged: 30_000, Epoch: 7,
				CreatedAt: ms(time.Minute), AnsweredAt: ms(50 * time.Second), OverAt: ms(20 * time.Second), Flags: authz.Flags("").With(authz.FlagOverrun),
				Detail: authz.Detail{From: "+31850835037", To: "+31201234567"}},
		} {
			c.Account = "acme"
			c.UID = uuid.MustParse(fmt.Sprintf("01a208f4-ca99-7073-8480-79f531fa0d%02d", i))
			c.Price = tariff.Price{Rate: credit.PerCredit, Initial: 1, Step: 1}
			w.balances.AddCall(c)
		}
	case "orphan":
		w.orphans = append(w.orphans, authz.Event{Type: authz.EventEnded, Key: authz.Key{Switch: "kam1", Direction: authz.Outbound, CallID: "stray"},
			From: "+31850835037", To: "+31201234567", Cause: "16", ReceivedAt: ms(time.Minute)})
	case "the balance store fails":
		w.balances.SetFail(func(string) error { return authz.ErrDown })
	case "the balance store is well":
		w.balances.SetFail(nil)
	case "nobody is there":
		w.at(closedPort(w.t))
	default:
		w.t.Fatalf("unknown: %q", args)
	}
	return ""
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// words splits a command line at spaces, except within double quotes.
func words(t *testing.T, line string) (out []string) {
	t.Helper()
	var word strings.Builder
	quoted, begun := false, false
	for _, r := range line {
		switch {
		case r == '"':
			quoted, begun = !quoted, true
		case r == ' ' && !quoted:
			if begun {
				out = append(out, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if quoted || !begun {
		t.Fatalf("%q: a quote is open, or it ends with a space", line)
	}
	return append(out, word.String())
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
