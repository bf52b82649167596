package hooktest

import (
	"context"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// Switch speaks a dialect to the server under test. An error means that no
// answer of the dialect came back.
type Switch interface {
	Authorize(context.Context, authz.Request) (Answer, error)
	Quote(context.Context, authz.Request) (Answer, error)
	Report(context.Context, authz.Event) (Report, error)
}

// Answer is what a switch understands from an authorize or a quote.
type Answer struct {
	Go         bool
	Code       authz.Code // why not
	Param      string
	UID        string
	MaxSeconds int64
	Prompt     string // inbound denials: what the caller hears
	SIP, Q850  int    // inbound denials: how the call ends
}

// Report is what a switch understands from the answer to an event.
type Report struct {
	OK, Kept    bool       // worked; not worked yet, but kept
	Code        authz.Code // why neither
	Param       string
	Status      string
	DurationSec int64
	CostUnits   credit.Units
	Duplicate   bool
	Action      string // heartbeat
	Remaining   int64  // heartbeat: seconds
}

// Party is an account with one number.
type Party struct{ Account, Number string }

// World is what a dialect's test sets up for the suite. Credit costs one credit
// a minute, per second, in both directions.
type World struct {
	Switch Switch

	Rich      Party // an hour of credit
	Other     Party // an hour of credit
	Single    Party // an hour of credit, one call at a time
	Empty     Party // no credit
	Suspended Party // an hour of credit, suspended
	Emergency string
	Stranger  string // a number of nobody

	Now     func() time.Time
	Advance func(time.Duration) // moves the clock of everything under test
	Balance func(account string) (available, held credit.Units)
}

// Run drives every flow that a dialect must carry. The factory makes a fresh
// world for each.
func Run(t *testing.T, factory func(*testing.T) World) {
	for _, flow := range []struct {
		name string
		run  func(*scene)
	}{
		{"outbound call is allowed and billed to the second", (*scene).outbound},
		{"inbound call is allowed and billed to the second", (*scene).inbound},
		{"end with both stamps needs no answered event", (*scene).stampsAlone},
		{"end of a never answered call costs nothing", (*scene).neverAnswered},
		{"end without answered_at is refused until it says", (*scene).unsaid},
		{"abandoned call gives its hold back", (*scene).abandoned},
		{"second end changes nothing", (*scene).endedTwice},
		{"same authorize twice is one call", (*scene).duplicate},
		{"same id with other input is a conflict", (*scene).conflict},
		{"end before its authorize is kept, and the call refused", (*scene).endFirst},
		{"outbound without credit is refused", (*scene).emptyOutbound},
		{"inbound without credit hears why", (*scene).emptyInbound},
		{"inbound to nobody hears why", (*scene).nobody},
		{"suspended account is refused", (*scene).suspended},
		{"one call at a time means one", (*scene).oneAtATime},
		{"quote reserves nothing", (*scene).quote},
		{"heartbeat says how long, and when to hang up", (*scene).heartbeat},
		{"emergency call goes without credit", (*scene).emergency},
		{"on-net call is two legs under one id", (*scene).onNet},
	} {
		t.Run(flow.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			flow.run(&scene{t: t, ctx: ctx, w: factory(t)})
		})
	}
}

// scene is one flow in its world.
type scene struct {
	t   *testing.T
	ctx context.Context
	w   World
}

const callID = "a84b4c76e66710@pc33.example.com"

func (s *scene) out(p Party) authz.Request {
	return authz.Request{
		Key:  authz.Key{Switch: "test-1", Direction: authz.Outbound, CallID: callID},
		From: p.Number, To: s.w.Stranger, Account: p.Account,
	}
}

func (s *scene) in(p Party) authz.Request {
	return authz.Request{
		Key:  authz.Key{Switch: "test-1", Direction: authz.Inbound, CallID: callID},
		From: s.w.Stranger, To: p.Number,
	}
}

// of makes an event about a call, as a switch that sends all it knows.
func (s *scene) of(r authz.Request, typ authz.EventType) authz.Event {
	return authz.Event{Type: typ, Key: r.Key, Account: r.Account, From: r.From, To: r.To, At: s.w.Now().UnixMilli()}
}

func (s *scene) ask(r authz.Request) Answer {
	s.t.Helper()
	a, err := s.w.Switch.Authorize(s.ctx, r)
	if err != nil {
		s.t.Fatalf("authorize: %v", err)
	}
	return a
}

func (s *scene) allowed(r authz.Request) Answer {
	s.t.Helper()
	a := s.ask(r)
	if !a.Go || a.Code != "" || a.MaxSeconds <= 0 {
		s.t.Fatalf("authorize answered %+v, want go with a time limit", a)
	}
	return a
}

func (s *scene) denied(r authz.Request, code authz.Code) {
	s.t.Helper()
	a := s.ask(r)
	want := Answer{Code: code}
	if r.Direction == authz.Inbound {
		refusal := code.Refusal()
		want.Prompt, want.SIP, want.Q850 = refusal.Prompt, refusal.SIP, refusal.Q850
	}
	if a.Param = ""; a != want {
		s.t.Fatalf("authorize answered %+v, want %+v", a, want)
	}
}

func (s *scene) send(ev authz.Event) Report {
	s.t.Helper()
	r, err := s.w.Switch.Report(s.ctx, ev)
	if err != nil {
		s.t.Fatalf("%s: %v", ev.Type, err)
	}
	return r
}

func (s *scene) worked(ev authz.Event, want Report) {
	s.t.Helper()
	want.OK = true
	if got := s.send(ev); got != want {
		s.t.Fatalf("%s answered %+v, want %+v", ev.Type, got, want)
	}
}

// spent checks what an account has paid and still holds.
func (s *scene) spent(p Party, before, cost credit.Units) {
	s.t.Helper()
	available, held := s.w.Balance(p.Account)
	if available != before-cost || held != 0 {
		s.t.Fatalf("account has %d units and holds %d, want %d and 0", available, held, before-cost)
	}
}

func (s *scene) balance(p Party) credit.Units {
	available, _ := s.w.Balance(p.Account)
	return available
}

const talk = 84 * time.Second

// cost of so many seconds at one credit a minute.
func cost(seconds int64) credit.Units { return credit.Units(seconds) * credit.PerCredit / 60 }

func (s *scene) outbound() { s.billed(s.out(s.w.Rich)) }
func (s *scene) inbound()  { s.billed(s.in(s.w.Rich)) }

func (s *scene) billed(r authz.Request) {
	before := s.balance(s.w.Rich)
	s.allowed(r)
	if _, held := s.w.Balance(s.w.Rich.Account); held <= 0 {
		s.t.Fatalf("an allowed call holds %d units", held)
	}
	s.w.Advance(20 * time.Second) // ringing costs nothing
	s.worked(s.of(r, authz.EventAnswered), Report{Status: "live"})
	s.w.Advance(talk)
	s.worked(s.of(r, authz.EventEnded), Report{Status: "settled", DurationSec: 84, CostUnits: cost(84)})
	s.spent(s.w.Rich, before, cost(84))
}

func (s *scene) stampsAlone() {
	before, r := s.balance(s.w.Rich), s.out(s.w.Rich)
	s.allowed(r)
	s.w.Advance(5 * time.Second)
	answered := s.w.Now().UnixMilli()
	s.w.Advance(talk)
	ended := s.of(r, authz.EventEnded)
	ended.AnsweredAt, ended.EndedAt = answered, ended.At
	s.worked(ended, Report{Status: "settled", DurationSec: 84, CostUnits: cost(84)})
	s.spent(s.w.Rich, before, cost(84))
}

func (s *scene) neverAnswered() {
	before, r := s.balance(s.w.Rich), s.out(s.w.Rich)
	s.allowed(r)
	s.w.Advance(30 * time.Second)
	ended := s.of(r, authz.EventEnded)
	ended.NeverAnswered, ended.Cause = true, "19"
	s.worked(ended, Report{Status: "released"})
	s.spent(s.w.Rich, before, 0)
}

func (s *scene) unsaid() {
	before, r := s.balance(s.w.Rich), s.out(s.w.Rich)
	s.allowed(r)
	s.w.Advance(30 * time.Second)
	ended := s.of(r, authz.EventEnded)
	if got, want := s.send(ended), (Report{Code: authz.CodeMissingField, Param: "answered_at"}); got != want {
		s.t.Fatalf("ended answered %+v, want %+v", got, want)
	}
	ended.NeverAnswered = true
	s.worked(ended, Report{Status: "released"})
	s.spent(s.w.Rich, before, 0)
}

func (s *scene) abandoned() {
	before, r := s.balance(s.w.Rich), s.in(s.w.Rich)
	s.allowed(r)
	s.worked(s.of(r, authz.EventAbandoned), Report{Status: "released"})
	s.spent(s.w.Rich, before, 0)
}

func (s *scene) endedTwice() {
	before, r := s.balance(s.w.Rich), s.out(s.w.Rich)
	s.allowed(r)
	s.worked(s.of(r, authz.EventAnswered), Report{Status: "live"})
	s.w.Advance(talk)
	ended := s.of(r, authz.EventEnded)
	want := Report{Status: "settled", DurationSec: 84, CostUnits: cost(84)}
	s.worked(ended, want)
	want.Duplicate = true
	s.worked(ended, want)
	s.spent(s.w.Rich, before, cost(84))
}

func (s *scene) duplicate() {
	r := s.out(s.w.Rich)
	first := s.allowed(r)
	_, held := s.w.Balance(s.w.Rich.Account)
	second := s.allowed(r)
	if _, again := s.w.Balance(s.w.Rich.Account); again != held || second.UID != first.UID {
		s.t.Fatalf("the second authorize holds %d as %s, want %d as %s", again, second.UID, held, first.UID)
	}
}

func (s *scene) conflict() {
	r := s.out(s.w.Rich)
	s.allowed(r)
	r.Account, r.From = s.w.Other.Account, s.w.Other.Number
	s.denied(r, authz.CodeCallConflict)
}

func (s *scene) endFirst() {
	before, r := s.balance(s.w.Rich), s.in(s.w.Rich)
	if got, want := s.send(s.of(r, authz.EventAbandoned)), (Report{Kept: true, Status: "kept"}); got != want {
		s.t.Fatalf("abandoned answered %+v, want %+v", got, want)
	}
	s.denied(r, authz.CodeCallEnded)
	s.spent(s.w.Rich, before, 0)
}

func (s *scene) emptyOutbound() { s.denied(s.out(s.w.Empty), authz.CodeInsufficientCredits) }
func (s *scene) emptyInbound()  { s.denied(s.in(s.w.Empty), authz.CodeInsufficientCredits) }
func (s *scene) suspended()     { s.denied(s.out(s.w.Suspended), authz.CodeAccountSuspended) }

func (s *scene) nobody() {
	s.denied(s.in(Party{Number: s.w.Stranger}), authz.CodeAccountNotFound)
}

func (s *scene) oneAtATime() {
	first, second := s.out(s.w.Single), s.in(s.w.Single)
	second.CallID += "2"
	s.allowed(first)
	s.denied(second, authz.CodeTooManyCalls)
	s.worked(s.of(first, authz.EventAbandoned), Report{Status: "released"})
	s.allowed(second)
}

func (s *scene) quote() {
	before := s.balance(s.w.Rich)
	a, err := s.w.Switch.Quote(s.ctx, s.out(s.w.Rich))
	if err != nil || !a.Go || a.MaxSeconds <= 0 {
		s.t.Fatalf("quote answered %+v, %v", a, err)
	}
	s.spent(s.w.Rich, before, 0)
	a, err = s.w.Switch.Quote(s.ctx, s.out(s.w.Empty))
	if err != nil || a.Go || a.Code != authz.CodeInsufficientCredits {
		s.t.Fatalf("quote without credit answered %+v, %v", a, err)
	}
}

func (s *scene) heartbeat() {
	r := s.out(s.w.Rich)
	s.allowed(r)
	s.worked(s.of(r, authz.EventAnswered), Report{Status: "live"})
	s.w.Advance(time.Minute)
	s.worked(s.of(r, authz.EventHeartbeat), Report{Action: "continue", Remaining: 59 * 60})
	s.w.Advance(time.Hour)
	s.worked(s.of(r, authz.EventHeartbeat), Report{Action: "hangup"})
}

func (s *scene) emergency() {
	r := s.out(s.w.Empty)
	r.To = s.w.Emergency
	s.allowed(r)
	s.spent(s.w.Empty, 0, 0)
}

func (s *scene) onNet() {
	out, in := s.out(s.w.Rich), s.in(s.w.Other)
	out.To, in.From = s.w.Other.Number, s.w.Rich.Number
	rich, other := s.balance(s.w.Rich), s.balance(s.w.Other)
	if a, b := s.allowed(out), s.allowed(in); a.UID == b.UID && a.UID != "" {
		s.t.Fatalf("both legs are call %s", a.UID)
	}
	s.worked(s.of(out, authz.EventAnswered), Report{Status: "live"})
	s.worked(s.of(in, authz.EventAnswered), Report{Status: "live"})
	s.w.Advance(talk)
	want := Report{Status: "settled", DurationSec: 84, CostUnits: cost(84)}
	s.worked(s.of(out, authz.EventEnded), want)
	s.worked(s.of(in, authz.EventEnded), want)
	s.spent(s.w.Rich, rich, cost(84))
	s.spent(s.w.Other, other, cost(84))
}
