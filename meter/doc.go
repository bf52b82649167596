// Package meter owns the live calls of one sidecar: it buys each the next slice
// of talk time before the last one is used up, warns the caller when credit
// runs out, hangs up when the last held second is over, and makes sure that
// every call ends in exactly one settlement, however its end is learnt.
//
// A metered call:
//
//	      Track, adopt, claim                answered
//	(none) ------------------> held -------------------------> live <--------------+
//	                            |                              |  |  extend        |
//	                            | the hold lapses,             |  +----------------+
//	                            | abandoned, ended             |  credit: less than asked for
//	                            |                              v
//	                            |          credit came     running out ---> warned (once, warn_before the end)
//	                            |        live <-----------     |              |
//	                            |                              | last held second, killed, call limit
//	                            |                              v              |
//	                            |                           ending <----------+   hang up, again and again
//	                            |                              |
//	                            |                              | ended                 no end within lost_after,
//	                            v                              v                       heartbeats stopped,
//	                         released                       settled                    absent from two listings
//	                                                           ^                              |
//	                                                           +---- the end comes late --- lost
//
// The states that hold credit are Redis' (package authz); what lies between
// them, running out, warned and ending, is this package's and lives in memory:
// whoever takes a call over finds it out again with the next extension.
//
// # Ownership
//
// A sidecar registers under its name and gets a fencing epoch; each call in
// Redis carries its owner's. A sidecar that does not renew its lease is dead:
// another takes its calls over by comparing and setting the epoch, and the old
// owner's next extension is refused as fenced, whereupon it forgets the call.
// Starting anew under the same name takes the name over, and so the calls.
// An answered event makes the sidecar that hears it the owner.
//
// # Proof of life
//
// A call that nobody can vouch for is settled to its last proof of life. Where
// the switch can list its calls, or the call has sent heartbeats, only a listing
// or a heartbeat proves life; otherwise each extension counts, up to the limit
// that the switch was given, and the first hang-up that the switch takes, for it
// knew the call then. No answer from a switch is never taken for "no calls".
//
// # Ends are never shed
//
// An event that cannot be written, or whose call is not known yet, is kept in
// order per call and worked again until Redis took it, or until two full sweeps
// have missed its call: then it is an orphan, counted and shown.
package meter
