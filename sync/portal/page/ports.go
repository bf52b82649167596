package page

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// Quota counts requests (account.Quota).
type Quota interface {
	// Take counts one of a bucket. Where ok is false there were too many; after is when to come again.
	Take(ctx context.Context, bucket string) (after time.Duration, ok bool)
}

// Directory answers from memory (package authz/directory).
type Directory interface {
	Account(id string) (*authz.Account, bool)
	Numbers(account, after string, limit int) []authz.Number // sorted; limit 0 is all
}

// Sessions are where sessions and sign-in links are kept (package ledger).
// Errors: ledger.ErrNotFound, ErrUnavailable.
type Sessions interface {
	SessionReader
	SessionWriter
}

// SessionReader finds sessions.
type SessionReader interface {
	Session(ctx context.Context, hash []byte, at time.Time) (ledger.Session, error)
	TouchSession(ctx context.Context, hash []byte, at time.Time) error
}

// SessionWriter begins and ends them.
type SessionWriter interface {
	AddSession(ctx context.Context, s ledger.Session) error
	AddSessionByLink(ctx context.Context, link []byte, s ledger.Session) (ledger.Session, error)
	EndSession(ctx context.Context, hash []byte) error
	DropSessions(ctx context.Context, before time.Time) error
}

// Keys are API keys (account.Keys). Errors: ledger.ErrNotFound, ErrUnavailable.
type Keys interface {
	Create(ctx context.Context, account, name string, expires time.Time) (string, ledger.APIKey, error)
	List(ctx context.Context, account string) ([]ledger.APIKey, error)
	Revoke(ctx context.Context, id string) (ledger.APIKey, error)
}

// KeyLookup finds an API key by its SHA-256 (package ledger). Errors: ledger.ErrNotFound, ErrUnavailable.
type KeyLookup interface {
	KeyByHash(ctx context.Context, hash []byte) (ledger.APIKey, error)
}

// Book is what an account has used and was given (package ledger). Errors:
// ledger.ErrNotFound, ErrUnavailable, and those of fn.
type Book interface {
	Sums
	Lists
}

// Sums are an account's totals.
type Sums interface {
	// Sum adds up the calls that ended in [from, to).
	Sum(ctx context.Context, account string, from, to time.Time) (ledger.Sum, error)
	Totals(ctx context.Context, account string) (ledger.Totals, error)
}

// Lists are an account's calls and grants.
type Lists interface {
	Calls(ctx context.Context, account string, states []authz.State, limit, offset int) (page []ledger.Call, total int64, err error)
	Grants(ctx context.Context, account string, after int64, limit int) ([]authz.Grant, error)
	Statement(ctx context.Context, account string, from, to time.Time, fn func(ledger.Line) error) error
}

// Balances is the balance store (package authz/balance). Errors: authz.ErrLost, ErrDown.
type Balances interface {
	Balance(ctx context.Context, account string) (authz.Balance, error)
	Calls(ctx context.Context, account string, fn func(authz.Call, error) error) error
}

// StatementFile answers with a whole statement as a file (account.Server.ServeStatement).
type StatementFile func(w http.ResponseWriter, r *http.Request, a *authz.Account)

// Offer is what can be bought.
type Offer struct {
	Packages    []credit.Units // to choose from
	Least, Most credit.Units   // of one purchase, where the amount is free; Most 0: no limit
	Currency    string         // ISO 4217
	Price       credit.Micros  // of one credit, without VAT
}

// Order is a purchase to be paid on the payment page.
type Order struct {
	Account    string
	Units      credit.Units
	SaveCard   bool   // the customer agreed that the card is kept for top-ups
	SuccessURL string // where the payment page returns to
	CancelURL  string
}

// Shop sells credit. Errors: *ledger.FieldError, ledger.ErrNotFound, ErrUnavailable.
type Shop interface {
	Offer(ctx context.Context, account string) (Offer, error)
	Quote(ctx context.Context, account string, units credit.Units) (ledger.Quote, error)
	// Checkout gives the address of the payment page.
	Checkout(ctx context.Context, o Order) (url string, err error)
	// LastPurchase is the account's newest. Errors: ledger.ErrNotFound, where it has none.
	LastPurchase(ctx context.Context, account string) (ledger.Purchase, error)
}

// TopUps are purchases with the saved card. Errors: *ledger.FieldError, ledger.ErrUnavailable.
type TopUps interface {
	TopUp(ctx context.Context, account string) (ledger.TopUp, error) // never set: the zero one
	SetTopUp(ctx context.Context, t ledger.TopUp) error
	// ForgetCard removes the saved card, and turns the top-up off with it.
	ForgetCard(ctx context.Context, account string) error
}

// Invoices are those of purchases. Errors: ledger.ErrNotFound (another account's too), ErrUnavailable.
type Invoices interface {
	Invoices(ctx context.Context, account string, limit, offset int) (page []ledger.Invoice, total int64, err error) // newest first
	// PDF gives an invoice's, and its number.
	PDF(ctx context.Context, account, id string) (pdf io.ReadCloser, number string, err error)
}

// Details are who invoices are made out to. Errors: *ledger.FieldError (several joined), ledger.ErrUnavailable.
type Details interface {
	Billing(ctx context.Context, account string) (ledger.Billing, error) // never set: the zero one
	SetBilling(ctx context.Context, b ledger.Billing) (now ledger.Billing, err error)
}

// Alerting is when a customer is told that credit runs low. Errors: *ledger.FieldError, ledger.ErrUnavailable.
type Alerting interface {
	Alerts(ctx context.Context, account string) (ledger.Alerts, error) // never set: the zero one
	SetAlerts(ctx context.Context, a ledger.Alerts) error
}

// Webhooks are where an account is told of its calls. Errors: *ledger.FieldError, ledger.ErrUnavailable.
type Webhooks interface {
	Webhook(ctx context.Context, account string) (ledger.Webhook, error) // never set: the zero one
	// SetWebhook keeps one; an empty URL is none, an empty secret the one it had, or a new one.
	SetWebhook(ctx context.Context, w ledger.Webhook) error
	// TestWebhook sends a message now. The error is why it did not arrive, in words for the customer.
	TestWebhook(ctx context.Context, account string) error
}
