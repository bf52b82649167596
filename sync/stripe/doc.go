// Package stripe sells credit: purchases through Stripe Checkout, invoices with VAT, refunds and disputes, and top-ups
// that a saved card pays by itself. With its sub-folders it is the only importer of Stripe's SDK.
//
// # A purchase
//
//	           committed            Stripe: paid, amount and currency as committed
//	(none) ---------------> open -------------------------------------------------> paid
//	                         | |                                                     | refund, dispute:
//	     nobody paid in time | | declined for good (top-ups)                         | units x given back / gross
//	                         v v                                                     v are taken again, in sum
//	                  expired   failed ------ the money came after all: paid        paid, less
//
// The row is committed before Stripe is asked, and holds all that the request is made of: a repetition after a crash is
// the same request under the same idempotency key (purchase:ID:STEP), so Stripe answers as it did. The grant and the
// change to paid are one transaction of the ledger, under the reference pi:PAYMENTINTENT; refunds are re:ID, disputes
// dp:ID:withdrawn and dp:ID:reinstated. So nothing counts twice, whatever is repeated or arrives out of order.
//
// # Events
//
//	         signed, saved, answered 200              worked
//	webhook --------------------------> waiting -----------------> done
//	list of events, every interval ---/    ^ |
//	                                       | | fails: again, later and later
//	                                       +-+ nothing can be made of it: aside, shown by ringfence stripe status,
//	                                           worked again by ringfence stripe replay
//
// An event only says what to look at: the worker asks Stripe for the object as it is now and brings the ledger to that.
// Purchases that are open are looked at as well, so a webhook that is missed or misconfigured costs seconds and no
// credit. Amounts or currencies other than those committed are kept aside and never credited.
//
// # Tax
//
// Prices are net. Mode table takes the rate from package vat, mode stripe leaves it to Stripe Tax, but for buyers in the
// EU whose VAT ID is not verified: Stripe Tax would believe it, so the table has them pay VAT. The invoice is the same as
// the quote before it: the purchase keeps the total that was quoted, and one that costs another is shown to the operator.
package stripe
