package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// decoder turns values into fields, each by its type.
type decoder struct {
	problems *problems
	origins  map[string]Origin
}

func (d *decoder) fail(path string, v *value, shown, problem, remedy string) {
	d.problems.add(&Error{Field: path, Value: shown, Problem: problem, Remedy: remedy, Origin: v.Origin})
}

// decode sets dst, the field of k, from v. What cannot be read leaves it as it is.
func (d *decoder) decode(k *key, path string, v *value, dst reflect.Value) {
	d.origins[path] = v.Origin
	switch dst := dst.Addr().Interface().(type) {
	case *[]Switch:
		d.switches(path, d.flow(path, v), dst)
	case *map[string][]string:
		d.lists(path, d.flow(path, v), dst)
	case *[]string:
		*dst = d.texts(path, k, v)
	case *[]netip.Prefix:
		d.networks(path, k, v, dst)
	default:
		d.scalar(k, path, v, dst)
	}
}

func (d *decoder) scalar(k *key, path string, v *value, dst any) {
	text, ok := d.text(k, path, v)
	if !ok {
		return
	}
	var err error
	switch dst := dst.(type) {
	case *string:
		*dst = text
	case *Secret:
		*dst = Secret(text)
	case *URL:
		*dst = URL(text)
	case *int:
		*dst, err = strconv.Atoi(text)
	case *int64:
		*dst, err = strconv.ParseInt(text, 10, 64)
	case *bool:
		*dst, err = strconv.ParseBool(text)
	case *time.Duration:
		*dst, err = time.ParseDuration(text)
		if err == nil && *dst%time.Millisecond != 0 {
			d.fail(path, v, text, "is finer than a millisecond", "write whole milliseconds")
			return
		}
	case *Size:
		*dst, err = ParseSize(text)
	case *PortRange:
		*dst, err = ParsePortRange(text)
	}
	if err != nil {
		d.fail(path, v, text, "cannot be read", "write "+form(k.typ))
	}
}

// text returns a scalar's text if it is one that may stand in a configuration.
func (d *decoder) text(k *key, path string, v *value) (string, bool) {
	switch v.Kind {
	case isNull:
		d.fail(path, v, "", "has no value", `write one, "" for an empty one, or remove the line`)
		return "", false
	case isList, isTable:
		d.fail(path, v, "", "is not a single value", "write "+form(k.typ))
		return "", false
	}
	shown := showText(k.typ, v.Text)
	switch {
	case !utf8.ValidString(v.Text):
		d.fail(path, v, "", "is not UTF-8", "write it as UTF-8")
	case strings.ContainsFunc(v.Text, unicode.IsControl):
		d.fail(path, v, shown, "holds a control character", "write it in one line without tabs")
	case strings.TrimSpace(v.Text) != v.Text:
		d.fail(path, v, shown, "begins or ends with a space", "remove the space")
	case k.secret() && v.Text == Redacted:
		d.fail(path, v, "", "is the printed form of a secret, not the secret", "write the secret itself, or give it as "+k.env+fileSuffix)
	case k.typ == reflect.TypeFor[URL]() && strings.Contains(v.Text, Redacted):
		d.fail(path, v, shown, "is the printed form of a URL, without its secret", "write the URL itself")
	default:
		return v.Text, true
	}
	return "", false
}

// showText is a value as it may appear in a report.
func showText(t reflect.Type, text string) string {
	switch t {
	case reflect.TypeFor[Secret]():
		return Secret(text).String()
	case reflect.TypeFor[URL]():
		return URL(text).String()
	}
	return text
}

// flow reads a text that stands for a list or table, as variables hold them.
func (d *decoder) flow(path string, v *value) *value {
	if v.Kind != isText {
		return v
	}
	parsed, problem := parseYAML([]byte(v.Text), v.Origin)
	if problem != "" {
		d.fail(path, v, "", problem, "write "+form(settings().byPath[path].typ))
		return &value{Kind: isNull, Origin: v.Origin}
	}
	if parsed.Kind == isText {
		// Parsing it again would not make it a list.
		d.fail(path, v, "", "cannot be read", "write "+form(settings().byPath[path].typ))
		return &value{Kind: isNull, Origin: v.Origin}
	}
	return parsed
}

// texts reads a list of texts; one text is split at its commas.
func (d *decoder) texts(path string, k *key, v *value) []string {
	item := &key{path: k.path, env: k.env, typ: reflect.TypeFor[string]()}
	var list []string
	switch {
	case v.Kind == isText && strings.HasPrefix(v.Text, "["):
		parsed, problem := parseYAML([]byte(v.Text), v.Origin)
		if problem != "" || parsed.Kind != isList {
			d.fail(path, v, v.Text, "cannot be read", "write "+form(k.typ))
			return nil
		}
		return d.texts(path, k, parsed)
	case v.Kind == isText:
		for s := range strings.SplitSeq(v.Text, ",") {
			one := &value{Kind: isText, Text: strings.TrimSpace(s), Origin: v.Origin}
			if text, ok := d.text(item, path, one); ok && text != "" {
				list = append(list, text)
			}
		}
	case v.Kind == isTable:
		d.fail(path, v, "", "is not a list", "write "+form(k.typ))
	}
	for i, one := range v.List {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch text, ok := d.text(item, at, one); {
		case ok && text == "":
			d.fail(at, one, "", "is empty", "remove it from the list")
		case ok:
			list = append(list, text)
		}
	}
	return list
}

func (d *decoder) networks(path string, k *key, v *value, dst *[]netip.Prefix) {
	for _, text := range d.texts(path, k, v) {
		p, err := netip.ParsePrefix(text)
		if a, errAddr := netip.ParseAddr(text); errAddr == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		switch {
		case err != nil:
			d.fail(path, v, text, "is not a network", "write it like 10.0.0.0/8, or one address like 192.0.2.7")
		case p != p.Masked():
			d.fail(path, v, text, "has bits set beyond its length", "write "+p.Masked().String())
		default:
			*dst = append(*dst, p)
		}
	}
}

func (d *decoder) lists(path string, v *value, dst *map[string][]string) {
	switch v.Kind {
	case isNull:
		return
	case isTable:
	default:
		d.fail(path, v, "", "is not a table", "write "+form(reflect.TypeFor[map[string][]string]()))
		return
	}
	k := &key{path: path, typ: reflect.TypeFor[[]string]()}
	if len(v.Table) > 0 {
		*dst = make(map[string][]string, len(v.Table))
	}
	for _, e := range v.Table {
		at := join(path, shorten(e.Name))
		d.origins[at] = e.Value.Origin
		(*dst)[e.Name] = d.texts(at, k, e.Value)
	}
}

func (d *decoder) switches(path string, v *value, dst *[]Switch) {
	switch v.Kind {
	case isNull:
		return
	case isList:
	default:
		d.fail(path, v, "", "is not a list", "write "+form(reflect.TypeFor[[]Switch]()))
		return
	}
	for i, item := range v.List {
		var s Switch
		d.oneSwitch(fmt.Sprintf("%s[%d]", path, i), item, &s)
		*dst = append(*dst, s)
	}
}

func (d *decoder) oneSwitch(path string, v *value, dst *Switch) {
	fields := switchFields()
	if v.Kind != isTable {
		d.fail(path, v, "", "is not a switch", "write its fields: "+strings.Join(fields.sections[""], ", "))
		return
	}
	d.origins[path] = v.Origin
	for _, e := range v.Table {
		if fields.byPath[e.Name] == nil {
			remedy := "remove it"
			if like := suggest(e.Name, fields.paths()); like != "" {
				remedy = "did you mean " + like + "?"
			}
			d.fail(join(path, shorten(e.Name)), e.Value, "", "no such setting", remedy)
		}
	}
	for _, k := range fields.keys {
		given := v.get(k.path)
		if given == nil {
			given = &value{Kind: isText, Text: k.def, Origin: Origin{Source: FromDefault}}
		}
		field := k
		if k.secret() {
			field = &key{path: k.path, typ: k.typ, env: switchVariable(dst.Name, k)}
		}
		d.decode(field, join(path, k.path), given, k.field(reflect.ValueOf(dst).Elem()))
	}
}
