// Package services starts real Redis, Sentinel, Redis Cluster and Postgres servers, and the project's own binary, for
// tests. Only test files import it.
//
// Each server is private to the test that asked for it: it listens on a free port of 127.0.0.1, keeps its data in a
// temporary directory, is ready when the call returns, and ends with the test. The life of one:
//
//	         Redis(t), Postgres(t) ...
//	             |
//	             v        Pause
//	Start +-> running <-----------> paused
//	      |      |        Resume      |
//	      |      | Stop, Kill         | Kill, Stop
//	      |      v                    |
//	      +-- stopped <---------------+
//	             |
//	             v  end of the test: stopped if need be, directory removed, log shown if the test failed
//	            gone
//
// A server keeps its port and its data directory over Stop, Kill and Start; what survives is up to the server's own
// durability ([AppendOnly] or [AppendAlways] for Redis, the write-ahead log for Postgres). The port is reserved for as
// long as the test runs, so that nothing else takes it while the server is down.
//
// A process started here does not outlive the test binary, however that ends: the kernel signals it when its parent
// dies (Linux, PR_SET_PDEATHSIG). That signal is tied to the thread that forked, not to the process, so one goroutine
// for each child stays locked to its thread from fork to exit.
//
// A program that is not installed fails the test when CI=true or RINGFENCE_REQUIRE_SERVICES=1, and otherwise skips
// it; either way [Missing] names the command that installs it. deploy/install.sh installs everything.
//
// Methods that take no testing.TB (Kill, Start, Pause ...) may be called from any goroutine: what goes wrong is
// reported with Errorf on the test that made the server. Functions that take one follow testing's rule for FailNow:
// call them on the test's goroutine.
package services
