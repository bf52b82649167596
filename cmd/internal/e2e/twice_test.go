package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/deploy/services"
)

// Every hook is sent to both of two sidecars at once, and the events in an order of each one's own: each has its
// effect once.
func TestEveryHookToTwoSidecars(t *testing.T) {
	t.Parallel()
	d := deploy(t, nil)
	d.share()
	pair := []*sidecar{d.sidecar("one"), d.sidecar("two")}
	for _, s := range pair {
		s.listening()
	}
	a := d.open("acme", 100*minute, pair...)
	order := rand.New(rand.NewPCG(1, 2))
	calls := make([]*leg, 16)
	var all sync.WaitGroup
	for i := range calls {
		calls[i] = d.out(a, fmt.Sprintf("call-%d", i))
		if i%2 == 1 {
			calls[i].direction = "inbound"
		}
		orders := [][]int{order.Perm(3), order.Perm(3)}
		all.Go(func() { calls[i].twice(pair, orders) })
	}
	all.Wait()
	if t.Failed() {
		return
	}
	d.wantSettled(pair[0], calls...)
	for uid, records := range d.records(a) {
		if len(records) != 1 {
			t.Errorf("call %s has %d records: %+v", uid, len(records), records)
		}
	}
}

// twice drives a call past two sidecars. Its events are answered, a heartbeat and ended, in the orders given.
func (c *leg) twice(pair []*sidecar, orders [][]int) {
	t := c.d.t
	both := func(do func(s *sidecar, i int)) {
		var wg sync.WaitGroup
		for i, s := range pair {
			wg.Go(func() { do(s, i) })
		}
		wg.Wait()
	}
	uids := make([]string, len(pair))
	both(func(s *sidecar, i int) {
		a, err := s.send(http.MethodPost, s.hook+"/v1/authorize", c.fields(nil))
		if err != nil || a.status != http.StatusOK {
			t.Errorf("authorize %s at %s: %v %v", c.id, s.name, a, err)
		}
		uids[i] = a.text("call_uid")
	})
	if uids[0] != uids[1] {
		t.Errorf("%s is %s at one sidecar and %s at the other", c.id, uids[0], uids[1])
	}
	c.uid = uids[0]
	c.lift()
	c.hang() // what lies between is said by the stamps only
	c.ended = c.answered.Add(2345e6)
	events := []map[string]any{c.answeredEvent(), c.fields(map[string]any{"type": "heartbeat"}), c.endedEvent()}
	both(func(s *sidecar, i int) {
		for _, e := range orders[i] {
			a, err := s.send(http.MethodPost, s.hook+"/v1/events", events[e])
			if err != nil || a.status != http.StatusOK {
				t.Errorf("%v of %s at %s: %v %v", events[e]["type"], c.id, s.name, a, err)
			}
		}
	})
	both(func(s *sidecar, _ int) {
		a, err := s.send(http.MethodPost, s.hook+"/v1/events", c.endedEvent())
		if err != nil || a.status != http.StatusOK || a.body["duplicate"] != true {
			t.Errorf("the end of %s, told once more to %s: %v %v", c.id, s.name, a, err)
		}
	})
}

// What comes before its authorize bars it, at either sidecar; what contradicts what is known is refused.
func TestReorderedAndContradicting(t *testing.T) {
	t.Parallel()
	d := deploy(t, nil)
	d.share()
	one, two := d.sidecar("one"), d.sidecar("two")
	one.listening()
	two.listening()
	a := d.open("acme", 10*minute, one, two)
	want := func(what string, got answer, status int, code string) {
		t.Helper()
		if got.status != status || got.code() != code {
			t.Errorf("%s: %v, want %d %s", what, got, status, code)
		}
	}

	given := d.out(a, "given-up-first")
	given.report(one, given.fields(map[string]any{"type": "abandoned"}))
	want("authorize after abandoned", two.post("/v1/authorize", given.fields(nil)), http.StatusConflict, "call_ended")

	never := d.out(a, "ended-first")
	never.report(one, never.fields(map[string]any{"type": "ended", "answered_at": nil}))
	want("authorize after ended", two.post("/v1/authorize", never.fields(nil)), http.StatusConflict, "call_ended")

	talked := d.out(a, "talked-first") // its end is of a call that nobody knows: kept, and shown at last
	talked.lift()
	talked.hang()
	want("ended with talk, of no known call", one.post("/v1/events", talked.endedEvent()), http.StatusAccepted, "")
	want("authorize after it", two.post("/v1/authorize", talked.fields(nil)), http.StatusConflict, "call_ended")

	c := d.out(a, "contradicted")
	c.authorize(one)
	want("the same id to somebody else", two.post("/v1/authorize", c.fields(map[string]any{"to": "+31207654321"})), http.StatusConflict, "call_conflict")
	want("an end that does not say whether there was an answer", two.post("/v1/events", c.fields(map[string]any{"type": "ended"})),
		http.StatusBadRequest, "missing_field")
	c.answer(one)
	want("another answer", two.post("/v1/events", c.fields(map[string]any{"type": "answered", "at": stamped(c.answered.Add(-1e9))})),
		http.StatusConflict, "call_conflict")
	want("abandoned although answered", two.post("/v1/events", c.fields(map[string]any{"type": "abandoned"})), http.StatusConflict, "call_conflict")
	c.end(two)
	other := c.endedEvent()
	other["ended_at"] = stamped(c.ended.Add(1e9))
	want("another end", one.post("/v1/events", other), http.StatusConflict, "call_conflict")
	want("authorize of a call that is over", two.post("/v1/authorize", c.fields(nil)), http.StatusConflict, "call_ended")
	d.wantSettled(one, c)

	services.Eventually(t, patience, func() error {
		for _, s := range []*sidecar{one, two} {
			list, _ := s.admin(http.MethodGet, "orphans", nil).body["orphans"].([]any)
			if slices.ContainsFunc(list, func(o any) bool { return o.(map[string]any)["call"] == talked.key().String() }) {
				return nil
			}
		}
		return fmt.Errorf("the end of %s is not shown as an orphan", talked.id)
	})
}

// What is refused because of its call changes nothing for the account: its other calls go on at once.
func TestRefusalsLeaveTheAccountAlone(t *testing.T) {
	t.Parallel()
	d := deploy(t, nil)
	s := d.sidecar("only")
	s.listening()
	a := d.open("acme", 10*minute, s)
	held := d.out(a, "held")
	held.authorize(s)
	for i := range 3 {
		given := d.out(a, fmt.Sprintf("given-up-%d", i))
		given.report(s, given.fields(map[string]any{"type": "abandoned"}))
		for what, body := range map[string]map[string]any{"call_ended": given.fields(nil), "call_conflict": held.fields(map[string]any{"to": "+31207654321"})} {
			if got := s.post("/v1/authorize", body); got.status != http.StatusConflict || got.code() != what {
				t.Errorf("%v, want 409 %s", got, what)
			}
		}
	}
	// Whatever the sidecar makes of it, it does within a second or so.
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 40 {
		if got := s.post("/v1/quote", d.out(a, "next").fields(nil)); got.status != http.StatusOK {
			t.Fatalf("the next call: %v", got)
		}
		<-tick.C
	}
	if strings.Contains(s.Logs(), "went_back=true") {
		t.Error("the account was taken for one that Redis went back on")
	}
}

// Credit for N slices is N calls, however many ask at once, of however many sidecars.
func TestRaceForTheLastSlices(t *testing.T) {
	t.Parallel()
	const slices, askers, each = 40, 64, 3
	d := deploy(t, settings{"calls.slice": "10s", "calls.min_seconds": 10})
	d.share()
	crowd := []*sidecar{d.sidecar("one"), d.sidecar("two"), d.sidecar("three")}
	for _, s := range crowd {
		s.listening()
	}
	a := d.open("acme", slices*10*second, crowd...)
	var allowed, refused atomic.Int64
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range askers {
		all.Go(func() {
			<-start
			for j := range each {
				s := crowd[(i+j)%len(crowd)]
				c := d.out(a, fmt.Sprintf("call-%d-%d", i, j))
				got, err := s.send(http.MethodPost, s.hook+"/v1/authorize", c.fields(nil))
				switch {
				case err == nil && got.status == http.StatusOK && got.number("slice_seconds") == 10:
					allowed.Add(1)
				case err == nil && got.status == http.StatusPaymentRequired && got.code() == string(authz.CodeInsufficientCredits):
					refused.Add(1)
				default:
					t.Errorf("%s: %v %v", c.id, got, err)
				}
			}
		})
	}
	close(start)
	all.Wait()
	if allowed.Load() != slices || refused.Load() != askers*each-slices {
		t.Errorf("%d calls were allowed and %d refused, want exactly %d and %d", allowed.Load(), refused.Load(), slices, askers*each-slices)
	}
	b := d.conserved(crowd[0], a)
	if b.Held != credit.Units(slices*10*second) || b.Available != 0 || b.Calls != slices {
		t.Errorf("%d calls hold %d units, and %d are available", b.Calls, b.Held, b.Available)
	}
}
