package stripefake

import (
	"slices"
	"strings"
)

// page answers a list: newest first, in pages, as Stripe does. keep chooses.
func (f *Fake) page(c *call, kind string, keep func(object) bool) (object, *Error) {
	created := c.within("created")
	var all []object
	for _, id := range slices.Backward(f.kinds[kind]) {
		all = append(all, f.objects[id])
	}
	return pageOf(c, all, func(o object) bool { return created(o.num("created")) && keep(o) })
}

// pageOf answers a list of objects that are in order already.
func pageOf(c *call, all []object, keep func(object) bool) (object, *Error) {
	limit := int64(10)
	if c.has("limit") {
		limit = c.num("limit")
		if limit < 1 || limit > 100 {
			return nil, invalid("parameter_invalid_integer", "limit", "This value must be between 1 and 100.")
		}
	}
	after, before := c.str("starting_after"), c.str("ending_before")
	if err := c.check(); err != nil {
		return nil, err
	}
	index := func(id, param string) (int, *Error) {
		i := slices.IndexFunc(all, func(o object) bool { return o.id() == id })
		if i < 0 {
			return 0, invalid("resource_missing", param, "No such object: '%s'", id)
		}
		return i, nil
	}
	if after != "" {
		i, err := index(after, "starting_after")
		if err != nil {
			return nil, err
		}
		all = all[i+1:]
	}
	if before != "" {
		i, err := index(before, "ending_before")
		if err != nil {
			return nil, err
		}
		all = all[:i]
	}
	data := []any{}
	for _, o := range all {
		if keep(o) {
			data = append(data, clone(o))
		}
	}
	more := int64(len(data)) > limit
	switch {
	case more && before != "" && after == "":
		data = data[int64(len(data))-limit:]
	case more:
		data = data[:limit]
	}
	return object{"object": "list", "url": c.path, "has_more": more, "data": data}, nil
}

// listOf is a whole list inside another object.
func listOf(url string, elements []any) object {
	if elements == nil {
		elements = []any{}
	}
	return object{"object": "list", "url": url, "has_more": false, "data": elements}
}

// maxDepth is how deep Stripe expands.
const maxDepth = 4

// expand replaces ids by the objects they name, for each path such as "data.payment_intent.latest_charge".
func (f *Fake) expand(o object, paths []string) *Error {
	for _, path := range paths {
		parts := strings.Split(path, ".")
		if len(parts) > maxDepth {
			return invalid("", "expand", "You cannot expand more than 4 levels of a property: %s", path)
		}
		if !f.expandPath(o, parts) {
			return invalid("", "expand", "This property cannot be expanded (%s).", path)
		}
	}
	return nil
}

func (f *Fake) expandPath(value any, parts []string) bool {
	if len(parts) == 0 {
		return true
	}
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			if !f.expandPath(element, parts) {
				return false
			}
		}
		return true
	case object:
		name := parts[0]
		if v.str("object") == "price" {
			f.includeOptions(v, parts)
		}
		if included, ok := f.included(v, name); ok {
			v[name] = included
		}
		field, ok := v[name]
		if !ok {
			return false
		}
		if list, ok := field.([]any); ok {
			for i, element := range list {
				list[i] = f.expanded(element)
			}
		} else {
			field = f.expanded(field)
			v[name] = field
		}
		if field == nil {
			return true // nothing there to expand
		}
		return f.expandPath(field, parts[1:])
	default:
		return false
	}
}

func (f *Fake) expanded(value any) any {
	if id, ok := value.(string); ok {
		if o, ok := f.objects[id]; ok {
			return clone(o)
		}
	}
	return value
}

// included returns a list that Stripe puts into an object only on request.
func (f *Fake) included(o object, name string) (object, bool) {
	if _, there := o[name].(object); there {
		return nil, false
	}
	var kind, field, url string
	switch o.str("object") + "." + name {
	case "customer.tax_ids":
		kind, field, url = "tax_id", "customer", "/v1/customers/"+o.id()+"/tax_ids"
	case "charge.refunds":
		kind, field, url = "refund", "charge", "/v1/charges/"+o.id()+"/refunds"
	case "checkout.session.line_items":
		cart := f.carts[o.id()]
		if cart == nil {
			return nil, false
		}
		return listOf("/v1/checkout/sessions/"+o.id()+"/line_items", f.items(cart)), true
	case "tax.calculation.line_items":
		return listOf("/v1/tax/calculations/"+o.id()+"/line_items", clone(f.calculated[o.id()])), true
	default:
		return nil, false
	}
	var elements []any
	for _, id := range slices.Backward(f.kinds[kind]) {
		if other := f.objects[id]; other.str(field) == o.id() {
			elements = append(elements, clone(other))
		}
	}
	return listOf(url, elements), true
}
