package stripe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/webhook"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

// kind is what an event is about, and how much it is needed: lower is worked first.
type kind struct {
	need   int64
	settle func(s *Service, ctx context.Context, e *told) error
}

// told is what an event says: what to look at.
type told struct {
	Type     string `json:"-"`
	ID       string `json:"id"`
	Customer string `json:"customer"`
}

// mostTypes is how many types of events Stripe's list can be asked for at once.
const mostTypes = 20

// kinds are the events that are worked.
var kinds = map[stripe.EventType]kind{
	stripe.EventTypeCheckoutSessionCompleted:             {0, aboutSession},
	stripe.EventTypeCheckoutSessionAsyncPaymentSucceeded: {0, aboutSession},
	stripe.EventTypeInvoicePaid:                          {0, aboutInvoice},
	stripe.EventTypeChargeRefunded:                       {1, aboutCharge},
	stripe.EventTypeChargeRefundUpdated:                  {1, aboutRefund},
	stripe.EventTypeRefundCreated:                        {1, aboutRefund},
	stripe.EventTypeRefundUpdated:                        {1, aboutRefund},
	stripe.EventTypeChargeDisputeFundsWithdrawn:          {1, aboutDispute},
	stripe.EventTypeChargeDisputeFundsReinstated:         {1, aboutDispute},
	stripe.EventTypeChargeDisputeClosed:                  {1, aboutDispute},
	stripe.EventTypeCheckoutSessionAsyncPaymentFailed:    {2, aboutSession},
	stripe.EventTypeCheckoutSessionExpired:               {2, aboutSession},
	stripe.EventTypeInvoiceFinalized:                     {2, aboutInvoice},
	stripe.EventTypeInvoicePaymentActionRequired:         {2, aboutInvoice},
	stripe.EventTypeInvoiceVoided:                        {2, aboutInvoice},
	stripe.EventTypeInvoiceMarkedUncollectible:           {2, aboutInvoice},
	stripe.EventTypeCustomerUpdated:                      {3, aboutCustomerItself},
	stripe.EventTypeCustomerDeleted:                      {3, aboutCustomerGone},
	stripe.EventTypeCustomerTaxIDCreated:                 {3, aboutCustomerOf},
	stripe.EventTypeCustomerTaxIDUpdated:                 {3, aboutCustomerOf},
	stripe.EventTypeCustomerTaxIDDeleted:                 {3, aboutCustomerOf},
}

func aboutSession(s *Service, ctx context.Context, e *told) error { return s.settleSession(ctx, e.ID) }
func aboutInvoice(s *Service, ctx context.Context, e *told) error { return s.settleInvoice(ctx, e.ID) }
func aboutCharge(s *Service, ctx context.Context, e *told) error  { return s.settleCharge(ctx, e.ID) }
func aboutRefund(s *Service, ctx context.Context, e *told) error  { return s.settleRefund(ctx, e.ID) }
func aboutDispute(s *Service, ctx context.Context, e *told) error {
	return s.settleDispute(ctx, e.ID, e.Type)
}
func aboutCustomerItself(s *Service, ctx context.Context, e *told) error { return s.refresh(ctx, e.ID) }
func aboutCustomerOf(s *Service, ctx context.Context, e *told) error {
	return s.refresh(ctx, e.Customer)
}

// aboutCustomerGone has a customer that somebody deleted made anew, if it is an account's still.
func aboutCustomerGone(s *Service, ctx context.Context, e *told) error {
	account, err := s.ledger.AccountOfCustomer(ctx, e.ID)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.ledger.SyncBilling(ctx, account)
}

func (s *Service) refresh(ctx context.Context, customer string) error {
	err := s.cfg.Customers.Refresh(ctx, customer)
	if errors.Is(err, ledger.ErrNotFound) {
		return aside("customer %s belongs to no account", customer)
	}
	return err
}

// EventTypes are the events that a webhook endpoint has to send, sorted.
func EventTypes() []string {
	var types []string
	for t := range kinds {
		types = append(types, string(t))
	}
	return slices.Sorted(slices.Values(types))
}

const mostBody = 1 << 20 // bytes of a webhook

// Webhook receives Stripe's events: signed ones are saved and answered at once, and worked afterwards.
func (s *Service) Webhook() http.Handler { return http.HandlerFunc(s.webhook) }

func (s *Service) webhook(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		writeError(w, &apiError{status: http.StatusMethodNotAllowed, code: "method_not_allowed", message: "Webhooks are posted."})
		return
	}
	if s.api == nil || s.cfg.WebhookSecret == "" {
		s.met.webhooks.WithLabelValues("refused").Inc()
		s.fail(w, r, ErrNotConfigured)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostBody))
	if err != nil {
		s.met.webhooks.WithLabelValues("refused").Inc()
		writeError(w, &apiError{status: http.StatusBadRequest, code: codeInvalid, message: "The body cannot be read whole."})
		return
	}
	e, err := webhook.ConstructEvent(body, r.Header.Get("Stripe-Signature"), s.cfg.WebhookSecret)
	if err != nil {
		s.met.webhooks.WithLabelValues("refused").Inc()
		s.log.Warn("webhook refused", logError, err)
		if errors.Is(err, webhook.ErrNoValidSignature) {
			s.refused.note(r.Context(), s, markRefused)
		}
		writeError(w, &apiError{status: http.StatusBadRequest, code: codeInvalid, message: "The signature, its time or the event's API version is wrong."})
		return
	}
	created, ours, err := s.save(r.Context(), &e, body)
	switch {
	case errors.Is(err, ledger.ErrInvalid):
		s.met.webhooks.WithLabelValues("refused").Inc()
		writeError(w, &apiError{status: http.StatusBadRequest, code: codeInvalid, message: "This is not an event."})
		return
	case err != nil:
		s.met.webhooks.WithLabelValues("failed").Inc()
		s.fail(w, r, err)
		return
	}
	s.signed.note(r.Context(), s, markSigned)
	switch {
	case !ours:
		s.met.webhooks.WithLabelValues("ignored").Inc()
	case created:
		s.met.webhooks.WithLabelValues("saved").Inc()
		s.awake()
	default:
		s.met.webhooks.WithLabelValues("repeated").Inc()
	}
	writeJSON(w, http.StatusOK, map[string]bool{"received": true})
}

// awake has the worker look at once.
func (s *Service) awake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// save keeps an event of a type that is worked.
func (s *Service) save(ctx context.Context, e *stripe.Event, body []byte) (created, ours bool, err error) {
	k, ours := kinds[e.Type]
	if !ours || e.Data == nil {
		return false, false, nil
	}
	about, err := read(e.Type, e.Data.Raw)
	if err != nil {
		return false, true, err
	}
	created, err = s.ledger.AddEvent(ctx, ledger.StripeEvent{ID: e.ID, Type: string(e.Type), Object: about.ID, Need: k.need, Body: body, CreatedAt: time.Unix(e.Created, 0)})
	return created, true, err
}

func read(kind stripe.EventType, object json.RawMessage) (*told, error) {
	about := &told{Type: string(kind)}
	if err := json.Unmarshal(object, about); err != nil || about.ID == "" {
		return nil, fmt.Errorf("%w: the event is about nothing that has an id", ledger.ErrInvalid)
	}
	return about, nil
}

// workEvents works events as they come, until ctx is done.
func (s *Service) workEvents(ctx context.Context) {
	var working sync.WaitGroup
	defer working.Wait()
	free := make(chan struct{}, s.cfg.Workers)
	tick := time.NewTicker(eventsEvery)
	defer tick.Stop()
	for {
		for ctx.Err() == nil {
			select {
			case free <- struct{}{}:
			case <-ctx.Done():
				return
			}
			e, err := s.ledger.ClaimEvent(ctx, s.cfg.Claim)
			if err != nil {
				<-free
				if !nothing(err) && ctx.Err() == nil {
					s.met.failures.Inc()
					s.log.Warn("events cannot be read; they are tried again", logError, err)
				}
				break
			}
			working.Go(func() {
				defer func() { <-free }()
				s.workEvent(ctx, e)
			})
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-tick.C:
		}
	}
}

// workEvent works one event and keeps what became of it.
func (s *Service) workEvent(ctx context.Context, e ledger.StripeEvent) {
	working, cancel := context.WithTimeout(ctx, s.cfg.Lease)
	defer cancel()
	err := s.settle(working, &e)
	state, why, due, result := ledger.EventDone, "", time.Time{}, "done"
	unclear := new(asideError)
	switch {
	case err == nil:
	case errors.As(err, &unclear), errors.Is(err, ErrRefused) && missing(err):
		state, why, result = ledger.EventAside, err.Error(), "aside"
		s.log.Error("nothing can be made of an event; see ringfence stripe status", logEvent, e.ID, logType, e.Type, logError, err)
	case ctx.Err() != nil:
		return // its lease runs out, and another takes it
	default:
		state, why, due, result = ledger.EventWaiting, err.Error(), s.cfg.Now().Add(eventPause(e.Attempts)), "failed"
		s.log.Warn("event not worked yet", logEvent, e.ID, logType, e.Type, logError, err)
	}
	s.met.events.WithLabelValues(result).Inc()
	keep, done := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Lease)
	defer done()
	if err := s.ledger.FinishEvent(keep, e.ID, state, why, due); err != nil {
		s.log.Warn("what became of an event could not be kept; it is worked again", logEvent, e.ID, logError, err)
	}
}

// eventPause is how long an event that failed so often waits.
func eventPause(attempts int64) time.Duration {
	return min(time.Second<<min(max(attempts-1, 0), 12), 5*time.Minute)
}

func (s *Service) settle(ctx context.Context, e *ledger.StripeEvent) error {
	var body struct {
		Data struct {
			Object json.RawMessage `json:"object"`
		} `json:"data"`
	}
	if err := json.Unmarshal(e.Body, &body); err != nil {
		return aside("the event cannot be read: %v", err)
	}
	about, err := read(stripe.EventType(e.Type), body.Data.Object)
	if err != nil {
		return aside("%v", err)
	}
	k, ok := kinds[stripe.EventType(e.Type)]
	if !ok {
		return nil
	}
	return k.settle(s, ctx, about)
}

const (
	markEvents = "stripe-events"
	overlap    = 15 * time.Minute    // events may be listed later than they happened
	firstRead  = time.Hour           // before the first start
	inFlight   = 30 * time.Second    // how long a webhook may be on its way
	keepEvents = 90 * 24 * time.Hour // after they were worked; Stripe lists those of 30 days
)

// poll reads Stripe's list of events for those that no webhook brought. One sidecar at a time does.
func (s *Service) poll(ctx context.Context) error {
	now := s.cfg.Now()
	at, err := s.ledger.ClaimMark(ctx, markEvents, now.Add(-firstRead), s.cfg.Poll-s.cfg.Poll/10)
	if nothing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	until := now
	if s.cfg.WebhookSecret != "" {
		until = now.Add(-min(inFlight, s.cfg.Poll/2)) // the webhooks of the newest are on their way
	}
	n, err := s.readEvents(ctx, at.Add(-overlap), until)
	if err != nil {
		return err
	}
	if n > 0 && s.cfg.WebhookSecret != "" {
		s.met.missed.Add(float64(n))
		s.log.Warn("events of Stripe's came by its list and not by webhook", "events", n)
	}
	if _, err := s.ledger.PruneEvents(ctx, now.Add(-keepEvents)); err != nil {
		return err
	}
	return s.ledger.MoveMark(ctx, markEvents, now)
}

// readEvents saves the events of a time that are not known yet, and tells how many.
func (s *Service) readEvents(ctx context.Context, since, until time.Time) (int, error) {
	n := 0
	for types := range slices.Chunk(EventTypes(), mostTypes) {
		more, err := s.readTypes(ctx, types, since, until)
		n += more
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (s *Service) readTypes(ctx context.Context, types []string, since, until time.Time) (int, error) {
	list := s.api.events.List(&stripe.EventListParams{ListParams: all(ctx), Types: stripe.StringSlice(types),
		CreatedRange: &stripe.RangeQueryParams{GreaterThanOrEqual: since.Unix(), LesserThanOrEqual: until.Unix()}})
	n := 0
	for list.Next() {
		e := list.Event()
		body, err := json.Marshal(map[string]any{"id": e.ID, "type": e.Type, "created": e.Created, "livemode": e.Livemode, "data": map[string]any{"object": e.Data.Raw}})
		if err != nil {
			return n, fmt.Errorf("keep event %s: %w", e.ID, err)
		}
		created, _, err := s.save(ctx, e, body)
		if err != nil {
			return n, err
		}
		if created {
			n++
			s.awake()
		}
	}
	return n, translate("list events", list.Err())
}
