package page

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/hmsovereign/ringfence/authz"
)

// The services say what is wrong in English sentences. Those that a customer can
// meet are texts of the English catalogue under "said.", with {name} where a
// service fills something in: by that text they are found, and by its key said in
// the visitor's language. Some names say what is filled in:
//
//	{english}  somebody else's words, which stay English
//	{country}  a country's code (ISO 3166-1 alpha-2)
//	{whose}    a country, as an adjective or by its code: said.whose.NL
//	{id}       a UUID, of which the end will do: the beginning is the time
const (
	saidPrefix  = "said."
	saidGrant   = saidPrefix + "grant."
	saidCountry = saidPrefix + "whose."
)

// sentence is said in the visitor's language, except for the parts of it that are English whatever that is.
type sentence []part

type part struct {
	Text    string
	English bool
}

// own is a sentence of the page's.
func own(text string) sentence { return sentence{{Text: text}} }

// String is the sentence without the mark of what is English.
func (s sentence) String() string {
	var all strings.Builder
	for _, p := range s {
		all.WriteString(p.Text)
	}
	return all.String()
}

// sayings are the sentences of the services, by their English.
type sayings struct {
	whole  map[string]string // text -> key
	filled []saying
}

// saying is a sentence that a service fills something in.
type saying struct {
	key     string
	pattern *regexp.Regexp
	names   []string // of what is filled in
}

var blank = regexp.MustCompile(`\{[a-z]+\}`)

// newSayings reads the English catalogue.
func newSayings(words map[string]string) *sayings {
	all := &sayings{whole: map[string]string{}}
	for key, text := range words {
		if !strings.HasPrefix(key, saidPrefix) {
			continue
		}
		names := blank.FindAllString(text, -1)
		if names == nil {
			all.whole[text] = key
			continue
		}
		var pattern strings.Builder
		for i, part := range blank.Split(text, -1) {
			if i > 0 && names[i-1] == "{id}" {
				pattern.WriteString(`([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})`)
			} else if i > 0 {
				pattern.WriteString(`(.+?)`)
			}
			pattern.WriteString(regexp.QuoteMeta(part))
		}
		all.filled = append(all.filled, saying{key, regexp.MustCompile(`(?s)^` + pattern.String() + `$`), names})
	}
	// What says more comes first: "the endpoint answered ..." begins another sentence too.
	slices.SortFunc(all.filled, func(x, y saying) int {
		return cmp.Or(cmp.Compare(len(words[y.key]), len(words[x.key])), cmp.Compare(x.key, y.key))
	})
	return all
}

// find gives a sentence's key, and what is filled in for each {name}. The key is empty where the catalogue has none.
func (all *sayings) find(text string) (key string, with map[string]string) {
	if key = all.whole[text]; key != "" {
		return key, nil
	}
	for i := range all.filled {
		s := &all.filled[i]
		if found := s.pattern.FindStringSubmatch(text); found != nil {
			with = map[string]string{}
			for i, name := range s.names {
				with[name] = found[i+1]
			}
			return s.key, with
		}
	}
	return "", nil
}

// say says a service's sentence. One that the catalogue does not have stays as it is.
func (l *language) say(text string) sentence {
	if text == "" {
		return nil
	}
	key, with := l.sayings.find(text)
	if key == "" {
		return sentence{{Text: text, English: true}}
	}
	return l.fill(l.words[key], with)
}

// fill puts into a text of the catalogue what a service has said in its place.
func (l *language) fill(text string, with map[string]string) (s sentence) {
	for at := blank.FindStringIndex(text); at != nil; at = blank.FindStringIndex(text) {
		name := text[at[0]:at[1]]
		s = append(s, part{Text: text[:at[0]]}, part{l.filling(name, with[name]), name == "{english}"})
		text = text[at[1]:]
	}
	return append(s, part{Text: text})
}

// shownOfID is how much of an id's end is shown, in characters.
const shownOfID = 8

var decimal = regexp.MustCompile(`^[0-9]+\.[0-9]+$`)

// filling says what a service has filled in. On the English page that is as it is.
func (l *language) filling(name, value string) string {
	switch {
	case value == "":
	case name == "{id}":
		value = "…" + value[len(value)-min(len(value), shownOfID):]
	case l.tag == languages[0]:
	case name == "{country}":
		return l.country(value)
	case name == "{whose}":
		key := cmp.Or(l.sayings.whole[value], saidCountry+value)
		return cmp.Or(l.words[key], value)
	case decimal.MatchString(value):
		return strings.Replace(value, ".", l.words["format.decimal"], 1)
	}
	return value
}

// why says why credit was given or taken, as far as the grant's kind does not, nor the invoice beside it. What
// somebody has written by hand stays as it is, in whatever language.
func (l *language) why(g *authz.Grant, invoiced bool) string {
	key, with := l.sayings.find(g.Reason)
	if !strings.HasPrefix(key, saidGrant) {
		return g.Reason
	}
	if invoiced {
		if key == saidGrant+"purchase" {
			return ""
		}
		delete(with, "{id}")
	}
	why := strings.TrimSpace(l.fill(l.words[key], with).String())
	if strings.EqualFold(why, l.words["grant."+g.Kind]) {
		return ""
	}
	return why
}
