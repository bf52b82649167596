package authz

import (
	"net/http"

	"github.com/google/uuid"
)

// Code names why a request was refused; it is the error code of the API.
type Code string

// The codes.
const (
	CodeInvalidRequest      Code = "invalid_request"
	CodeMissingField        Code = "missing_field"
	CodeInsufficientCredits Code = "insufficient_credits"
	CodeSpendLimitReached   Code = "spend_limit_reached"
	CodeAccountSuspended    Code = "account_suspended"
	CodeDestinationBlocked  Code = "destination_blocked"
	CodeAccountNotFound     Code = "account_not_found"
	CodeCallConflict        Code = "call_conflict"
	CodeCallEnded           Code = "call_ended"
	CodeTooManyCalls        Code = "too_many_calls"
	CodeBalanceUnavailable  Code = "balance_unavailable"
)

// Refusal is how a code is told to the switch and to the caller.
type Refusal struct {
	HTTP    int    // status of the hook's answer
	SIP     int    // final reply for an inbound caller
	Q850    int    // cause, ITU-T Q.850
	Prompt  string // audio prompt an inbound caller hears
	Message string
}

// InsufficientOutbound is the customer's document to the letter.
const InsufficientOutbound = "Insufficient credits to make outbound call. Please add credits in your billing dashboard."

var refusals = map[Code]Refusal{
	CodeInvalidRequest:      {http.StatusBadRequest, 400, 127, "service_unavailable", "The request is not valid."},
	CodeMissingField:        {http.StatusBadRequest, 400, 96, "service_unavailable", "A required field is missing."},
	CodeInsufficientCredits: {http.StatusPaymentRequired, 402, 21, "insufficient_credits", "Insufficient credits to receive inbound call. Please add credits in your billing dashboard."},
	CodeSpendLimitReached:   {http.StatusPaymentRequired, 402, 21, "insufficient_credits", "The account's daily spend limit is reached."},
	CodeAccountSuspended:    {http.StatusForbidden, 403, 21, "service_unavailable", "The account is suspended."},
	CodeDestinationBlocked:  {http.StatusForbidden, 403, 21, "service_unavailable", "The tariff does not allow this destination."},
	CodeAccountNotFound:     {http.StatusNotFound, 404, 1, "number_not_in_service", "No account has this number or id."},
	CodeCallConflict:        {http.StatusConflict, 403, 21, "service_unavailable", "This call id was used before with different input."},
	CodeCallEnded:           {http.StatusConflict, 487, 16, "service_unavailable", "This call has already ended."},
	CodeTooManyCalls:        {http.StatusTooManyRequests, 486, 17, "too_many_calls", "The account's limit of concurrent calls is reached."},
	CodeBalanceUnavailable:  {http.StatusServiceUnavailable, 503, 41, "service_unavailable", "The balance cannot be checked right now."},
}

// Refusal tells how the code is answered.
func (c Code) Refusal() Refusal {
	if r, ok := refusals[c]; ok {
		return r
	}
	return refusals[CodeBalanceUnavailable]
}

// Request is an authorize (or quote) as the switch sent it, already checked for
// form: lengths, UTF-8, no control characters, a known direction.
type Request struct {
	Key
	From, To string // as sent
	Account  string // empty: found by To (inbound) or From (outbound)
	Mode     string // empty: the tariff's default mode
	At       int64  // the switch's clock, Unix ms; 0 = not given
}

// Decision is what the Authorizer answers. The rule a naive switch relies on:
// let the call go only if Allowed.
type Decision struct {
	Allowed bool
	Code    Code   // why not
	Param   string // the field concerned, where one is
	Message string // more precise than the code's own; may be empty

	CallID       string
	UID          uuid.UUID // zero where nothing was recorded
	Account      string
	NumberID     string
	MaxSeconds   int64  // dead-man limit from the answer
	SliceSeconds int64  // talk seconds held now
	ExpiresAt    int64  // Unix ms: when an unanswered hold lapses
	OnFailure    string // continue or terminate: what a heartbeating switch does after 3 unanswered heartbeats
	Policy       string // closed, known or open where the failure policy decided; emergency for emergency numbers
	Language     string // of the account, for prompts; empty = the deployment's
}

// EventType names what happened to a call.
type EventType string

// The event types.
const (
	EventAnswered  EventType = "answered"
	EventHeartbeat EventType = "heartbeat"
	EventEnded     EventType = "ended"
	EventAbandoned EventType = "abandoned"
)

// Event is a switch's report, already checked for form. Times are Unix ms.
type Event struct {
	Type EventType
	Key
	Account  string // empty: not given and not found by number
	From, To string

	ReceivedAt    int64 // our clock
	At            int64 // the switch's clock; 0 = not given
	AnsweredAt    int64 // the switch's clock; 0 = not given
	NeverAnswered bool  // answered_at was given as null
	EndedAt       int64 // the switch's clock; 0 = not given (ended: At stands in)
	Cause         string
	ExtraMicros   int64  // pass-through cost in the account's currency
	ExtraCurrency string // as given; must be the account's
}

// EventResult is what became of an event.
type EventResult struct {
	Kept       bool       // could not be worked yet; kept and retried (202)
	Settlement Settlement // ended, abandoned
	State      State
	Action     string // heartbeat: continue, warn or hangup
	Remaining  int64  // heartbeat: seconds of talk the credit still buys
}
