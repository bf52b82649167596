// Package stripefake plays Stripe, in process, for tests and for the demonstration: an http.Handler with the state of
// one Stripe account, which stripe-go v76 talks to as it does to api.stripe.com.
//
//	fake, err := stripefake.New(stripefake.Config{})
//	base, err := fake.Start("")                      // for stripe.BackendConfig.URL, with the key stripefake.Key
//	fake.AddEndpoint(webhookURL, "whsec_...")        // signed webhooks go there
//	...
//	err = fake.Pay(sessionID)                        // what a customer does on the page of a Checkout session
//	fake.Advance(time.Hour)                          // what is due by then has happened when it returns
//	defer fake.Close()
//
// A Checkout session and its payment:
//
//	          create                       Pay, the page          Refund           FailRefund
//	(none) -----------> open, unpaid ----------------> complete, paid -----> refunded ------> paid
//	                    |  ^      |                          |
//	            Decline +--+      | PayAsync        Dispute  v     CloseDispute
//	                    |         v                       disputed -----------> won (reinstated), lost
//	  expire, 24 hours  |   complete, unpaid, processing
//	                    v         |
//	                 expired      +-- SettleAsync(true) ---> paid
//	                              +-- SettleAsync(false) --> unpaid for good
//
// An invoice goes from draft over finalize to open, then to paid (pay, or its page), void or uncollectible; an attempt
// that fails leaves it open. The invoice of a session is paid from its beginning.
//
// # What it does
//
// The endpoints in routes.go, in the API version that stripe-go v76 is pinned to, with form-encoded requests, expand[],
// pages, created ranges, metadata, errors in Stripe's envelope, idempotency keys (which keep declined payments too, and
// last 24 hours of the fake's clock), and refusal of parameters that it does not know. Money is in the currency's
// smallest unit. Cards are Stripe's test cards, see cards.go.
//
// Tax is either that of the tax rates of the lines, or (automatic tax, calculations) the standard rate of the buyer's
// EU country: nothing outside the EU, and reverse charge for a buyer in another EU country with an EU VAT id. As with
// Stripe Tax, the id needs not be verified for that. It is rounded half up on each line.
//
// Webhooks are sent one after the other in the order of their events, until the answer is 2xx; SetDelivery, Hold,
// Release, Discard and Redeliver make that worse. Inject has requests fail, hang, break, or take effect and then break.
//
// The clock is Config.Now, moved by Advance. In a synctest bubble it is the bubble's clock; use Through instead of
// Start there.
//
// # What it leaves out
//
// Subscriptions, coupons, Connect, setup and subscription mode, payment methods other than cards (PayAsync pretends a
// direct debit), manual capture, currencies without cents, credit notes, balance transactions as objects of their own,
// test clocks, e-mails. Invoices are not finalized or collected by themselves (auto_advance is kept and ignored), and
// paying one on-session never asks for authentication half-way: it is declined with authentication_required, as
// off-session. A dispute's evidence cannot be handed in. Amounts have limits, requests a rate only by Inject.
// Stripe's promises are kept where it makes more of them: events are sent at once, and lists show what was just made.
package stripefake
