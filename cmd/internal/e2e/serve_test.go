package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/deploy/services"
)

// The demo shows everything and ends with sums that add up.
func TestDemo(t *testing.T) {
	t.Parallel()
	demo := services.Process(t, services.Binary(t), []string{"demo", "--for", "16s"}, nil)
	if code := demo.Wait(4 * patience); code != 0 {
		t.Errorf("exit code %d", code)
	}
	said := demo.Logs()
	if !regexp.MustCompile(`\d+ calls settled; the sums add up\.`).MatchString(said) {
		t.Errorf("no sums:\n%s", said)
	}
	for _, scene := range []string{"402", "insufficient credits", "low credit", "cut off", "held once", "charged once", "taken its live calls over", "curl"} {
		if !strings.Contains(said, scene) {
			t.Errorf("the demo does not show %q", scene)
		}
	}
}

// credit is what the admin API says of an account.
func (s *sidecar) credit(a account) authz.Balance {
	s.d.t.Helper()
	var shown struct{ Balance authz.Balance }
	must(s.d.t, json.Unmarshal([]byte(s.admin(http.MethodGet, "accounts/"+a.id+"/credit", nil).raw), &shown))
	return shown.Balance
}

// unconfigured starts a sidecar that is told nothing but where to listen.
func (d *deployment) unconfigured() *sidecar {
	d.t.Helper()
	s := d.prepare("host", nil)
	s.set = settings{"hook.listen": s.set["hook.listen"], "ops.listen": s.set["ops.listen"], "public.listen": s.set["public.listen"], "sip.listen": "",
		"hook.deadline": "5s"} // the embedded Redis is slow under the race detector
	s.write()
	s.start()
	s.listening()
	return s
}

// With no configuration a sidecar has stores of its own, says what a kill costs, and keeps everything over a soft stop.
func TestServeWithoutConfiguration(t *testing.T) {
	t.Parallel()
	d := alone(t, nil)
	s := d.unconfigured()
	s.says("level=WARN", "embedded Redis", "set redis.url for real use")
	a := d.open("acme", 10*minute, s)
	c := d.out(a, "over-the-stop")
	c.authorize(s)
	c.answer(s)
	done := d.out(a, "done")
	done.authorize(s)
	done.answer(s)
	done.end(s)
	s.Term()
	if code := s.Wait(patience); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, s.Logs())
	}

	s.start()
	s.listening()
	c.report(s, c.answeredEvent()) // known, and answered as before
	if got := c.end(s); got.number("duration_sec") != c.seconds() {
		t.Errorf("the call over a soft stop: %v, want %d s", got, c.seconds())
	}
	b := s.credit(a)
	if want := (c.seconds() + done.seconds()) * second; int64(b.Settled) != want || b.Held != 0 || b.Granted != b.Available+b.Settled || b.Granted != 10*minute {
		t.Errorf("after two calls of %d and %d s: %+v", c.seconds(), done.seconds(), b)
	}

	// A kill loses the calls of the moment, says which, and charges nothing for them; what was charged stays.
	before := s.credit(a)
	killed := d.out(a, "killed")
	killed.authorize(s)
	killed.answer(s)
	services.Eventually(t, patience, func() error {
		journals, err := filepath.Glob(filepath.Join(filepath.Dir(s.config), "ringfence-data", "calls-*.journal"))
		if err != nil || len(journals) != 1 {
			return fmt.Errorf("journals %q: %v", journals, err)
		}
		return holds(journals[0], killed.uid, killed.id)
	})
	s.Kill()
	s.start()
	s.listening()
	s.says("level=ERROR", killed.key().String(), killed.uid)
	// What had been charged is charged again where its record was not in the ledger yet.
	services.Eventually(t, patience, func() error {
		if b := s.credit(a); b.Available != before.Available || b.Held != 0 || b.Granted != b.Available+b.Settled {
			return fmt.Errorf("after the kill: %+v, before it %+v", b, before)
		}
		return nil
	})
}

// holds tells whether a file has one of the texts.
func holds(path string, texts ...string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for _, text := range texts {
		if strings.Contains(string(b), text) {
			return nil
		}
	}
	return fmt.Errorf("%s has none of %q", path, texts)
}

// The check names everything that is wrong at once.
func TestCheck(t *testing.T) {
	t.Parallel()
	bad := filepath.Join(t.TempDir(), "ringfence.yaml")
	must(t, os.WriteFile(bad, []byte(`
hook: {listen: "0.0.0.0:8402", deadline: soon}
calls: {slice: 1500ms, min_seconds: 0}
policy: {mode: perhaps}
redis: {url: "http://127.0.0.1", partitions: -1}
tarifs: {}
`), 0o600))
	check := services.Process(t, services.Binary(t), []string{"check", "--offline", "--config", bad}, nil)
	if code := check.Wait(patience); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	wrong := []string{"hook.listen", "hook.deadline", "calls.slice", "calls.min_seconds", "policy.mode", "redis.url", "redis.partitions", "tarifs"}
	said := check.Logs()
	for _, key := range wrong {
		if !regexp.MustCompile(`(?m)^FAIL .*` + regexp.QuoteMeta(key)).MatchString(said) {
			t.Errorf("nothing is said of %s", key)
		}
	}
	if !strings.Contains(said, fmt.Sprintf("%d problems", len(wrong))) {
		t.Errorf("not %d problems:\n%s", len(wrong), said)
	}
	refused := services.Process(t, services.Binary(t), []string{"serve", "--config", bad}, nil)
	if code := refused.Wait(patience); code != 1 {
		t.Errorf("serve: exit code %d, want 1:\n%s", code, refused.Logs())
	}

	d := deploy(t, nil)
	s := d.prepare("only", nil)
	good := services.Process(t, d.binary, []string{"check", "--config", s.config}, nil)
	if code := good.Wait(patience); code != 0 {
		t.Errorf("a configuration with nothing wrong: exit code %d:\n%s", code, good.Logs())
	}
	d.redis.Stop()
	away := services.Process(t, d.binary, []string{"check", "--config", s.config}, nil)
	if code := away.Wait(patience); code != 1 || !regexp.MustCompile(`(?m)^FAIL +redis`).MatchString(away.Logs()) {
		t.Errorf("with Redis away: exit code %d:\n%s", code, away.Logs())
	}
}

// A wrong order of start is no reason to stay down: a sidecar waits for nothing but its own configuration.
func TestStartedBeforeRedis(t *testing.T) {
	t.Parallel()
	d := deploy(t, settings{"redis.timeout": "1s", "hook.deadline": "1s"})
	d.redis.Kill()
	s := d.sidecar("only")
	s.listening()
	if got := s.post("/v1/authorize", map[string]any{"call_id": "early", "direction": "inbound", "from": someone, "to": "+31850835010"}); got.status != http.StatusServiceUnavailable || got.code() != "balance_unavailable" {
		t.Errorf("before anything is known: %v, want 503, never 404", got)
	}
	d.redis.Start()
	services.Eventually(t, patience, func() error {
		a, err := s.send(http.MethodPost, s.ops+"/admin/v1/accounts", map[string]any{"id": "acme", "company_name": "Acme"})
		if err == nil && a.status != http.StatusCreated && a.code() != "conflict" {
			err = fmt.Errorf("%v", a)
		}
		return err
	})
	s.grant(account{id: "acme"}, minute, "first")
	s.ready()
	a := account{id: "acme", number: "+31850835010"}
	s.admin(http.MethodPost, "numbers", map[string]any{"number": a.number, "account": a.id})
	c := d.out(a, "first")
	services.Eventually(t, patience, func() error {
		got, err := s.send(http.MethodPost, s.hook+"/v1/quote", c.fields(nil))
		if err == nil && got.status != http.StatusOK {
			err = fmt.Errorf("%v", got)
		}
		return err
	})
	c.authorize(s)
	c.answer(s)
	c.end(s)
	d.wantSettled(s, c)
}
