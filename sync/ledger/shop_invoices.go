package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// PutInvoice keeps an invoice as Stripe shows it. One that is paid or void does not become open again.
// Errors: ErrNotFound (the account or the purchase), ErrInvalid.
func (l *Ledger) PutInvoice(ctx context.Context, v Invoice) error {
	what := fmt.Sprintf("keep invoice %q", v.ID)
	v.Date = l.keptOr(v.Date)
	if err := errors.Join(checkGiven(field{"id", v.ID}, field{"account", v.Account}, field{"status", v.Status}, field{"currency", v.Currency}),
		checkTexts(field{"id", v.ID}, field{"number", v.Number}, field{"status", v.Status}, field{"pay_url", v.PayURL}, field{"pdf_url", v.PDFURL})); err != nil {
		return wrap(what, err)
	}
	if v.Purchase == uuid.Nil {
		return wrap(what, invalid("purchase is missing"))
	}
	err := l.Update(ctx, func(tx *Tx) error {
		_, err := tx.c.Exec(ctx, tx.sql.InvoicePut, v.ID, v.Account, v.Purchase, v.Number, v.Status, v.Date, v.Currency, v.Net, v.VAT, v.VATRate,
			v.ReverseCharge, v.Total, v.PayURL, v.PDFURL)
		return err
	})
	return wrap(what, err)
}

// Invoice returns an account's invoice; another account's is not found. Errors: ErrNotFound.
func (l *Ledger) Invoice(ctx context.Context, account, id string) (Invoice, error) {
	var v Invoice
	err := l.view(ctx, func(tx *Tx) (err error) {
		v, err = one(ctx, tx.c, tx.sql.Invoice, []any{account, id}, readInvoice)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		err = problem(ErrNotFound, "there is no invoice %q", id)
	}
	return v, err
}

// Invoices returns a page of an account's invoices, newest first, and how many there are.
func (l *Ledger) Invoices(ctx context.Context, account string, limit, offset int) (page []Invoice, total int64, err error) {
	err = l.view(ctx, func(tx *Tx) (err error) {
		if page, err = list(ctx, tx.c, tx.sql.InvoicesOfAccount, []any{account, rows(limit), rows(offset)}, readInvoice); err != nil {
			return err
		}
		total, err = one(ctx, tx.c, tx.sql.InvoicesCount, []any{account}, column[int64])
		return err
	})
	return page, total, wrap(fmt.Sprintf("invoices of account %q", account), err)
}

func readInvoice(row Scanner) (Invoice, error) {
	var v Invoice
	err := row.Scan(&v.ID, &v.Account, &v.Purchase, &v.Number, &v.Status, &v.Date, &v.Currency, &v.Net, &v.VAT, &v.VATRate, &v.ReverseCharge,
		&v.Total, &v.PayURL, &v.PDFURL)
	return v, err
}
