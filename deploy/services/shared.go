package services

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

// Runner runs the tests of a package and then ends what they shared. It has the one method that goleak wants of a
// *testing.M.
type Runner struct{ m *testing.M }

// Main is for the TestMain of a package whose tests use [SharedDatabase]:
//
//	func TestMain(m *testing.M) { os.Exit(services.Main(m).Run()) }
//
// or, to look for leaked goroutines too:
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(services.Main(m)) }
func Main(m *testing.M) Runner {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	shared.open = true
	return Runner{m}
}

// Run runs the tests and returns the exit code.
func (r Runner) Run() int {
	code := r.m.Run()
	if err := shared.close(); err != nil {
		fmt.Println("end the shared Postgres:", err)
		return max(code, 1)
	}
	return code
}

// shared is the Postgres server that all tests of a binary share, started for the first of them.
var shared sharedPostgres

type sharedPostgres struct {
	mu      sync.Mutex
	open    bool // Main has been called and Run has not returned
	server  *postgres
	release func() // gives the port back
	failed  error  // why there is no server; not tried again
	serial  int
}

var errNoMain = errors.New("SharedDatabase needs services.Main in TestMain, to end the server that it starts")

// SharedDatabase returns the URL of an empty database on a server that all tests of the package share, dropped when
// the test ends. The first use starts the server, which [Main] ends.
func SharedDatabase(t testing.TB) string {
	t.Helper()
	binary := Tool(t, "postgres", postgresPackages)
	server, name, err := shared.next(binary)
	if err == nil {
		err = server.tool("createdb", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.tool("dropdb", "--force", name); err != nil {
			t.Error(err)
		}
	})
	return server.url(name)
}

// next starts the server if need be and returns a name for a new database.
func (s *sharedPostgres) next(binary string) (*postgres, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open {
		return nil, "", errNoMain
	}
	if s.server == nil && s.failed == nil {
		s.failed = s.start(binary)
	}
	s.serial++
	return s.server, fmt.Sprintf("shared_%d", s.serial), s.failed
}

func (s *sharedPostgres) start(binary string) error {
	port, release, err := reservePort()
	if err != nil {
		return err
	}
	s.release = release
	if s.server, err = newPostgres(binary, port, nil); err != nil {
		return err
	}
	if err := s.server.create(); err != nil {
		return err
	}
	return s.server.start()
}

func (s *sharedPostgres) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = false
	var err error
	if s.server != nil {
		err = s.server.remove()
		s.server = nil
	}
	if s.release != nil {
		s.release()
		s.release = nil
	}
	return err
}
