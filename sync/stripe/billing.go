package stripe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/customer"
	"github.com/stripe/stripe-go/v76/taxid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe/vat"
)

// DeskConfig is what a Desk works with. A zero value that has a default is that.
type DeskConfig struct {
	Key string // Stripe's secret or restricted key; empty: details are kept, and synced when there is one
	URL string // another API base, for tests

	Ledger  *ledger.Ledger
	Account func(id string) (*authz.Account, bool) // from memory

	Every     time.Duration     // between two looks at what is due, 5 s
	Transport http.RoundTripper // to Stripe; nil: Go's own
	Now       func() time.Time
	Log       *slog.Logger
}

// Desk keeps the billing details of accounts, and has them at Stripe as one customer each: saved first, then synced,
// again and again while Stripe is away. It is safe for concurrent use, and any number of sidecars may run one on one
// ledger: one at a time works on an account.
//
//	 SetBilling           customer, tax id as in the ledger
//	------------> due --------------------------------------> synced ---- VAT ID pending: looked at again, less and less
//	               ^ | Stripe fails: later and later                      often, and whenever Stripe sends an event
//	               +-+
type Desk struct {
	cfg       DeskConfig
	ledger    *ledger.Ledger
	customers customer.Client
	taxIDs    taxid.Client
	wake      chan struct{}
}

// NewDesk makes a Desk; [Desk.Run] makes it sync.
func NewDesk(cfg DeskConfig) *Desk {
	cfg.Every = cmp.Or(cfg.Every, 5*time.Second)
	if cfg.Account == nil {
		cfg.Account = func(string) (*authz.Account, bool) { return nil, false }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	d := &Desk{cfg: cfg, ledger: cfg.Ledger, wake: make(chan struct{}, 1)}
	if cfg.Key != "" {
		api := newClient(cfg.Key, cfg.URL, cfg.Transport)
		d.customers = customer.Client{B: api.backend, Key: api.key}
		d.taxIDs = taxid.Client{B: api.backend, Key: api.key}
	}
	return d
}

const (
	firstSync   = 10 * time.Second       // after a failure
	lastSync    = time.Hour              // the longest time between two tries
	firstPoll   = time.Minute            // after a VAT ID was sent to be verified
	lastPoll    = 24 * time.Hour         // the longest time between two looks at it
	syncLease   = time.Minute            // how long one sidecar has an account for itself; bounds its work
	settleTime  = 20 * time.Second       // that a purchase waits for the details to be at Stripe
	settlePause = 100 * time.Millisecond // between two looks at whether they are
	noteTime    = 5 * time.Second        // for a last word to the ledger when the work is stopped
)

// Billing gives an account's billing details, all empty where it has told none. Errors: ledger.ErrUnavailable.
func (d *Desk) Billing(ctx context.Context, account string) (ledger.Billing, error) {
	return d.ledger.Billing(ctx, account)
}

// SetBilling checks an account's billing details, keeps them and has them synced to Stripe. It returns what is kept.
// Errors: *ledger.FieldError (several joined), ledger.ErrNotFound (the account), ErrUnavailable.
func (d *Desk) SetBilling(ctx context.Context, b ledger.Billing) (ledger.Billing, error) {
	if err := checkBilling(&b); err != nil {
		return ledger.Billing{}, err
	}
	now, err := d.ledger.SetBilling(ctx, b)
	if err == nil {
		d.awake()
	}
	return now, err
}

// awake has Run look at once.
func (d *Desk) awake() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Customer gives an account's billing details with its customer at Stripe, which is made where there is none, and
// brought up to date where that is due.
// Errors: ErrNotConfigured, ErrUnavailable, ErrRefused, *ledger.FieldError (details that Stripe does not take),
// ledger.ErrNotFound (the account), ledger.ErrUnavailable.
func (d *Desk) Customer(ctx context.Context, account string) (ledger.Billing, error) {
	if d.customers.B == nil {
		return ledger.Billing{}, ErrNotConfigured
	}
	b, err := d.ledger.Billing(ctx, account)
	if err != nil {
		return b, err
	}
	if b.Customer == "" {
		if b.Customer, err = d.make(ctx, account, ""); err != nil {
			return ledger.Billing{}, err
		}
	}
	if err := d.settle(ctx, account); err != nil {
		return ledger.Billing{}, err
	}
	return d.ledger.Billing(ctx, account)
}

// settle has Stripe know an account's present details: by syncing them, or waiting for the sidecar that does.
func (d *Desk) settle(ctx context.Context, account string) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		s, err := d.ledger.BillingSync(ctx, account)
		if err != nil || s.Synced >= s.Revision {
			return err
		}
		s, err = d.ledger.ClaimBilling(ctx, account, d.cfg.Now(), syncLease+2*noteTime)
		switch {
		case err == nil:
			if err = refusedDetails(d.work(ctx, s)); errors.Is(err, ErrRefused) {
				d.cfg.Log.Warn("billing details are refused by Stripe, in what the customer has no part", logAccount, account, logError, err)
				return nil
			}
			if err != nil {
				return err // an invoice would be made out to somebody else
			}
			continue
		case !nothing(err):
			return err
		}
		select {
		case <-time.After(settlePause):
		case <-ctx.Done():
			return fmt.Errorf("%w: billing details of account %q are on their way", ErrUnavailable, account)
		}
	}
}

// stripesFields are the billing details by Stripe's names.
var stripesFields = map[string]string{
	"name": fieldCompany, "email": fieldEmail, "address[line1]": fieldLine1, "address[line2]": fieldLine2, "address[postal_code]": fieldPostalCode,
	"address[city]": fieldCity, "address[state]": fieldState, "address[country]": fieldCountry,
}

// refusedDetails has the customer correct what Stripe does not take.
func refusedDetails(err error) error {
	said := saidOf(err)
	if !errors.Is(err, ErrRefused) || stripesFields[said.Param] == "" {
		return err
	}
	return badField(stripesFields[said.Param], "The payment provider does not take this: %s Please correct your billing details.", strings.TrimSuffix(said.Msg, ".")+".")
}

// CustomerOf gives the id of an account's customer at Stripe, which is made where there is none. Whether Stripe takes the
// account's details does not matter.
// Errors: ErrNotConfigured, ErrUnavailable, ErrRefused, ledger.ErrNotFound (the account), ledger.ErrUnavailable.
func (d *Desk) CustomerOf(ctx context.Context, account string) (string, error) {
	if d.customers.B == nil {
		return "", ErrNotConfigured
	}
	b, err := d.ledger.Billing(ctx, account)
	if err != nil || b.Customer != "" {
		return b.Customer, err
	}
	return d.make(ctx, account, "")
}

// Gone has an account's customer looked for at Stripe, and made anew if it is not there, unless that is under way.
// Errors: ledger.ErrNotFound (the account), ledger.ErrUnavailable.
func (d *Desk) Gone(ctx context.Context, account string) error {
	s, err := d.ledger.BillingSync(ctx, account)
	if err != nil || s.Synced < s.Revision {
		return err
	}
	if err := d.ledger.SyncBilling(ctx, account); err != nil {
		return err
	}
	d.awake()
	return nil
}

// make makes an account's customer at Stripe: the first, or one that takes the place of one that Stripe has no more. The
// request is the same whenever it is repeated, unless Stripe itself fails, and the ledger decides which customer counts.
func (d *Desk) make(ctx context.Context, account, was string) (string, error) {
	key := "customer:" + account
	if was != "" {
		key += ":after:" + was
	}
	made, err := anew(d.cfg.Now(), key, func(key string) (*stripe.Customer, error) {
		return d.customers.New(&stripe.CustomerParams{Params: post(ctx, key), Metadata: map[string]string{keyAccount: account}})
	})
	if err != nil {
		return "", translate("make the customer of account "+account, err)
	}
	return d.ledger.SetCustomer(ctx, account, was, made.ID)
}

// Refresh takes over what somebody has changed of a customer at Stripe, and what Stripe says of its VAT ID; one that
// somebody has taken off the customer is put there again.
// Errors: ledger.ErrNotFound (nobody's customer), ErrNotConfigured, ErrUnavailable, ErrRefused.
func (d *Desk) Refresh(ctx context.Context, customer string) error {
	if d.customers.B == nil {
		return ErrNotConfigured
	}
	account, err := d.ledger.AccountOfCustomer(ctx, customer)
	if err != nil {
		return err
	}
	b, err := d.adopt(ctx, account, customer)
	if err != nil || b.VATID == "" {
		return err
	}
	ids, err := d.listTaxIDs(ctx, customer)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if id.Value == b.VATID {
			return d.ledger.SetTaxID(ctx, account, b.VATID, id.ID, statusOf(id))
		}
	}
	if b.TaxID == "" {
		return nil // not there yet, or refused by Stripe
	}
	return d.ledger.SyncBilling(ctx, account)
}

// adopt takes over name, e-mail and address of a customer that differ from what it was told, unless details are on their
// way to it. It returns the account's details as they are then.
func (d *Desk) adopt(ctx context.Context, account, customer string) (ledger.Billing, error) {
	b, err := d.ledger.Billing(ctx, account)
	if err != nil {
		return b, err
	}
	s, err := d.ledger.BillingSync(ctx, account)
	if err != nil || s.Synced < s.Revision {
		return b, err
	}
	c, err := d.customers.Get(customer, &stripe.CustomerParams{Params: get(ctx)})
	if err != nil {
		return b, translate("read the customer of account "+account, err)
	}
	if c.Deleted {
		return b, d.ledger.SyncBilling(ctx, account)
	}
	there := ledger.Billing{Account: account, Company: c.Name, Email: c.Email, VATID: b.VATID}
	if at := c.Address; at != nil {
		there.Line1, there.Line2, there.PostalCode, there.City, there.State, there.Country = at.Line1, at.Line2, at.PostalCode, at.City, at.State, at.Country
	}
	here := ledger.Billing{Account: account, VATID: b.VATID, Line1: b.Line1, Line2: b.Line2, PostalCode: b.PostalCode, City: b.City, State: b.State, Country: b.Country}
	here.Company, here.Email, _ = d.addressee(&b)
	if there == here || b.Company == "" && there.Country == "" {
		return b, nil
	}
	if err := checkBilling(&there); err != nil {
		d.cfg.Log.Warn("somebody has changed a customer at Stripe to what cannot be taken over", logAccount, account, logError, err)
		return b, nil
	}
	now, err := d.ledger.AdoptBilling(ctx, there, s.Revision)
	if errors.Is(err, ledger.ErrConflict) {
		return d.ledger.Billing(ctx, account) // the account has said something else meanwhile
	}
	if err == nil {
		d.cfg.Log.Info("billing details taken over from Stripe", logAccount, account)
	}
	return now, err
}

// addressee is who an account's customer at Stripe is: as it has told, or else as the directory says.
func (d *Desk) addressee(b *ledger.Billing) (name, email, language string) {
	name, email = b.Company, b.Email
	if a, ok := d.cfg.Account(b.Account); ok {
		if name == "" {
			name, email = a.Company, cmp.Or(email, a.Email)
		}
		language = a.Language
	}
	return name, email, language
}

// Run syncs what is due, until ctx is done. Without a key it does nothing.
func (d *Desk) Run(ctx context.Context) {
	if d.customers.B == nil {
		return
	}
	tick := time.NewTicker(d.cfg.Every)
	defer tick.Stop()
	for {
		if err := d.Sync(ctx); err != nil && ctx.Err() == nil {
			d.cfg.Log.Warn("billing details are not synced to Stripe now; they are tried again", logError, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
		case <-tick.C:
		}
	}
}

// Sync works on all accounts that are due. Errors: the ledger's, and what went wrong with each account.
func (d *Desk) Sync(ctx context.Context) error {
	var errs []error
	for ctx.Err() == nil {
		s, err := d.ledger.ClaimBilling(ctx, "", d.cfg.Now(), syncLease+2*noteTime)
		if nothing(err) {
			break
		}
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		if err := d.work(ctx, s); err != nil {
			errs = append(errs, fmt.Errorf("account %q: %w", s.Account, err))
		}
	}
	return errors.Join(errs...)
}

// work syncs one account and notes what became of it.
func (d *Desk) work(ctx context.Context, s ledger.BillingSync) error {
	working, cancel := context.WithTimeout(ctx, syncLease)
	defer cancel()
	status, age, err := d.sync(working, s)
	now := d.cfg.Now()
	if err != nil {
		s.Attempts, s.Problem = s.Attempts+1, err.Error()
		s.DueAt = now.Add(min(firstSync<<min(s.Attempts-1, 10), lastSync))
	} else {
		s.Synced, s.Attempts, s.Problem, s.DueAt = s.Revision, 0, "", time.Time{}
		if status == ledger.VATPending || status == ledger.VATUnavailable {
			s.DueAt = now.Add(min(max(age, firstPoll), lastPoll))
		}
	}
	note, done := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer done()
	noted := d.ledger.SaveBillingSync(note, s)
	if errors.Is(noted, ledger.ErrConflict) {
		noted = nil // it took so long that another sidecar has gone on
	}
	return errors.Join(err, noted)
}

// sync brings Stripe's customer to what the ledger says, and the ledger to what Stripe says of the VAT ID. It returns
// that, and how long ago the details last changed.
func (d *Desk) sync(ctx context.Context, s ledger.BillingSync) (ledger.VATStatus, time.Duration, error) {
	b, err := d.ledger.Billing(ctx, s.Account)
	if err != nil {
		return "", 0, err
	}
	if b.Customer == "" {
		if b.Customer, err = d.make(ctx, s.Account, ""); err != nil {
			return "", 0, err
		}
	}
	if s.Synced < s.Revision {
		if err := d.update(ctx, &b, &s); err != nil {
			return "", 0, err
		}
	}
	status, err := d.syncTaxID(ctx, &b, &s)
	return status, d.cfg.Now().Sub(b.UpdatedAt), err
}

// stepOf is the idempotency key of a step of one try.
func stepOf(s *ledger.BillingSync, step string) string {
	return "billing:" + s.Account + ":" + strconv.FormatInt(s.Revision, 10) + ":" + strconv.FormatInt(s.Attempts, 10) + ":" + step
}

// update gives the customer its name and address.
func (d *Desk) update(ctx context.Context, b *ledger.Billing, s *ledger.BillingSync) error {
	name, email, language := d.addressee(b)
	params := func(step string) *stripe.CustomerParams {
		p := &stripe.CustomerParams{Params: post(ctx, stepOf(s, step)), Name: stripe.String(name), Email: stripe.String(email),
			Address: &stripe.AddressParams{Line1: stripe.String(b.Line1), Line2: stripe.String(b.Line2), PostalCode: stripe.String(b.PostalCode),
				City: stripe.String(b.City), State: stripe.String(b.State), Country: stripe.String(b.Country)},
			Metadata: map[string]string{keyAccount: b.Account}}
		if language != "" {
			p.PreferredLocales = stripe.StringSlice([]string{language})
		}
		return p
	}
	_, err := d.customers.Update(b.Customer, params("customer:"+b.Customer))
	if missing(err) { // somebody has deleted it at Stripe
		was := b.Customer
		if b.Customer, err = d.make(ctx, b.Account, was); err != nil {
			return err
		}
		d.cfg.Log.Warn("a customer is gone from Stripe and has been made anew", logAccount, b.Account, "was", was, "now", b.Customer)
		_, err = d.customers.Update(b.Customer, params("customer:"+b.Customer))
	}
	return translate("update the customer of account "+b.Account, err)
}

// syncTaxID gives the customer the VAT ID as its one tax id of that kind, and keeps what Stripe knows of it.
func (d *Desk) syncTaxID(ctx context.Context, b *ledger.Billing, s *ledger.BillingSync) (ledger.VATStatus, error) {
	ids, err := d.listTaxIDs(ctx, b.Customer)
	if err != nil {
		return "", err
	}
	var found *stripe.TaxID
	for _, id := range ids {
		if id.Value == b.VATID && found == nil {
			found = id
			continue
		}
		params := &stripe.TaxIDParams{Params: post(ctx, stepOf(s, "remove:"+id.ID)), Customer: stripe.String(b.Customer)}
		if _, err := d.taxIDs.Del(id.ID, params); err != nil && !missing(err) {
			return "", translate("remove a tax id of account "+b.Account, err)
		}
	}
	if b.VATID == "" {
		return ledger.VATNone, d.ledger.SetTaxID(ctx, b.Account, "", "", ledger.VATNone)
	}
	if found == nil {
		id, err := vat.Parse(b.VATID)
		if err != nil {
			return "", fmt.Errorf("VAT ID of account %q: %w", b.Account, err)
		}
		found, err = d.taxIDs.New(&stripe.TaxIDParams{Params: post(ctx, stepOf(s, "tax-id:"+b.VATID)), Customer: stripe.String(b.Customer),
			Type: stripe.String(id.StripeType()), Value: stripe.String(b.VATID)})
		if saidOf(err).Code == stripe.ErrorCodeTaxIDInvalid {
			return ledger.VATUnverified, d.ledger.SetTaxID(ctx, b.Account, b.VATID, "", ledger.VATUnverified)
		}
		if err != nil {
			return "", translate("make the tax id of account "+b.Account, err)
		}
	}
	status := statusOf(found)
	return status, d.ledger.SetTaxID(ctx, b.Account, b.VATID, found.ID, status)
}

// listTaxIDs lists a customer's tax ids of the kind of VAT IDs; others are somebody else's business.
func (d *Desk) listTaxIDs(ctx context.Context, customer string) ([]*stripe.TaxID, error) {
	list := d.taxIDs.List(&stripe.TaxIDListParams{ListParams: all(ctx), Customer: stripe.String(customer)})
	var ids []*stripe.TaxID
	for list.Next() {
		if id := list.TaxID(); id.Type == stripe.TaxIDTypeEUVAT {
			ids = append(ids, id)
		}
	}
	return ids, translate("list the tax ids of customer "+customer, list.Err())
}

// statusOf is what Stripe knows of a tax id.
func statusOf(id *stripe.TaxID) ledger.VATStatus {
	if id.Verification == nil || id.Verification.Status == "" {
		return ledger.VATPending
	}
	return ledger.VATStatus(id.Verification.Status)
}
