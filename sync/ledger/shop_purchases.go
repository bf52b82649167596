package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// MicrosPerCent is how many micros make the smallest unit of a currency with two decimals, as those are in which
// credit is sold.
const MicrosPerCent credit.Micros = 10_000

// AddPurchase keeps a purchase before Stripe is asked for it. A nil ID becomes a new one, a zero CreatedAt the present.
// Errors: ErrNotFound (the account), ErrExists (the account has an open top-up, or the id is taken), ErrInvalid.
func (l *Ledger) AddPurchase(ctx context.Context, p Purchase) (Purchase, error) {
	return l.addPurchase(ctx, p, nil)
}

// AddTopUp is AddPurchase for a top-up that was found due: as the account had set it then, and with so many grants in
// the balance. An account may have so many in 24 hours.
// Errors: those of AddPurchase, ErrNotDue, ErrConflict (there were that many).
func (l *Ledger) AddTopUp(ctx context.Context, p Purchase, seen TopUp, grants int64) (Purchase, error) {
	p.Kind = PurchaseTopUp
	return l.addPurchase(ctx, p, func(tx *Tx, sums Totals) error {
		t, err := tx.dueTopUp(ctx, sums, &seen, grants)
		if err != nil {
			return err
		}
		n, err := one(ctx, tx.c, tx.sql.TopUpsSince, []any{p.Account, tx.l.timestamp().Add(-24 * time.Hour), calledOffMark + "%"}, column[int64])
		if err == nil && n >= t.MaxPerDay {
			err = problem(ErrConflict, "%d top-ups in 24 hours are as many as there may be", n)
		}
		return err
	})
}

func (l *Ledger) addPurchase(ctx context.Context, p Purchase, allowed func(*Tx, Totals) error) (Purchase, error) {
	what := fmt.Sprintf("add a purchase of account %q", p.Account)
	if p.ID == uuid.Nil {
		p.ID = uuid.Must(uuid.NewV7())
	}
	p.CreatedAt, p.ExpiresAt, p.DueAt, p.PaidAt = l.keptOr(p.CreatedAt), kept(p.ExpiresAt), kept(p.DueAt), time.Time{}
	p.State, p.Gross, p.Back = PurchaseOpen, 0, 0
	if err := checkPurchase(&p); err != nil {
		return Purchase{}, wrap(what, err)
	}
	err := l.Update(ctx, func(tx *Tx) error {
		sums, err := tx.lockTotals(ctx, p.Account)
		if err != nil {
			return err
		}
		if allowed != nil {
			if err := allowed(tx, sums); err != nil {
				return err
			}
		}
		_, err = tx.c.Exec(ctx, tx.sql.PurchaseInsert, p.ID, p.Account, p.Kind, string(p.State), int64(p.Units), int64(p.Net), p.Gross, p.Currency, p.SaveCard,
			p.SuccessURL, p.CancelURL, p.Tax, p.Session, p.Intent, p.Charge, p.Invoice, p.Back, p.Problem, p.Attempts, p.DueAt, p.CreatedAt, p.ExpiresAt, p.PaidAt, p.Quoted, p.Language)
		return err
	})
	if err != nil {
		return Purchase{}, wrap(what, err)
	}
	return p, nil
}

func checkPurchase(p *Purchase) error {
	errs := []error{
		checkGiven(field{"account", p.Account}, field{"kind", p.Kind}, field{"currency", p.Currency}),
		checkTexts(field{"account", p.Account}, field{"currency", p.Currency}, field{"success_url", p.SuccessURL}, field{"cancel_url", p.CancelURL},
			field{"tax", p.Tax}, field{"language", p.Language}, field{"session", p.Session}, field{"intent", p.Intent}, field{"charge", p.Charge}, field{"invoice", p.Invoice},
			field{"problem", p.Problem}),
		checkRange("units", int64(p.Units), 1, credit.Max), checkRange("net", int64(p.Net), 1, credit.Max), checkRange("quoted", p.Quoted, 0, credit.Max),
		checkMoment("created_at", p.CreatedAt.UnixMilli()), checkMoment("expires_at", p.ExpiresAt.UnixMilli()),
	}
	if p.Quoted != 0 && credit.Micros(p.Quoted) < p.Net/MicrosPerCent {
		errs = append(errs, invalid("quoted %d cents are less than the net %d micros", p.Quoted, p.Net))
	}
	if p.Net%MicrosPerCent != 0 {
		errs = append(errs, invalid("net %d micros is not a whole number of cents", p.Net))
	}
	return errors.Join(errs...)
}

// Purchase returns a purchase. Errors: ErrNotFound.
func (l *Ledger) Purchase(ctx context.Context, id uuid.UUID) (Purchase, error) {
	return l.onePurchase(ctx, fmt.Sprintf("purchase %s", id), l.sql.Purchase, id)
}

// PurchaseOf finds a purchase by Stripe's id of its session, payment intent or invoice; empty ones are not looked for.
// Errors: ErrNotFound.
func (l *Ledger) PurchaseOf(ctx context.Context, session, intent, invoice string) (Purchase, error) {
	return l.onePurchase(ctx, strings.Join(strings.Fields("purchase of "+session+" "+intent+" "+invoice), " "), l.sql.PurchaseOf, session, intent, invoice)
}

// OpenTopUp returns the top-up of an account that is under way. Errors: ErrNotFound.
func (l *Ledger) OpenTopUp(ctx context.Context, account string) (Purchase, error) {
	return l.onePurchase(ctx, fmt.Sprintf("open top-up of account %q", account), l.sql.TopUpOpen, account)
}

func (l *Ledger) onePurchase(ctx context.Context, what, sql string, args ...any) (Purchase, error) {
	var p Purchase
	err := l.view(ctx, func(tx *Tx) (err error) {
		p, err = one(ctx, tx.c, sql, args, readPurchase)
		return err
	})
	return p, wrap(what, err)
}

// Purchases returns a page of an account's purchases, newest first.
func (l *Ledger) Purchases(ctx context.Context, account string, limit, offset int) ([]Purchase, error) {
	return l.purchases(ctx, l.sql.PurchasesOfAccount, account, rows(limit), rows(offset))
}

// AwaitsCustomer is the problem of a purchase that only the customer can bring on: a payment that the bank wants
// confirmed.
const AwaitsCustomer = "the bank wants the customer to confirm the payment"

// KeptAside begins the problem of a purchase that ended although somebody may have paid for it.
const KeptAside = "kept aside: "

// PurchasesAside returns purchases with a problem that an operator has to look at, newest first.
func (l *Ledger) PurchasesAside(ctx context.Context, limit int) ([]Purchase, error) {
	return l.purchases(ctx, l.sql.PurchasesAside, AwaitsCustomer, rows(limit), KeptAside+"%")
}

func (l *Ledger) purchases(ctx context.Context, sql string, args ...any) ([]Purchase, error) {
	var page []Purchase
	err := l.view(ctx, func(tx *Tx) (err error) {
		page, err = list(ctx, tx.c, sql, args, readPurchase)
		return err
	})
	return page, wrap("purchases", err)
}

// ClaimPurchase gives the purchase that Stripe should be asked about first, and to nobody else for so long.
// Errors: ErrNotFound (none is due).
func (l *Ledger) ClaimPurchase(ctx context.Context, lease time.Duration) (Purchase, error) {
	var p Purchase
	now := l.timestamp()
	err := l.Update(ctx, func(tx *Tx) (err error) {
		p, err = one(ctx, tx.c, tx.sql.PurchasesClaim, []any{now, now.Add(lease)}, readPurchase)
		return err
	})
	return p, wrap("claim a purchase", err)
}

// ChangePurchase lets change alter what is known of a purchase while nothing else changes it: its state unless it is
// paid, what Stripe calls it (once), Problem, Attempts and DueAt. All else stays.
// Errors: ErrNotFound, ErrConflict (another of Stripe's ids is known), and those of change.
func (l *Ledger) ChangePurchase(ctx context.Context, id uuid.UUID, change func(*Purchase) error) (Purchase, error) {
	var now Purchase
	err := l.Update(ctx, func(tx *Tx) error {
		was, err := tx.lockPurchase(ctx, id)
		if err != nil {
			return err
		}
		now = was
		if err := change(&now); err != nil {
			return err
		}
		next := was
		if was.State != PurchasePaid && now.State != PurchasePaid {
			next.State = now.State
		}
		for _, f := range []struct {
			name     string
			to       *string
			was, now string
		}{{"session", &next.Session, was.Session, now.Session}, {"intent", &next.Intent, was.Intent, now.Intent},
			{"charge", &next.Charge, was.Charge, now.Charge}, {"invoice", &next.Invoice, was.Invoice, now.Invoice}} {
			if f.was != "" && f.now != f.was {
				return problem(ErrConflict, "the purchase has %s %s, not %s", f.name, f.was, f.now)
			}
			*f.to = f.now
		}
		next.Problem, next.Attempts, next.DueAt = printable(now.Problem), now.Attempts, kept(now.DueAt)
		now = next
		return tx.putPurchase(ctx, &now)
	})
	if err != nil {
		return Purchase{}, wrap(fmt.Sprintf("change purchase %s", id), err)
	}
	return now, nil
}

// lockPurchase reads a purchase and keeps others from changing it, or its account's money, until the transaction ends.
func (tx *Tx) lockPurchase(ctx context.Context, id uuid.UUID) (Purchase, error) {
	p, err := one(ctx, tx.c, tx.sql.Purchase, []any{id}, readPurchase)
	if err != nil {
		return Purchase{}, err
	}
	if _, err := tx.lockTotals(ctx, p.Account); err != nil {
		return Purchase{}, err
	}
	return one(ctx, tx.c, tx.sql.Purchase, []any{id}, readPurchase)
}

func (tx *Tx) putPurchase(ctx context.Context, p *Purchase) error {
	_, err := tx.c.Exec(ctx, tx.sql.PurchaseUpdate, p.ID, string(p.State), p.Gross, p.Session, p.Intent, p.Charge, p.Invoice, p.Back, p.Problem,
		p.Attempts, p.DueAt, p.PaidAt)
	return err
}

// Payment is what Stripe says was paid. Amounts are in the currency's smallest unit.
type Payment struct {
	Intent   string // pi_...; in_... of an invoice that the customer's balance at Stripe paid whole
	Charge   string // ch_...; empty: not known
	Invoice  string // in_...; empty: not known
	Session  string // cs_...; empty: not known
	Currency string
	Net      int64 // without VAT
	Gross    int64
	At       time.Time // zero: now

	Card, CardName string // that paid; kept for top-ups where the purchase says so
}

// PayPurchase grants what was paid for, marks the purchase paid and keeps the card, all or nothing, once: an older
// purchase that is told again never puts its card over a newer one's. It tells whether this was the time. An expired
// purchase may be paid all the same: the money is there. One that cost another total than was quoted is granted, and
// bears a problem.
// Errors: ErrNotFound, ErrConflict (currency or amount are not those of the purchase, or another payment paid it).
func (l *Ledger) PayPurchase(ctx context.Context, id uuid.UUID, pay Payment) (Purchase, bool, error) {
	var p Purchase
	var first bool
	err := l.Update(ctx, func(tx *Tx) (err error) {
		if p, err = tx.lockPurchase(ctx, id); err != nil {
			return err
		}
		if err := checkPayment(&p, &pay); err != nil {
			return err
		}
		first = p.State != PurchasePaid
		p.Intent = pay.Intent
		fill(&p.Charge, pay.Charge)
		fill(&p.Invoice, pay.Invoice)
		fill(&p.Session, pay.Session)
		if first {
			why := "purchase " + p.ID.String()
			if p.Kind == PurchaseTopUp {
				why = "automatic top-up " + p.ID.String()
			}
			_, _, err = tx.AddGrant(ctx, authz.Grant{Account: p.Account, Units: p.Units, Kind: KindPurchase, Reference: "pi:" + pay.Intent,
				Reason: why, At: pay.At})
			if err != nil {
				return err
			}
			p.State, p.Gross, p.PaidAt, p.Problem = PurchasePaid, pay.Gross, tx.l.keptOr(pay.At), ""
			if p.Quoted != 0 && p.Quoted != p.Gross {
				p.Problem = fmt.Sprintf("%d cents were paid, but %d quoted: compare the invoice's tax with the account's billing details", p.Gross, p.Quoted)
			}
		}
		if first && p.SaveCard && pay.Card != "" {
			if err := tx.newCard(ctx, &p, &pay); err != nil {
				return err
			}
		}
		return tx.putPurchase(ctx, &p)
	})
	if err != nil {
		return Purchase{}, false, wrap(fmt.Sprintf("pay purchase %s", id), err)
	}
	return p, first, nil
}

func fill(to *string, s string) {
	if *to == "" {
		*to = s
	}
}

func checkPayment(p *Purchase, pay *Payment) error {
	if err := checkTexts(field{"card", pay.Card}, field{"card_name", pay.CardName}); err != nil {
		return err
	}
	switch {
	case pay.Intent == "":
		return invalid("a payment without an intent")
	case p.Intent != "" && p.Intent != pay.Intent:
		return problem(ErrConflict, "the purchase belongs to %s, but %s paid", p.Intent, pay.Intent)
	case !strings.EqualFold(p.Currency, pay.Currency):
		return problem(ErrConflict, "%s was paid in %s, but the purchase is in %s", pay.Intent, strings.ToUpper(pay.Currency), p.Currency)
	case credit.Micros(pay.Net) != p.Net/MicrosPerCent:
		return problem(ErrConflict, "%s paid %d cents without VAT, but the purchase is of %d", pay.Intent, pay.Net, int64(p.Net/MicrosPerCent))
	case pay.Gross < pay.Net || pay.Gross > 2*pay.Net:
		return problem(ErrConflict, "%s paid %d cents, which cannot be %d and VAT", pay.Intent, pay.Gross, pay.Net)
	case p.State == PurchasePaid && p.Gross != pay.Gross:
		return problem(ErrConflict, "%s paid %d cents, but %d came before", pay.Intent, pay.Gross, p.Gross)
	}
	return nil
}

// Payback is part of a payment that went back to the payer, or came again.
type Payback struct {
	Reference string // of the grant: re:ID, dp:ID:withdrawn ...
	Amount    int64  // in the currency's smallest unit; negative: it came again
	Currency  string
	Reason    string
}

// TakeBack takes the credit back that belongs to money given back, once per reference. All refunds and disputes of one
// purchase together take no more than its units, and what they take follows from their sum, whatever order they come
// in; more than was paid counts as all of it. Where something is taken, the account's top-up is turned off. It returns the units that were taken now, negative where some were given again.
// Errors: ErrNotFound (the purchase), ErrConflict (not paid yet; another currency; the reference came with another amount).
func (l *Ledger) TakeBack(ctx context.Context, purchase uuid.UUID, back Payback) (Purchase, credit.Units, error) {
	var p Purchase
	var taken credit.Units
	err := l.Update(ctx, func(tx *Tx) (err error) {
		if p, err = tx.lockPurchase(ctx, purchase); err != nil {
			return err
		}
		taken, err = tx.takeBack(ctx, &p, &back)
		return err
	})
	if err != nil {
		return Purchase{}, 0, wrap(fmt.Sprintf("take back %s of purchase %s", back.Reference, purchase), err)
	}
	return p, taken, nil
}

func (tx *Tx) takeBack(ctx context.Context, p *Purchase, back *Payback) (credit.Units, error) {
	switch {
	case p.State != PurchasePaid:
		return 0, problem(ErrConflict, "the purchase is not paid yet")
	case !strings.EqualFold(p.Currency, back.Currency):
		return 0, problem(ErrConflict, "%s is in %s, but the purchase in %s", back.Reference, strings.ToUpper(back.Currency), p.Currency)
	}
	amount := min(max(back.Amount, -p.Gross), p.Gross) // a bank may dispute more than was paid
	type sums struct{ amount, units int64 }
	read := func(row Scanner) (s sums, err error) {
		err = row.Scan(&s.amount, &s.units)
		return s, err
	}
	was, err := one(ctx, tx.c, tx.sql.Payback, []any{back.Reference}, read)
	if err == nil {
		if was.amount != amount {
			return 0, problem(ErrConflict, "%s came before with %d cents, now with %d", back.Reference, was.amount, amount)
		}
		return 0, nil
	}
	if !errors.Is(err, ErrNotFound) {
		return 0, err
	}
	sum, err := one(ctx, tx.c, tx.sql.PaybacksSum, []any{p.ID}, read)
	if err != nil {
		return 0, err
	}
	p.Back = min(max(sum.amount+amount, 0), p.Gross)
	units := share(p.Units, p.Back, p.Gross) - credit.Units(sum.units)
	if _, err := tx.c.Exec(ctx, tx.sql.PaybackInsert, back.Reference, p.ID, amount, int64(units), tx.l.timestamp()); err != nil {
		return 0, err
	}
	if units != 0 {
		_, _, err := tx.AddGrant(ctx, authz.Grant{Account: p.Account, Units: -units, Kind: KindRefund, Reference: back.Reference, Reason: back.Reason})
		if err == nil && units > 0 {
			// The card that paid would be charged for what was given back.
			err = tx.stopTopUp(ctx, p.Account, "It was turned off, since a payment was given back. You can turn it on again.")
		}
		if err != nil {
			return 0, err
		}
	}
	return units, tx.putPurchase(ctx, p)
}

// share is units x part / whole, rounded down; part is at most whole.
func share(units credit.Units, part, whole int64) credit.Units {
	if part <= 0 || whole <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(units), uint64(part))
	n, _ := bits.Div64(hi, lo, uint64(whole))
	return credit.Units(n)
}

// PaidBack tells whether a payback of a reference is kept.
func (l *Ledger) PaidBack(ctx context.Context, reference string) (bool, error) {
	err := l.view(ctx, func(tx *Tx) error {
		_, err := one(ctx, tx.c, tx.sql.Payback, []any{reference}, func(row Scanner) (amount int64, err error) {
			return amount, row.Scan(&amount, new(int64))
		})
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, wrap("payback "+reference, err)
}

func readPurchase(row Scanner) (Purchase, error) {
	var p Purchase
	err := row.Scan(&p.ID, &p.Account, &p.Kind, &p.State, &p.Units, &p.Net, &p.Gross, &p.Currency, &p.SaveCard, &p.SuccessURL, &p.CancelURL, &p.Tax,
		&p.Session, &p.Intent, &p.Charge, &p.Invoice, &p.Back, &p.Problem, &p.Attempts, &p.DueAt, &p.CreatedAt, &p.ExpiresAt, &p.PaidAt, &p.Quoted, &p.Language)
	return p, err
}
