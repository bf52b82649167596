package ledger

import (
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz/credit"
)

// shopStatements are those of purchases, invoices, Stripe's events and top-ups.
type shopStatements struct {
	PurchaseInsert, PurchaseUpdate, Purchase, PurchaseOf, PurchasesOfAccount, PurchasesAside, PurchasesClaim, PurchasesLook, PurchasesCount string
	TopUpsSince, TopUpOpen, Payback, PaybackInsert, PaybacksSum                                                                             string
	InvoicePut, Invoice, InvoicesOfAccount, InvoicesCount                                                                                   string
	EventInsert, Event, EventsClaim, EventUpdate, EventsAside, EventsFailing, EventsCount, EventNewest, EventsPrune                         string
	Mark, MarkClaim, MarkMove                                                                                                               string
	TopUpPut, TopUp, TopUpsEnabled, TopUpsFailing, CardPut, CardNewer                                                                       string
}

// VATStatus is what is known of a VAT ID: only a verified one moves the tax to the buyer (reverse charge).
type VATStatus string

// The states of a VAT ID, as Stripe names them; none for an account without one.
const (
	VATNone        VATStatus = ""
	VATPending     VATStatus = "pending"
	VATVerified    VATStatus = "verified"
	VATUnverified  VATStatus = "unverified"
	VATUnavailable VATStatus = "unavailable"
)

// Billing is who an account's invoices are made out to, and how it pays.
type Billing struct {
	Account    string
	Company    string
	Email      string
	Line1      string // street and house number
	Line2      string
	PostalCode string
	City       string
	State      string // or province; empty in most of Europe
	Country    string // ISO 3166-1 alpha-2; empty: not told yet
	VATID      string // with the prefix of its country (EL for Greece, XI for Northern Ireland), without blanks; empty: none
	VATStatus  VATStatus

	Customer string // Stripe's cus_...; empty: not made yet
	TaxID    string // Stripe's txi_... of VATID
	Card     string // Stripe's pm_... that may be charged without the customer (consent given at Checkout); empty: none
	CardName string // how the customer knows it: visa 4242

	UpdatedAt time.Time
}

// TopUp says that credit is bought with the saved card when the balance falls low.
type TopUp struct {
	Account   string
	Enabled   bool
	Below     credit.Units // balance under which it buys
	Units     credit.Units // how much it buys
	MaxPerDay int64        // purchases in 24 hours

	Declined  int64     // times in a row
	NotBefore time.Time // after a decline; zero: at once
	Problem   string    // why the last one failed, in words for the customer; empty: it did not
	PayURL    string    // Stripe's page where the customer can pay what failed; empty: none
	UpdatedAt time.Time
}

// PurchaseState is how far a purchase is.
type PurchaseState string

// The states of a purchase.
const (
	PurchaseOpen    PurchaseState = "open"    // committed; the customer may pay
	PurchasePaid    PurchaseState = "paid"    // the money came, the units are granted
	PurchaseFailed  PurchaseState = "failed"  // the payment was declined for good
	PurchaseExpired PurchaseState = "expired" // nobody paid in time
)

// The kinds of purchase.
const (
	PurchaseCheckout = "checkout" // the customer pays on Stripe's page
	PurchaseTopUp    = "top-up"   // the saved card pays an invoice
)

// Purchase is credit that is being bought or was.
type Purchase struct {
	ID       uuid.UUID
	Account  string
	Kind     string // PurchaseCheckout or PurchaseTopUp
	State    PurchaseState
	Units    credit.Units
	Net      credit.Micros // price without VAT
	Gross    int64         // paid, VAT included, in the currency's smallest unit as Stripe counts it; 0 until it is
	Language string        // of its invoice: nl, de; empty: English
	Quoted   int64         // what the customer was shown that it costs, like Gross; 0: not kept
	Currency string        // ISO 4217, upper case
	SaveCard bool          // the customer agreed that the card is kept for top-ups

	Session string // Stripe's cs_...
	Intent  string // pi_...
	Charge  string // ch_...
	Invoice string // in_...

	Back      int64 // of Gross, given back by refunds and disputes
	CreatedAt time.Time
	PaidAt    time.Time // zero: not yet

	// What the request to Stripe is made of besides, so that a repetition is the same request.
	SuccessURL string
	CancelURL  string
	Tax        string    // the rate that was quoted, in the words of package stripe
	ExpiresAt  time.Time // when it cannot be paid any more

	Problem  string    // why it is kept aside; empty: it is not
	Attempts int64     // how often Stripe was asked about it
	DueAt    time.Time // when Stripe is asked next; zero: no more
}

// Invoice is a purchase's, as Stripe made it. Amounts are in the currency's smallest unit.
type Invoice struct {
	ID            string // Stripe's in_...
	Account       string
	Purchase      uuid.UUID
	Number        string // RF-0001; empty while it is a draft
	Status        string // draft, open, paid, void, uncollectible
	Date          time.Time
	Currency      string
	Net           int64
	VAT           int64
	VATRate       int64 // hundredths of a percent: 2100 is 21%
	ReverseCharge bool
	Total         int64
	PayURL        string // Stripe's page of the invoice
	PDFURL        string // where Stripe serves the PDF; never shown to a customer
}

// Quote is what a purchase would cost. Amounts are in the currency's smallest unit.
type Quote struct {
	Units         credit.Units
	Currency      string
	Net           int64
	VAT           int64
	VATRate       int64 // hundredths of a percent
	ReverseCharge bool
	Total         int64
	Note          string // why this rate: "Dutch VAT", "reverse charge: VAT to be accounted for by the recipient"
}

// FieldError is input that cannot be accepted, by field: the customer is shown it beside the field.
type FieldError struct {
	Field   string // as the public API names it: vat_id
	Message string // a sentence that says what to do
	Missing bool   // nothing was given
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Message }
