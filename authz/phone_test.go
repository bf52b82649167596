package authz

import (
	"strings"
	"testing"
)

func TestE164(t *testing.T) {
	for _, c := range []struct {
		raw, country, want string
		ok                 bool
	}{
		{"+31850835037", "NL", "+31850835037", true},
		{"0850835037", "NL", "+31850835037", true},
		{"020 123 4567", "NL", "+31201234567", true},
		{"(030) 1234567", "DE", "+49301234567", true},
		{"2025550123", "US", "+12025550123", true},
		{"sip:+31850835037@10.0.0.1:5060", "NL", "+31850835037", true},
		{"sips:0850835037;phone-context=nl@pbx", "NL", "+31850835037", true},
		{"tel:+31-85-083-5037;ext=4", "NL", "+31850835037", true},
		{"anonymous", "NL", "anonymous", false},
		{"", "NL", "", false},
		{"101", "NL", "101", false},
		{"+0123456789", "NL", "+0123456789", false},
		{"sip:no-at-sign", "NL", "sip:no-at-sign", false},
		{strings.Repeat("9", 60), "NL", strings.Repeat("9", 60), false},
	} {
		if got, ok := E164(c.raw, c.country); got != c.want || ok != c.ok {
			t.Errorf("E164(%q, %s) = %q, %v; want %q, %v", c.raw, c.country, got, ok, c.want, c.ok)
		}
	}
}

func FuzzE164(f *testing.F) {
	for _, s := range []string{"+31850835037", "0850835037", "sip:+3185@h;x=y", "tel:1;2", "00 31 85", "+", "sip:@", "\x00", "+３１８５０８３５０３７"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, ok := E164(raw, "NL")
		if !ok {
			return
		}
		if !isE164(got) {
			t.Fatalf("E164(%q) = %q is no E.164 number", raw, got)
		}
		if again, ok := E164(got, "US"); !ok || again != got {
			t.Fatalf("E164(%q) = %q, and again %q", raw, got, again)
		}
	})
}

func TestMaskHidesTheEnd(t *testing.T) {
	for in, want := range map[string]string{"+31850835037": "+3185083****", "112": "***", "": ""} {
		if got := Mask(in); got != want {
			t.Errorf("Mask(%q) = %q, want %q", in, got, want)
		}
	}
}
