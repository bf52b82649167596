package config

import (
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"time"
)

// envPrefix begins every variable of ours.
const envPrefix = "RINGFENCE_"

// fileSuffix marks a variable that names a file which holds the secret.
const fileSuffix = "_FILE"

// key is one setting: a leaf of the configuration.
type key struct {
	path     string // hook.listen
	env      string // RINGFENCE_HOOK_LISTEN
	def      string // the default as one would write it
	doc      string
	in       []string // the only values allowed, if any
	min, max string   // bounds, in the form of the value; empty: none
	reload   bool
	inFile   bool // RINGFENCE_..._FILE may name a file that holds the value
	typ      reflect.Type
	index    []int // of the field, for reflect.Value.FieldByIndex
}

// field returns the key's field within root, a Config or a Switch.
func (k *key) field(root reflect.Value) reflect.Value { return root.FieldByIndex(k.index) }

// secret reports whether the key's whole value is a secret.
func (k *key) secret() bool { return k.typ == reflect.TypeFor[Secret]() }

// plural reports whether the key holds a list or a table.
func (k *key) plural() bool { return k.typ.Kind() == reflect.Slice || k.typ.Kind() == reflect.Map }

// schema is the tree of settings as the tags of a struct give it.
type schema struct {
	keys     []*key // in the order of the struct
	byPath   map[string]*key
	sections map[string][]string // section -> what is in it, by last name
}

// settings is the schema of the whole configuration, switchFields that of one
// switch, whose paths are relative.
var (
	settings     = sync.OnceValue(func() *schema { return newSchema(reflect.TypeFor[Config]()) })
	switchFields = sync.OnceValue(func() *schema { return newSchema(reflect.TypeFor[Switch]()) })
)

func newSchema(t reflect.Type) *schema {
	s := &schema{byPath: make(map[string]*key), sections: make(map[string][]string)}
	s.walk(t, "", nil)
	return s
}

func (s *schema) walk(t reflect.Type, section string, index []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, ok := f.Tag.Lookup("koanf")
		if !ok {
			continue
		}
		s.sections[section] = append(s.sections[section], name)
		path := join(section, name)
		at := append(index[:len(index):len(index)], i)
		if isSection(f.Type) {
			s.walk(f.Type, path, at)
			continue
		}
		k := &key{
			path: path, env: f.Tag.Get("env"),
			def: f.Tag.Get("default"), doc: f.Tag.Get("doc"),
			min: f.Tag.Get("min"), max: f.Tag.Get("max"),
			reload: f.Tag.Get("reload") == "true",
			inFile: f.Type == reflect.TypeFor[Secret]() || f.Tag.Get("file") == "true",
			typ:    f.Type, index: at,
		}
		if in := f.Tag.Get("in"); in != "" {
			k.in = strings.Split(in, "|")
		}
		if k.env == "" {
			k.env = envPrefix + upperSnake(path)
		}
		s.keys = append(s.keys, k)
		s.byPath[path] = k
	}
}

// isSection tells a group of settings from a setting that happens to be a struct.
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[PortRange]()
}

// paths lists the keys and sections, for suggestions.
func (s *schema) paths() []string {
	all := make([]string, 0, len(s.keys)+len(s.sections))
	for _, k := range s.keys {
		all = append(all, k.path)
	}
	for section := range s.sections {
		if section != "" {
			all = append(all, section)
		}
	}
	return all
}

func join(section, name string) string {
	if section == "" {
		return name
	}
	return section + "." + name
}

// upperSnake turns hook.listen and kam-1 into HOOK_LISTEN and KAM_1.
func upperSnake(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, s)
}

// form says in words what a value of the type looks like.
func form(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "a number with its unit, such as 250ms, 60s, 15m or 24h"
	case reflect.TypeFor[Size]():
		return "a size such as 64KiB or 1MiB"
	case reflect.TypeFor[PortRange]():
		return "a range of ports such as 20000-24999"
	case reflect.TypeFor[int](), reflect.TypeFor[int64]():
		return "a whole number, digits only"
	case reflect.TypeFor[bool]():
		return "true or false"
	case reflect.TypeFor[[]netip.Prefix]():
		return "a list of networks such as [10.0.0.0/8, 192.0.2.7]"
	case reflect.TypeFor[[]string]():
		return "a list such as [a.yaml, b.yaml]"
	case reflect.TypeFor[map[string][]string]():
		return "lists by country, such as {GB: [999, 101]}"
	case reflect.TypeFor[[]Switch]():
		return "a list of switches, such as [{name: edge, control_url: \"http://127.0.0.1:5060\"}]"
	}
	return "a text"
}
