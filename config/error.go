package config

import (
	"errors"
	"fmt"
	"strings"
)

// Source is one of the four places a value can come from. Each outranks those
// before it.
type Source string

// The places, lowest rank first.
const (
	FromDefault Source = "default"
	FromFile    Source = "file"
	FromEnv     Source = "env"
	FromFlag    Source = "flag"
)

// Origin says where one value came from.
type Origin struct {
	Source Source
	Name   string // the file's path or the environment variable's name
	Line   int    // line in the file, from 1; 0: not known
}

// String returns "default", "ringfence.yaml line 3", "RINGFENCE_REDIS_URL" or "flag".
func (o Origin) String() string {
	switch {
	case o.Source == FromFile && o.Line > 0:
		return fmt.Sprintf("%s line %d", o.Name, o.Line)
	case o.Source == FromFile || o.Source == FromEnv:
		return o.Name
	case o.Source == "":
		return string(FromDefault)
	}
	return string(o.Source)
}

// Error is one thing that is wrong with a configuration. Its text never holds a
// secret.
type Error struct {
	Field   string // key: hook.deadline, switches[1].control_url; or the unknown name as written
	Value   string // what it says; empty where there is nothing to show, or it may be secret
	Problem string // why that cannot be
	Remedy  string // what to do instead
	Origin  Origin // where the value came from

	cause error
}

// Error returns the whole of it in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Field)
	if e.Value != "" {
		fmt.Fprintf(&b, " = %q", e.Value)
	}
	if e.Origin.Source != "" && e.Origin.Source != FromDefault && e.Origin.Name != e.Field {
		fmt.Fprintf(&b, " (%s)", e.Origin)
	}
	fmt.Fprintf(&b, ": %s", e.Problem)
	if e.Remedy != "" {
		fmt.Fprintf(&b, "; %s", e.Remedy)
	}
	return b.String()
}

// Unwrap returns the operating system's error behind a file that cannot be
// read, else nil.
func (e *Error) Unwrap() error { return e.cause }

// Problems lists every [Error] inside an error of this package, in order.
func Problems(err error) []*Error {
	var found []*Error
	var walk func(error)
	walk = func(err error) {
		var one *Error
		switch joined := err.(type) {
		case nil:
		case interface{ Unwrap() []error }:
			for _, e := range joined.Unwrap() {
				walk(e)
			}
		default:
			if errors.As(err, &one) {
				found = append(found, one)
			}
		}
	}
	walk(err)
	return found
}

// maxProblems and maxShown keep a report readable when a wrong file is given.
const (
	maxProblems = 100
	maxShown    = 80 // bytes of a value
)

// problems gathers everything that is wrong, and which keys are affected, so
// that a rule about two keys keeps quiet when one of them could not be read.
type problems struct {
	errs   []error
	more   int
	failed map[string]bool
}

func (p *problems) add(e *Error) {
	if p.failed == nil {
		p.failed = make(map[string]bool)
	}
	p.failed[e.Field] = true
	list, _, _ := strings.Cut(e.Field, "[")
	p.failed[list] = true // what is wrong in an item is wrong in its list
	if len(p.errs) == maxProblems {
		p.more++
		return
	}
	if len(e.Value) > maxShown {
		e.Value = strings.ToValidUTF8(e.Value[:maxShown], "") + "..."
	}
	p.errs = append(p.errs, e)
}

// sound reports whether none of the keys has a problem yet.
func (p *problems) sound(keys ...string) bool {
	for _, k := range keys {
		item, _, _ := strings.Cut(k, "].")
		if p.failed[k] || p.failed[item+"]"] {
			return false
		}
	}
	return true
}

// err returns everything gathered, joined, or nil.
func (p *problems) err() error {
	if p.more > 0 {
		return errors.Join(append(p.errs, fmt.Errorf("and %d more problems", p.more))...)
	}
	return errors.Join(p.errs...)
}
