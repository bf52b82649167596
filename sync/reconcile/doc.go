// Package reconcile keeps Redis and the ledger at one, and fills Redis anew
// from the ledger where it was lost.
//
// # Rebuild
//
//	partition without its mark,     wait until its outbox     write what is missing from the      announce
//	account missing, or behind  -->  is in the ledger     -->  ledger's sums (shut for a moment) -->  |
//	(seq below what was seen)                                                                         v
//	                             open  <--  every sidecar puts back its live calls (restore) and what it had
//	                                        charged and the ledger does not have (replay)
//
// One sidecar at a time rebuilds a partition, under a lease; since a rebuild
// writes absolute sums, and only what is missing, two at once cannot add up.
// While an account is shut the failure policy answers its calls.
//
// # Compare
//
// For each account, with the outbox read to its end on both sides:
//
//	granted in Redis  =  the ledger's grants up to Redis' grant_seq
//	settled in Redis  =  settled in the ledger + what waits in the outbox
//	held in Redis     =  the holds of its calls
//	available         =  granted - settled - held
//
// What differs is explained call by call, shown as a metric, and put right by
// --repair with an entry that names its cause.
package reconcile
