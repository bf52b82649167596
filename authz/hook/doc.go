// Package hook is the door for switches: an HTTP server that takes their
// questions and reports, hands them to the Authorizer and to Events, and writes
// the answers. This page is the contract for whoever connects a switch.
//
// # The rule
//
// Ask before the call is set up. Status 200 means: let the call go. Anything
// else, a time-out and a refused connection among it, means: do not. A switch
// that does no more than this is safe; the sole exception are emergency numbers,
// which its own dialplan should let pass even when nobody answers.
//
// # Authorize
//
//	curl http://127.0.0.1:8402/v1/authorize -d '{
//	  "call_id": "a84b4c76e66710@pc33.example.com",
//	  "direction": "outbound",
//	  "from": "+31850835037",
//	  "to": "+4915112345678"
//	}'
//
//	{"decision":"allow","call_id":"a84b4c76e66710@pc33.example.com","call_uid":"0198c3a0-1111-7222-8333-444455556666",
//	 "account":"org-1","number_id":"6f0c7a52-0000-4000-8000-000000000001","max_seconds":3600,"slice_seconds":60,
//	 "expires_at":"2025-12-13T12:04:00.000Z","on_failure":"continue"}
//
// The request's fields:
//
//	call_id    1 to 128 bytes of printable text; with switch and direction it names one leg
//	direction  inbound (somebody calls the account's number) or outbound
//	from, to   as the switch has them, up to 128 bytes; E.164 with "+" is best. An inbound
//	           caller who withholds the number has an empty from
//	account    optional; whose call it is. Without it, inbound is found by to, outbound by from
//	mode       optional; the tariff's mode
//	switch     optional; [A-Za-z0-9._-]{1,64}, "default" where there is only one
//	at         optional; the switch's time of asking. A request that is more than 60 s old is refused
//
// The answer's fields, each left out where it does not apply (an emergency call
// has no account; a quote has no call_uid):
//
//	max_seconds    end the call this long after its answer, whatever happens: the dead-man timer
//	slice_seconds  talk time that is held now; it is extended while the call lives
//	expires_at     when the hold lapses if the call is not answered
//	on_failure     what a switch with heartbeats does after three unanswered ones: continue or terminate
//	policy         which failure policy decided, when the balance could not be asked
//
// The same request again, for instance after a time-out, is the same call and
// gets the same answer. The same call id with other parties is a 409.
//
// A denial has its reason in an envelope:
//
//	402 {"error":{"code":"insufficient_credits","message":"..."}}
//
// An inbound denial also says what to play to the caller, where to find it, and
// how to end the call:
//
//	402 {"error":{"code":"insufficient_credits","message":"..."},
//	     "call":{"id":"a84b4c76e66710@pc33.example.com","status":"rejected"},
//	     "audio":{"prompt":"insufficient_credits","language":"en",
//	              "url":"http://127.0.0.1:8402/v1/audio/insufficient_credits.en.wav",
//	              "sip_uri":"sip:insufficient_credits@127.0.0.1:5092;lang=en"},
//	     "hangup":{"sip":402,"q850":21}}
//
//	400 invalid_request, missing_field       the request is wrong; param names the field; nothing to play
//	401 unauthorized                         the token is missing or wrong; nothing to play
//	402 insufficient_credits, spend_limit_reached
//	403 account_suspended, destination_blocked
//	404 account_not_found
//	405 method_not_allowed, 404 not_found    not a hook
//	409 call_conflict, call_ended
//	413 invalid_request                      more than 64 KiB
//	429 too_many_calls
//	503 balance_unavailable                  store down, overloaded, shutting down
//
// # Quote
//
// POST /v1/quote takes and answers the same, and reserves and records nothing.
//
// # Events
//
// Tell what became of the call, in any order, as often as you like:
//
//	curl http://127.0.0.1:8402/v1/events -d '{"type":"answered","call_id":"...","at":1765627200.123}'
//	curl http://127.0.0.1:8402/v1/events -d '{"type":"ended","call_id":"...",
//	     "answered_at":1765627200.123,"ended_at":1765627284.100,"cause":16}'
//
//	{"call_id":"...","call_uid":"...","status":"settled","duration_sec":84,"cost_units":84000,"cost_micros":98000}
//
// Send switch, account, direction, from and to with every event where the switch
// can: they find the call when memory cannot. Types:
//
//	answered   talk begins at answered_at, else at
//	ended      talk ends at ended_at, else at. answered_at must come with it unless an answered event
//	           came before; null says that the call was never answered, and so costs nothing
//	abandoned  the call was given up before its answer
//	heartbeat  the call lives; answered {"action":"continue|warn|hangup","remaining_seconds":n}, for
//	           switches that nobody can reach to hang up
//
// Other fields of an ended event: cause, a text or a Q.850 number, which never
// decides the duration; extra_cost, {"amount_micros":n,"currency":"EUR"}, a
// pass-through amount that is charged and shown apart. In the answer extra_units
// is its credit, and "duplicate":true says that the end was known already.
//
// Status 200 means that the event was worked, 202 with {"status":"kept"} that it
// is kept until it can be. Send it again on 503 and on silence. A 400 names what
// is wrong with it, and will do so again. Events are never shed.
//
// # Times
//
// at, answered_at and ended_at are RFC 3339 strings, or Unix seconds as a number
// or a numeric string, with a fraction if there is one ("1765627200.123456",
// as Kamailio's $TV(Sn) gives). Milliseconds are kept and exact, what is finer is
// cut off. Times before 2000 or after 2100 are refused. Empty is not given.
//
// # Form
//
// The body is one JSON object in strict UTF-8, of at most 64 KiB; its
// Content-Type does not matter. Fields that are not known are ignored, counted,
// and logged once by name, so that a switch may be configured ahead of its
// sidecar. Names are matched without regard to case; of a field that is given
// twice the last one counts. null and "" count as not given, except where null
// means never answered.
//
// # Emergency calls
//
// A to that is exactly an emergency number is let go before anything else is
// looked at: not the token, nor the other fields, the load, the account or the
// balance. The Authorizer is told so that the call can be recorded, but its
// refusal or silence changes nothing.
//
// # When the switch does not wait
//
// A switch that closes its connection before the answer does not get the call:
// its hold is given back at once. One that only stops reading leaves a hold that
// lapses at expires_at. Every decision has a deadline, 250 ms by default.
//
// # Listening
//
// TCP, on 127.0.0.1:8402 by default, and a unix socket beside it if one is
// configured (mode 0660). An address that is not loopback wants a bearer token
// or client certificates (mutual TLS); a configured token is wanted on every
// listener. Prompts are served without one.
//
// # For an embedder
//
//	srv, err := hook.New(hook.Config{Socket: "/run/ringfence/hook.sock"},
//		authorizer, events, prompts, logger, hook.NewMetrics(registry))
//	...
//	err = srv.Start(ctx)     // bound when it returns
//	...
//	err = srv.Shutdown(ctx)  // answers what is in progress, then returns
//
// A dialect for a switch that cannot speak this one lives in a folder of its own
// below this package, and passes the suite in hooktest.
package hook
