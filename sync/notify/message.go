package notify

import (
	"cmp"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// The events, as X-Webhook-Event and message.type have them.
const (
	EventStatus    = "status-update"
	EventReport    = "end-of-call-report"
	EventLow       = "balance-low"
	EventExhausted = "balance-exhausted"
	EventCredits   = ledger.NoticeCreditsAdded
	EventTopUp     = ledger.NoticeTopUpFailed
	EventTest      = "test"
)

// The statuses of a status-update.
const (
	statusInProgress = "in-progress"
	statusEnded      = "ended"
	statusError      = "ended-with-error"
)

// message is what a webhook's body holds.
type message struct {
	Type      string     `json:"type"`
	Timestamp moment     `json:"timestamp"`
	Account   *account   `json:"account,omitempty"`
	Call      *call      `json:"call,omitempty"`
	Number    *number    `json:"phone_number,omitempty"`
	Customer  *customer  `json:"customer,omitempty"`
	Error     *callError `json:"error,omitempty"`

	Duration  *int64       `json:"duration_seconds,omitempty"`
	StartedAt moment       `json:"started_at,omitzero"`
	EndedAt   moment       `json:"ended_at,omitzero"`
	Cost      *json.Number `json:"cost,omitempty"` // in the currency, exact
	Currency  string       `json:"currency,omitempty"`
	Minutes   *json.Number `json:"cost_minutes,omitempty"` // in credits, exact
	Corrected bool         `json:"corrected,omitempty"`    // replaces what was told of the call before

	Added     *json.Number    `json:"minutes_added,omitempty"`
	Kind      string          `json:"kind,omitempty"`
	Reference string          `json:"reference,omitempty"`
	Reason    string          `json:"reason,omitempty"`
	PayURL    string          `json:"pay_url,omitempty"`
	Threshold *json.Number    `json:"threshold_minutes,omitempty"`
	Balance   *credit.Minutes `json:"minutes_balance,omitempty"`
}

type account struct {
	ID      string `json:"id"`
	Company string `json:"company_name"`
}

type call struct {
	ID     uuid.UUID `json:"id"`
	Type   string    `json:"type"`
	Status string    `json:"status"`
}

type number struct {
	Number string `json:"number"`
	Name   string `json:"name"`
}

type customer struct {
	Number string `json:"number"`
}

type callError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// moment is a time as the API writes it: 2025-12-13T10:00:00.000Z.
type moment int64 // Unix ms; 0: none

func (m moment) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.UnixMilli(int64(m)).UTC().Format("2006-01-02T15:04:05.000Z"))
}

func (m message) encode() []byte {
	b, err := json.Marshal(struct {
		Message message `json:"message"`
	}{m})
	if err != nil { // every field can be written
		return []byte("{}")
	}
	return b
}

func exact(s string) *json.Number { n := json.Number(s); return &n }

func minutes(u credit.Units) *credit.Minutes { m := credit.Minutes(u); return &m }

// about says which call a message is about, and whose.
func about(m *message, uid uuid.UUID, dir authz.Direction, d *authz.Detail, status, name string) {
	m.Call = &call{ID: uid, Type: dir.String() + "_phone_call", Status: status}
	ours, theirs := d.From, d.To
	if dir == authz.Inbound {
		ours, theirs = d.To, d.From
	}
	m.Number, m.Customer = &number{Number: ours, Name: name}, &customer{Number: theirs}
}

// answered is the status-update of a call's answer.
func answered(uid uuid.UUID, dir authz.Direction, d *authz.Detail, at int64, name string) message {
	m := message{Type: EventStatus, Timestamp: moment(at)}
	about(&m, uid, dir, d, statusInProgress, name)
	return m
}

// over is the status-update of a call's end.
func over(r *authz.Record, name string) message {
	m := message{Type: EventStatus, Timestamp: moment(r.At)}
	status := statusEnded
	if m.Error = whyFailed(r); m.Error != nil {
		status = statusError
	}
	about(&m, r.UID, r.Key.Direction, &r.Detail, status, name)
	return m
}

// whyFailed says what went wrong with a call; nil: nothing did.
func whyFailed(r *authz.Record) *callError {
	switch r.State {
	case authz.StateRejected:
		code := authz.Code(r.Reason)
		if code == authz.CodeInsufficientCredits && r.Key.Direction == authz.Outbound {
			return &callError{r.Reason, authz.InsufficientOutbound}
		}
		return &callError{cmp.Or(r.Reason, "rejected"), code.Refusal().Message}
	case authz.StateReleased:
		return &callError{"not_answered", "The call was not answered."}
	case authz.StateLost:
		return &callError{"call_lost", "The switch could not vouch for the call any more; it is charged up to its last proof of life."}
	}
	return nil
}

// report is the end-of-call-report; left is the balance after the call.
func report(r *authz.Record, name string, left credit.Units, corrected bool) message {
	m := over(r, name)
	m.Type = EventReport
	secs := r.DurationSeconds()
	m.Duration, m.StartedAt, m.EndedAt = &secs, moment(r.AnsweredAt), moment(r.At)
	m.Cost, m.Currency, m.Minutes = exact((r.Micros + r.ExtraMicros).Money()), r.Detail.Currency, exact(r.Charged().Credits())
	m.Balance, m.Corrected = minutes(left), corrected
	return m
}
