package stripefake_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v76"

	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

func TestMeters(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 10, 12, 30, 30, 0, time.UTC)
	w := newWorld(t, stripefake.Config{MeterLag: 10 * time.Minute, Now: func() time.Time { return now }})
	c := w.buyer("NL")
	meter := must[*stripe.BillingMeter](t)(w.BillingMeters.New(&stripe.BillingMeterParams{
		DisplayName: stripe.String("Talk time"), EventName: stripe.String("talk_seconds"),
		DefaultAggregation: &stripe.BillingMeterDefaultAggregationParams{Formula: stripe.String("sum")},
	}))
	if meter.Status != "active" || meter.CustomerMapping.EventPayloadKey != "stripe_customer_id" || meter.ValueSettings.EventPayloadKey != "value" {
		t.Errorf("meter %+v", meter)
	}
	send := func(id, value string, at time.Time) error {
		params := &stripe.BillingMeterEventParams{
			EventName: stripe.String("talk_seconds"), Identifier: &id, Timestamp: stripe.Int64(at.Unix()),
			Payload: map[string]string{"stripe_customer_id": c.ID, "value": value},
		}
		_, err := w.BillingMeterEvents.New(params)
		return err
	}
	hour := now.Truncate(time.Hour)
	for id, at := range map[string]time.Time{"a": hour, "b": hour.Add(time.Minute), "c": hour.Add(-time.Hour), "old": now.Add(-35*24*time.Hour + time.Minute), "soon": now.Add(4 * time.Minute)} {
		if err := send(id, "60", at); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	refused(t, send("a", "60", hour), http.StatusBadRequest, "resource_already_exists")
	refused(t, send("older", "60", now.Add(-35*24*time.Hour-time.Minute)), http.StatusBadRequest, "timestamp_too_far_in_past")
	refused(t, send("later", "60", now.Add(6*time.Minute)), http.StatusBadRequest, "timestamp_in_future")
	refused(t, send("x", "sixty", now), http.StatusBadRequest, "meter_event_invalid_value")

	sum := func(from, to time.Time, window string) []float64 {
		t.Helper()
		params := &stripe.BillingMeterEventSummaryListParams{
			ID: &meter.ID, Customer: &c.ID, StartTime: stripe.Int64(from.Unix()), EndTime: stripe.Int64(to.Unix()),
		}
		if window != "" {
			params.ValueGroupingWindow = &window
		}
		iter := w.BillingMeterEventSummaries.List(params)
		var values []float64
		for iter.Next() {
			values = append(values, iter.BillingMeterEventSummary().AggregatedValue)
		}
		if iter.Err() != nil {
			t.Fatal(iter.Err())
		}
		return values
	}
	same := func(got []float64, want ...float64) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("summaries %v, want %v", got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("summaries %v, want %v", got, want)
			}
		}
	}
	same(sum(hour, hour.Add(time.Minute), ""), 0) // they lag
	w.Advance(10 * time.Minute)
	same(sum(hour, hour.Add(time.Minute), ""), 60)
	same(sum(hour, hour.Add(2*time.Minute), ""), 120)
	same(sum(hour.Add(-time.Hour), hour.Add(time.Hour), "hour"), 180, 60) // newest first
	if got := w.Usage("talk_seconds", c.ID); got != 300 {
		t.Errorf("usage %d", got)
	}
	if all := w.MeterEvents(); len(all) != 5 || all[0].Value != "60" || all[0].Customer != c.ID || all[0].Meter != meter.ID || !all[0].Taken.Equal(now) {
		t.Errorf("events %+v", all)
	}
	params := &stripe.BillingMeterEventSummaryListParams{ID: &meter.ID, Customer: &c.ID, StartTime: stripe.Int64(hour.Unix() + 1), EndTime: stripe.Int64(hour.Unix() + 60)}
	iter := w.BillingMeterEventSummaries.List(params)
	if iter.Next() {
		t.Error("a summary that starts within a minute")
	}
	refused(t, iter.Err(), http.StatusBadRequest, "")

	w.Advance(24 * time.Hour)
	if err := send("a", "60", hour); err != nil {
		t.Errorf("the identifier is taken after a day: %v", err)
	}
	if iter := w.BillingMeters.List(&stripe.BillingMeterListParams{Status: stripe.String("active")}); !iter.Next() || iter.BillingMeter().ID != meter.ID {
		t.Errorf("meters: %v", iter.Err())
	}
	w.SetMeterLag(0)
	if err := send("at once", "7", w.Now()); err != nil {
		t.Error(err)
	}
	same(sum(w.Now().Truncate(time.Minute), w.Now().Truncate(time.Minute).Add(time.Minute), ""), 7)
	price := w.AddPrice(meter.ID, "eur", 7)
	list := &stripe.PriceListParams{Active: stripe.Bool(true), Type: stripe.String("recurring")}
	list.Recurring = &stripe.PriceListRecurringParams{Meter: &meter.ID, UsageType: stripe.String("metered")}
	if iter := w.Prices.List(list); !iter.Next() || iter.Price().ID != price || iter.Price().UnitAmount != 7 {
		t.Errorf("prices: %v", iter.Err())
	}
	must[*stripe.BillingMeter](t)(w.BillingMeters.Deactivate(meter.ID, nil))
	refused(t, send("z", "60", w.Now()), http.StatusBadRequest, "no_meter")
	must[*stripe.BillingMeter](t)(w.BillingMeters.Reactivate(meter.ID, nil))
	if meter = must[*stripe.BillingMeter](t)(w.BillingMeters.Get(meter.ID, nil)); meter.Status != "active" {
		t.Errorf("meter %s", meter.Status)
	}
}
