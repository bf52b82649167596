package page

import (
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

const invoicesPage = 25

type invoicesData struct {
	Available bool
	Rows      []ledger.Invoice
	Pages     pages
}

func (p *Page) invoices(v *visit) error {
	d := &invoicesData{Available: p.cfg.Invoices != nil}
	if d.Available {
		page := pageOf(v)
		rows, total, err := p.cfg.Invoices.Invoices(v.ctx, v.account.ID, invoicesPage, (page-1)*invoicesPage)
		if err != nil {
			return err
		}
		for i := range rows {
			rows[i].Date = rows[i].Date.In(location(v.account))
		}
		d.Rows, d.Pages = rows, newPages(v, page, invoicesPage, total)
	}
	return v.render(http.StatusOK, "invoices", "invoices", d)
}

// mostPDF bounds what is passed on of an invoice.
const mostPDF = 32 << 20

// invoicePDF passes an invoice on. One of another account is not found.
func (p *Page) invoicePDF(v *visit) error {
	if p.cfg.Invoices == nil {
		return errNotFound
	}
	pdf, number, err := p.cfg.Invoices.PDF(v.ctx, v.account.ID, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	defer pdf.Close()
	_ = http.NewResponseController(v.w).SetWriteDeadline(time.Now().Add(time.Minute))
	h := v.w.Header()
	h.Set("Content-Type", "application/pdf")
	h.Set("Content-Disposition", `attachment; filename="`+fileName(number)+`.pdf"`)
	if _, err := io.Copy(v.w, io.LimitReader(pdf, mostPDF)); err != nil && v.r.Context().Err() == nil {
		p.cfg.Log.Warn("an invoice broke off", logAccount, v.account.ID, logError, err)
		panic(http.ErrAbortHandler) // so that nobody takes the beginning for the whole
	}
	return nil
}

// fileName keeps what a file name is made of to what every system takes.
func fileName(number string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '-' || r == '_' {
			return r
		}
		return -1
	}, number)
	if clean == "" {
		return "invoice"
	}
	return clean
}
