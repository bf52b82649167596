package journal

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

func call(n int) *authz.Call {
	return &authz.Call{Key: authz.Key{Switch: "kam-1", Direction: authz.Outbound, CallID: fmt.Sprintf("call-%d@10.0.0.12", n)},
		Account: "org-1", UID: uuid.UUID{1, byte(n >> 16), byte(n >> 8), byte(n)}, State: authz.StateHeld, Epoch: 7, Hash: "zRkLmPqXw3E",
		Held: 60_000, UntilMS: 60_000, CreatedAt: 1_765_627_200_000, ExpiresAt: 1_765_627_440_000,
		Price:  tariff.Price{Rate: 60_000, MicrosRate: 70_000, Initial: 1, Step: 1, CreditPrice: 70_000},
		Detail: authz.Detail{From: "+31850835037", To: "+31201234567", Currency: "EUR"}}
}

func open(t *testing.T, dir string) (*Journal, Left) {
	t.Helper()
	j, left, err := Open(dir, "one", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return j, left
}

// TestWhatIsLeft: what one process noted, the next one reads.
func TestWhatIsLeft(t *testing.T) {
	dir := t.TempDir()
	j, left := open(t, dir)
	if left.Clean || len(left.Calls)+len(left.Records)+len(left.Unproven) > 0 {
		t.Errorf("of nothing is left %+v", left)
	}
	answered := *call(2)
	answered.State, answered.AnsweredAt = authz.StateLive, answered.CreatedAt+5000
	charged, recorded := uuid.New(), uuid.New()
	for _, n := range []int{1, 2, 3} {
		j.On(call(n))
	}
	j.On(&answered)
	j.Off(call(3).Key)
	j.Charged(charged, "s\t1\tone")
	j.Charged(recorded, "s\t2\ttwo")
	j.Recorded(recorded)
	j.Abandon()

	j, left = open(t, dir)
	want := map[uuid.UUID]authz.Call{call(1).UID: *call(1), answered.UID: answered}
	if diff := cmp.Diff(want, left.Calls); diff != "" || left.Clean {
		t.Errorf("calls left, clean %t (-want +got):\n%s", left.Clean, diff)
	}
	if diff := cmp.Diff(map[uuid.UUID]string{charged: "s\t1\tone"}, left.Records); diff != "" {
		t.Errorf("records left (-want +got):\n%s", diff)
	}
	c := call(1)
	j.Unproven(c)
	j.Found(answered.UID)
	j.Abandon()

	j, left = open(t, dir)
	if diff := cmp.Diff(map[uuid.UUID]authz.Call{c.UID: *c}, left.Unproven); diff != "" || len(left.Calls) > 0 {
		t.Errorf("unproven calls left, beside %d that are sought (-want +got):\n%s", len(left.Calls), diff)
	}
	if err := j.Close([]authz.Call{answered}, left.Records); err != nil {
		t.Fatal(err)
	}
	j, left = open(t, dir)
	defer j.Abandon()
	if !left.Clean || len(left.Calls) != 1 || len(left.Unproven) != 1 || len(left.Records) != 1 {
		t.Errorf("after a soft stop is left %+v", left)
	}
}

// TestWrittenAnewWhenMostIsOver: a file that grows by calls that are on stays
// as it is; one of calls that are over becomes small again.
func TestWrittenAnewWhenMostIsOver(t *testing.T) {
	const calls = 120_000 // well above grownLeast
	dir := t.TempDir()
	j, _ := open(t, dir)
	on := map[int]bool{}
	anew := 0
	run := func() {
		ctx, stop := context.WithCancel(context.Background())
		stop() // one turn
		j.Run(ctx, Source{Records: func() map[uuid.UUID]string { return nil }, Calls: func() []authz.Call {
			anew++
			var all []authz.Call
			for n := range maps.Keys(on) {
				all = append(all, *call(n))
			}
			return all
		}})
	}
	for n := range calls {
		on[n] = true
		j.On(call(n))
	}
	run()
	if j.size < grownLeast || anew != 0 {
		t.Fatalf("%d calls on: %d bytes, written anew %d times", calls, j.size, anew)
	}
	for n := range calls - 1 {
		delete(on, n)
		j.Off(call(n).Key)
	}
	run()
	if info, err := os.Stat(j.path); err != nil || anew != 1 || info.Size() > 1000 {
		t.Errorf("all calls but one over: written anew %d times, %v, %v", anew, info, err)
	}
	run()
	if j.Abandon(); anew != 1 {
		t.Errorf("written anew again")
	}
	j, left := open(t, dir)
	defer j.Abandon()
	if len(left.Calls) != 1 {
		t.Errorf("%d calls left, want 1", len(left.Calls))
	}
}

// BenchmarkOn is what a call that is let go costs.
func BenchmarkOn(b *testing.B) {
	j, _, err := Open(b.TempDir(), "one", slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer j.Abandon()
	c := call(1)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if j.On(c); n%1000 == 0 {
			j.flush()
		}
	}
}
