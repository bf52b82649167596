// Package notify tells customers what happens to their calls and their credit: signed webhooks, and e-mail where credit
// runs low.
//
//	(inserted in the ledger's transaction of what it tells)
//	      |
//	      v      2xx
//	   pending --------> delivered ---(some days)--> forgotten
//	    ^  |  ^                 |
//	    |  |  | other answer,   | replayed
//	    |  +--+ time-out: due   |
//	    |  |    again later     |
//	    |  | a day old          |
//	    |  v                    |
//	    +- dead ----------------+--(longer)--> forgotten
//	 replayed
//
// # What is told
//
// [Notifier.Ended] runs in the transaction that takes calls into the ledger, [Notifier.Happened] in that of a grant, of
// a failed top-up, of a new threshold; [Notifier.Live] gets what the balance store's scripts put into the outbox about
// calls that go on. So nothing is told that did not happen, and nothing that happened is forgotten. A delivery's id
// follows from what it tells, so that a record that comes twice is told once.
//
//	status-update        in-progress, ended, ended-with-error (with error)
//	end-of-call-report   duration_seconds, cost, balance after the call
//	balance-low          under the account's threshold: once, until a top-up lifts it a tenth above or the threshold
//	                     moves; e-mailed at most once an hour unless topped up
//	balance-exhausted    not enough for the shortest call: once, until a top-up
//	credits-added        a grant
//	top-up-failed        the saved card was declined
//
// A call's messages go to the webhook of its number, or else of its account; the others to the account's.
//
// # How it is delivered
//
// Each try is a POST with the headers X-Webhook-Event, X-Webhook-Id, X-Webhook-Timestamp (Unix seconds) and
// X-Webhook-Signature, which is "sha256=" and in hexadecimal HMAC-SHA256(secret, timestamp + "." + body). Any 2xx
// acknowledges. Deliveries come at least once (the id tells a repetition) and, those of one call, in order: a later one
// waits until the earlier one is delivered or given up. Failed ones are tried again after 5 s, 10 s, 20 s ... up to two
// hours, for a day.
//
// One sidecar at a time works on what an account has for an endpoint, under a lease in the ledger, so that any number of
// sidecars share the queue and order is kept; who waits longest is next, and e-mail has workers of its own. A breaker
// opens after five failures in a row; accounts that share an endpoint have one each:
//
//	closed --(5 failures)--> open --(10 s ... 10 min)--> one is tried --(2xx)--> closed, all that waits is due
//	                          ^                               |
//	                          +-------------(failure)---------+
//
// # What a customer's URL may reach
//
// Only public addresses: each is looked at when the connection is made, after DNS, so that a name that leads elsewhere
// a second later changes nothing. No proxy is used, redirects are not followed, answers are read up to a few kilobytes.
package notify
