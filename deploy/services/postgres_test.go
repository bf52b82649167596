package services

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// psql runs a file of testdata and returns what it prints, unaligned.
func psql(t *testing.T, database, file string) string {
	t.Helper()
	path := Tool(t, "psql", "postgresql-client")
	args := []string{"-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", "testdata/" + file}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("psql %s: %v: %s", file, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestPostgresKeepsItsDataOnItsPort(t *testing.T) {
	t.Parallel()
	s := Postgres(t, "max_connections=17")
	database := s.NewDatabase(t)
	if got, want := psql(t, database, "settings.sql"), "on\n17"; got != want {
		t.Errorf("fsync and max_connections = %q, want %q", got, want)
	}
	psql(t, database, "write.sql")
	if other := s.NewDatabase(t); other == database {
		t.Error("the second database is the first")
	} else {
		psql(t, other, "write.sql") // nothing of the first is in it
	}
	for name, down := range map[string]func(){"killed": s.Kill, "stopped": s.Stop, "killed again": s.Kill} {
		pid := s.Pid()
		down()
		if alive(pid) {
			t.Errorf("%s: process %d is still there", name, pid)
		}
		if !free(s.Port) {
			t.Errorf("%s: port %d is not free", name, s.Port)
		}
		s.Start()
		if got, want := psql(t, database, "read.sql"), "pi:1|30000000"; got != want {
			t.Errorf("%s: read %q, want %q", name, got, want)
		}
	}
}

func TestPostgresLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]func(*PostgresServer){
		"running": func(*PostgresServer) {},
		"stopped": (*PostgresServer).Stop,
		"killed":  (*PostgresServer).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var dir string
			var pids []int
			r := record(t, func(t testing.TB) {
				s := Postgres(t)
				dir = s.Dir
				pids = append(childrenOf(s.Pid()), s.Pid())
				last(s)
			})
			if r.Failed() {
				t.Fatal(r.fatal, r.errors)
			}
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v, want it gone", dir, err)
			}
			for _, pid := range pids {
				if alive(pid) {
					t.Errorf("process %d is still there", pid)
				}
			}
		})
	}
}

func TestPostgresSaysWhyItDoesNotStart(t *testing.T) {
	t.Parallel()
	r := record(t, func(t testing.TB) { Postgres(t, "no_such_setting=1") })
	wantText(t, r.fatal, "exited before it was ready", "no_such_setting")
}

func TestSharedDatabasesAreApart(t *testing.T) {
	t.Parallel()
	urls := make(map[string]bool)
	for range 2 {
		t.Run("", func(t *testing.T) {
			url := SharedDatabase(t)
			if urls[url] {
				t.Errorf("%s twice", url)
			}
			urls[url] = true
			psql(t, url, "write.sql")
		})
	}
}

func TestSharedDatabaseAsksForMain(t *testing.T) {
	t.Parallel()
	_, _, err := new(sharedPostgres).next("/usr/bin/false")
	if !errors.Is(err, errNoMain) {
		t.Errorf("without Main: %v, want %v", err, errNoMain)
	}
}
