package authz

import (
	"time"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// AccountStatus is active or suspended.
type AccountStatus string

// The account statuses.
const (
	Active    AccountStatus = "active"
	Suspended AccountStatus = "suspended"
)

// Limits are an account's own; zero means none.
type Limits struct {
	MaxCalls    int          `json:"max_calls,omitempty"`     // concurrent calls
	MaxSeconds  int64        `json:"max_seconds,omitempty"`   // talk seconds of one call
	SpendPerDay credit.Units `json:"spend_per_day,omitempty"` // units a day in the account's time zone
}

// Account is who pays, as the directory keeps it. Treat one from a look-up as
// read-only: it is shared.
type Account struct {
	ID       string        `json:"id"`
	Company  string        `json:"company_name"`
	Email    string        `json:"email,omitempty"`
	Status   AccountStatus `json:"status"`
	Currency string        `json:"currency"`
	Tariff   string        `json:"tariff"`
	Language string        `json:"language,omitempty"`
	TimeZone string        `json:"time_zone"` // IANA name
	Limits   Limits        `json:"limits"`
	Created  time.Time     `json:"created_at"`

	// What a call of the account must tell beside its record: see Notice.
	Notify     bool         `json:"notify,omitempty"`      // it has a webhook
	AlertBelow credit.Units `json:"alert_below,omitempty"` // balance under which it wants to be told; 0: never

	Table    *tariff.Table  `json:"-"` // resolved from Tariff
	Location *time.Location `json:"-"` // resolved from TimeZone

	versioned string // id@version of Table
}

// Day gives the account's own date at t as yyyymmdd: the day of the spend cap.
func (a *Account) Day(t time.Time) int64 {
	loc := a.Location
	if loc == nil {
		loc = time.UTC
	}
	y, m, d := t.In(loc).Date()
	return int64(y)*10000 + int64(m)*100 + int64(d)
}

// Number is an E.164 number (DID) of an account.
type Number struct {
	ID      string    `json:"id"` // number_id, a UUID
	E164    string    `json:"number"`
	Account string    `json:"account"`
	Name    string    `json:"name,omitempty"`
	Created time.Time `json:"created_at"`
}

// Grant is units added to (or, negative, taken from) an account.
type Grant struct {
	Account   string       `json:"account"`
	Number    int64        `json:"number"` // 1, 2, 3 ... per account
	Units     credit.Units `json:"units"`
	Kind      string       `json:"kind"` // purchase, bonus, adjustment, refund
	Reference string       `json:"reference"`
	Reason    string       `json:"reason,omitempty"`
	At        time.Time    `json:"created_at"`
}

// Balance is an account's credit at one instant.
type Balance struct {
	Available credit.Units `json:"available_units"`
	Held      credit.Units `json:"held_units"`
	Granted   credit.Units `json:"granted_units"`
	Settled   credit.Units `json:"settled_units"`
	SpentDay  credit.Units `json:"spent_today_units"`
	Day       int64        `json:"-"`
	Calls     int64        `json:"calls"` // held and live
	Seq       int64        `json:"seq"`
	GrantSeq  int64        `json:"grant_seq"`
	Suspended bool         `json:"suspended"`
	RejectedN int64        `json:"rejected_uncounted"` // rejections beyond the per-minute cap
}
