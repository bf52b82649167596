package services

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// PostgresServer is a private Postgres with its own data directory and, by default, every guarantee of durability
// on (fsync, synchronous commit).
type PostgresServer struct {
	Addr string // "127.0.0.1:port"
	Port int
	Dir  string // data directory and log, owned by the user that the server runs as

	t      testing.TB
	core   *postgres
	serial atomic.Int64 // numbers the databases
}

const (
	postgresPackages = "postgresql"
	postgresRole     = "ringfence" // superuser, trusted from 127.0.0.1
)

// Postgres starts a private server, of the highest version installed. Settings are of the form "name=value", as in
// postgresql.conf ("max_connections=20"). It takes about a second, most of it to make the data directory; a test that
// does not stop the server can share one: [SharedDatabase].
func Postgres(t testing.TB, settings ...string) *PostgresServer {
	t.Helper()
	core, err := newPostgres(Tool(t, "postgres", postgresPackages), FreePort(t), settings)
	if err != nil {
		t.Fatal(err)
	}
	s := &PostgresServer{Addr: loopback(core.port), Port: core.port, Dir: core.dir, t: t, core: core}
	t.Cleanup(s.end)
	if err := core.create(); err != nil {
		t.Fatal(err)
	}
	if err := core.start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// NewDatabase creates an empty database and returns its URL.
func (s *PostgresServer) NewDatabase(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", s.serial.Add(1))
	if err := s.core.tool("createdb", name); err != nil {
		t.Fatal(err)
	}
	return s.core.url(name)
}

// Pid returns the process id of the postmaster's present or last run.
func (s *PostgresServer) Pid() int {
	s.core.mu.Lock()
	defer s.core.mu.Unlock()
	return s.core.run.process.Pid
}

// Start starts the server again after Stop or Kill, on the same port and data directory, and returns when it has
// recovered and takes connections.
func (s *PostgresServer) Start() { s.report(s.core.start()) }

// Stop shuts the server down fast: open transactions are rolled back, connections closed, all data flushed.
func (s *PostgresServer) Stop() { s.report(s.core.stop()) }

// Kill ends every process of the server with SIGKILL: as when the machine goes down, except that the kernel keeps
// what was written.
func (s *PostgresServer) Kill() { s.report(s.core.kill()) }

func (s *PostgresServer) report(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Error(err)
	}
}

func (s *PostgresServer) end() {
	s.t.Helper()
	if s.t.Failed() {
		s.t.Logf("log of postgres %s:\n%s", s.Addr, tail(s.core.logFile(), 60))
	}
	s.report(s.core.remove())
}

// postgres is a server without a test to report to.
type postgres struct {
	port       int
	dir        string
	binary     string // path of postgres; its other programs lie beside it
	settings   []string
	credential *syscall.Credential

	mu  sync.Mutex // serializes start, stop and kill
	run *child
}

// newPostgres makes the directory of a server, owned by the user that it will run as: Postgres refuses to run as
// root. The directory is not the test's own, which no other user may enter.
func newPostgres(binary string, port int, settings []string) (*postgres, error) {
	binary, err := filepath.EvalSymlinks(binary)
	if err != nil {
		return nil, fmt.Errorf("find postgres: %w", err)
	}
	p := &postgres{port: port, binary: binary, settings: settings}
	if p.dir, err = os.MkdirTemp("", "ringfence-postgres-"); err != nil {
		return nil, fmt.Errorf("make the directory of postgres: %w", err)
	}
	if os.Geteuid() != 0 {
		return p, nil
	}
	if p.credential, err = unprivileged(); err == nil {
		err = os.Chown(p.dir, int(p.credential.Uid), int(p.credential.Gid))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("hand the directory of postgres over: %w", err), os.RemoveAll(p.dir))
	}
	return p, nil
}

// unprivileged is the user that Postgres runs as when the test runs as root.
func unprivileged() (*syscall.Credential, error) {
	account, err := user.Lookup("postgres")
	if err != nil {
		account, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, fmt.Errorf("find a user for postgres: %w", err)
	}
	uid, errUID := strconv.ParseUint(account.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(account.Gid, 10, 32)
	if err := errors.Join(errUID, errGID); err != nil {
		return nil, fmt.Errorf("read the ids of user %s: %w", account.Username, err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func (p *postgres) data() string { return filepath.Join(p.dir, "data") }

func (p *postgres) logFile() string { return filepath.Join(p.dir, "postgres.log") }

func (p *postgres) url(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(postgresRole), Host: loopback(p.port), Path: "/" + database,
		RawQuery: "sslmode=disable"}
	return u.String()
}

// environment is the test's own, without variables that would steer Postgres' programs elsewhere.
func environment() []string {
	var kept []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "PG") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// command prepares one of Postgres' programs to run as the server's user.
func (p *postgres) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(filepath.Dir(p.binary), name), args...)
	cmd.Env, cmd.Dir = environment(), p.dir
	cmd.SysProcAttr = childAttributes(0, p.credential)
	return cmd
}

// tool runs one of Postgres' client programs against the server.
func (p *postgres) tool(name string, args ...string) error {
	connection := []string{"-h", "127.0.0.1", "-p", strconv.Itoa(p.port), "-U", postgresRole}
	if out, err := p.command(name, append(connection, args...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
	}
	return nil
}

// create makes the data directory. Only this step does without syncing: it repeats if it is lost.
func (p *postgres) create() error {
	out, err := p.command("initdb", "--pgdata="+p.data(), "--username="+postgresRole, "--auth=trust",
		"--encoding=UTF8", "--locale=C.UTF-8", "--no-sync").CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

func (p *postgres) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run != nil && !p.run.exited() {
		return fmt.Errorf("start %s: it runs already", p.run.name)
	}
	args := []string{
		"-D", p.data(),
		"-p", strconv.Itoa(p.port),
		"-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories=",
		"-c", "dynamic_shared_memory_type=mmap", // in the data directory, so that it goes with it
	}
	for _, setting := range p.settings {
		args = append(args, "-c", setting)
	}
	run, err := spawn(program{
		name:        "postgres " + loopback(p.port),
		path:        p.binary,
		args:        args,
		env:         environment(),
		dir:         p.dir,
		log:         p.logFile(),
		deathSignal: syscall.SIGQUIT, // "immediate shutdown": ends the children and frees the shared memory
		credential:  p.credential,
	})
	if err != nil {
		return err
	}
	p.run = run
	return run.waitReady(p.ready)
}

// ready reads postmaster.pid as pg_ctl does: line 1 is the postmaster's pid, line 8 its state.
func (p *postgres) ready() error {
	lines, err := p.pidFile()
	if err != nil {
		return err
	}
	if len(lines) < 8 || lines[0] != strconv.Itoa(p.run.process.Pid) || strings.TrimSpace(lines[7]) != "ready" {
		return fmt.Errorf("postmaster.pid says %q", lines)
	}
	return nil
}

func (p *postgres) pidFile() ([]string, error) {
	text, err := os.ReadFile(filepath.Join(p.data(), "postmaster.pid"))
	if err != nil {
		return nil, err
	}
	return strings.Split(string(text), "\n"), nil
}

func (p *postgres) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.run.stop(syscall.SIGINT)
}

func (p *postgres) kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run.exited() {
		return nil
	}
	// Stopped first, the postmaster cannot fork anew while its children are counted. They lead sessions of their
	// own, so the postmaster's process group does not have them.
	if err := p.run.pause(); err != nil {
		return err
	}
	children := childrenOf(p.run.process.Pid)
	if err := p.run.kill(); err != nil {
		return err
	}
	deadline := time.Now().Add(stopWithin)
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it ends by itself when it notices that the postmaster is gone
		for alive(pid) {
			if time.Now().After(deadline) {
				return fmt.Errorf("process %d of %s is still there %v after SIGKILL", pid, p.run.name, stopWithin)
			}
			time.Sleep(pollStep)
		}
	}
	return nil
}

// remove ends the server and removes its directory.
func (p *postgres) remove() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var failures []error
	if p.run != nil {
		failures = append(failures, p.run.stop(syscall.SIGQUIT)) // nothing needs flushing any more
	}
	if lines, err := p.pidFile(); err == nil && len(lines) > 6 { // killed and not started again
		freeSharedMemory(lines[6])
	}
	return errors.Join(append(failures, os.RemoveAll(p.dir))...)
}
