package services

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// polite ends with code 7 on SIGTERM, after a word in its log.
const polite = `
trap 'echo bye; exit 7' TERM
echo "ready $GREETING $RINGFENCE_REDIS_URL."
while :; do sleep 0.01; done`

// shell starts a shell script and waits for the first line of its log.
func shell(t testing.TB, script string, env ...string) *Daemon {
	t.Helper()
	d := Process(t, "/bin/sh", []string{"-c", script}, env)
	Eventually(t, patience, func() error {
		if !strings.Contains(d.Logs(), "\n") {
			return errors.New("nothing in the log")
		}
		return nil
	})
	return d
}

func TestProcess(t *testing.T) {
	t.Setenv("RINGFENCE_REDIS_URL", "of the developer")
	d := shell(t, polite, "GREETING=hello")
	wantText(t, d.Logs(), "ready hello .\n")
	d.Term()
	if code := d.Wait(patience); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	wantText(t, d.Logs(), "bye")
	<-d.Done()

	d = shell(t, polite)
	d.Kill()
	if code := d.Wait(patience); code != -1 {
		t.Errorf("exit code %d after SIGKILL, want -1", code)
	}
	d.Kill() // of a process that is gone: nothing

	d = shell(t, polite)
	d.Pause()
	if !stopped(d.Pid()) {
		t.Error("runs while paused")
	}
	d.Resume()
	d.Term()
	if code := d.Wait(patience); code != 7 {
		t.Errorf("exit code %d after a pause, want 7", code)
	}
}

func TestProcessEndsWithTheTest(t *testing.T) {
	t.Parallel()
	for name, during := range map[string]func(*Daemon){
		"running": func(*Daemon) {},
		"paused":  (*Daemon).Pause,
	} {
		var d *Daemon
		r := record(t, func(t testing.TB) {
			d = shell(t, polite)
			during(d)
		})
		if r.Failed() || !d.run.exited() || d.run.state.ExitCode() != 7 {
			t.Errorf("%s: %v, %q, want a polite end", name, d.run.state, r.errors)
		}
	}
}

func TestProcessThatCrashedFailsTheTest(t *testing.T) {
	t.Parallel()
	body := func(c Command) func(t testing.TB) {
		c.Path, c.Args = "/bin/sh", []string{"-c", "echo; echo 'panic: what'"}
		return func(t testing.TB) { c.Start(t).Wait(patience) }
	}
	r := record(t, body(Command{}))
	wantText(t, strings.Join(r.errors, "\n"), "crashed", "panic: what")
	if r := record(t, body(Command{MayCrash: true})); r.Failed() {
		t.Errorf("failed with %q although it may crash", r.errors)
	}
}

func TestCrash(t *testing.T) {
	t.Parallel()
	for log, want := range map[string]string{
		"all is well\nlevel=info msg=\"panic: no\"\n":        "",
		"x\n==================\nWARNING: DATA RACE\nRead at": "WARNING: DATA RACE",
		"panic: index out of range\n\ngoroutine 1":           "panic: index out of range",
		"fatal error: all asleep - deadlock!\n":              "fatal error: all asleep - deadlock!",
		"2026/11/23 http: panic serving 127.0.0.1:9: oh\ng":  "2026/11/23 http: panic serving 127.0.0.1:9: oh",
	} {
		if got := crash(log); got != want {
			t.Errorf("crash(%q) = %q, want %q", log, got, want)
		}
	}
}

func TestWaitIsBounded(t *testing.T) {
	t.Parallel()
	r := record(t, func(t testing.TB) { shell(t, polite).Wait(pollStep) })
	wantText(t, r.fatal, "has not ended within")
}

// TestServicesDieWithTheTestBinary kills a copy of this test binary that holds one of everything.
func TestServicesDieWithTheTestBinary(t *testing.T) {
	t.Parallel()
	const hold = "SERVICES_TEST_HOLD"
	if os.Getenv(hold) != "" {
		postgres := Postgres(t)
		pids := append(childrenOf(postgres.Pid()), postgres.Pid(), Redis(t).Pid(), shell(t, polite).Pid())
		for _, pid := range pids {
			fmt.Println("pid", pid)
		}
		fmt.Println("all started")
		<-t.Context().Done()
		return
	}
	self, err := os.Executable()
	must(t, err)
	temporary := shortDir(t) // removed here, since the holder will not be able to
	must(t, os.Chmod(temporary, 0o755))
	holder := Process(t, self, []string{"-test.run=^" + t.Name() + "$", "-test.v"},
		[]string{hold + "=1", "TMPDIR=" + temporary})
	Eventually(t, 2*patience, func() error {
		if !strings.Contains(holder.Logs(), "all started") {
			return errors.New("the services have not started")
		}
		return nil
	})
	var pids []int
	for line := range strings.Lines(holder.Logs()) {
		var pid int
		if n, _ := fmt.Sscanf(line, "pid %d", &pid); n == 1 {
			pids = append(pids, pid)
		}
	}
	if len(pids) < 5 {
		t.Fatalf("the holder started only %v", pids)
	}
	holder.Kill()
	Eventually(t, patience, func() error {
		for _, pid := range pids {
			if alive(pid) {
				return fmt.Errorf("process %d outlives the test binary", pid)
			}
		}
		return nil
	})
}

func TestSpawnReportsWhatCannotRun(t *testing.T) {
	t.Parallel()
	r := record(t, func(t testing.TB) { Process(t, "/no/such/program", nil, nil) })
	wantText(t, r.fatal, "start program", "no such file")
}

func TestBuildForKeepsTheProgramForTheTest(t *testing.T) {
	t.Parallel()
	const pkg = "./deploy/services/testdata/hello"
	first, second := buildFor(t, pkg, []string{"-race=false"}), buildFor(t, pkg, []string{"-race=false"})
	if first == second {
		t.Error("two calls share a file")
	}
	out, err := exec.Command(first).Output()
	if err != nil || string(out) != "hello\n" {
		t.Errorf("it says %q, %v", out, err)
	}
}

func TestBuildForSaysWhyItFails(t *testing.T) {
	t.Parallel()
	r := record(t, func(t testing.TB) { buildFor(t, "./deploy/services/testdata/nothing", nil) })
	wantText(t, r.fatal, "go build", "testdata/nothing")
}

func TestKillEndsWhatIgnoresTerm(t *testing.T) {
	t.Parallel()
	run, err := spawn(program{
		name: "deaf",
		path: "/bin/sh",
		args: []string{"-c", "trap '' TERM; sleep 600 & wait"},
		log:  filepath.Join(t.TempDir(), "log"),
	})
	must(t, err)
	if err := run.kill(); err != nil || !run.exited() {
		t.Errorf("kill: %v, %v", err, run.state)
	}
	if status, ok := run.state.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Errorf("ended by %v, want SIGKILL", run.state)
	}
}
