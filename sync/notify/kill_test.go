package notify_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/postgres"
	"github.com/hmsovereign/ringfence/sync/notify"
)

// What a child of TestKilled is told: the ledger it delivers from, and its name.
const (
	childLedger = "RINGFENCE_TEST_LEDGER"
	childName   = "RINGFENCE_TEST_HOLDER"
)

func openPostgres(t testing.TB, url string) *ledger.Ledger {
	t.Helper()
	l, err := postgres.Open(context.Background(), postgres.Config{URL: url})
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	return l
}

// brief is a configuration whose leases run out soon.
func brief(holder string) notify.Config {
	cfg := quick()
	cfg.Holder, cfg.Timeout, cfg.Lease = holder, 250*time.Millisecond, time.Second
	return cfg
}

// Sidecars are killed in the middle, again and again, while the receiver fails now and then: every message arrives,
// each call's in order.
func TestKilled(t *testing.T) {
	if url := os.Getenv(childLedger); url != "" {
		notifier(t, brief(os.Getenv(childName)), openPostgres(t, url)).Run(context.Background())
		return
	}
	t.Parallel()
	url := services.SharedDatabase(t)
	l := openPostgres(t, url)
	must(t, l.Migrate(t.Context()))
	r := newRigOn(t, l, brief("parent"))
	arrived := make(chan struct{}, 10_000)
	var n int
	r.hook.answers(func(w http.ResponseWriter, _ *got) bool {
		r.hook.mu.Lock()
		n++
		fails := n%7 == 0
		r.hook.mu.Unlock()
		if fails {
			w.WriteHeader(http.StatusInternalServerError)
			return false
		}
		arrived <- struct{}{}
		return true
	})
	var calls []authz.Record
	for range 8 {
		some := r.calls(25)
		r.ingest(some...)
		calls = append(calls, some...)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for i := range 5 {
		child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKilled$")
		name := "same" // a restarted sidecar takes its own leases back at once
		if i%2 == 1 {
			name = fmt.Sprintf("other-%d", i) // another's run out
		}
		child.Env = append(os.Environ(), childLedger+"="+url, childName+"="+name)
		child.Stderr = os.Stderr
		must(t, child.Start())
		for range 60 {
			select {
			case <-arrived:
			case <-ctx.Done():
				t.Fatal("nothing arrives")
			}
		}
		must(t, child.Process.Kill())
		_ = child.Wait() // "signal: killed"
	}
	r.run()
	services.Eventually(t, time.Minute, func() error {
		q, err := l.QueueDepth(ctx)
		if err == nil && q.Pending > 0 {
			err = fmt.Errorf("%d are pending", q.Pending)
		}
		return err
	})
	r.inOrder(r.hook, calls)
	ids := map[string]bool{}
	for _, g := range r.hook.received() {
		ids[g.ID] = true
	}
	if len(ids) != 600 {
		t.Errorf("%d messages arrived, want 600", len(ids))
	}
	t.Logf("%d arrivals of 600 messages", len(r.hook.received()))
}

// Several sidecars share the queue: each message comes once while nothing fails, each call's in order.
func TestSidecarsShare(t *testing.T) {
	t.Parallel()
	l := openPostgres(t, services.SharedDatabase(t))
	must(t, l.Migrate(t.Context()))
	r := newRigOn(t, l, quick())
	var calls []authz.Record
	hooks := []*receiver{r.hook}
	for i := range 5 {
		n, _, err := l.AddNumber(t.Context(), authz.Number{E164: fmt.Sprintf("+3185083504%d", i), Account: acct})
		must(t, err)
		h := receive(t, secret)
		hooks = append(hooks, h)
		r.set(n.ID, h.URL)
		for _, c := range r.calls(40) {
			c.Detail.NumberID = n.ID
			calls = append(calls, c)
		}
	}
	calls = append(calls, r.calls(40)...)
	r.run()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	for i := range 2 {
		cfg := quick()
		cfg.Holder = fmt.Sprintf("sidecar-%d", i+2)
		other := notifier(t, cfg, l)
		go func() { other.Run(ctx); done <- struct{}{} }()
	}
	for some := range slices.Chunk(calls, 60) {
		r.ingest(some...)
	}
	r.settled()
	cancel()
	<-done
	<-done
	total := 0
	for i, h := range hooks {
		mine := calls[len(calls)-40:]
		if i > 0 {
			mine = calls[(i-1)*40 : i*40]
		}
		r.inOrder(h, mine)
		total += len(h.received())
	}
	if total != 3*len(calls) {
		t.Errorf("%d messages were received, want %d", total, 3*len(calls))
	}
}
