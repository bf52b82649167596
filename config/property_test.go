package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// any text that a file, a variable and a flag can all hold; half of them close
// to what the key wants.
func texts(k *key) *rapid.Generator[string] {
	near := []string{k.def, k.min, k.max, "0", "1", "2s", "61s", "90s", "true", "false", "", " ", "~", "null", "1KiB", "1-65535", "30000-39999",
		"127.0.0.1:1", ":2", "x", "10.0.0.0/8", "redis://u:p@h:1/2", "https://h", "sqlite:///a", "0x1", "1e3", "-1", "[a, b]", "a,b", "{GB: [999]}", "[{name: a}]", Redacted}
	near = append(near, k.in...)
	return rapid.OneOf(rapid.SampledFrom(near), rapid.StringMatching(`[ -~äé€]{0,12}`))
}

type outcome struct {
	Value    any
	Problems []string
}

func see(k *key, c *Config, err error) outcome {
	o := outcome{}
	for _, e := range Problems(err) {
		o.Problems = append(o.Problems, fmt.Sprintf("%s %q %s; %s", e.Field, e.Value, e.Problem, e.Remedy))
	}
	if c != nil {
		o.Value = k.field(reflect.ValueOf(c).Elem()).Interface()
	}
	return o
}

// A text means the same wherever it stands.
func TestEveryPlaceReadsTheSame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		k := rapid.SampledFrom(settings().keys).Draw(rt, "key")
		text := texts(k).Draw(rt, "text")
		quoted := "'" + strings.ReplaceAll(text, "'", "''") + "'"
		file := ""
		parts := strings.Split(k.path, ".")
		for i, p := range parts {
			file += strings.Repeat("  ", i) + p + ":"
			if i < len(parts)-1 {
				file += "\n"
			}
		}
		load := func(text string, flags map[string]any, environ ...string) outcome {
			l := loader{hostname: func() (string, error) { return "testhost", nil }}
			l.environ(environ)
			c, err := l.merge("f", []byte(text), environ, flags)
			if err != nil {
				rt.Fatal(err)
			}
			check(c, &l.problems)
			return see(k, c, l.problems.err())
		}
		inFile := load(file+" "+quoted+"\n", nil)
		inEnv := load("", nil, k.env+"="+text)
		inFlag := load("", map[string]any{k.path: text})
		if diff := cmp.Diff(inFile, inEnv, ours); diff != "" {
			rt.Errorf("%s=%s: file and variable differ: %s", k.path, text, diff)
		}
		if diff := cmp.Diff(inEnv, inFlag, ours); diff != "" {
			rt.Errorf("%s=%s: variable and flag differ: %s", k.path, text, diff)
		}
	})
}

// The highest place that says something wins, for every mix of keys and places.
func TestPrecedenceHoldsForAllKeys(t *testing.T) {
	t.Parallel()
	samples := map[string][3]string{ // three valid texts, none the default
		"log.level": {"debug", "warn", "error"}, "log.format": {"json", "json", "json"}, "data_dir": {"a", "b", "c"},
		"hook.deadline": {"1s", "2s", "3s"}, "hook.max_body": {"2KiB", "3KiB", "4KiB"}, "sip.peers": {"10.0.0.0/8", "10.1.0.0/16", "::1/128"},
		"redis.partitions": {"1", "2", "3"}, "redis.url": {"redis://a", "redis://b", "redis://c"}, "stripe.key": {"sk_a", "sk_b", "sk_c"},
		"calls.min_seconds": {"2", "3", "4"}, "calls.tombstone": {"10m", "20m", "30m"}, "policy.mode": {"open", "closed", "open"},
		"hook.tls.cert": {"a", "b", "c"}, "emergency.numbers": {"{GB: [999]}", "{AU: [000]}", "{DE: [110]}"}, "meter.lease": {"11s", "12s", "13s"},
	}
	names := sortedKeys(samples)
	sources := []Source{FromFile, FromEnv, FromFlag}
	rapid.Check(t, func(rt *rapid.T) {
		var environ []string
		flags := make(map[string]any)
		var file strings.Builder
		want := make(map[string]Source)
		wantText := make(map[string]string)
		sections := make(map[string][]string)
		for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom(names), func(s string) string { return s }).Draw(rt, "keys") {
			k := settings().byPath[name]
			for i, given := range rapid.SliceOfN(rapid.Bool(), 3, 3).Draw(rt, name) {
				text := samples[name][i]
				if !given {
					continue
				}
				want[name], wantText[name] = sources[i], text
				switch sources[i] {
				case FromFile:
					at := strings.LastIndexByte(name, '.')
					sections[name[:max(at, 0)]] = append(sections[name[:max(at, 0)]], name[at+1:]+": '"+text+"'")
				case FromEnv:
					environ = append(environ, k.env+"="+text)
				case FromFlag:
					flags[name] = text
				}
			}
		}
		writeSections(&file, "", sections)
		l := loader{hostname: func() (string, error) { return "testhost", nil }}
		l.environ(environ)
		c, err := l.merge("f", []byte(file.String()), environ, flags)
		if err == nil {
			err = l.problems.err()
		}
		if err != nil {
			rt.Fatalf("%v\n%s", err, file.String())
		}
		plain := Default()
		plain.Instance = "testhost"
		for _, k := range settings().keys {
			source, given := want[k.path]
			if !given {
				source = FromDefault
			}
			if got := c.Origin(k.path).Source; got != source {
				rt.Errorf("%s comes from %s, want %s", k.path, got, source)
			}
			wanted := k.field(reflect.ValueOf(plain).Elem())
			if given {
				var p problems
				d := decoder{problems: &p, origins: map[string]Origin{}}
				wanted = reflect.New(k.typ).Elem()
				d.decode(k, k.path, &value{Kind: isText, Text: wantText[k.path]}, wanted)
			}
			if got := k.field(reflect.ValueOf(c).Elem()); !same(got, wanted) {
				rt.Errorf("%s = %v, want %v", k.path, got, wanted)
			}
		}
	})
}

func writeSections(b *strings.Builder, section string, sections map[string][]string) {
	indent := ""
	if section != "" {
		indent = strings.Repeat("  ", strings.Count(section, ".")+1)
		b.WriteString(indent[2:] + lastName(section) + ":\n")
	}
	for _, line := range sections[section] {
		b.WriteString(indent + line + "\n")
	}
	for _, name := range settings().sections[section] {
		if path := join(section, name); settings().sections[path] != nil {
			writeSections(b, path, sections)
		}
	}
}
