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
//	reap        final states, end-marks -> none
//	lease, register            who sweeps, who is alive
//
// # Keys
//
// Every key of an account is in one slot, so that one script may touch it all
// on Redis Cluster; NN is the account's partition.
//
//	rf:{pNN}:a:<account>   hash: av held seq n sp gr gs day ds st rm rc rj, and c:<switch>:<direction>:<call_id> per call
//	rf:{pNN}:accounts      set: the partition's accounts
//	rf:{pNN}:outbox        stream: records that wait for the ledger
//	rf:{pNN}:index         hash: call key -> "epoch account" (NN is the call key's own partition), written off the decision path
//	rf:{sys}:deployment    hash: what was fixed when the deployment was made
//	rf:{sys}:sidecars      hash: names, epochs and leases of the sidecars
//	rf:{sys}:leases        hash: named leases
//
// In the account hash av + held + sp = gr always: what is available, held and
// settled is what was granted. seq rises with every change that moves credit.
//
// # Requests share pipelines
//
// Concurrent calls of one Store are collected, without waiting, into pipelines:
// whatever has queued up while the last one was under way goes out as the next.
package balance
