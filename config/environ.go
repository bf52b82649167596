package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// notSettings are variables of ours that set nothing here: the CLI's way to the
// admin API and the name of the file.
var notSettings = []string{"RINGFENCE_OPS_URL", "RINGFENCE_CONFIG"}

// serviceLink is what Kubernetes puts into the environment of every pod for a
// service whose name begins with ringfence; it must not stop a start.
var serviceLink = regexp.MustCompile(`^RINGFENCE_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// isServiceLink tells RINGFENCE_HOOK_PORT=tcp://10.0.0.1:8402, which Kubernetes
// makes, from RINGFENCE_HOOK_PORT=8402, which somebody hoped would work.
func isServiceLink(name, text string) bool {
	return serviceLink.MatchString(name) || strings.HasSuffix(name, "_PORT") && strings.Contains(text, "://")
}

// switchPrefix begins the variables of one field of one switch.
const switchPrefix = envPrefix + "SWITCH_"

// environ notes our variables.
func (l *loader) environ(environ []string) {
	l.env, l.claimed = make(map[string]string), make(map[string]bool)
	for _, v := range environ {
		name, text, ok := strings.Cut(v, "=")
		if ok && strings.HasPrefix(name, envPrefix) {
			l.env[name] = text
		}
	}
}

// variable tells koanf which key a variable sets, and to what; "" for none.
func (l *loader) variable(name, _ string) (string, any) {
	for _, k := range settings().keys {
		if name == k.env || k.inFile && name == k.env+fileSuffix {
			if v := l.lookup(k, k.path, k.env); v != nil {
				return k.path, v
			}
			return "", nil
		}
	}
	return "", nil
}

// lookup returns what the environment says about a key, or nil.
func (l *loader) lookup(k *key, path, name string) *value {
	text, given := l.env[name]
	file, fromFile := l.env[name+fileSuffix]
	fromFile = fromFile && k.inFile
	first := !l.claimed[name] && !l.claimed[name+fileSuffix]
	l.claimed[name] = l.claimed[name] || given
	l.claimed[name+fileSuffix] = l.claimed[name+fileSuffix] || fromFile
	switch {
	case given && fromFile:
		if first { // koanf asks for each of the two
			l.problems.add(&Error{Field: path, Problem: "is given twice, as " + name + " and as " + name + fileSuffix,
				Remedy: "keep one of them", Origin: Origin{Source: FromEnv, Name: name}})
		}
	case given:
		return &value{Kind: isText, Text: text, Origin: Origin{Source: FromEnv, Name: name}}
	case fromFile:
		return l.secretFile(path, name+fileSuffix, file)
	}
	return nil
}

// secretFile reads a secret that lies in a file of its own, as Docker and
// Kubernetes hand them out. The newline that editors add is not part of it.
func (l *loader) secretFile(path, name, file string) *value {
	origin := Origin{Source: FromEnv, Name: name}
	data, err := l.read(file)
	if err != nil {
		l.problems.add(&Error{Field: path, Value: file, Problem: "the file cannot be read: " + reason(err),
			Remedy: "name a file that holds the secret alone", Origin: origin, cause: err})
		return nil
	}
	text := strings.TrimRight(string(data), "\r\n")
	if text == "" {
		l.problems.add(&Error{Field: path, Value: file, Problem: "the file is empty",
			Remedy: "write the secret into it, or unset " + name, Origin: origin})
		return nil
	}
	if worldReadable(l.modes[file]) {
		l.warnings = append(l.warnings, fmt.Sprintf("%s holds %s and every user may read it (mode %04o): chmod 600 it",
			file, path, l.modes[file].Perm()))
	}
	return &value{Kind: isText, Text: text, Origin: origin}
}

// switchVariables lays the variables of single fields over the switches, except
// over what the command line says.
func (l *loader) switchVariables(list *value) *value {
	if list.Kind != isList {
		return list
	}
	owner := make(map[string]string)
	for i, item := range list.List {
		named := item.get("name")
		if item.Kind != isTable || named == nil || named.Kind != isText {
			continue
		}
		for _, k := range switchFields().keys {
			path, name := fmt.Sprintf("switches[%d].%s", i, k.path), switchVariable(named.Text, k)
			if k.path == "name" {
				continue // it is what the variables are found by
			}
			if !l.given(name, k) {
				continue
			}
			if other, ok := owner[name]; ok {
				l.problems.add(&Error{Field: path, Problem: name + " could also be that of switch " + other,
					Remedy: "give one of the switches another name, or set " + k.path + " in the file", Origin: Origin{Source: FromEnv, Name: name}})
				continue
			}
			owner[name] = named.Text
			v := l.lookup(k, path, name)
			if v == nil {
				continue
			}
			at := slices.IndexFunc(item.Table, func(e entry) bool { return e.Name == k.path })
			switch {
			case at < 0:
				item.Table = append(item.Table, entry{Name: k.path, Value: v})
			case item.Table[at].Value.Origin.Source != FromFlag:
				item.Table[at].Value = v
			}
		}
	}
	return list
}

func (l *loader) given(name string, k *key) bool {
	_, plain := l.env[name]
	_, file := l.env[name+fileSuffix]
	return plain || file && k.inFile
}

// switchVariable is the variable of one field of one switch.
func switchVariable(name string, k *key) string {
	return switchPrefix + upperSnake(name) + "_" + upperSnake(k.path)
}

// unclaimed deals with variables that set nothing. Those that look like a
// misspelt setting are refused; the others only warned about, since the
// environment is shared with whatever else begins its names like ours.
func (l *loader) unclaimed(c *Config, fileRead bool) {
	var known []string // without our prefix, which would make all names alike
	add := func(name string, k *key) {
		known = append(known, strings.TrimPrefix(name, envPrefix))
		if k.inFile {
			known = append(known, strings.TrimPrefix(name, envPrefix)+fileSuffix)
		}
	}
	for _, k := range settings().keys {
		add(k.env, k)
	}
	for _, s := range c.Switches {
		for _, k := range switchFields().keys {
			add(switchVariable(s.Name, k), k)
		}
	}
	for _, name := range sortedKeys(l.env) {
		ofSwitch := strings.HasPrefix(name, switchPrefix)
		switch {
		case l.claimed[name], slices.Contains(notSettings, name), isServiceLink(name, l.env[name]):
			continue
		case ofSwitch && (!fileRead || !l.problems.sound("switches")):
			continue // its switch may be in what could not be read
		}
		like := suggest(strings.TrimPrefix(name, envPrefix), slices.Clone(known))
		for _, k := range settings().keys {
			if name == envPrefix+upperSnake(k.path) { // it has a shorter one
				like = strings.TrimPrefix(k.env, envPrefix)
			}
		}
		e := &Error{Field: name, Problem: "no such setting", Remedy: "unset it", Origin: Origin{Source: FromEnv, Name: name}}
		switch {
		case like != "":
			e.Remedy = "did you mean " + envPrefix + like + "?"
			l.problems.add(e)
		case ofSwitch:
			e.Problem = "names no field of a configured switch"
			l.problems.add(e)
		case inSection(name):
			l.problems.add(e)
		default:
			l.warnings = append(l.warnings, name+" is set in the environment but is no setting of ringfence")
		}
	}
}

// inSection reports whether a variable begins like those of a section.
func inSection(name string) bool {
	for section := range settings().sections {
		if section != "" && strings.HasPrefix(name, envPrefix+upperSnake(section)+"_") {
			return true
		}
	}
	return false
}
