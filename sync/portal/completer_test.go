package portal_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/sync/portal"
)

// down makes a method fail with an error.
func down(method string, err error) func(string) error {
	return func(m string) error {
		if m == method {
			return fmt.Errorf("%s: %w", m, err)
		}
		return nil
	}
}

// running runs the completer in a synctest bubble; pass lets time pass.
func running(t *testing.T, c *portal.Completer) (pass func(time.Duration)) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return func(d time.Duration) {
		<-time.After(d)
		synctest.Wait()
	}
}

// A write that is interrupted after the book recorded it is completed, whatever
// the step at which the balance store went away.
func TestInterrupted(t *testing.T) {
	for _, method := range []string{"OpenAccount", "Grant", "SetStatus"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.balances.SetFail(down(method, authz.ErrDown))
				first := w.do("POST", "accounts", `{"id":"acme","company_name":"Acme"}`)
				if method == "OpenAccount" {
					if first.status != 202 || !strings.Contains(first.text, "no balance yet") {
						t.Errorf("%d %s", first.status, first.text)
					}
				}
				grant := w.do("POST", "accounts/acme/grants", `{"minutes":5,"reference":"r1"}`)
				if method == "Grant" {
					if grant.status != 202 || grant.field("applied") != false || !strings.Contains(grant.text, "cannot be spent yet") {
						t.Errorf("%d %s", grant.status, grant.text)
					}
					w.must("POST", "accounts/acme/grants", `{"minutes":7,"reference":"r2"}`, 202)
					w.must("POST", "accounts/acme/grants", `{"minutes":7,"reference":"r2"}`, 202, "grant.number", "2", "created", "false")
				}
				status := w.do("POST", "accounts/acme/suspend", "")
				if method == "SetStatus" && (status.status != 202 || status.field("status") != "suspended") {
					t.Errorf("%d %s", status.status, status.text)
				}
				pass := running(t, w.completer)
				pass(2 * time.Second)
				w.balances.SetFail(nil)
				pass(time.Minute)
				b, err := w.balances.Balance(t.Context(), "acme")
				want := map[string]credit.Units{"OpenAccount": 0, "Grant": 12 * credit.PerCredit, "SetStatus": 5 * credit.PerCredit}[method]
				if method == "OpenAccount" && (grant.status != 503 || grant.field("grant") != nil) {
					t.Errorf("a first grant to an account that cannot be opened: %d %s", grant.status, grant.text)
				}
				if err != nil || b.Available != want || !b.Suspended {
					t.Errorf("balance %+v, %v; want %d available and suspended", b, err, want)
				}
				w.must("GET", "accounts/acme", "", 200, "status", "suspended")
			})
		})
	}
}

// Another sidecar died in the middle: the sweep at the start finds it.
func TestSweepFindsWhatOthersLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx := t.Context()
		for _, id := range []string{"done", "granted", "made", "lost", "behind", "suspended"} {
			w.account(id)
			if id != "made" {
				w.must("POST", "accounts/"+id+"/grants", `{"minutes":5,"reference":"r1"}`, 201)
			}
		}
		w.balances.Lose("made")
		w.balances.Lose("lost")
		for i := range 120 { // more than a page
			if _, _, err := w.book.AddGrant(ctx, authz.Grant{Account: "granted", Units: 1, Kind: "bonus", Reference: fmt.Sprint("x", i)}); err != nil {
				t.Fatal(err)
			}
		}
		w.book.Forget("behind")
		if _, _, err := w.book.UpdateAccount(ctx, "suspended", func(a *authz.Account) error { a.Status = authz.Suspended; return nil }); err != nil {
			t.Fatal(err)
		}
		a, _ := w.book.Account(ctx, "suspended")
		if err := w.directory.PutAccount(ctx, 1, a); err != nil {
			t.Fatal(err)
		}
		w.directory.SetReady(false)
		pass := running(t, w.completer)
		pass(time.Second)
		w.directory.SetReady(true)
		pass(5 * time.Second)
		for id, want := range map[string]credit.Units{"done": 300_000, "granted": 300_120, "made": 0, "behind": 300_000, "suspended": 300_000} {
			if b, err := w.balances.Balance(ctx, id); err != nil || b.Available != want || b.Suspended != (id == "suspended") {
				t.Errorf("%s: %+v, %v; want %d", id, b, err, want)
			}
		}
		if _, err := w.balances.Balance(ctx, "lost"); !errors.Is(err, authz.ErrLost) {
			t.Error("an account that has been granted credit must not be opened with none spent")
		}
		if !strings.Contains(w.log.String(), "lost=1 book_behind=1") {
			t.Errorf("the log does not say what needs to be reconciled:\n%s", &w.log)
		}
		w.refused("POST", "accounts/behind/grants", `{"minutes":1,"reference":"r9"}`, 503, "service_unavailable", "", "has lost some")
		w.must("POST", "accounts/lost/grants", `{"minutes":1,"reference":"r9"}`, 202, "applied", "false")
		w.refused("GET", "accounts/lost/credit", "", 503, "service_unavailable", "", "rebuilt")
		w.must("GET", "accounts/lost", "", 200, "balance", "<nil>")
	})
}

// An account whose creation was interrupted is opened before its first grant.
func TestGrantOpensNewAccount(t *testing.T) {
	w := newWorld(t)
	w.account("acme")
	w.balances.Lose("acme")
	w.must("POST", "accounts/acme/grants", `{"minutes":5,"reference":"r1"}`, 201, "minutes_balance", "5")
}

// The balance store is away altogether: a first grant is refused, a later one
// recorded, and applied when it is back.
func TestGrantWithoutBalanceStore(t *testing.T) {
	w := newWorld(t)
	w.account("new")
	w.account("old")
	w.must("POST", "accounts/old/grants", `{"minutes":5,"reference":"r1"}`, 201)
	w.balances.SetFail(func(string) error { return authz.ErrDown })
	w.refused("POST", "accounts/new/grants", `{"minutes":5,"reference":"r1"}`, 503, "service_unavailable", "", "did not answer")
	w.refused("POST", "accounts/nobody/grants", `{"minutes":5,"reference":"r1"}`, 404, "not_found", "id", "nobody")
	w.must("POST", "accounts/old/grants", `{"minutes":5,"reference":"r2"}`, 202, "grant.number", "2", "applied", "false")
	w.balances.SetFail(nil)
	if err := w.completer.Complete(t.Context(), "old"); err != nil {
		t.Error(err)
	}
	w.must("GET", "accounts/old/credit", "", 200, "minutes_balance", "10")
	w.must("GET", "accounts/new/credit", "", 200, "minutes_balance", "0", "grants", "[]")
}

// A store that stays away is asked less and less often; nothing is forgotten.
func TestRetryPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.account("acme")
		var asked atomic.Int64
		w.balances.SetFail(func(m string) error {
			if m == "Grant" {
				asked.Add(1)
				return authz.ErrDown
			}
			return nil
		})
		w.must("POST", "accounts/acme/grants", `{"minutes":5,"reference":"r1"}`, 202)
		asked.Store(0)
		pass := running(t, w.completer)
		pass(3 * time.Minute)
		if n := asked.Load(); n < 5 || n > 15 {
			t.Errorf("asked %d times in three minutes", n)
		}
		w.balances.SetFail(nil)
		pass(31 * time.Second)
		if b, err := w.balances.Balance(t.Context(), "acme"); err != nil || b.Available != 5*credit.PerCredit {
			t.Errorf("%+v, %v", b, err)
		}
	})
}

func TestBookAway(t *testing.T) {
	w := newWorld(t)
	w.account("acme")
	for method, ask := range map[string]func() answer{
		"CreateAccount": func() answer { return w.do("POST", "accounts", `{"id":"x","company_name":"X"}`) },
		"UpdateAccount": func() answer { return w.do("POST", "accounts/acme/suspend", "") },
		"AddNumber":     func() answer { return w.do("POST", "numbers", `{"number":"+31850835037","account":"acme"}`) },
		"RemoveNumber":  func() answer { return w.do("DELETE", "numbers/+31850835037", "") },
		"PutTariff":     func() answer { return w.do("PUT", "tariffs", "id: x\nrates: [{credits_per_minute: 1}]\n") },
		"AddGrant":      func() answer { return w.do("POST", "accounts/acme/grants", `{"minutes":1,"reference":"r"}`) },
	} {
		w.book.SetFail(down(method, portal.ErrUnavailable))
		a := ask()
		if a.status != 503 || a.field("error.code") != "service_unavailable" || !strings.Contains(a.text, "not known whether") {
			t.Errorf("%s: %d %s", method, a.status, a.text)
		}
	}
	w.book.SetFail(down("AddGrant", errors.New("a bug")))
	a := w.do("POST", "accounts/acme/grants", `{"minutes":1,"reference":"r"}`)
	if a.status != 500 || a.field("error.code") != "internal_error" || strings.Contains(a.text, "a bug") || !strings.Contains(w.log.String(), "a bug") {
		t.Errorf("an unknown error: %d %s", a.status, a.text)
	}
}

// The mirror is away: the change counts, and the answer says what is missing.
func TestMirrorAway(t *testing.T) {
	w := newWorld(t)
	w.account("acme")
	w.directory.SetFail(portal.ErrUnavailable)
	w.must("PATCH", "accounts/acme", `{"email":"a@example.com"}`, 202, "email", "a@example.com",
		"warnings.0", "recorded, but not every sidecar knows the change: it is done as soon as the store answers again")
	w.must("POST", "numbers", `{"number":"+31850835037","account":"acme"}`, 202)
	w.must("PUT", "tariffs", "id: x\nrates: [{credits_per_minute: 1}]\n", 202)
	w.must("POST", "accounts", `{"id":"x","company_name":"X"}`, 202)
}

func TestMinutesBalance(t *testing.T) {
	price := tariff.Price{Rate: credit.PerCredit, Connect: 6000, Initial: 1, Step: 1}
	at := func(state authz.State, held credit.Units, answered int64) authz.Call {
		return authz.Call{State: state, Held: held, AnsweredAt: answered, Price: price}
	}
	for name, c := range map[string]struct {
		available credit.Units
		calls     []authz.Call
		now       int64
		want      string
	}{
		"nothing":                      {0, nil, 0, "0"},
		"the document's":               {30_000_000, nil, 0, "500"},
		"floored":                      {599, nil, 0, "0"},
		"negative, floored":            {-1, nil, 0, "-0.01"},
		"ringing":                      {60_000, []authz.Call{at(authz.StateHeld, 66_000, 0)}, 90_000, "2.1"},
		"just answered":                {60_000, []authz.Call{at(authz.StateLive, 66_000, 1000)}, 1000, "2"},
		"half a minute":                {60_000, []authz.Call{at(authz.StateLive, 66_000, 1000)}, 31_000, "1.5"},
		"past its hold":                {60_000, []authz.Call{at(authz.StateLive, 66_000, 1000)}, 121_000, "0"},
		"answered later than this":     {60_000, []authz.Call{at(authz.StateLive, 66_000, 5000)}, 1000, "2"},
		"two, one of them over a year": {0, []authz.Call{at(authz.StateLive, 66_000, 1), at(authz.StateHeld, 6000, 0)}, 1001, "1.08"},
	} {
		if got := portal.MinutesBalance(authz.Balance{Available: c.available}, c.calls, c.now).String(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// Whatever the calls, what is shown is what remains when all end now.
func TestMinutesBalanceIsWhatRemains(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := rapid.Int64Range(0, 10_000_000).Draw(t, "now")
		b := authz.Balance{Available: credit.Units(rapid.Int64Range(-1e9, 1e12).Draw(t, "available"))}
		total := b.Available
		var calls []authz.Call
		for range rapid.IntRange(0, 5).Draw(t, "calls") {
			c := authz.Call{State: authz.StateHeld, Held: credit.Units(rapid.Int64Range(0, 1e6).Draw(t, "held")),
				Price: tariff.Price{Rate: credit.Units(rapid.Int64Range(0, 1e6).Draw(t, "rate")), Initial: 1, Step: rapid.Int64Range(1, 60).Draw(t, "step")}}
			total += c.Held
			if rapid.Bool().Draw(t, "answered") {
				c.State, c.AnsweredAt = authz.StateLive, rapid.Int64Range(1, 10_000_000).Draw(t, "at")
				total -= c.Price.Cost(max(now-c.AnsweredAt, 0)) // what settle charges
			}
			calls = append(calls, c)
		}
		if got := portal.MinutesBalance(b, calls, now); credit.Units(got) != total {
			t.Fatalf("%d units, want %d", got, total)
		}
	})
}
