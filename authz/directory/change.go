package directory

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// Kind says what a change is about.
type Kind string

// The kinds. A follower passes over those it does not know.
const (
	KindAccount Kind = "account"
	KindNumber  Kind = "number"
	KindTariff  Kind = "tariff"
)

var kinds = []Kind{KindTariff, KindAccount, KindNumber}

// DefaultTariff is the tariff that is always there: [tariff.Default], until
// another is put under its id.
const DefaultTariff = "default"

// Change is the present state of one account, number or tariff. A later state
// has a higher Rev, so changes may come twice and in any order.
type Change struct {
	Kind Kind
	Key  string // account id, E.164 number or tariff id
	Rev  int64  // > 0; 0 for what only this directory knows any more

	// The one of Kind; none: it was removed.
	Account *authz.Account
	Number  *authz.Number
	Tariff  *tariff.Table
}

// Removed tells whether the change takes something away.
func (c *Change) Removed() bool { return c.Account == nil && c.Number == nil && c.Tariff == nil }

// Position is a place in the changes of one filling of the source.
type Position struct {
	Gen string `json:"gen"` // names the filling
	N   int64  `json:"n"`   // changes so far
}

// Image is all that a source holds.
type Image struct {
	Position Position
	// Complete: filled from the durable truth, so what is not in it does not exist.
	Complete   bool
	Entries    []Change
	Unreadable []error // entries that could not be read; they are not in Entries
}

// Batch is a run of changes.
type Batch struct {
	Changes    []Change
	Next       Position
	More       bool // there are further changes already
	Unreadable []error
}

// value is the JSON of what the change says, "" for a removal.
func (c *Change) value() (string, error) {
	var v any
	switch {
	case c.Account != nil:
		v = c.Account
	case c.Number != nil:
		v = c.Number
	case c.Tariff != nil:
		v = c.Tariff
	default:
		return "", nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("write %s %s: %w", c.Kind, c.Key, err)
	}
	return string(b), nil
}

// entry is what Redis keeps under the change's key. The scripts read rev by a
// pattern, so it comes first.
func entry(rev int64, value string) string {
	b := append([]byte(`{"rev":`), strconv.FormatInt(rev, 10)...)
	if value != "" {
		b = append(append(b, `,"value":`...), value...)
	}
	return string(append(b, '}'))
}

// splitEntry undoes entry.
func splitEntry(s string) (rev int64, value json.RawMessage, err error) {
	var e struct {
		Rev   int64           `json:"rev"`
		Value json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal([]byte(s), &e); err != nil {
		return 0, nil, err
	}
	if e.Rev < 0 {
		return 0, nil, fmt.Errorf("revision %d is negative", e.Rev)
	}
	return e.Rev, e.Value, nil
}

// parseChange reads an entry of Redis or of a snapshot.
func parseChange(kind Kind, key, s string) (Change, error) {
	rev, value, err := splitEntry(s)
	var c Change
	if err == nil {
		c, err = makeChange(kind, key, rev, value)
	}
	if err != nil {
		return Change{}, fmt.Errorf("read %s %.40q: %w", kind, shown(kind, key), err)
	}
	return c, nil
}

// makeChange reads the value of a change; without one it is a removal.
func makeChange(kind Kind, key string, rev int64, value json.RawMessage) (Change, error) {
	c := Change{Kind: kind, Key: key, Rev: rev}
	if value == nil {
		return c, nil
	}
	var name string
	var err error
	switch kind {
	case KindAccount:
		c.Account = new(authz.Account)
		err = json.Unmarshal(value, c.Account)
		name = c.Account.ID
	case KindNumber:
		c.Number = new(authz.Number)
		err = json.Unmarshal(value, c.Number)
		name = c.Number.E164
	case KindTariff:
		c.Tariff = new(tariff.Table)
		err = json.Unmarshal(value, c.Tariff)
		name = c.Tariff.ID()
	default:
		err = errors.New("unknown kind")
	}
	if err != nil {
		return Change{}, err
	}
	if name != key {
		return Change{}, fmt.Errorf("it calls itself %.40q", shown(kind, name))
	}
	return c, nil
}

// shown is a key as it may stand in errors and logs.
func shown(kind Kind, key string) string {
	if kind == KindNumber {
		return authz.Mask(key)
	}
	return key
}
