package page

import (
	"sort"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

const (
	invoicesRead = 100 // at once
	invoicesMost = 500 // for one answer; purchases whose invoice is not among them are shown by their id
	// invoiceNear is how far an invoice is dated from its payment at most: a bank may let a customer confirm for days.
	invoiceNear = 7 * 24 * time.Hour
)

// purchaseOf is the purchase that credit was bought with.
func (l *language) purchaseOf(g *authz.Grant) (id uuid.UUID, ok bool) {
	if g == nil || g.Kind != ledger.KindPurchase {
		return id, false
	}
	_, with := l.sayings.find(g.Reason)
	id, err := uuid.Parse(with["{id}"])
	return id, err == nil
}

// addInvoices adds to movements the invoices of those that are purchases, as far as there are.
func (p *Page) addInvoices(v *visit, moves []move) error {
	if p.cfg.Invoices == nil {
		return nil
	}
	bought := map[uuid.UUID]*move{}
	var first, last time.Time
	for i := range moves {
		m := &moves[i]
		id, ok := v.lang.purchaseOf(m.Grant)
		if !ok {
			continue
		}
		if first.IsZero() || m.At.Before(first) {
			first = m.At
		}
		if m.At.After(last) {
			last = m.At
		}
		bought[id] = m
	}
	if len(bought) == 0 {
		return nil
	}
	offset, err := p.invoicesUntil(v, last.Add(invoiceNear))
	for read := 0; err == nil && len(bought) > 0 && read < invoicesMost; read += invoicesRead {
		var page []ledger.Invoice
		if page, _, err = p.cfg.Invoices.Invoices(v.ctx, v.account.ID, invoicesRead, offset+read); err != nil {
			return err
		}
		for i := range page {
			if m := bought[page[i].Purchase]; m != nil && page[i].Number != "" && page[i].Status != "void" {
				m.Invoice = &page[i]
				delete(bought, page[i].Purchase)
			}
		}
		if len(page) < invoicesRead || page[len(page)-1].Date.Before(first.Add(-invoiceNear)) {
			break
		}
	}
	return err
}

// invoicesUntil finds how many invoices are newer than that: they are listed newest first.
func (p *Page) invoicesUntil(v *visit, end time.Time) (offset int, err error) {
	if end.After(p.cfg.Now()) {
		return 0, nil
	}
	newer := func(i int) (_ bool, total int64) {
		var one []ledger.Invoice
		if err == nil {
			one, total, err = p.cfg.Invoices.Invoices(v.ctx, v.account.ID, 1, i)
		}
		return len(one) > 0 && one[0].Date.After(end), total
	}
	if some, total := newer(0); some {
		offset = sort.Search(int(total), func(i int) bool {
			after, _ := newer(i)
			return !after
		})
	}
	return offset, err
}
