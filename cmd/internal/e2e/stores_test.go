package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/deploy/services"
)

// The story of a call is told from what answers, and what does not is named.
func TestExplainWithoutAStore(t *testing.T) {
	t.Parallel()
	d := alone(t, settings{"redis.timeout": "1s", "hook.deadline": "1s"})
	d.redis = services.Redis(t, services.AppendAlways())
	d.settings["redis.url"] = d.redis.URL
	d.look()
	server := d.ownPostgres()
	s := d.sidecar("only")
	s.ready()
	a := d.open("acme", 10*minute, s)
	c, live := d.out(a, "over"), d.out(a, "live")
	for _, c := range []*leg{c, live} {
		c.authorize(s)
		c.answer(s)
	}
	c.end(s)
	l := d.ledger()
	services.Eventually(t, patience, func() error {
		known, err := l.KnownCalls(t.Context(), []uuid.UUID{uuid.MustParse(c.uid)})
		if err == nil && known[uuid.MustParse(c.uid)] != authz.StateSettled {
			err = errNotYet
		}
		return err
	})
	explained := func(call string, code int, want ...string) {
		t.Helper()
		out, got := s.cli("call", "explain", call)
		for _, w := range want {
			if got != code || !strings.Contains(out, w) {
				t.Errorf("explain %s: exit code %d, want %d and %q:\n%s", call, got, code, w, out)
			}
		}
	}
	const noRedis, noLedger = "Redis does not answer", "The ledger does not answer"
	explained(c.uid, 0, " ledger ", " redis ", " sidecar ")
	d.redis.Kill()
	s.restart() // and nothing is left in the sidecar's memory
	explained(c.uid, 0, noRedis, " ledger ", c.key().String())
	explained(c.key().String(), 0, noRedis, " ledger ", c.uid)
	explained("plain:outbound:nobody", 1, "not every store answers")
	d.redis.Start()
	server.Stop()
	services.Eventually(t, patience, func() error {
		if out, code := s.cli("call", "explain", live.key().String()); code != 0 || !strings.Contains(out, noLedger) || !strings.Contains(out, " redis ") {
			return fmt.Errorf("exit code %d:\n%s", code, out)
		}
		return nil
	})
	server.Start()
	explained("plain:outbound:nobody", 1, "no store knows such a call")
}

// Sidecars that share a Redis share a ledger: one with another is refused, at its start or as soon as Redis answers.
func TestAnotherLedgerIsRefused(t *testing.T) {
	t.Parallel()
	d := deploy(t, nil)
	first := d.sidecar("first") // with an SQLite ledger of its own
	first.ready()
	a := d.open("acme", 10*minute, first)
	refused := func(s *sidecar) {
		t.Helper()
		if code := s.Wait(patience); code != 1 {
			t.Errorf("%s ended with exit code %d, want 1", s.name, code)
		}
		if last := lastLine(s.Logs()); !strings.Contains(last, "another ledger than the deployment's") || !strings.Contains(last, "ledger.url") {
			t.Errorf("the last that %s says is %q", s.name, last)
		}
	}
	second := d.sidecar("second")
	refused(second)
	d.redis.Pause()
	third := d.sidecar("third")
	third.listening()
	d.redis.Resume()
	refused(third)

	c := d.out(a, "undisturbed")
	c.authorize(first)
	c.answer(first)
	first.restart() // with its own ledger it is welcome
	c.end(first)
	d.wantSettled(first, c)

	// A Redis that loses the mark has it again in seconds.
	must(t, d.redis.Client().Del(t.Context(), "rf:{sys}:deployment").Err())
	services.Eventually(t, patience, func() error { return d.redis.Client().HGet(t.Context(), "rf:{sys}:deployment", "ledger").Err() })
	refused(d.sidecar("fourth"))
}

// A call that nobody could prove is charged when its switch tells its end after all.
func TestEndOfAnUnprovenCall(t *testing.T) {
	t.Parallel()
	d := deployForgetful(t, rough())
	s := d.sidecar("only")
	s.ready()
	a := d.open("acme", 10*minute, s)
	c := d.out(a, "late")
	c.authorize(s)
	c.answer(s)
	s.journaled(a, 1, 0)
	s.Kill()
	d.redis.Kill()
	d.redis.Start()
	s.start()
	s.ready()
	services.Eventually(t, patience, func() error {
		if got, _ := s.unproven(a); !got[c.uid] {
			return fmt.Errorf("it names %v", got)
		}
		return nil
	})
	c.end(s)
	tr := &traffic{d: d, accounts: []account{a}, sidecars: []*sidecar{s}, ended: []*leg{c}}
	tr.conserved(d.ledger())
}
