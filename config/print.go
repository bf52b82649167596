package config

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// leaf is one setting of one configuration.
type leaf struct {
	*key
	path  string // with the index, for a switch's field
	value reflect.Value
}

// secret reports whether the leaf holds something that is not shown.
func (l leaf) secret() bool {
	switch v := l.value.Interface().(type) {
	case Secret:
		return v != ""
	case URL:
		return v.secret()
	}
	return false
}

// leaves lists the settings in order, those of each switch in place of the list.
func (c *Config) leaves() []leaf {
	var all []leaf
	root := reflect.ValueOf(c).Elem()
	for _, k := range settings().keys {
		v := k.field(root)
		if k.typ != reflect.TypeFor[[]Switch]() {
			all = append(all, leaf{k, k.path, v})
			continue
		}
		for i := range v.Len() {
			for _, f := range switchFields().keys {
				all = append(all, leaf{f, fmt.Sprintf("%s[%d].%s", k.path, i, f.path), f.field(v.Index(i))})
			}
		}
	}
	return all
}

// show is a value in one line, without its secrets.
func show(v reflect.Value) string {
	switch v := v.Interface().(type) {
	case string:
		return v
	case time.Duration:
		return showDuration(v)
	case fmt.Stringer: // Secret, URL, Size, PortRange
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case int64:
		return strconv.FormatInt(v, 10)
	}
	text, err := yaml.Marshal(plain(v, yaml.FlowStyle))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// plain is a value as a YAML node without comments.
func plain(v reflect.Value, style yaml.Style) *yaml.Node {
	n := &yaml.Node{Style: style}
	switch x := v.Interface().(type) {
	case []string:
		n.Kind = yaml.SequenceNode
		for _, s := range x {
			n.Content = append(n.Content, scalar(s, true))
		}
	case []netip.Prefix:
		n.Kind = yaml.SequenceNode
		for _, p := range x {
			n.Content = append(n.Content, scalar(p.String(), true))
		}
	case map[string][]string:
		n.Kind = yaml.MappingNode
		for _, name := range sortedKeys(x) {
			n.Content = append(n.Content, scalar(name, true), plain(reflect.ValueOf(x[name]), yaml.FlowStyle))
		}
	case []Switch:
		n.Kind = yaml.SequenceNode
		for _, s := range x {
			item := &yaml.Node{Kind: yaml.MappingNode, Style: style}
			for _, k := range switchFields().keys {
				item.Content = append(item.Content, scalar(k.path, true), plain(k.field(reflect.ValueOf(s)), style))
			}
			n.Content = append(n.Content, item)
		}
	default:
		text := false
		switch x.(type) {
		case string, Secret, URL, PortRange:
			text = true
		}
		return scalar(show(v), text)
	}
	return n
}

// scalar is a text, quoted where YAML would take it for something else, or a
// number, size or duration, which never needs quotes.
func scalar(s string, text bool) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: s}
	if text {
		n.SetString(s)
	}
	return n
}

// YAML is the configuration in force, as a file that says the same, with the
// origin of each value as a comment. Secrets are shown as [Redacted].
func (c *Config) YAML() string {
	root := &yaml.Node{Kind: yaml.MappingNode}
	sections := map[string]*yaml.Node{"": root}
	for _, k := range settings().keys {
		parent := sections[""]
		for i, r := range k.path {
			if r != '.' {
				continue
			}
			path := k.path[:i]
			if sections[path] == nil {
				sections[path] = &yaml.Node{Kind: yaml.MappingNode}
				parent.Content = append(parent.Content, scalar(lastName(path), true), sections[path])
			}
			parent = sections[path]
		}
		parent.Content = append(parent.Content, c.node(k)...)
	}
	var b bytes.Buffer
	from := "no file"
	if c.path != "" {
		from = c.path
	}
	fmt.Fprintf(&b, "# The configuration in force; file: %s\n", strconv.Quote(from))
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return b.String() + "# " + err.Error() + "\n"
	}
	if err := enc.Close(); err != nil {
		return b.String() + "# " + err.Error() + "\n"
	}
	return b.String()
}

// node returns the name and value of one setting.
func (c *Config) node(k *key) []*yaml.Node {
	name, v := scalar(lastName(k.path), true), k.field(reflect.ValueOf(c).Elem())
	if k.typ == reflect.TypeFor[[]Switch]() && v.Len() > 0 {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			item := &yaml.Node{Kind: yaml.MappingNode}
			for _, f := range switchFields().keys {
				n := plain(f.field(v.Index(i)), 0)
				n.LineComment = c.comment(fmt.Sprintf("%s[%d].%s", k.path, i, f.path))
				item.Content = append(item.Content, scalar(f.path, true), n)
			}
			list.Content = append(list.Content, item)
		}
		return []*yaml.Node{name, list}
	}
	n := plain(v, yaml.FlowStyle)
	n.LineComment = c.comment(k.path)
	return []*yaml.Node{name, n}
}

// comment says where a value came from, in few words: default, file line 3,
// env RINGFENCE_REDIS_URL, flag.
func (c *Config) comment(path string) string {
	o := c.Origin(path)
	switch {
	case o.Source == FromFile && o.Line > 0:
		return fmt.Sprintf("file line %d", o.Line)
	case o.Source == FromEnv:
		return "env " + o.Name
	}
	return string(o.Source)
}

func lastName(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// Reference is the table of all settings in Markdown, made from the tags of
// [Config].
func Reference() string {
	var b strings.Builder
	b.WriteString("| Key | Environment | Default | Meaning | Reload |\n|---|---|---|---|---|\n")
	row := func(path, env, def string, k *key) {
		meaning := k.doc
		if len(k.in) > 0 {
			meaning += ". One of " + strings.Join(k.in, ", ")
		}
		switch {
		case k.min == "":
		case k.typ == reflect.TypeFor[int64](), k.min == "0":
			meaning += ". At most " + k.max
		default:
			meaning += ". " + k.min + " to " + k.max
		}
		env = "`" + env + "`"
		if k.inFile {
			env += ", or a file that holds it: `" + strings.Trim(env, "`") + fileSuffix + "`"
		}
		if def != "" {
			def = "`" + def + "`"
		}
		reload := ""
		if k.reload {
			reload = "yes"
		}
		for _, cell := range []string{"`" + path + "`", env, def, meaning, reload} {
			b.WriteString("| " + strings.ReplaceAll(cell, "|", `\|`) + " ")
		}
		b.WriteString("|\n")
	}
	for _, k := range settings().keys {
		row(k.path, k.env, k.def, k)
		if k.typ != reflect.TypeFor[[]Switch]() {
			continue
		}
		for _, f := range switchFields().keys {
			env := switchPrefix + "NAME_" + upperSnake(f.path)
			if f.path == "name" {
				env = ""
			}
			row(k.path+"[]."+f.path, env, f.def, f)
		}
	}
	return strings.ReplaceAll(b.String(), "| `` |", "| |")
}
