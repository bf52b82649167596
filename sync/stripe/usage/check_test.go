package usage_test

import (
	"errors"
	"strings"
	"testing"

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
