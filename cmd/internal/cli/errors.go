package cli

import (
	"errors"
	"net/http"
	"strings"
)

// APIError is what the admin API refused with.
type APIError struct {
	Status  int         `json:"-"` // HTTP
	Code    string      `json:"code"`
	Message string      `json:"message"`
	Param   string      `json:"param"`
	Errors  []*APIError `json:"errors"` // everything that is wrong, if it is more than one thing

	Answer []byte `json:"-"` // as it came
}

// Error gives the message and the field concerned; many have a line each.
func (e *APIError) Error() string {
	if len(e.Errors) > 1 {
		var b strings.Builder
		b.WriteString("several things are wrong:")
		for _, one := range e.Errors {
			b.WriteString("\n  " + one.Error())
		}
		return b.String()
	}
	if e.Param == "" || e.Status == http.StatusNotFound { // which names what it looked for
		return e.Message
	}
	return e.Param + ": " + e.Message
}

// Is tells whether an error is the API's of that code.
func Is(err error, code string) bool {
	var e *APIError
	return errors.As(err, &e) && e.Code == code
}

// Words are what the command line calls the API's fields.
type Words struct {
	Names map[string]string // company_name: --company
	Lists map[string]string // by field: the command that lists what it may name
}

// Named is err in the words of the command line. Where what a field names does
// not exist, it says which command lists what does.
func Named(err error, words Words) error {
	var e *APIError
	if !errors.As(err, &e) {
		return err
	}
	return e.named(words)
}

func (e *APIError) named(words Words) *APIError {
	out := *e
	if name, ok := words.Names[e.Param]; ok {
		out.Param = name
	}
	if list, ok := words.Lists[e.Param]; ok && e.Status == http.StatusNotFound {
		out.Message += "; see " + list
	}
	out.Errors = make([]*APIError, len(e.Errors))
	for i, one := range e.Errors {
		out.Errors[i] = one.named(words)
	}
	return &out
}
