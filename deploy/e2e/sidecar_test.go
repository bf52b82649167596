package e2e

import (
	"testing"
	"time"
)

// TestSidecarAway is what calls look like while the sidecar, or its Redis, is not there. Its tests take turns.
func TestSidecarAway(t *testing.T) {
	t.Parallel()
	s := deploy(t, options{})
	for _, test := range []struct {
		name string
		run  func(*testing.T, *stack)
	}{
		{"CANCEL while the call is authorized leaves no hold", cancelWhileAuthorizing},
		{"the sidecar is killed in mid-call and comes back", sidecarKilled},
		{"the dead-man timer ends a call without the sidecar", deadMan},
		{"an emergency number with an empty balance", emergency},
		{"an emergency number while the sidecar hangs", emergencyWhileItHangs},
		{"an emergency number while Redis is stopped", emergencyWithoutRedis},
		{"an emergency number while the sidecar is stopped too", emergencyWithoutSidecar},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(t, s)
		})
	}
}

func cancelWhileAuthorizing(t *testing.T, s *stack) {
	a := s.open(t, "cancels", credit)
	s.sidecar.Pause()
	caller := s.call(t, "caller-cancels.xml", ring{from: a.number, to: someone, talk: 300 * time.Millisecond})
	caller.done()
	s.sidecar.Resume()
	cancel, _ := find(caller.messages(), true, "CANCEL")
	over, refused := find(caller.messages(), false, "SIP/2.0 487")
	if took := over.at.Sub(cancel.at); !refused || took > 3*time.Second { // the sidecar would have been waited for longer
		t.Errorf("the CANCEL was answered after %v:\n%s", took, caller.said())
	}
	// The sidecar has worked the request meanwhile, and made a hold.
	if c := a.awaitCDR(t, caller.id(), "released"); c.CostUnits != 0 {
		t.Errorf("the ledger has %+v", c)
	}
	a.wantBalanced(t, 0)
	if len(of(s.trunk.messages(), caller.id())) > 0 {
		t.Error("the callee heard of it")
	}
}

// sidecarKilled has two calls: one ends while the sidecar is away, the other after it has come back.
func sidecarKilled(t *testing.T, s *stack) {
	a := s.open(t, "survives", 10*credit)
	short := s.call(t, "caller.xml", ring{from: a.number, to: someone, talk: 2900 * time.Millisecond}) // less than a slice
	long := s.call(t, "caller-stays.xml", ring{from: a.number, to: someone})
	for _, c := range []*phone{short, long} {
		s.awaitDialog(c.id())
		a.awaitState(t, c.id(), "live")
	}
	s.sidecar.Kill()
	short.done()
	s.startSidecar()
	wantBilled(t, a.awaitCDR(t, short.id(), "settled"), short, true)
	a.awaitState(t, long.id(), "live")
	a.kill(t, "outbound", long.id())
	long.done()
	wantTimed(t, a.awaitCDR(t, long.id(), "settled"), long, false)
	all := a.ledger(t)
	if len(all) != 2 {
		t.Errorf("the ledger has %+v", all)
	}
	a.wantBalanced(t, all[0].CostUnits+all[1].CostUnits)
}

func deadMan(t *testing.T, s *stack) {
	const bought = 4
	a := s.open(t, "orphaned", bought*second)
	caller := s.call(t, "caller-stays.xml", ring{from: a.number, to: someone})
	s.awaitDialog(caller.id())
	s.sidecar.Kill()
	caller.done()
	s.trunk.awaitOf(caller.id(), false, "BYE")
	s.startSidecar()
	c := a.awaitCDR(t, caller.id(), "settled")
	wantTimed(t, c, caller, false)
	// Kamailio's timer is a second off either way, and set so that it does not come early.
	if talk := c.talk(t); talk < bought*time.Second || talk > (bought+2)*time.Second+2*stall {
		t.Errorf("%d s of credit bought %v", bought, talk)
	}
	a.wantBalanced(t, c.CostUnits)
}

// rings checks that an emergency call of an account goes through, and fast.
func (s *stack) rings(t *testing.T, a account) *phone {
	t.Helper()
	caller := s.call(t, "caller.xml", ring{from: a.number, to: "112", talk: 1200 * time.Millisecond})
	caller.done()
	invite, _ := find(caller.messages(), true, "INVITE")
	rings, ok := find(caller.messages(), false, "SIP/2.0 180")
	if took := rings.at.Sub(invite.at); !ok || took > 3*time.Second { // as above
		t.Errorf("it rang after %v:\n%s", took, caller.said())
	}
	return caller
}

func emergency(t *testing.T, s *stack) {
	a := s.open(t, "emergency", 0)
	caller := s.rings(t, a)
	if c := a.awaitCDR(t, caller.id(), "settled"); c.CostUnits != 0 || c.DurationSec < 2 || c.DurationSec > 3 || c.Flags != "e" {
		t.Errorf("the ledger has %+v", c)
	}
	a.wantBalanced(t, 0)
}

func emergencyWhileItHangs(t *testing.T, s *stack) {
	a := s.open(t, "emergency-hanging", 0)
	s.sidecar.Pause()
	defer s.sidecar.Resume()
	s.rings(t, a)
}

func emergencyWithoutRedis(t *testing.T, s *stack) {
	a, rich := s.open(t, "emergency-no-redis", 0), s.open(t, "rich-no-redis", credit)
	s.redis.Stop()
	defer func() {
		s.redis.Start()
		a.wantBalanced(t, 0)
		rich.wantBalanced(t, 0)
	}()
	s.rings(t, a)
	// Anybody else hears that the service is out of order.
	out := s.call(t, "caller-refused.xml", ring{from: rich.number, to: someone})
	e := listen(t)
	in := s.call(t, "caller-refused.xml", ring{from: someone, to: rich.number, port: s.fromTrunk[0], audio: e.port})
	out.done()
	if out.final() != 503 {
		t.Errorf("the caller was told %d", out.final())
	}
	in.done()
	wantRefused(t, in, "503 Service Unavailable", 41)
	s.wantHeard(t, e, "service_unavailable", "en")
}

func emergencyWithoutSidecar(t *testing.T, s *stack) {
	a, rich := s.open(t, "emergency-no-sidecar", 0), s.open(t, "rich-no-sidecar", credit)
	s.redis.Stop()
	s.sidecar.Kill()
	defer func() {
		s.redis.Start()
		s.startSidecar()
		a.wantBalanced(t, 0)
		rich.wantBalanced(t, 0)
	}()
	s.rings(t, a)
	for _, r := range []ring{{from: rich.number, to: someone}, {from: someone, to: rich.number, port: s.fromTrunk[1]}} {
		caller := s.call(t, "caller-refused.xml", r)
		caller.done()
		if caller.final() != 503 {
			t.Errorf("the caller was told %d", caller.final())
		}
	}
}

// TestOddities is a stack in which some things are not as they should be: the announcer does not know Kamailio, the
// trunk cannot be reached, and calls go for a while although nobody could be asked. Its tests take turns.
func TestOddities(t *testing.T) {
	t.Parallel()
	s := deploy(t, options{sidecar: settings{"sip.peers": []string{"192.0.2.1/32"}},
		kamailio: map[string]string{"RF_UNASKED_SECONDS": "2", "RF_TRUNK": "sip:127.0.0.1:9;transport=tcp"}})
	for _, test := range []struct {
		name string
		run  func(*testing.T, *stack)
	}{
		{"a silent announcer leaves the caller a reply", silentAnnouncer},
		{"a trunk that cannot be reached costs nothing", noTrunk},
		{"a call that nobody could be asked about goes for a while", unasked},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(t, s)
		})
	}
}

func silentAnnouncer(t *testing.T, s *stack) {
	a := s.open(t, "unheard", 0)
	caller := s.call(t, "caller-refused.xml", ring{from: someone, to: a.number, port: s.fromTrunk[0]})
	caller.done()
	if caller.final() != 402 {
		t.Errorf("the caller was told %d:\n%s", caller.final(), caller.said())
	}
	a.awaitCDR(t, caller.id(), "rejected")
}

func noTrunk(t *testing.T, s *stack) {
	a := s.open(t, "no-trunk", credit)
	caller := s.call(t, "caller-refused.xml", ring{from: a.number, to: someone})
	caller.done()
	if n := caller.final(); n < 400 {
		t.Errorf("the caller was told %d", n)
	}
	if c := a.awaitCDR(t, caller.id(), "released"); c.CostUnits != 0 {
		t.Errorf("the ledger has %+v", c)
	}
	a.wantBalanced(t, 0)
}

// unasked has an on-net call, since there is no trunk.
func unasked(t *testing.T, s *stack) {
	a, b := s.open(t, "unasked-a", credit), s.open(t, "unasked-b", credit)
	s.sidecar.Kill()
	caller := s.call(t, "caller-stays.xml", ring{from: a.number, to: b.number})
	caller.done()
	answer, _ := find(caller.messages(), false, "SIP/2.0 200")
	bye, _ := find(caller.messages(), false, "BYE")
	if talk := bye.at.Sub(answer.at); talk < 2*time.Second || talk > 4*time.Second+2*stall {
		t.Errorf("the call was let go for %v", talk)
	}
	// It is no call that the sidecar knows, and shows.
	s.startSidecar()
	s.awaitOrphan(t, caller.id())
	a.wantBalanced(t, 0)
	b.wantBalanced(t, 0)
}
