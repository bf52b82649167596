package stripefake

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// params are a request's, decoded from Stripe's form encoding: a[b]=1, a[0][b]=1, a[]=1. Whatever no handler reads is
// refused as unknown, as Stripe does.
type params struct {
	name   string // as sent, for errors
	value  string
	leaf   bool
	fields map[string]*params
	order  []string
	used   bool
	first  *firstError // of the whole request
}

// firstError keeps the first thing found wrong.
type firstError struct{ err *Error }

func newParams() *params { return &params{first: &firstError{}} }

// parseParams decodes a query or a body.
func parseParams(encoded string) (*params, *Error) {
	root := newParams()
	for pair := range strings.SplitSeq(encoded, "&") {
		if pair == "" {
			continue
		}
		rawKey, rawValue, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(rawKey)
		if err != nil {
			return nil, invalid("", "", "Invalid encoding of a parameter's name: %s", rawKey)
		}
		value, err := url.QueryUnescape(rawValue)
		if err != nil {
			return nil, invalid("", key, "Invalid encoding of parameter %s", key)
		}
		root.add(key, value)
	}
	return root, nil
}

// add puts one pair into the tree.
func (p *params) add(key, value string) {
	name, rest, nested := strings.Cut(key, "[")
	at := p.child(name, name)
	for nested {
		var part string
		part, rest, _ = strings.Cut(rest, "]")
		if part == "" {
			part = strconv.Itoa(len(at.order))
		}
		at = at.child(part, at.name+"["+part+"]")
		rest, nested = strings.CutPrefix(rest, "[")
	}
	at.leaf, at.value = true, value
}

func (p *params) child(key, name string) *params {
	if c, ok := p.fields[key]; ok {
		return c
	}
	if p.fields == nil {
		p.fields = make(map[string]*params)
	}
	c := &params{name: name, first: p.first}
	p.fields[key] = c
	p.order = append(p.order, key)
	return c
}

func (p *params) complain(err *Error) {
	if p.first.err == nil {
		p.first.err = err
	}
}

// has tells whether a parameter was sent, and not as "".
func (p *params) has(key string) bool {
	c, ok := p.fields[key]
	return ok && (len(c.fields) > 0 || c.value != "")
}

// sent tells whether a parameter was sent, maybe as "", which unsets.
func (p *params) sent(key string) bool {
	_, ok := p.fields[key]
	return ok
}

// str reads a text; it must be one of allowed, if any are named.
func (p *params) str(key string, allowed ...string) string {
	c, ok := p.fields[key]
	if !ok {
		return ""
	}
	c.used = true
	if len(c.fields) > 0 {
		p.complain(invalid("", c.name, "Invalid string: {:%s=>...}", c.order[0]))
		return ""
	}
	if len(allowed) > 0 && c.value != "" && !slices.Contains(allowed, c.value) {
		p.complain(invalid("", c.name, "Invalid %s: must be one of %s", c.name, strings.Join(allowed, ", ")))
	}
	return c.value
}

// need reads a text that must be there.
func (p *params) need(key string, allowed ...string) string {
	value := p.str(key, allowed...)
	if value == "" {
		p.complain(p.missing(key))
	}
	return value
}

func (p *params) missing(key string) *Error {
	name := key
	if p.name != "" {
		name = p.name + "[" + key + "]"
	}
	return invalid("parameter_missing", name, "Missing required param: %s.", name)
}

// num reads a whole number.
func (p *params) num(key string) int64 {
	text := p.str(key)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		p.complain(invalid("parameter_invalid_integer", p.fields[key].name, "Invalid integer: %s", text))
	}
	return n
}

// needNum reads a whole number that must be there.
func (p *params) needNum(key string) int64 {
	if !p.has(key) {
		p.complain(p.missing(key))
		return 0
	}
	return p.num(key)
}

func (p *params) yes(key string) bool {
	switch text := p.str(key); text {
	case "", "false":
		return false
	case "true":
		return true
	default:
		p.complain(invalid("", p.fields[key].name, "Invalid boolean: %s", text))
		return false
	}
}

// sub reads a nested object; an empty one if there is none.
func (p *params) sub(key string) *params {
	c, ok := p.fields[key]
	if !ok {
		return &params{name: key, first: p.first}
	}
	c.used = true
	if c.leaf && c.value != "" {
		p.complain(invalid("", c.name, "Invalid object"))
	}
	return c
}

// list reads an array of objects.
func (p *params) list(key string) []*params {
	array := p.sub(key)
	elements := make([]*params, 0, len(array.order))
	for _, index := range array.order {
		elements = append(elements, array.sub(index))
	}
	return elements
}

// strs reads an array of texts.
func (p *params) strs(key string, allowed ...string) []string {
	array := p.sub(key)
	texts := make([]string, 0, len(array.order))
	for _, index := range array.order {
		texts = append(texts, array.str(index, allowed...))
	}
	return texts
}

// texts reads a map, as metadata.
func (p *params) texts(key string) map[string]string {
	array := p.sub(key)
	if len(array.order) == 0 {
		return nil
	}
	texts := make(map[string]string, len(array.order))
	for _, name := range array.order {
		texts[name] = array.str(name)
	}
	return texts
}

// ignore accepts parameters that the fake does nothing with.
func (p *params) ignore(keys ...string) {
	for _, key := range keys {
		if c, ok := p.fields[key]; ok {
			c.use()
		}
	}
}

func (p *params) use() {
	p.used = true
	for _, c := range p.fields {
		c.use()
	}
}

// check returns the first thing wrong with what was read, or that something was not.
func (p *params) check() *Error {
	if p.first.err != nil {
		return p.first.err
	}
	if name := p.unread(); name != "" {
		return invalid("parameter_unknown", name, "Received unknown parameter: %s", name)
	}
	return nil
}

func (p *params) unread() string {
	for _, key := range p.order {
		c := p.fields[key]
		if !c.used {
			return c.name
		}
		if name := c.unread(); name != "" {
			return name
		}
	}
	return ""
}

// within reads a range such as created[gte]=1, or created=1.
func (p *params) within(key string) func(int64) bool {
	c, ok := p.fields[key]
	if !ok {
		return func(int64) bool { return true }
	}
	if c.leaf {
		n := p.num(key)
		return func(at int64) bool { return at == n }
	}
	r := p.sub(key)
	has := func(k string) (int64, bool) { return r.num(k), r.has(k) }
	gt, hasGT := has("gt")
	gte, hasGTE := has("gte")
	lt, hasLT := has("lt")
	lte, hasLTE := has("lte")
	return func(at int64) bool {
		return !(hasGT && at <= gt || hasGTE && at < gte || hasLT && at >= lt || hasLTE && at > lte)
	}
}
