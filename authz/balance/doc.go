// Package balance keeps prepaid credit in Redis: one hash for each account, one
// packed field of it for each of its calls, changed only by the Lua scripts in
// scripts/, each of which is one atomic step of a call's life:
//
//	authorize   none, rejected -> held | rejected      one round trip, the decision path
//	answered    held, released -> live
//	extend      held, live     -> the same, more talk time
//	settle      live, held     -> settled | released   (released, lost -> settled after all)
//	            live           -> lost
//	release     held           -> released
//	claim       held, live     -> the same, another owner (fencing epoch)
//	adopt       anything but over -> held               let go unchecked while Redis was away
//	prove       live           -> the same, later proof of life
//	kill        held, live     -> the same, flagged
//	grant, open, status        the account itself
//	rebuild     the account anew, from the ledger's sums
//	restore     none -> held | live                     put back after a rebuild
//	replay      none, held, live, lost -> settled       charged again after a rebuild
//	reap        final states, end-marks -> none
//	lease, register            who sweeps, who is alive
//
// # Keys
//
// Every key of an account is in one slot, so that one script may touch it all
// on Redis Cluster; NN is the account's partition.
//
//	rf:{pNN}:a:<account>   hash: books, rejects, and c:<switch>:<direction>:<call_id> for each call (format: package authz, packed.go)
//	rf:{pNN}:accounts      set: the partition's accounts
//	rf:{pNN}:outbox        stream: records that wait for the ledger, and notices of calls that go on (package authz, notice.go)
//	rf:{pNN}:index         hash: call key -> "epoch account" (NN is the call key's own partition), written off the decision path
//	rf:{pNN}:filled        string: when the partition was filled from the ledger; missing means lost
//	rf:{sys}:deployment    hash: what was fixed when the deployment was made
//	rf:{sys}:sidecars      hash: names, epochs and leases of the sidecars
//	rf:{sys}:leases        hash: named leases
//
// The account's own numbers are one field, since that is what one read and one
// write of the decision path cost least in time, and an account in memory:
//
//	books    "available held seq calls day spent_that_day settled granted grant_seq status"
//	rejects  "minute recorded uncounted": rejected records written in that minute, and those beyond its cap
//	told     "kind at": the last notice of low credit in the outbox; gone with the next grant
//
// available + held + settled = granted always. seq rises with every change that
// moves credit. The status is active, suspended, or active@<Unix ms> for an
// account being rebuilt that opens then.
//
// # Requests share pipelines
//
// Concurrent calls of one Store are collected, without waiting, into pipelines:
// whatever has queued up while the last one was under way goes out as the next.
// A call that finds nothing under way sends itself.
//
// # What an error means
//
// authz.ErrDown: Redis did not say that it did the work. It may have, or may
// yet: an asker with a deadline cannot tell. Every script may be sent again.
package balance
