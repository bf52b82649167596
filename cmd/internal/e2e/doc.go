// Package e2e proves what the parts promise together, on the real binary (built with the race detector) and a real
// Redis: processes are killed, paused and doubled in the middle of calls, and afterwards every call must have been
// settled once, to the second that the switch measured.
//
// It has no code of its own, only tests. What they share:
//
//	deployment   one Redis, its sidecars, and the switches they serve
//	sidecar      one process of the binary, which can be killed and started again
//	pbx          the switches' control URL: it takes orders and remembers them
//	leg          one call, as its switch drives it
//	books        what must hold afterwards: conservation, and one record that counts for each call
//
// Times of a call are real, and so are the stamps that the tests report; nothing waits for a fixed time, each wait is
// for an event and bounded generously, since the machine may be busy with other things.
package e2e
