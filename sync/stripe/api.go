package stripe

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe/vat"
)

// Routes are the resources of the public API that the shop answers.
func (s *Service) Routes() []Route {
	return []Route{
		s.resource(http.MethodGet, "/api/v1/checkout", false, s.getOffer),
		s.resource(http.MethodPost, "/api/v1/checkout", true, s.postCheckout),
		s.resource(http.MethodGet, "/api/v1/checkout/quote", false, s.getQuote),
		s.resource(http.MethodGet, "/api/v1/invoices", false, s.getInvoices),
		s.resource(http.MethodGet, "/api/v1/invoices/{id}", false, s.getInvoice),
		{Method: http.MethodGet, Path: "/api/v1/invoices/{id}/pdf", Serve: http.HandlerFunc(s.getPDF)},
		s.resource(http.MethodGet, "/api/v1/top-up", false, s.getTopUp),
		s.resource(http.MethodPut, "/api/v1/top-up", true, s.putTopUp),
	}
}

// money is an amount in cents as the public API shows it.
func money(cents int64) credit.Amount {
	return credit.Amount(credit.Micros(cents) * ledger.MicrosPerCent)
}

// percent is a rate in hundredths of a percent as a JSON number.
func percent(rate int64) json.RawMessage { return json.RawMessage(vat.Percent(rate)) }

// stamp is a time as the public API shows it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

type quoteView struct {
	Minutes       credit.Minutes  `json:"minutes"`
	Currency      string          `json:"currency"`
	Net           credit.Amount   `json:"net_amount"`
	VATRate       json.RawMessage `json:"vat_rate"`
	VAT           credit.Amount   `json:"vat_amount"`
	ReverseCharge bool            `json:"reverse_charge"`
	Total         credit.Amount   `json:"total"`
	Note          string          `json:"note"`
}

func viewQuote(q *ledger.Quote) quoteView {
	return quoteView{credit.Minutes(q.Units), q.Currency, money(q.Net), percent(q.VATRate), money(q.VAT), q.ReverseCharge, money(q.Total), q.Note}
}

type offerView struct {
	Currency string           `json:"currency"`
	Price    json.RawMessage  `json:"price_per_minute"`
	Min      credit.Amount    `json:"min_amount"`
	Max      credit.Amount    `json:"max_amount"`
	Packages []credit.Minutes `json:"packages"`
	Open     bool             `json:"available"`
}

// Offer is what can be bought.
type Offer struct {
	Currency string
	Price    credit.Micros // of a minute at the base rate, without VAT
	Min, Max credit.Micros // of a purchase
	Packages []int64       // minutes
	Open     bool          // a payment provider is configured
}

// Offer says what can be bought.
func (s *Service) Offer() Offer {
	return Offer{Currency: Currency, Price: s.cfg.Price, Min: s.cfg.Min, Max: s.cfg.Max, Packages: s.cfg.Packages, Open: s.api != nil}
}

func (s *Service) getOffer(*http.Request, *authz.Account) (int, any, error) {
	o := s.Offer()
	v := offerView{Currency: o.Currency, Price: json.RawMessage(o.Price.Money()), Min: credit.Amount(o.Min), Max: credit.Amount(o.Max), Packages: []credit.Minutes{}, Open: o.Open}
	for _, m := range o.Packages {
		v.Packages = append(v.Packages, credit.Minutes(credit.Units(m)*credit.PerCredit))
	}
	return http.StatusOK, v, nil
}

func (s *Service) getQuote(r *http.Request, a *authz.Account) (int, any, error) {
	o := Order{}
	for name, values := range r.URL.Query() {
		switch {
		case len(values) > 1:
			return 0, nil, badField(clip(name), "It is given more than once.")
		case name == fieldMinutes:
			o.Minutes = values[0]
		case name == fieldMoney:
			o.Money = values[0]
		default:
			return 0, nil, badField(clip(name), "There is no such parameter.")
		}
	}
	q, err := s.Quote(r.Context(), a.ID, o)
	return http.StatusOK, viewQuote(&q), err
}

type startedView struct {
	ID      string    `json:"id"`
	URL     string    `json:"url"`
	Expires string    `json:"expires_at"`
	Quote   quoteView `json:"quote"`
}

func (s *Service) postCheckout(r *http.Request, a *authz.Account) (int, any, error) {
	if s.api == nil {
		return 0, nil, ErrNotConfigured
	}
	var in struct {
		Minutes decimal `json:"amount_minutes"`
		Money   decimal `json:"amount_eur"`
		Success string  `json:"success_url"`
		Cancel  string  `json:"cancel_url"`
		Save    bool    `json:"save_card"`
	}
	key, err := idempotencyKey(r)
	if err == nil {
		err = decode(r, &in)
	}
	if err != nil {
		return 0, nil, err
	}
	made, err := s.Checkout(r.Context(), a.ID, Request{Order: Order{string(in.Minutes), string(in.Money)}, SuccessURL: in.Success, CancelURL: in.Cancel, SaveCard: in.Save, Key: key})
	if err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, startedView{made.Purchase.ID.String(), made.URL, stamp(made.Purchase.ExpiresAt), viewQuote(&made.Quote)}, nil
}

// headerKey names the key under which a customer's request counts once, however often it is sent
// (draft-ietf-httpapi-idempotency-key-header, and Stripe's own header of that name).
const headerKey = "Idempotency-Key"

// mostKey is of characters, as with Stripe.
const mostKey = 255

// idempotencyKey reads it; empty: none is given. Errors: *ledger.FieldError.
func idempotencyKey(r *http.Request) (string, error) {
	given := r.Header.Values(headerKey)
	if len(given) == 0 {
		return "", nil
	}
	key := given[0]
	odd := strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' })
	if len(given) > 1 || key == "" || len(key) > mostKey || odd {
		return "", badField(headerKey, "This header has to be given once, with 1 to %d printable ASCII characters, such as a UUID.", mostKey)
	}
	return key, nil
}

type invoiceView struct {
	ID            string          `json:"id"`
	Number        string          `json:"number"`
	Date          string          `json:"date"`
	Currency      string          `json:"currency"`
	Net           credit.Amount   `json:"net_amount"`
	VATRate       json.RawMessage `json:"vat_rate"`
	VAT           credit.Amount   `json:"vat_amount"`
	ReverseCharge bool            `json:"reverse_charge"`
	Total         credit.Amount   `json:"total"`
	Status        string          `json:"status"`
	PayURL        string          `json:"pay_url,omitempty"`
	PDF           string          `json:"pdf,omitempty"`
}

func viewInvoice(v *ledger.Invoice) invoiceView {
	out := invoiceView{ID: v.ID, Number: v.Number, Date: stamp(v.Date), Currency: v.Currency, Net: money(v.Net), VATRate: percent(v.VATRate), VAT: money(v.VAT),
		ReverseCharge: v.ReverseCharge, Total: money(v.Total), Status: v.Status}
	if v.Status == "open" {
		out.PayURL = v.PayURL
	}
	if v.PDFURL != "" {
		out.PDF = "/api/v1/invoices/" + v.ID + "/pdf"
	}
	return out
}

const (
	pageDefault = 50
	pageMost    = 100
)

func (s *Service) getInvoices(r *http.Request, a *authz.Account) (int, any, error) {
	limit, offset := pageDefault, 0
	for name, values := range r.URL.Query() {
		var to *int
		least, most := 1, pageMost
		switch name {
		case "limit":
			to = &limit
		case "offset":
			to, least, most = &offset, 0, 1<<31-1
		default:
			return 0, nil, badField(clip(name), "There is no such parameter.")
		}
		n, err := strconv.Atoi(values[0])
		if err != nil || n < least || n > most || len(values) > 1 {
			return 0, nil, badField(name, "This has to be a whole number from %d to %d, given once.", least, most)
		}
		*to = n
	}
	page, total, err := s.Invoices(r.Context(), a.ID, limit, offset)
	if err != nil {
		return 0, nil, err
	}
	type pagination struct {
		Total  int64 `json:"total"`
		Limit  int   `json:"limit"`
		Offset int   `json:"offset"`
	}
	out := struct {
		Invoices   []invoiceView `json:"invoices"`
		Pagination pagination    `json:"pagination"`
	}{[]invoiceView{}, pagination{total, limit, offset}}
	for i := range page {
		out.Invoices = append(out.Invoices, viewInvoice(&page[i]))
	}
	return http.StatusOK, out, nil
}

func (s *Service) getInvoice(r *http.Request, a *authz.Account) (int, any, error) {
	v, err := s.Invoice(r.Context(), a.ID, r.PathValue("id"))
	return http.StatusOK, viewInvoice(&v), err
}

func (s *Service) getPDF(w http.ResponseWriter, r *http.Request) {
	a, ok := s.cfg.Caller(r.Context())
	if !ok {
		writeError(w, &apiError{status: http.StatusUnauthorized, code: "unauthorized", message: "An API key is asked for."})
		return
	}
	pdf, v, err := s.PDF(r.Context(), a.ID, r.PathValue("id"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer pdf.Close()
	h := w.Header()
	h.Set("Content-Type", "application/pdf")
	h.Set("Content-Disposition", `attachment; filename="`+fileName(&v)+`"`)
	w.WriteHeader(http.StatusOK)
	if _, err := io.Copy(w, pdf); err != nil && !errors.Is(r.Context().Err(), err) {
		s.log.Warn("an invoice's PDF broke off", logAccount, a.ID, "invoice", v.ID, logError, err)
	}
}
