package credit_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hmsovereign/ringfence/authz/credit"
)

func TestParseCredits(t *testing.T) {
	for in, want := range map[string]credit.Units{
		"0": 0, "-0": 0, "500": 30_000_000, "498.6": 29_916_000, "-2.5": -150_000,
		"0.00005": 3, "1.000000000000": 60_000, "0.016667": 1000, "-0.016667": -1000,
		"0.000017": 1, "0.000033": 2, "150119987579.016517": credit.Max, "-150119987579.016517": -credit.Max,
	} {
		got, err := credit.ParseCredits(in)
		if err != nil || got != want {
			t.Errorf("ParseCredits(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
}

func TestParseMoney(t *testing.T) {
	for in, want := range map[string]credit.Micros{
		"0": 0, "8.40": 8_400_000, "0.07": 70_000, "-0.000001": -1, "35": 35_000_000,
		"9007199254.740991": credit.Max, "-9007199254.740991": -credit.Max,
	} {
		got, err := credit.ParseMoney(in)
		if err != nil || got != want {
			t.Errorf("ParseMoney(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for in, want := range map[string]struct {
		is   error
		says string
	}{
		"":                        {credit.ErrSyntax, "empty"},
		"1e3":                     {credit.ErrSyntax, "exponents"},
		"NaN":                     {credit.ErrSyntax, `unexpected 'N'`},
		"Inf":                     {credit.ErrSyntax, `unexpected 'I'`},
		" 1":                      {credit.ErrSyntax, "space"},
		"1 ":                      {credit.ErrSyntax, "space"},
		"1,5":                     {credit.ErrSyntax, "point before decimals"},
		"1_000":                   {credit.ErrSyntax, "without grouping"},
		"+1":                      {credit.ErrSyntax, "minus"},
		"--1":                     {credit.ErrSyntax, "minus"},
		"-":                       {credit.ErrSyntax, "no digit before"},
		".5":                      {credit.ErrSyntax, "no digit before"},
		"5.":                      {credit.ErrSyntax, "no digit after"},
		"1.2.3":                   {credit.ErrSyntax, "more than one point"},
		"01":                      {credit.ErrSyntax, "leading zero"},
		"0x10":                    {credit.ErrSyntax, `'x'`},
		"١":                       {credit.ErrSyntax, "unexpected"},
		"\xff":                    {credit.ErrSyntax, "unexpected"},
		strings.Repeat("9", 65):   {credit.ErrSyntax, "longer than"},
		"0.0000001":               {credit.ErrPrecision, "6 decimals"},
		"99999999999999999999":    {credit.ErrRange, "too many digits"},
		"150119987579016517":      {credit.ErrRange, "the most is"},
		"-9223372036854775807.99": {credit.ErrRange, "the most is"},
	} {
		for name, parse := range map[string]func(string) (int64, error){
			"credits": func(s string) (int64, error) { u, err := credit.ParseCredits(s); return int64(u), err },
			"money":   func(s string) (int64, error) { m, err := credit.ParseMoney(s); return int64(m), err },
		} {
			got, err := parse(in)
			if !errors.Is(err, want.is) || !strings.Contains(err.Error(), want.says) || !strings.HasPrefix(err.Error(), name) || got != 0 {
				t.Errorf("%s of %q = %d, %v; want %v and %q", name, in, got, err, want.is, want.says)
			}
		}
	}
	for in, want := range map[string]error{
		"0.00001": credit.ErrPrecision, "0.016666": credit.ErrPrecision, "0.01667": credit.ErrPrecision,
		"150119987579.016533": credit.ErrRange, "-150119987579.01655": credit.ErrRange,
	} {
		if got, err := credit.ParseCredits(in); !errors.Is(err, want) {
			t.Errorf("ParseCredits(%q) = %d, %v; want %v", in, got, err, want)
		}
	}
	if got, err := credit.ParseMoney("9007199254.740992"); !errors.Is(err, credit.ErrRange) {
		t.Errorf("one micro too many: %d, %v", got, err)
	}
}

func TestShown(t *testing.T) {
	for in, want := range map[credit.Minutes]string{
		0: "0", 30_000_000: "500", 29_916_000: "498.6", 599: "0", 600: "0.01", 60_599: "1",
		-1: "-0.01", -600: "-0.01", -601: "-0.02", -60_000: "-1", -150_000: "-2.5",
		math.MaxInt64: "153722867280912.93", math.MinInt64: "-153722867280912.94",
	} {
		if got := in.String(); got != want {
			t.Errorf("Minutes(%d) = %s, want %s", int64(in), got, want)
		}
	}
	for in, want := range map[credit.Amount]string{
		0: "0.00", 8_400_000: "8.40", 70_000: "0.07", 4999: "0.00", 5000: "0.01", 14_999: "0.01",
		-4999: "0.00", -5000: "-0.01", -8_400_000: "-8.40", 35_000_000: "35.00",
	} {
		if got := in.String(); got != want {
			t.Errorf("Amount(%d) = %s, want %s", int64(in), got, want)
		}
	}
	for in, want := range map[int64]string{
		7200: "120", 84: "1.4", 1: "0.01", 59: "0.98", 0: "0", -1: "-0.02",
		math.MaxInt64: "150119987579", math.MinInt64: "-150119987579",
	} {
		if got := credit.MinutesOfSeconds(in).String(); got != want {
			t.Errorf("MinutesOfSeconds(%d) = %s, want %s", in, got, want)
		}
	}
	for in, want := range map[credit.Micros]string{0: "0.00", 1: "0.000001", 8_400_000: "8.40", -70_000: "-0.07", 5_125_000: "5.125"} {
		if got := in.Money(); got != want {
			t.Errorf("Micros(%d).Money() = %s, want %s", int64(in), got, want)
		}
	}
}

// The document's own numbers, as JSON.
func TestJSON(t *testing.T) {
	type answer struct {
		Balance credit.Minutes `json:"minutes_balance"`
		Usage   credit.Minutes `json:"monthly_usage_minutes"`
		Cost    credit.Amount  `json:"total_cost"`
	}
	in := answer{Balance: credit.Minutes(500 * credit.PerCredit), Usage: credit.MinutesOfSeconds(7200), Cost: 8_400_000}
	b, err := json.Marshal(in)
	if want := `{"minutes_balance":500,"monthly_usage_minutes":120,"total_cost":8.40}`; err != nil || string(b) != want {
		t.Fatalf("got %s, %v; want %s", b, err, want)
	}
	var out answer
	if err := json.Unmarshal(b, &out); err != nil || out != in {
		t.Errorf("read back %+v, %v; want %+v", out, err, in)
	}
	for _, bad := range []string{`{"minutes_balance":"500"}`, `{"minutes_balance":1e3}`, `{"total_cost":0.0000001}`, `{"total_cost":null}`} {
		if err := json.Unmarshal([]byte(bad), &out); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func TestConvert(t *testing.T) {
	for _, c := range []struct {
		micros, price credit.Micros
		want          credit.Units
	}{
		{35_000_000, 70_000, 500 * credit.PerCredit},
		{250_000, 70_000, 214_286},
		{1, 120_000, 1},   // 0.5: a tie goes up
		{-1, 120_000, -1}, // and its refund takes as much
		{1, 120_001, 0},
		{1, 0, 0}, {1, -1, 0}, {0, 70_000, 0},
		{credit.Max, 1, credit.Max}, {-credit.Max, 1, -credit.Max},
		{math.MinInt64, 1, -credit.Max},
	} {
		if got := c.micros.Units(c.price); got != c.want {
			t.Errorf("Micros(%d).Units(%d) = %d, want %d", c.micros, c.price, got, c.want)
		}
	}
	for _, c := range []struct {
		units credit.Units
		price credit.Micros
		want  credit.Micros
	}{
		{500 * credit.PerCredit, 70_000, 35_000_000},
		{84_000, 70_000, 98_000},
		{214_286, 70_000, 250_000},
		{1, 30_000, 1}, {-1, 30_000, -1}, {1, 29_999, 0},
		{1, 0, 0}, {1, -5, 0},
		{credit.Max, credit.Max, credit.Max}, {-credit.Max, credit.Max, -credit.Max},
	} {
		if got := c.units.Micros(c.price); got != c.want {
			t.Errorf("Units(%d).Micros(%d) = %d, want %d", c.units, c.price, got, c.want)
		}
	}
}

func TestAdd(t *testing.T) {
	for _, c := range []struct {
		a, b, want int64
		ok         bool
	}{
		{1, 2, 3, true}, {-credit.Max, credit.Max, 0, true}, {credit.Max - 1, 1, credit.Max, true},
		{credit.Max, 1, 0, false}, {-credit.Max, -1, 0, false},
		{math.MaxInt64, 1, 0, false}, {math.MinInt64, math.MinInt64, 0, false}, {math.MaxInt64, math.MinInt64, 0, false},
	} {
		u, err := credit.Units(c.a).Add(credit.Units(c.b))
		if int64(u) != c.want || (err == nil) != c.ok || (err != nil && !errors.Is(err, credit.ErrRange)) {
			t.Errorf("Units %d + %d = %d, %v", c.a, c.b, u, err)
		}
		m, err := credit.Micros(c.a).Add(credit.Micros(c.b))
		if int64(m) != c.want || (err == nil) != c.ok {
			t.Errorf("Micros %d + %d = %d, %v", c.a, c.b, m, err)
		}
	}
}

func amounts() *rapid.Generator[int64] {
	return rapid.OneOf(rapid.Int64Range(-credit.Max, credit.Max), rapid.Int64Range(-1_000_000, 1_000_000))
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := amounts().Draw(t, "n")
		if u, err := credit.ParseCredits(credit.Units(n).Credits()); err != nil || int64(u) != n {
			t.Fatalf("%d units are %s credits, read back as %d, %v", n, credit.Units(n).Credits(), u, err)
		}
		if m, err := credit.ParseMoney(credit.Micros(n).Money()); err != nil || int64(m) != n {
			t.Fatalf("%d micros are %s, read back as %d, %v", n, credit.Micros(n).Money(), m, err)
		}
	})
}

// What is shown is the exact value, rounded as promised: checked in rationals.
func TestShownAgainstRationals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := amounts().Draw(t, "n")
		shown, ok := new(big.Rat).SetString(credit.Minutes(n).String())
		exact := big.NewRat(n, int64(credit.PerCredit))
		gap := new(big.Rat).Sub(exact, shown)
		if !ok || gap.Sign() < 0 || gap.Cmp(big.NewRat(1, 100)) >= 0 {
			t.Fatalf("%d units show as %s", n, credit.Minutes(n))
		}
		shown, ok = new(big.Rat).SetString(credit.Amount(n).String())
		gap = new(big.Rat).Sub(big.NewRat(n, int64(credit.PerCurrency)), shown)
		if !ok || gap.Abs(gap).Cmp(big.NewRat(1, 200)) > 0 {
			t.Fatalf("%d micros show as %s", n, credit.Amount(n))
		}
		if back := credit.Amount(-n).String(); strings.TrimPrefix(back, "-") != strings.TrimPrefix(credit.Amount(n).String(), "-") {
			t.Fatalf("%s is refunded as %s", credit.Amount(n), back)
		}
	})
}

func TestConvertAgainstRationals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := amounts().Draw(t, "n")
		price := rapid.Int64Range(1, 10_000_000_000).Draw(t, "price")
		check := func(got, mul, div int64) {
			exact := new(big.Rat).Mul(big.NewRat(n, 1), big.NewRat(mul, div))
			limit := big.NewRat(credit.Max, 1)
			if new(big.Rat).Abs(exact).Cmp(limit) >= 0 {
				if got != credit.Max && got != -credit.Max {
					t.Fatalf("%d * %d / %d = %d", n, mul, div, got)
				}
				return
			}
			gap := new(big.Rat).Sub(exact, big.NewRat(got, 1))
			half := gap.Abs(gap).Cmp(big.NewRat(1, 2))
			if half > 0 || (half == 0 && new(big.Rat).Abs(exact).Cmp(new(big.Rat).Abs(big.NewRat(got, 1))) > 0) {
				t.Fatalf("%d * %d / %d = %d", n, mul, div, got)
			}
		}
		check(int64(credit.Micros(n).Units(credit.Micros(price))), int64(credit.PerCredit), price)
		check(int64(credit.Units(n).Micros(credit.Micros(price))), price, int64(credit.PerCredit))
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"500", "498.6", "-2.5", "0.016667", "1e9", "NaN", "", "-", "00", "9007199254.740991", "1,5", " 1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if u, err := credit.ParseCredits(s); err == nil {
			again, err := credit.ParseCredits(u.Credits())
			if err != nil || again != u || u > credit.Max || u < -credit.Max {
				t.Errorf("%q is %d units, printed %s, read back %d, %v", s, u, u.Credits(), again, err)
			}
			exact, _ := new(big.Rat).SetString(s)
			gap := new(big.Rat).Sub(exact, big.NewRat(int64(u), int64(credit.PerCredit)))
			if gap.Abs(gap).Cmp(big.NewRat(1, 2_000_000)) > 0 {
				t.Errorf("%q is not %d units", s, u)
			}
		}
		if m, err := credit.ParseMoney(s); err == nil {
			exact, ok := new(big.Rat).SetString(s)
			if !ok || exact.Cmp(big.NewRat(int64(m), int64(credit.PerCurrency))) != 0 {
				t.Errorf("%q is not %d micros", s, m)
			}
		}
	})
}

func BenchmarkMinutesJSON(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := credit.Minutes(29_916_000).MarshalJSON(); err != nil {
			b.Fatal(err)
		}
	}
}
