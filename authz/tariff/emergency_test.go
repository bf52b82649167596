package tariff_test

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hmsovereign/ringfence/authz/tariff"
)

func emergency(t testing.TB) *tariff.Emergency {
	t.Helper()
	e, err := tariff.NewEmergency(map[string][]string{"GB": {"999", "112"}, "FR": {"15", "17", "18"}, "AU": {"000"}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEmergencyMatch(t *testing.T) {
	e := emergency(t)
	for _, raw := range []string{"112", "911", "999", "15", "000", "+112", " 1-1.2 ", "(112)", "(+) 112", "9 1 1"} {
		if !e.Match(raw) {
			t.Errorf("%q is not let through", raw)
		}
	}
	for _, raw := range []string{
		"", "+", " ", "1", "11", "1120", "9115551234", "+31112", "0112", "0", "00", "0000", "++112", "1+12", "112+",
		"sip:112", "112@example.com", "112#", "*112", "112;", "\u00a0112", "١١٢", "112\n", "112\x00", "1/12",
		strings.Repeat("112", 10), strings.Repeat("1", 1000),
	} {
		if e.Match(raw) {
			t.Errorf("%q passes for an emergency", raw)
		}
	}
}

func TestEmergencyDefaults(t *testing.T) {
	empty, err := tariff.NewEmergency(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]*tariff.Emergency{"empty": empty, "nil": nil} {
		if !e.Match("112") || !e.Match("911") || e.Match("999") || e.Match("") {
			t.Errorf("%s: 112 %t, 911 %t, 999 %t", name, e.Match("112"), e.Match("911"), e.Match("999"))
		}
	}
}

func TestEmergencyRefuses(t *testing.T) {
	e, err := tariff.NewEmergency(map[string][]string{"gb": {"999"}, "FR": {"15", "1", "1 5", ""}, "NL": {"1234567890123456"}, "": nil})
	var field *tariff.FieldError
	if e != nil || !errors.As(err, &field) {
		t.Fatalf("got %v, %v", e, err)
	}
	for _, want := range []string{`"gb": not a country`, `emergency.FR[1]: "1"`, `emergency.FR[2]: "1 5"`, "emergency.FR[3]", "emergency.NL[0]"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 6 {
		t.Errorf("%d errors, want 6: %v", n, err)
	}
}

// Separators never decide; a digit more or less always does.
func TestEmergencyIsExact(t *testing.T) {
	e := emergency(t)
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.StringMatching(`[0-9]{0,6}`).Draw(t, "digits")
		want := false
		for _, n := range []string{"112", "911", "999", "15", "17", "18", "000"} {
			want = want || digits == n
		}
		var raw strings.Builder
		if rapid.Bool().Draw(t, "plus") {
			raw.WriteByte('+')
		}
		for _, d := range digits {
			raw.WriteString(rapid.StringMatching(`[-. ()]{0,2}`).Draw(t, "separators"))
			raw.WriteRune(d)
		}
		if got := e.Match(raw.String()); got != want {
			t.Fatalf("%q: %t", raw.String(), got)
		}
	})
}

func TestEmergencyDoesNotAllocate(t *testing.T) {
	e := emergency(t)
	if n := testing.AllocsPerRun(100, func() { e.Match("+1 1 2"); e.Match("+31850835037") }); n != 0 {
		t.Errorf("%.0f allocations", n)
	}
}

func BenchmarkEmergency(b *testing.B) {
	e := emergency(b)
	b.ReportAllocs()
	for b.Loop() {
		e.Match("+31850835037")
	}
}
