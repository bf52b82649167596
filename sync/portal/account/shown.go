package account

import (
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// money is an exact amount in the account's currency, as a JSON number with at
// least two decimals: 0.098, 8.40.
type money credit.Micros

// MarshalJSON writes a JSON number.
func (m money) MarshalJSON() ([]byte, error) { return []byte(credit.Micros(m).Money()), nil }

// credits is an amount of credit as a JSON number with as many decimals as it
// takes, at most six: 1.4, 0.016667.
type credits credit.Units

// MarshalJSON writes a JSON number.
func (c credits) MarshalJSON() ([]byte, error) { return []byte(credit.Units(c).Credits()), nil }

// stamp is a time as all answers show it: UTC, in milliseconds.
type stamp time.Time

const stampFormat = "2006-01-02T15:04:05.000Z"

func (s stamp) String() string { return time.Time(s).UTC().Format(stampFormat) }

// MarshalJSON writes a JSON string.
func (s stamp) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// stampOf is a time in Unix ms, or nil for 0, which is not known.
func stampOf(ms int64) *stamp {
	if ms == 0 {
		return nil
	}
	s := stamp(time.UnixMilli(ms))
	return &s
}

// The statuses of calls, as customers know them.
const (
	statusConnecting = "connecting"
	statusInProgress = "in-progress"
	statusEnded      = "ended"
	statusFailed     = "failed"
	statusRejected   = "rejected"
	statusLost       = "lost"
)

var statuses = []string{statusConnecting, statusInProgress, statusEnded, statusFailed, statusRejected, statusLost}

var states = map[string]authz.State{
	statusConnecting: authz.StateHeld, statusInProgress: authz.StateLive, statusEnded: authz.StateSettled,
	statusFailed: authz.StateReleased, statusRejected: authz.StateRejected, statusLost: authz.StateLost,
}

// StatusOf names a state for customers: connecting, in-progress, ended, failed, rejected or lost.
func StatusOf(s authz.State) string {
	for _, name := range statuses {
		if states[name] == s {
			return name
		}
	}
	return s.String()
}

// Parties are the two ends of a call. The agent is the account's side, with its
// number, whichever side placed the call; the caller is the other one: who rang
// an inbound call, and who is rung by an outbound one.
func Parties(d authz.Direction, detail *authz.Detail) (caller, agent string) {
	if d == authz.Outbound {
		return detail.To, detail.From
	}
	return detail.From, detail.To
}
