package account_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/portal/account"
)

type accountAnswer struct {
	Balance float64 `json:"minutes_balance"`
	Monthly float64 `json:"monthly_usage_minutes"`
	Numbers int     `json:"active_numbers"`
	Calls   *int64  `json:"active_calls"`
	Status  string  `json:"status"`
}

// The balance is what would be left if every call ended now, connect fee included.
func TestAccountWithLiveCalls(t *testing.T) {
	onLedgers(t, func(t *testing.T, r *rig) {
		key := r.open(t, "org-1", "UTC", 10)
		r.people.numbers = map[string]int{"org-1": 3}
		fee := base
		fee.Connect = 6_000 // 0.1 credit
		r.hold(t, "org-1", "rings", base)
		talks := r.hold(t, "org-1", "talks", fee)
		r.answer(t, talks)
		r.advance(30 * time.Second)

		var got accountAnswer
		r.get(t, key, "account").into(t, &got)
		if got.Balance != 9.4 || got.Calls == nil || *got.Calls != 2 || got.Numbers != 3 {
			t.Errorf("10 credits, a call that rings and one of 30 s with a fee of 0.1: %+v (%v calls)", got, *got.Calls)
		}
		r.advance(250 * time.Millisecond) // seconds are begun
		r.get(t, key, "account").into(t, &got)
		if got.Balance != 9.38 {
			t.Errorf("after 31 begun seconds %v are left, want 9.3833 rounded down", got.Balance)
		}
		_, err := r.store.Settle(t.Context(), authz.End{Key: talks.Key, Account: "org-1", Now: r.clock().UnixMilli(),
			ReceivedAt: r.clock().UnixMilli(), Day: talks.Day})
		must(t, err)
		r.get(t, key, "account").into(t, &got)
		if got.Balance != 9.38 || *got.Calls != 1 {
			t.Errorf("after the hangup: %+v", got)
		}
	})
}

// The month is the account's own, and begins where its calendar does.
func TestMonthIsTheAccounts(t *testing.T) {
	onLedgers(t, func(t *testing.T, r *rig) {
		amsterdam, utc := r.open(t, "org-nl", "Europe/Amsterdam", 100), r.open(t, "org-utc", "UTC", 100)
		ended := time.Date(2025, 11, 30, 23, 30, 0, 0, time.UTC) // December in Amsterdam
		for _, id := range []string{"org-nl", "org-utc"} {
			r.ingest(t, used(id, ended, 61), used(id, ended.Add(-31*time.Minute), 60))
		}
		for key, want := range map[string]float64{amsterdam: 1.01, utc: 0} {
			var got accountAnswer
			r.get(t, key, "account").into(t, &got)
			if got.Monthly != want {
				t.Errorf("used %v minutes, want %v", got.Monthly, want)
			}
		}
		r.mu.Lock()
		r.now = time.Date(2025, 12, 31, 23, 30, 0, 0, time.UTC)
		r.mu.Unlock()
		var got accountAnswer
		r.get(t, amsterdam, "account").into(t, &got)
		if got.Monthly != 0 {
			t.Errorf("in January %v minutes are used", got.Monthly)
		}
	})
}

// Without Redis the ledger answers, and says so; so it does for an account that Redis has lost.
func TestBalanceFromLedger(t *testing.T) {
	onLedgers(t, func(t *testing.T, r *rig) {
		key := r.open(t, "org-1", "UTC", 10)
		r.ingest(t, used("org-1", today, 60))
		check := func(what string) {
			t.Helper()
			answer := r.get(t, key, "account")
			var got accountAnswer
			answer.into(t, &got)
			if got.Balance != 9 || got.Calls != nil || answer.header.Get("X-Ringfence-Balance") != "ledger" {
				t.Errorf("%s: %+v, %v", what, got, answer.header)
			}
		}
		must(t, r.rdb.FlushAll(t.Context()).Err())
		check("lost")
		must(t, r.store.OpenAccount(t.Context(), "org-1", authz.Active, 20251220))
		if h := r.get(t, key, "account").header; h.Get("X-Ringfence-Balance") != "" {
			t.Errorf("found again: %v", h)
		}
		r.redis.Kill()
		defer r.redis.Start()
		check("Redis is down")
	})
}

// moving is a balance store where a call ends while it is read.
type moving struct{ ended bool }

func (m *moving) Balance(context.Context, string) (authz.Balance, error) {
	if m.ended {
		return authz.Balance{Available: 9 * 60_000, Settled: 60_000, Calls: 1, Seq: 2}, nil
	}
	return authz.Balance{Available: 8 * 60_000, Held: 2 * 60_000, Calls: 2, Seq: 1}, nil
}

func (m *moving) Calls(_ context.Context, _ string, fn func(authz.Call, error) error) error {
	c := authz.Call{Key: authz.Key{Switch: "sw1", Direction: authz.Outbound, CallID: "1"}, State: authz.StateLive, Held: 2 * 60_000,
		AnsweredAt: today.Add(-time.Minute).UnixMilli(), Price: base}
	if m.ended {
		c.State, c.Held, c.Charged = authz.StateSettled, 0, 60_000
	}
	m.ended = true
	rings := authz.Call{Key: authz.Key{CallID: "2"}, State: authz.StateHeld}
	for _, seen := range []authz.Call{c, rings, rings} { // a scan may give a call twice
		if err := fn(seen, nil); err != nil {
			return err
		}
	}
	return fn(authz.Call{}, errors.New("cannot be read"))
}

// A call that ends while balance and calls are read counts once.
func TestBalanceOfOneMoment(t *testing.T) {
	r := newRig(t, sqlitetest.Open(t), services.Redis(t), func(c *account.Config) { c.Balances = &moving{} })
	key := r.open(t, "org-1", "UTC", 10)
	var got accountAnswer
	r.get(t, key, "account").into(t, &got)
	if got.Balance != 9 || *got.Calls != 1 {
		t.Errorf("%+v (%v calls), want 9 and 1", got, *got.Calls)
	}
}

// away is a ledger that does not answer.
type away struct {
	*ledger.Ledger
	err error
}

func (a away) Sum(context.Context, string, time.Time, time.Time) (ledger.Sum, error) {
	return ledger.Sum{}, a.err
}
func (a away) Usage(context.Context, string, time.Time, time.Time, int, int) ([]ledger.Call, ledger.Sum, error) {
	return nil, ledger.Sum{}, a.err
}
func (a away) Calls(context.Context, string, []authz.State, int, int) ([]ledger.Call, int64, error) {
	return nil, 0, a.err
}
func (a away) Statement(context.Context, string, time.Time, time.Time, func(ledger.Line) error) error {
	return a.err
}

func TestLedgerAway(t *testing.T) {
	server := services.Redis(t)
	l := sqlitetest.Open(t)
	for status, err := range map[int]error{503: ledger.ErrUnavailable, 500: errors.New("secret of the database")} {
		r := newRig(t, l, server, func(c *account.Config) { c.Sums, c.Lists = away{l, err}, away{l, err} })
		key := r.open(t, http.StatusText(status), "UTC", 1)
		for _, path := range []string{"account", "usage", "calls", "statement"} {
			answer := r.get(t, key, path)
			code := map[int]string{503: "service_unavailable", 500: "internal_error"}[status]
			answer.refused(t, path, status, code, "")
			if status == 503 && answer.header.Get("Retry-After") != "1" || strings.Contains(answer.body, "secret") {
				t.Errorf("%s: %v %s", path, answer.header, answer.body)
			}
		}
	}
	// Postgres itself away: the key cannot be looked up, which is not a wrong key.
	r := newRig(t, l, server)
	key := r.open(t, "org-1", "UTC", 1)
	closed := openPostgres(t)
	must(t, closed.Close())
	r = newRig(t, closed, server)
	r.get(t, key, "account").refused(t, "closed ledger", 503, "service_unavailable", "")
}

// A suspended account may still read; one that this sidecar has not heard of is asked to come again.
func TestAccountStatus(t *testing.T) {
	r := newRig(t, sqlitetest.Open(t), services.Redis(t), func(c *account.Config) {
		c.Routes = []account.Route{{Method: "POST", Path: "/api/v1/account", Write: true, Serve: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, _ := account.CallerOf(r.Context())
			account.WriteJSON(w, http.StatusOK, map[string]string{"id": c.Account.ID})
		})}}
	})
	key := r.open(t, "org-1", "UTC", 10)
	r.client = r.server.Client() // the further route is not in the document
	var made struct{ ID string }
	r.send(t, "POST", key, "account", nil).into(t, &made)
	if made.ID != "org-1" {
		t.Errorf("the route was called for %q", made.ID)
	}
	a, _ := r.people.Account("org-1")
	suspended := *a
	suspended.Status = authz.Suspended
	r.people.put(suspended)
	var got accountAnswer
	r.get(t, key, "account").into(t, &got)
	if got.Status != "suspended" || got.Balance != 10 {
		t.Errorf("suspended: %+v", got)
	}
	r.send(t, "POST", key, "account", nil).refused(t, "write by a suspended account", 403, "forbidden", "")
	r.send(t, "POST", "", "account", nil).refused(t, "write by nobody", 401, "unauthorized", "")
	if allow := r.send(t, "PUT", key, "account", nil); allow.status != 405 || allow.header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("PUT answered %d, Allow %q", allow.status, allow.header.Get("Allow"))
	}
	r.people.gone = true
	r.get(t, key, "account").refused(t, "unknown to the directory", 503, "service_unavailable", "")
}
