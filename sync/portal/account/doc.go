// Package account is the API of the customers themselves: what an account has
// left, what it has used, its calls and its statement, behind API keys.
//
//	GET /api/v1/account                                   balance, usage of the month
//	GET /api/v1/usage?start_date&end_date&limit&offset    charged calls, and what they add up to
//	GET /api/v1/calls?limit&offset&status                 all calls: live, ended, failed, rejected, lost
//	GET /api/v1/statement?start_date&end_date&format      grants and calls from opening to closing balance
//	GET /api/v1/openapi.json, openapi.yaml                the description of all this
//
// The fields that the customer's document names come first, in its order and
// with its JSON types; ours follow.
//
// # A key's life
//
//	        Create                      Revoke
//	(none) --------> live ------------------------------> revoked   401 api_key_revoked
//	                  |  \
//	                  |   \  Expire, Rotate: an end is set
//	                  |    v
//	                  |   live, with an end ------------> expired   401 api_key_expired
//	                  |                       its time
//	                  +-- Rotate --> a successor, live; both count until the old one's end
//
// Only a key's SHA-256 is kept. A look-up of one counts for less than a second,
// so that a revoked key stops within that on every sidecar, and at once where
// [Server.Invalidate] is told.
//
// # A request's way
//
//	who asks --> counted --> is there such a resource --> may they --> body --> answer
//	   |           429             404, 405               401, 403     413
//	   401 is answered later: what is wrong with the request itself comes first
//
// Every answer bears where its caller stands in the rate limit: a key's requests
// are counted in Redis, for all sidecars together; while that does not answer
// each sidecar counts alone. Requests without a key are counted by address, here.
//
// # When a store is down
//
// Without Redis the balance comes from the ledger, marked by the header
// X-Ringfence-Balance: ledger, active_calls is null, and /api/v1/calls lacks the
// calls of this moment, marked by X-Ringfence-Live-Calls: unknown. Without the
// ledger there is 503.
//
// # Calls
//
// A call's caller_phone is the other end and its agent_phone the account's, in
// either direction. started_at is the answer, ended_at the hangup, created_at when
// the switch asked. In usage created_at is the hangup, which decides day and
// month. A call that has just ended is listed when the ledger has it, usually
// within a second.
package account
