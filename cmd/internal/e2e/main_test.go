package e2e

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hmsovereign/ringfence/deploy/services"
)

// patience bounds each wait for something that has no time of its own; nothing should take nearly as long.
const patience = 30 * time.Second

// startPatience is for a sidecar's start, which makes its ledger on disk and is all work: beside other tests and
// under the race detector it gets a small part of a processor.
const startPatience = 2 * time.Minute

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests wait for calls to last more than they work, so that more of them fit beside each other than there
	// are processors. Whoever says -parallel is heeded.
	if flag.Lookup("test.parallel").Value.String() == fmt.Sprint(runtime.GOMAXPROCS(0)) {
		if err := flag.Set("test.parallel", fmt.Sprint(3*runtime.GOMAXPROCS(0))); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(services.Main(m))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
