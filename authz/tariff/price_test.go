package tariff_test

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

func TestPrice(t *testing.T) {
	base := tariff.Price{Rate: credit.PerCredit, MicrosRate: 70_000, Initial: 1, Step: 1}
	mobile := tariff.Price{Rate: 120_000, Connect: 30_000, MicrosRate: 140_000, MicrosConnect: 35_000, Initial: 30, Step: 6}
	odd := tariff.Price{Rate: 7, MicrosRate: 1, Initial: 1, Step: 1}
	for _, c := range []struct {
		name                string
		price               tariff.Price
		talkMS              int64
		secs, billed, units int64
		micros              int64
	}{
		{"nothing", base, 0, 0, 0, 0, 0},
		{"negative", base, -5, 0, 0, 0, 0},
		{"least", base, 1, 1, 1, 1000, 1167},
		{"a second", base, 1000, 1, 1, 1000, 1167},
		{"just over", base, 1001, 2, 2, 2000, 2334},
		{"the document's call", base, 84_000, 84, 84, 84_000, 98_000},
		{"two hours", base, 7_200_000, 7200, 7200, 7_200_000, 8_400_000},
		{"answered only", mobile, 0, 0, 0, 30_000, 35_000},
		{"initial", mobile, 1, 1, 30, 90_000, 105_000},
		{"initial exactly", mobile, 30_000, 30, 30, 90_000, 105_000},
		{"first step", mobile, 30_001, 31, 36, 102_000, 119_000},
		{"step exactly", mobile, 36_000, 36, 36, 102_000, 119_000},
		{"rounded once", odd, 59_000, 59, 59, 7, 1},
		{"whole minute", odd, 60_000, 60, 60, 7, 1},
		{"minute and a bit", odd, 60_001, 61, 61, 8, 2},
		{"no increments", tariff.Price{Rate: 60}, 1500, 2, 2, 2, 0},
		{"absurd", base, math.MaxInt64, 9_223_372_036_854_776, credit.Max, credit.Max, credit.Max},
		{"absurd price", tariff.Price{Rate: math.MaxInt64, Connect: math.MaxInt64, Initial: math.MaxInt64, Step: math.MaxInt64}, 1, 1, math.MaxInt64, credit.Max, 0},
		{"absurd step", tariff.Price{Rate: 60, Initial: 1, Step: math.MaxInt64}, 2000, 2, credit.Max, credit.Max, 0},
		{"negative price", tariff.Price{Rate: -60, Connect: -5, MicrosRate: -1}, 60_000, 60, 60, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := tariff.Seconds(c.talkMS); got != c.secs {
				t.Errorf("Seconds = %d, want %d", got, c.secs)
			}
			if got := c.price.Billed(c.talkMS); got != c.billed {
				t.Errorf("Billed = %d, want %d", got, c.billed)
			}
			if got := c.price.Cost(c.talkMS); int64(got) != c.units {
				t.Errorf("Cost = %d, want %d", got, c.units)
			}
			if got := c.price.Money(c.talkMS); int64(got) != c.micros {
				t.Errorf("Money = %d, want %d", got, c.micros)
			}
			if got := c.price.Cost(c.talkMS); got < 0 || got > credit.Max {
				t.Errorf("Cost = %d is out of range", got)
			}
		})
	}
}

func TestAffordable(t *testing.T) {
	base := tariff.Price{Rate: credit.PerCredit, Initial: 1, Step: 1}
	mobile := tariff.Price{Rate: 120_000, Connect: 30_000, Initial: 30, Step: 6}
	flat := tariff.Price{Connect: 100, Initial: 1, Step: 1}
	for _, c := range []struct {
		name   string
		price  tariff.Price
		budget credit.Units
		want   int64
	}{
		{"nothing", base, 0, 0},
		{"debt", base, -1, 0},
		{"deepest debt", base, math.MinInt64, 0},
		{"not a second", base, 999, 0},
		{"a second", base, 1000, 1},
		{"a credit", base, 60_000, 60},
		{"more than a timer holds", base, credit.Max, tariff.Unlimited},
		{"exactly what a timer holds", base, credit.Units(tariff.Unlimited) * 1000, tariff.Unlimited},
		{"one unit less", base, credit.Units(tariff.Unlimited)*1000 - 1, tariff.Unlimited - 1},
		{"fee only", mobile, 30_000, 0},
		{"fee and not the initial", mobile, 89_999, 0},
		{"fee and initial", mobile, 90_000, 30},
		{"not yet a step", mobile, 101_999, 30},
		{"a step", mobile, 102_000, 36},
		{"flat, not paid", flat, 99, 0},
		{"flat", flat, 100, tariff.Unlimited},
		{"free in debt", tariff.Price{}, -1, 0},
		{"free", tariff.Price{}, 0, tariff.Unlimited},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.price.Affordable(c.budget); got != c.want {
				t.Errorf("Affordable(%d) = %d, want %d", c.budget, got, c.want)
			}
		})
	}
	if !(tariff.Price{}).Free() || base.Free() || flat.Free() {
		t.Error("only a price of nothing is free")
	}
	if got := (tariff.Rate{Price: mobile, MinSeconds: 60}).Least(); got != 150_000 {
		t.Errorf("Least = %d, want fee and 60 s = 150000", got)
	}
	if got := (tariff.Rate{Price: mobile, MinSeconds: 1}).Least(); got != 90_000 {
		t.Errorf("Least = %d, want fee and initial = 90000", got)
	}
}

func anyPrice() *rapid.Generator[tariff.Price] {
	amount := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 200_000), rapid.Int64Range(0, tariff.MaxRate))
	increment := rapid.OneOf(rapid.Just(int64(1)), rapid.Int64Range(1, 70), rapid.Int64Range(1, tariff.MaxIncrement))
	return rapid.Custom(func(t *rapid.T) tariff.Price {
		return tariff.Price{
			Rate:       credit.Units(amount.Draw(t, "rate")),
			Connect:    credit.Units(amount.Draw(t, "connect")),
			MicrosRate: credit.Micros(amount.Draw(t, "micros")),
			Initial:    increment.Draw(t, "initial"),
			Step:       increment.Draw(t, "step"),
		}
	})
}

func anyTalk() *rapid.Generator[int64] {
	return rapid.OneOf(rapid.Int64Range(0, 200_000), rapid.Int64Range(0, tariff.Unlimited*1000))
}

// Affordable is the inverse of Cost: what it grants is paid for, and one second
// more is not.
func TestAffordableInvertsCost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPrice().Draw(t, "price")
		budget := rapid.OneOf(
			rapid.Int64Range(0, credit.Max),
			rapid.Int64Range(-10, 10_000_000),
			// Close to a cost, where an off-by-one would show.
			rapid.Custom(func(t *rapid.T) int64 {
				return int64(p.Cost(anyTalk().Draw(t, "talk"))) + rapid.Int64Range(-1, 1).Draw(t, "off")
			}),
		).Draw(t, "budget")
		s := p.Affordable(credit.Units(budget))
		if s < 0 || s > tariff.Unlimited {
			t.Fatalf("%d s", s)
		}
		if s > 0 && int64(p.Cost(s*1000)) > budget {
			t.Fatalf("%d s cost %d of %d", s, p.Cost(s*1000), budget)
		}
		if s < tariff.Unlimited && int64(p.Cost((s+1)*1000)) <= budget {
			t.Fatalf("one more second than %d costs %d of %d", s, p.Cost((s+1)*1000), budget)
		}
		if s > 0 && s < tariff.Unlimited && p.Billed(s*1000) != s {
			t.Fatalf("%d s are billed as %d: not the end of an increment", s, p.Billed(s*1000))
		}
	})
}

func TestCostIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPrice().Draw(t, "price")
		a, b := anyTalk().Draw(t, "a"), anyTalk().Draw(t, "b")
		a, b = min(a, b), max(a, b)
		if p.Cost(a) > p.Cost(b) || p.Money(a) > p.Money(b) || p.Billed(a) > p.Billed(b) {
			t.Fatalf("%d ms cost more than %d ms", a, b)
		}
		if p.Affordable(credit.Units(a)) > p.Affordable(credit.Units(b)) {
			t.Fatalf("%d units buy more than %d", a, b)
		}
	})
}

// One call is rounded up once: its cost is less than a unit above the exact one.
func TestCostRoundsOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPrice().Draw(t, "price")
		ms := anyTalk().Draw(t, "talk")
		check := func(got, rate, connect int64) {
			exact := new(big.Rat).Mul(big.NewRat(p.Billed(ms), 60), big.NewRat(rate, 1))
			exact.Add(exact, big.NewRat(connect, 1))
			gap := exact.Sub(big.NewRat(got, 1), exact)
			if gap.Sign() < 0 || gap.Cmp(big.NewRat(1, 1)) >= 0 {
				t.Fatalf("%d is %s off", got, gap.RatString())
			}
		}
		check(int64(p.Cost(ms)), int64(p.Rate), int64(p.Connect))
		check(int64(p.Money(ms)), int64(p.MicrosRate), int64(p.MicrosConnect))
		if got := p.Billed(ms); got < tariff.Seconds(ms) || (ms > 0 && got < p.Initial) || got >= tariff.Seconds(ms)+max(p.Initial, p.Step) {
			t.Fatalf("%d ms are billed as %d s", ms, got)
		}
	})
}

// The scripts compute the same in doubles, as the comment of Price says.
func TestDoublesAreExact(t *testing.T) {
	div := func(x, y float64) float64 { return (x - math.Mod(x, y)) / y }
	ceilDiv := func(x, y float64) float64 { return div(x+y-1, y) }
	rapid.Check(t, func(t *rapid.T) {
		p := anyPrice().Draw(t, "price")
		ms := anyTalk().Draw(t, "talk")
		secs, initial, step := ceilDiv(float64(ms), 1000), float64(p.Initial), float64(p.Step)
		billed := secs
		if secs > 0 {
			billed = initial
		}
		if secs > initial {
			billed = initial + ceilDiv(secs-initial, step)*step
		}
		if cost := float64(p.Connect) + ceilDiv(billed*float64(p.Rate), 60); int64(cost) != int64(p.Cost(ms)) {
			t.Fatalf("%.0f in doubles, %d in integers", cost, p.Cost(ms))
		}
		if money := ceilDiv(billed*float64(p.MicrosRate), 60); int64(money) != int64(p.Money(ms)) {
			t.Fatalf("%.0f in doubles, %d in integers", money, p.Money(ms))
		}
	})
}

func BenchmarkCost(b *testing.B) {
	p := tariff.Price{Rate: 120_000, Connect: 30_000, Initial: 30, Step: 6}
	for b.Loop() {
		if p.Cost(84_000) == 0 {
			b.Fatal("free")
		}
	}
}

func BenchmarkAffordable(b *testing.B) {
	p := tariff.Price{Rate: 120_000, Connect: 30_000, Initial: 30, Step: 6}
	for b.Loop() {
		if p.Affordable(1_000_000) == 0 {
			b.Fatal("nothing")
		}
	}
}
