// Package ledger is the durable truth: who the accounts are, what was granted to them, and what their calls cost.
//
// [Ledger] is one type over two databases: package ledger/postgres for a deployment of several sidecars,
// package ledger/sqlite for an embedded one. Each brings the statements in its dialect, migrations and a [Driver];
// ledger/ledgertest is the suite that both pass.
//
// # A call in the ledger
//
// Records come from the outbox at least once, in any order. A call has one row, under its uid, which only rises in rank:
//
//	         +-----------> rejected ---+
//	         |                 |       |
//	(none) --+-----------> released ---+---> lost ---> settled
//	         |                                 ^          ^
//	         +---------------------------------+----------+
//
// A record of higher rank than the row replaces it, whatever lies between, and the account is charged the difference of
// the two; one of equal or lower rank changes nothing. Settled and lost calls cost; released and rejected ones never do.
//
// # Money
//
// Whoever moves an account's money locks its row of account_sums first (several accounts in the order of their ids) and
// changes it in the same transaction, together with the sums of the UTC hour that a call ended in. So a balance is read
// in constant time, and a month of any number of calls is the sum of its hours; [Ledger.Check] adds the rows up again.
// Grants are numbered 1, 2, 3 ... per account under that lock, without a gap.
//
// # Further rows in one transaction
//
// [Ledger.Ingest] takes functions that run in its transaction with the calls that changed ([Then]), and
// [Ledger.Update] runs any steps in one: what must not be lost between a call and its consequence (a delivery to
// a customer's webhook, a purchase and its grant) is written there through methods of [Tx].
package ledger
