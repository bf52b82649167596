package services

import (
	"testing"
	"time"
)

// Eventually calls check until it returns nil: every 5 ms at first, every 25 ms after 200 times, since what takes
// long has many tests to share the machine with. When timeout has passed and check still fails, the test ends with
// check's last error. It is for what sends no event of its own; inside a testing/synctest bubble it polls
// in the bubble's time.
func Eventually(t testing.TB, timeout time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	wait := pollStep
	for attempts := 1; ; attempts++ {
		err := check()
		if err == nil {
			return
		}
		if !time.Now().Before(deadline) {
			t.Fatalf("not within %v (%d attempts): %v", timeout, attempts, err)
		}
		time.Sleep(wait)
		if attempts == 200 {
			wait *= 5
		}
	}
}
