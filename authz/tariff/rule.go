package tariff

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hmsovereign/ringfence/authz/credit"
)

const (
	ruleFields = "direction, mode, prefix, credits_per_minute or units_per_minute, money_per_minute, " +
		"connect_credits or connect_units, connect_money, initial, step, min_seconds, free, blocked"

	prefixRemedy = "write the country code and what follows, up to 15 digits, or \"\" for every destination"
)

// draft is a rule while its fields come in, with those whose absence matters.
type draft struct {
	rule
	free                               bool
	rate, connect, money, connectMoney *yaml.Node
	ratePath, connectPath              string // the fields that gave the credit
	priced                             string // any field that gives a price
}

// rule reads one entry of rates.
func (p *problems) rule(t *Table, path string, n *yaml.Node) (rule, bool) {
	before := p.count()
	d := draft{rule: rule{
		minSeconds: 1,
		price:      Price{Initial: 1, Step: 1, CreditPrice: t.creditPrice},
	}}
	ok := p.object(path, n, ruleFields, func(path, name string, n *yaml.Node) bool {
		return p.match(t, &d, path, name, n) || p.terms(&d, path, name, n)
	})
	if !ok {
		return rule{}, false
	}
	if d.prefixes == nil {
		d.prefixes = []string{""}
	}
	// What is not read right would only be blamed twice.
	if p.count() == before {
		p.settle(t, &d, path, n)
	}
	return d.rule, p.count() == before
}

// match reads the fields that say which calls a rule is for.
func (p *problems) match(t *Table, d *draft, path, name string, n *yaml.Node) bool {
	switch name {
	case "direction":
		if s, ok := p.text(path, n, directionRemedy); ok {
			v, err := ParseDirection(s)
			if err != nil {
				p.fail(path, n, "not a direction", directionRemedy)
			}
			d.direction = v
		}
	case "mode":
		d.mode = p.name(path, n)
		if d.mode != "" && !slices.Contains(t.modes, d.mode) {
			p.fail(path, n, "not one of the modes", modesRemedy(t))
		}
	case "prefix":
		d.prefixes = []string{}
		p.list(path, n, func(path string, n *yaml.Node) { p.prefix(d, path, n) })
		if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
			p.fail(path, n, "no prefix", prefixRemedy)
		}
	default:
		return false
	}
	return true
}

func (p *problems) prefix(d *draft, path string, n *yaml.Node) {
	s, ok := p.text(path, n, prefixRemedy)
	if !ok {
		return
	}
	s = strings.TrimPrefix(s, "+")
	switch {
	case s == "" && n.Value == "":
	case !isDigits(s):
		p.fail(path, n, "not digits", prefixRemedy)
		return
	case s[0] == '0':
		p.fail(path, n, "no E.164 number begins with 0", prefixRemedy)
		return
	case len(s) > longestPrefix:
		p.fail(path, n, "longer than any E.164 number", prefixRemedy)
		return
	}
	d.prefixes = append(d.prefixes, s)
}

// terms reads the fields that say what a call costs.
func (p *problems) terms(d *draft, path, name string, n *yaml.Node) bool {
	seconds := func(to *int64) {
		d.priced = name
		if v, ok := p.integer(path, n, 1, MaxIncrement, " seconds"); ok {
			*to = v
		}
	}
	amount := func(to *credit.Units, seen **yaml.Node, seenPath *string) {
		d.priced = name
		if *seen != nil {
			p.fail(path, n, "given in credits and in units", "keep one of them")
			return
		}
		*seen, *seenPath = n, path
		if v, ok := p.credits(path, n, strings.HasSuffix(name, "units") || strings.HasPrefix(name, "units")); ok {
			*to = v
		}
	}
	money := func(to *credit.Micros, seen **yaml.Node) {
		d.priced = name
		*seen = n
		if v, ok := p.money(path, n); ok {
			*to = v
		}
	}
	switch name {
	case "credits_per_minute", "units_per_minute":
		amount(&d.price.Rate, &d.rate, &d.ratePath)
	case "connect_credits", "connect_units":
		amount(&d.price.Connect, &d.connect, &d.connectPath)
	case "money_per_minute":
		money(&d.price.MicrosRate, &d.money)
	case "connect_money":
		money(&d.price.MicrosConnect, &d.connectMoney)
	case "initial":
		seconds(&d.price.Initial)
	case "step":
		seconds(&d.price.Step)
	case "min_seconds":
		seconds(&d.minSeconds)
	case "free":
		d.free = p.flag(path, n)
	case "blocked":
		d.blocked = p.flag(path, n)
	default:
		return false
	}
	return true
}

// settle checks a rule's terms against each other and derives money from credit.
func (p *problems) settle(t *Table, d *draft, path string, n *yaml.Node) {
	switch {
	case d.free && d.blocked:
		p.fail(path, n, "both free and blocked", "keep one of them")
		return
	case (d.free || d.blocked) && d.priced != "":
		p.fail(join(path, d.priced), nil, "a free or blocked destination has no price", "remove it, or remove free or blocked")
		return
	case d.free || d.blocked:
		return
	case d.rate == nil && d.connect == nil:
		remedy := "write credits_per_minute or units_per_minute, or free: true"
		if t.creditPrice > 0 && d.price.MicrosRate > 0 {
			remedy = fmt.Sprintf("write units_per_minute: %d, the nearest to that money at %s a credit",
				d.price.MicrosRate.Units(t.creditPrice), t.creditPrice.Money())
		}
		p.fail(join(path, "units_per_minute"), nil, "missing", remedy)
		return
	case d.price.Free():
		p.fail(path, n, "costs nothing", "write free: true if that is meant")
		return
	}
	if t.creditPrice <= 0 {
		return // its own error is noted
	}
	p.derive(t, d.rate, d.ratePath, d.price.Rate, d.money, join(path, "money_per_minute"), &d.price.MicrosRate)
	p.derive(t, d.connect, d.connectPath, d.price.Connect, d.connectMoney, join(path, "connect_money"), &d.price.MicrosConnect)
}

// derive sets the money that goes with an amount of credit, unless the file
// gives it: then it must only not charge money where no credit is charged.
func (p *problems) derive(t *Table, from *yaml.Node, fromPath string, u credit.Units, given *yaml.Node, path string, to *credit.Micros) {
	if given != nil {
		if u == 0 && *to > 0 {
			p.fail(path, given, "charges money where no credit is charged", "give the credit too, or remove it")
		}
		return
	}
	m := u.Micros(t.creditPrice)
	if uint64(m)*uint64(credit.PerCredit) != uint64(u)*uint64(t.creditPrice) {
		p.fail(fromPath, from, fmt.Sprintf("not a whole number of millionths of %s at %s a credit", t.currency, t.creditPrice.Money()),
			fmt.Sprintf("write what it is in money, for example %s: %s", path[strings.LastIndexByte(path, '.')+1:], m.Money()))
		return
	}
	if int64(m) > MaxRate {
		p.fail(fromPath, from, fmt.Sprintf("is more than %s %s at this credit price", credit.Micros(MaxRate).Money(), t.currency), "lower it")
		return
	}
	*to = m
}
