package tariff

import (
	"errors"
	"fmt"
)

// Direction says which way a call leg goes, as its account sees it. The zero
// value is neither, so that a forgotten direction is an error and not a price.
type Direction uint8

const (
	// Inbound: somebody calls the account's number.
	Inbound Direction = iota + 1
	// Outbound: the account calls somebody.
	Outbound
)

// ErrDirection: a direction other than "inbound" and "outbound".
var ErrDirection = errors.New(`direction must be "inbound" or "outbound"`)

// ParseDirection reads "inbound" or "outbound". Errors: ErrDirection.
func ParseDirection(s string) (Direction, error) {
	switch s {
	case "inbound":
		return Inbound, nil
	case "outbound":
		return Outbound, nil
	}
	return 0, fmt.Errorf("%w, not %.40q", ErrDirection, s)
}

// Valid reports whether d is Inbound or Outbound.
func (d Direction) Valid() bool { return d == Inbound || d == Outbound }

// String returns "inbound" or "outbound".
func (d Direction) String() string {
	switch d {
	case Inbound:
		return "inbound"
	case Outbound:
		return "outbound"
	}
	return fmt.Sprintf("direction(%d)", uint8(d))
}

// MarshalText writes "inbound" or "outbound". Errors: ErrDirection.
func (d Direction) MarshalText() ([]byte, error) {
	if !d.Valid() {
		return nil, fmt.Errorf("%w, not %d", ErrDirection, uint8(d))
	}
	return []byte(d.String()), nil
}

// UnmarshalText reads what MarshalText writes. Errors: ErrDirection.
func (d *Direction) UnmarshalText(b []byte) error {
	v, err := ParseDirection(string(b))
	if err != nil {
		return err
	}
	*d = v
	return nil
}
