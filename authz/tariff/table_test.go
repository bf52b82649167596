package tariff_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

func parse(t testing.TB, text string) *tariff.Table {
	t.Helper()
	table, err := tariff.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func example(t testing.TB) *tariff.Table {
	t.Helper()
	b, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(b))
}

func TestDefault(t *testing.T) {
	d := tariff.Default()
	if d.ID() != "default" || d.Version() != 1 || d.Currency() != "EUR" || d.CreditPrice() != 70_000 || d.DefaultMode() != "" || len(d.Modes()) != 0 {
		t.Errorf("%q version %d in %s at %d a credit", d.ID(), d.Version(), d.Currency(), d.CreditPrice())
	}
	want := tariff.Rate{
		Price:      tariff.Price{Rate: credit.PerCredit, MicrosRate: 70_000, Initial: 1, Step: 1, CreditPrice: 70_000},
		MinSeconds: 1,
	}
	for _, dir := range []tariff.Direction{tariff.Inbound, tariff.Outbound} {
		for _, mode := range []string{"", "byok", "anything"} {
			for _, to := range []string{"+31850835037", "31850835037", "", "+", "anonymous"} {
				if got, err := d.Lookup(dir, mode, to); err != nil || got != want {
					t.Errorf("%s %q to %q: %+v, %v", dir, mode, to, got, err)
				}
			}
		}
	}
	if diff := cmp.Diff(encode(t, parse(t, "id: default\nrates: [{credits_per_minute: 1}]")), encode(t, d)); diff != "" {
		t.Errorf("a file of one line differs: %s", diff)
	}
}

func TestExample(t *testing.T) {
	table := example(t)
	byok := tariff.Price{Rate: 60_000, MicrosRate: 70_000, Initial: 1, Step: 1, CreditPrice: 70_000}
	allIn := tariff.Price{Rate: 214_286, MicrosRate: 250_000, Initial: 1, Step: 1, CreditPrice: 70_000}
	mobile := tariff.Price{Rate: 120_000, MicrosRate: 140_000, Connect: 30_000, MicrosConnect: 35_000, Initial: 30, Step: 6, CreditPrice: 70_000}
	free := tariff.Price{Initial: 1, Step: 1, CreditPrice: 70_000}
	for _, c := range []struct {
		dir      tariff.Direction
		mode, to string
		want     tariff.Rate
		err      error
	}{
		{tariff.Outbound, "", "+31201234567", tariff.Rate{Price: byok, MinSeconds: 1}, nil},
		{tariff.Outbound, "byok", "+31201234567", tariff.Rate{Price: byok, MinSeconds: 1}, nil},
		{tariff.Inbound, "all-in", "+31850835037", tariff.Rate{Price: allIn, MinSeconds: 1}, nil},
		{tariff.Outbound, "all-in", "+31612345678", tariff.Rate{Price: mobile, Prefix: "316", MinSeconds: 60}, nil},
		{tariff.Inbound, "byok", "+31612345678", tariff.Rate{Price: byok, MinSeconds: 1}, nil},
		{tariff.Outbound, "byok", "+32475", tariff.Rate{Price: mobile, Prefix: "324", MinSeconds: 60}, nil},
		{tariff.Outbound, "byok", "324", tariff.Rate{Price: mobile, Prefix: "324", MinSeconds: 60}, nil},
		{tariff.Outbound, "byok", "+31800123", tariff.Rate{Price: free, Prefix: "31800", MinSeconds: 1}, nil},
		{tariff.Outbound, "byok", "+31909123", tariff.Rate{Prefix: "31909"}, tariff.ErrBlocked},
		{tariff.Outbound, "gold", "+31201234567", tariff.Rate{}, tariff.ErrUnknownMode},
		{0, "byok", "+31201234567", tariff.Rate{}, tariff.ErrDirection},
	} {
		got, err := table.Lookup(c.dir, c.mode, c.to)
		if !errors.Is(err, c.err) || got != c.want {
			t.Errorf("%v %q to %q: %+v, %v; want %+v, %v", c.dir, c.mode, c.to, got, err, c.want, c.err)
		}
	}
	if got := table.Modes(); !cmp.Equal(got, []string{"byok", "all-in"}) || table.DefaultMode() != "byok" {
		t.Errorf("modes %v, default %q", got, table.DefaultMode())
	}
	// EUR 0.07 and EUR 0.25 a minute, to the cent.
	for mode, want := range map[string]string{"byok": "0.07", "all-in": "0.25"} {
		rate, err := table.Lookup(tariff.Inbound, mode, "+31850835037")
		if got := credit.Amount(rate.Money(60_000)).String(); err != nil || got != want {
			t.Errorf("a minute of %s costs %s, %v; want %s", mode, got, err, want)
		}
	}
}

// Of equal prefixes the rule that says more wins, in whatever order they stand.
func TestMoreSpecificWins(t *testing.T) {
	rules := []string{
		`{"prefix":"31","units_per_minute":6}`,
		`{"prefix":"31","direction":"outbound","units_per_minute":12}`,
		`{"prefix":"31","mode":"b","units_per_minute":18}`,
		`{"prefix":"31","mode":"b","direction":"outbound","units_per_minute":24}`,
	}
	for range 20 {
		rand.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
		table := parse(t, fmt.Sprintf(`{"id":"x","modes":["a","b"],"rates":[%s]}`, strings.Join(rules, ",")))
		for _, c := range []struct {
			dir  tariff.Direction
			mode string
			want credit.Units
		}{
			{tariff.Inbound, "a", 6}, {tariff.Outbound, "a", 12}, {tariff.Inbound, "b", 18}, {tariff.Outbound, "b", 24},
		} {
			if got, err := table.Lookup(c.dir, c.mode, "+3185"); err != nil || got.Rate != c.want {
				t.Errorf("%s %s: %d, %v; want %d", c.dir, c.mode, got.Rate, err, c.want)
			}
		}
		if _, err := table.Lookup(tariff.Inbound, "a", "+32"); !errors.Is(err, tariff.ErrNoRate) {
			t.Errorf("no rule for 32: %v", err)
		}
	}
}

func TestZeroTable(t *testing.T) {
	for _, table := range []*tariff.Table{nil, new(tariff.Table)} {
		if _, err := table.Lookup(tariff.Inbound, "", "+31"); !errors.Is(err, tariff.ErrNoRate) {
			t.Errorf("got %v", err)
		}
	}
}

func TestWithVersion(t *testing.T) {
	old := tariff.Default()
	next := old.WithVersion(7)
	if old.Version() != 1 || next.Version() != 7 || next.ID() != "default" {
		t.Errorf("version %d became %d", old.Version(), next.Version())
	}
	if _, err := next.Lookup(tariff.Inbound, "", "+31"); err != nil {
		t.Error(err)
	}
	if got := old.WithVersion(-1).Version(); got != 0 {
		t.Errorf("version %d", got)
	}
}

func encode(t testing.TB, table *tariff.Table) string {
	t.Helper()
	b, err := json.Marshal(table)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestJSONRoundTrip(t *testing.T) {
	for _, table := range []*tariff.Table{tariff.Default(), example(t), large(t, 500)} {
		text := encode(t, table)
		var back tariff.Table
		if err := json.Unmarshal([]byte(text), &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(*table, back, cmp.Exporter(func(reflect.Type) bool { return true })); diff != "" {
			t.Errorf("%s changes: %s", table.ID(), diff)
		}
		if again := encode(t, &back); again != text {
			t.Errorf("written %s, then %s", text, again)
		}
	}
	kept := *tariff.Default()
	if err := json.Unmarshal([]byte(`{"id":"x"}`), &kept); err == nil || kept.ID() != "default" {
		t.Errorf("a bad table replaced a good one: %v", err)
	}
}

// large is a tariff with n different prefixes.
func large(t testing.TB, n int) *tariff.Table {
	t.Helper()
	return parse(t, largeText(n))
}

func largeText(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	seen := make(map[string]bool, n)
	var b strings.Builder
	b.WriteString(`{"id":"large","modes":["byok","all-in"],"rates":[{"units_per_minute":60000}`)
	for len(seen) < n {
		prefix := fmt.Sprint(10 + r.IntN(90))
		for range 2 + r.IntN(6) {
			prefix += fmt.Sprint(r.IntN(10))
		}
		if seen[prefix] {
			continue
		}
		seen[prefix] = true
		fmt.Fprintf(&b, `,{"direction":"outbound","prefix":%q,"units_per_minute":%d,"step":%d}`, prefix, 6*(1+r.IntN(100_000)), 1+r.IntN(60))
	}
	b.WriteString("]}")
	return b.String()
}

// A look-up finds what trying every rule would find.
func TestLookupAgainstScan(t *testing.T) {
	digits := rapid.StringMatching(`[1-3]{0,4}`)
	rapid.Check(t, func(t *rapid.T) {
		prefixes := rapid.SliceOfNDistinct(digits, 1, 12, rapid.ID).Draw(t, "prefixes")
		var rules []string
		for i, p := range prefixes {
			rules = append(rules, fmt.Sprintf(`{prefix: %q, units_per_minute: %d}`, p, 6*(i+1)))
		}
		table, err := tariff.Parse(fmt.Appendf(nil, "id: x\nrates: [%s]", strings.Join(rules, ", ")))
		if err != nil {
			t.Fatal(err)
		}
		number := rapid.StringMatching(`[+]?[1-3]{0,6}[a-z]?`).Draw(t, "number")
		best := -1
		for i, p := range prefixes {
			if strings.HasPrefix(strings.TrimPrefix(number, "+"), p) && (best < 0 || len(p) > len(prefixes[best])) {
				best = i
			}
		}
		got, err := table.Lookup(tariff.Outbound, "", number)
		if best < 0 {
			if !errors.Is(err, tariff.ErrNoRate) {
				t.Fatalf("%q: %+v, %v", number, got, err)
			}
			return
		}
		if err != nil || got.Prefix != prefixes[best] || got.Rate != credit.Units(6*(best+1)) {
			t.Fatalf("%q: %+v, %v; want %q", number, got, err, prefixes[best])
		}
	})
}

func TestLookupDoesNotAllocate(t *testing.T) {
	table := large(t, 1000)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := table.Lookup(tariff.Outbound, "all-in", "+31850835037"); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%.0f allocations", n)
	}
}

func BenchmarkLookup(b *testing.B) {
	table := large(b, 100_000)
	r := rand.New(rand.NewPCG(3, 4))
	numbers := make([]string, 4096)
	for i := range numbers {
		numbers[i] = fmt.Sprintf("+%d", 10_000_000_000+r.Int64N(89_999_999_999))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := table.Lookup(tariff.Outbound, "all-in", numbers[i%len(numbers)]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	text := []byte(largeText(100_000))
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := tariff.Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
