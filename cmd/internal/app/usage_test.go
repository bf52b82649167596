package app

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/config"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

// usageRig is the admin API of usage over a ledger, with a Stripe or none.
type usageRig struct {
	t   *testing.T
	app *App
	mux *http.ServeMux
}

func newUsageRig(t *testing.T, env ...string) *usageRig {
	t.Helper()
	cfg, err := config.Load("", env, nil)
	must(t, err)
	l := sqlitetest.Open(t)
	r := &usageRig{t: t, app: &App{cfg: cfg, Ledger: l, log: slog.New(slog.DiscardHandler)}, mux: http.NewServeMux()}
	r.app.shop, err = stripe.New(stripe.Config{Ledger: l})
	must(t, err)
	add := func(pattern string, h http.HandlerFunc) { r.mux.HandleFunc(pattern, h) }
	r.app.shopAdmin(add)
	r.app.usageAdmin(add)
	return r
}

// ask sends a request and reads the answer, if it is to have one of a status.
func (r *usageRig) ask(method, path string, status int, into any) {
	r.t.Helper()
	w := httptest.NewRecorder()
	r.mux.ServeHTTP(w, httptest.NewRequestWithContext(r.t.Context(), method, "/admin/v1/"+path, nil))
	if w.Code != status {
		r.t.Fatalf("%s %s: %d %s, want %d", method, path, w.Code, w.Body, status)
	}
	if into != nil {
		must(r.t, json.Unmarshal(w.Body.Bytes(), into))
	}
}

// What waits and what is wrong can be seen, of all accounts and of one.
func TestUsageCanBeSeen(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newUsageRig(t)
	l := r.app.Ledger
	_, _, err := l.CreateAccount(ctx, authz.Account{ID: "org", Company: "Your Company", Status: authz.Active, Currency: "EUR", Tariff: "default", TimeZone: "UTC"})
	must(t, err)
	ended := time.Date(2025, 12, 13, 12, 1, 0, 0, time.UTC)
	var records []authz.Record
	for i, seconds := range []int64{84, 16} {
		at := ended.Add(time.Duration(i) * time.Hour).UnixMilli()
		records = append(records, authz.Record{State: authz.StateSettled, Account: "org", UID: uuid.Must(uuid.NewV7()), Seq: 1, Epoch: 1,
			Key: authz.Key{Switch: "sw", Direction: authz.Outbound, CallID: uuid.NewString()}, At: at, AnsweredAt: at - 1000*seconds, TalkMS: 1000 * seconds, CreatedAt: at - 1000*seconds})
	}
	_, err = l.Ingest(ctx, records)
	must(t, err)
	now := ended.Add(3 * time.Hour)
	_, err = l.FreezeUsage(ctx, now, now)
	must(t, err)
	claimed, err := l.ClaimUsage(ctx, now, time.Minute, 1)
	must(t, err)
	wrong, err := l.BeginUsage(ctx, claimed[0], now, ended.AddDate(0, 0, -34))
	must(t, err)
	wrong.State, wrong.Problem, wrong.DueAt = ledger.UsageWrong, "Stripe has 91 seconds in its minute", now.Add(time.Hour)
	must(t, l.SaveUsage(ctx, wrong))

	line := stripe.UsageLine{ID: "rf-org-20251213T12-1", Account: "org", Hour: ended.Truncate(time.Hour), Seconds: 84, Minute: ended.Truncate(time.Hour), State: "wrong",
		Attempts: 1, Problem: "Stripe has 91 seconds in its minute", Due: now.Add(time.Hour)}
	var status stripe.Status
	r.ask(http.MethodGet, "stripe/status", http.StatusOK, &status)
	if diff := cmp.Diff([]stripe.UsageLine{line}, status.Usage.Wrong); diff != "" {
		t.Error(diff)
	}
	queue := []ledger.UsageQueue{{State: ledger.UsageFrozen, Batches: 1, Seconds: 16, Oldest: ended.Truncate(time.Hour).Add(time.Hour)},
		{State: ledger.UsageWrong, Batches: 1, Seconds: 84, Oldest: ended.Truncate(time.Hour)}}
	if diff := cmp.Diff(queue, status.Usage.Waiting); diff != "" {
		t.Error(diff)
	}
	want := accountUsage{Account: "org", Report: true, Totals: ledger.UsageTotals{Settled: 100, Reported: 100}, Problems: []stripe.UsageLine{line}}
	for _, c := range []struct {
		method, path string
		report       bool
	}{{http.MethodGet, "", true}, {http.MethodPost, "/off", false}, {http.MethodGet, "", false}} {
		var of accountUsage
		r.ask(c.method, "accounts/org/usage-reporting"+c.path, http.StatusOK, &of)
		want.Report = c.report
		if diff := cmp.Diff(want, of); diff != "" {
			t.Errorf("%s %s: %s", c.method, c.path, diff)
		}
	}
	r.ask(http.MethodGet, "accounts/nobody/usage-reporting", http.StatusNotFound, nil)
	r.ask(http.MethodPost, "accounts/nobody/usage-reporting/off", http.StatusNotFound, nil)
}

func TestMeterIsMade(t *testing.T) {
	t.Parallel()
	fake, err := stripefake.New(stripefake.Config{})
	must(t, err)
	url, err := fake.Start("127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { must(t, fake.Close()) })
	r := newUsageRig(t, "RINGFENCE_STRIPE_KEY="+stripefake.Key, "RINGFENCE_STRIPE_URL="+url, "RINGFENCE_STRIPE_USAGE_EVENT=talk")
	for range 2 {
		var made map[string]string
		r.ask(http.MethodPost, "stripe/meter", http.StatusOK, &made)
		if made["event"] != "talk" {
			t.Errorf("made %v", made)
		}
	}
	if meters := fake.Objects("billing.meter"); len(meters) != 1 || meters[0]["event_name"] != "talk" {
		t.Errorf("meters are %v", meters)
	}
	fake.Inject(stripefake.Fault{Kind: stripefake.Refuse, Status: http.StatusForbidden})
	r.ask(http.MethodPost, "stripe/meter", http.StatusConflict, nil)
	newUsageRig(t).ask(http.MethodPost, "stripe/meter", http.StatusServiceUnavailable, nil)
}
