package portal

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/hmsovereign/ringfence/authz/credit"
)

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"text":"x","flag":true,"n":5,"units":-7,"amount":"1.50","inner":{"n":1}}`, `{"text":null}`, `{"text":"a","text":"b"}`,
		`{"inner":{"inner":{}}}`, `{"n":1e400}`, `[`, `{"amount":1e5}`, "{\"text\":\"\\ud800\"}", ``, `{"gone":1}`, `{"a":{"b":[{"c":1}]}}x`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var text *string
		var flag bool
		var n, inner *int64
		var units *credit.Units
		var amount *decimal
		err := decode(in, object{"text": &text, "flag": &flag, "n": &n, "units": &units, "amount": &amount,
			"inner": object{"n": &inner}, "gone": refusal("is gone")}, false)
		var e *Error
		if err != nil && (!errors.As(err, &e) || e.Status != 400 || e.Message == "") {
			t.Errorf("%q: %#v", in, err)
		}
		if err == nil && !json.Valid(in) {
			t.Errorf("%q is no JSON and was read", in)
		}
	})
}

func FuzzNumber(f *testing.F) {
	for _, s := range []string{"+31850835037", "+31 (0)85", "0031850835037", "+", "", "+1-800-FLOWERS", "tel:+31850835037", "+31850835037;ext=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		var c checks
		e164, _ := c.number("number", in)
		if c.err() != nil {
			return
		}
		var again checks
		if same, _ := again.number("number", e164); same != e164 || again.err() != nil {
			t.Errorf("%q is %q, which is %q, %v", in, e164, same, again.err())
		}
		if len(e164) < 4 || len(e164) > 20 || e164[0] != '+' {
			t.Errorf("%q is %q", in, e164)
		}
	})
}
