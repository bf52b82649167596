// Package sqlite keeps the ledger in one file: the embedded default, for one sidecar.
//
// Every commit is on disk before it is acknowledged (write-ahead log, synchronous=FULL). One connection writes, a few
// read beside it without waiting for it. While a ledger is open, an exclusive lock on the file NAME.lock beside it
// keeps a second sidecar out; the operating system lifts that lock when the process ends, however it ends.
//
// Times are kept as whole milliseconds since 1970 in UTC: they sort as numbers, and no two ways of writing a time
// compare differently. Call uids are kept as 16 bytes.
package sqlite
