package vat

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// Numbers that are in use or were published as examples.
var valid = []string{
	"ATU13585627", "BE0428759497", "BE0776091951", "BG175074752", "BG7523169263", "CY10259033P", "CZ25123891", "CZ7103192745", "CZ640903926",
	"DE136695976", "DK13585628", "EE100931558", "EE100594102", "EL094259216", "EL023456780", "ESB58378431", "ES54362315K", "ESX2482300W", "ESJ99216582",
	"FI20774740", "FR40303265045", "FR23334175221", "FRK7399859412", "FR4Z123456782", "HR33392005961", "HU12892312",
	"IE6433435F", "IE6433435OA", "IE8D79739I", "IT00743110157", "LT119511515", "LT100001919017", "LU15027442", "LV40003521600",
	"MT11679112", "NL004495445B01", "NL002455799B11", "PL8567346215", "PT501964843", "RO18547290", "SE123456789701", "SI50223054", "SK2022749619",
	"XI123456789", "XIGD123", "XIHA599", "XI123456789001",
}

func TestValid(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range valid {
		id, err := Parse(s)
		if err != nil || id.String() != s || id.StripeType() != "eu_vat" {
			t.Errorf("%s: %v, %v", s, id, err)
		}
		seen[id.Prefix] = true
	}
	for prefix, f := range forms {
		if !seen[prefix] {
			t.Errorf("no number of %s is tested", prefix)
		}
		if _, err := Parse(f.example); err != nil && prefix != "FR" {
			t.Errorf("the example of %s: %v", prefix, err)
		}
	}
	if len(forms) != len(members)+1 {
		t.Errorf("%d forms for %d member states and Northern Ireland", len(forms), len(members))
	}
	if got := (ID{}).StripeType(); got != "" {
		t.Errorf("no ID has the type %q", got)
	}
}

func TestNormalized(t *testing.T) {
	for raw, want := range map[string]string{
		" nl 0044.95.445-b01 ":    "NL004495445B01",
		"GR 094259216":            "EL094259216",
		"be 428.759.497":          "BE0428759497",
		"AT u135 85 627":          "ATU13585627",
		"DE\u00a0136\u2013695976": "DE136695976",
		"CY-10259033-p":           "CY10259033P",
	} {
		if id, err := Parse(raw); err != nil || id.String() != want {
			t.Errorf("%q: %v, %v", raw, id, err)
		}
	}
}

// Each form is broken in the ways that people break it: a digit less, a digit more, a letter for a digit, another
// country's letters, and where there are check digits, each digit off by one.
func TestInvalid(t *testing.T) {
	for _, s := range valid {
		prefix, number := s[:2], s[2:]
		for name, wrong := range map[string]string{
			"no number":   prefix,
			"a star":      s[:len(s)-1] + "*",
			"much longer": s + "0000000",
			"letters":     prefix + strings.Repeat("Q", len(number)),
			"accents":     prefix + "é" + number,
			"twice":       s + s,
			"lone number": number,
		} {
			if id, err := Parse(wrong); err == nil {
				t.Errorf("%s of %s: %q was taken for %v", name, s, wrong, id)
			}
		}
		if short := s[:len(s)-1]; prefix != "RO" && prefix != "CZ" && !slices.Contains(valid, short) {
			if id, err := Parse(short); err == nil && len(short) != 11 { // CZ, BG, LT have several lengths
				t.Errorf("%s without its last character was taken for %v", s, id)
			}
		}
		switch prefix {
		case "EL", "NL", "FR": // their rules miss some slips
			continue
		}
		if forms[prefix].valid == nil {
			continue
		}
		for i := range number {
			if number[i] < '0' || number[i] > '9' || prefix == "SE" && i >= 10 {
				continue
			}
			other := number[:i] + string('0'+(number[i]-'0'+1)%10) + number[i+1:]
			if _, err := Parse(prefix + other); !errors.Is(err, ErrCheckDigit) && !errors.Is(err, ErrForm) {
				t.Errorf("%s with another digit %d, %s: %v", s, i, other, err)
			}
		}
	}
	for raw, want := range map[string]error{
		"": ErrNoPrefix, "N": ErrNoPrefix, "GB123456789": ErrNoPrefix, "US123456789": ErrNoPrefix, "CHE123456789": ErrNoPrefix,
		"NL004495445A01": ErrForm, "NL004495446B01": ErrCheckDigit, "ATX13585627": ErrForm, "FR40303265046": ErrCheckDigit,
		"BE2428759497": ErrForm, "DE036695976": ErrForm, "IE6433435Z": ErrForm, "IE6433435E": ErrCheckDigit, "LT12345678901": ErrForm,
		"SE123456789700": ErrCheckDigit, "CY12000052N": ErrCheckDigit, "XIGD12": ErrForm, "XIAB123": ErrForm, "ES12345678": ErrForm, "ESB5837843": ErrForm,
		strings.Repeat("1", 1000): ErrNoPrefix,
	} {
		if _, err := Parse(raw); !errors.Is(err, want) {
			t.Errorf("%.40q: %v, want %v", raw, err, want)
		}
	}
}

func TestParseFor(t *testing.T) {
	for _, c := range []struct {
		country, raw, want string
		err                error
	}{
		{"NL", "004495445B01", "NL004495445B01", nil},
		{"NL", "NL004495445B01", "NL004495445B01", nil},
		{"GR", "094259216", "EL094259216", nil},
		{"GR", "EL094259216", "EL094259216", nil},
		{"AT", "U13585627", "ATU13585627", nil},
		{"MC", "FR40303265045", "FR40303265045", nil},
		{"GB", "XI123456789", "XI123456789", nil},
		{"DE", "NL004495445B01", "", ErrCountry},
		{"GB", "GB123456789", "", ErrCountry},
		{"US", "NL004495445B01", "", ErrCountry},
		{"", "NL004495445B01", "", ErrCountry},
		{"NL", "004495446B01", "", ErrCheckDigit},
		{"NL", "hello", "", ErrForm},
	} {
		id, err := ParseFor(c.country, c.raw)
		if id.String() != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s of %q: %v, %v, want %s, %v", c.raw, c.country, id, err, c.want, c.err)
		}
	}
}

func TestCountries(t *testing.T) {
	if len(countrySet) != 250 || len(Members()) != 27 {
		t.Errorf("%d countries, %d member states", len(countrySet), len(Members()))
	}
	for _, code := range Members() {
		if !KnownCountry(code) || !InEU(code) || forms[Prefix(code)].number == nil {
			t.Errorf("%s is not known throughout", code)
		}
	}
	for _, code := range []string{"", "nl", "EL", "XI", "UK", "EU", "ZZ", "A", " A"} {
		if KnownCountry(code) {
			t.Errorf("%q is taken for a country", code)
		}
	}
}

// What is accepted is in its canonical form, and is accepted again as itself.
func FuzzParse(f *testing.F) {
	for _, s := range valid {
		f.Add(s)
	}
	f.Add("gr 094-259.216")
	f.Add("\xff\x00NL")
	f.Fuzz(func(t *testing.T, raw string) {
		id, err := Parse(raw)
		if err != nil {
			return
		}
		again, err := Parse(id.String())
		if err != nil || again != id {
			t.Fatalf("%q became %v, which became %v, %v", raw, id, again, err)
		}
		if s := id.String(); s != Normalize(s) || len(s) > 15 || strings.ToUpper(s) != s {
			t.Fatalf("%q is not in canonical form", s)
		}
	})
}
