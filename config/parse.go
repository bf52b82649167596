package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// kind is the shape of a value before its key's type is looked at.
type kind int

const (
	isText kind = iota
	isList
	isTable
	isNull
)

// value is what one place says about one key. Scalars stay text until the key's
// type is known: YAML's guesses would turn the token 0123 into 83 and lose a
// zero of an emergency number. Fields are exported because koanf copies values
// by reflection.
type value struct {
	Kind   kind
	Text   string
	List   []*value
	Table  []entry // in the order written
	Origin Origin
}

type entry struct {
	Name  string
	Value *value
}

// get returns the value of a name in a table, or nil.
func (v *value) get(name string) *value {
	for _, e := range v.Table {
		if e.Name == name {
			return e.Value
		}
	}
	return nil
}

// document is the koanf.Parser of our YAML file. It refuses unknown and
// repeated names by adding to problems, and gives koanf the known leaves.
type document struct {
	name     string
	problems *problems
}

// Marshal is there for the interface; (*Config).YAML writes configurations.
func (d *document) Marshal(map[string]any) ([]byte, error) { return nil, errors.ErrUnsupported }

// Unmarshal never fails; what is wrong goes to d.problems.
func (d *document) Unmarshal(b []byte) (map[string]any, error) {
	out := make(map[string]any)
	origin := Origin{Source: FromFile, Name: d.name}
	root, problem := parseYAML(b, origin)
	if problem != "" {
		d.problems.add(&Error{Field: "file", Value: d.name, Problem: problem,
			Remedy: "write YAML, as in ringfence.example.yaml"})
		return out, nil
	}
	switch root.Kind {
	case isNull: // an empty file says nothing
	case isTable:
		d.section("", root, out)
	default:
		d.problems.add(&Error{Field: "file", Value: d.name, Problem: "does not hold settings by name",
			Remedy: "write lines such as data_dir: /var/lib/ringfence"})
	}
	return out, nil
}

func (d *document) section(section string, v *value, out map[string]any) {
	s := settings()
	for _, e := range v.Table {
		path := join(section, e.Name)
		k := s.byPath[path]
		// A dotted name is not a path: koanf would merge hook.listen with hook: {listen: }.
		dotted := strings.Contains(e.Name, ".")
		switch {
		case k != nil && !dotted:
			if e.Value.Kind == isNull && k.plural() {
				continue // every item of the list is commented out
			}
			out[e.Name] = e.Value
		case s.sections[path] != nil && !dotted && e.Name != "":
			d.subsection(path, e.Value, out, e.Name)
		default:
			d.problems.add(unknownKey(path, e.Value.Origin))
		}
	}
}

func (d *document) subsection(path string, v *value, out map[string]any, name string) {
	switch v.Kind {
	case isNull: // every line in it is commented out
	case isTable:
		sub := make(map[string]any)
		d.section(path, v, sub)
		out[name] = sub
	default:
		d.problems.add(&Error{Field: path, Problem: "is a section, not a setting", Origin: v.Origin,
			Remedy: "write its settings below it, indented: " + strings.Join(settings().sections[path], ", ")})
	}
}

// Limits on a document, far above any that is meant.
const (
	maxDepth = 20
	maxNodes = 20000 // aliases counted each time they are used
)

// parseYAML reads one YAML document into values. What it returns as a problem
// never quotes the document, which may hold secrets.
func parseYAML(b []byte, origin Origin) (*value, string) {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var root yaml.Node
	switch err := dec.Decode(&root); {
	case errors.Is(err, io.EOF):
		return &value{Kind: isNull, Origin: origin}, ""
	case err != nil:
		return nil, yamlProblem(err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, "holds more than one YAML document"
	}
	r := reader{origin: origin}
	v := r.read(&root, 0)
	return v, r.problem
}

// yamlProblem is the parser's complaint, without the words it quotes.
func yamlProblem(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if strings.Contains(text, "anchor") {
		return "not YAML: a value that begins with * or & needs quotes"
	}
	return "not YAML: " + text
}

// reader turns yaml nodes into values; the first problem stops it.
type reader struct {
	origin  Origin
	nodes   int
	problem string
}

func (r *reader) fail(n *yaml.Node, problem string) {
	if r.problem == "" {
		r.problem = fmt.Sprintf("line %d: %s", n.Line, problem)
	}
}

func (r *reader) read(n *yaml.Node, depth int) *value {
	v := &value{Kind: isNull, Origin: r.origin}
	if r.origin.Source == FromFile {
		v.Origin.Line = n.Line
	}
	if r.nodes++; r.nodes > maxNodes || depth > maxDepth {
		r.fail(n, "too large or too deeply nested")
		return v
	}
	switch n.Kind {
	case yaml.DocumentNode:
		if len(n.Content) > 0 {
			return r.read(n.Content[0], depth+1)
		}
	case yaml.AliasNode:
		return r.read(n.Alias, depth+1)
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!null":
		case "!!str", "!!int", "!!float", "!!bool", "!!timestamp":
			v.Kind, v.Text = isText, n.Value
		default:
			r.fail(n, "has a tag that is not supported")
		}
	case yaml.SequenceNode:
		v.Kind = isList
		for _, c := range n.Content {
			if r.problem != "" {
				break
			}
			v.List = append(v.List, r.read(c, depth+1))
		}
	case yaml.MappingNode:
		v.Kind = isTable
		r.table(n, v, depth)
	}
	return v
}

func (r *reader) table(n *yaml.Node, v *value, depth int) {
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content) && r.problem == ""; i += 2 {
		name := n.Content[i]
		switch {
		case name.Kind != yaml.ScalarNode:
			r.fail(name, "a name must be a plain word")
			return
		case name.ShortTag() == "!!merge":
			r.fail(name, "merging with << is not supported; write the settings out")
			return
		case seen[name.Value]:
			r.fail(name, fmt.Sprintf("%q is given twice", shorten(name.Value)))
			return
		}
		seen[name.Value] = true
		item := r.read(n.Content[i+1], depth+1)
		if r.origin.Source == FromFile {
			item.Origin.Line = name.Line
		}
		v.Table = append(v.Table, entry{Name: name.Value, Value: item})
	}
}
