// Package outbox carries the records that calls leave behind from Redis to the
// ledger: each at least once, and the ledger takes each once.
//
//	(appended by the script that moved the credit)
//	     |
//	     v        XREADGROUP              commit                 XACK, XDEL
//	  waiting -----------------> pending ---------> in the ledger ---------> gone
//	                                |  ^                ^
//	              reader dies,      |  |                | what the ledger can never take is
//	              ledger is away    +--+                | set aside in it, counted and listed
//	              (read again)
//
// A partition's stream is read by one sidecar at a time, under a lease; the
// living sidecars share the partitions evenly. All of them are one consumer of
// one group, so whatever a dead reader left pending is the next one's first
// read. Two readers for a moment (a lease that ran out unnoticed) do no harm:
// the ledger counts a record once, and acknowledging twice is nothing.
package outbox
