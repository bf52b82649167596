package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/deploy/services"
)

// second is what a second of talk costs, in units; so many are a credit.
const (
	second = 1000
	credit = 60 * second
)

// someone is whoever is called, or calls, and is no customer; nobody never answers.
const (
	someone = "+31201234567"
	nobody  = "+31201234577"
)

// account is a customer with one number.
type account struct {
	s          *stack
	id, number string
}

// open makes an account with credit, in units, and waits until it can be used.
func (s *stack) open(t testing.TB, id string, units int64) account {
	t.Helper()
	return s.openIn(t, "", id, units)
}

// openIn makes an account of customers who speak a language; "" is the deployment's.
func (s *stack) openIn(t testing.TB, language, id string, units int64) account {
	t.Helper()
	a := account{s: s, id: id, number: fmt.Sprintf("+318508350%02d", s.names.Add(1))}
	s.admin(t, http.MethodPost, "accounts", map[string]any{"id": id, "company_name": "Company " + id, "language": language}, nil)
	s.admin(t, http.MethodPost, "numbers", map[string]any{"number": a.number, "account": id}, nil)
	if units > 0 {
		a.grant(t, units, "first")
	}
	services.Eventually(t, patience, func() error {
		body, err := json.Marshal(map[string]any{"call_id": "q", "direction": "outbound", "from": a.number, "to": someone})
		must(t, err)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.hook+"/v1/quote", bytes.NewReader(body))
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+hookToken)
		res, err := s.http.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusPaymentRequired {
			return fmt.Errorf("the sidecar does not know %s yet: %s", id, res.Status)
		}
		return nil
	})
	return a
}

func (a account) grant(t testing.TB, units int64, reference string) {
	t.Helper()
	a.s.admin(t, http.MethodPost, "accounts/"+a.id+"/grants", map[string]any{"units": units, "reference": reference}, nil)
}

// balance is what Redis says of an account.
type balance struct {
	Granted   int64 `json:"granted_units"`
	Available int64 `json:"available_units"`
	Held      int64 `json:"held_units"`
	Settled   int64 `json:"settled_units"`
	Calls     int64 `json:"calls"`
}

func (a account) balance(t testing.TB) balance {
	t.Helper()
	var shown struct{ Balance *balance }
	services.Eventually(t, patience, func() error { // a Redis that was away is not at once back
		raw, err := a.s.get(a.s.ops + "/admin/v1/accounts/" + a.id + "/credit")
		if err == nil {
			err = json.Unmarshal(raw, &shown)
		}
		if err == nil && shown.Balance == nil {
			err = fmt.Errorf("credit of %s: %s", a.id, raw)
		}
		return err
	})
	return *shown.Balance
}

// cdr is a call as the ledger has it.
type cdr struct {
	CallID      string `json:"call_id"`
	Direction   string `json:"direction"`
	Status      string `json:"status"`
	From        string `json:"from"`
	To          string `json:"to"`
	AnsweredAt  string `json:"answered_at"`
	EndedAt     string `json:"ended_at"`
	DurationSec int64  `json:"duration_sec"`
	CostUnits   int64  `json:"cost_units"`
	Reason      string `json:"reason"`
	Flags       string `json:"flags"`
}

// talk is the time from the answer to the end.
func (c cdr) talk(t testing.TB) time.Duration {
	t.Helper()
	answered, err := time.Parse(time.RFC3339, c.AnsweredAt)
	must(t, err)
	ended, err := time.Parse(time.RFC3339, c.EndedAt)
	must(t, err)
	return ended.Sub(answered)
}

// ledger reads the account's calls from the ledger, whatever became of them.
func (a account) ledger(t testing.TB) []cdr {
	t.Helper()
	raw, err := a.s.get(a.s.ops + "/admin/v1/export?all=true&account=" + a.id)
	must(t, err)
	var all []cdr
	for line := range bytes.Lines(raw) {
		var c cdr
		must(t, json.Unmarshal(line, &c))
		all = append(all, c)
	}
	return all
}

// awaitCDR waits until the ledger has the call in a state.
func (a account) awaitCDR(t testing.TB, callID, status string) cdr {
	t.Helper()
	var found cdr
	services.Eventually(t, 2*patience, func() error {
		all := a.ledger(t)
		for _, c := range all {
			if c.CallID == callID && c.Status == status {
				found = c
				return nil
			}
		}
		return fmt.Errorf("the ledger of %s has no %s as %s: %+v", a.id, callID, status, all)
	})
	return found
}

// wantBalanced checks that nothing is held any more, and that what was charged is all that is missing.
func (a account) wantBalanced(t testing.TB, charged int64) {
	t.Helper()
	services.Eventually(t, patience, func() error {
		b := a.balance(t)
		if b.Held != 0 || b.Calls != 0 || b.Granted-b.Available != charged || b.Settled != charged {
			return fmt.Errorf("%s: %+v, want %d charged and nothing held", a.id, b, charged)
		}
		return nil
	})
}
