package config

import (
	"fmt"
	"io"
	"log/slog"
)

// Redacted stands in print for a secret that is set. It is refused as a
// secret's value, so that a printed configuration cannot be fed back unnoticed.
const Redacted = "(redacted)"

// Secret is a text that shows itself only to [Secret.Reveal]. Every verb of fmt
// (but %p, for which fmt asks nobody and go vet complains), encoding/json, yaml
// and log/slog get [Redacted], or nothing if it is empty.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String returns [Redacted], or "" for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return Redacted
}

// GoString is String as a Go literal.
func (s Secret) GoString() string { return fmt.Sprintf("config.Secret(%q)", s.String()) }

// Format answers every verb with String, also those, such as %d, for which fmt
// would print the text itself in its complaint.
func (s Secret) Format(f fmt.State, verb rune) { redactedFormat(f, verb, s.String(), s.GoString()) }

// MarshalText returns String; encoding/json uses it too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalYAML returns String.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// LogValue returns String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

func redactedFormat(f fmt.State, verb rune, plain, syntax string) {
	switch {
	case verb == 'v' && f.Flag('#'):
		plain = syntax
	case verb == 'q':
		plain = fmt.Sprintf("%q", plain)
	}
	// fmt.State hands its errors to whoever called fmt.
	_, _ = io.WriteString(f, plain)
}
