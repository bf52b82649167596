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
//
// Between the records stand notices of calls that go on, for customers who want
// to hear of them. They are handed on before the records that came with them, so
// that a customer hears of an answer before the end.
package outbox
