package notify_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// inOrder fails the test unless every call's messages came, and each call's first arrivals in order.
func (r *rig) inOrder(hook *receiver, calls []authz.Record) {
	r.Helper()
	first := map[string][]string{}
	for _, g := range hook.received() {
		id, _ := g.call()
		if !slices.Contains(first[id], g.String()) {
			first[id] = append(first[id], g.String())
		}
	}
	want := "status-update in-progress, status-update ended, end-of-call-report ended"
	for _, c := range calls {
		if got := strings.Join(first[c.UID.String()], ", "); got != want {
			r.Errorf("call %s: received %s", c.UID, got)
		}
	}
}

func (r *rig) calls(n int) (all []authz.Record) {
	for range n {
		all = append(all, r.call(1))
	}
	return all
}

// An endpoint that fails now and then gets everything, each call's in order, and the same id for each try.
func TestFailuresAreTriedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick())
	var n atomic.Int64
	r.hook.answers(func(w http.ResponseWriter, g *got) bool {
		switch n.Add(1) % 5 {
		case 0:
			w.WriteHeader(http.StatusInternalServerError)
			return false
		case 2:
			panic(http.ErrAbortHandler) // breaks the connection off
		case 3:
			w.WriteHeader(http.StatusAccepted) // any 2xx
		}
		return true
	})
	calls := r.calls(20)
	r.ingest(calls...)
	r.run()
	r.settled()
	r.inOrder(r.hook, calls)
	if got := len(r.hook.received()); got != 60 {
		t.Errorf("%d messages were received", got)
	}
	tries := map[string]bool{}
	for _, d := range r.deliveries() {
		if d.State != ledger.DeliveryDelivered || d.DoneAt.IsZero() || d.Error != "" {
			t.Errorf("delivery %+v", d)
		}
		tries[d.ID.String()] = true
	}
	for _, g := range r.hook.received() {
		if !tries[g.ID] {
			t.Errorf("message %s has no delivery", g.ID)
		}
	}
}

// A message that its endpoint never takes holds up its call's, and nobody else's.
func TestOneCallDoesNotHoldUpAnother(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick())
	bad, good := r.call(1), r.call(2)
	r.hook.answers(func(w http.ResponseWriter, g *got) bool {
		if id, _ := g.call(); id == bad.UID.String() {
			w.WriteHeader(http.StatusBadRequest)
			return false
		}
		return true
	})
	r.ingest(bad, good)
	r.run()
	r.hook.wait("status-update in-progress", "status-update ended", "end-of-call-report ended")
	services.Eventually(t, patience, func() error {
		for _, d := range r.deliveries() {
			if d.Topic == bad.UID.String() && d.Attempts > 1 {
				if d.Error != "the endpoint answered 400 Bad Request" {
					t.Fatalf("error is %q", d.Error)
				}
				return nil
			}
		}
		return fmt.Errorf("the message was not tried again")
	})
	for _, d := range r.deliveries()[1:3] {
		if d.Attempts != 0 {
			t.Errorf("%s was tried before what comes before it", d.Event)
		}
	}
}

// Endpoints that are dead or slow delay nobody.
func TestDeadEndpointDelaysNobody(t *testing.T) {
	t.Parallel()
	cfg := quick()
	cfg.Cool = time.Hour
	r := newRig(t, cfg)
	ctx := t.Context()
	stuck := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		select {
		case <-stuck:
		case <-q.Context().Done():
		}
	}))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(stuck) })
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()

	for i, url := range []string{slow.URL, dead.URL} {
		n, _, err := r.ledger.AddNumber(ctx, authz.Number{E164: fmt.Sprintf("+3185083504%d", i), Account: acct})
		must(t, err)
		r.set(n.ID, url)
		for _, c := range r.calls(30) {
			c.Detail.NumberID = n.ID
			r.ingest(c)
		}
	}
	calls := r.calls(10)
	r.ingest(calls...)
	begun := time.Now()
	r.run()
	services.Eventually(t, patience, func() error {
		if n := len(r.hook.received()); n < 30 {
			return fmt.Errorf("%d messages were received", n)
		}
		return nil
	})
	if took := time.Since(begun); took > quick().Timeout {
		t.Errorf("a healthy endpoint waited %s for a slow one", took)
	}
	r.inOrder(r.hook, calls)
	// The dead one's breaker opened after five failures; the rest was not tried.
	services.Eventually(t, patience, func() error {
		var tries int64
		var refused bool
		for _, d := range r.deliveries() {
			if d.Endpoint == dead.URL {
				tries += d.Attempts
				refused = refused || d.Error == "the endpoint refused the connection"
			}
		}
		if tries < 5 || !refused {
			return fmt.Errorf("%d tries, refused %v", tries, refused)
		}
		if tries > 8 { // some were under way at once
			t.Fatalf("%d tries", tries)
		}
		return nil
	})
}

// A dead endpoint is probed; when it is back, all that waited comes at once, in order.
func TestBreakerCloses(t *testing.T) {
	t.Parallel()
	cfg := quick()
	cfg.Backoff = time.Hour // only what a success hastens comes in time
	r := newRig(t, cfg)
	var back atomic.Bool
	var probes atomic.Int64
	r.hook.answers(func(w http.ResponseWriter, _ *got) bool {
		if !back.Load() {
			probes.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return back.Load()
	})
	calls := r.calls(30)
	r.ingest(calls...)
	r.run()
	services.Eventually(t, patience, func() error {
		if n := probes.Load(); n < 8 {
			return fmt.Errorf("%d tries", n)
		}
		return nil
	})
	back.Store(true)
	r.settled()
	r.inOrder(r.hook, calls)
}

// What is older than a day is a dead letter, the whole queue of a dead endpoint with it. It is listed, and replayed.
func TestDeadLettersAreReplayed(t *testing.T) {
	t.Parallel()
	cfg := quick()
	cfg.GiveUp = 200 * time.Millisecond
	r := newRig(t, cfg)
	r.hook.answers(func(w http.ResponseWriter, _ *got) bool {
		w.WriteHeader(http.StatusInternalServerError)
		return false
	})
	calls := r.calls(10)
	r.ingest(calls...)
	r.run()
	services.Eventually(t, patience, func() error {
		q, err := r.ledger.QueueDepth(t.Context())
		if err == nil && (q.Dead != 30 || q.Pending != 0) {
			err = fmt.Errorf("queue is %+v", q)
		}
		return err
	})
	r.hook.answers(nil)
	r.set("", r.hook.URL) // the customer saves it again: its breaker closes
	n, err := r.ledger.ReplayDead(t.Context(), acct)
	must(t, err)
	if n != 30 {
		t.Errorf("%d were replayed", n)
	}
	r.settled()
	r.inOrder(r.hook, calls)
}

// A webhook that is removed takes along what waits for it; one that moves sends it to its new place.
func TestWebhookMoves(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick())
	c := r.call(1)
	r.ingest(c)
	next := receive(t, secret)
	r.set("", next.URL)
	r.run()
	next.wait("status-update in-progress", "status-update ended", "end-of-call-report ended")
	if n := len(r.hook.received()); n != 0 {
		t.Errorf("%d messages came to where the webhook was", n)
	}
}

// A stop lets tries under way end, and leaves the rest to the next start; nothing is lost and nothing comes twice.
func TestSoftStop(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick())
	underWay := make(chan struct{})
	var once sync.Once
	r.hook.answers(func(http.ResponseWriter, *got) bool {
		once.Do(func() { close(underWay) })
		return true
	})
	calls := r.calls(80)
	r.ingest(calls...)
	r.run()
	<-underWay
	r.stop()
	before := len(r.hook.received())
	if before == 240 {
		t.Log("all came before the stop")
	}
	r.run()
	r.settled()
	r.inOrder(r.hook, calls)
	if n := len(r.hook.received()); n != 240 {
		t.Errorf("%d messages were received, %d of them before the stop", n, before)
	}
}

// An endpoint that says when to come back is not called before.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick())
	var n atomic.Int64
	r.hook.answers(func(w http.ResponseWriter, _ *got) bool {
		n.Add(1)
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
		return false
	})
	r.grant(1, "more")
	r.run()
	services.Eventually(t, patience, func() error {
		if d := r.deliveries()[0]; d.Attempts == 0 || time.Until(d.Due) < 50*time.Minute {
			return fmt.Errorf("due in %s after %d attempts", time.Until(d.Due), d.Attempts)
		}
		return nil
	})
	if n.Load() != 1 {
		t.Errorf("%d tries", n.Load())
	}
}

func TestTestMessage(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick())
	must(t, r.TestWebhook(t.Context(), acct))
	r.hook.wait("test")
	r.hook.answers(func(w http.ResponseWriter, _ *got) bool { w.WriteHeader(http.StatusTeapot); return false })
	if err := r.TestWebhook(t.Context(), acct); err == nil || err.Error() != "the endpoint answered 418 I'm a teapot" {
		t.Errorf("error is %v", err)
	}
	if err := r.TestWebhook(t.Context(), "nobody"); err == nil {
		t.Error("nobody's webhook was tested")
	}
	if n := len(r.deliveries()); n != 0 {
		t.Errorf("a test queued %d deliveries", n)
	}
}

// Old rows go: delivered ones after some days, dead letters later.
func TestOldDeliveriesAreForgotten(t *testing.T) {
	t.Parallel()
	cfg := quick()
	cfg.Keep, cfg.Letters = time.Nanosecond, time.Hour
	r := newRig(t, cfg)
	now := time.Now()
	r.grant(1, "delivered")
	r.grant(1, "dead")
	all := r.deliveries()
	all[0].State, all[0].DoneAt = ledger.DeliveryDelivered, now.Add(-time.Second)
	all[1].State, all[1].DoneAt = ledger.DeliveryDead, now.Add(-time.Second)
	must(t, r.ledger.NoteDeliveries(t.Context(), all))
	r.run()
	services.Eventually(t, patience, func() error {
		if left := r.deliveries(); len(left) != 1 || left[0].State != ledger.DeliveryDead {
			return fmt.Errorf("left are %+v", left)
		}
		return nil
	})
}

// The ledger being away delays messages; nothing else happens.
func TestLedgerAway(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Live(ctx, []authz.Notice{{Kind: authz.NoticeLow, Account: acct, UID: uuid.New()}}); err == nil {
		t.Error("a notice was taken without a ledger: the outbox would forget it")
	}
}
