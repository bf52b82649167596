package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/deploy/services"
)

// TestKamailioForgets: Kamailio is killed in mid-call and, with no database, comes back without any memory of it. While it
// is away, nothing is assumed; calls of which neither it nor a BYE says anything any more are lost, at last, and cost what
// is proven.
func TestKamailioForgets(t *testing.T) {
	t.Parallel()
	s := deploy(t, options{})
	a, b := s.open(t, "forgotten-a", 10*credit), s.open(t, "forgotten-b", 10*credit)
	out := s.call(t, "caller.xml", ring{from: a.number, to: someone, talk: 12 * time.Second})
	onNet := s.call(t, "caller.xml", ring{from: a.number, to: b.number, talk: 12 * time.Second})
	vanished := s.call(t, "caller-vanishes.xml", ring{from: a.number, to: someone})
	for _, c := range []*phone{out, onNet, vanished} {
		s.awaitDialog(c.id())
		a.awaitState(t, c.id(), "live")
	}
	b.awaitState(t, onNet.id(), "live")
	killed := time.Now()
	s.kamailio.Kill()
	a.awaitState(t, vanished.id(), "live")
	s.startKamailio()
	out.done()
	onNet.done()
	s.trunk.awaitOf(out.id(), false, "BYE")
	s.customers.awaitOf(onNet.id(), false, "BYE")
	wantBilled(t, a.awaitCDR(t, out.id(), "settled"), out, true)
	wantBilled(t, a.awaitCDR(t, onNet.id(), "settled"), onNet, true)
	wantBilled(t, b.awaitCDR(t, onNet.id(), "settled"), onNet, true)

	lost := a.awaitCDR(t, vanished.id(), "lost")
	answer, _ := find(vanished.messages(), false, "SIP/2.0 200")
	if talk := lost.talk(t); talk > killed.Sub(answer.at)+stall || lost.CostUnits != lost.DurationSec*second {
		t.Errorf("Kamailio was killed %v after the answer; %v are billed as %d units", killed.Sub(answer.at), talk, lost.CostUnits)
	}
	charged := int64(0)
	for _, c := range a.ledger(t) {
		charged += c.CostUnits
	}
	a.wantBalanced(t, charged)
}

// database makes the one that README.md describes, and returns its URL.
func database(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ringfence.db")
	for _, tables := range []string{"/usr/share/kamailio/db_sqlite/standard-create.sql", "/usr/share/kamailio/db_sqlite/dialog-create.sql", "../kamailio/events.sql"} {
		sql, err := os.Open(tables)
		must(t, err)
		cmd := exec.CommandContext(t.Context(), services.Tool(t, "sqlite3", kamailioPackages), file)
		cmd.Stdin = sql
		out, err := cmd.CombinedOutput()
		if sql.Close(); err != nil {
			t.Fatalf("%s: %v\n%s", tables, err, out)
		}
	}
	return "sqlite:///" + file
}

// TestKamailioRemembers: Kamailio is killed in mid-call and, with a database, goes on watching the call. Its
// untold events outlive a restart too.
func TestKamailioRemembers(t *testing.T) {
	t.Parallel()
	s := deploy(t, options{kamailio: map[string]string{"RF_DB": database(t)}})
	a := s.open(t, "remembered", 20*second)
	caller := s.call(t, "caller-stays.xml", ring{from: a.number, to: someone})
	id := caller.id()
	before := s.awaitDialog(id)
	answer := caller.await(false, "SIP/2.0 200")
	// It writes once a second, and what it has not written is forgotten.
	services.Eventually(t, patience, func() error {
		if time.Since(answer.at) < 3*time.Second {
			return errNotYet
		}
		return nil
	})
	s.kamailio.Kill()
	s.startKamailio()
	after := s.awaitDialog(id)
	if after.variable("limit_outbound") != before.variable("limit_outbound") || after.variable("answered") != before.variable("answered") {
		t.Errorf("before it was killed: %+v; after: %+v", before, after)
	}
	if off := after.Timeout - before.Timeout; off < -2 || off > 2 {
		t.Errorf("the dead-man timer was to run out at %d, now at %d", before.Timeout, after.Timeout)
	}
	caller.done()
	s.trunk.awaitOf(id, false, "BYE")
	c := a.awaitCDR(t, id, "settled")
	wantBilled(t, c, caller, false)
	if c.DurationSec != 20 {
		t.Errorf("20 s of credit bought %v", c.talk(t))
	}

	a.grant(t, credit, "second")
	next := s.call(t, "caller.xml", ring{from: a.number, to: someone, talk: 6 * time.Second}) // long enough to be seen live on a busy machine
	s.awaitDialog(next.id())
	a.awaitState(t, next.id(), "live")
	s.sidecar.Kill()
	next.done()
	s.kamailio.Term()
	s.kamailio.Wait(patience)
	s.startKamailio()
	s.startSidecar()
	// How long the BYE waited for a Kamailio that listens again belongs to the call.
	if c := a.awaitCDR(t, next.id(), "settled"); c.DurationSec < 6 {
		t.Errorf("6 s of talk were billed as %d s", c.DurationSec)
	}
}

// awaitOrphan waits until the sidecar shows an event that belongs to no call it knows.
func (s *stack) awaitOrphan(t *testing.T, callID string) {
	t.Helper()
	services.Eventually(t, 2*patience, func() error {
		var list struct {
			Orphans []struct {
				CallID string `json:"call_id"`
				Call   string
			}
		}
		s.admin(t, http.MethodGet, "orphans", nil, &list)
		for _, o := range list.Orphans {
			if o.CallID == callID || o.Call == "kamailio:outbound:"+callID {
				return nil
			}
		}
		return fmt.Errorf("%s is no orphan: %+v", callID, list.Orphans)
	})
}
