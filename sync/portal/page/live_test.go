package page_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/portal/page"
)

type event struct {
	Credits, Money string
	Calls          []struct{ ID, Clock, Cost string }
	HTML           *string
	Say            string
	Moved, Known   bool
}

func (f *feed) event() event {
	f.t.Helper()
	var e event
	must(f.t, json.Unmarshal([]byte(f.next()), &e))
	return e
}

// until reads events until one is as wanted.
func (f *feed) until(what string, wanted func(event) bool) event {
	f.t.Helper()
	for range 200 {
		if e := f.event(); wanted(e) {
			return e
		}
	}
	f.t.Fatalf("%s: not within 200 events", what)
	return event{}
}

// The balance falls and the call runs, in the visitor's language.
func TestLive(t *testing.T) {
	r := newRig(t)
	b := r.browser(t)
	b.lang = "de"
	b.signIn(r.open(t, "acme", 500))
	h := r.call(t, "acme", "one", 10*time.Second)
	f := b.watch(t)
	first := f.event()
	if !first.Known || first.HTML == nil || !strings.Contains(*first.HTML, h.UID.String()) || !strings.HasPrefix(first.Credits, "499,8") || first.Money != "34,99\u00a0€" {
		t.Errorf("the first event is %+v", first)
	}
	last := f.until("the call runs", func(e event) bool {
		return len(e.Calls) == 1 && e.Calls[0].Clock != first.Calls[0].Clock && e.Credits != first.Credits
	})
	if last.HTML != nil || last.Calls[0].ID != h.UID.String() {
		t.Errorf("from %+v to %+v", first, last)
	}
}

// Who watches is told when a call begins and when it ends, also who listens rather than looks.
func TestLiveChanges(t *testing.T) {
	r := newRig(t)
	b := r.browser(t)
	b.signIn(r.open(t, "acme", 500))
	f := b.watch(t)
	if e := f.event(); len(e.Calls) != 0 || e.Say != "" || e.Moved {
		t.Errorf("the first event is %+v", e)
	}
	h := r.call(t, "acme", "one", time.Second)
	e := f.until("a call begins", func(e event) bool { return len(e.Calls) == 1 && e.HTML != nil })
	if !strings.Contains(*e.HTML, h.UID.String()) {
		t.Errorf("the event is %+v", e)
	}
	_, err := r.store.Settle(t.Context(), authz.End{Key: h.Key, Account: "acme", Now: r.clock().UnixMilli(), ReceivedAt: r.clock().UnixMilli(), Day: h.Day, Cause: "16"})
	must(t, err)
	e = f.until("it ends", func(e event) bool { return len(e.Calls) == 0 })
	if e.HTML == nil || !e.Moved || !strings.Contains(e.Say, "0 live calls.") {
		t.Errorf("the event is %+v", e)
	}
}

// Without the balance store the ledger's balance is shown, and said to be that.
func TestRedisAway(t *testing.T) {
	r := newRig(t)
	b := r.browser(t)
	b.signIn(r.open(t, "acme", 500))
	r.mini.SetError("LOADING Redis is loading the dataset in memory")
	b.get("/billing").shows(t, http.StatusOK, "500.00", "may be a little behind", "Live calls cannot be shown right now.")
	if e := b.watch(t).event(); e.Known || e.Credits != "500.00" {
		t.Errorf("the event is %+v", e)
	}
	r.mini.SetError("")
	b.get("/billing").shows(t, http.StatusOK, "500.00", "No calls right now.")
}

// Who watches is told when the balance store goes away, and when it is back.
func TestRedisGoesAway(t *testing.T) {
	r := newRig(t)
	b := r.browser(t)
	b.signIn(r.open(t, "acme", 500))
	b.get("/billing").shows(t, http.StatusOK, `data-field="behind" hidden>`)
	f := b.watch(t)
	if e := f.event(); !e.Known {
		t.Errorf("the first event is %+v", e)
	}
	r.mini.SetError("LOADING Redis is loading the dataset in memory")
	e := f.until("the store is away", func(e event) bool { return !e.Known })
	if e.HTML == nil || !strings.Contains(*e.HTML, "Live calls cannot be shown right now.") || e.Moved || e.Say != "" {
		t.Errorf("the event is %+v", e)
	}
	b.get("/billing").shows(t, http.StatusOK, `data-field="behind">`)
	r.mini.SetError("")
	e = f.until("the store is back", func(e event) bool { return e.Known })
	if e.HTML == nil || !strings.Contains(*e.HTML, "No calls right now.") || e.Moved {
		t.Errorf("the event is %+v", e)
	}
}

// A ledger that is away for a while ends nobody's watching; a session that is over does.
func TestLedgerAwayFromWatchers(t *testing.T) {
	a := &away{}
	r := newRig(t, func(c *page.Config) {
		a.Ledger = c.Sessions.(*ledger.Ledger)
		c.Sessions, c.SureEvery = a, 20*time.Millisecond
	})
	b := r.browser(t)
	b.signIn(r.open(t, "acme", 500))
	f := b.watch(t)
	f.event()
	a.gone.Store(true)
	services.Eventually(t, patience, func() error {
		if n := a.missed.Load(); n < 3 {
			return fmt.Errorf("the session was looked up %d times", n)
		}
		return nil
	})
	r.grant(t, authz.Grant{Account: "acme", Units: 100 * credit.PerCredit, Kind: ledger.KindBonus, Reference: "more", At: r.clock()})
	f.until("the balance is shown still", func(e event) bool { return e.Credits == "600.00" })
	a.gone.Store(false)
	b.post("/billing", "/billing/sign-out").to(t, "/billing/sign-in?done=out")
	for f.lines.Scan() {
		if f.lines.Text() == "event: over" {
			return
		}
	}
	t.Errorf("the end of the session is not told: %v", f.lines.Err())
}

// The statement of this month is refreshed by the same events; that of another is what it was.
func TestStatementLive(t *testing.T) {
	r := newRig(t)
	b := r.browser(t)
	b.signIn(r.open(t, "acme", 500))
	b.get("/billing/statement").shows(t, http.StatusOK, `data-live="/billing/live"`, `data-from="/billing/statement?month=`)
	r.ingest(t, used("acme", r.clock(), 60))
	got := b.get("/billing/statement?part=lines")
	got.shows(t, http.StatusOK, someone, "499.00", "Opening balance", "Closing balance")
	if strings.Contains(got.body, "<html") || strings.Contains(got.body, "data-part") {
		t.Errorf("the part is more than that: %s", got.body)
	}
	if got := b.get("/billing/statement?month=2020-02"); strings.Contains(got.body, "data-live") {
		t.Error("a month that is over is watched")
	}
}

// away is a ledger that can be taken away.
type away struct {
	*ledger.Ledger
	gone   atomic.Bool
	missed atomic.Int64 // sessions looked up meanwhile
}

func (a *away) Session(ctx context.Context, hash []byte, at time.Time) (ledger.Session, error) {
	if a.gone.Load() {
		a.missed.Add(1)
		return ledger.Session{}, ledger.ErrUnavailable
	}
	return a.Ledger.Session(ctx, hash, at)
}

// Without the ledger nothing can be shown but that.
func TestLedgerAway(t *testing.T) {
	a := &away{}
	r := newRig(t, func(c *page.Config) {
		a.Ledger = c.Sessions.(*ledger.Ledger)
		c.Sessions = a
	})
	b := r.browser(t)
	b.signIn(r.open(t, "acme", 500))
	a.gone.Store(true)
	b.get("/billing").shows(t, http.StatusServiceUnavailable, "Please try again in a moment.")
	r.browser(t).get("/billing/sign-in").shows(t, http.StatusOK, "API key")
	a.gone.Store(false)
	b.get("/billing").shows(t, http.StatusOK)
}

// One account's watchers are limited, and all are let go when the server stops.
func TestWatchers(t *testing.T) {
	r := newRig(t)
	b := r.browser(t)
	b.signIn(r.open(t, "acme", 500))
	var open []*http.Response
	for range 8 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.server.URL+"/billing/live", nil)
		must(t, err)
		resp, err := b.client.Do(req)
		must(t, err)
		open = append(open, resp)
	}
	b.get("/billing/live").shows(t, http.StatusServiceUnavailable)
	r.page.Stop()
	for _, resp := range open {
		buf := make([]byte, 64<<10)
		for {
			if _, err := resp.Body.Read(buf); err != nil {
				break
			}
		}
		must(t, errors.Join(resp.Body.Close()))
	}
}

// A page without templates, catalogues or services is none that is served half.
func TestNew(t *testing.T) {
	if _, err := page.New(page.Config{}); err != nil {
		t.Error(err)
	}
}
