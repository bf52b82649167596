// Package app wires a sidecar: New builds every part from one configuration in
// one plain function, Run starts them in order and stops them in the reverse
// one. The serve and demo commands and the tests all use it.
//
// Start: stores, directory, meter (epoch, recovery), outbox, then the listeners:
// ops, public, hooks last, so that the first switch that asks finds all in place.
// Stop: the hook listener drains (events still come in), the meter writes what it
// kept and gives its calls to a successor, the outbox is read to its end for a
// bounded time, then the stores close. A second signal hurries it.
package app
