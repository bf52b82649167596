package tariff

import (
	"fmt"
	"slices"

	"github.com/hmsovereign/ringfence/authz/credit"
)

// DefaultCreditPrice is one credit in euro: EUR 0.07.
const DefaultCreditPrice credit.Micros = 70_000

// Table is a tariff: rates by direction, mode and destination prefix. It does
// not change once read and may be shared freely. The zero Table, like a nil
// one, has no rates.
type Table struct {
	id          string
	version     int64
	currency    string
	creditPrice credit.Micros
	modes       []string // empty: any mode is accepted
	defaultMode string
	rules       []rule

	// Derived from rules: a row for each prefix, with a cell for each mode and
	// direction that holds a rule's index + 1, or 0.
	prefixes trie
	cells    []int32
	columns  int
}

// rule is one entry of rates.
type rule struct {
	direction  Direction // 0: both
	mode       string    // "": every mode
	prefixes   []string  // never empty; "" is every destination
	price      Price
	minSeconds int64
	blocked    bool
}

// Default returns the tariff "default": one credit a minute by the second, at
// EUR 0.07 a credit, in both directions and every mode.
func Default() *Table {
	t := &Table{
		id: "default", version: 1, currency: "EUR", creditPrice: DefaultCreditPrice,
		rules: []rule{{
			prefixes: []string{""},
			price: Price{
				Rate: credit.PerCredit, MicrosRate: DefaultCreditPrice,
				Initial: 1, Step: 1, CreditPrice: DefaultCreditPrice,
			},
			minSeconds: 1,
		}},
	}
	t.compile()
	return t
}

// ID returns the tariff's name.
func (t *Table) ID() string { return t.id }

// Version returns the number that tells one edition of the tariff from another.
func (t *Table) Version() int64 { return t.version }

// WithVersion returns the same tariff under another version number, 0 to
// credit.Max.
func (t *Table) WithVersion(v int64) *Table {
	c := *t
	c.version = min(max(v, 0), credit.Max)
	return &c
}

// Currency returns the ISO 4217 code of the tariff's money, such as EUR.
func (t *Table) Currency() string { return t.currency }

// CreditPrice returns what one credit costs, in micros of Currency.
func (t *Table) CreditPrice() credit.Micros { return t.creditPrice }

// Modes returns the modes that the tariff sells; none means that it accepts any.
func (t *Table) Modes() []string { return slices.Clone(t.modes) }

// DefaultMode returns the mode of a call that names none; "" where the tariff
// accepts any.
func (t *Table) DefaultMode() string { return t.defaultMode }

// Lookup returns the rate of a call by the longest prefix of its destination,
// the number called in either direction, in E.164 with or without its plus. An
// empty mode is the tariff's default mode. Where no digits lead the destination,
// only rules for every destination match.
//
// Errors: ErrBlocked (with the Prefix that blocks), ErrNoRate, ErrUnknownMode,
// ErrDirection.
func (t *Table) Lookup(dir Direction, mode, e164 string) (Rate, error) {
	if !dir.Valid() {
		return Rate{}, fmt.Errorf("%w, not %d", ErrDirection, uint8(dir))
	}
	if t == nil || t.columns == 0 {
		return Rate{}, ErrNoRate
	}
	column := int(dir) - 1
	if len(t.modes) > 0 {
		if mode == "" {
			mode = t.defaultMode
		}
		i := slices.Index(t.modes, mode)
		if i < 0 {
			return Rate{}, fmt.Errorf("%w: %.40q", ErrUnknownMode, mode)
		}
		column += i * directions
	}
	if e164 != "" && e164[0] == '+' {
		e164 = e164[1:]
	}
	var found int32
	var length int
	for row, n := range t.prefixes.walk(e164) {
		if cell := t.cells[row*t.columns+column]; cell != 0 {
			found, length = cell, n
		}
	}
	if found == 0 {
		return Rate{}, ErrNoRate
	}
	r := &t.rules[found-1]
	if r.blocked {
		return Rate{Prefix: e164[:length]}, ErrBlocked
	}
	return Rate{Price: r.price, Prefix: e164[:length], MinSeconds: r.minSeconds}, nil
}

const directions = 2

// compile derives the look-up structures. Of rules for the same cell the more
// specific one stays, whatever their order.
func (t *Table) compile() {
	t.columns = directions * max(len(t.modes), 1)
	t.prefixes, t.cells = newTrie(), nil
	for i := range t.rules {
		r := &t.rules[i]
		for _, prefix := range r.prefixes {
			row := t.prefixes.insert(prefix)
			if need := (row + 1) * t.columns; need > len(t.cells) {
				t.cells = append(t.cells, make([]int32, need-len(t.cells))...)
			}
			for c := range t.columns {
				cell := &t.cells[row*t.columns+c]
				if t.covers(r, c) && (*cell == 0 || r.rank() > t.rules[*cell-1].rank()) {
					*cell = int32(i + 1)
				}
			}
		}
	}
}

// covers reports whether a rule is for a column's mode and direction.
func (t *Table) covers(r *rule, column int) bool {
	if r.direction != 0 && int(r.direction)-1 != column%directions {
		return false
	}
	return r.mode == "" || t.modes[column/directions] == r.mode
}

// rank orders rules for one prefix: a named mode counts before a direction.
func (r *rule) rank() int {
	rank := 0
	if r.mode != "" {
		rank += 2
	}
	if r.direction != 0 {
		rank++
	}
	return rank
}
