package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// newParser reads command lines and runs none.
func newParser(t *testing.T) *kong.Kong {
	t.Helper()
	parser, err := kong.New(&commands{}, kong.Name("ringfence"), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	return parser
}

// leaves are all commands that can be run.
func leaves(t *testing.T) []*kong.Node { return newParser(t).Model.Leaves(false) }

// withoutSidecar are the commands that do not ask a running sidecar.
var withoutSidecar = []string{"serve", "demo", "check", "version", "bench", "migrate"}

func TestFlagsEverywhere(t *testing.T) {
	for _, n := range leaves(t) {
		if slices.Contains(withoutSidecar, strings.Fields(n.Path())[0]) {
			continue
		}
		var flags []string
		for _, group := range n.AllFlags(false) {
			for _, f := range group {
				flags = append(flags, f.Name)
				if f.Help == "" {
					t.Errorf("%s: --%s has no help", n.Path(), f.Name)
				}
			}
		}
		for _, want := range []string{"json", "ops-url", "admin-token"} {
			stream := want == "json" && slices.Contains(flags, "format") // is in a form of its own
			if !stream && !slices.Contains(flags, want) {
				t.Errorf("%s has no --%s: %v", n.Path(), want, flags)
			}
		}
	}
}

func TestHelp(t *testing.T) {
	for _, n := range leaves(t) {
		args := append(strings.Fields(n.Path()), "--help")
		args = slices.DeleteFunc(args, func(a string) bool { return strings.HasPrefix(a, "<") || strings.HasPrefix(a, "[") })
		out, errOut, code := command(t, args...)
		if code != exitOK || errOut != "" || !strings.Contains(out, n.Help) && !strings.Contains(out, strings.Fields(n.Help)[0]) {
			t.Errorf("%v: code %d\n%s%s", args, code, out, errOut)
		}
	}
	out, _, code := command(t)
	if code != exitOK || !strings.Contains(out, "account create") {
		t.Errorf("no arguments: code %d\n%s", code, out)
	}
}

// TestHelpExamples reads every example that a help text gives as a command line.
func TestHelpExamples(t *testing.T) {
	tried := 0
	err := kong.Visit(newParser(t).Model, func(v kong.Visitable, next kong.Next) error {
		n, ok := v.(*kong.Node)
		if app, is := v.(*kong.Application); is {
			n, ok = app.Node, true
		}
		if !ok {
			return next(nil)
		}
		for line := range strings.Lines(n.Detail) {
			example, ok := strings.CutPrefix(strings.TrimSpace(line), "ringfence ")
			if !ok || !strings.HasPrefix(line, "  ") {
				continue
			}
			example, _, _ = strings.Cut(example, " > ")
			example = strings.TrimSuffix(example, " &")
			tried++
			if _, err := newParser(t).Parse(words(t, example)); err != nil {
				t.Errorf("example of %s: ringfence %s: %v", n.Path(), example, err)
			}
		}
		return next(nil)
	})
	if err != nil || tried < 20 {
		t.Errorf("%d examples, %v", tried, err)
	}
}

// A sidecar of another version may answer what this command does not know.
func TestOtherVersion(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"id": ["a", "b"]}`)
	}))
	defer srv.Close()
	out, errOut, code := command(t, "account", "show", "a", "--ops-url", srv.URL)
	if out != "" || code != exitFail || !strings.Contains(errOut, "is it of another version?") {
		t.Errorf("code %d, %q, %q", code, out, errOut)
	}
}

// What tariff show prints can be put again, and is the same tariff.
func TestTariffRoundTrip(t *testing.T) {
	newWorld(t)
	if _, errOut, code := command(t, "tariff", "put", "testdata/eu.yaml"); code != exitOK {
		t.Fatal(errOut)
	}
	shown, _, _ := command(t, "tariff", "show", "eu-2025")
	before, _, _ := command(t, "tariff", "show", "eu-2025", "--json")
	file := t.TempDir() + "/shown.yaml"
	write(t, file, strings.Replace(shown, "version: 3", "version: 9", 1))
	if out, errOut, code := command(t, "tariff", "put", file); code != exitOK || !strings.Contains(out, "version       3") {
		t.Errorf("code %d: %s%s; the rates are those in force", code, out, errOut)
	}
	if after, _, _ := command(t, "tariff", "show", "eu-2025", "--json"); after != before {
		t.Errorf("before %s after %s", before, after)
	}
}
