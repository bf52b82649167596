package services

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisServer is a private redis-server. It persists nothing unless made with [AppendOnly] or [AppendAlways]: what a
// Stop or Kill without them does to the data is what losing Redis does.
type RedisServer struct {
	Addr   string // "127.0.0.1:port"
	URL    string // "redis://127.0.0.1:port/0", with the password if there is one
	Port   int
	Socket string // path of the Unix socket, "" without [UnixSocket]
	Dir    string // configuration, data and log

	t        testing.TB
	settings redisSettings
	client   *redis.Client

	mu  sync.Mutex // serializes Start, Stop, Kill, Pause and Resume
	run *child
}

type redisSettings struct {
	program  string // executable
	args     []string
	lines    []string // of redis.conf
	password string
	socket   bool
}

// Option changes how a Redis server is configured.
type Option func(*redisSettings)

// Config adds a line to redis.conf: the directive and its arguments, as written there.
func Config(directive string, args ...string) Option {
	return func(s *redisSettings) {
		s.lines = append(s.lines, directive+" "+strings.Join(args, " "))
	}
}

// AppendOnly writes every change to the append-only file and syncs it once a second. A Stop loses nothing. A Kill
// may lose acknowledged writes of the last two seconds: while a sync is under way, Redis keeps what is to be written
// next in its own memory.
func AppendOnly() Option {
	return func(s *redisSettings) { s.lines = append(s.lines, "appendonly yes", "appendfsync everysec") }
}

// AppendAlways writes every change to the append-only file and syncs it before the answer: a Kill loses nothing that
// was acknowledged.
func AppendAlways() Option {
	return func(s *redisSettings) { s.lines = append(s.lines, "appendonly yes", "appendfsync always") }
}

// UnixSocket makes the server listen on [RedisServer.Socket] too.
func UnixSocket() Option { return func(s *redisSettings) { s.socket = true } }

// MaxMemory limits the data ("10mb"); when it is reached, writes are refused with OOM.
func MaxMemory(size string) Option {
	return func(s *redisSettings) {
		s.lines = append(s.lines, "maxmemory "+size, "maxmemory-policy noeviction")
	}
}

// Password makes the server ask for a password.
func Password(password string) Option { return func(s *redisSettings) { s.password = password } }

// Redis starts a private redis-server.
func Redis(t testing.TB, options ...Option) *RedisServer {
	t.Helper()
	s := newRedis(t, options...)
	s.mustStart()
	return s
}

// RedisReplica starts a replica of another server, and returns when it is in sync.
func RedisReplica(t testing.TB, of *RedisServer, options ...Option) *RedisServer {
	t.Helper()
	replicaOf := []Option{Config("replicaof", "127.0.0.1", strconv.Itoa(of.Port))}
	if of.settings.password != "" {
		replicaOf = append(replicaOf, Config("masterauth", strconv.Quote(of.settings.password)))
	}
	s := Redis(t, append(replicaOf, options...)...)
	Eventually(t, readyWithin, func() error { return s.infoHas("replication", "master_link_status:up") })
	return s
}

// newRedis prepares a server, and its end with the test, without starting it.
func newRedis(t testing.TB, options ...Option) *RedisServer {
	t.Helper()
	settings := redisSettings{program: Tool(t, "redis-server", "redis-server")}
	for _, option := range options {
		option(&settings)
	}
	port := FreePort(t)
	s := &RedisServer{
		t:        t,
		settings: settings,
		Port:     port,
		Addr:     loopback(port),
		Dir:      t.TempDir(),
	}
	address := url.URL{Scheme: "redis", Host: s.Addr, Path: "/0"}
	if settings.password != "" {
		address.User = url.UserPassword("", settings.password)
	}
	s.URL = address.String()
	if settings.socket {
		s.Socket = filepath.Join(shortDir(t), "redis.sock")
	}
	if err := os.WriteFile(s.configFile(), []byte(s.config()), 0o600); err != nil {
		t.Fatal(err)
	}
	s.client = redis.NewClient(&redis.Options{
		Addr:                  s.Addr,
		Password:              settings.password,
		MaxRetries:            -1, // the caller decides what a failure means
		DialerRetries:         1,
		ContextTimeoutEnabled: true,
	})
	t.Cleanup(s.end)
	return s
}

// shortDir is a temporary directory whose name is short enough for a Unix socket in it (107 bytes), unlike those that
// carry the test's name.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (s *RedisServer) configFile() string { return filepath.Join(s.Dir, "redis.conf") }

func (s *RedisServer) logFile() string { return filepath.Join(s.Dir, "redis.log") }

// config is the server's redis.conf. What the options say comes last and wins.
func (s *RedisServer) config() string {
	lines := []string{
		"bind 127.0.0.1",
		"port " + strconv.Itoa(s.Port),
		"dir " + strconv.Quote(s.Dir),
		"daemonize no",
		"supervised no",
		`save ""`,
	}
	if s.Socket != "" {
		lines = append(lines, "unixsocket "+strconv.Quote(s.Socket), "unixsocketperm 600")
	}
	if s.settings.password != "" {
		lines = append(lines, "requirepass "+strconv.Quote(s.settings.password))
	}
	if len(s.settings.args) == 0 { // a Sentinel knows none of these
		lines = append(lines,
			"appendonly no",
			"enable-debug-command local",    // DEBUG SLEEP and the like, for tests of slowness
			"repl-diskless-sync-delay 0",    // the default waits 5 s for further replicas
			"shutdown-timeout 0",            // a Stop does not wait for replicas
			"replica-announce-ip 127.0.0.1", // not what the connection's route suggests
		)
	}
	return strings.Join(append(lines, s.settings.lines...), "\n") + "\n"
}

// Client returns a client of this server, closed when the test ends. It does not retry.
func (s *RedisServer) Client() *redis.Client { return s.client }

// Pid returns the process id of the server's present or last run.
func (s *RedisServer) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.run.process.Pid
}

// Start starts the server again after Stop or Kill, on the same port and data directory, and returns when it answers
// and has loaded its data.
func (s *RedisServer) Start() { s.report(s.start()) }

// Stop shuts the server down with SIGTERM: it syncs its append-only file if it has one, and answers nobody any more.
func (s *RedisServer) Stop() {
	s.report(s.withRun(func(run *child) error { return run.stop(syscall.SIGTERM) }))
}

// Kill ends the server with SIGKILL.
func (s *RedisServer) Kill() { s.report(s.withRun((*child).kill)) }

// Pause stops the server with SIGSTOP: connections stay open and nothing answers.
func (s *RedisServer) Pause() { s.report(s.withRun((*child).pause)) }

// Resume lets a paused server go on.
func (s *RedisServer) Resume() {
	s.report(s.withRun(func(run *child) error { return run.signal(syscall.SIGCONT) }))
}

func (s *RedisServer) withRun(do func(*child) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return do(s.run)
}

func (s *RedisServer) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run != nil && !s.run.exited() {
		return fmt.Errorf("start %s: it runs already", s.run.name)
	}
	run, err := spawn(program{
		name: "redis-server " + s.Addr,
		path: s.settings.program,
		args: append([]string{s.configFile()}, s.settings.args...),
		dir:  s.Dir,
		log:  s.logFile(),
	})
	if err != nil {
		return err
	}
	s.run = run
	return run.waitReady(s.ready)
}

// ready tells whether the server answers and has its data. The port is tried first, since the client logs each dial
// that is refused.
func (s *RedisServer) ready() error {
	connection, err := net.DialTimeout("tcp", s.Addr, time.Second)
	if err != nil {
		return err
	}
	_ = connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return s.client.Ping(ctx).Err()
}

// mustStart starts the server or ends the test.
func (s *RedisServer) mustStart() {
	s.t.Helper()
	if err := s.start(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *RedisServer) report(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Error(err)
	}
}

// end is the server's part of the test's end.
func (s *RedisServer) end() {
	s.t.Helper()
	_ = s.client.Close() // only fails when closed before
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		return
	}
	s.report(s.run.kill()) // nothing that it could still save is wanted
	if s.t.Failed() {
		s.t.Logf("log of %s:\n%s", s.run.name, s.run.logTail(40))
	}
}

// infoHas returns an error unless a section of INFO has the line.
func (s *RedisServer) infoHas(section, line string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	text, err := s.client.Info(ctx, section).Result()
	if err != nil {
		return err
	}
	for got := range strings.Lines(text) {
		if strings.TrimSpace(got) == line {
			return nil
		}
	}
	return fmt.Errorf("%s: INFO %s has no %q:\n%s", s.Addr, section, line, text)
}
