package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/portal/account"
	"github.com/hmsovereign/ringfence/sync/portal/page"
	"github.com/hmsovereign/ringfence/sync/stripe"
)

// openPage makes the billing page. Without a Stripe key it sells nothing, and shows the rest.
func (a *App) openPage() (err error) {
	c := page.Config{Directory: a.Directory, Sessions: a.Ledger, KeyLookup: a.Ledger, Keys: account.NewKeys(a.Ledger, a.api.Invalidate, nil, a.log),
		Book: a.Ledger, Balances: a.Store, Details: a.desk, NeedsPostalCode: stripe.NeedsPostalCode, Statement: a.api.ServeStatement, Alerting: a.notifier, Webhooks: a.notifier,
		Looks: a.api.Quota(page.MostLooks), Changes: a.api.Quota(page.MostChanges), TestTimeout: cmp.Or(a.cfg.Notify.Timeout, 10*time.Second) + 5*time.Second,
		URL: publicURL(a.cfg), Log: a.log, Metrics: page.NewMetrics(a.reg)}
	if a.shop.Configured() {
		s := pageShop{a}
		c.Shop, c.TopUps, c.Invoices = s, s, s
		c.FormAction = []string{strings.TrimSuffix(a.cfg.Stripe.CheckoutOrigin, "/")}
		if u, err := url.Parse(a.cfg.Stripe.URL.Reveal()); err == nil && u.Host != "" {
			c.FormAction = append(c.FormAction, u.Scheme+"://"+u.Host)
		}
	}
	a.page, err = page.New(c)
	return err
}

// withPage puts the billing page beside what else the public listener serves.
func (a *App) withPage(rest http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == page.Path || strings.HasPrefix(r.URL.Path, page.Path+"/") {
			a.page.ServeHTTP(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	})
}

// pageShop is the shop as the billing page needs it.
type pageShop struct{ a *App }

func (s pageShop) Offer(context.Context, string) (page.Offer, error) {
	o := s.a.shop.Offer()
	out := page.Offer{Currency: o.Currency, Price: o.Price, Most: o.Max.Units(o.Price)}
	// What the least money buys, in hundredths of a credit, as the API says it. A price is rounded up to the cent, which
	// makes up for the part of a hundredth that is left out, unless a credit is dear.
	const step = credit.PerCredit / 100
	out.Least = o.Min.Units(o.Price) / step * step
	if out.Least.Micros(o.Price) <= o.Min-ledger.MicrosPerCent {
		out.Least += step
	}
	for _, minutes := range o.Packages {
		out.Packages = append(out.Packages, credit.Units(minutes)*credit.PerCredit)
	}
	return out, nil
}

func (s pageShop) Quote(ctx context.Context, account string, u credit.Units) (ledger.Quote, error) {
	q, err := s.a.shop.Quote(ctx, account, stripe.Order{Minutes: u.Credits()})
	return q, away(err)
}

func (s pageShop) Checkout(ctx context.Context, o page.Order) (string, error) {
	started, err := s.a.shop.Checkout(ctx, o.Account, stripe.Request{Order: stripe.Order{Minutes: o.Units.Credits()}, SuccessURL: o.SuccessURL, CancelURL: o.CancelURL, SaveCard: o.SaveCard})
	return started.URL, away(err)
}

// justPaid is how long a purchase that was paid is what a customer who comes back from the payment page asks about.
const justPaid = 5 * time.Minute

func (s pageShop) LastPurchase(ctx context.Context, account string) (ledger.Purchase, error) {
	last, err := s.a.Ledger.Purchases(ctx, account, 25, 0)
	if err != nil {
		return ledger.Purchase{}, err
	}
	// Newest first; top-ups are nobody's who comes back from the payment page.
	last = slices.DeleteFunc(last, func(p ledger.Purchase) bool { return p.Kind != ledger.PurchaseCheckout })
	if len(last) == 0 {
		return ledger.Purchase{}, ledger.ErrNotFound
	}
	paid := slices.MaxFunc(last, func(a, b ledger.Purchase) int { return a.PaidAt.Compare(b.PaidAt) })
	if time.Since(paid.PaidAt) < justPaid { // another page may have been opened since, and left
		return paid, nil
	}
	return last[0], nil
}

func (s pageShop) TopUp(ctx context.Context, account string) (ledger.TopUp, error) {
	return s.a.shop.TopUp(ctx, account)
}

func (s pageShop) SetTopUp(ctx context.Context, t ledger.TopUp) error {
	_, err := s.a.shop.SetTopUp(ctx, t.Account, stripe.TopUpChange{Enabled: t.Enabled, Below: t.Below, Units: t.Units, MaxPerDay: t.MaxPerDay})
	return away(err)
}

func (s pageShop) ForgetCard(ctx context.Context, account string) error {
	return away(s.a.shop.ForgetCard(ctx, account))
}

func (s pageShop) Invoices(ctx context.Context, account string, limit, offset int) ([]ledger.Invoice, int64, error) {
	return s.a.shop.Invoices(ctx, account, limit, offset)
}

func (s pageShop) PDF(ctx context.Context, account, id string) (io.ReadCloser, string, error) {
	pdf, v, err := s.a.shop.PDF(ctx, account, id)
	return pdf, v.Number, away(err)
}

// away says of a payment provider that does not answer what the page says of a ledger that does not.
func away(err error) error {
	if errors.Is(err, stripe.ErrUnavailable) {
		return errors.Join(ledger.ErrUnavailable, err)
	}
	return err
}

const (
	linkLife = 15 * time.Minute // how long a sign-in link can be used
	linkMost = 7 * 24 * time.Hour
)

// LinkView is a sign-in link as the admin API shows it, this once.
type LinkView struct {
	Account string    `json:"account"`
	URL     string    `json:"url"`
	Expires time.Time `json:"expires_at"`
}

// makeLink makes a link that signs in to the billing page, once.
func (a *App) makeLink(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Account string `json:"account"`
		Lasts   int64  `json:"lasts_seconds"`
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		refuse(w, http.StatusBadRequest, "invalid_request", "must be a JSON object: "+err.Error(), "")
		return
	}
	lasts := time.Duration(cmp.Or(in.Lasts, int64(linkLife/time.Second))) * time.Second
	switch {
	case in.Account == "":
		refuse(w, http.StatusBadRequest, "missing_field", "is required", "account")
		return
	case in.Lasts < 0 || in.Lasts > int64(linkMost/time.Second):
		refuse(w, http.StatusBadRequest, "invalid_request", "must be from 1 second to 7 days", "lasts_seconds")
		return
	}
	now := time.Now()
	token, hash := page.MintToken()
	link := ledger.SignInLink{Hash: hash, Account: in.Account, Created: now, Expires: now.Add(lasts)}
	switch err := a.Ledger.AddSignInLink(r.Context(), link); {
	case errors.Is(err, ledger.ErrNotFound):
		refuse(w, http.StatusNotFound, "not_found", "there is no account \""+in.Account+"\"", "account")
		return
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, "service_unavailable", "the ledger does not answer; try again", "")
		a.log.Warn("a sign-in link could not be made", "account", in.Account, "error", err)
		return
	}
	a.log.Info("admin: sign-in link made", "account", in.Account, "remote", r.RemoteAddr)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(http.StatusCreated)
	answer(w, LinkView{Account: in.Account, URL: page.LinkURL(a.pageURL(), token), Expires: link.Expires.UTC().Truncate(time.Millisecond)})
}

// pageURL is the base of the page's address: as configured, or as it is listened on.
func (a *App) pageURL() string {
	if u := a.cfg.Public.URL.Reveal(); u != "" {
		return u
	}
	return "http://" + a.PublicAddr()
}
