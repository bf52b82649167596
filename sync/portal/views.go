package portal

import (
	"encoding/json"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// AccountView is an account as the admin API shows it.
type AccountView struct {
	authz.Account
	ActiveNumbers int             `json:"active_numbers"`
	Minutes       *credit.Minutes `json:"minutes_balance,omitempty"` // when asked for one account
	Balance       *authz.Balance  `json:"balance,omitempty"`
	Killed        []string        `json:"killed,omitempty"`   // calls that were asked to end
	Warnings      []string        `json:"warnings,omitempty"` // what is recorded and not done yet
}

// AccountList is a page of accounts; Next, if there is one, is the after of the following page.
type AccountList struct {
	Accounts []AccountView `json:"accounts"`
	Next     string        `json:"next,omitempty"`
}

// NumberView is a number as the admin API shows it.
type NumberView struct {
	authz.Number
	Killed   []string `json:"killed,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// NumberList is a page of numbers.
type NumberList struct {
	Numbers []NumberView `json:"numbers"`
	Next    string       `json:"next,omitempty"`
}

// TariffView sums up a tariff.
type TariffView struct {
	ID          string      `json:"id"`
	Version     int64       `json:"version"`
	Currency    string      `json:"currency"`
	CreditPrice json.Number `json:"credit_price"` // money
	Modes       []string    `json:"modes,omitempty"`
	DefaultMode string      `json:"default_mode,omitempty"`
	Warnings    []string    `json:"warnings,omitempty"`
}

func tariffView(t *tariff.Table) TariffView {
	return TariffView{ID: t.ID(), Version: t.Version(), Currency: t.Currency(), CreditPrice: json.Number(t.CreditPrice().Money()),
		Modes: t.Modes(), DefaultMode: t.DefaultMode()}
}

// TariffList is all tariffs.
type TariffList struct {
	Tariffs []TariffView `json:"tariffs"`
}

// GrantView is a grant as the admin API shows it.
type GrantView struct {
	authz.Grant
	Minutes credit.Minutes `json:"minutes"`
}

func grantView(g authz.Grant) GrantView { return GrantView{g, credit.Minutes(g.Units)} }

// GrantMade is the answer to a grant.
type GrantMade struct {
	Grant    GrantView       `json:"grant"`
	Created  bool            `json:"created"` // false: the reference had been used for this very grant
	Applied  bool            `json:"applied"` // the credit can be spent
	Minutes  *credit.Minutes `json:"minutes_balance,omitempty"`
	Warnings []string        `json:"warnings,omitempty"`
}

// CreditView is an account's credit.
type CreditView struct {
	Account string         `json:"account"`
	Minutes credit.Minutes `json:"minutes_balance"`
	Balance authz.Balance  `json:"balance"`
	Grants  []GrantView    `json:"grants"` // a page, in order
	Next    int64          `json:"next,omitempty"`
}

// CallView is a call as the admin API shows it.
type CallView struct {
	Call      string          `json:"call"` // switch:direction:call_id
	Account   string          `json:"account"`
	Switch    string          `json:"switch"`
	Direction authz.Direction `json:"direction"`
	CallID    string          `json:"call_id"`
	UID       string          `json:"call_uid"`
	State     string          `json:"state"`
	From      string          `json:"from"`
	To        string          `json:"to"`
	NumberID  string          `json:"number_id,omitempty"`
	Mode      string          `json:"mode,omitempty"`
	Tariff    string          `json:"tariff,omitempty"`
	Prefix    string          `json:"prefix,omitempty"`
	Flags     []string        `json:"flags,omitempty"`
	Owner     int64           `json:"owner_epoch"`

	Talk   int64        `json:"talk_seconds"`   // so far, rounded up
	Bought int64        `json:"bought_seconds"` // talk time that the hold pays for
	Limit  int64        `json:"max_seconds,omitempty"`
	Held   credit.Units `json:"held_units"`
	Cost   credit.Units `json:"cost_units"` // so far

	Created  time.Time `json:"created_at"`
	Answered time.Time `json:"answered_at,omitzero"`
	Expires  time.Time `json:"expires_at,omitzero"` // while nobody has answered
	Over     time.Time `json:"over_at,omitzero"`
	Proof    time.Time `json:"last_proof_at,omitzero"`
}

var flagNames = []struct {
	flag rune
	name string
}{
	{authz.FlagClamped, "clamped"}, {authz.FlagEmergency, "emergency"}, {authz.FlagKilled, "killed"},
	{authz.FlagOverrun, "overrun"}, {authz.FlagUnchecked, "unchecked"}, {authz.FlagClock, "clock"},
}

func callView(c *authz.Call, now int64) CallView {
	v := CallView{
		Call: c.Key.String(), Account: c.Account, Switch: c.Switch, Direction: c.Direction, CallID: c.CallID,
		UID: c.UID.String(), State: c.State.String(), From: c.Detail.From, To: c.Detail.To, NumberID: c.Detail.NumberID,
		Mode: c.Detail.Mode, Tariff: c.Detail.Tariff, Prefix: c.Detail.Prefix, Owner: c.Epoch,
		Bought: c.UntilMS / 1000, Limit: c.MaxSeconds, Held: c.Held, Cost: CostSoFar(c, now),
		Created: moment(c.CreatedAt), Answered: moment(c.AnsweredAt), Over: moment(c.OverAt), Proof: moment(c.ProofAt),
	}
	for _, f := range flagNames {
		if c.Flags.Has(f.flag) {
			v.Flags = append(v.Flags, f.name)
		}
	}
	switch {
	case c.State == authz.StateHeld:
		v.Expires = moment(c.ExpiresAt)
	case c.AnsweredAt > 0 && c.OverAt > 0:
		v.Talk = tariff.Seconds(c.OverAt - c.AnsweredAt)
	case c.AnsweredAt > 0:
		v.Talk = tariff.Seconds(now - c.AnsweredAt)
	}
	return v
}

// moment is a time of a call; none where it is not known.
func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// CallList is the calls that hold credit, oldest first.
type CallList struct {
	Calls     []CallView `json:"calls"`
	Truncated bool       `json:"truncated,omitempty"` // there are more
}

// OrphanView is an event whose call was never found.
type OrphanView struct {
	Type     authz.EventType `json:"type"`
	Call     string          `json:"call"`
	Account  string          `json:"account,omitempty"`
	From     string          `json:"from,omitempty"`
	To       string          `json:"to,omitempty"`
	Cause    string          `json:"cause,omitempty"`
	Received time.Time       `json:"received_at"`
	Answered time.Time       `json:"answered_at,omitzero"`
	Ended    time.Time       `json:"ended_at,omitzero"`
}

func orphanView(e *authz.Event) OrphanView {
	return OrphanView{Type: e.Type, Call: e.Key.String(), Account: e.Account, From: e.From, To: e.To, Cause: e.Cause,
		Received: moment(e.ReceivedAt), Answered: moment(e.AnsweredAt), Ended: moment(e.EndedAt)}
}

// OrphanList is the latest of them.
type OrphanList struct {
	Orphans []OrphanView `json:"orphans"`
}
