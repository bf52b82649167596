// Package e2e proves on the wire what Ringfence promises, with nothing in between
// that is not the real thing: sipp calls sipp through a Kamailio that runs
// deploy/kamailio/kamailio.cfg, which asks the project's own binary, which keeps
// its books in Redis and Postgres. The tests look only at what anybody can see:
// SIP messages and RTP packets with their times, the hooks' and the operator's
// HTTP, and the ledger as it is exported.
//
// The scenarios that sipp plays are in testdata; the tour in
// deploy/kamailio/README.md uses them too.
//
//	go test ./deploy/e2e                                   the suite
//	go test ./deploy/e2e -run '^$' -bench SetUp            what authorization adds to a call's set-up
package e2e
