package house

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// root is the repository's first folder.
func root(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}

func TestHouse(t *testing.T) {
	t.Parallel()
	found, err := violations(os.DirFS(root(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, violation := range found {
		t.Error(violation)
	}
}

// TestNothingIsOverlooked compares the folders that the rules were applied to with the go command's own list.
func TestNothingIsOverlooked(t *testing.T) {
	t.Parallel()
	dir := root(t)
	cmd := exec.Command("go", "list", "-e", "-f", "{{.ImportPath}}", "./...")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	h := &house{}
	if err := h.read(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		pkg = strings.TrimPrefix(strings.TrimPrefix(pkg, module), "/")
		if !slices.ContainsFunc(h.files, func(f file) bool { return f.pkg == pkg }) {
			t.Errorf("package %q was not looked at", pkg)
		}
	}
}

// TestViolationsAreFound breaks each rule, in a small house that is in order otherwise.
func TestViolationsAreFound(t *testing.T) {
	t.Parallel()
	const (
		ours  = module + "/"
		sleep = "time.Sleep in a test: wait for the event, poll with services.Eventually, or use synctest"
	)
	imports := func(paths ...string) string {
		source := "// Package x is documented.\npackage x\n"
		for _, path := range paths {
			source += "import _ \"" + path + "\"\n"
		}
		return source
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"in order": {map[string]string{
			"README.md": "", "LICENSE": "", ".ci/run": "", "ringfence": "ignored",
			"authz/tariff/x.go":           imports(ours + "authz/credit"),
			"authz/x.go":                  imports(ours+"authz/credit", ours+"authz/tariff", "fmt"),
			"authz/hook/x.go":             imports(ours + "authz"),
			"authz/hook/kamailio/x.go":    imports(ours+"authz/hook", ours+"authz/credit"),
			"authz/hook/hooktest/x.go":    imports(ours + "authz/hook"),
			"meter/x_test.go":             imports(ours+"deploy/services", ours+"sync/ledger/ledgertest", ours+"authz"),
			"meter/x.go":                  imports(ours + "authz/tariff"),
			"meter/latest/x.go":           imports(),
			"meter/y.go":                  imports(ours + "meter/latest"), // no test helper for all its name
			"sync/ledger/x.go":            imports(ours + "authz"),
			"sync/ledger/postgres/x.go":   imports(ours+"sync/ledger", "github.com/jackc/pgx/v5/pgxpool"),
			"sync/ledger/sqlite/x.go":     imports("modernc.org/sqlite"),
			"sync/stripe/stripefake/x.go": imports("github.com/stripe/stripe-go/v76"),
			"sync/outbox/x.go":            imports(ours + "sync/ledger"),
			"deploy/services/x.go":        imports("testing"),
			"cmd/internal/app/x.go":       imports(ours+"config", ours+"meter", ours+"sync/stripe/stripefake"),
			"cmd/ringfence/x.go":          imports(ours + "cmd/internal/app"),
		}, nil},
		"top level": {map[string]string{"pkg/x.go": imports(), "notes.txt": ""}, []string{
			"notes.txt: does not belong at the top level",
			"pkg/x.go: is in no room of the house",
			"pkg: does not belong at the top level",
		}},
		"Go at the top": {map[string]string{"x.go": imports()}, []string{
			"x.go: does not belong at the top level",
			"x.go: is in no room of the house",
		}},
		"Go in sync": {map[string]string{"sync/x.go": imports()}, []string{
			"sync/x.go: is in no room of the house",
			"sync/x.go: sync has no Go file of its own: it is the standard library's name",
		}},
		"a new room in sync": {map[string]string{"sync/fax/x.go": imports()}, []string{
			"sync/fax/x.go: is in no room of the house",
		}},
		"credit": {map[string]string{"authz/credit/x.go": imports(ours + "authz")}, []string{
			"authz/credit/x.go:3: authz/credit may not import authz",
		}},
		"tariff": {map[string]string{"authz/tariff/x.go": imports(ours+"authz/credit", ours+"authz")}, []string{
			"authz/tariff/x.go:4: authz/tariff may not import authz",
		}},
		"words": {map[string]string{"authz/x.go": imports(ours + "authz/balance")}, []string{
			"authz/x.go:3: authz may not import authz/balance",
		}},
		"across rooms": {map[string]string{
			"authz/balance/x.go":   imports(ours + "authz/directory"),
			"authz/directory/x.go": imports(ours + "authz/balance/internal/packed"),
			"authz/hook/x.go":      imports(ours + "meter"),
			"meter/x.go":           imports(ours + "authz/hook/kamailio"),
		}, []string{
			"authz/balance/x.go:3: authz/balance may not import authz/directory",
			"authz/directory/x.go:3: authz/directory may not import authz/balance/internal/packed",
			"authz/hook/x.go:3: authz/hook may not import meter",
			"meter/x.go:3: meter may not import authz/hook/kamailio",
		}},
		"across sync": {map[string]string{
			"sync/outbox/x.go": imports(ours+"sync/ledger/postgres", ours+"sync/notify"),
			"sync/ledger/x.go": imports(ours + "sync/outbox"),
		}, []string{
			"sync/ledger/x.go:3: sync/ledger may not import sync/outbox",
			"sync/outbox/x.go:3: sync/outbox may not import sync/ledger/postgres",
			"sync/outbox/x.go:4: sync/outbox may not import sync/notify",
		}},
		"audio and config": {map[string]string{
			"audio/x.go":  imports(ours + "authz"),
			"config/x.go": imports(ours + "authz/credit"),
		}, []string{
			"audio/x.go:3: audio may not import authz",
			"config/x.go:3: config may not import authz/credit",
		}},
		"config outside cmd": {map[string]string{
			"meter/x.go":          imports(ours + "config"),
			"meter/y_test.go":     imports(ours + "config"),
			"deploy/load/main.go": imports(ours + "config"),
		}, []string{
			"deploy/load/main.go:3: deploy/load may not import config",
			"meter/x.go:3: meter may not import config",
			"meter/y_test.go:3: meter may not import config",
		}},
		"cmd": {map[string]string{"authz/hook/x_test.go": imports(ours + "cmd/internal/app"), "authz/hook/doc.go": imports()},
			[]string{"authz/hook/x_test.go:3: authz/hook may not import cmd/internal/app"}},
		"test helpers outside tests": {map[string]string{
			"authz/hook/x.go":       imports(ours + "authz/hook/hooktest"),
			"cmd/ringfence/main.go": imports(ours+"deploy/services", ours+"authz/hook/hooktest"),
			"meter/x.go":            imports(ours + "deploy/services"),
		}, []string{
			"authz/hook/x.go:3: authz/hook may not import authz/hook/hooktest",
			"cmd/ringfence/main.go:3: cmd/ringfence may not import deploy/services",
			"cmd/ringfence/main.go:4: cmd/ringfence may not import authz/hook/hooktest",
			"meter/x.go:3: meter may not import deploy/services",
		}},
		"guests": {map[string]string{
			"sync/portal/x.go":          imports("github.com/stripe/stripe-go/v76/invoice"),
			"sync/portal/x_test.go":     imports("github.com/jackc/pgx/v5"),
			"sync/ledger/x.go":          imports("github.com/jackc/pgx/v5/pgconn"),
			"sync/ledger/postgres/x.go": imports("modernc.org/sqlite"),
		}, []string{
			"sync/ledger/postgres/x.go:3: imports modernc.org/sqlite, which only sync/ledger/sqlite may",
			"sync/ledger/x.go:3: imports github.com/jackc/pgx/v5/pgconn, which only sync/ledger/postgres may",
			"sync/portal/x.go:3: imports github.com/stripe/stripe-go/v76/invoice, which only sync/stripe may",
			"sync/portal/x_test.go:3: imports github.com/jackc/pgx/v5, which only sync/ledger/postgres may",
		}},
		"behind a build tag": {map[string]string{"meter/x.go": "//go:build never\n\n" + imports(ours+"config")}, []string{
			"meter/x.go:5: meter may not import config",
		}},
		"length": {map[string]string{
			"meter/x.go": imports() + strings.Repeat("\n", maxLines-2),
			"meter/y.go": imports() + strings.Repeat("\n", maxLines-1),
		}, []string{"meter/y.go: 601 lines, at most 600"}},
		"package docs": {map[string]string{
			"meter/x.go": "package meter\n", "meter/x_test.go": imports(),
			"audio/x.go": "package audio\n", "audio/doc.go": imports(),
		}, []string{"meter: package without a doc comment"}},
		"sleep": {map[string]string{
			"meter/x.go": imports() + "import \"time\"\nfunc f() { time.Sleep(1) }\n",
			"meter/x_test.go": `package x
import ("time"; clock "time"; "testing/synctest"; "other/nap")
func TestA() { time.Sleep(1) }
func TestB() { go func() { clock.Sleep(1) }() }
func TestC() { synctest.Test(t, func() { go func() { time.Sleep(1) }() }) }
func TestD() { time.Sleep(1); synctest.Wait() }
func TestE() { nap.Sleep(1); time.After(1) }
`,
		}, []string{
			"meter/x_test.go:3: " + sleep,
			"meter/x_test.go:4: " + sleep,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := fstest.MapFS{
				"go.mod":     {Data: []byte("module " + module + "\n")},
				".gitignore": {Data: []byte("*.test\n/ringfence\n")},
				// What no rule applies to.
				"deploy/services/testdata/x.go": {Data: []byte("package x\nimport _ \"" + ours + "config\"\n")},
				"meter/_old/x.go":               {Data: []byte("broken")},
				"meter/.#x.go":                  {Data: []byte("broken")},
			}
			for path, source := range c.files {
				tree[path] = &fstest.MapFile{Data: []byte(source)}
			}
			got, err := violations(tree)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGoThatDoesNotParseIsAnError(t *testing.T) {
	t.Parallel()
	_, err := violations(fstest.MapFS{"meter/x.go": {Data: []byte("package")}})
	if err == nil || !strings.Contains(err.Error(), "meter/x.go") {
		t.Errorf("error %v, want one that names the file", err)
	}
	if _, err := violations(noFS{}); err == nil {
		t.Error("no error for a tree that cannot be read")
	}
}

type noFS struct{}

func (noFS) Open(string) (fs.File, error) { return nil, fs.ErrPermission }
