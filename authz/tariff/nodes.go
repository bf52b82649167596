package tariff

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// document returns a file as one tree of nodes, in which every scalar keeps its
// text: 0.07 must not become a float on the way. Only what encoding/json holds
// to be JSON is read as JSON, the rest as YAML.
func document(data []byte) (*yaml.Node, error) {
	if json.Valid(data) {
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber()
		return jsonNode(dec)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the file is empty; write at least its rates")
		}
		return nil, fmt.Errorf("neither YAML nor JSON: %w", err)
	}
	var next yaml.Node
	if err := dec.Decode(&next); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one YAML document; write one tariff a file")
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, errors.New("the file is empty; write at least its rates")
	}
	return doc.Content[0], nil
}

// jsonNode reads the next value; a key that is given twice stays twice, so that
// it is noticed.
func jsonNode(dec *json.Decoder) (*yaml.Node, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		if v == '{' {
			n.Kind = yaml.MappingNode
		}
		for dec.More() {
			// An object's key is a token like any other, and so a node.
			child, err := jsonNode(dec)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		_, err := dec.Token()
		return n, err
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tagNumber, Value: v.String()}, nil
	case string:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tagString, Value: v}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tagBool, Value: strconv.FormatBool(v)}, nil
	default:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tagNull, Value: "null"}, nil
	}
}

const (
	tagNumber = "!!float"
	tagString = "!!str"
	tagBool   = "!!bool"
	tagNull   = "!!null"
)

// fail notes what is wrong with the field at path.
func (p *problems) fail(path string, n *yaml.Node, problem, remedy string) {
	e := &FieldError{Field: path, Problem: problem, Remedy: remedy}
	if n != nil {
		e.Line, e.Value = n.Line, describe(n)
	}
	p.add(e)
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.ScalarNode:
		return n.Value
	case yaml.MappingNode:
		return "{...}"
	case yaml.SequenceNode:
		return "[...]"
	case yaml.AliasNode:
		return "*" + n.Value
	}
	return ""
}

// object walks the fields of a mapping; field returns false for a name it does
// not know.
func (p *problems) object(path string, n *yaml.Node, known string, field func(path, name string, v *yaml.Node) bool) bool {
	if n.Kind != yaml.MappingNode {
		p.fail(orRoot(path), n, "not a set of named fields", "write "+known)
		return false
	}
	// A dozen names at most are known, so a list beats a map.
	seen := make([]string, 0, 12)
fields:
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := join(path, key.Value)
		for _, name := range seen {
			if name == key.Value {
				p.fail(at, value, "given twice", "keep one of them")
				continue fields
			}
		}
		if key.Kind != yaml.ScalarNode || !field(at, key.Value, value) {
			p.fail(at, value, "unknown field", "known are "+known)
			continue
		}
		seen = append(seen, key.Value)
	}
	return true
}

// list walks a sequence; a lone value counts as a list of one.
func (p *problems) list(path string, n *yaml.Node, item func(path string, v *yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		item(path, n)
		return
	}
	for i, v := range n.Content {
		item(fmt.Sprintf("%s[%d]", path, i), v)
	}
}

// text returns a scalar as it is written, and false for anything else.
func (p *problems) text(path string, n *yaml.Node, remedy string) (string, bool) {
	switch {
	case n.Kind == yaml.AliasNode:
		p.fail(path, n, "anchors and aliases are not read", "write the value out")
	case n.Kind != yaml.ScalarNode:
		p.fail(path, n, "not a single value", remedy)
	case n.ShortTag() == tagNull:
		p.fail(path, n, "no value", remedy+", or remove the field")
	default:
		return n.Value, true
	}
	return "", false
}

// integer returns a whole number from least to most.
func (p *problems) integer(path string, n *yaml.Node, least, most int64, unit string) (int64, bool) {
	remedy := fmt.Sprintf("write %d to %d%s", least, most, unit)
	s, ok := p.text(path, n, remedy)
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseInt(s, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange) || (err == nil && (v < least || v > most)):
		p.fail(path, n, "out of range", remedy)
	case err != nil || s[0] == '+':
		p.fail(path, n, "not a whole number", remedy)
	default:
		return v, true
	}
	return 0, false
}

// flag returns true or false.
func (p *problems) flag(path string, n *yaml.Node) bool {
	const remedy = "write true or false"
	s, ok := p.text(path, n, remedy)
	if !ok {
		return false
	}
	if n.ShortTag() != tagBool || (s != "true" && s != "false") {
		p.fail(path, n, "neither true nor false", remedy)
	}
	return s == "true"
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func orRoot(path string) string {
	if path == "" {
		return "tariff"
	}
	return path
}
