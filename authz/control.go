package authz

import "errors"

// Errors of a switch's control side, whatever its dialect.
var (
	// ErrNoSuchCall: the switch does not know the call.
	ErrNoSuchCall = errors.New("the switch has no such call")
	// ErrNoControl: the switch can be told so only in the answer to a heartbeat.
	ErrNoControl = errors.New("the switch has no control interface")
)
