package stripe

import (
	"context"
	"errors"
	"time"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

// EventLine is an event as an operator sees it.
type EventLine struct {
	ID       string    `json:"id"`
	Type     string    `json:"type"`
	Object   string    `json:"object"`
	State    string    `json:"state"`
	Problem  string    `json:"problem"`
	Attempts int64     `json:"attempts"`
	Received time.Time `json:"received_at"`
	Due      time.Time `json:"due_at,omitzero"`
}

// PurchaseLine is a purchase that somebody has to look at.
type PurchaseLine struct {
	ID      string    `json:"id"`
	Account string    `json:"account"`
	Kind    string    `json:"kind"`
	State   string    `json:"state"`
	Problem string    `json:"problem"`
	Created time.Time `json:"created_at"`
	Session string    `json:"session,omitempty"`
	Invoice string    `json:"invoice,omitempty"`
}

// DetailsLine is an account whose billing details Stripe has not taken so far.
type DetailsLine struct {
	Account  string    `json:"account"`
	Problem  string    `json:"problem"`
	Attempts int64     `json:"attempts"`
	Due      time.Time `json:"due_at,omitzero"`
}

// TopUpLine is an account whose automatic top-up does not work as it was set.
type TopUpLine struct {
	Account  string    `json:"account"`
	Enabled  bool      `json:"enabled"`
	Problem  string    `json:"problem"` // as the customer reads it
	Declined int64     `json:"declined"`
	Next     time.Time `json:"next_attempt_at,omitzero"`
}

// UsageLine is a batch of usage as an operator sees it.
type UsageLine struct {
	ID       string    `json:"id"` // the event's identifier
	Account  string    `json:"account"`
	Hour     time.Time `json:"hour"`
	Seconds  int64     `json:"seconds"`
	Minute   time.Time `json:"minute"` // the event's time
	State    string    `json:"state"`
	Attempts int64     `json:"attempts"`
	Problem  string    `json:"problem"`
	Due      time.Time `json:"due_at"`
}

// Status is how the shop is.
type Status struct {
	Configured bool   `json:"configured"`
	Webhook    bool   `json:"webhook_secret"`
	APIVersion string `json:"api_version"`
	TaxMode    string `json:"tax_mode"`

	Purchases struct {
		Open      int64 `json:"open"`
		Paid      int64 `json:"paid"`
		Abandoned int64 `json:"abandoned"`
	} `json:"purchases"`
	Events struct {
		Waiting int64     `json:"waiting"`
		Aside   int64     `json:"aside"`
		Done    int64     `json:"done"`
		Last    time.Time `json:"last_received_at,omitzero"`
		Read    time.Time `json:"list_read_to,omitzero"`
	} `json:"events"`
	Webhooks  Seen           `json:"webhooks"`
	Aside     []EventLine    `json:"aside"`
	Failing   []EventLine    `json:"failing"`
	Suspicion []PurchaseLine `json:"purchases_aside"`
	Details   []DetailsLine  `json:"billing_details_failing"`
	TopUps    []TopUpLine    `json:"top_ups_failing"`
	Usage     struct {
		Waiting []ledger.UsageQueue `json:"waiting"` // to be sent or proven, by state
		Wrong   []UsageLine         `json:"wrong"`   // Stripe holds something else
	} `json:"usage"`
}

const statusLines = 100

// Status says how the shop is, from the ledger alone. Errors: ledger.ErrUnavailable.
func (s *Service) Status(ctx context.Context) (Status, error) {
	st := Status{Configured: s.api != nil, Webhook: s.cfg.WebhookSecret != "", APIVersion: APIVersion, TaxMode: s.cfg.TaxMode,
		Aside: []EventLine{}, Failing: []EventLine{}, Suspicion: []PurchaseLine{}, Details: []DetailsLine{}, TopUps: []TopUpLine{}}
	n, err := s.ledger.ShopCounts(ctx)
	if err != nil {
		return st, err
	}
	st.Purchases.Open, st.Purchases.Paid, st.Purchases.Abandoned = n.Open, n.Paid, n.Abandoned
	st.Events.Waiting, st.Events.Aside, st.Events.Done, st.Events.Last = n.Waiting, n.Aside, n.Done, n.LastEvent
	if st.Events.Read, _, err = s.ledger.Mark(ctx, markEvents); err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return st, err
	}
	if st.Webhooks, err = seen(ctx, s.ledger, s.cfg.WebhookSecret); err != nil {
		return st, err
	}
	out, failing, err := s.ledger.EventsAside(ctx, statusLines)
	if err != nil {
		return st, err
	}
	for _, e := range out {
		st.Aside = append(st.Aside, eventLine(&e))
	}
	for _, e := range failing {
		st.Failing = append(st.Failing, eventLine(&e))
	}
	kept, err := s.ledger.PurchasesAside(ctx, statusLines)
	for _, p := range kept {
		st.Suspicion = append(st.Suspicion, PurchaseLine{ID: p.ID.String(), Account: p.Account, Kind: p.Kind, State: string(p.State), Problem: p.Problem, Created: p.CreatedAt,
			Session: p.Session, Invoice: p.Invoice})
	}
	if err != nil {
		return st, err
	}
	details, err := s.ledger.BillingFailing(ctx, statusLines)
	for _, d := range details {
		st.Details = append(st.Details, DetailsLine{Account: d.Account, Problem: d.Problem, Attempts: d.Attempts, Due: d.DueAt})
	}
	if err != nil {
		return st, err
	}
	failed, err := s.ledger.TopUpsFailing(ctx, statusLines)
	for _, t := range failed {
		line := TopUpLine{Account: t.Account, Enabled: t.Enabled, Problem: t.Problem, Declined: t.Declined}
		if t.Enabled && t.NotBefore.After(s.cfg.Now()) {
			line.Next = t.NotBefore
		}
		st.TopUps = append(st.TopUps, line)
	}
	if err != nil {
		return st, err
	}
	queue, err := s.ledger.UsageQueue(ctx)
	if err != nil {
		return st, err
	}
	st.Usage.Waiting = append([]ledger.UsageQueue{}, queue...)
	st.Usage.Wrong, err = UsageProblems(ctx, s.ledger, "", ledger.UsageWrong)
	return st, err
}

// UsageProblems are the batches of usage that have a problem: of an account, in a state; empty: of all, in any.
// Errors: ledger.ErrUnavailable.
func UsageProblems(ctx context.Context, l *ledger.Ledger, account string, state ledger.UsageState) ([]UsageLine, error) {
	batches, err := l.UsageProblems(ctx, account, state, statusLines)
	lines := []UsageLine{}
	for _, b := range batches {
		lines = append(lines, UsageLine{ID: b.Identifier, Account: b.Account, Hour: b.Hour, Seconds: b.Seconds, Minute: b.Minute, State: string(b.State),
			Attempts: b.Attempts, Problem: b.Problem, Due: b.DueAt})
	}
	return lines, err
}

func eventLine(e *ledger.StripeEvent) EventLine {
	return EventLine{ID: e.ID, Type: e.Type, Object: e.Object, State: string(e.State), Problem: e.Problem, Attempts: e.Attempts, Received: e.ReceivedAt, Due: e.DueAt}
}

// Resync reads Stripe's list of events since a time and saves those that are not known, to be worked at once; it tells
// how many. Stripe lists those of 30 days. Errors: ErrNotConfigured, ErrUnavailable, ErrRefused, ledger.ErrUnavailable.
func (s *Service) Resync(ctx context.Context, since time.Time) (int, error) {
	if s.api == nil {
		return 0, ErrNotConfigured
	}
	return s.readEvents(ctx, since, s.cfg.Now().Add(overlap))
}

// Replay has an event worked again, whatever became of it. Errors: ErrNotConfigured, ledger.ErrNotFound.
func (s *Service) Replay(ctx context.Context, id string) error {
	if s.api == nil {
		return ErrNotConfigured
	}
	if err := s.ledger.ReplayEvent(ctx, id); err != nil {
		return err
	}
	s.awake()
	return nil
}
