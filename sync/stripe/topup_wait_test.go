package stripe

import (
	"testing"
	"time"
)

func TestNextWait(t *testing.T) {
	for last, want := range map[time.Duration]time.Duration{0: time.Minute, time.Minute: 2 * time.Minute, 20 * time.Minute: 40 * time.Minute,
		time.Hour: time.Hour, -time.Hour: time.Minute} {
		if got := nextWait(last); got != want {
			t.Errorf("after %v it waits %v, want %v", last, got, want)
		}
	}
}
