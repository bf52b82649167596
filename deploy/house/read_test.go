package house

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"strings"
)

// house is a source tree as read, and what was found wrong with it.
type house struct {
	fset    *token.FileSet
	top     []string // names in the first folder
	ignored []string // those of them that .gitignore names
	files   []file
	found   []string
}

// file is one Go file.
type file struct {
	path   string // from the root, as "authz/call.go"
	pkg    string // its folder, as "authz"
	test   bool
	lines  int
	syntax *ast.File
}

// read parses every Go file that the go command would see for some set of build tags.
func (h *house) read(tree fs.FS) error {
	h.fset = token.NewFileSet()
	top, err := fs.ReadDir(tree, ".")
	if err != nil {
		return fmt.Errorf("read the top level: %w", err)
	}
	for _, entry := range top {
		h.top = append(h.top, entry.Name())
	}
	if text, err := fs.ReadFile(tree, ".gitignore"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "/"); ok {
				h.ignored = append(h.ignored, strings.TrimSuffix(name, "/"))
			}
		}
	}
	return fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := name != "." && strings.ContainsAny(entry.Name()[:1], "._")
		switch {
		case entry.IsDir() && (hidden || entry.Name() == "testdata" || entry.Name() == "vendor"):
			return fs.SkipDir
		case entry.IsDir() || hidden || path.Ext(name) != ".go":
			return nil
		}
		return h.parse(tree, name)
	})
}

func (h *house) parse(tree fs.FS, name string) error {
	source, err := fs.ReadFile(tree, name)
	if err != nil {
		return err
	}
	syntax, err := parser.ParseFile(h.fset, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("parse: %w", err)
	}
	h.files = append(h.files, file{
		path:   name,
		pkg:    path.Dir(name),
		test:   strings.HasSuffix(name, "_test.go"),
		lines:  bytes.Count(source, []byte("\n")),
		syntax: syntax,
	})
	return nil
}

// isCall tells whether n is a call of the function of the package, under whatever name the file imports it.
func (f file) isCall(n ast.Node, pkg, function string) bool {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return false
	}
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || selector.Sel.Name != function {
		return false
	}
	name, ok := selector.X.(*ast.Ident)
	if !ok {
		return false
	}
	for _, spec := range f.syntax.Imports {
		if strings.Trim(spec.Path.Value, `"`) != pkg {
			continue
		}
		local := path.Base(pkg)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		if local == name.Name {
			return true
		}
	}
	return false
}
