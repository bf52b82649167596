package tariff_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/hmsovereign/ringfence/authz/tariff"
)

// Each wrong file, and what its error must say: field, value, remedy.
func TestParseRefuses(t *testing.T) {
	const head = "id: x\nmodes: [a, b]\nrates:\n"
	for name, c := range map[string]struct {
		file string
		says []string
	}{
		"empty":             {"", []string{"empty"}},
		"comment only":      {"# nothing\n", []string{"empty"}},
		"two documents":     {"id: x\n---\nid: y\n", []string{"more than one YAML document"}},
		"not YAML":          {"id: [", []string{"neither YAML nor JSON"}},
		"a list":            {"[1]", []string{"tariff:", "not a set of named fields"}},
		"a scalar":          {"7", []string{"tariff:", `"7"`}},
		"no id, no rates":   {"{}", []string{"id: missing", "rates: missing"}},
		"bad id":            {"id: a b\nrates: [{free: true}]", []string{`id (line 1): "a b"`}},
		"null id":           {"id:\nrates: [{free: true}]", []string{"id (line 1)", "no value"}},
		"id is a list":      {"id: [x]\nrates: [{free: true}]", []string{"not a single value"}},
		"unknown field":     {"id: x\nrate: []\nrates: [{free: true}]", []string{`rate (line 2)`, "unknown field", "credit_price"}},
		"repeated field":    {"id: x\nid: y\nrates: [{free: true}]", []string{"id (line 2)", "given twice"}},
		"repeated in JSON":  {`{"id":"x","id":"y","rates":[{"free":true}]}`, []string{"id:", "given twice"}},
		"currency":          {"id: x\ncurrency: euro\nrates: [{free: true}]", []string{`"euro"`, "ISO 4217"}},
		"no price":          {"id: x\ncurrency: USD\nrates: [{free: true}]", []string{"credit_price: missing", "USD"}},
		"zero price":        {"id: x\ncredit_price: 0\nrates: [{free: true}]", []string{"credit_price", "must cost"}},
		"negative price":    {"id: x\ncredit_price: -1\nrates: [{free: true}]", []string{"credit_price", `"-1"`, "0 to 4000.00"}},
		"huge price":        {"id: x\ncredit_price: 4001\nrates: [{free: true}]", []string{"out of range"}},
		"price in e":        {"id: x\ncredit_price: 7e-2\nrates: [{free: true}]", []string{"exponents"}},
		"price is bool":     {"id: x\ncredit_price: true\nrates: [{free: true}]", []string{"plain decimal"}},
		"negative version":  {"id: x\nversion: -1\nrates: [{free: true}]", []string{"version", `"-1"`, "out of range"}},
		"huge version":      {"id: x\nversion: 9007199254740992\nrates: [{free: true}]", []string{"out of range"}},
		"octal version":     {"id: x\nversion: 0x10\nrates: [{free: true}]", []string{"not a whole number"}},
		"mode twice":        {"id: x\nmodes: [a, a]\nrates: [{free: true}]", []string{"modes[1]", "given twice"}},
		"default mode":      {"id: x\nmodes: [a]\ndefault_mode: b\nrates: [{free: true}]", []string{"default_mode", "add it to modes, or write a"}},
		"default, no modes": {"id: x\ndefault_mode: b\nrates: [{free: true}]", []string{"default_mode", "add it to modes"}},
		"no rates":          {"id: x\nrates: []", []string{"not a list of rates"}},
		"rates is a map":    {"id: x\nrates: {a: 1}", []string{"not a list of rates", "{...}"}},
		"rate is a number":  {"id: x\nrates: [1]", []string{"rates[0] (line 2)", "credits_per_minute"}},
		"empty rate":        {head + "- {}", []string{"rates[0].units_per_minute: missing", "free: true"}},
		"only money":        {head + "- {money_per_minute: 0.25}", []string{"units_per_minute: 214286"}},
		"rate 0":            {head + "- {credits_per_minute: 0}", []string{"costs nothing", "free: true"}},
		"negative rate":     {head + "- {credits_per_minute: -1}", []string{"credits_per_minute", `"-1"`, "out of range"}},
		"huge rate":         {head + "- {units_per_minute: 4000000001}", []string{"out of range"}},
		"huge credits":      {head + "- {credits_per_minute: 99999999999}", []string{"out of range"}},
		"too precise":       {head + "- {credits_per_minute: 0.00001}", []string{"more precise", "units instead"}},
		"both ways":         {head + "- {credits_per_minute: 1, units_per_minute: 60000}", []string{"in credits and in units"}},
		"inexact money":     {head + "- {units_per_minute: 214286}", []string{"rates[0].units_per_minute", `"214286"`, "money_per_minute: 0.25"}},
		"inexact connect":   {head + "- {credits_per_minute: 1, connect_units: 1}", []string{"rates[0].connect_units", "connect_money: 0.000001"}},
		"derived too much":  {"id: x\ncredit_price: 4000\nrates: [{credits_per_minute: 2}]", []string{"more than 4000.00 EUR"}},
		"money, no credit":  {head + "- {credits_per_minute: 1, connect_money: 1}", []string{"connect_money", "no credit"}},
		"free with price":   {head + "- {free: true, step: 6}", []string{"rates[0].step", "has no price"}},
		"blocked and free":  {head + "- {free: true, blocked: true}", []string{"both free and blocked"}},
		"not a flag":        {head + "- {free: yes}", []string{`"yes"`, "true or false"}},
		"quoted flag":       {head + "- {free: 'true'}", []string{"neither true nor false"}},
		"flag is a list":    {head + "- {free: []}", []string{"not a single value"}},
		"step 0":            {head + "- {credits_per_minute: 1, step: 0}", []string{"rates[0].step", "1 to 3600 seconds"}},
		"initial huge":      {head + "- {credits_per_minute: 1, initial: 3601}", []string{"rates[0].initial", "out of range"}},
		"initial enormous":  {head + "- {credits_per_minute: 1, initial: 99999999999999999999}", []string{"out of range"}},
		"min_seconds half":  {head + "- {credits_per_minute: 1, min_seconds: 1.5}", []string{"not a whole number"}},
		"min_seconds plus":  {head + "- {credits_per_minute: 1, min_seconds: +5}", []string{"not a whole number"}},
		"direction":         {head + "- {credits_per_minute: 1, direction: both}", []string{`"both"`, "remove the field"}},
		"mode":              {head + "- {credits_per_minute: 1, mode: c}", []string{"rates[0].mode", "a or b"}},
		"prefix word":       {head + "- {credits_per_minute: 1, prefix: nl}", []string{"rates[0].prefix", "not digits"}},
		"prefix list":       {head + "- {credits_per_minute: 1, prefix: [31, 3-2]}", []string{"rates[0].prefix[1]", `"3-2"`}},
		"prefix plus":       {head + "- {credits_per_minute: 1, prefix: '+'}", []string{"not digits"}},
		"prefix none":       {head + "- {credits_per_minute: 1, prefix: []}", []string{"no prefix"}},
		"prefix 00":         {head + "- {credits_per_minute: 1, prefix: 0031}", []string{"begins with 0"}},
		"prefix long":       {head + "- {credits_per_minute: 1, prefix: 1234567890123456}", []string{"longer than"}},
		"same prefix":       {head + "- {credits_per_minute: 1, prefix: [31, +31]}", []string{`"31"`, "rates[0] has the same"}},
		"same rule":         {head + "- {credits_per_minute: 1, mode: a}\n- {free: true, mode: b}\n- {blocked: true, mode: a}", []string{"rates[2].prefix", "rates[0] has the same"}},
		"alias":             {"id: &i x\nversion: *i\nrates: [{free: true}]", []string{"anchors and aliases"}},
		"merge":             {"id: x\nrates:\n- &r {free: true}\n- <<: *r\n  prefix: 31", []string{"unknown field"}},
	} {
		t.Run(name, func(t *testing.T) {
			table, err := tariff.Parse([]byte(c.file))
			if err == nil {
				t.Fatalf("read as %s", encode(t, table))
			}
			for _, want := range c.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\ndoes not say %q", err, want)
				}
			}
		})
	}
}

// One look at a bad file shows everything, and nothing twice.
func TestParseReportsEverything(t *testing.T) {
	_, err := tariff.Parse([]byte(`
version: 1.5
currency: eur
modes: [a]
rates:
  - {credits_per_minute: -1}
  - {credits_per_minute: 1, mode: z, prefix: abc, step: 0}
  - {nonsense: 1, free: true}
  - {units_per_minute: 1}
`))
	var lines []string
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		var field *tariff.FieldError
		if !errors.As(e, &field) || field.Field == "" || field.Problem == "" || field.Remedy == "" {
			t.Errorf("%v tells too little", e)
		}
		lines = append(lines, field.Field)
	}
	want := "version currency id rates[0].credits_per_minute rates[1].mode rates[1].prefix rates[1].step rates[2].nonsense rates[3].units_per_minute"
	if got := strings.Join(lines, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}

	_, err = tariff.Parse([]byte("id: x\nrates:\n" + strings.Repeat("- {step: 0}\n", 1000)))
	if n := strings.Count(err.Error(), "\n") + 1; n != 101 || !strings.HasSuffix(err.Error(), "and 900 more errors") {
		t.Errorf("%d lines, ending in %q", n, err.Error()[max(0, len(err.Error())-40):])
	}
}

func TestDirection(t *testing.T) {
	for text, dir := range map[string]tariff.Direction{"inbound": tariff.Inbound, "outbound": tariff.Outbound} {
		got, err := tariff.ParseDirection(text)
		if err != nil || got != dir || got.String() != text || !got.Valid() {
			t.Errorf("%s is %v, %v", text, got, err)
		}
		b, err := json.Marshal(map[tariff.Direction]tariff.Direction{dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		var back map[tariff.Direction]tariff.Direction
		if err := json.Unmarshal(b, &back); err != nil || back[dir] != dir {
			t.Errorf("%s is read back as %v, %v", b, back, err)
		}
	}
	var d tariff.Direction
	if err := d.UnmarshalText([]byte("Inbound")); !errors.Is(err, tariff.ErrDirection) {
		t.Errorf("got %v", err)
	}
	if _, err := d.MarshalText(); !errors.Is(err, tariff.ErrDirection) || d.Valid() || d.String() != "direction(0)" {
		t.Errorf("the zero direction is %s, %v", d, err)
	}
}

// Whatever is read, is written and read back the same, and prices every call.
func FuzzParse(f *testing.F) {
	file, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add([]byte(`{"id":"x","version":2,"currency":"USD","credit_price":0.08,"rates":[{"prefix":["1",""],"units_per_minute":60000,"step":6}]}`))
	f.Add([]byte("id: x\nrates:\n- &r {free: true}\n- *r\n"))
	f.Add([]byte("id: x\nmodes: [a]\nrates: [{mode: a, prefix: +31, units_per_minute: 1, money_per_minute: 0}]"))
	f.Add([]byte("? [a]\n: b\n"))
	f.Add([]byte("&a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		table, err := tariff.Parse(data)
		if err != nil {
			return
		}
		text := encode(t, table)
		var back tariff.Table
		if err := json.Unmarshal([]byte(text), &back); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if again := encode(t, &back); again != text {
			t.Fatalf("written %s, then %s", text, again)
		}
		for _, to := range []string{"", "+31850835037", "+1"} {
			rate, err := table.Lookup(tariff.Outbound, "", to)
			if err == nil && (rate.Initial < 1 || rate.Step < 1 || rate.MinSeconds < 1 || rate.CreditPrice < 1 || rate.Least() < 0) {
				t.Fatalf("%+v", rate)
			}
		}
	})
}
