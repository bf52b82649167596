package hook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"
)

// authorizeBody is what /v1/authorize and /v1/quote take. From is a pointer
// because a caller who withholds the number has an empty one, which is not the
// same as a switch that forgot it.
type authorizeBody struct {
	CallID    string  `json:"call_id"`
	Direction string  `json:"direction"`
	From      *string `json:"from"`
	To        string  `json:"to"`
	Account   string  `json:"account"`
	Mode      string  `json:"mode"`
	Switch    string  `json:"switch"`
	At        stamp   `json:"at"`
}

// eventBody is what /v1/events takes.
type eventBody struct {
	Type       string     `json:"type"`
	CallID     string     `json:"call_id"`
	At         stamp      `json:"at"`
	AnsweredAt stamp      `json:"answered_at"`
	EndedAt    stamp      `json:"ended_at"`
	Cause      cause      `json:"cause"`
	ExtraCost  *extraCost `json:"extra_cost"`
	Switch     string     `json:"switch"`
	Account    string     `json:"account"`
	Direction  string     `json:"direction"`
	From       string     `json:"from"`
	To         string     `json:"to"`
}

type extraCost struct {
	AmountMicros *int64 `json:"amount_micros"`
	Currency     string `json:"currency"`
}

// cause is a hangup cause: text, or the bare number of a Q.850 cause. Like
// stamp, it keeps what is wrong for later.
type cause struct {
	text  string
	wrong bool
}

func (c *cause) UnmarshalJSON(b []byte) error {
	*c = cause{}
	switch {
	case b[0] == '"':
		c.wrong = json.Unmarshal(b, &c.text) != nil
	case digitsOnly(string(b)):
		c.text = string(b)
	default:
		c.wrong = !bytes.Equal(b, []byte("null"))
	}
	return nil
}

// The names each body knows.
var (
	authorizeNames = fieldNames(reflect.TypeFor[authorizeBody]())
	eventNames     = fieldNames(reflect.TypeFor[eventBody]())
	extraNames     = fieldNames(reflect.TypeFor[extraCost]())
)

func fieldNames(t reflect.Type) []string {
	names := make([]string, t.NumField())
	for i := range names {
		names[i] = t.Field(i).Tag.Get("json")
	}
	return names
}

// decoded is a body that was read as JSON.
type decoded struct {
	unknown []string // fields that the body has and dst does not
	wrong   *problem // not UTF-8, or a field of the wrong type; dst is filled all the same
}

// decode reads one JSON object into dst, an empty *authorizeBody or *eventBody,
// by way of r. Of a field given twice the last one counts, and names are matched
// without regard to case, as encoding/json does.
//
// A body that is JSON but wrong in its types or its UTF-8 fills dst as far as it
// goes, because an emergency call must be known as one in spite of them. A body
// that is no JSON object at all is the problem returned.
func decode(body []byte, r *bytes.Reader, dst any, known []string) (decoded, *problem) {
	var d decoded
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) == 0 {
		return d, invalid(reasonJSON, "", "The body is empty; a JSON object is wanted.")
	} else if trimmed[0] != '{' {
		return d, invalid(reasonJSON, "", "The body must be a JSON object.")
	}
	r.Reset(body)
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	err := dec.Decode(dst)
	if syntaxError(err) {
		return d, notJSON(err)
	}
	if rest := bytes.TrimLeft(body[dec.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return d, invalid(reasonJSON, "", fmt.Sprintf("The body goes on after its JSON object, at byte %d.", len(body)-len(rest)))
	}
	if _, typed := errors.AsType[*json.UnmarshalTypeError](err); err != nil && !typed {
		// An unknown field, which the decoder reports in the place of any wrong
		// type that follows it.
		err = json.Unmarshal(body, dst)
		d.unknown = unknownFields(body, known)
	}
	switch typed, ok := errors.AsType[*json.UnmarshalTypeError](err); {
	case !utf8.Valid(body):
		d.wrong = invalid(reasonUTF8, "", "The body is not valid UTF-8.")
	case ok:
		d.wrong = invalid(reasonType, typed.Field, fmt.Sprintf("%s must be %s, not %s.", typed.Field, wanted(typed.Type), typed.Value))
	case err != nil:
		return d, notJSON(err)
	}
	return d, nil
}

func syntaxError(err error) bool {
	_, syntax := errors.AsType[*json.SyntaxError](err)
	return syntax || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func notJSON(err error) *problem {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return invalid(reasonJSON, "", fmt.Sprintf("The body is not valid JSON: %s, at byte %d.", syntax, syntax.Offset))
	}
	return invalid(reasonJSON, "", "The body is not valid JSON: it ends too early.")
}

// wanted names a field's type as its sender knows it.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Int64:
		return "an integer"
	}
	return "an object"
}

// unknownFields lists what a body has that no hook knows. It is slow, and
// needed only where there is such a field.
func unknownFields(body []byte, known []string) []string {
	var unknown []string
	list := func(raw []byte, known []string, prefix string) (inner []byte) {
		var all map[string]json.RawMessage
		if json.Unmarshal(raw, &all) != nil {
			return nil
		}
	fields:
		for name, value := range all {
			if strings.EqualFold(name, "extra_cost") {
				inner = value
			}
			for _, k := range known {
				if strings.EqualFold(name, k) {
					continue fields
				}
			}
			unknown = append(unknown, prefix+name)
		}
		return inner
	}
	if extra := list(body, known, ""); extra != nil {
		list(extra, extraNames, "extra_cost.")
	}
	return unknown
}

// dialledNumber is `to` where a switch sent it as a bare number. That is refused
// as a wrong type, unless it is an emergency number.
func dialledNumber(body []byte) string {
	var raw struct {
		To json.RawMessage `json:"to"`
	}
	if json.Unmarshal(body, &raw) != nil || len(raw.To) == 0 || !digitsOnly(string(raw.To)) {
		return ""
	}
	return string(raw.To)
}
