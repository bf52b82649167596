package balance_test

import (
	"flag"
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/hmsovereign/ringfence/authz/balance"
)

// TestMain also is the sidecar that TestRaceOfProcesses runs three of.
func TestMain(m *testing.M) {
	if addr := os.Getenv(sidecarRedis); addr != "" {
		os.Exit(sidecar(addr, os.Getenv(sidecarAccount), os.Stdin, os.Stdout, os.Stderr))
	}
	balance.LogTo(slog.New(slog.DiscardHandler)) // every refused dial would be told
	// A failed property prints its seed; files of it would only litter the tree.
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
