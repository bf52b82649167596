// Package cli holds what the subcommands that talk to a running sidecar share:
// the client of its admin API, the values their flags take, and how answers are
// laid out in a terminal.
package cli
