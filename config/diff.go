package config

import "reflect"

// Change is a key whose value differs between two configurations.
type Change struct {
	Key      string
	Old, New string // without their secrets: two different secrets look the same
	Reload   bool   // SIGHUP applies it; otherwise a restart does
}

// Diff lists what changed, in the order of the reference: first what SIGHUP
// applies, then what waits for a restart. A list counts as one key.
func Diff(old, new *Config) (reload, restart []Change) {
	a, b := reflect.ValueOf(old).Elem(), reflect.ValueOf(new).Elem()
	for _, k := range settings().keys {
		x, y := k.field(a), k.field(b)
		if same(x, y) {
			continue
		}
		change := Change{Key: k.path, Old: show(x), New: show(y), Reload: k.reload}
		if k.reload {
			reload = append(reload, change)
		} else {
			restart = append(restart, change)
		}
	}
	return reload, restart
}

// same compares values; an empty list is one whether or not it was made.
func same(x, y reflect.Value) bool {
	switch x.Kind() {
	case reflect.Slice, reflect.Map:
		if x.Len() == 0 && y.Len() == 0 {
			return true
		}
	}
	return reflect.DeepEqual(x.Interface(), y.Interface())
}
