package config

import (
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
)

// The files that are looked at, in this order, when none is named.
const (
	LocalFile  = "ringfence.yaml"
	SystemFile = "/etc/ringfence/ringfence.yaml"
)

// Load reads the configuration and checks all of it. A value comes from, in
// rising rank: its default, the file at path, the environment (as [os.Environ]
// gives it), and overrides by key ("redis.url"), which the command line fills.
// With no path, [LocalFile] and then [SystemFile] are tried; that neither
// exists is fine. Load changes nothing and keeps nothing of its arguments.
//
// The error joins everything that is wrong, each an [*Error]; [Problems] lists
// them.
func Load(path string, environ []string, overrides map[string]any) (*Config, error) {
	l := loader{search: []string{LocalFile, SystemFile}, hostname: os.Hostname}
	return l.load(path, environ, overrides)
}

// Default is the configuration of a sidecar that is told nothing.
func Default() *Config {
	l := loader{hostname: os.Hostname}
	c, err := l.load("", nil, nil)
	if err != nil {
		// Only a wrong tag in config.go gets here, which the tests catch.
		return new(Config)
	}
	return c
}

// loader is one run of Load.
type loader struct {
	search   []string
	hostname func() (string, error)

	problems problems
	warnings []string
	env      map[string]string // variables of ours
	claimed  map[string]bool   // those that turned out to set something
	modes    map[string]fs.FileMode
}

func (l *loader) load(path string, environ []string, overrides map[string]any) (*Config, error) {
	l.modes = make(map[string]fs.FileMode)
	l.environ(environ)
	path, data, fileErr := l.file(path)
	if fileErr != nil {
		l.problems.add(fileErr)
	}
	c, err := l.merge(path, data, environ, overrides)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	l.unclaimed(c, fileErr == nil)
	if fileErr == nil {
		check(c, &l.problems)
		checkFiles(c, &l.problems)
	}
	if err := l.problems.err(); err != nil {
		return nil, err
	}
	c.warnings = append(l.warnings, warnings(c, l.modes)...)
	return c, nil
}

// merge lays the four places over each other and reads every key. What is wrong
// goes to l.problems; an error is koanf's own and not expected.
func (l *loader) merge(path string, data []byte, environ []string, overrides map[string]any) (*Config, error) {
	k := koanf.New(".")
	for _, layer := range []struct {
		provider koanf.Provider
		parser   koanf.Parser
	}{
		{confmap.Provider(defaults(), "."), nil},
		{rawbytes.Provider(data), &document{name: path, problems: &l.problems}},
		{env.Provider(".", env.Opt{
			Prefix:        envPrefix,
			EnvironFunc:   func() []string { return environ },
			TransformFunc: l.variable,
		}), nil},
		{confmap.Provider(l.flags(overrides), "."), nil},
	} {
		if err := k.Load(layer.provider, layer.parser); err != nil {
			return nil, err
		}
	}
	c := &Config{path: path, origins: make(map[string]Origin)}
	d := decoder{problems: &l.problems, origins: c.origins}
	for _, key := range settings().keys {
		v, ok := k.Get(key.path).(*value)
		if !ok {
			continue
		}
		if key.typ == reflect.TypeFor[[]Switch]() {
			v = l.switchVariables(d.flow(key.path, v))
		}
		d.decode(key, key.path, v, key.field(reflect.ValueOf(c).Elem()))
	}
	if c.Instance == "" && l.problems.sound("instance") {
		c.Instance = l.instance()
	}
	return c, nil
}

// defaults is the lowest layer: what the tags say.
func defaults() map[string]any {
	m := make(map[string]any)
	for _, k := range settings().keys {
		if k.def != "" {
			m[k.path] = &value{Kind: isText, Text: k.def, Origin: Origin{Source: FromDefault}}
		}
	}
	return m
}

// instance is the host's name in the form of an instance's name.
func (l *loader) instance() string {
	host, err := l.hostname()
	name := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '-', r == '_':
			return r
		}
		return '-'
	}, host)
	name = strings.TrimLeft(name, "._-")
	if err != nil || name == "" {
		return "ringfence"
	}
	return name[:min(len(name), maxName)]
}
