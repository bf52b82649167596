package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz/credit"
)

func TestMinutes(t *testing.T) {
	for in, want := range map[string]credit.Units{"500": 500 * credit.PerCredit, "498.6": 29_916_000, "-2.5": -150_000, "0": 0} {
		var m Minutes
		if err := m.UnmarshalText([]byte(in)); err != nil || credit.Units(m) != want {
			t.Errorf("%q is %d, %v; want %d", in, m, err, want)
		}
	}
	for _, in := range []string{"", "1e3", "1,5", "five", "1.000001", "99999999999999"} {
		var m Minutes
		if err := m.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q is %d", in, m)
		}
	}
}

func TestExpiry(t *testing.T) {
	now := time.Date(2025, 12, 13, 10, 0, 0, 999, time.FixedZone("", 3600))
	for in, want := range map[string]string{
		"90d":                       "2026-03-13T09:00:00Z",
		"12h":                       "2025-12-13T21:00:00Z",
		"1h30m":                     "2025-12-13T10:30:00Z",
		"2026-12-31":                "2027-01-01T00:00:00Z", // to the end of the day
		"2026-12-31T17:00:00Z":      "2026-12-31T17:00:00Z",
		"2026-12-31T17:00:00+01:00": "2026-12-31T16:00:00Z",
	} {
		var e Expiry
		if err := e.UnmarshalText([]byte(in)); err != nil || e.At(now).Format(time.RFC3339Nano) != want {
			t.Errorf("%q is %s, %v; want %s", in, e.At(now), err, want)
		}
	}
	for _, in := range []string{"", "never", "d", "0d", "-1d", "1.5d", "99999d", "-1h", "0s", "2026-02-30", "31-12-2026", "5"} {
		var e Expiry
		if err := e.UnmarshalText([]byte(in)); err == nil || !strings.Contains(err.Error(), "write 90d") {
			t.Errorf("%q is %s, %v", in, e.At(now), err)
		}
	}
}

func TestID(t *testing.T) {
	for in, ok := range map[string]bool{"acme": true, "+31 85": true, "a/b": true, "...": true, "": false, ".": false, "..": false, "\xff": false} {
		var id ID
		if err := id.UnmarshalText([]byte(in)); (err == nil) != ok || ok && id.String() != in {
			t.Errorf("%q is %q, %v", in, id, err)
		}
	}
}
