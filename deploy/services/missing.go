package services

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Missing ends the test because something that it needs is not installed. With CI=true or
// RINGFENCE_REQUIRE_SERVICES=1 the test fails, so that no gap goes unnoticed there; otherwise it is skipped. The
// message names the command that installs what is missing: what holds Debian package names, separated by spaces.
func Missing(t testing.TB, what string) {
	t.Helper()
	message := missingMessage(what)
	if required() {
		t.Fatal(message)
	}
	t.Skip(message)
}

// missingMessage says what to do about missing Debian packages.
func missingMessage(packages string) string {
	return fmt.Sprintf("needs %s; install with: %sapt-get install -y %s (deploy/install.sh installs all that tests need)",
		strings.Join(strings.Fields(packages), ", "), sudo(), packages)
}

// sudo is what goes before a command for root.
func sudo() string {
	if os.Geteuid() == 0 {
		return ""
	}
	return "sudo "
}

// required tells whether a missing service fails the test.
func required() bool {
	return os.Getenv("CI") == "true" || os.Getenv("RINGFENCE_REQUIRE_SERVICES") == "1"
}

// Tool returns the path of a program, or ends the test as [Missing] does if it is not installed. debianPackages
// names what to install for it. Programs of the administrator (in /usr/sbin) and of Postgres are found although they
// are on nobody's PATH.
func Tool(t testing.TB, program, debianPackages string) string {
	t.Helper()
	path, ok := lookUp(program)
	if !ok {
		Missing(t, debianPackages)
	}
	return path
}

// lookUp finds a program on the PATH or where Debian keeps programs that are not on it.
func lookUp(program string) (string, bool) {
	if path, err := exec.LookPath(program); err == nil {
		return path, true
	}
	for _, pattern := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/lib/postgresql/*/bin"} {
		found, _ := filepath.Glob(filepath.Join(pattern, program)) // the pattern is well-formed
		for i := len(found) - 1; i >= 0; i-- {                     // the highest version sorts last
			if path, err := exec.LookPath(found[i]); err == nil {
				return path, true
			}
		}
	}
	return "", false
}
