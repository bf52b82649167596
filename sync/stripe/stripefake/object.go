package stripefake

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// object is one of Stripe's objects, or a part of one: values are nil, bool, int64, json.Number (where Stripe has a
// fraction), string, []any and object.
type object map[string]any

// shapesJSON holds each kind of object with every field that Stripe answers in APIVersion, empty or at its default.
//
//go:embed shapes.json
var shapesJSON []byte

// readShapes decodes shapesJSON.
func readShapes() (map[string]object, error) {
	var raw map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(shapesJSON)))
	decoder.UseNumber()
	if err := decoder.Decode(&raw); err != nil {
		return nil, fmt.Errorf("stripefake: read shapes: %w", err)
	}
	shapes := make(map[string]object, len(raw))
	for kind, value := range raw {
		shape, ok := fromJSON(value).(object)
		if !ok {
			return nil, fmt.Errorf("stripefake: shape of %s is not an object", kind)
		}
		shapes[kind] = shape
	}
	return shapes, nil
}

// fromJSON turns decoded JSON into what an object holds.
func fromJSON(value any) any {
	switch v := value.(type) {
	case map[string]any:
		o := make(object, len(v))
		for key, field := range v {
			o[key] = fromJSON(field)
		}
		return o
	case []any:
		list := make([]any, len(v))
		for i, element := range v {
			list[i] = fromJSON(element)
		}
		return list
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n
		}
		return v
	default:
		return v
	}
}

// clone copies a value with all that is in it.
func clone[T any](value T) T {
	copied, _ := cloneValue(value).(T)
	return copied
}

func cloneValue(value any) any {
	switch v := value.(type) {
	case object:
		if v == nil {
			return v
		}
		o := make(object, len(v))
		for key, field := range v {
			o[key] = cloneValue(field)
		}
		return o
	case []any:
		list := make([]any, len(v))
		for i, element := range v {
			list[i] = cloneValue(element)
		}
		return list
	default:
		return v
	}
}

func (o object) id() string { return o.str("id") }

// str returns a text field; "" where it is null.
func (o object) str(key string) string {
	text, _ := o[key].(string)
	return text
}

// num returns a whole number; 0 where it is null.
func (o object) num(key string) int64 {
	n, _ := o[key].(int64)
	return n
}

func (o object) yes(key string) bool {
	b, _ := o[key].(bool)
	return b
}

// sub returns a nested object; nil, which can be read, where it is null.
func (o object) sub(key string) object {
	nested, _ := o[key].(object)
	return nested
}

func (o object) list(key string) []any {
	list, _ := o[key].([]any)
	return list
}

// set changes fields.
func (o object) set(fields object) object {
	maps.Copy(o, fields)
	return o
}

// orNil is how Stripe says "none": null rather than "".
func orNil(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// meta turns metadata into a field.
func meta(m map[string]string) object {
	o := make(object, len(m))
	for key, value := range m {
		if value != "" {
			o[key] = value
		}
	}
	return o
}

// mergeMeta applies an update of metadata: an empty value removes the key.
func mergeMeta(o object, update map[string]string) {
	if len(update) == 0 {
		return
	}
	merged := clone(o.sub("metadata"))
	if merged == nil {
		merged = object{}
	}
	for key, value := range update {
		if value == "" {
			delete(merged, key)
		} else {
			merged[key] = value
		}
	}
	o["metadata"] = merged
}

// anys turns texts into a list field.
func anys(texts []string) []any {
	list := make([]any, len(texts))
	for i, text := range texts {
		list[i] = text
	}
	return list
}

// make returns a new object of a kind with an id, stored.
func (f *Fake) make(kind, prefix string) object {
	o := f.shape(kind)
	o["id"] = prefix + "_" + f.random(24)
	o["created"] = f.now()
	if _, ok := o["object"]; !ok {
		o["object"] = kind
	}
	f.keep(kind, o)
	return o
}

// shape returns an object of a kind that is not stored.
func (f *Fake) shape(kind string) object {
	return clone(f.shapes[kind])
}

func (f *Fake) keep(kind string, o object) {
	f.objects[o.id()] = o
	f.kinds[kind] = append(f.kinds[kind], o.id())
}

// drop forgets an object that was deleted.
func (f *Fake) drop(kind, id string) {
	delete(f.objects, id)
	f.kinds[kind] = slices.DeleteFunc(f.kinds[kind], func(other string) bool { return other == id })
}

// find returns a stored object of a kind, or Stripe's error that there is none.
func (f *Fake) find(kind, id, param string) (object, *Error) {
	o, ok := f.objects[id]
	if !ok || o.str("object") != kind {
		return nil, missing(kind, id, param)
	}
	return o, nil
}

// random returns n letters and digits.
func (f *Fake) random(n int) string {
	const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	text := make([]byte, n)
	for i := range text {
		text[i] = letters[f.rand.IntN(len(letters))]
	}
	return string(text)
}
