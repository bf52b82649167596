package services

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Binary builds the project's program, ./cmd/ringfence, with the race detector and returns its path, which is valid
// for as long as the test runs. Flags for "go build" may be given: Binary(t, "-race=false") is for measurements. A
// test binary builds once for each set of flags; where nothing has changed since another one built, that is quick.
func Binary(t testing.TB, buildFlags ...string) string {
	t.Helper()
	return buildFor(t, "./cmd/ringfence", buildFlags)
}

// built remembers the outcome of each build of this test binary.
var built = struct {
	sync.Mutex
	outcomes map[string]func() (string, error)
}{outcomes: make(map[string]func() (string, error))}

// buildFor builds a package of this module once and links the program into a directory of the test.
func buildFor(t testing.TB, pkg string, flags []string) string {
	t.Helper()
	flags = append([]string{"-race"}, flags...)
	key := pkg + " " + strings.Join(flags, " ")
	built.Lock()
	outcome, ok := built.outcomes[key]
	if !ok {
		outcome = sync.OnceValues(func() (string, error) { return build(pkg, flags) })
		built.outcomes[key] = outcome
	}
	built.Unlock()

	cached, err := outcome()
	if err != nil {
		t.Fatal(err)
	}
	// The cached file may be replaced by a later build, and is nobody's to remove; a link of the test's own keeps
	// what was built.
	path := filepath.Join(t.TempDir(), filepath.Base(pkg))
	if err := linkOrCopy(cached, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// build builds a package and returns the program's path, the same one for each test binary of this module: go build
// leaves a file that is up to date alone, which saves the seconds that linking takes.
func build(pkg string, flags []string) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	dir, err := buildDir(root)
	if err != nil {
		return "", err
	}
	name := filepath.Base(pkg)
	for _, flag := range flags {
		name += "_" + strings.Trim(flag, "-")
	}
	path := filepath.Join(dir, strings.ReplaceAll(name, string(filepath.Separator), "_"))

	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", pkg, err)
	}
	defer lock.Close() // unlocks
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("build %s: wait for another build: %w", pkg, err)
	}
	args := append([]string{"build", "-buildvcs=false", "-o", path}, flags...)
	cmd := exec.Command("go", append(args, pkg)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return path, nil
}

// moduleRoot is the directory of go.mod.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	gomod := strings.TrimSpace(string(out))
	if gomod == "" || gomod == os.DevNull {
		return "", errors.New("the test does not run inside the module")
	}
	return filepath.Dir(gomod), nil
}

// buildDir is a directory of this user and this checkout for built programs.
func buildDir(root string) (string, error) {
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOCACHE: %w", err)
	}
	checkout := strings.ReplaceAll(root, string(filepath.Separator), "_")
	dir := filepath.Join(strings.TrimSpace(string(cache)), "ringfence-test", checkout)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the build directory: %w", err)
	}
	return dir, nil
}

// linkOrCopy makes a file available under a second name, on whichever file system that is.
func linkOrCopy(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o700)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return errors.Join(err, out.Close())
	}
	return out.Close()
}
