package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/postgres"
)

// deployForgetful starts a deployment whose Redis keeps nothing on disk, and which has a ledger that its sidecars read
// the outbox into.
func deployForgetful(t *testing.T, changes settings) *deployment {
	t.Helper()
	d := alone(t, changes)
	d.redis = services.Redis(t)
	d.settings["redis.url"] = d.redis.URL
	d.look()
	d.share()
	return d
}

// look makes the test's own look at the balances.
func (d *deployment) look() {
	d.t.Helper()
	var err error
	d.store, err = balance.New(d.redis.Client(), balance.Config{Partitions: partitions}, nil)
	must(d.t, err)
	d.t.Cleanup(d.store.Close)
}

// ledger is the test's own look at the shared ledger.
func (d *deployment) ledger() *ledger.Ledger {
	d.t.Helper()
	l, err := postgres.Open(d.t.Context(), postgres.Config{URL: d.settings["ledger.url"].(string)})
	must(d.t, err)
	d.t.Cleanup(func() { must(d.t, l.Close()) })
	return l
}

// traffic is calls of several accounts that come and go at several sidecars, until it is stopped.
type traffic struct {
	d        *deployment
	accounts []account
	sidecars []*sidecar
	stopping chan struct{}
	wg       sync.WaitGroup
	placed   atomic.Int64
	denied   atomic.Int64 // not let go: each such call is over
	granted  atomic.Int64

	mu    sync.Mutex
	ended []*leg
}

// traffic starts it: so many calls at a time of each account.
func (d *deployment) traffic(accounts []account, each int, sidecars ...*sidecar) *traffic {
	tr := &traffic{d: d, accounts: accounts, sidecars: sidecars, stopping: make(chan struct{})}
	for i, a := range accounts {
		for range each {
			tr.wg.Go(func() {
				for tr.goesOn() {
					tr.call(a)
				}
			})
		}
		if i%2 == 0 {
			tr.wg.Go(func() { tr.buy(a) })
		}
	}
	return tr
}

func (tr *traffic) goesOn() bool {
	select {
	case <-tr.stopping:
		return false
	default:
		return true
	}
}

// stop lets the calls end and waits for all.
func (tr *traffic) stop() {
	close(tr.stopping)
	tr.wg.Wait()
}

func (tr *traffic) any() *sidecar { return tr.sidecars[rand.IntN(len(tr.sidecars))] }

// call is one from beginning to end, at whichever sidecars. One that is not let go is over.
func (tr *traffic) call(a account) {
	c := tr.d.out(a, fmt.Sprintf("call-%d", tr.placed.Add(1)))
	if rand.IntN(3) == 0 {
		c.direction = "inbound"
	}
	got, err := tr.any().send(http.MethodPost, tr.any().hook+"/v1/authorize", c.fields(nil))
	if err != nil || got.status != http.StatusOK {
		tr.denied.Add(1)
		if err != nil || got.code() != "balance_unavailable" {
			tr.d.t.Errorf("authorize %s: %v %v", c.id, got, err)
		}
		pass(50 * time.Millisecond)
		return
	}
	c.uid = got.text("call_uid")
	c.lift()
	tr.tell(c, c.answeredEvent(), http.StatusOK, http.StatusAccepted)
	pass(time.Duration(50+rand.IntN(2500)) * time.Millisecond)
	c.hang()
	tr.tell(c, c.endedEvent(), http.StatusOK, http.StatusAccepted) // what is kept is settled later, without being told again
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.ended = append(tr.ended, c)
}

// tell reports an event until it is answered as wanted, each time to another sidecar perhaps.
func (tr *traffic) tell(c *leg, event map[string]any, want ...int) {
	deadline := time.Now().Add(2 * patience)
	for {
		s := tr.any()
		a, err := s.send(http.MethodPost, s.hook+"/v1/events", event)
		for _, status := range want {
			if err == nil && a.status == status {
				return
			}
		}
		if time.Now().After(deadline) {
			tr.d.t.Errorf("%v of %s at %s: %v %v", event["type"], c.id, s.name, a, err)
			return
		}
		pass(100 * time.Millisecond)
	}
}

// buy grants credit now and then. What is not answered may have been granted all the same: it is asked for again.
func (tr *traffic) buy(a account) {
	for i := 0; tr.goesOn(); i++ {
		body := map[string]any{"units": second, "reference": fmt.Sprintf("%s-%d", a.id, i)}
		deadline := time.Now().Add(2 * patience)
		for {
			s := tr.any()
			got, err := s.send(http.MethodPost, s.ops+"/admin/v1/accounts/"+a.id+"/grants", body)
			if err == nil && got.status/100 == 2 {
				break
			}
			if time.Now().After(deadline) {
				tr.d.t.Errorf("grant %d of %s: %v %v", i, a.id, got, err)
				return
			}
			pass(100 * time.Millisecond)
		}
		tr.granted.Add(1)
		pass(200 * time.Millisecond)
	}
}

func pass(d time.Duration) { <-time.After(d) }

// has waits until so many calls more have ended.
func (tr *traffic) has(more int) {
	tr.d.t.Helper()
	count := func() int {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return len(tr.ended)
	}
	first := count()
	services.Eventually(tr.d.t, 2*patience, func() error {
		if n := count() - first; n < more {
			return fmt.Errorf("%d calls have ended, want %d more than the %d before", n, more, first)
		}
		return nil
	})
}

// comes waits until so many more calls have come.
func (tr *traffic) comes(more int64) {
	tr.d.t.Helper()
	first := tr.placed.Load()
	services.Eventually(tr.d.t, patience, func() error {
		if n := tr.placed.Load() - first; n < more {
			return fmt.Errorf("%d calls have come, want %d", n, more)
		}
		return nil
	})
}

// conserved waits until all is in the ledger, and checks to the unit what each account was granted and charged, there
// and in Redis; and that the program finds nothing wrong either.
func (tr *traffic) conserved(l *ledger.Ledger) {
	t := tr.d.t
	t.Helper()
	charged := map[string]credit.Units{}
	calls := map[string]int64{}
	var uids []uuid.UUID
	for _, c := range tr.ended {
		charged[c.account.id] += credit.Units(c.seconds() * second)
		calls[c.account.id]++
		uids = append(uids, uuid.MustParse(c.uid))
	}
	services.Eventually(t, 2*patience, func() error {
		known, err := l.KnownCalls(t.Context(), uids)
		for i, u := range uids {
			if known[u] != authz.StateSettled && err == nil {
				err = fmt.Errorf("%s (%s) is %v in the ledger", tr.ended[i].id, u, known[u])
			}
		}
		return err
	})
	for _, a := range tr.accounts {
		services.Eventually(t, 2*patience, func() error {
			b, err := tr.d.store.Balance(t.Context(), a.id)
			if err != nil {
				return err
			}
			sum, err := l.Totals(t.Context(), a.id)
			if err != nil {
				return err
			}
			if sum.Settled != charged[a.id] || sum.Calls.Settled != calls[a.id] {
				return fmt.Errorf("the ledger has %d calls of %s for %d units, want %d for %d", sum.Calls.Settled, a.id, sum.Settled, calls[a.id], charged[a.id])
			}
			if b.Held != 0 || b.Calls != 0 || b.Granted != sum.Granted || b.Settled != sum.Settled || b.Available != sum.Granted-sum.Settled {
				return fmt.Errorf("%s: Redis has %+v, the ledger %+v", a.id, b, sum)
			}
			return nil
		})
	}
	for _, s := range tr.sidecars {
		if out, code := s.cli("reconcile"); code != 0 || !strings.Contains(out, fmt.Sprintf("%d accounts compared, 0 differ", len(tr.accounts))) {
			t.Errorf("reconcile at %s: exit code %d\n%s", s.name, code, out)
		}
	}
	t.Logf("%d calls settled, %d not let go, %d grants", len(tr.ended), tr.denied.Load(), tr.granted.Load())
}

// cli runs a command of the program against a sidecar.
func (s *sidecar) cli(args ...string) (out string, code int) {
	s.d.t.Helper()
	p := services.Process(s.d.t, s.d.binary, args, []string{"RINGFENCE_OPS_URL=" + s.ops})
	code = p.Wait(2 * patience)
	return p.Logs(), code
}
