// Package directory answers who an account, a number or a tariff is, from
// memory: a look-up neither waits for a store nor allocates.
//
// The life of a [Directory]:
//
//	         snapshot read             source answers
//	empty -----------------> stale <------------------> following --+
//	  |                        ^      source is silent     |   ^    | changes; full load on a gap
//	  |  full load             |                           |   +----+
//	  +------------------------|---------------------------+
//	                           |  source is whole again    | source has lost what it held
//	                           +--------- lost <-----------+
//
// Empty is not ready: nothing can be said to be unknown, so the caller answers
// 503 and never 404. In every other state the directory answers with what it
// knows; only in following is it [Directory.Fresh].
//
// Accounts and numbers that vanish from the source without having been removed
// are lost, not deleted: the directory keeps them and says so, until the source
// has been filled again from the durable truth ([Redis.Replace]).
//
// # Where it comes from
//
// A [Source] gives everything at once and then the changes. [Redis] is the
// source that sidecars share: it mirrors the ledger, each change with the revision
// that the ledger gave it.
//
//	rf:{dir}:meta             hash: gen (who filled it), n (changes so far), complete (1: filled from the durable truth)
//	rf:{dir}:accounts         hash: id -> {"rev":7,"value":{...}}
//	rf:{dir}:numbers          hash: E.164 -> the same; without a value: removed
//	rf:{dir}:tariffs          hash: id -> the same
//	rf:{dir}:changes          stream, bounded: entry n-0 says of which kind and key change n is
//	rf:{dir}:stage...         what Replace is filling
//
// All keys are in one slot, so that it works unchanged on one node, through
// Sentinel and on Redis Cluster.
//
// # Snapshot
//
// The directory writes what it knows to a file, so that a sidecar that starts
// while Redis or the ledger is away serves calls from it.
package directory
