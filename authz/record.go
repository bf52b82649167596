package authz

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// Record is one line of the outbox: a call that was settled, lost, released or
// rejected, on its way to the ledger. It is appended in the same script that
// moves the credit. All times are Unix milliseconds.
type Record struct {
	State   State // StateSettled, StateLost, StateReleased or StateRejected
	Account string
	Key     Key
	UID     uuid.UUID
	Seq     int64 // the account's seq after the change
	Epoch   int64 // the sidecar that owned the call

	At         int64 // the hangup (settled, lost), the release or the rejection: created_at
	AnsweredAt int64 // 0 = never answered
	TalkMS     int64

	Units       credit.Units  // cost of the talk time
	Micros      credit.Micros // the same in money
	ExtraUnits  credit.Units
	ExtraMicros credit.Micros
	Overrun     credit.Units
	Flags       Flags
	Reason      string // Q.850 cause, or the denial's or release's reason

	CreatedAt  int64 // the authorize
	Price      tariff.Price
	MaxSeconds int64
	Detail     Detail
}

// DurationSeconds is the API's duration_sec: talk time, rounded up, before increments.
func (r *Record) DurationSeconds() int64 { return tariff.Seconds(r.TalkMS) }

// Charged is all the call cost.
func (r *Record) Charged() credit.Units { return r.Units + r.ExtraUnits }

// RecordFields counts a record's fields before the call's own text (see ParseTail).
const RecordFields = 15

// ParseRecord reads the text of an outbox entry: tab-separated
//
//	state seq at answered talk units micros extra_units extra_micros overrun
//	flags reason epoch account key  tail
//
// where tail is the call's unchanging part (see ParseTail).
func ParseRecord(s string) (Record, error) {
	return parseLine(s, "s, L, r or x", func(st State) bool { return st.Rank() > 0 })
}

func parseLine(s, states string, known func(State) bool) (Record, error) {
	f := strings.SplitN(s, "\t", RecordFields+1)
	if len(f) != RecordFields+1 {
		return Record{}, fmt.Errorf("outbox record has %d fields, want %d", len(f), RecordFields+1)
	}
	var r Record
	if len(f[0]) != 1 || !known(State(f[0][0])) {
		return Record{}, fmt.Errorf("outbox record has state %q, want %s", f[0], states)
	}
	r.State = State(f[0][0])
	var err error
	num := func(i int, what string) int64 {
		if f[i] == "" || err != nil {
			return 0
		}
		n, e := strconv.ParseInt(f[i], 10, 64)
		if e != nil {
			err = fmt.Errorf("outbox record: %s %q is not a number", what, f[i])
		}
		return n
	}
	r.Seq = num(1, "seq")
	r.At = num(2, "at")
	r.AnsweredAt = num(3, "answered_at")
	r.TalkMS = num(4, "talk_ms")
	r.Units = credit.Units(num(5, "units"))
	r.Micros = credit.Micros(num(6, "micros"))
	r.ExtraUnits = credit.Units(num(7, "extra_units"))
	r.ExtraMicros = credit.Micros(num(8, "extra_micros"))
	r.Overrun = credit.Units(num(9, "overrun"))
	r.Flags = Flags(f[10])
	r.Reason = f[11]
	r.Epoch = num(12, "epoch")
	r.Account = f[13]
	if err != nil {
		return Record{}, err
	}
	if r.Account == "" {
		return Record{}, fmt.Errorf("outbox record names no account")
	}
	if r.Key, err = ParseKey(f[14]); err != nil {
		return Record{}, fmt.Errorf("outbox record: %w", err)
	}
	var c Call
	if err = c.ParseTail(f[15]); err != nil {
		return Record{}, fmt.Errorf("outbox record: %w", err)
	}
	r.UID, r.CreatedAt, r.Price, r.MaxSeconds, r.Detail = c.UID, c.CreatedAt, c.Price, c.MaxSeconds, c.Detail
	return r, nil
}
