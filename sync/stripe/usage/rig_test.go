package usage_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	sdk "github.com/stripe/stripe-go/v76"
	"go.uber.org/goleak"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake/stripefaketest"
	"github.com/hmsovereign/ringfence/sync/stripe/usage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fataler is what both *testing.T and *rapid.T are.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// rig is a ledger, Stripe, and reporters between them.
type rig struct {
	ledger *ledger.Ledger
	fake   *stripefake.Fake
	meter  *usage.Meter
	fresh  func() *usage.Meter // one that has not been found yet
	http   *http.Client
	book   *flaky
}

// flaky is a ledger that fails as planned.
type flaky struct {
	*ledger.Ledger
	mu   sync.Mutex
	plan []failure // of the next calls
}

// failure is what becomes of a call of the ledger.
type failure int

const (
	works failure = iota
	fails         // and changes nothing
	dies          // having done it: the sidecar never learns
)

func (f *flaky) set(plan ...failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan = plan
}

// try does a call of the ledger, or fails.
func try[T any](f *flaky, do func() (T, error)) (T, error) {
	f.mu.Lock()
	next := works
	if len(f.plan) > 0 {
		next, f.plan = f.plan[0], f.plan[1:]
	}
	f.mu.Unlock()
	var none T
	if next == fails {
		return none, ledger.ErrUnavailable
	}
	v, err := do()
	if next == dies {
		return none, ledger.ErrUnavailable
	}
	return v, err
}

func (f *flaky) FreezeUsage(ctx context.Context, now, over time.Time) (int, error) {
	return try(f, func() (int, error) { return f.Ledger.FreezeUsage(ctx, now, over) })
}

func (f *flaky) ClaimUsage(ctx context.Context, now time.Time, lease time.Duration, limit int) ([]ledger.UsageBatch, error) {
	return try(f, func() ([]ledger.UsageBatch, error) { return f.Ledger.ClaimUsage(ctx, now, lease, limit) })
}

func (f *flaky) BeginUsage(ctx context.Context, b ledger.UsageBatch, now, oldest time.Time) (ledger.UsageBatch, error) {
	return try(f, func() (ledger.UsageBatch, error) { return f.Ledger.BeginUsage(ctx, b, now, oldest) })
}

func (f *flaky) SaveUsage(ctx context.Context, b ledger.UsageBatch) error {
	_, err := try(f, func() (struct{}, error) { return struct{}{}, f.Ledger.SaveUsage(ctx, b) })
	return err
}

// newRig makes a rig whose requests are also put to Stripe's own stripe-mock.
func newRig(t *testing.T) *rig {
	t.Helper()
	return newRigOver(t, func(next http.RoundTripper) http.RoundTripper { return stripefaketest.Transport(t, next) })
}

// newFastRig makes one for many of the same requests.
func newFastRig(t *testing.T) *rig {
	t.Helper()
	return newRigOver(t, func(next http.RoundTripper) http.RoundTripper { return next })
}

func newRigOver(t *testing.T, over func(http.RoundTripper) http.RoundTripper) *rig {
	t.Helper()
	fake, err := stripefake.New(stripefake.Config{})
	must(t, err)
	url, err := fake.Start("127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { must(t, fake.Close()) })
	l := sqlitetest.Open(t)
	plain := &http.Transport{}
	t.Cleanup(plain.CloseIdleConnections)
	r := &rig{ledger: l, book: &flaky{Ledger: l}, fake: fake, http: &http.Client{Timeout: 5 * time.Second, Transport: plain}}
	backend := func(transport http.RoundTripper) sdk.Backend {
		return sdk.GetBackendWithConfig(sdk.APIBackend, &sdk.BackendConfig{HTTPClient: &http.Client{Timeout: 5 * time.Second, Transport: transport},
			URL: sdk.String(url), MaxNetworkRetries: sdk.Int64(0), EnableTelemetry: sdk.Bool(false), LeveledLogger: &sdk.LeveledLogger{Level: sdk.LevelNull}})
	}
	r.fresh = func() *usage.Meter {
		return usage.NewMeter(backend(over(usage.Once(plain))), backend(over(plain)), stripefake.Key, "")
	}
	r.meter = r.fresh()
	must(t, r.meter.Create(t.Context()))
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// reporter makes a reporter, as of one more sidecar.
func (r *rig) reporter() *usage.Reporter {
	return usage.New(usage.Config{Book: r.book, Stripe: r.meter, Customer: r.customer, Rate: 1e6, Now: r.fake.Now})
}

// customer makes an account's customer at Stripe.
func (r *rig) customer(ctx context.Context, account string) (string, error) {
	b, err := r.ledger.Billing(ctx, account)
	if err != nil {
		return "", err
	}
	if b.Customer == "" {
		return "", errors.New("the customer is not made yet")
	}
	return b.Customer, nil
}

// account makes an account with a customer.
func (r *rig) account(t fataler) string {
	t.Helper()
	ctx := context.Background()
	id := "acct-" + uuid.NewString()
	a := authz.Account{ID: id, Company: "Your Company", Status: authz.Active, Currency: "EUR", Tariff: "default", TimeZone: "UTC", Created: r.fake.Now()}
	if _, _, err := r.ledger.CreateAccount(ctx, a); err != nil {
		t.Fatalf("%v", err)
	}
	made, err := r.post("/v1/customers", "")
	if err != nil {
		t.Fatalf("%v", err)
	}
	if _, err := r.ledger.SetCustomer(ctx, id, "", made); err != nil {
		t.Fatalf("%v", err)
	}
	return id
}

// call makes a settled call that ended at a time.
func call(account string, ended time.Time, seconds int64) authz.Record {
	uid := uuid.Must(uuid.NewV7())
	return authz.Record{
		State: authz.StateSettled, Account: account, UID: uid, Seq: 1, Epoch: 7,
		Key: authz.Key{Switch: "sw1", Direction: authz.Outbound, CallID: uid.String()},
		At:  ended.UnixMilli(), AnsweredAt: ended.UnixMilli() - 1000*seconds, TalkMS: 1000 * seconds,
		Units: credit.Units(1000 * seconds), CreatedAt: ended.UnixMilli() - 1000*seconds - 5000,
		Price:  tariff.Price{Rate: 60_000, Initial: 1, Step: 1, MicrosRate: 70_000, CreditPrice: 70_000},
		Detail: authz.Detail{From: "+31850835037", To: "+4930123456", Tariff: "standard@3", Currency: "EUR"},
	}
}

func (r *rig) ingest(t fataler, records ...authz.Record) {
	t.Helper()
	results, err := r.ledger.Ingest(context.Background(), records)
	if err != nil {
		t.Fatalf("%v", err)
	}
	for _, result := range results {
		if result.Err != nil {
			t.Fatalf("%v", result.Err)
		}
	}
}

// has is what Stripe has of an account, in seconds.
func (r *rig) has(t fataler, account string) int64 {
	t.Helper()
	customer, err := r.customer(context.Background(), account)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return r.fake.Usage(usage.EventName, customer)
}

func (r *rig) totals(t fataler, account string) ledger.UsageTotals {
	t.Helper()
	sum, err := r.ledger.UsageTotals(context.Background(), account)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return sum
}

// batches are an account's, those of the latest hours first.
func (r *rig) batches(t fataler, account string) []ledger.UsageBatch {
	t.Helper()
	all, err := r.ledger.UsageBatches(context.Background(), account, 1000, 0)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return all
}

// settled lets reporters work until nothing waits.
func (r *rig) settled(t fataler, reporters ...*usage.Reporter) {
	t.Helper()
	ctx := context.Background()
	r.fake.ClearFaults()
	r.book.set()
	for i := range 200 {
		for _, reporter := range reporters {
			if err := reporter.Round(ctx); err != nil {
				t.Fatalf("%v", err)
			}
		}
		queue, err := r.ledger.UsageQueue(ctx)
		if err != nil {
			t.Fatalf("%v", err)
		}
		if len(queue) == 0 {
			return
		}
		if i < 60 {
			r.fake.Advance(10 * time.Minute)
		} else {
			r.fake.Advance(time.Hour)
		}
	}
	queue, _ := r.ledger.UsageQueue(ctx)
	t.Fatalf("never settled: %+v", queue)
}

// post makes an object at Stripe and returns its id.
func (r *rig) post(path, form string) (string, error) {
	req, err := http.NewRequest(http.MethodPost, r.fake.URL()+path, strings.NewReader(form))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+stripefake.Key)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Stripe-Version", stripefake.APIVersion)
	req.Header.Set("Idempotency-Key", uuid.NewString())
	resp, err := r.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var made struct{ ID string }
	if err := json.NewDecoder(resp.Body).Decode(&made); err != nil || made.ID == "" {
		return "", fmt.Errorf("%s: %s, %v", path, resp.Status, err)
	}
	return made.ID, nil
}
