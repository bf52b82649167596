package credit

import (
	"errors"
	"fmt"
	"math/bits"
)

// Units is an amount of credit: 60,000 units are one credit.
type Units int64

// Micros is an amount of money: 1,000,000 micros are one unit of the currency
// (EUR 0.07 is 70,000).
type Micros int64

const (
	// PerCredit is one credit.
	PerCredit Units = 60_000
	// PerCurrency is one unit of a currency.
	PerCurrency Micros = 1_000_000
	// Max is the largest amount of either kind, and -Max the smallest: beyond
	// 2^53 - 1 Lua and JSON readers round silently.
	Max = 1<<53 - 1
)

// The reasons an amount is refused. Errors of this package wrap one of them.
var (
	// ErrSyntax: not a plain decimal number.
	ErrSyntax = errors.New("not a plain decimal number")
	// ErrPrecision: finer than the smallest amount there is.
	ErrPrecision = errors.New("more precise than can be kept")
	// ErrRange: beyond ±Max.
	ErrRange = errors.New("out of range")
)

// Add returns u + v, or ErrRange when either or the sum is beyond ±Max.
func (u Units) Add(v Units) (Units, error) {
	sum, err := add(int64(u), int64(v))
	return Units(sum), err
}

// Add returns m + n, or ErrRange when either or the sum is beyond ±Max.
func (m Micros) Add(n Micros) (Micros, error) {
	sum, err := add(int64(m), int64(n))
	return Micros(sum), err
}

func add(a, b int64) (int64, error) {
	// Terms within ±Max cannot overflow an int64, so the sum may be looked at.
	if !inRange(a) || !inRange(b) || !inRange(a+b) {
		return 0, fmt.Errorf("%d + %d: %w: beyond ±%d", a, b, ErrRange, int64(Max))
	}
	return a + b, nil
}

func inRange(n int64) bool { return n >= -Max && n <= Max }

// Units returns the credit that m buys at a price per credit, rounded half up
// (a tie goes away from zero, so that a refund mirrors its purchase). A price
// of zero or less buys nothing. The result is kept within ±Max.
func (m Micros) Units(pricePerCredit Micros) Units {
	return Units(mulDiv(int64(m), int64(PerCredit), int64(pricePerCredit)))
}

// Micros returns what u costs at a price per credit, rounded half up (a tie
// goes away from zero). A price of zero or less costs nothing. The result is
// kept within ±Max.
func (u Units) Micros(pricePerCredit Micros) Micros {
	if pricePerCredit <= 0 {
		return 0
	}
	return Micros(mulDiv(int64(u), int64(pricePerCredit), int64(PerCredit)))
}

// mulDiv returns n*mul/div with a 128-bit product, rounded half away from zero
// and limited to ±Max; 0 where mul or div is not positive.
func mulDiv(n, mul, div int64) int64 {
	if mul <= 0 || div <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(magnitude(n), uint64(mul))
	lo, carry := bits.Add64(lo, uint64(div)/2, 0)
	hi += carry
	q := uint64(Max)
	if hi < uint64(div) {
		quo, _ := bits.Div64(hi, lo, uint64(div))
		q = min(quo, Max)
	}
	if n < 0 {
		return -int64(q)
	}
	return int64(q)
}

// magnitude is |n|, also for the smallest int64.
func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

// floorDiv returns n/d rounded toward minus infinity, for d > 0.
func floorDiv(n, d int64) int64 {
	q := n / d
	if n%d < 0 {
		q--
	}
	return q
}
