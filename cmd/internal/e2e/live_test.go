package e2e

import (
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/deploy/services"
)

// late is how long after its time a busy machine may do something.
const late = 4 * time.Second

// wantOnTime checks that an order came when it was due, or at once where nobody was there to give it then.
func (d *deployment) wantOnTime(what string, o order, due, ready time.Time) {
	d.t.Helper()
	latest := due
	if ready.After(due) {
		latest = ready
	}
	if o.at.Before(due) || o.at.After(latest.Add(late)) {
		d.t.Errorf("%s came %v after its time, which was %v after the heir was ready", what, o.at.Sub(due), due.Sub(ready))
	}
}

// A call is warned and cut off by the clock of its answer, whoever meters it by then. The sidecar dies between the two;
// the one that is followed by the next of its name has died once before the warning, too.
func TestWarnedAndCutOffByAnHeir(t *testing.T) {
	t.Parallel()
	const credit, before = 12 * time.Second, 6 * time.Second
	inherit(t, settings{"calls.warn_before": before.String()}, int64(credit/time.Second)*second, func(l *life) {
		c := l.call
		c.authorize(l.first)
		c.answer(l.first)
		answered := time.UnixMilli(c.awaitState(authz.StateLive).AnsweredAt)
		again := l.heir == l.first
		since := answered
		if again {
			l.death()
			l.heir.ready()
			since = time.Now()
		}
		warn := l.pbx.await(l.t, c.id, "warn")
		// A warning may come up to a second early, together with an extension.
		l.wantOnTime("the warning", warn, answered.Add(credit-before-time.Second), since)
		least := int64(1)
		if warn.at.After(answered.Add(credit - time.Second)) {
			least = 0 // the heir was late, and says so
		}
		if warn.remaining < least || warn.remaining > int64(before/time.Second)+1 {
			l.t.Errorf("the warning says that %d s remain", warn.remaining)
		}
		l.death()
		if again {
			l.heir.ready()
			since = time.Now()
		} else {
			since = time.Now().Add(late) // the lease has to end first
		}
		hangup := l.pbx.await(l.t, c.id, "hangup")
		l.wantOnTime("the cut-off", hangup, answered.Add(credit), since)
		if hangup.reason != "insufficient_credits" {
			l.t.Errorf("the reason of the cut-off is %q", hangup.reason)
		}
		c.ended = hangup.at.UTC().Truncate(time.Millisecond)
		c.report(l.heir, c.endedEvent())
		l.wantSettled(l.heir, c)
	})
}

// Without any kill the cut-off comes within a fraction of a second of the last second that credit buys.
func TestCutOffAtTheRightSecond(t *testing.T) {
	t.Parallel()
	d := deploy(t, nil)
	s := d.sidecar("only")
	s.listening()
	a := d.open("acme", 5*second, s)
	c := d.out(a, "five-seconds")
	if got := c.authorize(s).number("max_seconds"); got != 5 {
		t.Errorf("max_seconds is %d, want the 5 that credit buys", got)
	}
	c.answer(s)
	answered := time.UnixMilli(c.awaitState(authz.StateLive).AnsweredAt)
	warn := d.pbx.await(t, c.id, "warn")
	hangup := d.pbx.await(t, c.id, "hangup")
	d.wantOnTime("the warning", warn, answered.Add(time.Second), answered)
	d.wantOnTime("the cut-off", hangup, answered.Add(5*time.Second), answered)
	c.ended = hangup.at.UTC().Truncate(time.Millisecond)
	if got := c.report(s, c.endedEvent()); got.number("duration_sec") != c.seconds() || got.number("cost_units") != c.seconds()*second {
		t.Errorf("the end is answered %v, want %d s", got, c.seconds())
	}
	d.wantSettled(s, c)
	if n := len(d.pbx.given(c.id, "warn")); n != 1 {
		t.Errorf("warned %d times", n)
	}
	// Nothing is left, or less.
	if refused := s.post("/v1/authorize", d.out(a, "one-more").fields(nil)); refused.status != 402 || refused.code() != "insufficient_credits" {
		t.Errorf("the next call: %v", refused)
	}
}

// A call whose heartbeats stop is settled to the last of them; its true end, when it comes after all, replaces that,
// and only the difference is charged.
func TestHeartbeatsStop(t *testing.T) {
	t.Parallel()
	d := deploy(t, settings{"calls.heartbeat_every": "200ms", "calls.heartbeat_timeout": "1s", "calls.lost_after": "1s"})
	s := d.sidecar("only")
	s.listening()
	a := d.open("acme", 10*minute, s)
	c := d.out(a, "forgotten")
	c.sw = switchBeats
	c.authorize(s)
	c.answer(s)
	still := c.beat(func() *sidecar { return s })
	c.awaitExtension()
	still()
	lost := d.wantLost(c, s)
	if lost.TalkMS <= 0 {
		t.Errorf("lost with no talk at all: %+v", lost)
	}
	d.lateEnd(s, c, lost)
}

// A call whose switch answers nobody when its credit has ended is settled to its last proof of life.
func TestSwitchIsGone(t *testing.T) {
	t.Parallel()
	d := deploy(t, settings{"calls.lost_after": "2s"})
	s := d.sidecar("only")
	s.listening()
	a := d.open("acme", 4*second, s)
	c := d.out(a, "silence")
	c.authorize(s)
	c.answer(s)
	c.awaitExtension()
	d.pbx.server.CloseClientConnections()
	d.pbx.server.Close()
	lost := d.wantLost(c, s)
	if lost.TalkMS > 4000 {
		t.Errorf("%d ms of talk are proven by nobody", lost.TalkMS)
	}
	d.lateEnd(s, c, lost)
}

// lateEnd reports the end of a lost call, and the same again: the difference is charged once.
func (d *deployment) lateEnd(s *sidecar, c *leg, lost authz.Record) {
	d.t.Helper()
	c.hang()
	if talk := c.ended.Sub(c.answered).Milliseconds(); talk <= lost.TalkMS {
		d.t.Fatalf("lost with %d ms of talk, and only %d ms are over", lost.TalkMS, talk)
	}
	if a := c.report(s, c.endedEvent()); a.text("status") != "settled" || a.number("duration_sec") != c.seconds() || a.body["duplicate"] != nil {
		d.t.Errorf("the late end: %v, want %d s settled", a, c.seconds())
	}
	for range 2 {
		if a := c.report(s, c.endedEvent()); a.body["duplicate"] != true || a.number("cost_units") != c.seconds()*second {
			d.t.Errorf("the late end told again: %v", a)
		}
	}
	d.wantSettled(s, c)
	if n := len(d.records(c.account)[c.uid]); n != 2 {
		d.t.Errorf("%d records of the call, want one that it was lost and one that it was settled", n)
	}
}

// An operator ends a call at a sidecar that does not own it.
func TestCallIsKilledElsewhere(t *testing.T) {
	t.Parallel()
	d := deploy(t, nil)
	d.share()
	owner, other := d.sidecar("owner"), d.sidecar("other")
	owner.listening()
	other.listening()
	a := d.open("acme", 10*minute, owner, other)
	c := d.out(a, "unwanted")
	c.authorize(owner)
	c.answer(owner)
	services.Eventually(t, patience, func() error {
		_, err := d.store.Find(t.Context(), c.key()) // the live index is written a moment later
		return err
	})
	other.admin("POST", "calls/kill", map[string]any{"call": c.key().String()})
	hangup := d.pbx.await(t, c.id, "hangup")
	if hangup.reason != "killed" {
		t.Errorf("the reason is %q", hangup.reason)
	}
	c.ended = hangup.at.UTC().Truncate(time.Millisecond)
	c.report(other, c.endedEvent())
	if r := d.wantSettled(other, c)[c.key().String()]; !r.Flags.Has(authz.FlagKilled) {
		t.Errorf("the record does not say that the call was killed: %+v", r)
	}
}
