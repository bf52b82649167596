// Package authz holds the words every other package speaks (call, hold, event,
// record, decision, denial) and the Authorizer, which decides who may call and
// for how long.
//
// A call's life:
//
//	           authorize                 answered               ended / killed / lost
//	(none) ---------------> held ------------------> live ----------------------------> settled
//	   |                      |                        |  ^
//	   | denied               | ended, abandoned,      |  | extend (next slice, before the hold runs out)
//	   v                      | or the hold expired    +--+
//	rejected               released ---- answered or ended with talk time after all: held again, or charged in full
//
// The states are kept by the balance store (authz/balance); the meter package
// moves live calls along; authz/hook is the switch's door to both.
package authz
