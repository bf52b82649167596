package page_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/portal/page"
)

// shop plays everybody that the page's sections need: it sells at 21% VAT, and
// its payment page is a server of its own, on another origin.
type shop struct {
	rig      *rig
	checkout *httptest.Server

	mu        sync.Mutex
	orders    []page.Order
	purchases map[string][]ledger.Purchase
	invoices  map[string][]ledger.Invoice
	billing   map[string]ledger.Billing
	topUps    map[string]ledger.TopUp
	alerts    map[string]ledger.Alerts
	hooks     map[string]ledger.Webhook
	reject    error // what the next change is refused with
	leadTo    string
	tested    int
	removed   int // cards
}

func newShop(r *rig) *shop {
	s := &shop{rig: r, purchases: map[string][]ledger.Purchase{}, invoices: map[string][]ledger.Invoice{}, billing: map[string]ledger.Billing{},
		topUps: map[string]ledger.TopUp{}, alerts: map[string]ledger.Alerts{}, hooks: map[string]ledger.Webhook{}}
	s.checkout = httptest.NewServer(http.HandlerFunc(s.pay))
	return s
}

// pay is the payment page: a look shows it, and its button pays.
func (s *shop) pay(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("purchase")
	s.mu.Lock()
	var back string
	for _, all := range s.purchases {
		for i := range all {
			if all[i].ID.String() == id {
				back = s.orders[len(s.orders)-1].SuccessURL
			}
		}
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprintf(w, `<!DOCTYPE html><html lang="en"><title>Pay</title><link rel="icon" href="data:,"><h1>Payment page</h1><a id="pay" href="%s">Paid</a></html>`, back)
}

// paid has the newest purchase paid, as if the payment page had told.
func (s *shop) paid(ctx context.Context, account string) error {
	s.mu.Lock()
	all := s.purchases[account]
	p := &all[len(all)-1]
	units, id, net := p.Units, p.ID, int64(p.Net)/10_000
	s.mu.Unlock()
	if err := s.rig.give(ctx, authz.Grant{Account: account, Units: units, Kind: ledger.KindPurchase, Reference: "pi:" + id.String(), Reason: "purchase " + id.String(), At: s.rig.clock()}); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.State = ledger.PurchasePaid
	n := len(s.invoices[account]) + 1
	s.invoices[account] = append([]ledger.Invoice{{ID: fmt.Sprintf("in_%s_%d", account, n), Account: account, Purchase: id, Number: fmt.Sprintf("RF-%04d", n), Status: "paid",
		Date: s.rig.clock(), Currency: "EUR", Net: net, VAT: vat(net), VATRate: 2100, Total: net + vat(net)}}, s.invoices[account]...)
	return nil
}

func vat(net int64) int64 { return (net*21 + 50) / 100 }

func (s *shop) Offer(context.Context, string) (page.Offer, error) {
	return page.Offer{Packages: []credit.Units{100 * credit.PerCredit, 500 * credit.PerCredit, 1000 * credit.PerCredit, 5000 * credit.PerCredit},
		Least: 50 * credit.PerCredit, Most: 100_000 * credit.PerCredit, Currency: "EUR", Price: 70_000}, nil
}

func (s *shop) Quote(_ context.Context, _ string, u credit.Units) (ledger.Quote, error) {
	net := int64(u.Micros(70_000)) / 10_000
	return ledger.Quote{Units: u, Currency: "EUR", Net: net, VAT: vat(net), VATRate: 2100, Total: net + vat(net), Note: "Dutch VAT 21%"}, nil
}

func (s *shop) Checkout(_ context.Context, o page.Order) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reject != nil {
		return "", s.reject
	}
	s.orders = append(s.orders, o)
	p := ledger.Purchase{ID: uuid.Must(uuid.NewV7()), Account: o.Account, Kind: ledger.PurchaseCheckout, State: ledger.PurchaseOpen, Units: o.Units, Net: o.Units.Micros(70_000), Currency: "EUR"}
	s.purchases[o.Account] = append(s.purchases[o.Account], p)
	if s.leadTo != "" {
		return s.leadTo, nil
	}
	return s.checkout.URL + "/pay?purchase=" + p.ID.String(), nil
}

func (s *shop) LastPurchase(_ context.Context, account string) (ledger.Purchase, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.purchases[account]
	if len(all) == 0 {
		return ledger.Purchase{}, ledger.ErrNotFound
	}
	return all[len(all)-1], nil
}

func (s *shop) TopUp(_ context.Context, account string) (ledger.TopUp, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.topUps[account], nil
}

func (s *shop) SetTopUp(_ context.Context, t ledger.TopUp) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reject != nil {
		return s.reject
	}
	s.topUps[t.Account] = t
	return nil
}

func (s *shop) ForgetCard(_ context.Context, account string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reject != nil {
		return s.reject
	}
	s.removed++
	b, t := s.billing[account], s.topUps[account]
	b.Card, b.CardName, t.Enabled = "", "", false
	s.billing[account], s.topUps[account] = b, t
	return nil
}

func (s *shop) Invoices(_ context.Context, account string, limit, offset int) ([]ledger.Invoice, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.invoices[account]
	from := min(offset, len(all))
	return append([]ledger.Invoice(nil), all[from:min(from+limit, len(all))]...), int64(len(all)), nil
}

const pdf = "%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n"

func (s *shop) PDF(_ context.Context, account, id string) (io.ReadCloser, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.invoices[account] {
		if v.ID == id {
			return io.NopCloser(bytes.NewReader([]byte(pdf))), v.Number, nil
		}
	}
	return nil, "", ledger.ErrNotFound
}

func (s *shop) Billing(_ context.Context, account string) (ledger.Billing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.billing[account], nil
}

func (s *shop) SetBilling(_ context.Context, b ledger.Billing) (ledger.Billing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reject != nil {
		return b, s.reject
	}
	if b.VATID != "" && b.VATID != s.billing[b.Account].VATID {
		if len(b.VATID) < 8 {
			return b, fmt.Errorf("set billing: %w", errors.Join(&ledger.FieldError{Field: "vat_id", Message: "A Dutch VAT ID looks like NL123456789B01."}))
		}
		b.VATStatus = ledger.VATPending
		if strings.HasSuffix(b.VATID, "01") {
			b.VATStatus = ledger.VATVerified
		}
	}
	b.UpdatedAt = s.rig.clock()
	s.billing[b.Account] = b
	return b, nil
}

func (s *shop) Alerts(_ context.Context, account string) (ledger.Alerts, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.alerts[account], nil
}

func (s *shop) SetAlerts(_ context.Context, a ledger.Alerts) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reject != nil {
		return s.reject
	}
	s.alerts[a.Account] = a
	return nil
}

func (s *shop) Webhook(_ context.Context, account string) (ledger.Webhook, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hooks[account], nil
}

func (s *shop) SetWebhook(_ context.Context, w ledger.Webhook) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reject != nil {
		return s.reject
	}
	account := w.Account
	switch {
	case w.URL == "":
		w = ledger.Webhook{}
	case w.Secret == "" && s.hooks[w.Account].Secret != "":
		w.Secret = s.hooks[w.Account].Secret
	case w.Secret == "":
		w.Secret = uuid.NewString()
	}
	s.hooks[account] = w
	return nil
}

func (s *shop) TestWebhook(context.Context, string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tested++
	return s.reject
}
