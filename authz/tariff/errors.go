package tariff

import (
	"errors"
	"fmt"
	"strings"
)

// Why a table has no rate for a call.
var (
	// ErrBlocked: the destination may not be called.
	ErrBlocked = errors.New("destination is blocked")
	// ErrNoRate: no rule covers the direction and destination.
	ErrNoRate = errors.New("no rate for the destination")
	// ErrUnknownMode: the table does not sell this mode.
	ErrUnknownMode = errors.New("the tariff has no such mode")
)

// FieldError is one thing that is wrong with a tariff or an emergency list.
type FieldError struct {
	Field   string // path of the field: rates[3].initial
	Line    int    // line of a YAML file, 0 where there is none
	Value   string // what it says
	Problem string // why that cannot be
	Remedy  string // what to write instead
}

// Error returns the whole of it in one line.
func (e *FieldError) Error() string {
	var b strings.Builder
	b.WriteString(e.Field)
	if e.Line > 0 {
		fmt.Fprintf(&b, " (line %d)", e.Line)
	}
	if e.Value != "" {
		fmt.Fprintf(&b, ": %q", e.Value)
	}
	fmt.Fprintf(&b, ": %s", e.Problem)
	if e.Remedy != "" {
		fmt.Fprintf(&b, "; %s", e.Remedy)
	}
	return b.String()
}

// maxErrors bounds what is reported of one file, so that a wrong column in a
// long rate sheet stays readable.
const maxErrors = 100

// problems gathers the errors of one file.
type problems struct {
	errs []error
	more int
}

func (p *problems) add(e *FieldError) {
	if len(p.errs) == maxErrors {
		p.more++
		return
	}
	const most = 60
	if len(e.Value) > most {
		e.Value = strings.ToValidUTF8(e.Value[:most], "") + "..."
	}
	p.errs = append(p.errs, e)
}

func (p *problems) count() int { return len(p.errs) + p.more }

// err returns everything gathered, joined, or nil.
func (p *problems) err() error {
	if p.more > 0 {
		return errors.Join(append(p.errs, fmt.Errorf("and %d more errors", p.more))...)
	}
	return errors.Join(p.errs...)
}
