// Package usage reports settled talk time to Stripe, as billing meter events: each second once, whatever fails in
// between. It is for the customer's and the operator's information: the talk time is paid for already, so the meter
// must have no price above zero ([Meter.Check]).
//
// # A batch
//
// The ledger puts the seconds of an account's hour into a batch and freezes it, in one transaction, before Stripe hears
// of it. Calls that come later make further batches; seconds that a later record takes back are owed, and deducted from
// the account's next batches.
//
//	         begun, then sent             minute = seconds
//	frozen -------------------> sent -------------------------> proven
//	^  ^                       / | ^ \                             ^
//	|  +----------------------+  | |  \ something else is there:   |
//	|   refused, never unsure    | |   v somebody has to look      |
//	|                            | |  wrong --- looked at hourly --+
//	|   minute empty for an hour | |
//	|     and it is safe to send | |
//	|                 once more  +-+--> known: Stripe has its identifier, so that it only waits
//	|                              |      |
//	+------------------------------+------+
//	      minute empty for three days
//
// Stripe forgets an event's identifier after a day and takes no event older than 35 days, so neither can prove that a
// batch has arrived. Its minute does: batches of a customer have distinct minutes as their events' times, inside the
// hour that they are of, and Stripe sums a customer's minute up. Those sums lag behind; so an event counts as missing
// only when its minute has been empty for an hour after the last attempt, and is sent again under the same identifier,
// which Stripe refuses a second time within a day. Where that refuses nothing any more, since the first attempt was a day
// ago or its minute is too old for Stripe, an event counts as missing when its minute has been empty for three days. Only
// then does a batch that Stripe takes no more for its age get a minute of the present; the ledger keeps the hour it is of.
//
// # A customer that is gone
//
// Where Stripe does not have an account's customer, that is made anew ([Config]). The events of a customer go with it, so
// what was not proven by then counts as not reported: the minutes of the new customer are empty, and it is sent under that
// one, three days later if Stripe knows its identifier still. What was proven stays so.
//
// # Several sidecars
//
// One at a time has the turn to report, so that the rate of requests is that of all ([Config]). Whatever becomes of a turn, a
// batch is claimed for a time before it is worked on, and its attempt noted under that claim before it is sent: who comes
// after finds it sent, and looks first.
package usage
