// Package bench is the load command: it drives a running sidecar over its hook
// API and, in the same run, the same Redis with the same script and nothing in
// between, so that what it prints is a ratio and not a property of the machine.
//
// Phases, each with its own calls and bounded in time:
//
//	raw      EVALSHA of the authorize script, one connection a client, unpipelined
//	hook     POST /v1/authorize, one connection a client
//
// closed loop (each client asks again as soon as it is answered) for
// throughput, and open loop (at a fixed rate, latency counted from the moment
// the request was due) for latency. Afterwards every hold is given back.
package bench
