package tariff

import (
	"encoding/json"
	"fmt"

	"github.com/hmsovereign/ringfence/authz/credit"
)

// MarshalJSON writes the tariff in the form that Parse reads, with everything
// that was derived written out, so that a stored tariff never changes its
// meaning with a default.
func (t *Table) MarshalJSON() ([]byte, error) {
	f := tableJSON{
		ID: t.id, Version: t.version, Currency: t.currency, CreditPrice: amount(t.creditPrice),
		Modes: t.modes, DefaultMode: t.defaultMode, Rates: make([]ruleJSON, len(t.rules)),
	}
	for i := range t.rules {
		f.Rates[i] = t.rules[i].json()
	}
	return json.Marshal(f)
}

// UnmarshalJSON replaces t by what Parse reads. Errors: those of Parse, and t
// stays as it was.
func (t *Table) UnmarshalJSON(b []byte) error {
	parsed, err := Parse(b)
	if err != nil {
		return fmt.Errorf("read stored tariff: %w", err)
	}
	*t = *parsed
	return nil
}

type tableJSON struct {
	ID          string      `json:"id"`
	Version     int64       `json:"version"`
	Currency    string      `json:"currency"`
	CreditPrice json.Number `json:"credit_price"`
	Modes       []string    `json:"modes,omitempty"`
	DefaultMode string      `json:"default_mode,omitempty"`
	Rates       []ruleJSON  `json:"rates"`
}

type ruleJSON struct {
	Direction string   `json:"direction,omitempty"`
	Mode      string   `json:"mode,omitempty"`
	Prefix    []string `json:"prefix,omitempty"`
	Free      bool     `json:"free,omitempty"`
	Blocked   bool     `json:"blocked,omitempty"`
	*termsJSON
}

type termsJSON struct {
	UnitsPerMinute int64       `json:"units_per_minute"`
	MoneyPerMinute json.Number `json:"money_per_minute"`
	ConnectUnits   int64       `json:"connect_units"`
	ConnectMoney   json.Number `json:"connect_money"`
	Initial        int64       `json:"initial"`
	Step           int64       `json:"step"`
	MinSeconds     int64       `json:"min_seconds"`
}

func (r *rule) json() ruleJSON {
	j := ruleJSON{Mode: r.mode, Prefix: r.prefixes, Blocked: r.blocked}
	if r.direction != 0 {
		j.Direction = r.direction.String()
	}
	if j.Free = !r.blocked && r.price.Free(); j.Free || r.blocked {
		return j
	}
	j.termsJSON = &termsJSON{
		UnitsPerMinute: int64(r.price.Rate), MoneyPerMinute: amount(r.price.MicrosRate),
		ConnectUnits: int64(r.price.Connect), ConnectMoney: amount(r.price.MicrosConnect),
		Initial: r.price.Initial, Step: r.price.Step, MinSeconds: r.minSeconds,
	}
	return j
}

func amount(m credit.Micros) json.Number { return json.Number(m.Money()) }
