package stripe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/stripe/stripe-go/v76"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

// Invoices returns a page of an account's invoices, newest first, and how many there are. It asks only the ledger.
func (s *Service) Invoices(ctx context.Context, account string, limit, offset int) ([]ledger.Invoice, int64, error) {
	return s.ledger.Invoices(ctx, account, limit, offset)
}

// Invoice returns an account's invoice. Errors: ledger.ErrNotFound, for another account's as well.
func (s *Service) Invoice(ctx context.Context, account, id string) (ledger.Invoice, error) {
	return s.ledger.Invoice(ctx, account, id)
}

const mostPDF = 20 << 20 // bytes

// PDF streams an invoice's PDF from Stripe; the reader has to be closed.
// Errors: ledger.ErrNotFound (no such invoice, or no PDF yet), ErrNotConfigured, ErrUnavailable.
func (s *Service) PDF(ctx context.Context, account, id string) (io.ReadCloser, ledger.Invoice, error) {
	v, err := s.Invoice(ctx, account, id)
	if err != nil {
		return nil, v, err
	}
	if s.api == nil {
		return nil, v, ErrNotConfigured
	}
	// The address is good for some days only, so it is asked for anew.
	now, err := s.api.invoices.Get(v.ID, &stripe.InvoiceParams{Params: get(ctx)})
	if err != nil {
		return nil, v, translate("read invoice "+v.ID, err)
	}
	if now.InvoicePDF == "" {
		return nil, v, fmt.Errorf("the PDF of invoice %s: %w", v.ID, ledger.ErrNotFound)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, now.InvoicePDF, nil)
	if err != nil {
		return nil, v, fmt.Errorf("the PDF of invoice %s: %w", v.ID, nowhere(err))
	}
	resp, err := s.api.plain.Do(req)
	if err != nil {
		return nil, v, fmt.Errorf("the PDF of invoice %s: %w: %w", v.ID, ErrUnavailable, nowhere(err))
	}
	if resp.StatusCode != http.StatusOK {
		return nil, v, errors.Join(fmt.Errorf("the PDF of invoice %s: %w: %s", v.ID, ErrUnavailable, resp.Status), resp.Body.Close())
	}
	return bounded{io.LimitReader(resp.Body, mostPDF), resp.Body}, v, nil
}

// nowhere is an error of HTTP without the address: whoever has that of a PDF may read it, so no log may have it.
func nowhere(err error) error {
	for at := new(url.Error); errors.As(err, &at); {
		err = at.Err
	}
	return err
}

// bounded is a body of which no more than so much is read.
type bounded struct {
	io.Reader
	io.Closer
}

// fileName is what an invoice's PDF is saved as.
func fileName(v *ledger.Invoice) string {
	name := v.Number
	if name == "" {
		name = v.ID
	}
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '-' {
			return r
		}
		return '-'
	}, name) + ".pdf"
}
