package page

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

// form is what was typed into one, and what is wrong with it: shown again, it
// keeps both.
type form struct {
	Values map[string]string
	Wrong  map[string]sentence // field -> message; "" for the form as a whole
}

// typed takes fields from a request.
func (v *visit) typed(fields ...string) form {
	f := form{Values: map[string]string{}}
	for _, name := range fields {
		f.Values[name] = strings.TrimSpace(v.r.PostForm.Get(name))
	}
	return f
}

func (f *form) self() *form { return f }

func (f *form) wrong(field, message string) { f.blame(field, own(message)) }

// blame keeps the first message of a field.
func (f *form) blame(field string, message sentence) {
	if f.Wrong == nil {
		f.Wrong = map[string]sentence{}
	}
	if f.Wrong[field] == nil {
		f.Wrong[field] = message
	}
}

// Bad tells whether something is wrong.
func (f *form) Bad() bool { return len(f.Wrong) > 0 }

// Rest are the messages that belong beside none of the fields.
func (f *form) Rest() []sentence {
	var rest []sentence
	for _, field := range slices.Sorted(maps.Keys(f.Wrong)) {
		if _, shown := f.Values[field]; !shown {
			rest = append(rest, f.Wrong[field])
		}
	}
	return rest
}

// take puts the field errors among err beside a form's fields, by the form's own
// names for them; what else err is, if anything, is returned.
func (v *visit) take(f *form, err error, names map[string]string) error {
	if err == nil {
		return nil
	}
	found := fieldErrors(err)
	if len(found) == 0 {
		return err
	}
	for _, e := range found {
		name := e.Field
		if to, ok := names[name]; ok {
			name = to
		} else if _, ok := f.Values[name]; !ok {
			name = name[strings.LastIndexByte(name, '.')+1:] // address.city
		}
		f.blame(name, v.lang.say(e.Message))
	}
	return nil
}

// fieldErrors gathers all field errors that are joined in err.
func fieldErrors(err error) []*ledger.FieldError {
	switch e := err.(type) {
	case nil:
		return nil
	case *ledger.FieldError:
		return []*ledger.FieldError{e}
	case interface{ Unwrap() []error }:
		var all []*ledger.FieldError
		for _, part := range e.Unwrap() {
			all = append(all, fieldErrors(part)...)
		}
		return all
	}
	return fieldErrors(errors.Unwrap(err))
}
