package page

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// shopData is "Add credits".
type shopData struct {
	form
	Shop    bool // false: not available here
	Offer   Offer
	Quote   *ledger.Quote // nil: nothing is chosen yet
	Note    sentence      // of the quote
	Units   credit.Units
	TopUp   *topUpData
	Billing *ledger.Billing // nil: not available here
}

// Addressed tells whether the invoice will have an address of the customer's.
func (d *shopData) Addressed() bool {
	return d.Billing == nil || d.Billing.Line1 != "" && d.Billing.Country != ""
}

// TopsUp tells whether a card that is kept now is charged by a top-up that is on already.
func (d *shopData) TopsUp() bool { return d.TopUp != nil && d.TopUp.On }

type topUpData struct {
	form
	On      bool     // as it is set now, whatever was typed
	Trouble *trouble // nil: the last one worked
	Card    string   // empty: none is saved
}

// Settable tells whether the form can be of use: with a card to charge, to turn off what is on, or to say what is wrong.
func (d *topUpData) Settable() bool { return d.Card != "" || d.On || d.Bad() }

// trouble is what is wrong with the top-up, and how it goes on.
type trouble struct {
	Problem sentence  // nil: nothing, but the next one waits
	PayURL  string    // where the customer can pay what failed; empty: nowhere
	Next    time.Time // attempt; zero: at once, or none
}

func (p *Page) trouble(v *visit, t *ledger.TopUp) *trouble {
	x := trouble{Problem: v.lang.say(t.Problem), PayURL: t.PayURL}
	if t.Enabled && t.NotBefore.After(p.cfg.Now()) {
		x.Next = t.NotBefore.In(location(v.account))
	}
	if x.Problem == nil && x.Next.IsZero() {
		return nil
	}
	return &x
}

// typedUnits names an amount of credit as forms hold it.
func typedUnits(u credit.Units) string { return u.Credits() }

// allowPayment lets the page's forms lead to the payment page: browsers hold
// what a form is redirected to against form-action too.
func (v *visit) allowPayment() {
	v.w.Header().Set("Content-Security-Policy", strings.Join(append([]string{v.page.policy + "; form-action 'self'"}, v.page.cfg.FormAction...), " "))
}

// showShop lets choose, and shows what the choice costs: choosing is a GET, so
// that it can be reloaded, and changes nothing.
func (p *Page) showShop(v *visit) error {
	v.allowPayment()
	d := &shopData{form: form{Values: map[string]string{"package": "", "credits": ""}}}
	q := v.r.URL.Query()
	for name := range d.Values {
		d.Values[name] = strings.TrimSpace(q.Get(name))
	}
	if err := p.fillShop(v, d); err != nil {
		return err
	}
	if d.Shop && (q.Has("package") || q.Has("credits")) {
		if err := p.quote(v, d); err != nil {
			return err
		}
	}
	if q.Get("part") == "quote" {
		return v.fragment(status(&d.form), "add-credits", "quote", d)
	}
	return v.render(status(&d.form), "add-credits", "add-credits", d)
}

// status is that of a page with a form.
func status(f *form) int {
	if f.Bad() {
		return http.StatusUnprocessableEntity
	}
	return http.StatusOK
}

// fillShop adds what does not depend on the choice.
func (p *Page) fillShop(v *visit, d *shopData) (err error) {
	d.Shop = p.cfg.Shop != nil
	if d.Shop {
		if d.Offer, err = p.cfg.Shop.Offer(v.ctx, v.account.ID); err != nil {
			return err
		}
	}
	if p.cfg.Details != nil {
		b, err := p.cfg.Details.Billing(v.ctx, v.account.ID)
		if err != nil {
			return err
		}
		b.Company = cmp.Or(b.Company, v.account.Company)
		d.Billing = &b
	}
	if d.TopUp == nil && p.cfg.TopUps != nil {
		t, err := p.cfg.TopUps.TopUp(v.ctx, v.account.ID)
		if err != nil {
			return err
		}
		d.TopUp = &topUpData{On: t.Enabled, Trouble: p.trouble(v, &t), form: form{Values: map[string]string{"enabled": "", "below": "", "credits": "", "max_per_day": "1", "consent": ""}}}
		if t.Enabled {
			d.TopUp.Values["enabled"], d.TopUp.Values["consent"] = "on", "on" // without it, it would be off
		}
		if t.Units > 0 {
			d.TopUp.Values["below"], d.TopUp.Values["credits"] = v.lang.exact(t.Below), v.lang.exact(t.Units)
		}
		if t.MaxPerDay > 0 {
			d.TopUp.Values["max_per_day"] = strconv.FormatInt(t.MaxPerDay, 10)
		}
	}
	if d.TopUp != nil && d.Billing != nil && d.Billing.Card != "" {
		d.TopUp.Card = cmp.Or(cardName(d.Billing.CardName), v.lang.text("top_up.some_card"))
	}
	return nil
}

// brands are the names of card networks, by Stripe's words for them (docs.stripe.com/api/payment_methods/object, card.brand).
var brands = map[string]string{"amex": "American Express", "cartes_bancaires": "Cartes Bancaires", "diners": "Diners Club", "discover": "Discover",
	"eftpos_au": "eftpos", "jcb": "JCB", "link": "Link", "mastercard": "Mastercard", "unionpay": "UnionPay", "visa": "Visa", "unknown": ""}

// cardName writes a card as it is written on receipts: Visa •••• 4242 for "visa 4242". Empty: the name tells nothing.
func cardName(name string) string {
	brand, last, numbered := strings.Cut(name, " ")
	if known, ok := brands[brand]; ok {
		brand = known
	}
	switch {
	case !numbered && name == "card": // some other means of payment
		return ""
	case !numbered || len(last) != 4 || !digits(last):
		return name
	}
	return strings.TrimLeft(brand+" ••••\u00a0"+last, " ")
}

// chosen reads what was chosen: a package, or an amount where that is "other".
// What is wrong is noted in the form; ok is false then.
func (p *Page) chosen(v *visit, d *shopData) (u credit.Units, ok bool) {
	choice := d.Values["package"]
	if free := choice == "" || choice == "other"; !free {
		u, err := credit.ParseCredits(choice)
		if ok = err == nil && slices.Contains(d.Offer.Packages, u); !ok {
			d.wrong("package", v.lang.text("shop.no_package"))
		}
		return u, ok
	}
	if d.Values["credits"] == "" {
		d.wrong("credits", v.lang.text("shop.choose"))
		return 0, false
	}
	return v.amount(&d.form, "credits", 0, d.Offer)
}

// shopFields are the names under which the shop speaks of the amount.
var shopFields = map[string]string{"amount_minutes": "credits", "amount_eur": "credits"}

// quote adds what the choice costs.
func (p *Page) quote(v *visit, d *shopData) error {
	u, ok := p.chosen(v, d)
	if !ok {
		return nil
	}
	q, err := p.cfg.Shop.Quote(v.ctx, v.account.ID, u)
	if err != nil {
		return v.take(&d.form, err, shopFields)
	}
	d.Quote, d.Note, d.Units = &q, v.lang.say(q.Note), u
	return nil
}

// buy begins a purchase, and sends the browser to the payment page. The price is
// the one shown: where it has changed since, it is shown anew instead.
func (p *Page) buy(v *visit) error {
	if p.cfg.Shop == nil {
		return errMissing
	}
	v.allowPayment()
	d := &shopData{form: v.typed("package", "credits", "total", "save_card")}
	if err := p.fillShop(v, d); err != nil {
		return err
	}
	if err := p.quote(v, d); err != nil {
		return err
	}
	if d.Quote != nil && d.Values["total"] != strconv.FormatInt(d.Quote.Total, 10)+" "+d.Quote.Currency {
		d.wrong("total", v.lang.text("shop.changed"))
	}
	if d.Bad() || d.Quote == nil {
		return v.render(http.StatusUnprocessableEntity, "add-credits", "add-credits", d)
	}
	base := p.base(v.r)
	back := url.Values{"credits": {d.Values["credits"]}, "package": {d.Values["package"]}, "done": {notPaid}}
	to, err := p.cfg.Shop.Checkout(v.ctx, Order{Account: v.account.ID, Units: d.Units, SaveCard: d.Values["save_card"] != "",
		SuccessURL: base + Path + "/paid", CancelURL: base + Path + "/add-credits?" + back.Encode()})
	if err != nil {
		if err = v.take(&d.form, err, shopFields); err != nil {
			return err
		}
		return v.render(http.StatusUnprocessableEntity, "add-credits", "add-credits", d)
	}
	if !p.payable(to) {
		p.cfg.Log.Error("the payment page is on a site that browsers are not sent to: name it in stripe.checkout_origin", logAccount, v.account.ID)
		return errInternal
	}
	return v.redirect(to)
}

// payable tells whether an address is the payment page's.
func (p *Page) payable(to string) bool {
	u, err := url.Parse(to)
	return err == nil && u.User == nil && slices.Contains(p.cfg.FormAction, u.Scheme+"://"+u.Host)
}

// paidData is what the browser comes back to.
type paidData struct {
	Purchase *ledger.Purchase // nil: there is none
	Now      holdings
	Grants   int64 // how many there are in the ledger
}

// Waiting tells whether the money, or the credit that it has bought, is still to
// come: the balance store has a grant a moment after the ledger.
func (d *paidData) Waiting() bool {
	if d.Purchase == nil {
		return false
	}
	return d.Purchase.State == ledger.PurchaseOpen || d.Purchase.State == ledger.PurchasePaid && d.Now.Known && d.Now.Granted < d.Grants
}

func (p *Page) paid(v *visit) error {
	if p.cfg.Shop == nil {
		return errMissing
	}
	d := &paidData{}
	last, err := p.cfg.Shop.LastPurchase(v.ctx, v.account.ID)
	switch {
	case err == nil:
		d.Purchase = &last
	case !errors.Is(err, ledger.ErrNotFound):
		return err
	}
	if d.Purchase != nil && d.Purchase.State == ledger.PurchasePaid {
		t, err := p.cfg.Book.Totals(v.ctx, v.account.ID)
		if err != nil {
			return err
		}
		d.Grants = t.Grants
	}
	if d.Now, err = p.hold(v.ctx, v.account); err != nil {
		return err
	}
	if v.r.URL.Query().Has("part") {
		return v.fragment(http.StatusOK, "paid", "outcome", d)
	}
	return v.render(http.StatusOK, "paid", "add-credits", d)
}

// topUpFields are the names under which the shop speaks of a top-up's fields.
var topUpFields = map[string]string{"amount_minutes": "credits", "amount_eur": "credits", "threshold_minutes": "below", "card": "enabled"}

// mostTopUps bounds how many top-ups a day can be asked for.
const mostTopUps = 24

func (p *Page) setTopUp(v *visit) error {
	if p.cfg.TopUps == nil {
		return errMissing
	}
	t, err := p.cfg.TopUps.TopUp(v.ctx, v.account.ID)
	if err != nil {
		return err
	}
	v.allowPayment()
	x := &topUpData{On: t.Enabled, Trouble: p.trouble(v, &t), form: v.typed("enabled", "below", "credits", "max_per_day", "consent")}
	d := &shopData{form: form{Values: map[string]string{"package": "", "credits": ""}}, TopUp: x}
	if err := p.fillShop(v, d); err != nil {
		return err
	}
	t.Account, t.Enabled = v.account.ID, x.Values["enabled"] != ""
	if t.Enabled {
		t.Below, _ = v.amount(&x.form, "below", t.Below, Offer{})
		t.Units, _ = v.amount(&x.form, "credits", t.Units, d.Offer)
		n, err := strconv.ParseInt(x.Values["max_per_day"], 10, 64)
		if err != nil || n < 1 || n > mostTopUps {
			x.wrong("max_per_day", v.lang.text("top_up.max_per_day", "most", mostTopUps))
		}
		t.MaxPerDay = n
		if x.Values["consent"] == "" {
			x.wrong("consent", v.lang.text("top_up.no_consent"))
		}
		if x.Card == "" {
			x.wrong("enabled", v.lang.text("top_up.no_card"))
		}
	}
	if !x.Bad() {
		if err := v.take(&x.form, p.cfg.TopUps.SetTopUp(v.ctx, t), topUpFields); err != nil {
			return err
		}
	}
	if x.Bad() {
		return v.render(http.StatusUnprocessableEntity, "add-credits", "add-credits", d)
	}
	if t.Enabled {
		return v.redirect(Path + "/add-credits?done=top-up#top-up")
	}
	return v.redirect(Path + "/add-credits?done=top-up-off#top-up")
}

// removeCardPath is what a suspended account may use, too.
const removeCardPath = Path + "/card/remove"

// removeCard takes back that the saved card may be charged.
func (p *Page) removeCard(v *visit) error {
	if p.cfg.TopUps == nil {
		return errMissing
	}
	if err := p.cfg.TopUps.ForgetCard(v.ctx, v.account.ID); err != nil {
		return err
	}
	return v.redirect(Path + "/add-credits?done=card-removed#top-up")
}
