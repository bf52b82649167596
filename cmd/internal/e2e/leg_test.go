package e2e

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/deploy/services"
)

// leg is one call of an account, as its switch drives it. Its stamps are the switch's.
type leg struct {
	d         *deployment
	account   account
	id        string
	sw        string
	direction string
	uid       string // as the first authorize said

	answered, ended time.Time
}

// out is a call that the account makes, on the switch that takes orders.
func (d *deployment) out(a account, id string) *leg {
	return &leg{d: d, account: a, id: id, sw: switchPlain, direction: "outbound"}
}

func (c *leg) key() authz.Key {
	dir, _ := tariff.ParseDirection(c.direction)
	return authz.Key{Switch: c.sw, Direction: dir, CallID: c.id}
}

// fields are what the switch sends with everything.
func (c *leg) fields(more map[string]any) map[string]any {
	from, to := c.account.number, someone
	if c.direction == "inbound" {
		from, to = to, from
	}
	m := map[string]any{"call_id": c.id, "direction": c.direction, "switch": c.sw, "from": from, "to": to}
	maps.Copy(m, more)
	return m
}

// authorize asks whether the call may go, and expects so.
func (c *leg) authorize(s *sidecar) answer {
	c.d.t.Helper()
	a := s.post("/v1/authorize", c.fields(nil))
	if a.status != http.StatusOK {
		c.d.t.Fatalf("authorize %s at %s: %v", c.id, s.name, a)
	}
	if c.uid == "" {
		c.uid = a.text("call_uid")
	} else if c.uid != a.text("call_uid") {
		c.d.t.Errorf("%s was authorized as %s, and again as %s", c.id, c.uid, a.text("call_uid"))
	}
	return a
}

// stamp is the time as the switch's clock shows it: whole milliseconds.
func stamp() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

func stamped(t time.Time) string { return t.Format("2006-01-02T15:04:05.000Z") }

// lift answers the call, at the switch only.
func (c *leg) lift() {
	c.answered = stamp()
	c.d.pbx.has(c.id, true)
}

// hang ends the call, at the switch only.
func (c *leg) hang() {
	c.ended = stamp()
	c.d.pbx.has(c.id, false)
}

func (c *leg) answeredEvent() map[string]any {
	return c.fields(map[string]any{"type": "answered", "at": stamped(c.answered)})
}

func (c *leg) endedEvent() map[string]any {
	return c.fields(map[string]any{"type": "ended", "answered_at": stamped(c.answered), "ended_at": stamped(c.ended), "cause": "16"})
}

// answer has the call answered and tells the sidecar, which must take it.
func (c *leg) answer(s *sidecar) {
	c.d.t.Helper()
	c.lift()
	c.report(s, c.answeredEvent())
}

// end has the call hung up and tells the sidecar until it has settled it.
func (c *leg) end(s *sidecar) answer {
	c.d.t.Helper()
	c.hang()
	return c.report(s, c.endedEvent())
}

// report tells the sidecar of an event, again and again until it says that the event was worked: as a switch does that
// hears nothing, or that wants to know more than that its event is kept.
func (c *leg) report(s *sidecar, event map[string]any) (a answer) {
	c.d.t.Helper()
	services.Eventually(c.d.t, patience, func() error {
		var err error
		if a, err = s.send(http.MethodPost, s.hook+"/v1/events", event); err == nil && a.status != http.StatusOK {
			err = fmt.Errorf("%v of %s at %s: %v", event["type"], c.id, s.name, a)
		}
		return err
	})
	return a
}

// wantKept reports an event that can only be kept.
func (c *leg) wantKept(s *sidecar, event map[string]any) answer {
	c.d.t.Helper()
	a := s.post("/v1/events", event)
	if a.status != http.StatusAccepted || a.text("status") != "kept" {
		c.d.t.Errorf("%v of %s while Redis is away: %v, want 202 kept", event["type"], c.id, a)
	}
	return a
}

// seconds is what the switch measured: talk time, rounded up.
func (c *leg) seconds() int64 { return tariff.Seconds(c.ended.Sub(c.answered).Milliseconds()) }

// inRedis reads the call.
func (c *leg) inRedis() (authz.Call, error) {
	return c.d.store.Call(c.d.t.Context(), c.account.id, c.key())
}

// awaitCall waits until the call in Redis is as wanted.
func (c *leg) awaitCall(what string, want func(authz.Call) bool) authz.Call {
	c.d.t.Helper()
	var w authz.Call
	services.Eventually(c.d.t, patience, func() (err error) {
		if w, err = c.inRedis(); err == nil && !want(w) {
			err = fmt.Errorf("%s is not %s: %+v", c.id, what, w)
		}
		return err
	})
	return w
}

// awaitState waits until the call is in a state.
func (c *leg) awaitState(state authz.State) authz.Call {
	c.d.t.Helper()
	return c.awaitCall(state.String(), func(w authz.Call) bool { return w.State == state })
}

// awaitExtension waits until talk time beyond what the call has now is bought.
func (c *leg) awaitExtension() authz.Call {
	c.d.t.Helper()
	now := c.awaitState(authz.StateLive)
	return c.awaitCall("extended", func(w authz.Call) bool { return w.UntilMS > now.UntilMS })
}

// beat sends heartbeats, to whichever sidecar has been set last, until it is told to stop.
func (c *leg) beat(to func() *sidecar) (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			s := to()
			_, _ = s.send(http.MethodPost, s.hook+"/v1/events", c.fields(map[string]any{"type": "heartbeat"})) // the next one may arrive
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		<-stopped
	}
}

var errNotYet = errors.New("not yet")
