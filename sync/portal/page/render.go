package page

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	textlang "golang.org/x/text/language"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

//go:embed templates/*.html
var templates embed.FS

// views are the pages in every language, and who reads which.
type views struct {
	all     map[string]map[string]*template.Template // language -> page
	langs   []*language
	matcher textlang.Matcher
}

// loadViews reads templates and catalogues. files are the addresses of the static files.
func loadViews(files map[string]string) (views, error) {
	langs, err := loadLanguages()
	if err != nil {
		return views{}, err
	}
	tags := make([]textlang.Tag, len(langs))
	v := views{all: map[string]map[string]*template.Template{}, langs: langs}
	pages, err := fs.Glob(templates, "templates/*.html")
	if err != nil {
		return views{}, err
	}
	for i, l := range langs {
		tags[i] = textlang.MustParse(l.tag)
		v.all[l.tag] = map[string]*template.Template{}
		shared, err := template.New("").Funcs(l.funcs(files)).ParseFS(templates, "templates/_*.html")
		if err != nil {
			return views{}, err
		}
		for _, file := range pages {
			name := strings.TrimSuffix(path.Base(file), ".html")
			if name[0] == '_' {
				continue
			}
			t, err := shared.Clone()
			if err == nil {
				t, err = t.ParseFS(templates, file)
			}
			if err != nil {
				return views{}, fmt.Errorf("%s: %w", file, err)
			}
			v.all[l.tag][name] = t
		}
	}
	v.matcher = textlang.NewMatcher(tags)
	return v, nil
}

// match finds the language for an Accept-Language header (RFC 9110 12.5.4).
func (v *views) match(accept string) *language {
	_, i := textlang.MatchStrings(v.matcher, accept)
	return v.langs[i]
}

// funcs are what templates can call.
func (l *language) funcs(files map[string]string) template.FuncMap {
	return template.FuncMap{
		"t": l.text, "n": l.plural, "whole": l.whole, "credits": l.credits, "change": l.change, "brief": l.brief, "money": l.money, "price": l.price, "cents": l.cents,
		"percent": l.percent, "clock": l.clock, "date": l.date, "moment": l.moment, "month": l.month,
		"minutes":   func(sec int64) string { return l.brief(credit.Units(credit.MinutesOfSeconds(sec))) },
		"reason":    l.reason,
		"why":       l.why,
		"lang":      func() string { return l.tag },
		"countries": func() []country { return l.countries },
		"country":   l.country,
		"static":    func(name string) string { return files[name] },
		"iso":       func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"micros":    func(u credit.Units, price credit.Micros) credit.Micros { return u.Micros(price) },
		"field":     newField,
		"path":      func(parts ...string) string { return Path + "/" + strings.Join(parts, "/") },
		"neg":       func(u credit.Units) bool { return u < 0 },
		"units":     typedUnits,
		"place":     newPlace,
	}
}

func (l *language) country(code string) string {
	for _, c := range l.countries {
		if c.Code == code {
			return c.Name
		}
	}
	return code
}

// reason says in words why a call ended, or was none: the denial's code, what
// the meter did, or the switch's cause (Q.850).
func (l *language) reason(state, code string) string {
	if code == "" {
		return ""
	}
	if s, ok := l.words["reason."+code]; ok {
		return s
	}
	if s, ok := l.words["cause."+code]; ok {
		return s
	}
	if state == "rejected" {
		return l.text("reason.other")
	}
	return l.text("cause.other", "code", code)
}

// field is one of a form, as the template of that name shows it.
type field struct {
	Form         *form
	Name, Label  string
	Type, Hint   string
	Autocomplete string
	Required     bool
	Mode         string // inputmode
	Value        string
	Problem      sentence
}

// newField makes one: pairs are type, hint, autocomplete, mode and required.
func newField(of interface{ self() *form }, name, label string, pairs ...string) field {
	f := of.self()
	x := field{Form: f, Name: name, Label: label, Type: "text", Value: f.Values[name], Problem: f.Wrong[name]}
	for i := 0; i+1 < len(pairs); i += 2 {
		switch v := pairs[i+1]; pairs[i] {
		case "type":
			x.Type = v
		case "hint":
			x.Hint = v
		case "autocomplete":
			x.Autocomplete = v
		case "mode":
			x.Mode = v
		case "required":
			x.Required = v != ""
		case "value":
			x.Value = v
		}
	}
	return x
}

// Describes names what belongs to the field, for those who cannot see it: its problem and its hint.
func (f field) Describes() string {
	var ids []string
	if f.Problem != nil {
		ids = append(ids, f.Name+"-problem")
	}
	if f.Hint != "" {
		ids = append(ids, f.Name+"-hint")
	}
	return strings.Join(ids, " ")
}

// place is one of the navigation.
type place struct {
	Key, To string
	Here    bool
}

func newPlace(here, name, to string) place {
	return place{"nav." + name, strings.TrimSuffix(Path+"/"+to, "/"), here == name}
}

// shown is what every template is given.
type shown struct {
	Account *authz.Account
	CSRF    string
	Here    string // the section of the navigation
	Done    string // what a form has done, from the catalogue
	Undone  bool   // it was left, and has done nothing
	Path    string // of the request, for "refresh"
	Data    any
}

// notPaid is what has been done by whoever comes back from the payment page without having paid.
const notPaid = "not-paid"

// dones are what may be said after a redirection.
var dones = map[string]string{"out": "done.out", "details": "done.details", "alerts": "done.alerts", "webhook": "done.webhook", "webhook-off": "done.webhook_off",
	"sent": "done.sent", "top-up": "done.top_up", "top-up-off": "done.top_up_off", "card-removed": "done.card_removed", notPaid: "done.not_paid", "revoked": "done.revoked"}

// render answers with a page; here names its place in the navigation.
func (v *visit) render(status int, name, here string, data any) error {
	return v.execute(status, name, "layout", here, data)
}

// fragment answers with a part of a page.
func (v *visit) fragment(status int, name, part string, data any) error {
	return v.execute(status, name, part, "", data)
}

func (v *visit) execute(status int, name, part, here string, data any) error {
	t, ok := v.page.views.all[v.lang.tag][name]
	if !ok {
		return fmt.Errorf("there is no template %q", name)
	}
	s := shown{Account: v.account, CSRF: v.csrf(), Here: here, Path: v.r.URL.RequestURI(), Data: data}
	if key, ok := dones[v.r.URL.Query().Get("done")]; ok && v.r.Method == http.MethodGet {
		s.Done, s.Undone = v.lang.text(key), key == dones[notPaid]
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, part, &s); err != nil {
		return err
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.lang.tag)
	v.w.WriteHeader(status)
	_, _ = v.w.Write(b.Bytes()) // a browser that is gone needs no answer
	return nil
}
