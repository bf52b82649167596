package services

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Command is a program to run beside a test.
type Command struct {
	Path string
	Args []string // without the program's name
	// Env is added to the test's environment, of which no RINGFENCE_ variable is passed on.
	Env []string
	Dir string // working directory; a temporary one if ""
	// DeathSignal is sent when the test binary dies; SIGKILL if 0. A program that forks (Kamailio) wants the signal
	// on which it ends its children too.
	DeathSignal syscall.Signal
	// MayCrash turns off the search of the log for panics and data races when the test ends.
	MayCrash bool
}

// Daemon is a running [Command].
type Daemon struct {
	t   testing.TB
	run *child
}

// Process runs a program beside the test: Command{Path: path, Args: args, Env: env}.Start(t).
func Process(t testing.TB, path string, args, env []string) *Daemon {
	t.Helper()
	return Command{Path: path, Args: args, Env: env}.Start(t)
}

// Start runs the program. Standard output and error go to one log file of its own. When the test ends, the process
// gets SIGTERM, then SIGKILL (with its whole process group) if it does not end; the log is shown if the test failed,
// and the test fails if the log tells of a data race or a panic.
func (c Command) Start(t testing.TB) *Daemon {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	run, err := spawn(program{
		name:        filepath.Base(c.Path),
		path:        c.Path,
		args:        c.Args,
		env:         append(withoutSettings(os.Environ()), c.Env...),
		dir:         c.Dir,
		log:         filepath.Join(t.TempDir(), "log"),
		deathSignal: c.DeathSignal,
	})
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{t: t, run: run}
	t.Cleanup(func() { d.end(c.MayCrash) })
	return d
}

// withoutSettings drops what would configure the project's own binary.
func withoutSettings(environment []string) []string {
	var kept []string
	for _, variable := range environment {
		if !strings.HasPrefix(variable, "RINGFENCE_") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// Pid returns the process id.
func (d *Daemon) Pid() int { return d.run.process.Pid }

// Done is closed when the process has ended.
func (d *Daemon) Done() <-chan struct{} { return d.run.done }

// Kill ends the process and its process group with SIGKILL and waits for its end.
func (d *Daemon) Kill() { d.report(d.run.kill()) }

// Term sends SIGTERM and does not wait: see Wait.
func (d *Daemon) Term() { d.Signal(syscall.SIGTERM) }

// Signal sends a signal. A process that has ended gets none, which is no error.
func (d *Daemon) Signal(sig syscall.Signal) { d.report(d.run.signal(sig)) }

// Pause stops the process with SIGSTOP.
func (d *Daemon) Pause() { d.report(d.run.pause()) }

// Resume lets a paused process go on.
func (d *Daemon) Resume() { d.Signal(syscall.SIGCONT) }

// Wait waits for the process to end and returns its exit code, -1 if a signal ended it. After timeout the test ends.
func (d *Daemon) Wait(timeout time.Duration) int {
	d.t.Helper()
	if !d.run.waitExit(timeout) {
		d.t.Fatalf("%s has not ended within %v", d.run.name, timeout)
	}
	return d.run.state.ExitCode()
}

// Logs returns what the process has written to standard output and error so far.
func (d *Daemon) Logs() string {
	text, err := os.ReadFile(d.run.log)
	d.report(err)
	return string(text)
}

func (d *Daemon) report(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Error(err)
	}
}

func (d *Daemon) end(mayCrash bool) {
	d.t.Helper()
	d.report(d.run.stop(syscall.SIGTERM))
	if !mayCrash {
		if line := crash(d.Logs()); line != "" {
			d.t.Errorf("%s crashed: %s", d.run.name, line)
		}
	}
	if d.t.Failed() {
		d.t.Logf("log of %s (%v):\n%s", d.run.name, d.run.state, d.run.logTail(200))
	}
}

// crash returns the line of a Go program's log that tells of a data race or a panic, or "".
func crash(log string) string {
	for line := range strings.Lines(log) {
		for _, sign := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
			if strings.HasPrefix(line, sign) {
				return strings.TrimSpace(line)
			}
		}
		if strings.Contains(line, "http: panic serving") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// String names the process in messages.
func (d *Daemon) String() string { return fmt.Sprintf("%s (pid %d)", d.run.name, d.Pid()) }
