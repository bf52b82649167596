package stripefake_test

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v76"

	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

func TestTaxOfSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	german := w.buyer("DE")
	firm := w.buyer("DE")
	must[*stripe.TaxID](t)(w.TaxIDs.New(&stripe.TaxIDParams{Customer: &firm.ID, Type: stripe.String("eu_vat"), Value: stripe.String("DE123456789")}))
	exempt := must[*stripe.Customer](t)(w.Customers.Update(w.buyer("NL").ID, &stripe.CustomerParams{TaxExempt: stripe.String("reverse")}))
	rate := must[*stripe.TaxRate](t)(w.TaxRates.New(&stripe.TaxRateParams{
		DisplayName: stripe.String("VAT"), Percentage: stripe.Float64(25.5), Inclusive: stripe.Bool(false), Country: stripe.String("FI"),
	}))
	table := func(p *stripe.CheckoutSessionParams) {
		p.AutomaticTax, p.LineItems[0].TaxRates = nil, []*string{&rate.ID}
	}
	for name, c := range map[string]struct {
		customer string
		net, tax int64
		change   func(*stripe.CheckoutSessionParams)
		reason   stripe.InvoiceTotalTaxAmountTaxabilityReason
	}{
		"home":             {w.buyer("NL").ID, 1001, 210, nil, "standard_rated"},
		"abroad":           {german.ID, 1000, 190, nil, "standard_rated"},
		"half a percent":   {w.buyer("FI").ID, 1000, 255, nil, "standard_rated"},
		"a firm abroad":    {firm.ID, 1000, 0, nil, "reverse_charge"},
		"outside the EU":   {w.buyer("US").ID, 1000, 0, nil, "not_collecting"},
		"own rate":         {german.ID, 1002, 256, table, "standard_rated"}, // 255.51
		"own rate, exempt": {exempt.ID, 1000, 0, table, "reverse_charge"},
	} {
		change := c.change
		if change == nil {
			change = func(*stripe.CheckoutSessionParams) {}
		}
		s := w.session(c.customer, c.net, change)
		if s.TotalDetails.AmountTax != c.tax || s.AmountTotal != c.net+c.tax {
			t.Errorf("%s: tax %d of %d", name, s.TotalDetails.AmountTax, s.AmountTotal)
		}
		if err := w.Pay(s.ID); err != nil {
			t.Fatal(err)
		}
		params := &stripe.CheckoutSessionParams{}
		params.AddExpand("invoice.total_tax_amounts.tax_rate")
		in := must[*stripe.CheckoutSession](t)(w.CheckoutSessions.Get(s.ID, params)).Invoice
		if in.Tax != c.tax || in.Total != c.net+c.tax || len(in.TotalTaxAmounts) != 1 || in.TotalTaxAmounts[0].TaxabilityReason != c.reason {
			t.Errorf("%s: invoice with tax %d of %d, %+v", name, in.Tax, in.Total, in.TotalTaxAmounts[0])
		}
		if r := in.TotalTaxAmounts[0].TaxRate; c.tax > 0 && (r == nil || r.Percentage == 0) {
			t.Errorf("%s: tax rate %+v", name, r)
		}
	}
}

func TestSessionsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	c := w.buyer("NL")
	somewhere := must[*stripe.Customer](t)(w.Customers.New(&stripe.CustomerParams{}))
	for name, test := range map[string]struct {
		change func(*stripe.CheckoutSessionParams)
		status int
		code   string
	}{
		"too little": {func(p *stripe.CheckoutSessionParams) { p.LineItems[0].PriceData.UnitAmount = stripe.Int64(1) }, 400, "amount_too_small"},
		"too much":   {func(p *stripe.CheckoutSessionParams) { p.LineItems[0].PriceData.UnitAmount = stripe.Int64(1e8) }, 400, "amount_too_large"},
		"nobody":     {func(p *stripe.CheckoutSessionParams) { p.Customer = stripe.String("cus_x") }, 404, "resource_missing"},
		"nothing":    {func(p *stripe.CheckoutSessionParams) { p.LineItems = nil }, 400, "parameter_missing"},
		"no address": {func(p *stripe.CheckoutSessionParams) {
			p.Customer, p.CustomerUpdate, p.TaxIDCollection = &somewhere.ID, nil, nil
		}, 400, "customer_tax_location_invalid"},
		"name not updated": {func(p *stripe.CheckoutSessionParams) { p.CustomerUpdate = nil }, 400, ""},
		"expires soon":     {func(p *stripe.CheckoutSessionParams) { p.ExpiresAt = stripe.Int64(time.Now().Add(time.Minute).Unix()) }, 400, ""},
		"two taxes": {func(p *stripe.CheckoutSessionParams) {
			p.LineItems[0].TaxRates = stripe.StringSlice([]string{"txr_1"})
		}, 400, ""},
		"unknown": {func(p *stripe.CheckoutSessionParams) { p.AddExtra("colour", "blue") }, 400, "parameter_unknown"},
		"mode":    {func(p *stripe.CheckoutSessionParams) { p.Mode = stripe.String("lease") }, 400, ""},
	} {
		params := &stripe.CheckoutSessionParams{
			Mode: stripe.String("payment"), Customer: &c.ID, SuccessURL: stripe.String("http://shop.example/done"),
			LineItems: []*stripe.CheckoutSessionLineItemParams{{Quantity: stripe.Int64(1), PriceData: &stripe.CheckoutSessionLineItemPriceDataParams{
				Currency: stripe.String("eur"), UnitAmount: stripe.Int64(1000),
				ProductData: &stripe.CheckoutSessionLineItemPriceDataProductDataParams{Name: stripe.String("credit")},
			}}},
			AutomaticTax:    &stripe.CheckoutSessionAutomaticTaxParams{Enabled: stripe.Bool(true)},
			TaxIDCollection: &stripe.CheckoutSessionTaxIDCollectionParams{Enabled: stripe.Bool(true)},
			CustomerUpdate:  &stripe.CheckoutSessionCustomerUpdateParams{Name: stripe.String("auto"), Address: stripe.String("auto")},
		}
		test.change(params)
		_, err := w.CheckoutSessions.New(params)
		if err == nil {
			t.Errorf("%s: was accepted", name)
			continue
		}
		refused(t, err, test.status, test.code)
	}
	if n := len(w.Objects("checkout.session")); n != 0 {
		t.Errorf("%d sessions were made", n)
	}
}

func TestDeclineThenPay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	s := w.session(w.buyer("NL").ID, 1000)
	if err := w.Decline(s.ID); err != nil {
		t.Fatal(err)
	}
	err := w.PayWith(s.ID, stripefake.Payment{Card: stripefake.CardAuthenticates})
	var refusal *stripefake.Error
	if !errors.As(err, &refusal) || refusal.Code != "authentication_required" {
		t.Fatalf("got %v", err)
	}
	if s = must[*stripe.CheckoutSession](t)(w.CheckoutSessions.Get(s.ID, nil)); s.Status != "open" || s.PaymentStatus != "unpaid" {
		t.Errorf("session %s, %s", s.Status, s.PaymentStatus)
	}
	if err := w.PayWith(s.ID, stripefake.Payment{Card: stripefake.CardAuthenticates, Proven: true}); err != nil {
		t.Fatal(err)
	}
	if err := w.Pay(s.ID); err == nil {
		t.Error("a session was paid twice")
	}
	got := w.got()
	if got["payment_intent.payment_failed"] != 2 || got["charge.failed"] != 2 || got["payment_intent.succeeded"] != 1 || got["payment_intent.created"] != 1 {
		t.Errorf("events %v", got)
	}
	iter := w.Charges.List(&stripe.ChargeListParams{PaymentIntent: stripe.String(w.Object(s.ID)["payment_intent"].(string))})
	n := 0
	for iter.Next() {
		n++
	}
	if n != 3 || iter.Err() != nil {
		t.Errorf("%d charges, %v", n, iter.Err())
	}
}

func TestPayAsync(t *testing.T) {
	t.Parallel()
	for name, paid := range map[string]bool{"succeeds": true, "fails": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, stripefake.Config{})
			s := w.session(w.buyer("NL").ID, 1000)
			if err := w.PayAsync(s.ID); err != nil {
				t.Fatal(err)
			}
			params := &stripe.CheckoutSessionParams{}
			params.AddExpand("payment_intent.latest_charge")
			s = must[*stripe.CheckoutSession](t)(w.CheckoutSessions.Get(s.ID, params))
			if s.Status != "complete" || s.PaymentStatus != "unpaid" || s.PaymentIntent.Status != "processing" || s.Invoice != nil {
				t.Errorf("session %s, %s, %s", s.Status, s.PaymentStatus, s.PaymentIntent.Status)
			}
			if err := w.SettleAsync(s.ID, paid); err != nil {
				t.Fatal(err)
			}
			s = must[*stripe.CheckoutSession](t)(w.CheckoutSessions.Get(s.ID, nil))
			if (s.PaymentStatus == "paid") != paid || (s.Invoice != nil) != paid {
				t.Errorf("session %s, invoice %v", s.PaymentStatus, s.Invoice)
			}
			got := w.got()
			if got["checkout.session.completed"] != 1 || (got["checkout.session.async_payment_succeeded"] == 1) != paid ||
				(got["checkout.session.async_payment_failed"] == 1) == paid {
				t.Errorf("events %v", got)
			}
		})
	}
}

func TestSessionsExpire(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	c := w.buyer("NL")
	first, second := w.session(c.ID, 1000), w.session(c.ID, 1000)
	if s := must[*stripe.CheckoutSession](t)(w.CheckoutSessions.Expire(first.ID, nil)); s.Status != "expired" {
		t.Errorf("session %s", s.Status)
	}
	_, err := w.CheckoutSessions.Expire(first.ID, nil)
	refused(t, err, http.StatusBadRequest, "")
	w.Advance(24 * time.Hour)
	iter := w.CheckoutSessions.List(&stripe.CheckoutSessionListParams{Customer: &c.ID, Status: stripe.String("expired")})
	if !iter.Next() || iter.CheckoutSession().ID != second.ID || !iter.Next() || iter.Next() {
		t.Errorf("expired sessions are listed wrongly: %v", iter.Err())
	}
	if err := w.Pay(second.ID); err == nil {
		t.Error("an expired session was paid")
	}
	if n := w.got()["checkout.session.expired"]; n != 2 {
		t.Errorf("%d events", n)
	}
}

func TestInvoiceComesLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{InvoiceAfter: time.Minute})
	s := w.session(w.buyer("NL").ID, 1000)
	if err := w.Pay(s.ID); err != nil {
		t.Fatal(err)
	}
	if s = must[*stripe.CheckoutSession](t)(w.CheckoutSessions.Get(s.ID, nil)); s.PaymentStatus != "paid" || s.Invoice != nil {
		t.Errorf("session %s, invoice %v", s.PaymentStatus, s.Invoice)
	}
	w.Advance(time.Minute)
	if s = must[*stripe.CheckoutSession](t)(w.CheckoutSessions.Get(s.ID, nil)); s.Invoice == nil {
		t.Error("no invoice")
	}
}

// TestPages pays as a person without JavaScript does.
func TestPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	browser := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	read := func(response *http.Response, err error) (string, *http.Response) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		page, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(page), response
	}
	press := func(at, action, card string) (string, *http.Response) {
		t.Helper()
		return read(browser.PostForm(at, url.Values{"action": {action}, "card": {card}}))
	}
	s := w.session(w.buyer("NL").ID, 3500)
	page, _ := read(browser.Get(s.URL))
	for _, want := range []string{"500 credits", "EUR 35.00", "VAT 21%", "EUR 7.35", "EUR 42.35", `value="pay"`, `value="cancel"`, "charge this card later"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if _, r := press(s.URL, "cancel", ""); r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "http://shop.example/back" {
		t.Errorf("cancel: %d, %q", r.StatusCode, r.Header.Get("Location"))
	}
	if page, _ := press(s.URL, "pay", stripefake.CardDeclined); !strings.Contains(page, "Your card was declined.") {
		t.Error("the page does not tell of the decline")
	}
	if page, _ := press(s.URL, "pay", stripefake.CardAuthenticates); !strings.Contains(page, "Complete authentication") {
		t.Error("the page does not ask for authentication")
	}
	if page, _ := press(s.URL, "refuse", stripefake.CardAuthenticates); !strings.Contains(page, "unable to authenticate") {
		t.Error("the page does not tell that authentication failed")
	}
	if page, _ := press(s.URL, "pay", "1234"); !strings.Contains(page, "card number is incorrect") {
		t.Error("the page does not tell of the wrong number")
	}
	if _, r := press(s.URL, "authenticate", stripefake.CardAuthenticates); r.Header.Get("Location") != "http://shop.example/done?s="+s.ID {
		t.Errorf("paid: %d, %q", r.StatusCode, r.Header.Get("Location"))
	}
	if _, r := read(browser.Get(s.URL)); r.StatusCode != http.StatusNotFound {
		t.Errorf("the page of a paid session: %d", r.StatusCode)
	}
	s = must[*stripe.CheckoutSession](t)(w.CheckoutSessions.Get(s.ID, nil))
	in := must[*stripe.Invoice](t)(w.Invoices.Get(s.Invoice.ID, nil))
	if page, _ := read(browser.Get(in.HostedInvoiceURL)); !strings.Contains(page, "RF-0001") || strings.Contains(page, "<form") {
		t.Error("the invoice's page is wrong")
	}
	if _, r := read(browser.Get(in.HostedInvoiceURL + "x")); r.StatusCode != http.StatusNotFound {
		t.Error("a wrong link shows an invoice")
	}
	file, r := read(browser.Get(in.InvoicePDF))
	if r.Header.Get("Content-Type") != "application/pdf" || !strings.HasPrefix(file, "%PDF-") || !strings.Contains(file, "(RF-0001)") ||
		!strings.Contains(file, "Total: EUR 42.35") {
		t.Errorf("PDF %q", file)
	}
	checkPDF(t, file)
	if page, _ := read(browser.Get(w.url + "/receipts/" + w.Objects("charge")[1]["id"].(string))); !strings.Contains(page, "EUR 42.35") {
		t.Error("no receipt")
	}
}

// checkPDF opens a PDF: with a reader if there is one, else by its cross-reference table.
func checkPDF(t *testing.T, file string) {
	t.Helper()
	if reader, err := exec.LookPath("pdftotext"); err == nil {
		cmd := exec.CommandContext(t.Context(), reader, "-", "-")
		cmd.Stdin = strings.NewReader(file)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "RF-0001") {
			t.Errorf("pdftotext: %v: %s", err, out)
		}
	}
	lines := strings.Split(strings.TrimSpace(file), "\n")
	if lines[len(lines)-1] != "%%EOF" || lines[len(lines)-3] != "startxref" {
		t.Fatal("the PDF does not end as one")
	}
	for i, line := range lines {
		if offset, ok := strings.CutSuffix(line, " 00000 n "); ok {
			at := atoi(t, offset)
			if !strings.Contains(file[at:at+10], " 0 obj") {
				t.Errorf("line %d: no object at %d", i, at)
			}
		}
	}
	start := atoi(t, lines[len(lines)-2])
	if !strings.HasPrefix(file[start:], "xref\n") {
		t.Error("startxref points elsewhere")
	}
}

// TestHostedInvoice pays what a saved card could not, on the invoice's page.
func TestHostedInvoice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	c := w.buyer("NL")
	in := w.draft(c.ID, must[string](t)(w.AddCard(c.ID, stripefake.CardAlwaysAsks)))
	_, err := w.Invoices.Pay(in.ID, nil) // finalizes it
	refused(t, err, http.StatusPaymentRequired, "authentication_required")
	in = must[*stripe.Invoice](t)(w.Invoices.Get(in.ID, nil))
	press := func(action, card string) string {
		t.Helper()
		status, page := w.ask(http.MethodPost, strings.TrimPrefix(in.HostedInvoiceURL, w.url),
			url.Values{"action": {action}, "card": {card}}.Encode(), map[string]string{"Content-Type": "application/x-www-form-urlencoded"})
		if status != http.StatusOK {
			t.Errorf("%s: %d", action, status)
		}
		return page
	}
	for _, test := range []struct{ action, card, says string }{
		{"pay", stripefake.CardAlwaysAsks, "Complete authentication"},
		{"refuse", stripefake.CardAlwaysAsks, "unable to authenticate"},
		{"pay", stripefake.CardNoFunds, "insufficient funds"},
		{"authenticate", stripefake.CardAlwaysAsks, ": paid"},
		{"pay", stripefake.CardVisa, "This invoice is paid."},
	} {
		if page := press(test.action, test.card); !strings.Contains(page, test.says) {
			t.Errorf("%s with %s: the page does not say %q", test.action, test.card, test.says)
		}
	}
	if in = must[*stripe.Invoice](t)(w.Invoices.Get(in.ID, nil)); in.Status != "paid" || in.AttemptCount != 3 {
		t.Errorf("invoice %s after %d attempts", in.Status, in.AttemptCount)
	}
	if status, _ := w.ask(http.MethodPost, "/i/"+in.ID+"/guess", "", nil); status != http.StatusNotFound {
		t.Errorf("a guessed link: %d", status)
	}
}

// TestNewCustomer buys without a customer: the session makes one of what is entered.
func TestNewCustomer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripefake.Config{})
	s := w.session("", 1000, func(p *stripe.CheckoutSessionParams) {
		p.Customer, p.CustomerUpdate, p.CustomerEmail = nil, nil, stripe.String("new@buyer.example")
		p.LineItems[0].PriceData.UnitAmount, p.LineItems[0].PriceData.UnitAmountDecimal = nil, stripe.Float64(6.95)
		p.LineItems[0].Quantity = stripe.Int64(101) // 701.95, rounded half up
	})
	if s.AmountSubtotal != 702 || s.AutomaticTax.Status != "requires_location_inputs" {
		t.Errorf("session of %d, tax %s", s.AmountSubtotal, s.AutomaticTax.Status)
	}
	if err := w.PayWith(s.ID, stripefake.Payment{Country: "FR", Name: "Dupont"}); err != nil {
		t.Fatal(err)
	}
	params := &stripe.CheckoutSessionParams{}
	params.AddExpand("customer")
	s = must[*stripe.CheckoutSession](t)(w.CheckoutSessions.Get(s.ID, params))
	if s.AmountTotal != 842 || s.Customer.Name != "Dupont" || s.Customer.Email != "new@buyer.example" || s.Customer.Address.Country != "FR" {
		t.Errorf("session of %d for %+v", s.AmountTotal, s.Customer)
	}
}
