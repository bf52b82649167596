package hook

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// The most bytes of each text, beside authz.MaxCallID.
const (
	maxNumber  = 128 // from, to: a number, or what was dialled instead of one
	maxAccount = 128
	maxMode    = 64
	maxSwitch  = 64
	maxCause   = 64
)

// DefaultSwitch names the switch of a deployment that has only one.
const DefaultSwitch = "default"

// maxAge is how long after its `at` an authorize is still worked, in ms. What
// comes later was queued somewhere: its call is over or was given up.
const maxAge = 60_000

// request checks an authorize or a quote for form. now is in Unix ms.
func (b *authorizeBody) request(now int64) (*authz.Request, *problem) {
	k, p := b.key()
	if p != nil {
		return nil, p
	}
	if b.From == nil || (*b.From == "" && k.Direction == authz.Outbound && b.Account == "") {
		return nil, missing("from")
	}
	if b.To == "" {
		return nil, missing("to")
	}
	for _, f := range [...]struct {
		name, value string
		most        int
	}{{"from", *b.From, maxNumber}, {"to", b.To, maxNumber}, {"account", b.Account, maxAccount}, {"mode", b.Mode, maxMode}} {
		if fault := textFault(f.value, f.most); fault != "" {
			return nil, badValue(f.name, fault)
		}
	}
	if b.At.wrong != "" {
		return nil, badValue("at", b.At.wrong)
	}
	if age := now - b.At.ms; b.At.ms != 0 && age > maxAge {
		return nil, badValue("at", fmt.Sprintf("is %d s ago; a call is authorized within %d s (is the switch's clock right?).", age/1000, maxAge/1000))
	}
	return &authz.Request{Key: k, From: *b.From, To: b.To, Account: b.Account, Mode: b.Mode, At: b.At.ms}, nil
}

func (b *authorizeBody) key() (authz.Key, *problem) {
	if p := callIDProblem(b.CallID); p != nil {
		return authz.Key{}, p
	}
	if b.Direction == "" {
		return authz.Key{}, missing("direction")
	}
	dir, p := direction(b.Direction)
	if p != nil {
		return authz.Key{}, p
	}
	sw, p := switchName(b.Switch)
	return authz.Key{Switch: sw, Direction: dir, CallID: b.CallID}, p
}

// emergency keeps what is usable of a request that is let go whatever else is
// wrong with it: what its form check would refuse is left empty, so that the
// call can be recorded.
func (b *authorizeBody) emergency(dialled string) *authz.Request {
	req := &authz.Request{Key: authz.Key{Switch: DefaultSwitch, Direction: authz.Outbound}, To: dialled, At: b.At.ms}
	if callIDProblem(b.CallID) == nil {
		req.CallID = b.CallID
	}
	if dir, p := direction(b.Direction); p == nil {
		req.Direction = dir
	}
	if sw, p := switchName(b.Switch); p == nil {
		req.Switch = sw
	}
	if b.From != nil && textFault(*b.From, maxNumber) == "" {
		req.From = *b.From
	}
	if textFault(b.Account, maxAccount) == "" {
		req.Account = b.Account
	}
	if textFault(b.Mode, maxMode) == "" {
		req.Mode = b.Mode
	}
	return req
}

// event checks an event for form. now is in Unix ms; extraMax is the most that
// extra_cost may say.
func (b *eventBody) event(now, extraMax int64) (authz.Event, *problem) {
	ev := authz.Event{Type: authz.EventType(b.Type), ReceivedAt: now}
	fail := func(p *problem) (authz.Event, *problem) { return authz.Event{}, p }
	switch ev.Type {
	case authz.EventAnswered, authz.EventHeartbeat, authz.EventEnded, authz.EventAbandoned:
	case "":
		return fail(missing("type"))
	default:
		return fail(badValue("type", "must be answered, heartbeat, ended or abandoned."))
	}
	if p := callIDProblem(b.CallID); p != nil {
		return fail(p)
	}
	sw, p := switchName(b.Switch)
	if p != nil {
		return fail(p)
	}
	ev.Key = authz.Key{Switch: sw, CallID: b.CallID}
	if b.Direction != "" {
		if ev.Direction, p = direction(b.Direction); p != nil {
			return fail(p)
		}
	}
	if b.Cause.wrong {
		return fail(badValue("cause", "must be a string or the number of a cause."))
	}
	for _, f := range [...]struct {
		name, value string
		most        int
	}{{"from", b.From, maxNumber}, {"to", b.To, maxNumber}, {"account", b.Account, maxAccount}, {"cause", b.Cause.text, maxCause}} {
		if fault := textFault(f.value, f.most); fault != "" {
			return fail(badValue(f.name, fault))
		}
	}
	ev.Account, ev.From, ev.To, ev.Cause = b.Account, b.From, b.To, b.Cause.text
	for _, f := range [...]struct {
		name string
		at   stamp
	}{{"at", b.At}, {"answered_at", b.AnsweredAt}, {"ended_at", b.EndedAt}} {
		if f.at.wrong != "" {
			return fail(badValue(f.name, f.at.wrong))
		}
	}
	ev.At, ev.AnsweredAt, ev.EndedAt = b.At.ms, b.AnsweredAt.ms, b.EndedAt.ms
	ev.NeverAnswered = b.AnsweredAt.null
	switch ev.Type {
	case authz.EventAnswered:
		if ev.NeverAnswered {
			return fail(badValue("answered_at", "must not be null in an answered event."))
		}
		ev.At, ev.AnsweredAt = standIn(ev.At, ev.AnsweredAt)
	case authz.EventEnded:
		ev.At, ev.EndedAt = standIn(ev.At, ev.EndedAt)
	}
	if p := b.ExtraCost.check(extraMax); p != nil {
		return fail(p)
	}
	if b.ExtraCost != nil {
		ev.ExtraMicros, ev.ExtraCurrency = *b.ExtraCost.AmountMicros, b.ExtraCost.Currency
	}
	return ev, nil
}

// standIn lets each of two times stand in for the other where that was not given.
func standIn(a, b int64) (int64, int64) {
	if a == 0 {
		return b, b
	}
	if b == 0 {
		return a, a
	}
	return a, b
}

func (e *extraCost) check(most int64) *problem {
	const amount, currency = "extra_cost.amount_micros", "extra_cost.currency"
	switch {
	case e == nil:
		return nil
	case e.AmountMicros == nil:
		return missing(amount)
	case *e.AmountMicros < 0:
		return badValue(amount, "must not be negative.")
	case *e.AmountMicros > most:
		return badValue(amount, fmt.Sprintf("is above the configured %d.", most))
	case e.Currency == "":
		return missing(currency)
	case !isCurrency(e.Currency):
		return badValue(currency, "must be the three capital letters of ISO 4217, such as EUR.")
	}
	return nil
}

func isCurrency(s string) bool {
	return len(s) == 3 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

func callIDProblem(id string) *problem {
	if id == "" {
		return missing("call_id")
	}
	if fault := textFault(id, authz.MaxCallID); fault != "" {
		return badValue("call_id", fault)
	}
	return nil
}

func direction(s string) (authz.Direction, *problem) {
	dir, err := tariff.ParseDirection(s)
	if err != nil {
		return 0, badValue("direction", `must be "inbound" or "outbound".`)
	}
	return dir, nil
}

func switchName(s string) (string, *problem) {
	if s == "" {
		return DefaultSwitch, nil
	}
	ok := len(s) <= maxSwitch
	for i := 0; ok && i < len(s); i++ {
		c := s[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
	}
	if !ok {
		return "", badValue("switch", fmt.Sprintf("must be 1 to %d letters, digits, points, underscores or hyphens.", maxSwitch))
	}
	return s, nil
}

// textFault says what is wrong with a text; empty where nothing is. U+FFFD is
// refused because encoding/json puts it in the place of half a surrogate pair,
// so that two different call ids would become one.
func textFault(s string, most int) string {
	if len(s) > most {
		return fmt.Sprintf("is longer than %d bytes.", most)
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' {
			return unprintableFault(s)
		}
	}
	return ""
}

func unprintableFault(s string) string {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return fmt.Sprintf("holds %U, which is not a printable character.", r)
		}
	}
	return ""
}
