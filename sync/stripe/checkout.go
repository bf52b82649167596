package stripe

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/stripe/stripe-go/v76"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe/vat"
)

const (
	currencyCode = "eur"            // as Stripe writes it
	taxCode      = "txcd_10000000"  // general electronically supplied services (docs.stripe.com/tax/tax-codes)
	mostURL      = 2000             // characters of a URL that a purchase leads back to
	keyPurchase  = "purchase"       // of metadata: the purchase's id
	keyAccount   = "account"        // of metadata
	keyReverse   = "reverse_charge" // of an invoice's metadata, "true"
)

// Request is what a customer asks for at Checkout.
type Request struct {
	Order
	SuccessURL string // where to lead after the payment, on an allowed origin; empty: the billing page
	CancelURL  string // where to lead from a payment that was not made
	SaveCard   bool   // the customer may let top-ups use the card; Stripe's page asks for consent
	Key        string // the customer's own idempotency key: a repetition is the same purchase; empty: each is one
}

// purchaseID is the id of the purchase of a request.
func (r *Request) purchaseID(account string) uuid.UUID {
	if r.Key == "" {
		return uuid.Nil // a new one
	}
	return uuid.NewSHA1(keySpace, []byte(account+"\x00"+r.Key))
}

// keySpace is the name space of purchases that customers gave a key (RFC 9562, 5.5).
var keySpace = uuid.MustParse("5f0b2f5e-3c0d-4b56-9c7c-6f1d0a2f7a10")

// Started is a purchase that waits to be paid on Stripe's page.
type Started struct {
	Purchase ledger.Purchase
	Quote    ledger.Quote
	URL      string // Stripe's page
}

// Checkout commits a purchase and makes Stripe's page for it. A request whose key was used before is answered with that
// purchase's page, made anew where a crash came between.
// Errors: *ledger.FieldError, ErrNotConfigured, ErrUnavailable, ErrRefused, ledger.ErrNotFound (the account),
// ErrUsed (the key's purchase is another one, or is over).
func (s *Service) Checkout(ctx context.Context, account string, r Request) (Started, error) {
	if s.api == nil {
		return Started{}, ErrNotConfigured
	}
	success, err := s.back("success_url", r.SuccessURL, "paid")
	if err != nil {
		return Started{}, err
	}
	cancel, err := s.back("cancel_url", r.CancelURL, "cancelled")
	if err != nil {
		return Started{}, err
	}
	units, net, err := s.amount(r.Order)
	if err == nil {
		err = s.sells(fieldOf(r.Order), account)
	}
	if err != nil {
		return Started{}, err
	}
	if _, err = s.customer(ctx, account); err != nil {
		return Started{}, err
	}
	quoted := s.cfg.Now() // what changes from here on is found by a look at the purchase
	b, err := s.billing(ctx, account)
	if err != nil {
		return Started{}, err
	}
	q, tax, err := s.quote(ctx, b, units, net)
	if err != nil {
		return Started{}, err
	}
	p := ledger.Purchase{ID: r.purchaseID(account), CreatedAt: quoted, Account: account, Kind: ledger.PurchaseCheckout, Units: units, Quoted: q.Total, SaveCard: r.SaveCard,
		SuccessURL: success, CancelURL: cancel}
	asked := p
	p, err = s.commit(ctx, p, net, tax, s.ledger.AddPurchase)
	if r.Key != "" && errors.Is(err, ledger.ErrExists) {
		p, err = s.again(ctx, &asked, net)
	}
	if err != nil {
		return Started{}, err
	}
	made, err := s.page(ctx, p, b)
	if err != nil {
		return Started{}, err
	}
	s.log.Info("purchase opened", logAccount, account, logPurchase, p.ID, logUnits, int64(p.Units))
	p.Session = made.ID
	return Started{Purchase: p, Quote: q, URL: made.URL}, nil
}

// page is Stripe's page for a purchase, which is made where it is not yet. Errors: ErrUsed (it is closed).
func (s *Service) page(ctx context.Context, p ledger.Purchase, b ledger.Billing) (*stripe.CheckoutSession, error) {
	if p.Session == "" {
		return s.open(ctx, p, b)
	}
	made, err := s.api.sessions.Get(p.Session, &stripe.CheckoutSessionParams{Params: get(ctx)})
	if err != nil {
		return nil, translate("read session "+p.Session, err)
	}
	if made.Status != stripe.CheckoutSessionStatusOpen {
		return nil, fmt.Errorf("%w: its page is closed", ErrUsed)
	}
	return made, nil
}

// again gives the purchase of an idempotency key that was used before, for the same request. Errors: ErrUsed.
func (s *Service) again(ctx context.Context, asked *ledger.Purchase, net int64) (ledger.Purchase, error) {
	p, err := s.ledger.Purchase(ctx, asked.ID)
	switch {
	case err != nil:
	case p.Units != asked.Units || p.Net != credit.Micros(net)*ledger.MicrosPerCent || p.Quoted != asked.Quoted || p.SaveCard != asked.SaveCard ||
		p.SuccessURL != asked.SuccessURL || p.CancelURL != asked.CancelURL:
		err = fmt.Errorf("%w: its purchase was asked for with other input, or is taxed otherwise", ErrUsed)
	case p.State != ledger.PurchaseOpen:
		err = fmt.Errorf("%w: its purchase is %s", ErrUsed, p.State)
	}
	return p, err
}

// commit keeps a purchase, before Stripe is asked for it.
func (s *Service) commit(ctx context.Context, p ledger.Purchase, net int64, tax *vat.Tax, add func(context.Context, ledger.Purchase) (ledger.Purchase, error)) (ledger.Purchase, error) {
	var err error
	if p.Tax, err = s.taxWord(ctx, tax); err != nil {
		return p, err
	}
	now := s.cfg.Now()
	if p.CreatedAt.IsZero() {
		p.CreatedAt = now
	}
	p.Net, p.Currency, p.Language = credit.Micros(net)*ledger.MicrosPerCent, Currency, s.languageOf(p.Account)
	p.ExpiresAt, p.DueAt = now.Add(s.cfg.Expires), now.Add(firstLook)
	if p, err = add(ctx, p); err != nil {
		return p, err
	}
	s.met.purchases.WithLabelValues(p.Kind, string(ledger.PurchaseOpen)).Inc()
	return p, nil
}

// taxWord is a purchase's tax as the requests for it need it: the same whenever they are repeated. A nil tax is for
// Stripe Tax to decide.
func (s *Service) taxWord(ctx context.Context, tax *vat.Tax) (string, error) {
	switch {
	case tax == nil:
		return taxAuto, nil
	case tax.ReverseCharge:
		return taxReverse, nil
	case tax.Rate == 0:
		return taxNone, nil
	}
	return s.taxRate(ctx, tax)
}

// taxRate finds or makes Stripe's tax rate of a country's VAT.
func (s *Service) taxRate(ctx context.Context, tax *vat.Tax) (string, error) {
	name := tax.Country + "-" + vat.Percent(tax.Rate)
	s.mu.Lock()
	id := s.rates[name]
	s.mu.Unlock()
	if id != "" {
		return id, nil
	}
	params := &stripe.TaxRateListParams{ListParams: all(ctx), Active: stripe.Bool(true), Inclusive: stripe.Bool(false)}
	list := s.api.rates.List(params)
	for id == "" && list.Next() {
		if r := list.TaxRate(); r.Metadata["ringfence"] == name {
			id = r.ID
		}
	}
	if err := list.Err(); err != nil {
		return "", translate("list tax rates", err)
	}
	if id == "" {
		// Within the hour two sidecars make one; later the key would bring back one that was put away.
		made, err := anew(s.cfg.Now(), hourly("tax-rate:"+name, s.cfg.Now()), func(key string) (*stripe.TaxRate, error) {
			return s.api.rates.New(&stripe.TaxRateParams{Params: post(ctx, key), DisplayName: stripe.String("VAT"),
				Inclusive: stripe.Bool(false), Country: stripe.String(tax.Country), Percentage: stripe.Float64(float64(tax.Rate) / 100),
				TaxType: stripe.String("vat"), Metadata: map[string]string{"ringfence": name}})
		})
		if err != nil {
			return "", translate("make a tax rate", err)
		}
		id = made.ID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rates[name] = id
	return id, nil
}

// open makes Stripe's page for a purchase: the first time it makes it, a repetition gives the same.
func (s *Service) open(ctx context.Context, p ledger.Purchase, b ledger.Billing) (*stripe.CheckoutSession, error) {
	params := sessionOf(ctx, &p, b.Customer)
	params.AddExtra(paramBrands, brandsBlocked)
	made, err := s.api.sessions.New(params)
	if said := saidOf(err); said.Code == stripe.ErrorCodeParameterUnknown && strings.HasPrefix(said.Param, "payment_method_options") {
		s.anyBrand.Do(func() {
			s.log.Warn("Stripe's Checkout cannot be told here to take Visa, Mastercard and American Express only; block other cards by a rule of Radar")
		})
		params = sessionOf(ctx, &p, b.Customer)
		params.IdempotencyKey = stripe.String(stepKey(p.ID, "session-of-any-brand"))
		made, err = s.api.sessions.New(params)
	}
	if err != nil {
		s.forgetRates()
		return nil, s.gone(ctx, p.Account, translate("make a Checkout session for purchase "+p.ID.String(), err))
	}
	_, err = s.ledger.ChangePurchase(ctx, p.ID, func(p *ledger.Purchase) error {
		p.Session = made.ID
		return nil
	})
	return made, err
}

// forgetRates has tax rates looked up anew: somebody may have put one away.
func (s *Service) forgetRates() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.rates)
}

// Cards are taken of Visa, Mastercard and American Express: of the four that Checkout can block, the others are one
// (docs.stripe.com/payments/checkout/customization/card-brands). The parameter is newer than the API version of the SDK,
// so Stripe may not know it.
const (
	paramBrands   = "payment_method_options[card][restrictions][brands_blocked][0]"
	brandsBlocked = "discover_global_network" // Discover, Diners, JCB, UnionPay, Elo
)

// gone has an account's customer made anew where Stripe answers that it is not there: then the request may be repeated.
func (s *Service) gone(ctx context.Context, account string, err error) error {
	if saidOf(err).Param != "customer" || !missing(err) {
		return err
	}
	if lost := s.ledger.SyncBilling(ctx, account); lost != nil {
		return fmt.Errorf("make a customer anew (%v): %w", err, lost)
	}
	return fmt.Errorf("%w: the customer of account %q is made anew: %v", ErrUnavailable, account, err)
}

// sessionOf is the request for a purchase's session. All of it comes from the row, so that it is the same each time.
func sessionOf(ctx context.Context, p *ledger.Purchase, customer string) *stripe.CheckoutSessionParams {
	about := map[string]string{keyPurchase: p.ID.String(), keyAccount: p.Account}
	line := &stripe.CheckoutSessionLineItemParams{Quantity: stripe.Int64(1), PriceData: &stripe.CheckoutSessionLineItemPriceDataParams{
		Currency: stripe.String(currencyCode), UnitAmount: stripe.Int64(cents(p)), TaxBehavior: stripe.String("exclusive"),
		ProductData: &stripe.CheckoutSessionLineItemPriceDataProductDataParams{Name: stripe.String(describe(p)), TaxCode: stripe.String(taxCode)}}}
	data := &stripe.CheckoutSessionInvoiceCreationInvoiceDataParams{Metadata: about, Description: stripe.String(describe(p))}
	params := &stripe.CheckoutSessionParams{Params: post(ctx, stepKey(p.ID, "session")),
		Mode: stripe.String("payment"), PaymentMethodTypes: stripe.StringSlice([]string{"card"}), Customer: stripe.String(customer),
		ClientReferenceID: stripe.String(p.ID.String()), SuccessURL: stripe.String(p.SuccessURL), CancelURL: stripe.String(p.CancelURL),
		ExpiresAt: stripe.Int64(p.ExpiresAt.Unix()), LineItems: []*stripe.CheckoutSessionLineItemParams{line},
		InvoiceCreation:   &stripe.CheckoutSessionInvoiceCreationParams{Enabled: stripe.Bool(true), InvoiceData: data},
		PaymentIntentData: &stripe.CheckoutSessionPaymentIntentDataParams{Metadata: about, Description: stripe.String(describe(p))},
		Metadata:          about}
	params.AutomaticTax = &stripe.CheckoutSessionAutomaticTaxParams{Enabled: stripe.Bool(p.Tax == taxAuto)} // whatever the account's default is
	switch p.Tax {
	case taxReverse:
		data.Footer = stripe.String(wordsOf(p).reverse)
		data.Metadata = map[string]string{keyPurchase: p.ID.String(), keyAccount: p.Account, keyReverse: "true"}
	case taxNone, taxAuto:
	default:
		line.TaxRates = stripe.StringSlice([]string{p.Tax})
	}
	if p.SaveCard {
		params.PaymentIntentData.SetupFutureUsage = stripe.String("off_session")
		params.ConsentCollection = &stripe.CheckoutSessionConsentCollectionParams{PaymentMethodReuseAgreement: &stripe.CheckoutSessionConsentCollectionPaymentMethodReuseAgreementParams{
			Position: stripe.String("auto")}}
	}
	return params
}

// stepKey is the idempotency key of a step of a purchase.
func stepKey(id uuid.UUID, step string) string { return "purchase:" + id.String() + ":" + step }

// onceKey is the key of a request that need not be the same when it is repeated.
func onceKey(what string) string { return what + ":" + uuid.NewString() }

func cents(p *ledger.Purchase) int64 { return int64(p.Net / ledger.MicrosPerCent) }

// back checks a URL that a customer is led to after paying: only to origins of ours, or a stranger could use our page
// to lead a customer anywhere.
func (s *Service) back(field, given, result string) (string, error) {
	if given == "" {
		if s.cfg.PublicURL == "" {
			return "", badField(field, "Say where to lead after the payment.")
		}
		return strings.TrimSuffix(s.cfg.PublicURL, "/") + "/billing?purchase=" + result, nil
	}
	if len(given) > mostURL {
		return "", badField(field, "The URL is longer than %d characters.", mostURL)
	}
	u, err := url.Parse(given)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Opaque != "" || strings.ContainsAny(given, "\\\t\r\n ") {
		return "", badField(field, "This is not an http or https URL.")
	}
	if u.User != nil {
		return "", badField(field, "The URL holds a user or password.")
	}
	for _, allowed := range append([]string{s.cfg.PublicURL}, s.cfg.Origins...) {
		if allowed != "" && origin(allowed) == origin(given) {
			return u.String(), nil
		}
	}
	return "", badField(field, "The URL is not on an allowed site.")
}

// origin is scheme, host and port of a URL, the default ports left out.
func origin(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	host := strings.ToLower(u.Host)
	for scheme, port := range map[string]string{"http": ":80", "https": ":443"} {
		if u.Scheme == scheme {
			host = strings.TrimSuffix(host, port)
		}
	}
	return u.Scheme + "://" + host
}

const (
	firstLook = 5 * time.Second // after a purchase was opened: webhooks are faster
	lastLook  = 5 * time.Minute // the longest time between two looks
	giveUp    = 24 * time.Hour  // after which Stripe forgets idempotency keys: then nothing is repeated
	graceTime = 2 * time.Minute // after a purchase has expired, for Stripe to say so
)

// nextLook is when Stripe is asked about a purchase again.
func nextLook(now time.Time, attempts int64) time.Time {
	return now.Add(min(firstLook<<min(attempts, 10), lastLook))
}

// workPurchases looks at the purchases that are due: what a missed webhook would have told, and what a crash left half done.
func (s *Service) workPurchases(ctx context.Context) error {
	for ctx.Err() == nil {
		p, err := s.ledger.ClaimPurchase(ctx, s.cfg.Claim)
		if nothing(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.workPurchase(ctx, p); err != nil && ctx.Err() == nil {
			s.met.failures.Inc()
			s.log.Warn("purchase not settled yet", logAccount, p.Account, logPurchase, p.ID, logError, err)
		}
	}
	return nil
}

// workPurchase brings one purchase on, and says when it is looked at next.
func (s *Service) workPurchase(ctx context.Context, p ledger.Purchase) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Lease)
	defer cancel()
	var err error
	switch {
	case p.State != ledger.PurchaseOpen && p.State != ledger.PurchasePaid:
	case p.Kind == ledger.PurchaseTopUp:
		err = s.workTopUp(ctx, p)
	case p.Session != "":
		err = s.lookAt(ctx, p)
	default:
		err = s.reopen(ctx, p)
	}
	_, noted := s.ledger.ChangePurchase(context.WithoutCancel(ctx), p.ID, func(now *ledger.Purchase) error {
		switch {
		case now.State == ledger.PurchaseOpen && !now.DueAt.Equal(p.DueAt): // something has changed since it was claimed
		case now.State == ledger.PurchaseOpen:
			now.DueAt = nextLook(s.cfg.Now(), p.Attempts)
		case now.State == ledger.PurchasePaid && (err != nil || now.Invoice == "") && now.Attempts < settledLooks:
			now.DueAt = nextLook(s.cfg.Now(), p.Attempts) // the invoice may take a while
		default:
			now.DueAt = time.Time{}
		}
		return nil
	})
	return errors.Join(err, noted)
}

// lookAt settles a purchase by its session, and closes a page that asks for another tax than the account's details call
// for by now: they were changed, or the VAT ID was verified, since it was made.
func (s *Service) lookAt(ctx context.Context, p ledger.Purchase) error {
	err := s.settleSession(ctx, p.Session)
	if missing(err) && s.cfg.Now().After(p.ExpiresAt.Add(graceTime)) {
		return s.abandon(ctx, p, ledger.PurchaseExpired, "Stripe does not have its session")
	}
	if err != nil {
		return err
	}
	now, err := s.ledger.Purchase(ctx, p.ID)
	if err != nil || now.State != ledger.PurchaseOpen {
		return err
	}
	other, err := s.outdated(ctx, &now)
	if err != nil || !other {
		return err
	}
	s.log.Info("a payment page is closed: its tax is another by now", logAccount, p.Account, logPurchase, p.ID)
	_, err = s.api.sessions.Expire(p.Session, &stripe.CheckoutSessionExpireParams{Params: post(ctx, stepKey(p.ID, "expire"))})
	if err := translate("close the page of purchase "+p.ID.String(), err); err != nil && !errors.Is(err, ErrRefused) {
		return err
	}
	return s.settleSession(ctx, p.Session) // closed, or paid in that moment
}

// outdated tells whether a purchase would be taxed otherwise by now.
func (s *Service) outdated(ctx context.Context, p *ledger.Purchase) (bool, error) {
	b, err := s.payer(ctx, p.Account)
	if err != nil || p.Quoted == 0 || b.UpdatedAt.Before(p.CreatedAt) {
		return false, err
	}
	q, tax, err := s.quote(ctx, b, p.Units, int64(p.Net/ledger.MicrosPerCent))
	if err != nil {
		return false, err
	}
	word, err := s.taxWord(ctx, tax)
	return word != p.Tax || q.Total != p.Quoted, err
}

// settledLooks bounds how often Stripe is asked for the rest (invoice, card) of a purchase that is paid.
const settledLooks = 20

// reopen makes the session of a purchase whose making was interrupted: the same request, so the same session. It was
// never shown to anybody, and expires unless somebody has found it.
func (s *Service) reopen(ctx context.Context, p ledger.Purchase) error {
	if s.cfg.Now().After(p.CreatedAt.Add(min(s.cfg.Expires, giveUp))) {
		return s.abandon(ctx, p, ledger.PurchaseExpired, "Stripe never made a session for it")
	}
	b, err := s.customer(ctx, p.Account)
	if err != nil {
		return err
	}
	_, err = s.open(ctx, p, b)
	if errors.Is(err, ErrRefused) {
		return errors.Join(err, s.abandon(ctx, p, ledger.PurchaseExpired, err.Error()))
	}
	return err
}

// abandon ends a purchase that nobody paid.
func (s *Service) abandon(ctx context.Context, p ledger.Purchase, state ledger.PurchaseState, why string) error {
	changed := false
	_, err := s.ledger.ChangePurchase(ctx, p.ID, func(now *ledger.Purchase) error {
		changed = now.State == ledger.PurchaseOpen
		if changed {
			now.State, now.Problem, now.DueAt = state, why, time.Time{}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("end purchase %s: %w", p.ID, err)
	}
	if changed {
		s.met.purchases.WithLabelValues(p.Kind, string(state)).Inc()
		s.log.Info("purchase ended unpaid", logAccount, p.Account, logPurchase, p.ID, "state", state, "why", why)
	}
	return nil
}
