package config

import (
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
)

// URL is an address that may hold a password. It shows itself whole only to
// [URL.Reveal]; in print the password, and what looks like one in the query, is
// replaced by [Redacted].
type URL string

// Reveal returns the URL itself, password and all.
func (u URL) Reveal() string { return string(u) }

// String returns the URL with its secrets replaced.
func (u URL) String() string { return redactURL(string(u)) }

// GoString is String as a Go literal.
func (u URL) GoString() string { return fmt.Sprintf("config.URL(%q)", u.String()) }

// Format answers every verb with String.
func (u URL) Format(f fmt.State, verb rune) { redactedFormat(f, verb, u.String(), u.GoString()) }

// MarshalText returns String; encoding/json uses it too.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// MarshalYAML returns String.
func (u URL) MarshalYAML() (any, error) { return u.String(), nil }

// LogValue returns String.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// secret reports whether the URL holds something that is not shown.
func (u URL) secret() bool { return u.String() != string(u) }

// schemeForm is what may stand before "://" (RFC 3986, 3.1).
var schemeForm = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.-]*$`)

// secretWords mark the names of query parameters whose values are not shown.
var secretWords = []string{"pass", "pwd", "secret", "token", "apikey", "api_key", "auth", "%"}

// redactURL works on text, not on a parsed URL: what does not parse can hold a
// password all the same, mostly because a character in it was not encoded. An @
// in an unexpected place therefore hides everything after the scheme.
func redactURL(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || !schemeForm.MatchString(scheme) {
		if strings.ContainsRune(s, '@') || strings.Contains(strings.ToLower(s), "pass") {
			return Redacted
		}
		return s
	}
	scheme += "://"
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	if strings.ContainsRune(tail, '@') {
		return scheme + Redacted
	}
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		user, _, hasPassword := strings.Cut(authority[:at], ":")
		switch {
		case hasPassword:
			user += ":" + Redacted
		case strings.HasPrefix(scheme, "http"):
			// Web services take a lone token for a user.
			user = Redacted
		}
		authority = user + authority[at:]
	}
	return scheme + authority + redactQuery(tail)
}

// redactQuery replaces the values of parameters that are named like a secret.
func redactQuery(tail string) string {
	path, query, ok := strings.Cut(tail, "?")
	if !ok {
		return tail
	}
	params := strings.Split(query, "&")
	for i, p := range params {
		name, value, _ := strings.Cut(p, "=")
		secret := func(word string) bool { return strings.Contains(strings.ToLower(name), word) }
		if value != "" && slices.ContainsFunc(secretWords, secret) {
			params[i] = name + "=" + Redacted
		}
	}
	return path + "?" + strings.Join(params, "&")
}
