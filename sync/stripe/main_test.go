package stripe_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"testing"

	"go.uber.org/goleak"

	"github.com/hmsovereign/ringfence/deploy/services"
)

func TestMain(m *testing.M) {
	flag.Parse()
	settings := map[string]string{"rapid.nofailfile": "true"} // a failed property prints its seed; files of it would only litter the tree
	if flag.Lookup("rapid.checks").Value.String() == "100" {
		settings["rapid.checks"] = "20" // each waits for the ledger and Stripe many times
	}
	// The tests wait more than they work. Whoever says -parallel is heeded.
	if n := runtime.GOMAXPROCS(0); flag.Lookup("test.parallel").Value.String() == fmt.Sprint(n) {
		settings["test.parallel"] = fmt.Sprint(4 * n)
	}
	for name, value := range settings {
		if err := flag.Set(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(services.Main(m))
}
