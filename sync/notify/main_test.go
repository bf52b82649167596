package notify_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/hmsovereign/ringfence/deploy/services"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(services.Main(m)) }
