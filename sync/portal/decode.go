package portal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hmsovereign/ringfence/authz/credit"
)

// object says which fields a JSON object may have and where their values go: a
// *string, *bool, *int64, *credit.Units (a whole number), *decimal (a number or
// a string), another object, or a refusal. A pointer to one of the pointers is
// set only where the field is there.
type object map[string]any

// refusal is a field that is known and cannot be used; the text says why.
type refusal string

// decimal is a plain decimal as it was written.
type decimal string

// readBody reads a request's body. Errors: too large, broken off.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, &Error{Status: http.StatusRequestEntityTooLarge, Code: CodeTooLarge,
			Message: fmt.Sprintf("the body is longer than %d bytes", limit)}
	case err != nil:
		return nil, invalid("", "the body broke off: %v", err)
	}
	return b, nil
}

// decode reads a JSON object into fields. It reports everything that is wrong.
// With mayBeEmpty no body at all is an object without fields.
func decode(body []byte, fields object, mayBeEmpty bool) error {
	if mayBeEmpty && len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if !utf8.Valid(body) {
		return invalid("", "the body is not UTF-8")
	}
	return join(fields.read("", body))
}

func (o object) read(path string, raw []byte) (errs []*Error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return []*Error{invalid(path, "must be a JSON object")}
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return append(errs, invalid(path, "is not JSON: %v", err))
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return append(errs, invalid(join2(path, name), "is not JSON: %v", err))
		}
		at := join2(path, name)
		into, known := o[name]
		switch {
		case !known:
			errs = append(errs, invalid(at, "is not a known field; known are %s", strings.Join(o.names(), ", ")))
		case seen[name]:
			errs = append(errs, invalid(at, "is given twice"))
		default:
			seen[name] = true
			errs = append(errs, set(at, into, value)...)
		}
	}
	if _, err := d.Token(); err != nil {
		return append(errs, invalid(path, "is not JSON: it breaks off"))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		errs = append(errs, invalid(path, "something follows the JSON object"))
	}
	return errs
}

func (o object) names() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(o)), func(name string) bool {
		_, refused := o[name].(refusal)
		return refused
	})
}

func join2(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// set puts one value where it belongs.
func set(path string, into any, raw json.RawMessage) []*Error {
	fail := func(format string, args ...any) []*Error { return []*Error{invalid(path, format, args...)} }
	if nested, ok := into.(object); ok {
		return nested.read(path, raw)
	}
	if why, ok := into.(refusal); ok {
		return fail("%s", string(why))
	}
	if string(raw) == "null" {
		return fail("must not be null: leave it out to keep it, or clear it with an empty text or 0")
	}
	switch p := into.(type) {
	case *string, **string:
		if json.Unmarshal(raw, p) != nil {
			return fail("must be a text")
		}
	case *bool:
		if json.Unmarshal(raw, p) != nil {
			return fail("must be true or false")
		}
	case **int64, **credit.Units:
		if json.Unmarshal(raw, p) != nil {
			return fail("must be a whole number")
		}
	case **decimal:
		text := string(raw)
		if raw[0] == '"' && json.Unmarshal(raw, &text) != nil || raw[0] != '"' && raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
			return fail("must be a number, or a text with one")
		}
		*p = (*decimal)(&text)
	default:
		return fail("cannot be set")
	}
	return nil
}

// query reads the parameters of a URL; those not listed are refused by name.
type query struct {
	values url.Values
	errs   []*Error
}

func readQuery(r *http.Request, known ...string) *query {
	values, err := url.ParseQuery(r.URL.RawQuery)
	q := &query{values: values}
	if err != nil {
		q.errs = append(q.errs, invalid("", "the query cannot be read: %v", err))
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch {
		case !slices.Contains(known, name):
			text := "is not a known parameter; known are " + strings.Join(known, ", ")
			if len(known) == 0 {
				text = "is not a known parameter; there are none here"
			}
			q.errs = append(q.errs, invalid(name, "%s", text))
		case len(values[name]) > 1:
			q.errs = append(q.errs, invalid(name, "is given twice"))
		case !utf8.ValidString(values.Get(name)):
			q.errs = append(q.errs, invalid(name, "is not UTF-8"))
		}
	}
	return q
}

func (q *query) text(name string) string { return q.values.Get(name) }

// number reads a whole number from least to most.
func (q *query) number(name string, otherwise, least, most int64) int64 {
	if !q.values.Has(name) {
		return otherwise
	}
	n, err := strconv.ParseInt(q.values.Get(name), 10, 64)
	if err != nil || n < least || n > most {
		q.errs = append(q.errs, invalid(name, "must be a whole number from %d to %d", least, most))
		return otherwise
	}
	return n
}

func (q *query) err() error { return join(q.errs) }
