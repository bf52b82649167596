package page_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/portal/page"
)

type allInvoices = page.Invoices

// counted counts how often invoices are asked for.
type counted struct {
	allInvoices
	asked atomic.Int64
	fail  atomic.Bool
}

func (c *counted) Invoices(ctx context.Context, account string, limit, offset int) ([]ledger.Invoice, int64, error) {
	c.asked.Add(1)
	if c.fail.Load() {
		return nil, 0, ledger.ErrUnavailable
	}
	return c.allInvoices.Invoices(ctx, account, limit, offset)
}

// bought grants what a purchase brings.
func (r *rig) bought(t *testing.T, why string, at time.Time) uuid.UUID {
	t.Helper()
	id := uuid.Must(uuid.NewV7())
	r.grant(t, authz.Grant{Account: "acme", Units: 500 * credit.PerCredit, Kind: ledger.KindPurchase, Reference: "pi:" + id.String(), Reason: why + " " + id.String(), At: at})
	return id
}

// Purchases of one minute are told apart: by their invoices, or as long as there is none by the end of their ids.
func TestMovedPurchases(t *testing.T) {
	r, b := signedIn(t)
	now := r.clock()
	one, two, automatic, early := r.bought(t, "purchase", now), r.bought(t, "purchase", now), r.bought(t, "automatic top-up", now), r.bought(t, "automatic top-up", now)
	r.shop.invoices["acme"] = []ledger.Invoice{
		{ID: "in_4", Purchase: automatic, Number: "RF-0004", Status: "paid", Date: now},
		{ID: "in_3", Purchase: automatic, Number: "RF-0003", Status: "void", Date: now},
		{ID: "in_2", Purchase: two, Status: "draft", Date: now},
		{ID: "in_1", Purchase: one, Number: "RF-0001", Status: "open", Date: now.Add(-time.Hour)},
	}
	end := func(id uuid.UUID) string { return "…" + id.String()[28:] }
	for lang, words := range map[string][3]string{"en": {"invoice", "purchase", "automatic top-up"}, "nl": {"factuur", "aankoop", "automatisch opgewaardeerd"}, "de": {"Rechnung", "Kauf", "automatisch aufgeladen"}} {
		b.lang = lang
		for _, place := range []string{"/billing", "/billing?part=moves", "/billing/statement", "/billing/statement?part=lines"} {
			got := b.get(place)
			got.shows(t, http.StatusOK,
				`<span class="sub"><a href="/billing/invoices/in_1/pdf" download>`+words[0]+` RF-0001</a></span>`,
				`<span class="sub">`+words[1]+" "+end(two)+`</span>`,
				`<span class="sub">`+words[2]+` · <a href="/billing/invoices/in_4/pdf" download>`+words[0]+` RF-0004</a></span>`,
				`<span class="sub">`+words[2]+" "+end(early)+`</span>`)
			if strings.Contains(got.body, "in_3") {
				t.Errorf("%s shows an invoice that is void", place)
			}
		}
	}
}

// However many invoices came since, those of a month are found without reading all.
func TestMovedLongAgo(t *testing.T) {
	var invoices *counted
	r, b := signedIn(t, func(c *page.Config) {
		invoices = &counted{allInvoices: c.Invoices}
		c.Invoices = invoices
	})
	acme, _ := r.people.Account("acme")
	now := r.clock().In(acme.Location)
	const statement = "/billing/statement?month="
	b.get(statement + now.Format("2006-01"))
	if n := invoices.asked.Load(); n > 0 {
		t.Errorf("without a purchase of the shop's, invoices were asked for %d times", n)
	}
	then := time.Date(now.Year(), now.Month()-4, 15, 12, 0, 0, 0, now.Location())
	one, two := r.bought(t, "purchase", then), r.bought(t, "automatic top-up", then.Add(time.Second))
	fresh := r.bought(t, "purchase", now)
	var all []ledger.Invoice
	for i := range 1000 {
		all = append(all, ledger.Invoice{ID: fmt.Sprint("in_new_", i), Purchase: uuid.New(), Number: fmt.Sprint("RF-new-", i), Status: "paid", Date: now.Add(-time.Duration(i) * time.Hour)})
	}
	all[0].Purchase = fresh
	all = append(all, ledger.Invoice{ID: "in_2", Purchase: two, Number: "RF-0002", Status: "paid", Date: then.Add(-72 * time.Hour)},
		ledger.Invoice{ID: "in_1", Purchase: one, Number: "RF-0001", Status: "paid", Date: then.Add(-73 * time.Hour)})
	for i := range 1000 {
		all = append(all, ledger.Invoice{ID: fmt.Sprint("in_old_", i), Purchase: uuid.New(), Number: fmt.Sprint("RF-old-", i), Status: "paid", Date: then.AddDate(0, -1, 0)})
	}
	r.shop.invoices["acme"] = all
	for place, want := range map[string]struct {
		asks  int64
		texts []string
	}{
		statement + then.Format("2006-01"): {15, []string{"invoice RF-0001", "automatic top-up · ", "invoice RF-0002"}},
		statement + now.Format("2006-01"):  {1, []string{"invoice RF-new-0"}},
		"/billing":                         {5, []string{"invoice RF-new-0", "purchase …", "automatic top-up …"}}, // four months are too many to read
	} {
		invoices.asked.Store(0)
		b.get(place).shows(t, http.StatusOK, want.texts...)
		if n := invoices.asked.Load(); n > want.asks {
			t.Errorf("for %s invoices were asked for %d times", place, n)
		}
	}
	invoices.fail.Store(true)
	b.get("/billing/statement").shows(t, http.StatusServiceUnavailable)
}

// Without invoices, purchases have their ids.
func TestMovedWithoutInvoices(t *testing.T) {
	r, b := signedIn(t, func(c *page.Config) { c.Invoices = nil })
	id := r.bought(t, "purchase", r.clock())
	for _, place := range []string{"/billing", "/billing/statement"} {
		b.get(place).shows(t, http.StatusOK, `<span class="sub">purchase …`+id.String()[28:]+`</span>`)
	}
}
