package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/hmsovereign/ringfence/deploy/services"
)

// crowd is a deployment of two sidecars under the calls of several accounts.
type crowd struct {
	*deployment
	pair     []*sidecar
	accounts []account
}

func newCrowd(d *deployment) crowd {
	d.t.Helper()
	x := crowd{deployment: d, pair: []*sidecar{d.sidecar("one"), d.sidecar("two")}}
	for _, s := range x.pair {
		s.ready()
	}
	for i := range 4 {
		x.accounts = append(x.accounts, d.open(fmt.Sprintf("acct-%d", i), 600*minute, x.pair...))
	}
	return x
}

// rough are the settings of a deployment whose Redis is lost under load: accounts with credit go on calling.
func rough() settings {
	return settings{"policy.mode": "known", "policy.healthy_credits": 5, "redis.timeout": "1s", "hook.deadline": "1s", "meter.lease": "4s"}
}

// Redis is emptied under load, twice: it is rebuilt with everything that the sidecars and the ledger know.
func TestRedisIsEmptiedUnderLoad(t *testing.T) {
	t.Parallel()
	x := newCrowd(deployForgetful(t, rough()))
	l := x.ledger()
	tr := x.traffic(x.accounts, 3, x.pair...)
	for range 2 {
		tr.has(20)
		must(t, x.redis.Client().FlushAll(t.Context()).Err())
		x.rebuilt()
	}
	tr.has(20)
	tr.stop()
	tr.conserved(l)
	for _, s := range x.pair { // each fills the directory's mirror alone
		if strings.Contains(s.Logs(), "fill the directory: it changed meanwhile") {
			t.Errorf("%s was disturbed while it filled the directory's mirror", s.name)
		}
	}
}

// rebuilt waits until Redis has all accounts again.
func (x *crowd) rebuilt() {
	x.t.Helper()
	for _, a := range x.accounts {
		services.Eventually(x.t, patience, func() error { _, err := x.store.Balance(x.t.Context(), a.id); return err })
	}
}

// Redis dies under load, and the one that is started in its place has nothing.
func TestRedisLosesItsDataUnderLoad(t *testing.T) {
	t.Parallel()
	x := newCrowd(deployForgetful(t, rough()))
	l := x.ledger()
	tr := x.traffic(x.accounts, 3, x.pair...)
	tr.has(20)
	x.redis.Kill()
	tr.comes(5)
	x.redis.Start()
	x.rebuilt()
	tr.has(20)
	tr.stop()
	tr.conserved(l)
}

// A replica that lacks the last second takes over, under load: what is missing is noticed and brought forward.
func TestReplicaThatLagsIsPromotedUnderLoad(t *testing.T) {
	t.Parallel()
	d := alone(t, rough())
	master := services.Redis(t)
	replica := services.RedisReplica(t, master)
	toMaster := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "redis", "127.0.0.1:0", master.Addr)
	must(t, toMaster.Start())
	t.Cleanup(toMaster.Stop)
	d.redis = master
	d.settings["redis.url"] = "redis://" + toMaster.Listen
	d.look()
	d.share()
	x := newCrowd(d)
	l := x.ledger()
	tr := x.traffic(x.accounts, 3, x.pair...)
	tr.has(20)
	must(t, replica.Client().Do(t.Context(), "REPLICAOF", "NO", "ONE").Err()) // from here on it hears nothing more
	tr.has(10)
	before := map[string]int64{}
	for _, a := range x.accounts {
		b, err := x.store.Balance(t.Context(), a.id)
		must(t, err)
		before[a.id] = b.Seq
	}
	// The address now leads to the replica; the master is gone.
	toMaster.Stop()
	master.Kill()
	toReplica := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "redis", toMaster.Listen, replica.Addr)
	x.redis = replica
	x.look()
	back := false
	for _, a := range x.accounts {
		b, err := x.store.Balance(t.Context(), a.id)
		must(t, err)
		back = back || b.Seq < before[a.id]
	}
	if !back {
		t.Error("the replica lacks nothing: the test proves nothing")
	}
	must(t, toReplica.Start())
	t.Cleanup(toReplica.Stop)
	for _, a := range x.accounts {
		services.Eventually(t, patience, func() error {
			b, err := x.store.Balance(t.Context(), a.id)
			if err == nil && b.Seq <= before[a.id] {
				err = fmt.Errorf("%s is at seq %d, the master was at %d", a.id, b.Seq, before[a.id])
			}
			return err
		})
	}
	tr.has(20)
	tr.stop()
	tr.conserved(l)
}

// Both sidecars are killed, and Redis loses its data. Charges that their journals have are made again; the calls that were
// on are named, exactly those, by either sidecar, until they are accepted.
func TestEverythingIsKilledAtOnce(t *testing.T) {
	t.Parallel()
	x := newCrowd(deployForgetful(t, rough()))
	l := x.ledger()
	x.leaseOutbox(time.Now().Add(time.Hour)) // the ledger hears of nothing before the kill
	a := x.accounts[0]
	var on, ended []*leg
	for i, s := range x.pair {
		for j := range 3 {
			c := x.out(a, fmt.Sprintf("on-%d-%d", i, j))
			c.authorize(s)
			if j > 0 { // the first one rings
				c.answer(s)
			}
			on = append(on, c)
			c = x.out(a, fmt.Sprintf("over-%d-%d", i, j))
			c.authorize(s)
			c.answer(s)
			c.end(s)
			ended = append(ended, c)
		}
		s.journaled(a, 3, 3)
	}
	for _, s := range x.pair {
		s.Kill()
	}
	x.redis.Kill()
	x.redis.Start()
	for _, s := range x.pair {
		s.start()
	}
	for _, s := range x.pair {
		s.ready()
	}
	tr := &traffic{d: x.deployment, accounts: x.accounts, ended: ended}
	tr.conserved(l)
	want := map[string]bool{}
	for _, c := range on {
		want[c.uid] = true
	}
	for _, s := range x.pair {
		services.Eventually(t, patience, func() error {
			got, code := s.unproven(a)
			if !maps.Equal(got, want) || code != 1 {
				return fmt.Errorf("%s names %v, want %v; exit code %d", s.name, got, want, code)
			}
			return nil
		})
	}
	if out, code := x.pair[0].cli("reconcile", "--account", a.id, "--repair"); code != 0 || !strings.Contains(out, "the end of 6 calls cannot be proven; accepted") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	tr.sidecars = x.pair
	tr.conserved(l) // and nothing is reported any more
}

// unproven are the calls that the sidecar's comparison names as such.
func (s *sidecar) unproven(a account) (uids map[string]bool, code int) {
	s.d.t.Helper()
	out, code := s.cli("reconcile", "--account", a.id, "--json")
	uids = map[string]bool{}
	for line := range strings.Lines(out) {
		var l struct {
			Finding struct {
				Unproven int
				Causes   []struct{ What, Call string }
			}
		}
		if json.Unmarshal([]byte(line), &l) != nil {
			continue
		}
		for _, c := range l.Finding.Causes {
			if strings.Contains(c.What, "cannot be proven") {
				uids[c.Call] = true
			}
		}
	}
	return uids, code
}

// journaled waits until the sidecar's journal has so many calls that are on, and so many charges.
func (s *sidecar) journaled(a account, on, charges int) {
	s.d.t.Helper()
	services.Eventually(s.d.t, patience, func() error {
		if err := s.journalHas("$", charges); err != nil {
			return err
		}
		over := strings.Count(s.journal(), "\n-\x1f")
		calls := map[string]bool{}
		for line := range strings.Lines(s.journal()) {
			if f := strings.Split(line, "\x1f"); f[0] == "+" && f[1] == a.id {
				calls[f[2]] = true
			}
		}
		if len(calls)-over != on {
			return fmt.Errorf("%d calls are on in the journal of %s, want %d", len(calls)-over, s.name, on)
		}
		return nil
	})
}

func (s *sidecar) journal() string {
	s.d.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.set["data_dir"].(string), "calls-"+s.name+".journal"))
	must(s.d.t, err)
	return string(text)
}

// journalHas tells whether so many lines of a kind are in the sidecar's journal.
func (s *sidecar) journalHas(kind string, n int) error {
	s.d.t.Helper()
	if got := strings.Count(s.journal(), "\n"+kind+"\x1f"); got != n {
		return fmt.Errorf("the journal of %s has %d lines %q, want %d", s.name, got, kind, n)
	}
	return nil
}
