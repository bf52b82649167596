package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/deploy/services"
)

// says waits until a sidecar's log has a line with all the parts.
func (s *sidecar) says(parts ...string) {
	s.d.t.Helper()
	services.Eventually(s.d.t, patience, func() error {
		for line := range strings.Lines(s.Logs()) {
			missing := false
			for _, part := range parts {
				missing = missing || !strings.Contains(line, part)
			}
			if !missing {
				return nil
			}
		}
		return fmt.Errorf("the log of %s has no line with %q", s.name, parts)
	})
}

// metric reads one value of a sidecar's metrics.
func (s *sidecar) metric(name string) (value string, err error) {
	a, err := s.send(http.MethodGet, s.ops+"/metrics", nil)
	for line := range strings.Lines(a.raw) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(rest), err
		}
	}
	return "", err
}

// working waits until so many hooks are in progress.
func (s *sidecar) working(n int) {
	s.d.t.Helper()
	services.Eventually(s.d.t, patience, func() error {
		got, err := s.metric("ringfence_hook_in_flight")
		if err == nil && got != fmt.Sprint(n) {
			err = fmt.Errorf("%s hooks are in progress, want %d", got, n)
		}
		return err
	})
}

// refusing waits until the sidecar takes no new hooks.
func (s *sidecar) refusing() {
	s.d.t.Helper()
	services.Eventually(s.d.t, patience, func() error {
		if a, err := s.send(http.MethodGet, s.hook+"/", nil); err == nil {
			return fmt.Errorf("still answered: %v", a)
		}
		return nil
	})
}

// A sidecar's name is one process's: the older one of two stops, and says why; the younger has its calls.
func TestTwoOfOneName(t *testing.T) {
	t.Parallel()
	d := deploy(t, nil)
	d.share()
	older := d.sidecar("twin")
	older.listening()
	a := d.open("acme", 10*minute, older)
	c := d.out(a, "inherited")
	c.authorize(older)
	c.answer(older)
	younger := d.sidecar("twin")
	if code := older.Wait(patience); code != 1 {
		t.Errorf("the older of two twins ended with exit code %d, want 1", code)
	}
	older.says("another sidecar runs under this name", "twin")
	if last := lastLine(older.Logs()); !strings.HasPrefix(last, "ringfence: another sidecar runs under this name") {
		t.Errorf("the last it says is %q", last)
	}
	c.awaitExtension()
	c.end(younger)
	d.wantSettled(younger, c)
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// SIGTERM lets no request in, answers those that are, and ends with exit code 0.
func TestStopDrains(t *testing.T) {
	t.Parallel()
	d := deploy(t, settings{"redis.timeout": "10s", "hook.deadline": "10s"})
	s := d.sidecar("only")
	s.listening()
	a := d.open("acme", 10*minute, s)
	asking, ending := d.out(a, "asking"), d.out(a, "ending")
	ending.authorize(s)
	ending.answer(s)
	ending.hang()
	d.redis.Pause()
	requests := map[string]map[string]any{"/v1/authorize": asking.fields(nil), "/v1/events": ending.endedEvent()}
	answers := make(chan error, len(requests))
	for path, body := range requests {
		go func() {
			a, err := s.send(http.MethodPost, s.hook+path, body)
			if err == nil && a.status != http.StatusOK {
				err = fmt.Errorf("%s: %v", path, a)
			}
			answers <- err
		}()
	}
	s.working(len(requests))
	s.Term()
	s.refusing()
	d.redis.Resume()
	for range requests {
		if err := <-answers; err != nil {
			t.Errorf("a request in progress was not answered: %v", err)
		}
	}
	if code := s.Wait(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	asking.awaitState(authz.StateHeld)
	ending.awaitState(authz.StateSettled)
	s.start() // the lease was given up: nothing is waited for
	s.listening()
	asking.report(s, asking.fields(map[string]any{"type": "abandoned"}))
	d.wantSettled(s, ending)
}

// An end that is kept at a stop is written before the process ends, when Redis comes back in time.
func TestStopWritesWhatIsKept(t *testing.T) {
	t.Parallel()
	d := deploy(t, settings{"redis.timeout": "1s", "hook.deadline": "1s"})
	s := d.sidecar("only")
	s.listening()
	a := d.open("acme", 10*minute, s)
	c := d.out(a, "kept")
	c.authorize(s)
	c.answer(s)
	c.hang()
	d.redis.Pause()
	c.wantKept(s, c.endedEvent())
	s.Term()
	s.refusing()
	d.redis.Resume()
	if code := s.Wait(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if w, err := c.inRedis(); err != nil || w.State != authz.StateSettled {
		t.Errorf("after the stop the call is %v, %v", w.State, err)
	}
}

// A second signal ends what the first one waits for: here, for a Redis that does not come back, to take an end.
func TestSecondSignalHurries(t *testing.T) {
	t.Parallel()
	d := deploy(t, settings{"redis.timeout": "1s", "hook.deadline": "1s"})
	s := d.sidecar("only")
	s.listening()
	a := d.open("acme", 10*minute, s)
	c := d.out(a, "kept")
	c.authorize(s)
	c.answer(s)
	c.hang()
	d.redis.Pause()
	c.wantKept(s, c.endedEvent())
	s.Term()
	s.says("msg=stopping")
	start := time.Now()
	services.Eventually(t, patience, func() error { // the first signal may still be being worked
		s.Term()
		if !strings.Contains(s.Logs(), "second signal") {
			return errNotYet
		}
		return nil
	})
	s.Wait(patience)
	// Without it, five seconds for the end and more for the lease pass.
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it stopped %v after the second signal", took)
	}
	s.says("stopped with events that could not be written", "events=1")
	d.redis.Resume()
	s.start()
	s.listening()
	c.report(s, c.endedEvent())
	d.wantSettled(s, c)
}

// SIGHUP applies what can change while calls are on, and names what cannot.
func TestHangupReloads(t *testing.T) {
	t.Parallel()
	d := deploy(t, nil)
	s := d.sidecar("only")
	s.listening()
	a := d.open("acme", 10*minute, s)
	before := d.out(a, "before")
	if got := before.authorize(s).number("slice_seconds"); got != 2 {
		t.Errorf("slice_seconds is %d, want 2", got)
	}
	before.answer(s)

	tariff := filepath.Join(t.TempDir(), "tariff.yaml")
	must(t, os.WriteFile(tariff, []byte("id: default\nversion: 2\nrates:\n  - credits_per_minute: 3\n"), 0o600))
	s.set["log.level"], s.set["calls.max_duration"], s.set["tariffs.file"] = "debug", "90s", []string{tariff}
	s.set["calls.slice"], s.set["meter.sweep_every"] = "4s", "7s"
	s.write()
	s.Signal(syscall.SIGHUP)
	s.says("configuration reloaded")
	s.says("only after a restart", "calls.slice", "old=2s", "new=4s")
	s.says("only after a restart", "meter.sweep_every", "old=1s", "new=7s")
	s.says("setting changed", "log.level", "new=debug")
	s.says("setting changed", "calls.max_duration", "new=90s")
	s.says("tariff in force", tariff)

	after := d.out(a, "after")
	if got := after.authorize(s); got.number("max_seconds") != 90 || got.number("slice_seconds") != 2 {
		t.Errorf("with a limit of 90 s, and the slice of the start: %v", got)
	}
	if w := after.awaitState(authz.StateHeld); w.Held != 3*2*second {
		t.Errorf("the new tariff holds %d units for 2 s, want %d", w.Held, 3*2*second)
	}
	after.answer(s)
	if refused := s.post("/v1/authorize", after.fields(map[string]any{"to": "+31207654321"})); refused.status != http.StatusConflict {
		t.Errorf("a contradiction: %v", refused)
	}
	s.says("level=DEBUG", "call denied")
	before.end(s)
	after.end(s)
	standing := d.books(s, a)
	for c, rate := range map[*leg]int64{before: 1, after: 3} {
		if r := standing[c.key().String()]; int64(r.Units) != rate*second*c.seconds() {
			t.Errorf("%s cost %d units for %d s at %d credits a minute", c.id, r.Units, c.seconds(), rate)
		}
	}

	// What cannot be read changes nothing.
	s.set["calls.max_duration"] = "1 hour"
	s.write()
	s.Signal(syscall.SIGHUP)
	s.says("configuration not reloaded", "calls.max_duration")
	if got := d.out(a, "last").authorize(s).number("max_seconds"); got > 90 {
		t.Errorf("max_seconds is %d after a configuration that was refused, want at most 90", got)
	}
}
