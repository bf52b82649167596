package config

import (
	"strings"
	"testing"
)

func TestDocuments(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text             string
		field, problem, remedy string // field empty: nothing is wrong
	}{
		{"empty", " ", "", "", ""},
		{"comments", "# nothing\n---\n# at all\n", "", "", ""},
		{"empty section", "hook:\n#  listen: x\npublic: ~\n", "", "", ""},
		{"empty list", "switches:\n#  - name: a\nsip:\n  peers:\n", "", "", ""},
		{"byte order mark", "\ufeffdata_dir: x", "", "", ""},
		{"one text for a list", "sip: {peers: '10.0.0.0/8, 192.0.2.0/24'}", "", "", ""},
		{"alias", "sip: {peers: &p [10.0.0.0/8]}\nswitches:\n- &a {name: a}\n", "", "", ""},
		{"bytes without a unit", "hook: {max_body: 65536}", "", "", ""},
		{"not YAML", "hook: [", "file", "not YAML: line", "ringfence.example.yaml"},
		{"tab", "hook:\n\tlisten: x", "file", "not YAML", ""},
		{"not UTF-8", "data_dir: \xff\xfe", "file", "not YAML", ""},
		{"a text", "hello", "file", "does not hold settings", ""},
		{"a list", "- a", "file", "does not hold settings", ""},
		{"two documents", "data_dir: a\n---\ndata_dir: b\n", "file", "more than one", ""},
		{"twice", "data_dir: a\nlog: {}\ndata_dir: b\n", "file", `line 3: "data_dir" is given twice`, ""},
		{"twice below", "hook:\n  listen: a\n  listen: b\n", "file", `line 3: "listen" is given twice`, ""},
		{"name not a word", "? [a]\n: b\n", "file", "plain word", ""},
		{"merge", "switches: [{name: a, <<: {list: false}}]", "file", "merging", "ringfence.example.yaml"},
		{"tag", "data_dir: !!binary aGVsbG8=", "file", "tag", ""},
		{"own tag", "data_dir: !env HOME", "file", "tag", ""},
		{"unknown alias", "redis: {password: *hunter2}", "file", "needs quotes", ""},
		{"endless alias", "switches: &a [*a]", "file", "", ""},
		{"too deep", "switches: " + strings.Repeat("[", 50) + strings.Repeat("]", 50), "file", "deeply nested", ""},
		{"too many", "switches: [" + strings.Repeat("a,", maxNodes) + "]", "file", "too large", ""},
		{"section as a text", "stripe: sk_live_1", "stripe", "is a section", "key, webhook_secret, url"},
		{"section as a list", "hook: [listen]", "hook", "is a section", ""},
		{"dotted name", "hook.listen: 127.0.0.1:1", "hook.listen", "no such setting", "write listen below hook:, indented"},
		{"dotted name below", "hook: {tls.cert: x}", "hook.tls.cert", "no such setting", "write cert below hook.tls:"},
		{"wrong section", "slice: 60s", "slice", "no such setting", "calls.slice"},
		{"wrong case", "Log: {level: info}", "Log", "no such setting", "log?"},
		{"empty name", "'': {a: b}", "", "no such setting", "remove"},
		{"nothing like it", "frobnicate: 1", "frobnicate", "no such setting", "remove it"},
		{"no value", "hook:\n  listen:\n", "hook.listen", "no value", `""`},
		{"list for a text", "hook: {listen: [a]}", "hook.listen", "not a single value", ""},
		{"table for a list", "sip: {peers: {a: b}}", "sip.peers", "not a list", ""},
		{"empty in a list", "tariffs: {file: ['']}", "tariffs.file[0]", "empty", ""},
		{"table in a list", "tariffs: {file: [{a: b}]}", "tariffs.file[0]", "single value", ""},
		{"yes", "switches: [{name: a, list: yes}]", "switches[0].list", "cannot be read", "true or false"},
		{"float", "redis: {partitions: 64.0}", "redis.partitions", "cannot be read", "whole number"},
		{"huge number", "redis: {partitions: 99999999999999999999}", "redis.partitions", "cannot be read", ""},
		{"size of another kind", "hook: {max_body: 64kb}", "hook.max_body", "cannot be read", "64KiB"},
		{"huge size", "hook: {max_body: 99999999999GiB}", "hook.max_body", "cannot be read", ""},
		{"line break", `data_dir: "a\nb"`, "data_dir", "control character", ""},
		{"space", `data_dir: " a"`, "data_dir", "space", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := try(t, tt.text, nil)
			if tt.field == "" && tt.problem == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			wantProblem(t, err, tt.field, tt.problem, tt.remedy)
		})
	}
}

// Each of these means something else to YAML than its text.
func TestTextsStayTexts(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"0123", "1e3", "0x10", "1_000", "true", "no", "2026-01-01", ".5", "12345678901234567890"} {
		c := must(t, "redis: {url: 'redis://h', password: "+text+"}", nil)
		if c.Redis.Password.Reveal() != text {
			t.Errorf("%s became %s", text, c.Redis.Password.Reveal())
		}
	}
}

func TestAliases(t *testing.T) {
	t.Parallel()
	c := must(t, "tariffs: {default: &n main}\nswitches: [{name: *n}, {name: b}]", nil, "RINGFENCE_SWITCH_MAIN_TIMEOUT=3s")
	if c.Switches[0].Name != "main" || c.Switches[0].Timeout == c.Switches[1].Timeout {
		t.Errorf("%+v", c.Switches)
	}
}

func TestSuggestions(t *testing.T) {
	t.Parallel()
	paths := settings().paths()
	for given, want := range map[string]string{
		"hook.listn": "hook.listen", "hook.lsiten": "hook.listen", "reddis.url": "redis.url", "stripe.webhooksecret": "stripe.webhook_secret",
		"call": "calls", "deadline": "hook.deadline", "CALLS.SLICE": "calls.slice", "zzzzzz": "", strings.Repeat("hook", 100): "",
	} {
		if got := suggest(given, paths); got != want {
			t.Errorf("%s: %q, want %q", given, got, want)
		}
	}
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"ab", "ba", 1}, {"kitten", "sitting", 3}, {"listen", "listen", 0}, {"abcd", "acbd", 1}} {
		if got := distance(tt.a, tt.b); got != tt.want || distance(tt.b, tt.a) != tt.want {
			t.Errorf("distance %q %q = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
