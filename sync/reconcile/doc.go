// Package reconcile keeps Redis and the ledger at one, and fills Redis anew
// from the ledger where it was lost.
//
// # Rebuild
//
//	missing ------------------------------------+
//	(no books)                                  v
//	                             outbox read to where it ended  -->  what the ledger knows of the calls, then
//	open  ----> shut (no books) ----------------^                    its sums, are written
//	(went back)   |  ^                                                     |
//	  ^           |  | the ledger does not answer: open again, as it was   |
//	  +-----------+--+                                                     v
//	                                                            grace: new calls go by the failure policy
//	                                                                       |    every sidecar puts back its live calls
//	                                                                       |    (restore) and what it had charged and
//	                                                            open  <----+    neither outbox nor ledger has (replay)
//
// While an account has no books no script moves its credit: calls go by the
// failure policy, ends are kept and tried again. So once the outbox was read to
// where it ended, the ledger's sums are all there is, but for what Redis lost:
// and that every sidecar keeps until the ledger has it. The seq of an account
// that was rebuilt starts at the microseconds of the moment: records from before
// are below it, whatever became of Redis in between, and records from after it
// above it; so no charge is made again that is in the sums or came later.
//
// One sidecar at a time rebuilds a partition, under a lease; whoever begins
// fences off by a token whoever began before, so that two cannot add up.
//
// # What tells that Redis lost something
//
//	an account is missing         whoever asks for it says so; so does the comparison
//	a partition has no mark       looked for every second: all of it is rebuilt
//	its mark is of another Redis  a restart or a failover may have lost the last writes, and nothing in Redis tells
//	process                       which: every account is shut and rebuilt, a few at a time
//	an answer's seq is below one  Redis went back
//	that was seen before asking
//
// # Compare
//
// For each account, by what Redis has at one moment (seq S) and once the outbox
// was read to where it ended then:
//
//	granted in Redis  =  the ledger's grants up to Redis' grant_seq
//	settled in Redis  =  settled in the ledger, less its calls above S
//	held in Redis     =  the holds of its calls
//	available         =  granted - settled - held
//
// What differs is explained call by call, and shown as a metric. An account that
// never held still is told last, as not compared. By `ringfence reconcile` the
// ledger's own sums are held against its rows, too.
//
// # Repair
//
//	Redis differs                       it is rebuilt: the ledger is the truth. No entry: the ledger's credit is what it was.
//	                                    Report and log name the cause, and each call
//	a charge of Redis has no record     the sidecar that has it makes the charge again; if none has it in 10 s, Redis
//	                                    is all that knows: the ledger gets an adjustment "reconcile:UID:STATE" of as many
//	                                    units, which names the call. Should the record come after all, the next repair
//	                                    takes the adjustment back (":back")
//	the ledger refused the record       Redis is rebuilt without it; the report says which refused record it is.
//	                                    Tried again and taken, the account is rebuilt with it
//	the ledger contradicts itself       reported; nothing is repaired from it, and an operator has to look
//	calls that nobody can prove         named until they are accepted; nothing was charged for them
package reconcile
