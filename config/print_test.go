package config

import (
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the reference into the README")

func TestYAMLTellsOrigins(t *testing.T) {
	t.Parallel()
	c := must(t, "redis:\n  url: redis://u:p@h:1\nswitches:\n- name: \"true\"\n  timeout: 45s\n", map[string]any{"log.level": "debug"},
		"RINGFENCE_CALLS_SLICE=120s", "RINGFENCE_EMERGENCY_NUMBERS={GB: [0999, 101]}")
	got := c.YAML()
	for _, line := range []string{
		"# The configuration in force; file: \"" + c.Path() + "\"\n",
		"  level: debug # flag\n",
		"  url: redis://u:(redacted)@h:1 # file line 2\n",
		"  slice: 120s # env RINGFENCE_CALLS_SLICE\n",
		"  min_seconds: 1 # default\n",
		"  peers: [127.0.0.0/8] # default\n",
		"  numbers: {GB: [\"0999\", \"101\"]} # env RINGFENCE_EMERGENCY_NUMBERS\n",
		"  - name: \"true\" # file line 4\n",
		"    timeout: 45s # file line 5\n",
		"    rearm: false # default\n",
		"    client_ca: \"\" # default\n",
		"instance: testhost # default\n",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("no %q in\n%s", line, got)
		}
	}
	for _, k := range settings().keys {
		if !strings.Contains(got, lastName(k.path)+":") {
			t.Errorf("%s is missing", k.path)
		}
	}
	if !strings.Contains(must(t, "", nil).YAML(), `file: "no file"`) {
		t.Error("does not say that there is no file")
	}
}

func TestYAMLSaysTheSame(t *testing.T) {
	t.Parallel()
	tariff := write(t, "a, b.yaml", "", 0o600)
	c := must(t, "tariffs: {file: [\""+tariff+"\"]}\nhook: {socket: '~', max_body: 3MiB}\ncalls: {slice: 90s, extend_before: 1500ms}\n"+
		"emergency: {numbers: {GB: [999], AU: ['000']}}\nswitches: [{name: '0123', control_url: 'http://h'}, {name: no, heartbeat: true}]", nil)
	again := must(t, c.YAML(), nil)
	if diff := cmp.Diff(c, again, ours); diff != "" {
		t.Errorf("%s\n%s", diff, c.YAML())
	}
}

func TestReference(t *testing.T) {
	t.Parallel()
	rows := strings.Split(strings.TrimSpace(Reference()), "\n")
	want := 2 + len(settings().keys) + len(switchFields().keys)
	if len(rows) != want {
		t.Errorf("%d rows, want %d", len(rows), want)
	}
	for _, r := range rows {
		if n := strings.Count(strings.ReplaceAll(r, `\|`, ""), "|"); n != 6 {
			t.Errorf("%d bars in %s", n, r)
		}
	}
	for _, row := range []string{
		"| `hook.deadline` | `RINGFENCE_HOOK_DEADLINE` | `250ms` | Time one request may take; when Redis does not answer within it, the failure policy decides. 1ms to 10s |  |",
		"| `ops.admin_token` | `RINGFENCE_ADMIN_TOKEN`, or a file that holds it: `RINGFENCE_ADMIN_TOKEN_FILE` |  | What the CLI sends to the admin API as Authorization: Bearer |  |",
		"| `switches[].timeout` | `RINGFENCE_SWITCH_NAME_TIMEOUT` | `2s` | Time to wait for its answer to an order. 10ms to 60s |  |",
	} {
		if !strings.Contains(Reference(), row+"\n") {
			t.Errorf("no row %s in\n%s", row, Reference())
		}
	}
}

// Every tag must be one that the code can read: nothing checks them at run time.
func TestTags(t *testing.T) {
	t.Parallel()
	for _, s := range []*schema{settings(), switchFields()} {
		for _, k := range s.keys {
			if k.doc == "" || strings.HasSuffix(k.doc, ".") || strings.ContainsAny(k.doc, "\n\t") {
				t.Errorf("%s: doc %q", k.path, k.doc)
			}
			if (k.min == "") != (k.max == "") {
				t.Errorf("%s: min and max belong together", k.path)
			}
			numeric := k.typ.Kind() == reflect.Int || k.typ.Kind() == reflect.Int64
			if numeric != (k.min != "") {
				t.Errorf("%s: bounds %q %q for %s", k.path, k.min, k.max, k.typ)
			}
			if numeric && k.def == "" || k.typ.Kind() == reflect.Bool && k.def == "" {
				t.Errorf("%s: no default", k.path)
			}
			for _, bound := range []string{k.min, k.max, k.def} {
				if bound == "" {
					continue
				}
				var p problems
				d := decoder{problems: &p, origins: map[string]Origin{}}
				d.decode(k, k.path, &value{Kind: isText, Text: bound}, reflect.New(k.typ).Elem())
				if err := p.err(); err != nil {
					t.Errorf("tag of %s: %v", k.path, err)
				}
			}
			if form(k.typ) == "" {
				t.Errorf("%s: no form", k.path)
			}
		}
	}
}

// The README holds the reference between two comments.
func TestREADME(t *testing.T) {
	t.Parallel()
	const path, begin, end = "../README.md", "<!-- configuration reference: begin -->\n", "<!-- configuration reference: end -->"
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) && os.Getenv("CI") == "" {
		t.Skip("there is no README.md yet")
	}
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	before, rest, found := strings.Cut(text, begin)
	old, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("README.md lacks the lines\n%s%s\nwhere the reference belongs; write them, then run go test ./config -run README -update", begin, end)
	}
	if old == Reference() {
		return
	}
	if !*update {
		t.Fatal("the reference in README.md is not what the code says; run go test ./config -run README -update")
	}
	if err := os.WriteFile(path, []byte(before+begin+Reference()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
