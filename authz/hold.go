package authz

import (
	"errors"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// Errors of a balance store. Its driver's own errors are wrapped, never shown.
var (
	// ErrDown: the store did not answer in time or cannot take writes (time-out,
	// OOM, READONLY, MISCONF, LOADING, CLUSTERDOWN). The failure policy decides.
	ErrDown = errors.New("balance store is down")
	// ErrLost: the account is missing from the store. That means lost, never
	// zero and never unknown.
	ErrLost = errors.New("account is missing from the balance store")
	// ErrUnknownCall: no such call, or it ended longer ago than its tombstone lasts.
	ErrUnknownCall = errors.New("unknown call")
	// ErrCallConflict: the same id came with different input.
	ErrCallConflict = errors.New("same id, different input")
	// ErrCallEnded: the call is over, or its end came before its authorize.
	ErrCallEnded = errors.New("call has ended")
	// ErrNotAnswered: an end without answered_at for a call whose answer is not recorded.
	ErrNotAnswered = errors.New("answered_at is missing and no answer is recorded")
	// ErrExtraCurrency: a pass-through amount is not in the account's currency.
	ErrExtraCurrency = errors.New("extra_cost is not in the account's currency")
	// ErrFenced: another sidecar owns the call now.
	ErrFenced = errors.New("another sidecar owns the call")
	// ErrNotYet: the change may not be made in the call's present state.
	ErrNotYet = errors.New("not in this state")
)

// Hold asks the store to check an account and reserve credit for a call.
type Hold struct {
	Key
	UID     uuid.UUID
	Account string
	Hash    string // of the input that must not differ when the id comes again
	Now     int64  // Unix ms
	Day     int64  // the account's date, yyyymmdd
	Epoch   int64  // the asking sidecar's

	Price        tariff.Price
	MinSeconds   int64 // talk time that must be affordable
	SliceSeconds int64 // talk time to hold
	ExpiresAt    int64 // Unix ms
	Limits       Limits
	Detail       Detail
	Flags        Flags
	Deny         Code // set when already decided: only a rejected record is written
	Dry          bool // quote: reserve nothing, write nothing
}

// Held is the store's answer to a Hold.
type Held struct {
	Denied    Code // empty when allowed
	UID       uuid.UUID
	Units     credit.Units // held for this call
	UntilMS   int64        // talk time that buys
	ExpiresAt int64
	Replayed  bool // the call was known already with the same input

	Budget    credit.Units // what this call could spend in all, own hold included
	Available credit.Units // after the hold
	Others    int64        // the account's other calls
	Seq       int64
}

// MaxSeconds is the dead-man limit of a call, counted from its answer: what the
// account can still pay for, own hold included, capped by the call limit and,
// with other live calls, by max(slice, budget/(n+1)).
func MaxSeconds(p tariff.Price, budget credit.Units, others, slice, limit int64) int64 {
	s := p.Affordable(budget)
	if others > 0 {
		s = min(s, max(slice, p.Affordable(budget/credit.Units(others+1))))
	}
	if limit > 0 {
		s = min(s, limit)
	}
	return max(s, 0)
}

// Extension asks to buy talk time up to UntilMS for a live call. It is absolute.
type Extension struct {
	Key
	Account string
	Epoch   int64
	Now     int64
	Day     int64
	UntilMS int64
	ProofAt int64 // last proof of life known to the owner; 0 = none newer
	Cap     credit.Units
}

// Extended is the answer to an Extension.
type Extended struct {
	Err       error        // ErrUnknownCall, ErrCallEnded, ErrFenced, ErrLost, ErrDown
	Killed    bool         // an operator asked for the call's end
	Units     credit.Units // held now
	UntilMS   int64        // talk time bought now; less than asked: credit has run out
	Budget    credit.Units // what the call could spend in all
	Others    int64
	Seq       int64
	Suspended bool // the account is (live calls go on)
}

// Answer reports the answer of a call.
type Answer struct {
	Key
	Account string
	Epoch   int64
	Now     int64 // our clock, at receipt
	At      int64 // the switch's clock; 0 = not given
	Day     int64
	Cap     credit.Units
	SliceMS int64 // talk time to hold where a lapsed hold is taken again
}

// Taken is a call as answered, adopted or claimed.
type Taken struct {
	Call      Call
	Budget    credit.Units // what the call could spend in all, own hold included
	Others    int64
	Seq       int64
	Duplicate bool
}

// Indexed says where a call is.
type Indexed struct {
	Key     Key
	Account string
	Epoch   int64
}

// End reports a hangup, or (Lost) the giving up of a call nobody can vouch for.
type End struct {
	Key
	Account     string
	Now         int64 // our clock, when it is worked
	ReceivedAt  int64 // our clock, when it came in
	EndedAt     int64 // the switch's clock; 0 = not given
	AnsweredAt  int64 // the switch's clock; 0 = not given, -1 = the switch says: never answered
	Cause       string
	ExtraMicros credit.Micros
	Day         int64
	Lost        bool
	MarkUntil   int64 // where no such call is known, leave an end-mark until then; 0 = none
}

// Release gives an unanswered call's hold back.
type Release struct {
	Key
	Account   string
	Now       int64
	Reason    string // "abandoned", "expired", or "gone": the asker went away and may ask again
	MarkUntil int64  // as in End
	Before    int64  // the mark bars only requests made up to this time, Unix ms; 0 = all
}

// Settlement is what an end, release or loss did to a call.
type Settlement struct {
	State      State
	UID        uuid.UUID
	Duplicate  bool // it had been done before; nothing changed
	TalkMS     int64
	Units      credit.Units  // charged for talk
	Micros     credit.Micros // the same in money
	ExtraUnits credit.Units
	Overrun    credit.Units // charged beyond the hold
	Flags      Flags
	Available  credit.Units
	Seq        int64
}
