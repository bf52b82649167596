package account

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// params are a request's query parameters. The first thing wrong with them is kept.
type params struct {
	values url.Values
	err    *Error
}

// readParams reads the query. Parameters that are not known are refused by name.
func readParams(r *http.Request, known ...string) *params {
	values, err := url.ParseQuery(r.URL.RawQuery)
	q := &params{values: values}
	if err != nil {
		q.fail(&Error{Status: http.StatusBadRequest, Code: "invalid_request", Message: "The query cannot be read: " + clip(err.Error())})
		return q
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		shown := clip(name)
		switch {
		case !slices.Contains(known, name):
			text := "is not a parameter of this resource; known are " + strings.Join(known, ", ") + "."
			if len(known) == 0 {
				text = "is not a parameter of this resource; it has none."
			}
			q.fail(invalid(shown, "%s", text))
		case len(values[name]) > 1:
			q.fail(invalid(shown, "is given %d times.", len(values[name])))
		}
	}
	return q
}

func (q *params) fail(e *Error) {
	if q.err == nil {
		q.err = e
	}
}

func (q *params) text(name string) string { return q.values.Get(name) }

// number reads a whole number from least to most.
func (q *params) number(name string, otherwise, least, most int) int {
	if !q.values.Has(name) {
		return otherwise
	}
	text := q.values.Get(name)
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most || text[0] == '+' {
		q.fail(invalid(name, "must be a whole number from %d to %d, not %q.", least, most, clip(text)))
		return otherwise
	}
	return n
}

// choice reads one of some words.
func (q *params) choice(name string, words ...string) string {
	text := q.values.Get(name)
	if q.values.Has(name) && !slices.Contains(words, text) {
		q.fail(invalid(name, "must be one of %s, not %q.", strings.Join(words, ", "), clip(text)))
	}
	return text
}

// clip keeps what a client sent short, whole and printable where it is shown back.
func clip(s string) string {
	const most = 60
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= most {
		return s
	}
	end := most
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "..."
}
