package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/config"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/portal/account"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
	"github.com/hmsovereign/ringfence/sync/stripe/usage"
)

// A whole sidecar with a Stripe: billing details given over the public API reach Stripe, and so does talk time of
// before its start; check finds the meter in order, and warns of one that charges.
func TestSidecarBills(t *testing.T) {
	fake, err := stripefake.New(stripefake.Config{})
	must(t, err)
	url, err := fake.Start("127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { must(t, fake.Close()) })
	cfg, err := config.Load("", []string{"RINGFENCE_STRIPE_KEY=" + stripefake.Key, "RINGFENCE_STRIPE_URL=" + url, "RINGFENCE_HOOK_LISTEN=127.0.0.1:0",
		"RINGFENCE_PUBLIC_LISTEN=127.0.0.1:0", "RINGFENCE_OPS_LISTEN=127.0.0.1:0", "RINGFENCE_DATA_DIR=" + t.TempDir()}, map[string]any{"sip.listen": ""})
	must(t, err)
	found := func() map[string]error {
		out := map[string]error{}
		for _, c := range checkUsage(t.Context(), cfg, true) {
			out[c.Name] = c.Err
		}
		return out
	}
	if shop, asked := checkShop(t.Context(), cfg); !asked || shop[0].Err != nil {
		t.Errorf("the shop: %+v", shop)
	}
	wrong := *cfg
	wrong.Stripe.Key = "sk_test_wrong"
	shop, asked := checkShop(t.Context(), &wrong)
	if last := shop[len(shop)-1]; asked || len(shop) != 2 || !errors.Is(last.Err, ErrNotTried) {
		t.Errorf("with a wrong key: %+v", shop)
	}
	if usage := checkUsage(t.Context(), &wrong, asked); len(usage) != 1 || usage[0].Name != "vat" {
		t.Errorf("usage with a wrong key: %+v", usage)
	}
	if got := found(); got["stripe meter"] == nil || got["vat"] != nil {
		t.Errorf("without a meter: %v", got)
	}
	meter, err := openMeter(cfg)
	must(t, err)
	must(t, meter.Create(t.Context()))
	if got := found(); got["stripe meter"] != nil {
		t.Errorf("with a meter: %v", got)
	}

	a, err := New(t.Context(), cfg, Options{Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	_, _, err = a.Ledger.CreateAccount(t.Context(), authz.Account{ID: "org", Company: "Your Company", Status: authz.Active, Currency: "EUR", Tariff: "default", TimeZone: "UTC"})
	must(t, err)
	ended := time.Now().Add(-2 * time.Hour)
	results, err := a.Ledger.Ingest(t.Context(), []authz.Record{{State: authz.StateSettled, Account: "org", UID: uuid.Must(uuid.NewV7()), Seq: 1, Epoch: 1,
		Key: authz.Key{Switch: "sw", Direction: authz.Outbound, CallID: "call"}, At: ended.UnixMilli(), AnsweredAt: ended.UnixMilli() - 84_000, TalkMS: 84_000,
		CreatedAt: ended.UnixMilli() - 90_000}})
	must(t, err)
	if results[0].Outcome != ledger.Inserted {
		t.Fatalf("%+v", results)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, context.Background()) }()
	t.Cleanup(func() {
		stop()
		must(t, <-done)
	})
	services.Eventually(t, 30*time.Second, func() error {
		b, err := a.Ledger.Billing(ctx, "org")
		if err == nil && fake.Usage(usage.EventName, b.Customer) != 84 {
			err = fmt.Errorf("Stripe has %d seconds of customer %q", fake.Usage(usage.EventName, b.Customer), b.Customer)
		}
		return err
	})
	token, _, err := account.NewKeys(a.Ledger, a.api.Invalidate, nil, a.log).Create(ctx, "org", "test", time.Time{})
	must(t, err)
	put := func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+a.PublicAddr()+"/api/v1/billing",
			strings.NewReader(`{"company_name":"Their Company","address":{"line1":"Hauptstr. 1","postal_code":"10115","city":"Berlin","country":"DE"},"vat_id":"DE136695976"}`))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s %s", resp.Status, answer)
		}
		return err
	}
	services.Eventually(t, 20*time.Second, put) // the directory learns of the account in a moment
	services.Eventually(t, 20*time.Second, func() error {
		b, err := a.desk.Billing(ctx, "org")
		if err == nil && b.TaxID == "" {
			err = fmt.Errorf("details %+v", b)
		}
		return err
	})
	http.DefaultClient.CloseIdleConnections()
}
