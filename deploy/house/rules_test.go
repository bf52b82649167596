package house

import (
	"cmp"
	"fmt"
	"go/ast"
	"io/fs"
	"path"
	"slices"
	"strings"
)

const module = "github.com/hmsovereign/ringfence"

// topLevel is what the repository's first folder may hold, besides dot files and what .gitignore names.
var topLevel = []string{
	"cmd", "authz", "meter", "sync", "audio", "config", "deploy",
	"go.mod", "go.sum", "README.md", "LICENSE",
}

// words are the packages that every area speaks in.
var words = []string{"authz", "authz/tariff", "authz/credit"}

// rooms says what each room may import of this module, besides itself. A room is a folder with all that is below it,
// except a folder that is a room of its own; the longest match counts. Packages of one room may import each other.
var rooms = []struct {
	room string
	may  []string
}{
	{"authz/credit", nil},
	{"authz/tariff", []string{"authz/credit"}},
	{"authz", []string{"authz/tariff", "authz/credit"}},
	{"authz/balance", words},
	{"authz/directory", words},
	{"authz/hook", words},
	{"meter", words},
	{"sync/outbox", append([]string{"sync/ledger"}, words...)},
	{"sync/ledger", words},
	{"sync/stripe", append([]string{"sync/ledger"}, words...)},
	{"sync/notify", append([]string{"sync/ledger"}, words...)},
	{"sync/portal", append([]string{"sync/ledger"}, words...)},
	{"sync/reconcile", append([]string{"sync/ledger"}, words...)},
	{"audio", nil},
	{"config", nil},
	{"deploy", nil},
	{"cmd", []string{everything}},
}

// real are the stores that the tests of other rooms run against, rather than against fakes of them.
var real = []string{"authz/balance", "authz/directory", "authz/hook", "sync/ledger/postgres", "sync/ledger/sqlite", "sync/outbox", "meter"}

// everything stands for any package of this module.
const everything = "..."

// guests are modules that only one room may import, tests included.
var guests = []struct{ module, room string }{
	{"github.com/stripe/stripe-go", "sync/stripe"},
	{"github.com/jackc/pgx", "sync/ledger/postgres"},
	{"modernc.org/sqlite", "sync/ledger/sqlite"},
}

const maxLines = 600 // of a Go file

// helper tells whether a package is there for tests: deploy/services, or one named after the package that it helps to
// test, as hook/hooktest. Any test may import it.
func helper(pkg string) bool {
	return pkg == "deploy/services" || path.Base(pkg) == path.Base(path.Dir(pkg))+"test" || fake(pkg)
}

// fake tells whether a package plays somebody else's part, as stripe/stripefake does for tests and for the demo.
func fake(pkg string) bool { return path.Base(pkg) == path.Base(path.Dir(pkg))+"fake" }

// violations lists what breaks the rules in a source tree, sorted.
func violations(tree fs.FS) ([]string, error) {
	h := &house{}
	if err := h.read(tree); err != nil {
		return nil, err
	}
	h.checkTopLevel()
	documented := make(map[string]bool)
	for _, f := range h.files {
		documented[f.pkg] = documented[f.pkg] || f.syntax.Doc != nil && !f.test
		h.checkPlace(f)
		h.checkImports(f)
		h.checkSleep(f)
		if f.lines > maxLines {
			h.complain(f.path, 0, "%d lines, at most %d", f.lines, maxLines)
		}
	}
	for pkg, ok := range documented {
		if !ok {
			h.complain(pkg, 0, "package without a doc comment")
		}
	}
	slices.Sort(h.found)
	return h.found, nil
}

func (h *house) complain(where string, line int, format string, args ...any) {
	if line > 0 {
		where = fmt.Sprintf("%s:%d", where, line)
	}
	h.found = append(h.found, where+": "+fmt.Sprintf(format, args...))
}

func (h *house) checkTopLevel() {
	for _, name := range h.top {
		if !strings.HasPrefix(name, ".") && !slices.Contains(topLevel, name) && !slices.Contains(h.ignored, name) {
			h.complain(name, 0, "does not belong at the top level")
		}
	}
}

func (h *house) checkPlace(f file) {
	if f.pkg == "sync" {
		h.complain(f.path, 0, "sync has no Go file of its own: it is the standard library's name")
	}
	if _, _, ok := roomOf(f.pkg); !ok {
		h.complain(f.path, 0, "is in no room of the house")
	}
}

func (h *house) checkImports(f file) {
	room, may, _ := roomOf(f.pkg)
	for _, spec := range f.syntax.Imports {
		imported := strings.Trim(spec.Path.Value, `"`)
		line := h.fset.Position(spec.Pos()).Line
		for _, guest := range guests {
			if within(imported, guest.module) && !within(f.pkg, guest.room) {
				h.complain(f.path, line, "imports %s, which only %s may", imported, guest.room)
			}
		}
		if !within(imported, module) {
			continue
		}
		pkg := cmp.Or(strings.TrimPrefix(strings.TrimPrefix(imported, module), "/"), ".")
		target, _, _ := roomOf(pkg)
		allowed := target == room && room != "deploy" || slices.Contains(may, pkg) || slices.Contains(may, everything) ||
			f.test && room != "config" && room != "audio" && slices.Contains(real, pkg)
		if helper(pkg) {
			allowed = f.test || helper(f.pkg) && target == room || fake(pkg) && room == "cmd"
		}
		if !allowed {
			h.complain(f.path, line, "%s may not import %s", f.pkg, pkg)
		}
	}
}

// roomOf finds the room of a package and what it may import.
func roomOf(pkg string) (room string, may []string, ok bool) {
	for _, r := range rooms {
		if within(pkg, r.room) && len(r.room) > len(room) {
			room, may, ok = r.room, r.may, true
		}
	}
	return room, may, ok
}

// within tells whether a slash-separated path is a folder or lies below it; a version suffix (/v5) lies below.
func within(pkg, folder string) bool { return pkg == folder || strings.HasPrefix(pkg, folder+"/") }

// checkSleep complains of time.Sleep in a test, except in a synctest bubble, where it only moves the bubble's clock:
// inside a function given to synctest.Test, or one that calls synctest.Wait, which works nowhere else.
func (h *house) checkSleep(f file) {
	if !f.test {
		return
	}
	var enclosing []ast.Node
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if n == nil {
			enclosing = enclosing[:len(enclosing)-1]
			return true
		}
		if f.isCall(n, "time", "Sleep") && !slices.ContainsFunc(enclosing, f.inBubble) {
			h.complain(f.path, h.fset.Position(n.Pos()).Line,
				"time.Sleep in a test: wait for the event, poll with services.Eventually, or use synctest")
		}
		enclosing = append(enclosing, n)
		return true
	})
}

// inBubble tells whether the code in n runs in a synctest bubble.
func (f file) inBubble(n ast.Node) bool {
	if f.isCall(n, "testing/synctest", "Test") {
		return true
	}
	switch n.(type) {
	case *ast.FuncDecl, *ast.FuncLit:
		waits := false
		ast.Inspect(n, func(inner ast.Node) bool {
			waits = waits || inner != nil && f.isCall(inner, "testing/synctest", "Wait")
			return !waits
		})
		return waits
	}
	return false
}
