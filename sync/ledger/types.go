package ledger

import (
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// The kinds of grant. A dispute is a refund: its reference tells which.
const (
	KindPurchase   = "purchase"
	KindBonus      = "bonus"
	KindAdjustment = "adjustment"
	KindRefund     = "refund"
)

// Call is a call as the ledger keeps it: its highest record, and when that came.
type Call struct {
	authz.Record
	RecordedAt time.Time
}

// Outcome is what ingest did with a record.
type Outcome string

// The outcomes.
const (
	// Inserted: the first record of its call.
	Inserted Outcome = "inserted"
	// Replaced: it outranked the call's earlier record; the account was charged the difference.
	Replaced Outcome = "replaced"
	// Duplicate: of equal or lower rank than what the ledger has; nothing changed.
	Duplicate Outcome = "duplicate"
	// Refused: it can never be kept; Result.Err is a *RefusedError.
	Refused Outcome = "refused"
)

// Result is what became of one record.
type Result struct {
	UID     uuid.UUID
	Outcome Outcome
	Err     error // a *RefusedError where refused
}

// Change is a call that an ingest inserted or replaced.
type Change struct {
	Record authz.Record
	Was    authz.State  // StateNone for a new call
	Delta  credit.Units // how much the account was charged by this change
}

// Totals are an account's sums: what all its rows add up to, kept in the transactions that change them.
type Totals struct {
	Account string
	Granted credit.Units // of all grants
	Settled credit.Units // charged by all settled and lost calls, dropped ones included
	Grants  int64        // how many, and the number of the last
	Seq     int64        // the highest of any record seen
	Calls   Counts       // rows of each status

	DroppedUnits credit.Units // the part of Settled whose calls retention has dropped
	DroppedCalls int64
	KeptFrom     time.Time // calls before are dropped (or being dropped); zero: none
	MaskedBefore time.Time // the numbers of calls before are truncated; zero: none
}

// Balance is what the ledger says is left: granted less settled.
func (t *Totals) Balance() credit.Units { return t.Granted - t.Settled }

// Counts are numbers of calls by status.
type Counts struct {
	Settled, Lost, Released, Rejected int64
}

// Of sums the counts of some statuses, or of all where none is named.
func (c *Counts) Of(states ...authz.State) int64 {
	if len(states) == 0 {
		states = allStates
	}
	var n int64
	for _, s := range uniqueStates(states) {
		if p := c.of(s); p != nil {
			n += *p
		}
	}
	return n
}

func (c *Counts) of(s authz.State) *int64 {
	switch s {
	case authz.StateSettled:
		return &c.Settled
	case authz.StateLost:
		return &c.Lost
	case authz.StateReleased:
		return &c.Released
	case authz.StateRejected:
		return &c.Rejected
	}
	return nil
}

// Sum is what some settled and lost calls add up to.
type Sum struct {
	Calls       int64
	Seconds     int64         // of duration_sec: each call's talk time rounded up
	Units       credit.Units  // for talk
	Micros      credit.Micros // the same in money
	ExtraUnits  credit.Units  // passed-through cost
	ExtraMicros credit.Micros
}

// Charged is all that the calls cost in credit.
func (s *Sum) Charged() credit.Units { return s.Units + s.ExtraUnits }

// Cost is all that the calls cost in money.
func (s *Sum) Cost() credit.Micros { return s.Micros + s.ExtraMicros }

// APIKey is what the ledger knows of a key: never the key itself.
type APIKey struct {
	ID       string    `json:"id"`
	Account  string    `json:"account"`
	Name     string    `json:"name"`
	Prefix   string    `json:"prefix"` // what may be shown of the key
	Hash     []byte    `json:"-"`      // SHA-256 of the key, 32 bytes
	Created  time.Time `json:"created_at"`
	Expires  time.Time `json:"expires_at,omitzero"`
	Revoked  time.Time `json:"revoked_at,omitzero"`
	LastUsed time.Time `json:"last_used_at,omitzero"`
}

// Revised is a state of an account, number, key or tariff, and the revision of the directory that brought it. A later
// state of the same one has a higher revision.
type Revised[T any] struct {
	Revision int64
	Value    T
}

// Changes are the accounts, numbers, keys and tariffs changed since a revision.
type Changes struct {
	Revision int64 // pass it to the next call
	Accounts []Revised[authz.Account]
	Numbers  []Revised[authz.Number]
	Removed  []Revised[authz.Number] // no longer in use; one may be in Numbers again, later and under another id
	Keys     []Revised[APIKey]
	Tariffs  []Revised[*tariff.Table]
}

// RefusedRecord is outbox text that could not become a call.
type RefusedRecord struct {
	ID        int64
	Raw       []byte // as it came
	Reason    string // of the last refusal
	Count     int64  // how often it came
	FirstSeen time.Time
	LastSeen  time.Time
}

// LineKind tells what a line of a statement is.
type LineKind string

// The kinds of line, in the order they come.
const (
	LineOpening LineKind = "opening"
	LineGrant   LineKind = "grant"
	LineCall    LineKind = "call"
	// LineHour stands for the calls of one hour that retention has dropped.
	LineHour    LineKind = "hour"
	LineClosing LineKind = "closing"
)

// Line is one line of a statement. Balance is the balance after it: each is the one before plus Units.
type Line struct {
	Kind    LineKind
	At      time.Time
	Units   credit.Units // positive: credit was added
	Balance credit.Units
	Grant   *authz.Grant // LineGrant
	Call    *Call        // LineCall
	Hour    *Sum         // LineHour
}

// Mismatch is a sum that is not what its rows add up to.
type Mismatch struct {
	Account string
	Field   string    // the column of account_sums or account_hours
	Hour    time.Time // zero: account_sums
	Kept    int64     // what the sum says
	Found   int64     // what the rows add up to
}

var allStates = []authz.State{authz.StateSettled, authz.StateLost, authz.StateReleased, authz.StateRejected}

// uniqueStates removes repetitions.
func uniqueStates(states []authz.State) []authz.State {
	var out []authz.State
	for _, s := range allStates {
		for _, wanted := range states {
			if s == wanted {
				out = append(out, s)
				break
			}
		}
	}
	return out
}
