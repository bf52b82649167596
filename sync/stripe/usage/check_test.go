package usage_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
	"github.com/hmsovereign/ringfence/sync/stripe/usage"
)

// A price is zero only if it is in every currency and tier.
func TestCheckPrices(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		eur, usd []int64
		costs    bool
	}{
		"zero":                           {[]int64{0}, []int64{0}, false},
		"zero tiers":                     {[]int64{0, 0}, []int64{0, 0}, false},
		"above zero":                     {[]int64{7}, []int64{0}, true},
		"above zero in another currency": {[]int64{0}, []int64{7}, true},
		"a tier":                         {[]int64{0, 7}, []int64{0, 0}, true},
		"a tier of another currency":     {[]int64{0, 0}, []int64{0, 7}, true},
		"the first tier of another":      {[]int64{0, 0}, []int64{7, 0}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			id, _ := r.fake.Objects("billing.meter")[0]["id"].(string)
			price := r.fake.AddPrice(id, "eur", 0)
			r.fake.SetPrice(price, "eur", c.eur...)
			r.fake.SetPrice(price, "usd", c.usd...)
			err := r.meter.Check(t.Context())
			if c.costs != errors.Is(err, usage.ErrMeter) || err != nil && !strings.Contains(err.Error(), price) {
				t.Errorf("costs: %v", err)
			}
		})
	}
}

// The meter is made where there is none, also again within a day and after a failure that Stripe keeps; one that is of
// another kind stays, and the operator is told.
func TestCreate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id, _ := r.fake.Objects("billing.meter")[0]["id"].(string)
	deactivate := func(id string) {
		t.Helper()
		_, err := r.post("/v1/billing/meters/"+id+"/deactivate", "")
		must(t, err)
	}
	deactivate(id)
	r.fake.Inject(stripefake.Fault{Kind: stripefake.Refuse, Method: http.MethodPost, Path: "/v1/billing/meters", Status: 500, Keep: true})
	if err := r.meter.Create(t.Context()); err == nil || errors.Is(err, usage.ErrMeter) || !strings.Contains(err.Error(), "500") {
		t.Errorf("made while Stripe fails: %v", err)
	}
	must(t, r.meter.Create(t.Context()))
	must(t, r.meter.Create(t.Context()))
	must(t, r.meter.Check(t.Context()))
	meters := r.fake.Objects("billing.meter")
	if len(meters) != 2 {
		t.Fatalf("meters are %v", meters)
	}
	for _, meter := range meters {
		if id, _ := meter["id"].(string); meter["status"] == "active" {
			deactivate(id)
		}
	}
	_, err := r.post("/v1/billing/meters", "display_name=x&event_name="+usage.EventName+"&default_aggregation[formula]=count"+
		"&customer_mapping[type]=by_id&customer_mapping[event_payload_key]=stripe_customer_id&value_settings[event_payload_key]=value")
	must(t, err)
	if err := r.meter.Create(t.Context()); !errors.Is(err, usage.ErrMeter) || !strings.Contains(err.Error(), "does not sum") {
		t.Errorf("beside one that counts: %v", err)
	}
}
