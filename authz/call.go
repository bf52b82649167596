package authz

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// Direction says who of the two ends is the account: Inbound calls reach one of
// its numbers, Outbound calls leave from it.
type Direction = tariff.Direction

// The two directions.
const (
	Inbound  = tariff.Inbound
	Outbound = tariff.Outbound
)

// MaxCallID is the length limit of a call id, in bytes.
const MaxCallID = 128

// Key names one leg: an on-net call is outbound for one account and inbound for
// another under one SIP Call-ID, so the direction belongs to the name.
type Key struct {
	Switch    string
	Direction Direction
	CallID    string
}

// String gives "switch:direction:call_id". A switch name has no colon, so the
// form is unambiguous whatever the call id holds.
func (k Key) String() string {
	return k.Switch + ":" + k.Direction.String() + ":" + k.CallID
}

// Append writes what String gives.
func (k Key) Append(b []byte) []byte {
	b = append(append(b, k.Switch...), ':')
	b = append(append(b, k.Direction.String()...), ':')
	return append(b, k.CallID...)
}

// ParseKey reads what Key.String wrote.
func ParseKey(s string) (Key, error) {
	sw, rest, ok := strings.Cut(s, ":")
	dir, id, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 || sw == "" || id == "" {
		return Key{}, fmt.Errorf("call key %q is not switch:direction:call_id", s)
	}
	d, err := tariff.ParseDirection(dir)
	if err != nil {
		return Key{}, fmt.Errorf("call key %q: %w", s, err)
	}
	return Key{Switch: sw, Direction: d, CallID: id}, nil
}

// State is where a call stands in its life; the value is the letter kept in Redis.
type State byte

// The states. Mark is not a call: it is left by an end that came before its
// authorize, so that a late authorize holds nothing.
const (
	StateNone     State = 0
	StateHeld     State = 'h'
	StateLive     State = 'l'
	StateSettled  State = 's'
	StateReleased State = 'r'
	StateLost     State = 'L'
	StateRejected State = 'x'
	StateMark     State = 'm'
)

// String names the state as the API and the ledger do.
func (s State) String() string {
	switch s {
	case StateHeld:
		return "held"
	case StateLive:
		return "live"
	case StateSettled:
		return "settled"
	case StateReleased:
		return "released"
	case StateLost:
		return "lost"
	case StateRejected:
		return "rejected"
	case StateMark:
		return "mark"
	}
	return "none"
}

// Final tells whether the call no longer holds credit.
func (s State) Final() bool {
	switch s {
	case StateSettled, StateReleased, StateLost, StateRejected:
		return true
	}
	return false
}

// Rank orders records of one call: in the ledger a record of higher rank
// replaces a lower one (settled > lost > released > rejected).
func (s State) Rank() int {
	switch s {
	case StateSettled:
		return 4
	case StateLost:
		return 3
	case StateReleased:
		return 2
	case StateRejected:
		return 1
	}
	return 0
}

// Flags say what was unusual about a call; each is one letter in Redis.
type Flags string

// The flags.
const (
	FlagClamped   = 'c' // the duration made no sense and was clamped
	FlagEmergency = 'e' // an emergency call: never held, never charged
	FlagGone      = 'g' // released since its asker had gone; it may ask again
	FlagKilled    = 'k' // an operator or a suspension asked for its end
	FlagOverrun   = 'o' // it cost more than was held
	FlagUnchecked = 'u' // let go by the failure policy while Redis was away
	FlagClock     = 't' // the switch's stamps were outside the call's life; ours were taken
)

// Has tells whether flag f is set.
func (f Flags) Has(flag rune) bool { return strings.ContainsRune(string(f), flag) }

// With returns f with flag set.
func (f Flags) With(flag rune) Flags {
	if f.Has(flag) {
		return f
	}
	return f + Flags(flag)
}

// Detail is what authorize knew of a call and every later record repeats. It is
// kept as text that the scripts carry along without reading it.
type Detail struct {
	From, To       string // E.164 with "+", or as dialled where it is no E.164 number
	FromRaw, ToRaw string // as the switch sent them; empty when equal to From and To
	NumberID       string // the account's number in this call; empty when none
	Mode           string
	Tariff         string // id@version
	Prefix         string // the matched destination prefix
	Currency       string
}

const detailFields = 9

// Append writes the detail as tab-separated text. No field may hold a control
// character; the hook refuses such input.
func (d *Detail) Append(b []byte) []byte {
	for i, s := range [detailFields]string{d.From, d.To, d.FromRaw, d.ToRaw, d.NumberID, d.Mode, d.Tariff, d.Prefix, d.Currency} {
		if i > 0 {
			b = append(b, '\t')
		}
		if i == detailNumberID {
			b = appendShortID(b, s)
			continue
		}
		b = append(b, s...)
	}
	return b
}

const detailNumberID = 4

// appendShortID writes a UUID as "#" and 22 characters, which every live call
// saves 13 bytes of Redis by; any other id as it is.
func appendShortID(b []byte, id string) []byte {
	if len(id) == 36 && !strings.ContainsAny(id, "ABCDEF") {
		if u, err := uuid.Parse(id); err == nil {
			return base64.RawURLEncoding.AppendEncode(append(b, '#'), u[:])
		}
	}
	return append(b, id...)
}

// longID reads what appendShortID wrote.
func longID(s string) string {
	if short, ok := strings.CutPrefix(s, "#"); ok {
		if u, err := ParseUID(short); err == nil {
			return u.String()
		}
	}
	return s
}

// ParseDetail reads what Append wrote.
func ParseDetail(s string) (Detail, error) {
	f := strings.Split(s, "\t")
	if len(f) != detailFields {
		return Detail{}, fmt.Errorf("call detail has %d fields, want %d", len(f), detailFields)
	}
	return Detail{f[0], f[1], f[2], f[3], longID(f[detailNumberID]), f[5], f[6], f[7], f[8]}, nil
}

// Call is one call as the balance store keeps it. All times are Unix
// milliseconds; 0 means not known.
type Call struct {
	Key
	Account string
	UID     uuid.UUID // UUIDv7, the ledger's key and the API's usage id
	State   State
	Flags   Flags
	Epoch   int64 // fencing epoch of the sidecar that owns it
	Hash    string

	Held    credit.Units // units reserved for it now
	UntilMS int64        // talk time bought so far

	CreatedAt      int64 // the authorize, our clock
	ExpiresAt      int64 // when an unanswered hold lapses
	AnsweredAt     int64 // when we learnt of the answer, our clock
	AnsweredSwitch int64 // the answer's stamp by the switch's clock
	ProofAt        int64 // last proof of life, our clock
	OverAt         int64 // when it was settled, released, lost or rejected
	EndedSwitch    int64 // the end's stamp by the switch's clock

	Charged     credit.Units  // what it cost, extra included (final states)
	ExtraMicros credit.Micros // the pass-through part of it

	Price      tariff.Price
	MaxSeconds int64 // the account's limit for one call; 0 = none
	Detail     Detail
}

// newUID mints a call uid. It must be unique, which it is by its time and the
// process's own generator (ChaCha8, seeded by the system); it need not be secret.
func newUID() (uuid.UUID, error) { return uuid.NewV7FromReader(generator{}) }

type generator struct{}

func (generator) Read(b []byte) (int, error) {
	for i := 0; i < len(b); i += 8 {
		var n [8]byte
		binary.NativeEndian.PutUint64(n[:], rand.Uint64())
		copy(b[i:], n[:])
	}
	return len(b), nil
}

// UIDText writes a call uid in the 22 characters kept in Redis.
func UIDText(u uuid.UUID) string { return base64.RawURLEncoding.EncodeToString(u[:]) }

// ParseUID reads what UIDText wrote.
func ParseUID(s string) (uuid.UUID, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != 16 {
		return uuid.Nil, errors.New("call uid is not 22 characters of base64url")
	}
	return uuid.UUID(b), nil
}

// fullNumbers is whether logs show numbers whole: a property of the process,
// as its log is.
var fullNumbers atomic.Bool

// LogNumbersInFull has Mask leave numbers as they are.
func LogNumbersInFull(on bool) { fullNumbers.Store(on) }

// Mask hides a phone number's last digits for logs, unless numbers are logged
// in full: "+31850835037" becomes "+3185083****". Short numbers are hidden whole.
func Mask(number string) string {
	if fullNumbers.Load() {
		return number
	}
	return Truncate(number)
}

// Truncate takes a phone number's last digits away, for good: "+31850835037"
// becomes "+3185083****".
func Truncate(number string) string {
	if len(number) <= 4 {
		return strings.Repeat("*", len(number))
	}
	return number[:len(number)-4] + "****"
}
