package stripefake

import (
	"cmp"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"
)

// usage is a meter event that was taken.
type usage struct {
	meter      string
	customer   string
	identifier string
	value      *big.Rat
	at         int64 // its timestamp
	taken      time.Time
	shows      time.Time // in summaries, from then on
}

// MeterEvent is one that was taken and counts.
type MeterEvent struct {
	Meter      string // mtr_...
	Identifier string
	Customer   string
	Value      string // a decimal
	At         time.Time
	Taken      time.Time
}

// MeterEvents returns those that were taken so far, in their order, whether summaries show them yet or not.
func (f *Fake) MeterEvents() []MeterEvent {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]MeterEvent, 0, len(f.usage))
	for _, u := range f.usage {
		all = append(all, MeterEvent{
			Meter: u.meter, Identifier: u.identifier, Customer: u.customer, Value: toText(ratField(u.value)),
			At: time.Unix(u.at, 0), Taken: u.taken,
		})
	}
	return all
}

// The limits of meter events (https://docs.stripe.com/api/billing/meter-event/create).
const (
	usageAge    = 35 * 24 * time.Hour
	usageAhead  = 5 * time.Minute
	usageUnique = 24 * time.Hour
)

func (f *Fake) createMeter(c *call) (object, *Error) {
	fields := object{
		"display_name": c.need("display_name"), "event_name": c.need("event_name"),
		"default_aggregation": object{"formula": c.sub("default_aggregation").need("formula", "sum", "count")},
		"event_time_window":   orNil(c.str("event_time_window", "day", "hour")),
	}
	if c.has("customer_mapping") {
		mapping := c.sub("customer_mapping")
		fields["customer_mapping"] = object{"event_payload_key": mapping.need("event_payload_key"), "type": mapping.need("type", "by_id")}
	}
	if c.has("value_settings") {
		fields["value_settings"] = object{"event_payload_key": c.sub("value_settings").need("event_payload_key")}
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if f.meterOf(fields.str("event_name")) != nil {
		return nil, invalid("", "event_name", "There is already an active meter with the event name %s.", fields.str("event_name"))
	}
	meter := f.make("billing.meter", "mtr_test").set(fields)
	meter["updated"] = meter["created"]
	f.emit("billing.meter.created", meter, nil)
	return meter, nil
}

// meterOf finds the active meter of an event name.
func (f *Fake) meterOf(name string) object {
	for _, id := range f.kinds["billing.meter"] {
		if meter := f.objects[id]; meter.str("event_name") == name && meter.str("status") == "active" {
			return meter
		}
	}
	return nil
}

func (f *Fake) getMeter(c *call) (object, *Error) { return f.find("billing.meter", c.id, "id") }

func (f *Fake) listMeters(c *call) (object, *Error) {
	status := c.str("status", "active", "inactive")
	return f.page(c, "billing.meter", func(o object) bool { return status == "" || o.str("status") == status })
}

// switchMeter deactivates or reactivates a meter.
func (f *Fake) switchMeter(c *call) (object, *Error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	meter, err := f.find("billing.meter", c.id, "id")
	if err != nil {
		return nil, err
	}
	meter["updated"] = f.now()
	if strings.HasSuffix(c.path, "/deactivate") {
		meter["status"] = "inactive"
		meter["status_transitions"] = object{"deactivated_at": f.now()}
		f.emit("billing.meter.deactivated", meter, nil)
		return meter, nil
	}
	meter["status"] = "active"
	meter["status_transitions"] = object{"deactivated_at": nil}
	f.emit("billing.meter.reactivated", meter, nil)
	return meter, nil
}

func (f *Fake) createMeterEvent(c *call) (object, *Error) {
	name, identifier := c.need("event_name"), c.str("identifier")
	payload, at := c.texts("payload"), f.now()
	if c.has("timestamp") {
		at = c.num("timestamp")
	}
	if len(payload) == 0 {
		c.complain(c.missing("payload"))
	}
	if len(identifier) > 100 {
		c.complain(invalid("", "identifier", "Invalid string: must be at most 100 characters"))
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	meter := f.meterOf(name)
	if meter == nil {
		return nil, invalid("no_meter", "event_name", "No active meter found for event name %s.", name)
	}
	stamp := time.Unix(at, 0)
	switch {
	case f.time().Sub(stamp) > usageAge:
		return nil, invalid("timestamp_too_far_in_past", "timestamp", "The timestamp must be within the past 35 calendar days.")
	case stamp.Sub(f.time()) > usageAhead:
		return nil, invalid("timestamp_in_future", "timestamp", "The timestamp must not be more than 5 minutes in the future.")
	}
	customer := payload[meter.sub("customer_mapping").str("event_payload_key")]
	if customer == "" {
		return nil, invalid("meter_event_no_customer_defined", "payload", "The payload must name the customer as %s.",
			meter.sub("customer_mapping").str("event_payload_key"))
	}
	value, ok := new(big.Rat).SetString(payload[meter.sub("value_settings").str("event_payload_key")])
	if !ok && meter.sub("default_aggregation").str("formula") == "sum" {
		return nil, invalid("meter_event_invalid_value", "payload", "The payload must have a number as %s.",
			meter.sub("value_settings").str("event_payload_key"))
	}
	if identifier == "" {
		identifier = f.random(32)
	}
	if seen, ok := f.usageIDs[identifier]; ok && f.time().Sub(seen) < usageUnique {
		return nil, &Error{Status: http.StatusBadRequest, Type: typeInvalid, Code: "resource_already_exists", Param: "identifier",
			Message: "An event already exists with identifier " + identifier + "."}
	}
	f.usageIDs[identifier] = f.time()
	// Whether the customer exists Stripe finds out later, and then drops the event.
	if o := f.objects[customer]; o != nil {
		f.usage = append(f.usage, &usage{
			meter: meter.id(), customer: customer, identifier: identifier, value: cmp.Or(value, new(big.Rat)), at: at,
			taken: f.time(), shows: f.time().Add(f.cfg.MeterLag),
		})
	}
	event := f.shape("billing.meter_event").set(object{
		"created": f.now(), "event_name": name, "identifier": identifier, "timestamp": at,
	})
	fields := object{}
	for key, text := range payload {
		fields[key] = text
	}
	event["payload"] = fields
	return event, nil
}

func (f *Fake) listSummaries(c *call) (object, *Error) {
	customer, from, to := c.need("customer"), c.needNum("start_time"), c.needNum("end_time")
	window := c.str("value_grouping_window", "day", "hour")
	if from%60 != 0 || to%60 != 0 {
		c.complain(invalid("", "start_time", "The start and end time must be aligned with minute boundaries."))
	}
	step := map[string]int64{"hour": 3600, "day": 86400, "": to - from}[window]
	switch {
	case from >= to:
		c.complain(invalid("", "end_time", "The end time must be after the start time."))
	case window != "" && (from%step != 0 || to%step != 0):
		c.complain(invalid("", "value_grouping_window", "The start and end time must be aligned with %s boundaries.", window))
	}
	if c.params.first.err != nil {
		return nil, c.params.first.err
	}
	meter, err := f.find("billing.meter", c.id, "id")
	if err != nil {
		return nil, err
	}
	if _, err := f.customer(customer, "customer"); err != nil {
		return nil, err
	}
	count := meter.sub("default_aggregation").str("formula") == "count"
	sums := make(map[int64]*big.Rat)
	for _, u := range f.usage {
		if u.meter != c.id || u.customer != customer || u.at < from || u.at >= to || u.shows.After(f.time()) {
			continue
		}
		start := from + (u.at-from)/step*step
		if sums[start] == nil {
			sums[start] = new(big.Rat)
		}
		value := u.value
		if count {
			value = big.NewRat(1, 1)
		}
		sums[start].Add(sums[start], value)
	}
	if window == "" && len(sums) == 0 {
		sums[from] = new(big.Rat) // one summary of nothing
	}
	var starts []int64
	for start := range sums {
		starts = append(starts, start)
	}
	slices.SortFunc(starts, func(a, b int64) int { return cmp.Compare(b, a) })
	var all []object
	for _, start := range starts {
		all = append(all, f.shape("billing.meter_event_summary").set(object{
			"id": "mtrusg_" + c.id[len(c.id)-8:] + itoa(start), "meter": c.id, "start_time": start, "end_time": start + step,
			"aggregated_value": ratField(sums[start]),
		}))
	}
	return pageOf(c, all, func(object) bool { return true })
}

// Usage returns the sum of a customer's meter events by a meter's event name, summaries' lag aside, in whole units.
func (f *Fake) Usage(eventName, customer string) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	sum := new(big.Rat)
	for _, u := range f.usage {
		if u.customer == customer && f.objects[u.meter].str("event_name") == eventName {
			sum.Add(sum, u.value)
		}
	}
	return new(big.Int).Quo(sum.Num(), sum.Denom()).Int64()
}

// SetMeterLag changes the time that meter events taken from now on need to show in summaries.
func (f *Fake) SetMeterLag(lag time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cfg.MeterLag = lag
}
