package stripefake_test

import (
	"net/http"
	"testing"

	"github.com/stripe/stripe-go/v76"

	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

// draft is an invoice of EUR 10 net with automatic tax.
func (w *world) draft(customer, card string) *stripe.Invoice {
	w.t.Helper()
	params := &stripe.InvoiceParams{
		Customer: &customer, AutoAdvance: stripe.Bool(false), Currency: stripe.String("eur"), Description: stripe.String("top-up"),
		AutomaticTax: &stripe.InvoiceAutomaticTaxParams{Enabled: stripe.Bool(true)}, CollectionMethod: stripe.String("charge_automatically"),
		PendingInvoiceItemsBehavior: stripe.String("exclude"),
	}
	if card != "" {
		params.DefaultPaymentMethod = &card
	}
	params.AddMetadata("purchase", "p2")
	in := must[*stripe.Invoice](w.t)(w.Invoices.New(params))
	must[*stripe.InvoiceItem](w.t)(w.InvoiceItems.New(&stripe.InvoiceItemParams{
		Customer: &customer, Invoice: &in.ID, Amount: stripe.Int64(1000), Currency: stripe.String("eur"), Description: stripe.String("credit"),
	}))
	return in
}

func TestOffSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	for name, test := range map[string]struct {
		card   string
		code   string // "": paid
		reason stripe.DeclineCode
	}{
		"succeeds":          {stripefake.CardVisa, "", ""},
		"was authenticated": {stripefake.CardAuthenticates, "", ""},
		"is declined":       {stripefake.CardFailsLater, "card_declined", "generic_decline"},
		"asks":              {stripefake.CardAlwaysAsks, "authentication_required", "authentication_required"},
		"has no funds":      {stripefake.CardNoFunds, "card_declined", "insufficient_funds"},
	} {
		c := w.buyer("NL")
		card := must[string](t)(w.AddCard(c.ID, test.card))
		in := w.draft(c.ID, card)
		in = must[*stripe.Invoice](t)(w.Invoices.FinalizeInvoice(in.ID, &stripe.InvoiceFinalizeInvoiceParams{AutoAdvance: stripe.Bool(false)}))
		if in.Status != "open" || in.AmountDue != 1210 || in.Number == "" || in.HostedInvoiceURL == "" || in.PaymentIntent == nil {
			t.Errorf("%s: invoice %+v", name, in)
		}
		pay := &stripe.InvoicePayParams{OffSession: stripe.Bool(true), PaymentMethod: &card}
		paid, err := w.Invoices.Pay(in.ID, pay)
		if test.code == "" {
			if err != nil || paid.Status != "paid" || !paid.Paid || paid.AmountPaid != 1210 || paid.Charge == nil {
				t.Errorf("%s: %v, %+v", name, err, paid)
			}
			_, err = w.Invoices.Pay(in.ID, pay)
			refused(t, err, http.StatusBadRequest, "invoice_already_paid")
			continue
		}
		refusal := refused(t, err, http.StatusPaymentRequired, test.code)
		if refusal.Type != stripe.ErrorTypeCard || refusal.DeclineCode != test.reason || refusal.PaymentIntent == nil || refusal.ChargeID == "" {
			t.Errorf("%s: %+v", name, refusal)
		}
		in = must[*stripe.Invoice](t)(w.Invoices.Get(in.ID, nil))
		if in.Status != "open" || in.AttemptCount != 1 || !in.Attempted {
			t.Errorf("%s: invoice %s after %d attempts", name, in.Status, in.AttemptCount)
		}
		if err := w.PayInvoice(in.ID, stripefake.Payment{}); err != nil {
			t.Error(err)
		}
		if in = must[*stripe.Invoice](t)(w.Invoices.Get(in.ID, nil)); in.Status != "paid" {
			t.Errorf("%s: invoice %s in the end", name, in.Status)
		}
	}
	got := w.got()
	if got["invoice.payment_failed"] != 3 || got["invoice.payment_action_required"] != 1 || got["invoice.paid"] != 5 {
		t.Errorf("events %v", got)
	}
}

func TestInvoices(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	c := w.buyer("NL")
	rate := must[*stripe.TaxRate](t)(w.TaxRates.New(&stripe.TaxRateParams{
		DisplayName: stripe.String("VAT"), Percentage: stripe.Float64(21), Inclusive: stripe.Bool(true),
	}))
	in := must[*stripe.Invoice](t)(w.Invoices.New(&stripe.InvoiceParams{Customer: &c.ID, DefaultTaxRates: []*string{&rate.ID}}))
	must[*stripe.InvoiceItem](t)(w.InvoiceItems.New(&stripe.InvoiceItemParams{
		Customer: &c.ID, Invoice: &in.ID, UnitAmount: stripe.Int64(121), Quantity: stripe.Int64(10), Currency: stripe.String("eur"),
	}))
	in = must[*stripe.Invoice](t)(w.Invoices.Get(in.ID, nil))
	if in.Total != 1210 || in.TotalExcludingTax != 1000 || in.Tax != 210 || !in.TotalTaxAmounts[0].Inclusive {
		t.Errorf("invoice of %d, %d net, tax %d", in.Total, in.TotalExcludingTax, in.Tax)
	}
	lines := w.Invoices.ListLines(&stripe.InvoiceListLinesParams{Invoice: &in.ID})
	if !lines.Next() || lines.InvoiceLineItem().AmountExcludingTax != 1000 || lines.InvoiceLineItem().Quantity != 10 {
		t.Errorf("lines: %v", lines.Err())
	}
	in = must[*stripe.Invoice](t)(w.Invoices.Update(in.ID, &stripe.InvoiceParams{Description: stripe.String("changed")}))
	_, err := w.Invoices.VoidInvoice(in.ID, nil)
	refused(t, err, http.StatusBadRequest, "invoice_not_editable")
	in = must[*stripe.Invoice](t)(w.Invoices.FinalizeInvoice(in.ID, nil))
	_, err = w.Invoices.FinalizeInvoice(in.ID, nil)
	refused(t, err, http.StatusBadRequest, "invoice_not_editable")
	_, err = w.Invoices.Pay(in.ID, nil)
	refused(t, err, http.StatusBadRequest, "missing")
	_, err = w.InvoiceItems.New(&stripe.InvoiceItemParams{Customer: &c.ID, Invoice: &in.ID, Amount: stripe.Int64(1), Currency: stripe.String("eur")})
	refused(t, err, http.StatusBadRequest, "invoice_not_editable")
	if in = must[*stripe.Invoice](t)(w.Invoices.VoidInvoice(in.ID, nil)); in.Status != "void" || in.StatusTransitions.VoidedAt == 0 {
		t.Errorf("invoice %s", in.Status)
	}
	if p := must[*stripe.PaymentIntent](t)(w.PaymentIntents.Get(in.PaymentIntent.ID, nil)); p.Status != "canceled" {
		t.Errorf("payment %s", p.Status)
	}

	other := w.draft(c.ID, "")
	must[*stripe.Invoice](t)(w.Invoices.FinalizeInvoice(other.ID, nil))
	other = must[*stripe.Invoice](t)(w.Invoices.Pay(other.ID, &stripe.InvoicePayParams{PaidOutOfBand: stripe.Bool(true)}))
	if !other.PaidOutOfBand || other.Status != "paid" {
		t.Errorf("invoice %s", other.Status)
	}
	third := w.draft(c.ID, "")
	must[*stripe.Invoice](t)(w.Invoices.Del(third.ID, nil))
	bad := w.draft(c.ID, "")
	must[*stripe.Invoice](t)(w.Invoices.FinalizeInvoice(bad.ID, nil))
	must[*stripe.Invoice](t)(w.Invoices.MarkUncollectible(bad.ID, nil))

	for status, want := range map[string]int{"void": 1, "paid": 1, "uncollectible": 1, "draft": 0, "": 3} {
		params := &stripe.InvoiceListParams{Customer: &c.ID}
		if status != "" {
			params.Status = stripe.String(status)
		}
		iter, n := w.Invoices.List(params), 0
		for iter.Next() {
			n++
		}
		if n != want || iter.Err() != nil {
			t.Errorf("%d invoices %q, want %d: %v", n, status, want, iter.Err())
		}
	}

	// One that owes nothing is paid when it is finalized.
	nothing := must[*stripe.Invoice](t)(w.Invoices.New(&stripe.InvoiceParams{Customer: &c.ID}))
	if nothing = must[*stripe.Invoice](t)(w.Invoices.FinalizeInvoice(nothing.ID, nil)); nothing.Status != "paid" || nothing.PaymentIntent != nil {
		t.Errorf("invoice %s of nothing", nothing.Status)
	}

	// Items that wait for an invoice.
	must[*stripe.InvoiceItem](t)(w.InvoiceItems.New(&stripe.InvoiceItemParams{Customer: &c.ID, Amount: stripe.Int64(500), Currency: stripe.String("eur")}))
	in = must[*stripe.Invoice](t)(w.Invoices.New(&stripe.InvoiceParams{Customer: &c.ID, PendingInvoiceItemsBehavior: stripe.String("include")}))
	item := in.Lines.Data[0].InvoiceItem
	if got := must[*stripe.InvoiceItem](t)(w.InvoiceItems.Get(item.ID, nil)); got.Invoice.ID != in.ID || got.Amount != 500 {
		t.Errorf("item %+v", got)
	}
	pending := w.InvoiceItems.List(&stripe.InvoiceItemListParams{Customer: &c.ID, Pending: stripe.Bool(true)})
	if pending.Next() || pending.Err() != nil {
		t.Errorf("an item waits still: %v", pending.Err())
	}
	if in.Total != 500 {
		t.Errorf("invoice of %d", in.Total)
	}
}

func TestRefunds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	s := w.session(w.buyer("NL").ID, 1000)
	if err := w.Pay(s.ID); err != nil {
		t.Fatal(err)
	}
	s = must[*stripe.CheckoutSession](t)(w.CheckoutSessions.Get(s.ID, nil))
	params := &stripe.RefundParams{PaymentIntent: &s.PaymentIntent.ID, Amount: stripe.Int64(210), Reason: stripe.String("requested_by_customer")}
	params.AddMetadata("why", "test")
	first := must[*stripe.Refund](t)(w.Refunds.New(params))
	if first.Amount != 210 || first.Status != "succeeded" || first.Metadata["why"] != "test" {
		t.Errorf("refund %+v", first)
	}
	_, err := w.Refunds.New(&stripe.RefundParams{PaymentIntent: &s.PaymentIntent.ID, Amount: stripe.Int64(1001)})
	refused(t, err, http.StatusBadRequest, "")
	change := &stripe.PaymentIntentParams{Description: stripe.String("changed")}
	if p := must[*stripe.PaymentIntent](t)(w.PaymentIntents.Update(s.PaymentIntent.ID, change)); p.Description != "changed" {
		t.Errorf("payment %+v", p)
	}
	if iter := w.PaymentIntents.List(&stripe.PaymentIntentListParams{Customer: &s.Customer.ID}); !iter.Next() || iter.PaymentIntent().ID != s.PaymentIntent.ID {
		t.Errorf("payments: %v", iter.Err())
	}
	second := must[string](t)(w.Refund(s.ID, 0))
	if r := must[*stripe.Refund](t)(w.Refunds.Get(second, nil)); r.Amount != 1000 {
		t.Errorf("the rest is %d", r.Amount)
	}
	_, err = w.Refunds.New(&stripe.RefundParams{Charge: &first.Charge.ID})
	refused(t, err, http.StatusBadRequest, "charge_already_refunded")
	get := &stripe.ChargeParams{}
	get.AddExpand("refunds")
	charge := must[*stripe.Charge](t)(w.Charges.Get(first.Charge.ID, get))
	if !charge.Refunded || charge.AmountRefunded != 1210 || len(charge.Refunds.Data) != 2 {
		t.Errorf("charge %d refunded, %d refunds", charge.AmountRefunded, len(charge.Refunds.Data))
	}
	if err := w.FailRefund(second); err != nil {
		t.Fatal(err)
	}
	if charge = must[*stripe.Charge](t)(w.Charges.Get(first.Charge.ID, nil)); charge.Refunded || charge.AmountRefunded != 210 {
		t.Errorf("charge %d refunded after one failed", charge.AmountRefunded)
	}
	update := &stripe.RefundParams{}
	update.AddMetadata("seen", "yes")
	if r := must[*stripe.Refund](t)(w.Refunds.Update(first.ID, update)); r.Metadata["seen"] != "yes" || r.Metadata["why"] != "test" {
		t.Errorf("refund %+v", r)
	}
	iter, n := w.Refunds.List(&stripe.RefundListParams{Charge: &charge.ID}), 0
	for iter.Next() {
		n++
	}
	got := w.got()
	if n != 2 || got["charge.refunded"] != 2 || got["refund.created"] != 2 || got["refund.updated"] != 2 || got["charge.refund.updated"] != 2 {
		t.Errorf("%d refunds, events %v", n, got)
	}
}

func TestDisputes(t *testing.T) {
	t.Parallel()
	for name, won := range map[string]bool{"won": true, "lost": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, stripefake.Config{})
			s := w.session(w.buyer("NL").ID, 1000)
			if err := w.Pay(s.ID); err != nil {
				t.Fatal(err)
			}
			id := must[string](t)(w.Dispute(s.ID, 0))
			d := must[*stripe.Dispute](t)(w.Disputes.Get(id, nil))
			if d.Status != "needs_response" || d.Amount != 1210 || len(d.BalanceTransactions) != 1 || d.BalanceTransactions[0].Amount != -1210 {
				t.Errorf("dispute %+v", d)
			}
			_, err := w.Refunds.New(&stripe.RefundParams{Charge: &d.Charge.ID})
			refused(t, err, http.StatusBadRequest, "charge_disputed")
			if _, err := w.Dispute(s.ID, 0); err == nil {
				t.Error("disputed twice")
			}
			if err := w.CloseDispute(id, won); err != nil {
				t.Fatal(err)
			}
			if err := w.CloseDispute(id, won); err == nil {
				t.Error("closed twice")
			}
			iter := w.Disputes.List(&stripe.DisputeListParams{Charge: &d.Charge.ID})
			if !iter.Next() || string(iter.Dispute().Status) != name {
				t.Errorf("dispute %v, %v", iter.Dispute(), iter.Err())
			}
			got := w.got()
			if got["charge.dispute.created"] != 1 || got["charge.dispute.funds_withdrawn"] != 1 || got["charge.dispute.closed"] != 1 ||
				(got["charge.dispute.funds_reinstated"] == 1) != won {
				t.Errorf("events %v", got)
			}
		})
	}
}
