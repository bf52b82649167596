package services

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestMissingFailsWhereNothingMayBeLeftOut(t *testing.T) {
	for name, c := range map[string]struct {
		ci, require string
		fails       bool
	}{
		"developer": {"", "", false},
		"CI":        {"true", "", true},
		"test.sh":   {"", "1", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("CI", c.ci)
			t.Setenv("RINGFENCE_REQUIRE_SERVICES", c.require)
			r := record(t, func(t testing.TB) { Tool(t, "no-such-program", "kamailio kamailio-utils-modules") })
			said, other := r.skip, r.fatal
			if c.fails {
				said, other = r.fatal, r.skip
			}
			wantText(t, said, "needs kamailio, kamailio-utils-modules", "apt-get install -y kamailio kamailio-utils-modules")
			if other != "" {
				t.Errorf("said too: %q", other)
			}
		})
	}
}

func TestToolFindsProgramsBesideThePath(t *testing.T) {
	dir := t.TempDir()
	tool := filepath.Join(dir, "some-tool")
	must(t, os.WriteFile(tool, []byte("#!/bin/sh\n"), 0o755))
	t.Setenv("PATH", dir)
	if got := Tool(t, "some-tool", "some-package"); got != tool {
		t.Errorf("Tool = %q, want %q", got, tool)
	}
	if got := Tool(t, "postgres", "postgresql"); !strings.HasPrefix(got, "/usr/lib/postgresql/") {
		t.Errorf("Tool found postgres at %q", got)
	}
}

func TestEventuallyReturnsAsSoonAsItHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start, calls := time.Now(), 0
		Eventually(t, time.Minute, func() error {
			if calls++; calls < 4 {
				return errors.New("not yet")
			}
			return nil
		})
		if took := time.Since(start); took != 3*pollStep {
			t.Errorf("took %v, want three steps of %v", took, pollStep)
		}
	})
}

func TestEventuallyGivesUpWithTheLastError(t *testing.T) {
	t.Parallel()
	calls := 0
	r := record(t, func(t testing.TB) {
		Eventually(t, 30*time.Millisecond, func() error {
			calls++
			return errors.New("still down")
		})
	})
	wantText(t, r.fatal, "not within 30ms", "still down")
	if calls < 2 {
		t.Errorf("checked %d times, want more than once", calls)
	}
}

func TestFreePortIsFreeAndReserved(t *testing.T) {
	t.Parallel()
	seen := make(map[int]bool)
	for range 200 {
		port := FreePort(t)
		if seen[port] {
			t.Fatalf("port %d twice", port)
		}
		seen[port] = true
		if _, ok := claimPort(port); ok {
			t.Fatalf("port %d is not reserved", port)
		}
	}
	for port := range seen {
		listener, err := net.Listen("tcp", loopback(port))
		must(t, err)
		must(t, listener.Close())
		break
	}
}

func TestFreePortIsGivenBackWithTheTest(t *testing.T) {
	t.Parallel()
	var port int
	record(t, func(t testing.TB) { port = FreePort(t) })
	release, ok := claimPort(port)
	if !ok {
		t.Fatalf("port %d is still reserved", port)
	}
	release()
}

func TestFreeSeesWhatListens(t *testing.T) {
	t.Parallel()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	defer udp.Close()
	for _, port := range []int{tcp.Addr().(*net.TCPAddr).Port, udp.LocalAddr().(*net.UDPAddr).Port} {
		if free(port) {
			t.Errorf("port %d is in use and counts as free", port)
		}
	}
}
