package config

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// FuzzLoad feeds any text as the file. Nothing may panic; what is refused is
// refused with a remedy; what is accepted is valid, and prints as a file that
// says the same.
func FuzzLoad(f *testing.F) {
	data, err := os.ReadFile(sample)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(data))
	f.Add(settingLine.ReplaceAllString(string(data), "$1"))
	for _, text := range []string{
		"", "hook: {listen: '0.0.0.0:1', token: t}", "a: &a [*a]", "? [a]\n: b", "hook.listen: x", "switches: [{name: a, timeout: 1s}]",
		"sip: {peers: '10.0.0.0/8,::/0', rtp_ports: 1-2}", "redis: {url: 'redis+sentinel://a:1,b:2/m?db=1'}", "emergency: {numbers: {GB: [999]}}",
		"<<: {a: b}", "data_dir: !!binary aGk=", "---\n...\n---\n", "log: {level: ~}", "calls: {slice: -1ns}", "hook: {max_body: 9223372036854775807GiB}",
		"ledger: {url: 'sqlite:///a'}", "\xef\xbb\xbfdata_dir: x", "switches:\n- &a {name: a}\n- *a\n", "tariffs: {file: [/dev/null]}",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var p problems
		c := read(text, &p)
		if c == nil {
			for _, e := range Problems(p.err()) {
				if e.Problem == "" || e.Remedy == "" || !utf8.ValidString(e.Problem+e.Remedy) {
					t.Errorf("%+v", e)
				}
			}
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("accepted, but not valid: %v", err)
		}
		printed := c.YAML()
		if strings.Contains(printed, Redacted) {
			return
		}
		var again problems
		d := read(printed, &again)
		if d == nil {
			t.Fatalf("does not read what it printed: %v\n%s", again.err(), printed)
		}
		if diff := cmp.Diff(c, d, ours); diff != "" {
			t.Errorf("%s\n%s", diff, printed)
		}
	})
}

// read is load without the file system, which would slow the fuzzer down; the
// files that a text names are not looked at.
func read(text string, p *problems) *Config {
	l := loader{hostname: func() (string, error) { return "testhost", nil }}
	l.environ(nil)
	c, err := l.merge("ringfence.yaml", []byte(text), nil, nil)
	if err != nil {
		p.add(&Error{Field: "koanf", Problem: err.Error()})
		return nil
	}
	*p = l.problems
	check(c, p)
	if p.err() != nil {
		return nil
	}
	return c
}

// FuzzVariables feeds any text to the variables whose form is richest.
func FuzzVariables(f *testing.F) {
	for _, text := range []string{"", "a,b", "[a, b]", "{GB: [999]}", "[{name: a}]", "redis://u:p@h/1", "unix:///s", "10.0.0.0/8", "\x00", "[[[[", "~", "1-2", "http://h/?token=x"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range []string{"SWITCHES", "EMERGENCY_NUMBERS", "SIP_PEERS", "SIP_RTP_PORTS", "REDIS_URL", "LEDGER_URL", "PUBLIC_URL", "HOOK_LISTEN", "HOOK_MAX_BODY", "CALLS_SLICE", "INSTANCE"} {
			l := loader{hostname: func() (string, error) { return "testhost", nil }}
			c, err := l.load("", []string{"RINGFENCE_" + name + "=" + text}, nil)
			if (c == nil) == (err == nil) {
				t.Fatalf("%s: neither or both", name)
			}
			for _, e := range Problems(err) {
				if e.Problem == "" || e.Remedy == "" {
					t.Errorf("%s: %+v", name, e)
				}
			}
		}
	})
}

// FuzzRedact: whatever stands between a colon and the last @ of a URL's
// authority is not shown, nor does showing twice reveal more.
func FuzzRedact(f *testing.F) {
	for _, s := range []string{"p", "p/q", "p?q", "p#q", "p@q", "", "%zz", "://", "a b"} {
		f.Add("redis", "u", s)
	}
	f.Add("u:p", "x", "y")
	f.Fuzz(func(t *testing.T, scheme, user, password string) {
		const mark = "\u2620"
		shown := URL(scheme + "://" + user + ":" + password + mark + "@h:1/0").String()
		if strings.Contains(shown, mark) {
			t.Errorf("shown: %s", shown)
		}
		if twice := URL(shown).String(); twice != shown && twice != Redacted {
			t.Errorf("%s shows as %s", shown, twice)
		}
	})
}
