package tariff

import (
	"math/bits"

	"github.com/hmsovereign/ringfence/authz/credit"
)

const (
	// Unlimited is the cap of every answer in seconds, 24.8 days: the largest
	// whole number of seconds that a signed 32-bit millisecond timer holds, and
	// so the longest dead-man timer that every switch can arm.
	Unlimited int64 = 2_147_483

	// MaxIncrement bounds an initial or step increment and a minimum, in seconds.
	MaxIncrement int64 = 3600

	// MaxRate bounds a rate per minute and a connect fee, in units as in micros.
	// Within it, and with talk time up to Unlimited, every product below stays
	// under 2^53, so that a script that counts in doubles is exact as well.
	MaxRate int64 = 4_000_000_000

	msPerSecond      = 1000
	secondsPerMinute = 60
)

// Price is what a call costs, frozen when the call is authorized. Both sides
// of it are charged by the same billed seconds: credit, which is held and
// settled, and money, which is shown.
//
//	secs   = ceil(talkMS / 1000)
//	billed = 0                                                   if secs = 0
//	       = Initial                                             if secs <= Initial
//	       = Initial + ceil((secs - Initial) / Step) * Step      otherwise
//	cost   = Connect + ceil(billed * Rate / 60)
//	money  = MicrosConnect + ceil(billed * MicrosRate / 60)
//
// Every call is rounded once, on its total. A script that computes the same in
// doubles divides exactly with (x - x % y) / y. Talk time below zero counts as
// zero, an increment below one second as one, and no amount exceeds credit.Max.
type Price struct {
	Rate          credit.Units  // a minute of talk
	Connect       credit.Units  // each answered call
	MicrosRate    credit.Micros // a minute of talk, in the tariff's currency
	MicrosConnect credit.Micros // each answered call, in the tariff's currency
	Initial       int64         // seconds billed at least, >= 1
	Step          int64         // seconds billed at a time after those, >= 1
	CreditPrice   credit.Micros // one credit, in the tariff's currency
}

// Seconds returns talk time in whole seconds, rounded up, before increments:
// the duration_sec of a usage record.
func Seconds(talkMS int64) int64 {
	if talkMS <= 0 {
		return 0
	}
	return (talkMS-1)/msPerSecond + 1
}

// Billed returns the seconds a call is charged for.
func (p Price) Billed(talkMS int64) int64 {
	secs := Seconds(talkMS)
	if secs == 0 {
		return 0
	}
	initial, step := max(p.Initial, 1), max(p.Step, 1)
	if secs <= initial {
		return initial
	}
	steps := (secs - initial - 1) / step
	if steps >= credit.Max/step {
		return credit.Max
	}
	return min(initial+(steps+1)*step, credit.Max)
}

// Cost returns the credit a call costs. A call of no talk time that was
// answered costs the connect fee.
func (p Price) Cost(talkMS int64) credit.Units {
	return credit.Units(charge(p.Billed(talkMS), int64(p.Rate), int64(p.Connect)))
}

// Money returns what the same call costs in money.
func (p Price) Money(talkMS int64) credit.Micros {
	return credit.Micros(charge(p.Billed(talkMS), int64(p.MicrosRate), int64(p.MicrosConnect)))
}

// charge returns connect + ceil(billed*rate/60), limited to credit.Max.
func charge(billed, rate, connect int64) int64 {
	billed, rate, connect = max(billed, 0), max(rate, 0), min(max(connect, 0), credit.Max)
	hi, lo := bits.Mul64(uint64(billed), uint64(rate))
	if hi >= secondsPerMinute {
		return credit.Max
	}
	talk, rest := bits.Div64(hi, lo, secondsPerMinute)
	if talk >= uint64(credit.Max-connect) {
		return credit.Max
	}
	if rest > 0 {
		talk++
	}
	return connect + int64(talk)
}

// Affordable returns the most whole seconds of talk that a budget pays for:
// the largest s, up to Unlimited, with Cost(1000*s) <= budget. It is the end of
// an increment, Unlimited, or 0 where the budget does not reach the first
// increment. A free call is Unlimited.
func (p Price) Affordable(budget credit.Units) int64 {
	// Whoever can pay for the longest call is answered here, which also keeps
	// the product below small.
	if p.Cost(Unlimited*msPerSecond) <= budget {
		return Unlimited
	}
	rest := int64(min(budget, credit.Max)) - int64(max(p.Connect, 0))
	if p.Rate <= 0 || rest <= 0 {
		return 0
	}
	billed := rest * secondsPerMinute / int64(p.Rate)
	initial, step := max(p.Initial, 1), max(p.Step, 1)
	if billed < initial {
		return 0
	}
	return min(billed-(billed-initial)%step, Unlimited)
}

// Free reports whether a call costs no credit, however long it takes.
func (p Price) Free() bool { return p.Rate <= 0 && p.Connect <= 0 }

// Rate is the price that a tariff has for one call, and its terms.
type Rate struct {
	Price
	// Prefix is the destination prefix that matched, in digits; empty is the
	// rule for every destination.
	Prefix string
	// MinSeconds is the least talk time that must be affordable for the call to
	// be let go.
	MinSeconds int64
}

// Least returns the credit that must be available for the call to be let go:
// the connect fee and the initial increment or MinSeconds, whichever is longer.
func (r Rate) Least() credit.Units { return r.Cost(max(r.MinSeconds, 1) * msPerSecond) }
