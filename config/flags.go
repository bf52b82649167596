package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// flags is the highest layer: overrides by key.
func (l *loader) flags(overrides map[string]any) map[string]any {
	m := make(map[string]any)
	for _, path := range sortedKeys(overrides) {
		origin := Origin{Source: FromFlag}
		k := settings().byPath[path]
		if k == nil {
			l.problems.add(unknownKey(path, origin))
			continue
		}
		v, ok := fromAny(overrides[path], origin)
		if !ok {
			l.problems.add(&Error{Field: path, Problem: "has a type that is not supported",
				Remedy: "give " + form(k.typ), Origin: origin})
			continue
		}
		if v != nil {
			m[path] = v
		}
	}
	return m
}

// fromAny turns what Go code gives into a value; nil means not given. Secrets
// and URLs are taken whole, though they print redacted.
func fromAny(x any, origin Origin) (*value, bool) {
	text := func(s string) (*value, bool) { return &value{Kind: isText, Text: s, Origin: origin}, true }
	rv := reflect.ValueOf(x)
	if rv.Kind() == reflect.Pointer && !rv.IsNil() {
		x, rv = rv.Elem().Interface(), rv.Elem()
	}
	switch x := x.(type) {
	case nil:
		return nil, true
	case string:
		return text(x)
	case Secret:
		return text(x.Reveal())
	case URL:
		return text(x.Reveal())
	}
	switch rv.Kind() {
	case reflect.Pointer:
		return nil, rv.IsNil()
	case reflect.Slice:
		list := &value{Kind: isList, Origin: origin}
		for i := range rv.Len() {
			v, ok := fromAny(rv.Index(i).Interface(), origin)
			if !ok || v == nil {
				return nil, false
			}
			list.List = append(list.List, v)
		}
		return list, true
	case reflect.Map:
		if rv.Type().Key().Kind() != reflect.String {
			return nil, false
		}
		table := &value{Kind: isTable, Origin: origin}
		for _, name := range rv.MapKeys() {
			v, ok := fromAny(rv.MapIndex(name).Interface(), origin)
			if !ok || v == nil {
				return nil, false
			}
			table.Table = append(table.Table, entry{Name: name.String(), Value: v})
		}
		slices.SortFunc(table.Table, func(a, b entry) int { return strings.Compare(a.Name, b.Name) })
		return table, true
	}
	if s, ok := x.(fmt.Stringer); ok { // durations, networks
		return text(s.String())
	}
	switch rv.Kind() {
	case reflect.Bool, reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return text(fmt.Sprint(x))
	}
	return nil, false
}

// sortedKeys makes reports come in the same order every time.
func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
