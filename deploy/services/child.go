package services

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	// readyWithin bounds every wait for a server to come up. It is generous because CI shares two cores among
	// several test binaries; a server that exits early is noticed at once.
	readyWithin = 30 * time.Second
	// stopWithin bounds a polite stop, after which the process is killed.
	stopWithin = 15 * time.Second
	// pollStep is the pause between two looks at something that sends no event.
	pollStep = 5 * time.Millisecond
)

var errExited = errors.New("exited")

// program is what child runs.
type program struct {
	name string // for messages, such as "redis-server 127.0.0.1:20001"
	path string
	args []string
	env  []string // whole environment; nil means the test's own
	dir  string
	log  string // file that standard output and error are appended to
	// deathSignal is sent by the kernel when the test binary dies. SIGKILL if 0; a server with children of its own
	// wants the signal on which it ends them too.
	deathSignal syscall.Signal
	credential  *syscall.Credential // user to run as; nil means the test's own
}

// child is one run of a program, from fork to exit.
type child struct {
	program
	process *os.Process
	done    chan struct{} // closed when the process has been waited for
	state   *os.ProcessState
}

// spawn starts p in a process group of its own, so that an interrupt typed at the terminal reaches the test binary
// alone, and the binary's end takes the child along.
func spawn(p program) (*child, error) {
	logFile, err := os.OpenFile(p.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	defer logFile.Close()
	if p.deathSignal == 0 {
		p.deathSignal = syscall.SIGKILL
	}

	cmd := exec.Command(p.path, p.args...)
	cmd.Env, cmd.Dir = p.env, p.dir
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = childAttributes(p.deathSignal, p.credential)

	c := &child{program: p, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The death signal fires when the forking thread ends. Locked, the thread lives until this goroutine
		// has seen the child's exit.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		c.process = cmd.Process
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // a failure of the child is in ProcessState
		c.state = cmd.ProcessState
		close(c.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	return c, nil
}

// exited tells whether the process has ended and been waited for.
func (c *child) exited() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// waitReady calls ready until it returns nil, the process exits, or readyWithin has passed.
func (c *child) waitReady(ready func() error) error {
	deadline := time.Now().Add(readyWithin)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %v: %w", c.name, readyWithin, err)
		}
		if c.waitExit(pollStep) {
			return fmt.Errorf("%s %w before it was ready: %v\n%s", c.name, errExited, c.state, c.logTail(20))
		}
	}
}

// waitExit waits at most d for the process to end and tells whether it has.
func (c *child) waitExit(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.done:
		return true
	case <-timer.C:
		return c.exited()
	}
}

// signal sends sig to the process alone. A process that has ended is no error.
func (c *child) signal(sig syscall.Signal) error {
	if err := c.process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v to %s: %w", sig, c.name, err)
	}
	return nil
}

// kill ends the process and the rest of its group with SIGKILL and waits for it to be gone.
func (c *child) kill() error {
	if c.exited() {
		return nil
	}
	if err := syscall.Kill(-c.process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill %s: %w", c.name, err)
	}
	if !c.waitExit(stopWithin) {
		return fmt.Errorf("%s is still there %v after SIGKILL", c.name, stopWithin)
	}
	return nil
}

// stop ends the process politely with sig, and when that takes too long with SIGKILL, which is an error.
func (c *child) stop(sig syscall.Signal) error {
	if c.exited() {
		return nil
	}
	if err := c.signal(sig); err != nil {
		return err
	}
	if err := c.signal(syscall.SIGCONT); err != nil { // a stopped process handles nothing
		return err
	}
	if c.waitExit(stopWithin) {
		return nil
	}
	if err := c.kill(); err != nil {
		return err
	}
	return fmt.Errorf("%s ignored %v for %v and was killed", c.name, sig, stopWithin)
}

// pause stops the process with SIGSTOP and waits until it has stopped.
func (c *child) pause() error {
	if err := c.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	deadline := time.Now().Add(stopWithin)
	for !stopped(c.process.Pid) {
		if c.waitExit(pollStep) {
			return fmt.Errorf("pause %s: it %w", c.name, errExited)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("pause %s: still running after %v", c.name, stopWithin)
		}
	}
	return nil
}

// logTail returns the last lines of the log.
func (c *child) logTail(lines int) string { return tail(c.log, lines) }

// tail returns the last lines of a text file, or why there are none.
func tail(path string, lines int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	if len(all) > lines {
		before := len(all) - lines
		all = all[before-1:]
		all[0] = fmt.Sprintf("... %d lines of %s before", before, filepath.Base(path))
	}
	return strings.Join(all, "\n")
}
