package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// try loads a file of the given text, with the environment and flags given, on
// a machine called testhost.
func try(t testing.TB, text string, flags map[string]any, environ ...string) (*Config, error) {
	t.Helper()
	path := ""
	if text != "" {
		path = write(t, "ringfence.yaml", text, 0o600)
	}
	l := loader{hostname: func() (string, error) { return "testhost", nil }}
	return l.load(path, environ, flags)
}

// must is try where nothing may be wrong.
func must(t testing.TB, text string, flags map[string]any, environ ...string) *Config {
	t.Helper()
	c, err := try(t, text, flags, environ...)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return c
}

func write(t testing.TB, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return path
}

// wantProblem checks that err holds exactly one problem, of the field, and that
// it says what is wrong and what to do.
func wantProblem(t *testing.T, err error, field, problem, remedy string) *Error {
	t.Helper()
	all := Problems(err)
	if len(all) != 1 {
		t.Fatalf("got %d problems, want one of %s:\n%v", len(all), field, err)
	}
	e := all[0]
	if e.Field != field || !strings.Contains(e.Problem, problem) || !strings.Contains(e.Remedy, remedy) || e.Remedy == "" {
		t.Errorf("got  %s\nwant field %q, problem %q, remedy %q", e, field, problem, remedy)
	}
	var as *Error
	if !errors.As(err, &as) {
		t.Error("errors.As finds no *Error")
	}
	return e
}
