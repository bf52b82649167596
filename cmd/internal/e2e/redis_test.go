package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/deploy/services"
)

// away are the settings of a deployment whose Redis goes away: the policy lets accounts with a healthy balance call.
func away(deadline time.Duration) settings {
	return settings{"policy.mode": "known", "policy.healthy_credits": 5, "hook.deadline": deadline.String(), "redis.timeout": deadline.String()}
}

// blind authorizes a call that nobody can check.
func (c *leg) blind(s *sidecar) answer {
	c.d.t.Helper()
	a := c.authorize(s)
	if a.text("policy") != "known" {
		c.d.t.Errorf("%s was let go by %q, want the policy known: %v", c.id, a.text("policy"), a)
	}
	return a
}

// Redis dies in the middle of calls and comes back with what it had acknowledged.
func TestRedisIsKilledInMidCall(t *testing.T) {
	t.Parallel()
	d := deploy(t, away(time.Second))
	s := d.sidecar("only")
	s.listening()
	a := d.open("acme", 60*minute, s)
	s.ready()
	lasting, ending, fresh, short := d.out(a, "lasting"), d.out(a, "ending"), d.out(a, "fresh"), d.out(a, "short")
	for _, c := range []*leg{lasting, ending} {
		c.authorize(s)
		c.answer(s)
	}
	before := lasting.awaitExtension()

	d.redis.Kill()
	ending.hang()
	ending.wantKept(s, ending.endedEvent())
	for _, c := range []*leg{fresh, short} { // these Redis learns of only afterwards
		c.blind(s)
		c.lift()
		c.wantKept(s, c.answeredEvent())
	}
	short.hang()
	short.wantKept(s, short.endedEvent())
	d.redis.Start()

	ending.awaitState(authz.StateSettled)
	short.awaitState(authz.StateSettled)
	if w := fresh.awaitState(authz.StateLive); !w.Flags.Has(authz.FlagUnchecked) {
		t.Errorf("the call that was let go unchecked is not marked so: %+v", w)
	}
	lasting.awaitCall("extended", func(w authz.Call) bool { return w.UntilMS > before.UntilMS })
	lasting.end(s)
	fresh.end(s)
	d.wantSettled(s, lasting, ending, fresh, short)
}

// A Redis that is there and does not answer: the policy does, within the deadline.
func TestRedisIsPaused(t *testing.T) {
	t.Parallel()
	const deadline = 500 * time.Millisecond
	d := deploy(t, away(deadline))
	s := d.sidecar("only")
	s.listening()
	rich, poor := d.open("rich", 60*minute, s), d.open("poor", 2*minute, s)
	s.ready()
	live := d.out(rich, "live")
	live.authorize(s)
	live.answer(s)
	before := live.awaitExtension()

	d.redis.Pause()
	inTime := func(what string, a answer) {
		t.Helper()
		if a.took > deadline+late {
			t.Errorf("%s was answered after %v; the deadline is %v", what, a.took, deadline)
		}
	}
	adopted := d.out(rich, "adopted")
	inTime("a call that may go", adopted.blind(s))
	adopted.lift()
	inTime("its answer", adopted.wantKept(s, adopted.answeredEvent()))
	refused := d.out(poor, "refused")
	for range 8 { // more than it takes to see that Redis is down
		a := s.post("/v1/authorize", refused.fields(nil))
		inTime("a call that may not", a)
		if a.status != http.StatusServiceUnavailable || a.code() != "balance_unavailable" {
			t.Errorf("without a healthy balance: %v, want 503 balance_unavailable", a)
		}
	}
	refused.direction = "inbound"
	a := s.post("/v1/authorize", refused.fields(nil))
	if audio, _ := a.body["audio"].(map[string]any); a.status != http.StatusServiceUnavailable || audio["prompt"] != "service_unavailable" {
		t.Errorf("the inbound caller hears nothing of it: %v", a)
	}
	help := s.post("/v1/authorize", d.out(poor, "help").fields(map[string]any{"to": "112"}))
	inTime("an emergency call", help)
	if help.status != http.StatusOK {
		t.Errorf("an emergency call: %v", help)
	}
	live.hang()
	inTime("an end", live.wantKept(s, live.endedEvent()))
	d.redis.Resume()

	live.awaitState(authz.StateSettled)
	if w := adopted.awaitState(authz.StateLive); !w.Flags.Has(authz.FlagUnchecked) || w.UID.String() != adopted.uid {
		t.Errorf("the call that was let go as %s was taken in as %+v", adopted.uid, w)
	}
	adopted.awaitExtension()
	adopted.end(s)
	d.wantSettled(s, live, adopted)
	if before.UID.String() != live.uid {
		t.Errorf("the live call changed its uid from %s to %s", before.UID, live.uid)
	}
	// What was asked of Redis in vain, and may have been done when it went on, is given back.
	s.post("/v1/events", d.out(poor, "help").fields(map[string]any{"type": "ended", "to": "112", "answered_at": nil}))
	for _, r := range d.books(s, poor) {
		if r.Charged() != 0 || r.State == authz.StateSettled {
			t.Errorf("a call that was refused or never answered is on record as %+v", r)
		}
	}
}

// An emergency call goes with an empty balance and no Redis at all, and is on record, at no cost, afterwards.
func TestEmergencyWithoutAnything(t *testing.T) {
	t.Parallel()
	d := deploy(t, settings{"hook.deadline": "1s", "redis.timeout": "1s"})
	s := d.sidecar("only")
	s.listening()
	broke := d.open("broke", 0, s)
	s.admin(http.MethodPost, "accounts/broke/suspend", nil)
	d.redis.Stop()
	c := d.out(broke, "help")
	to := map[string]any{"to": "112"}
	a := s.post("/v1/authorize", c.fields(to))
	if a.status != http.StatusOK || a.text("policy") != "emergency" || a.number("max_seconds") < 24*3600 {
		t.Errorf("emergency call: %v, want it let go without limit", a)
	}
	c.uid = a.text("call_uid")
	other := d.out(broke, "other")
	if a := s.post("/v1/authorize", other.fields(nil)); a.status == http.StatusOK {
		t.Errorf("an ordinary call goes too: %v", a)
	}
	c.lift()
	c.wantKept(s, c.fields(map[string]any{"type": "answered", "at": stamped(c.answered), "to": "112"}))
	c.hang()
	ended := c.endedEvent()
	ended["to"] = "112"
	c.wantKept(s, ended)
	d.redis.Start()
	c.awaitState(authz.StateSettled)
	r := d.books(s, broke)[c.key().String()]
	if r.Charged() != 0 || r.Micros != 0 || !r.Flags.Has(authz.FlagEmergency) || r.DurationSeconds() != c.seconds() || r.UID.String() != c.uid {
		t.Errorf("the emergency call is on record as %+v, want %d s at no cost", r, c.seconds())
	}
}

// A sidecar that starts while Redis is away knows its accounts from its snapshot, refuses what it cannot check, keeps
// what it is told, and goes on with its calls when Redis is back.
func TestStartedWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	d := deploy(t, away(time.Second))
	s := d.sidecar("only")
	s.listening()
	a := d.open("acme", 60*minute, s)
	s.ready()
	lasting, ending := d.out(a, "lasting"), d.out(a, "ending")
	for _, c := range []*leg{lasting, ending} {
		c.authorize(s)
		c.answer(s)
	}
	before := lasting.awaitExtension()
	s.Term() // the snapshot is saved
	if code := s.Wait(patience); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, s.Logs())
	}
	d.redis.Kill()
	s.start()
	s.listening()
	if help := s.post("/v1/authorize", d.out(a, "help").fields(map[string]any{"to": "112"})); help.status != http.StatusOK {
		t.Errorf("an emergency call: %v", help)
	}
	services.Eventually(t, patience, func() error { // until the snapshot is read
		a, err := s.send(http.MethodGet, s.ops+"/readyz", nil)
		if err == nil && a.status != http.StatusOK {
			err = errNotYet
		}
		return err
	})
	// Its balance has not been seen since the start.
	if got := s.post("/v1/authorize", d.out(a, "unseen").fields(nil)); got.status != http.StatusServiceUnavailable || got.code() != "balance_unavailable" {
		t.Errorf("a call that cannot be checked: %v, want 503 balance_unavailable", got)
	}
	ending.hang()
	ending.wantKept(s, ending.endedEvent())
	d.redis.Start()
	ending.awaitState(authz.StateSettled)
	lasting.awaitCall("extended", func(w authz.Call) bool { return w.UntilMS > before.UntilMS })
	lasting.end(s)
	help := d.out(a, "help")
	help.report(s, help.fields(map[string]any{"type": "ended", "to": "112", "answered_at": nil}))
	d.wantSettled(s, lasting, ending)
}
