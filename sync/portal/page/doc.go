// Package page is "Settings > Billing" in a browser: what an account has left,
// its live calls, usage, calls and statement, credit to buy, invoices, billing
// details, alerts, webhook and API keys. It is served under [Path], rendered
// here from embedded templates, and needs no script; a little of it makes the
// balance fall and the calls run while they are watched.
//
// # A session's life
//
//	              API key, or link      sign out, 12 h, 2 h unused, its key revoked
//	signed out -------------------> in ---------------------------------------------> over
//	                                 |  ^
//	                                 +--+  signing in again: a new token, the old one ends
//
// The browser keeps a random token in a cookie that scripts cannot read; the
// ledger keeps its SHA-256, so that any sidecar knows the session and a stolen
// ledger opens none. A sign-in link works once, and only when the button behind
// it is pressed: programs that look at links in messages do not use it up.
//
// # What keeps others out
//
// Every form repeats a secret of its session, and requests that a browser says
// come from another site are refused before they are looked at. The
// Content-Security-Policy allows this origin's own files and nothing else, and
// of other sites only the payment page as the target of a form. Nothing that is
// sent here becomes the target of a redirection: the addresses that the payment
// page returns to are made here. Whatever belongs to another account is not
// found.
//
// # How much is answered
//
// An account's requests are counted in windows of a minute that all sidecars
// share, those that change something or ask others more tightly: 429 with
// Retry-After beyond. Failed sign-ins are counted by address; a key or a link
// that is in force signs in whatever its address did before.
//
// # Without a part
//
// The shop, top-ups, invoices, billing details and notices are somebody else's:
// where one is not configured (no Stripe key) its section says that it is not
// available here. Without Redis the balance comes from the ledger and the calls
// of this moment are missing, which the page says; without the ledger there is
// nothing to sign in to: 503.
package page
