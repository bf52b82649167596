package stripe_test

import (
	"testing"

	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

// The sidecar dies at each step of a top-up; another one goes on, and the dead one wakes up again: the card is charged
// once, and the credit is there once.
func TestTopUpKilledAtEachStep(t *testing.T) { eachStep(t, 10, topUpKilled) }

// topUpKilled has a top-up worked by a sidecar that is killed at a step (0: never); it tells how many it took.
func topUpKilled(t *testing.T, at int64) int64 {
	r := newRig(t)
	s, stopFirst := r.start()
	acme, _ := r.saved(s, "acme", stripefake.CardVisa)
	stopFirst()
	f := newFreezer(at)
	r.killed(f, func() {
		r.topUp(s, acme)
		r.balances.spend(acme, 90*minute)
	}, func() { r.spendable(acme, 210*minute) })
	if g := r.granted(acme); g != 300*minute {
		t.Errorf("granted %d", g)
	}
	if n := len(r.fake.Objects("charge")); n != 2 {
		t.Errorf("the card was charged %d times, want 2", n)
	}
	return f.count.Load()
}
