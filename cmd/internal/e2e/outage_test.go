package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger/postgres"
)

// ownPostgres gives a deployment a Postgres that the test can take away.
func (d *deployment) ownPostgres() *services.PostgresServer {
	d.t.Helper()
	server := services.Postgres(d.t)
	url := server.NewDatabase(d.t)
	l, err := postgres.Open(d.t.Context(), postgres.Config{URL: url})
	must(d.t, err)
	must(d.t, errors.Join(l.Migrate(d.t.Context()), l.Close()))
	d.settings["ledger.url"] = url
	return server
}

// Postgres is away for more than ten seconds, stopped or hanging, while calls are placed all the time: no hook is
// answered otherwise than ever, and every call is in the ledger when it is back.
func TestPostgresIsAwayUnderLoad(t *testing.T) {
	t.Parallel()
	for name, outage := range map[string]struct {
		begin, end func(*services.PostgresServer)
	}{
		"stopped": {(*services.PostgresServer).Stop, (*services.PostgresServer).Start},
		"killed":  {(*services.PostgresServer).Kill, (*services.PostgresServer).Start},
		"hanging": {hang(t, syscall.SIGSTOP), hang(t, syscall.SIGCONT)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := alone(t, settings{"redis.timeout": "1s", "hook.deadline": "1s", "meter.lease": "4s"})
			d.redis = services.Redis(t)
			d.settings["redis.url"] = d.redis.URL
			d.look()
			server := d.ownPostgres()
			s := d.sidecar("only")
			s.ready()
			var accounts []account
			for i := range 4 {
				accounts = append(accounts, d.open(fmt.Sprintf("acct-%d", i), 600*minute, s))
			}
			st := d.stream(s, accounts)
			st.ends(20)
			outage.begin(server)
			away := time.Now()
			before := st.count()
			pass(11 * time.Second) // as long as the outage is to be
			during := st.count() - before
			outage.end(server)
			gone := time.Since(away)
			st.ends(20)
			st.stop()
			if during < 30 {
				t.Errorf("only %d calls ended in the outage of %v: the test proves little", during, gone)
			}
			l := d.ledger()
			var uids []uuid.UUID
			for _, c := range st.ended {
				uids = append(uids, uuid.MustParse(c.uid))
			}
			services.Eventually(t, 2*patience, func() error {
				known, err := l.KnownCalls(t.Context(), uids)
				for i, u := range uids {
					if err == nil && known[u] != authz.StateSettled {
						err = fmt.Errorf("%s is %v in the ledger", st.ended[i].id, known[u])
					}
				}
				return err
			})
			tr := &traffic{d: d, accounts: accounts, sidecars: []*sidecar{s}, ended: st.ended}
			tr.conserved(l)
			t.Logf("%d calls, %d of them ended within an outage of %v; the slowest hook took %v", len(st.ended), during, gone, time.Duration(st.slowest.Load()))
		})
	}
}

// hang signals every process of a Postgres: its backends lead sessions of their own.
func hang(t *testing.T, sig syscall.Signal) func(*services.PostgresServer) {
	return func(p *services.PostgresServer) {
		t.Helper()
		pid := strconv.Itoa(p.Pid())
		children, err := os.ReadFile(filepath.Join("/proc", pid, "task", pid, "children")) // proc(5)
		must(t, err)                                                                       // it is Linux's
		for _, f := range append([]string{pid}, strings.Fields(string(children))...) {
			if n, err := strconv.Atoi(f); err == nil {
				_ = syscall.Kill(n, sig) // one that has just ended needs none
			}
		}
	}
}

// stream is short calls, one after the other, each hook of which must be answered 200.
type stream struct {
	d       *deployment
	s       *sidecar
	running atomic.Bool
	wg      sync.WaitGroup
	placed  atomic.Int64
	slowest atomic.Int64 // ns

	mu    sync.Mutex
	ended []*leg
}

func (d *deployment) stream(s *sidecar, accounts []account) *stream {
	st := &stream{d: d, s: s}
	st.running.Store(true)
	for _, a := range accounts {
		for range 2 {
			st.wg.Go(func() {
				for st.running.Load() {
					st.call(a)
				}
			})
		}
	}
	return st
}

func (st *stream) call(a account) {
	c := st.d.out(a, fmt.Sprintf("call-%d", st.placed.Add(1)))
	ask := func(path string, body map[string]any) answer {
		got, err := st.s.send(http.MethodPost, st.s.hook+path, body)
		if err != nil || got.status != http.StatusOK || strings.Contains(got.raw, `"policy"`) {
			st.d.t.Errorf("%s %v of %s: %v %v", path, body["type"], c.id, got, err)
		}
		st.slowest.Store(max(st.slowest.Load(), int64(got.took)))
		return got
	}
	c.uid = ask("/v1/authorize", c.fields(nil)).text("call_uid")
	c.lift()
	ask("/v1/events", c.answeredEvent())
	pass(time.Duration(100+rand.IntN(400)) * time.Millisecond)
	c.hang()
	ask("/v1/events", c.endedEvent())
	st.mu.Lock()
	defer st.mu.Unlock()
	st.ended = append(st.ended, c)
}

func (st *stream) count() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.ended)
}

// ends waits until so many more calls have ended.
func (st *stream) ends(more int) {
	st.d.t.Helper()
	first := st.count()
	services.Eventually(st.d.t, 2*patience, func() error {
		if n := st.count() - first; n < more {
			return fmt.Errorf("%d calls have ended, want %d", n, more)
		}
		return nil
	})
}

func (st *stream) stop() {
	st.running.Store(false)
	st.wg.Wait()
}
