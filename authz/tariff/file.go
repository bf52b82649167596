package tariff

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hmsovereign/ringfence/authz/credit"
)

const (
	tableFields = "id, version, currency, credit_price, modes, default_mode, rates"

	euro            = "EUR"
	longestPrefix   = 15 // digits of an E.164 number (ITU-T E.164, 6.1)
	amountRemedy    = "write a plain decimal such as 0.07"
	nameRemedy      = "write 1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-', beginning with a letter or digit"
	directionRemedy = `write "inbound" or "outbound", or remove the field for both`
)

var nameForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$`)

// Parse reads a tariff from YAML or JSON; see the package comment for its
// fields. Nothing is guessed: unknown or repeated fields, two rules for the
// same calls, negative or huge numbers, and amounts that are not whole are
// refused. The error joins everything that is wrong, each a *FieldError with
// path, value and remedy.
func Parse(data []byte) (*Table, error) {
	root, err := document(data)
	if err != nil {
		return nil, fmt.Errorf("tariff: %w", err)
	}
	t := &Table{version: 1, currency: euro}
	var p problems
	p.table(t, root)
	if err := p.err(); err != nil {
		return nil, err
	}
	t.compile()
	return t, nil
}

// table reads the whole file. The rates come last, since the order of fields is
// free and they need the modes and the credit price.
func (p *problems) table(t *Table, root *yaml.Node) {
	var id, price, rates, mode *yaml.Node
	ok := p.object("", root, tableFields, func(path, name string, n *yaml.Node) bool {
		switch name {
		case "id":
			id = n
			t.id = p.name(path, n)
		case "version":
			if v, ok := p.integer(path, n, 0, credit.Max, ""); ok {
				t.version = v
			}
		case "currency":
			p.currency(t, path, n)
		case "credit_price":
			price = n
		case "modes":
			p.modes(t, path, n)
		case "default_mode":
			mode = n
		case "rates":
			rates = n
		default:
			return false
		}
		return true
	})
	if !ok {
		return
	}
	if id == nil {
		p.fail("id", nil, "missing", nameRemedy)
	}
	p.creditPrice(t, price)
	p.defaultMode(t, mode)
	p.rates(t, rates)
}

func (p *problems) name(path string, n *yaml.Node) string {
	s, ok := p.text(path, n, nameRemedy)
	if ok && !nameForm.MatchString(s) {
		p.fail(path, n, "not a name", nameRemedy)
	}
	return s
}

func (p *problems) currency(t *Table, path string, n *yaml.Node) {
	const remedy = "write the three capital letters of ISO 4217, such as EUR"
	s, ok := p.text(path, n, remedy)
	if ok && !isUpper(s, 3) {
		p.fail(path, n, "not a currency code", remedy)
		return
	}
	t.currency = s
}

func (p *problems) creditPrice(t *Table, n *yaml.Node) {
	const path = "credit_price"
	if n == nil {
		if t.currency == euro {
			t.creditPrice = DefaultCreditPrice
		} else {
			p.fail(path, nil, "missing", "only EUR has a default; write what one credit costs in "+t.currency)
		}
		return
	}
	v, ok := p.money(path, n)
	if ok && v == 0 {
		p.fail(path, n, "a credit must cost something", amountRemedy)
	}
	t.creditPrice = v
}

func (p *problems) modes(t *Table, path string, n *yaml.Node) {
	p.list(path, n, func(path string, n *yaml.Node) {
		m := p.name(path, n)
		if slices.Contains(t.modes, m) {
			p.fail(path, n, "given twice", "keep one of them")
			return
		}
		t.modes = append(t.modes, m)
	})
}

func (p *problems) defaultMode(t *Table, n *yaml.Node) {
	const path = "default_mode"
	if n == nil {
		if len(t.modes) > 0 {
			t.defaultMode = t.modes[0]
		}
		return
	}
	t.defaultMode = p.name(path, n)
	if !slices.Contains(t.modes, t.defaultMode) {
		p.fail(path, n, "not one of the modes", modesRemedy(t))
	}
}

func modesRemedy(t *Table) string {
	if len(t.modes) == 0 {
		return "add it to modes"
	}
	return "add it to modes, or write " + strings.Join(t.modes, " or ")
}

// rates reads the rules and notes those that no order could tell apart.
func (p *problems) rates(t *Table, n *yaml.Node) {
	const path, remedy = "rates", "write a list of rates, at least one"
	switch {
	case n == nil:
		p.fail(path, nil, "missing", remedy)
		return
	case n.Kind != yaml.SequenceNode || len(n.Content) == 0:
		p.fail(path, n, "not a list of rates", remedy)
		return
	}
	type match struct {
		direction    Direction
		mode, prefix string
	}
	first := make(map[match]int, len(n.Content))
	t.rules = make([]rule, 0, len(n.Content))
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		r, ok := p.rule(t, at, item)
		if !ok {
			continue
		}
		for _, prefix := range r.prefixes {
			m := match{r.direction, r.mode, prefix}
			if j, dup := first[m]; dup {
				p.add(&FieldError{Field: at + ".prefix", Line: item.Line, Value: prefix,
					Problem: fmt.Sprintf("%s[%d] has the same direction, mode and prefix", path, j),
					Remedy:  "keep one of them"})
				continue
			}
			first[m] = i
		}
		t.rules = append(t.rules, r)
	}
}

// credits reads an amount of credit in decimal credits or in whole units.
func (p *problems) credits(path string, n *yaml.Node, inUnits bool) (credit.Units, bool) {
	if inUnits {
		v, ok := p.integer(path, n, 0, MaxRate, " units (60,000 are one credit)")
		return credit.Units(v), ok
	}
	s, ok := p.text(path, n, "write a plain decimal such as 1 or 0.5")
	if !ok {
		return 0, false
	}
	v, err := credit.ParseCredits(s)
	if err != nil {
		p.fail(path, n, err.Error(), "write a plain decimal, or give units instead (60,000 are one credit)")
		return 0, false
	}
	if v < 0 || int64(v) > MaxRate {
		p.fail(path, n, "out of range", fmt.Sprintf("write 0 to %s credits", credit.Units(MaxRate).Credits()))
		return 0, false
	}
	return v, true
}

// money reads an amount of money in the tariff's currency.
func (p *problems) money(path string, n *yaml.Node) (credit.Micros, bool) {
	s, ok := p.text(path, n, amountRemedy)
	if !ok {
		return 0, false
	}
	v, err := credit.ParseMoney(s)
	if err != nil {
		p.fail(path, n, err.Error(), amountRemedy)
		return 0, false
	}
	if v < 0 || int64(v) > MaxRate {
		p.fail(path, n, "out of range", fmt.Sprintf("write 0 to %s", credit.Micros(MaxRate).Money()))
		return 0, false
	}
	return v, true
}
