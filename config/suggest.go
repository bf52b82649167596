package config

import (
	"slices"
	"strings"
)

// unknownKey is the error for a name that is no setting. Its value is not
// shown: it may be a secret under a misspelt name.
func unknownKey(path string, origin Origin) *Error {
	remedy := "remove it"
	if like := suggest(path, settings().paths()); like != "" {
		remedy = "did you mean " + like + "?"
		if strings.Contains(like, ".") && like == path {
			section, name := like[:strings.LastIndexByte(like, '.')], like[strings.LastIndexByte(like, '.')+1:]
			remedy = "write " + name + " below " + section + ":, indented"
		}
	}
	return &Error{Field: shorten(path), Problem: "no such setting", Remedy: remedy, Origin: origin}
}

// suggest returns the known name that is most like the one given, or "" if none
// is like enough. A name that is right but for its section is like enough too.
func suggest(name string, known []string) string {
	if len(name) > 2*maxShown {
		return ""
	}
	slices.Sort(known)
	best, least := "", max(2, len(name)/4)+1
	for _, k := range known {
		if max(len(name)-len(k), len(k)-len(name)) >= least {
			continue // the distance is at least that
		}
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	if best != "" {
		return best
	}
	for _, k := range known {
		if k[strings.LastIndexByte(k, '.')+1:] == name[strings.LastIndexByte(name, '.')+1:] {
			return k
		}
	}
	return ""
}

// distance is the number of letters to insert, remove, replace or swap with
// their neighbour to turn one text into the other (Damerau-Levenshtein, optimal
// string alignment).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// shorten bounds a name that came from outside.
func shorten(s string) string {
	if len(s) > maxShown {
		s = strings.ToValidUTF8(s[:maxShown], "") + "..."
	}
	return s
}
