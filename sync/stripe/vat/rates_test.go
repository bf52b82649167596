package vat

import (
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func table(t *testing.T) *Table {
	t.Helper()
	table, err := BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func day(t *testing.T, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestRates(t *testing.T) {
	table := table(t)
	for _, c := range []struct {
		country, at string
		want        int64
	}{
		{"AT", "2025-11-01T00:00:00Z", 2000}, {"BE", "2025-11-01T00:00:00Z", 2100}, {"BG", "2025-11-01T00:00:00Z", 2000},
		{"CY", "2025-11-01T00:00:00Z", 1900}, {"CZ", "2025-11-01T00:00:00Z", 2100}, {"DE", "2025-11-01T00:00:00Z", 1900},
		{"DK", "2025-11-01T00:00:00Z", 2500}, {"EE", "2025-11-01T00:00:00Z", 2400}, {"ES", "2025-11-01T00:00:00Z", 2100},
		{"FI", "2025-11-01T00:00:00Z", 2550}, {"FR", "2025-11-01T00:00:00Z", 2000}, {"GR", "2025-11-01T00:00:00Z", 2400},
		{"HR", "2025-11-01T00:00:00Z", 2500}, {"HU", "2025-11-01T00:00:00Z", 2700}, {"IE", "2025-11-01T00:00:00Z", 2300},
		{"IT", "2025-11-01T00:00:00Z", 2200}, {"LT", "2025-11-01T00:00:00Z", 2100}, {"LU", "2025-11-01T00:00:00Z", 1700},
		{"LV", "2025-11-01T00:00:00Z", 2100}, {"MT", "2025-11-01T00:00:00Z", 1800}, {"NL", "2025-11-01T00:00:00Z", 2100},
		{"PL", "2025-11-01T00:00:00Z", 2300}, {"PT", "2025-11-01T00:00:00Z", 2300}, {"RO", "2025-11-01T00:00:00Z", 2100},
		{"SE", "2025-11-01T00:00:00Z", 2500}, {"SI", "2025-11-01T00:00:00Z", 2200}, {"SK", "2025-11-01T00:00:00Z", 2300},

		{"EE", "2025-06-30T23:59:59Z", 2200}, {"EE", "2025-07-01T00:00:00Z", 2400},
		{"SK", "2024-12-31T23:59:59Z", 2000}, {"SK", "2025-01-01T00:00:00Z", 2300},
		{"FI", "2024-08-31T23:59:59Z", 2400}, {"FI", "2024-09-01T00:00:00Z", 2550},
		{"RO", "2025-07-31T23:59:59Z", 1900}, {"RO", "2025-08-01T00:00:00Z", 2100},
		{"LU", "2023-06-01T00:00:00Z", 1600},
	} {
		if got, err := table.Rate(c.country, day(t, c.at)); got != c.want || err != nil {
			t.Errorf("%s on %s: %d, %v, want %d", c.country, c.at, got, err, c.want)
		}
	}
	for _, country := range []string{"US", "", "EL"} {
		if _, err := table.Rate(country, time.Now()); !errors.Is(err, ErrNoRate) {
			t.Errorf("%q: %v", country, err)
		}
	}
	if _, err := table.Rate("NL", day(t, "1990-01-01T00:00:00Z")); !errors.Is(err, ErrNoRate) {
		t.Errorf("before the table begins: %v", err)
	}
}

func TestReadTable(t *testing.T) {
	whole := string(builtIn)
	own, err := ReadTable(strings.NewReader(whole + "GB, 2011-01-04, 20\nNL,2030-01-01,22.75\n"))
	if err != nil {
		t.Fatal(err)
	}
	if rate, err := own.Rate("NL", day(t, "2030-01-01T00:00:00Z")); rate != 2275 || err != nil {
		t.Errorf("a rate of the operator's own: %d, %v", rate, err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"a country less":  {strings.Replace(whole, "MT,2004-01-01,18\n", "", 1), "MT has none"},
		"no table":        {"", "AT has none"},
		"unknown country": {whole + "XX,2025-01-01,20\n", `"XX" is not a country`},
		"no date":         {whole + "NL,1.1.2025,20\n", "not a date"},
		"too high":        {whole + "NL,2025-01-01,51\n", "not a percentage"},
		"three decimals":  {whole + "NL,2025-01-01,20.125\n", "not a percentage"},
		"negative":        {whole + "NL,2025-01-01,-1\n", "not a percentage"},
		"two fields":      {whole + "NL,2025-01-01\n", "has 2 fields"},
		"twice":           {whole + "NL,2012-10-01,20\n", "NL has two from 2012-10-01"},
		"quotes":          {whole + "\"NL,2012-10-01,20\n", "VAT rates"},
	} {
		if _, err := ReadTable(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestPercent(t *testing.T) {
	for s, want := range map[string]int64{"21": 2100, "25.5": 2550, "8.25": 825, "0": 0, "50": 5000, "0.01": 1} {
		got, err := ParsePercent(s)
		if got != want || err != nil || Percent(want) != s {
			t.Errorf("%s: %d, %v, %s", s, got, err, Percent(want))
		}
	}
	for _, s := range []string{"", ".", "21.", ".5", "1e1", "+1", " 1", "50.01", "99999999999999999999"} {
		if got, err := ParsePercent(s); err == nil {
			t.Errorf("%q: %d", s, got)
		}
	}
}

func TestDecide(t *testing.T) {
	table := table(t)
	now := day(t, "2025-12-13T12:00:00Z")
	for _, c := range []struct {
		name, seller, buyer string
		verified            bool
		want                Tax
	}{
		{"own country", "NL", "NL", false, Tax{Rate: 2100, Country: "NL", Note: "Dutch VAT 21%"}},
		{"own country, VAT ID", "NL", "NL", true, Tax{Rate: 2100, Country: "NL", Note: "Dutch VAT 21%"}},
		{"country not known", "NL", "", false, Tax{Rate: 2100, Country: "NL", Note: "Dutch VAT 21%"}},
		{"country not known, VAT ID", "NL", "", true, Tax{Rate: 2100, Country: "NL", Note: "Dutch VAT 21%"}},
		{"consumer", "NL", "FI", false, Tax{Rate: 2550, Country: "FI", Note: "Finnish VAT 25.5%"}},
		{"business", "NL", "DE", true, Tax{Country: "DE", ReverseCharge: true, Note: NoteReverseCharge}},
		{"Greek business", "NL", "GR", true, Tax{Country: "GR", ReverseCharge: true, Note: NoteReverseCharge}},
		{"Monaco", "NL", "MC", false, Tax{Rate: 2000, Country: "FR", Note: "French VAT 20%"}},
		{"French seller to Monaco", "FR", "MC", true, Tax{Rate: 2000, Country: "FR", Note: "French VAT 20%"}},
		{"outside", "NL", "US", false, Tax{Note: NoteOutside}},
		{"Northern Ireland", "NL", "GB", true, Tax{Note: NoteOutside}},
		{"Switzerland", "NL", "CH", false, Tax{Note: NoteOutside}},
		{"seller in Germany", "DE", "NL", false, Tax{Rate: 2100, Country: "NL", Note: "Dutch VAT 21%"}},
	} {
		got, err := table.Decide(Sale{c.seller, c.buyer, c.verified, now})
		if got != c.want || err != nil {
			t.Errorf("%s: %+v, %v, want %+v", c.name, got, err, c.want)
		}
	}
	for _, buyer := range Members() {
		if buyer == "NL" {
			continue
		}
		plain, err := table.Decide(Sale{"NL", buyer, false, now})
		if rate, _ := table.Rate(buyer, now); err != nil || plain.Rate != rate || plain.ReverseCharge || rate < 1500 {
			t.Errorf("%s without a VAT ID: %+v, %v", buyer, plain, err)
		}
		business, err := table.Decide(Sale{"NL", buyer, true, now})
		if err != nil || business.Rate != 0 || !business.ReverseCharge {
			t.Errorf("%s with a VAT ID: %+v, %v", buyer, business, err)
		}
	}
	if _, err := table.Decide(Sale{"US", "", false, now}); !errors.Is(err, ErrNoRate) {
		t.Errorf("a seller without a rate: %v", err)
	}
}

func TestAmount(t *testing.T) {
	for _, c := range []struct{ net, rate, want int64 }{
		{3500, 2100, 735}, {840, 2100, 176}, {50, 2100, 11}, {10, 2550, 3}, {1, 2100, 0}, {2, 2500, 1}, {-2, 2500, -1}, {0, 2100, 0}, {9007199254740991, 2700, 2431943798780068},
	} {
		if got := Amount(c.net, c.rate); got != c.want {
			t.Errorf("%d at %d: %d, want %d", c.net, c.rate, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		net := rapid.Int64Range(0, 1<<53).Draw(t, "net")
		rate := rapid.Int64Range(0, mostPercent).Draw(t, "rate")
		exact := new(big.Int).Mul(big.NewInt(net), big.NewInt(rate))
		exact.Add(exact, big.NewInt(5000)).Div(exact, big.NewInt(10000))
		if got := Amount(net, rate); got != exact.Int64() {
			t.Fatalf("%d at %d: %d, want %s", net, rate, got, exact)
		}
	})
}
