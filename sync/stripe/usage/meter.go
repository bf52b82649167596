package usage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/billing/meter"
	"github.com/stripe/stripe-go/v76/billing/meterevent"
	"github.com/stripe/stripe-go/v76/billing/metereventsummary"
	"github.com/stripe/stripe-go/v76/price"
)

// EventName is the name of the meter's events, unless configured otherwise.
const EventName = "ringfence_talk_seconds"

// The errors of a meter. Others mean that it is not known whether Stripe has worked the request.
var (
	// ErrRefused: Stripe has not worked the request, and says why.
	ErrRefused = errors.New("the payment provider refuses the request")
	// ErrNotNow: Stripe has not worked the request, since it cannot be reached or has too many, and will later, as with any
	// other request. It is an ErrRefused.
	ErrNotNow = fmt.Errorf("%w: not now", ErrRefused)
	// ErrCustomer: Stripe does not have the customer, nor any event of theirs. It is an ErrRefused.
	ErrCustomer = fmt.Errorf("%w: there is no such customer", ErrRefused)
	// ErrKnown: Stripe has an event of that identifier already.
	ErrKnown = errors.New("the payment provider has the event already")
	// ErrMeter: there is no meter, or it is not one that this program can use.
	ErrMeter = errors.New("the usage meter cannot be used")

	errNoMeter = fmt.Errorf("%w: there is none", ErrMeter)
)

// create is how an operator makes the meter.
const create = "ringfence stripe meter create"

// pageSize is of Stripe's lists.
const pageSize = 100

// Meter is Stripe's, of one event name. It is safe for concurrent use.
type Meter struct {
	name      string
	events    meterevent.Client
	summaries metereventsummary.Client
	meters    meter.Client
	prices    price.Client

	mu    sync.Mutex
	found *stripe.BillingMeter
}

// NewMeter makes a Meter of an event name ("" is [EventName]). send must try each request once ([Once]): a try without an
// answer may have worked, and whoever asks has to know; read may try again as it likes.
func NewMeter(send, read stripe.Backend, key, name string) *Meter {
	if name == "" {
		name = EventName
	}
	return &Meter{name: name, events: meterevent.Client{B: send, Key: key}, summaries: metereventsummary.Client{B: read, Key: key},
		meters: meter.Client{B: read, Key: key}, prices: price.Client{B: read, Key: key}}
}

// Event is what one batch becomes.
type Event struct {
	Identifier string
	Attempt    int64
	Customer   string // cus_...
	Seconds    int64
	At         time.Time
}

// Send sends an event. Errors: ErrRefused, ErrNotNow, ErrCustomer, ErrMeter: it did not arrive; ErrKnown: it did before; any other:
// nobody knows.
func (m *Meter) Send(ctx context.Context, e Event) error {
	is, err := m.find(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err) // nothing was sent
	}
	// Another attempt has another key, or Stripe would answer with the first one's error for a day.
	key := e.Identifier + ":" + strconv.FormatInt(e.Attempt, 10)
	_, err = m.events.New(&stripe.BillingMeterEventParams{
		Params:    stripe.Params{Context: ctx, IdempotencyKey: stripe.String(key)},
		EventName: stripe.String(m.name), Identifier: stripe.String(e.Identifier), Timestamp: stripe.Int64(e.At.Unix()),
		Payload: map[string]string{is.CustomerMapping.EventPayloadKey: e.Customer, is.ValueSettings.EventPayloadKey: strconv.FormatInt(e.Seconds, 10)},
	})
	return m.sent(err)
}

// sent tells what became of an event.
func (m *Meter) sent(err error) error {
	var said *stripe.Error
	var dialed *net.OpError
	switch {
	case errors.As(err, &said) && duplicate(said):
		return fmt.Errorf("%w: %s", ErrKnown, describe(said))
	case errors.As(err, &said):
		return m.judge(said)
	case errors.As(err, &dialed) && dialed.Op == "dial":
		return fmt.Errorf("%w: %w", ErrNotNow, err)
	}
	return err
}

// judge makes one of this package's errors of an answer of Stripe's; one that leaves open whether the request was
// worked is none of them.
func (m *Meter) judge(said *stripe.Error) error {
	text := describe(said)
	switch status := said.HTTPStatusCode; {
	case status == http.StatusTooManyRequests:
		return fmt.Errorf("%w: %s", ErrNotNow, text)
	case status == http.StatusConflict || status >= http.StatusInternalServerError:
		return errors.New(text)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return fmt.Errorf("%w: %w: %s", ErrRefused, ErrMeter, text)
	case noCustomer(said):
		return fmt.Errorf("%w: %s", ErrCustomer, text)
	case said.Param == "event_name" || said.Param == "id":
		m.forget()
		return fmt.Errorf("%w: %w: %s", ErrRefused, ErrMeter, text)
	default:
		return fmt.Errorf("%w: %s", ErrRefused, text)
	}
}

// noCustomer tells whether Stripe says that it does not have the customer, of a minute's sum or of an event.
func noCustomer(said *stripe.Error) bool {
	missing := said.Code == stripe.ErrorCodeResourceMissing && (said.Param == "customer" || strings.HasPrefix(said.Param, "payload"))
	return missing || said.Code == "meter_event_customer_not_found"
}

// duplicate tells whether Stripe says that it has an event of the identifier already.
func duplicate(said *stripe.Error) bool {
	return said.HTTPStatusCode == http.StatusBadRequest && (said.Code == "duplicate_meter_event" || strings.Contains(said.Msg, "already exists with identifier"))
}

// describe is Stripe's error as a sentence; the SDK's own text is its whole answer in JSON.
func describe(e *stripe.Error) string {
	text := fmt.Sprintf("Stripe answers %d", e.HTTPStatusCode)
	for _, part := range []string{string(e.Code), e.Param, e.Msg, e.RequestID} {
		if part != "" {
			text += ", " + part
		}
	}
	return text
}

// Sum is what a customer's events of a minute add up to, as far as Stripe has counted them. Errors: ErrRefused (that
// customer or minute), ErrCustomer, ErrNotNow, ErrMeter; any other: Stripe does not answer.
func (m *Meter) Sum(ctx context.Context, customer string, minute time.Time) (int64, error) {
	is, err := m.find(ctx)
	if err != nil {
		return 0, err
	}
	list := m.summaries.List(&stripe.BillingMeterEventSummaryListParams{ListParams: stripe.ListParams{Context: ctx, Limit: stripe.Int64(pageSize)},
		ID: stripe.String(is.ID), Customer: stripe.String(customer), StartTime: stripe.Int64(minute.Unix()), EndTime: stripe.Int64(minute.Add(time.Minute).Unix())})
	var sum float64 // as JSON brings it; whole numbers of seconds are exact
	for list.Next() {
		sum += list.BillingMeterEventSummary().AggregatedValue
	}
	if err := list.Err(); err != nil {
		return 0, fmt.Errorf("sum of a minute: %w", m.read(err))
	}
	return int64(math.Round(sum)), nil
}

// read makes one of this package's errors of what came instead of an answer.
func (m *Meter) read(err error) error {
	var said *stripe.Error
	if errors.As(err, &said) {
		return m.judge(said)
	}
	return err
}

// find finds the meter, and remembers it. Errors: ErrMeter, ErrNotNow.
func (m *Meter) find(ctx context.Context) (*stripe.BillingMeter, error) {
	m.mu.Lock()
	found := m.found
	m.mu.Unlock()
	if found != nil {
		return found, nil
	}
	list := m.meters.List(&stripe.BillingMeterListParams{ListParams: stripe.ListParams{Context: ctx, Limit: stripe.Int64(pageSize)}, Status: stripe.String("active")})
	for list.Next() && found == nil {
		if is := list.BillingMeter(); is.EventName == m.name {
			found = is
		}
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("%w: list meters: %w", ErrNotNow, m.read(err))
	}
	if found == nil {
		return nil, fmt.Errorf("%w that is active for events named %q: make it with %s", errNoMeter, m.name, create)
	}
	switch {
	case found.DefaultAggregation == nil || found.DefaultAggregation.Formula != stripe.BillingMeterDefaultAggregationFormulaSum:
		return nil, fmt.Errorf("%w: %s does not sum its events: deactivate it in Stripe, and make another with %s", ErrMeter, found.ID, create)
	case found.EventTimeWindow != "":
		return nil, fmt.Errorf("%w: %s keeps only the last event of each %s: deactivate it in Stripe, and make another with %s", ErrMeter, found.ID, found.EventTimeWindow, create)
	case found.CustomerMapping == nil || found.ValueSettings == nil || found.CustomerMapping.EventPayloadKey == "" || found.ValueSettings.EventPayloadKey == "":
		return nil, fmt.Errorf("%w: %s does not say where an event has its customer and value: deactivate it in Stripe, and make another with %s", ErrMeter, found.ID, create)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.found = found
	return found, nil
}

// forget has the meter looked up again.
func (m *Meter) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.found = nil
}

// Create makes the meter where there is none. Errors: ErrMeter, with what to do (one of its events' name cannot be used, or
// Stripe refuses); any other: Stripe does not answer.
func (m *Meter) Create(ctx context.Context) error {
	m.forget()
	_, err := m.find(ctx)
	if !errors.Is(err, errNoMeter) {
		return err
	}
	// A key of its own, or Stripe would answer for a day with the meter that has been deactivated since.
	_, made := m.meters.New(&stripe.BillingMeterParams{Params: stripe.Params{Context: ctx, IdempotencyKey: stripe.String("meter:" + m.name + ":" + uuid.NewString())},
		DisplayName: stripe.String("Talk time (seconds)"), EventName: stripe.String(m.name),
		DefaultAggregation: &stripe.BillingMeterDefaultAggregationParams{Formula: stripe.String("sum")},
		CustomerMapping:    &stripe.BillingMeterCustomerMappingParams{Type: stripe.String("by_id"), EventPayloadKey: stripe.String("stripe_customer_id")},
		ValueSettings:      &stripe.BillingMeterValueSettingsParams{EventPayloadKey: stripe.String("value")}})
	m.forget()
	if _, err = m.find(ctx); err != nil && made != nil {
		return fmt.Errorf("make the meter: %w", m.read(made))
	}
	return err
}

// Check tells whether the meter exists and is of the right kind, and that no price above zero hangs on it, in any currency,
// by which customers would pay twice. Errors: ErrMeter, with what to do; any other: Stripe does not answer.
func (m *Meter) Check(ctx context.Context) error {
	m.forget()
	is, err := m.find(ctx)
	if err != nil {
		return err
	}
	params := &stripe.PriceListParams{ListParams: stripe.ListParams{Context: ctx, Limit: stripe.Int64(pageSize)}, Recurring: &stripe.PriceListRecurringParams{Meter: stripe.String(is.ID)}}
	params.AddExpand("data.currency_options")
	list := m.prices.List(params)
	var errs []error
	for list.Next() {
		p := list.Price()
		if p.Recurring == nil || p.Recurring.Meter != is.ID {
			continue
		}
		if p.BillingScheme == stripe.PriceBillingSchemeTiered {
			whole := &stripe.PriceParams{Params: stripe.Params{Context: ctx}}
			whole.AddExpand("tiers")
			for currency := range p.CurrencyOptions {
				whole.AddExpand("currency_options." + currency + ".tiers")
			}
			if p, err = m.prices.Get(p.ID, whole); err != nil {
				return fmt.Errorf("read a price of meter %s: %w", is.ID, m.read(err))
			}
		}
		if costs(p) {
			errs = append(errs, fmt.Errorf("%w: price %s charges for its events, which are paid for already: set it to zero or take it off the meter", ErrMeter, p.ID))
		}
	}
	if err := list.Err(); err != nil {
		return fmt.Errorf("list the prices of meter %s: %w", is.ID, m.read(err))
	}
	return errors.Join(errs...)
}

// costs tells whether a price has anything above zero, in any currency.
func costs(p *stripe.Price) bool {
	if p.UnitAmount > 0 || p.UnitAmountDecimal > 0 {
		return true
	}
	for _, t := range p.Tiers {
		if t.FlatAmount > 0 || t.FlatAmountDecimal > 0 || t.UnitAmount > 0 || t.UnitAmountDecimal > 0 {
			return true
		}
	}
	for _, o := range p.CurrencyOptions {
		if o.UnitAmount > 0 || o.UnitAmountDecimal > 0 {
			return true
		}
		for _, t := range o.Tiers {
			if t.FlatAmount > 0 || t.FlatAmountDecimal > 0 || t.UnitAmount > 0 || t.UnitAmountDecimal > 0 {
				return true
			}
		}
	}
	return false
}
