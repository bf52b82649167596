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
	Wrong  map[string]string // field -> message; "" for the form as a whole
	Theirs map[string]bool   // fields whose message is a service's, in English whatever the visitor reads
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

func (f *form) wrong(field, message string) {
	if f.Wrong == nil {
		f.Wrong = map[string]string{}
	}
	if f.Wrong[field] == "" {
		f.Wrong[field] = message
	}
}

// Bad tells whether something is wrong.
func (f *form) Bad() bool { return len(f.Wrong) > 0 }

// Rest are the messages that belong beside none of the fields.
func (f *form) Rest() []string {
	var rest []string
	for _, field := range slices.Sorted(maps.Keys(f.Wrong)) {
		if _, shown := f.Values[field]; !shown {
			rest = append(rest, f.Wrong[field])
		}
	}
	return rest
}

// take puts the field errors among err beside their fields, by the form's own
// names for them; what else err is, if anything, is returned.
func (f *form) take(err error, names map[string]string) error {
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
		f.wrong(name, e.Message)
		if f.Theirs == nil {
			f.Theirs = map[string]bool{}
		}
		f.Theirs[name] = true
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
