package stripefake

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
)

//go:embed html/*.html
var html embed.FS

type pages struct{ templates *template.Template }

func readPages() (*pages, error) {
	templates, err := template.ParseFS(html, "html/*.html")
	if err != nil {
		return nil, fmt.Errorf("stripefake: read pages: %w", err)
	}
	return &pages{templates}, nil
}

// view is what the pages show.
type view struct {
	Title, Seller, Buyer, Problem, Text string
	Lines                               []viewLine
	Net, TaxName, Tax, Total            string
	Card                                string
	Cards                               []viewCard
	Ask, CanCancel, CanPay              bool
	Consent                             string
	Number, Status, PDF                 string
}

type viewLine struct{ Text, Amount string }

type viewCard struct{ Number, Text string }

// offered are the cards that a page offers.
var offered = []viewCard{
	{CardVisa, "Visa, pays"},
	{CardMastercard, "Mastercard, pays"},
	{CardAmex, "American Express, pays"},
	{CardDiscover, "Discover"},
	{CardDeclined, "is declined"},
	{CardNoFunds, "has no funds"},
	{CardAuthenticates, "asks for authentication"},
	{CardAlwaysAsks, "asks for authentication each time"},
	{CardFailsLater, "pays now, is declined later"},
}

func (f *Fake) render(w http.ResponseWriter, status int, name string, v view) {
	var page bytes.Buffer
	if err := f.pages.templates.ExecuteTemplate(&page, name, v); err != nil {
		f.log.Error("stripefake: page", "page", name, "error", err)
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if _, err := w.Write(page.Bytes()); err != nil {
		f.log.Debug("stripefake: page", "page", name, "error", err)
	}
}

func (f *Fake) message(w http.ResponseWriter, status int, title, text string) {
	f.render(w, status, "message", view{Title: title, Text: text})
}

func money(amount int64, currency string) string {
	sign := ""
	if amount < 0 {
		sign, amount = "-", -amount
	}
	return fmt.Sprintf("%s%s %d.%02d", sign, strings.ToUpper(currency), amount/100, amount%100)
}

// sums fills in what a cart costs.
func (v *view) sums(f *Fake, c *cart) {
	for _, l := range c.lines {
		text := l.text
		if l.quantity > 1 {
			text = fmt.Sprintf("%d x %s", l.quantity, text)
		}
		v.Lines = append(v.Lines, viewLine{text, money(l.amount, c.currency)})
	}
	_, taxed, total := c.sums()
	v.Net, v.Tax, v.Total = money(total-taxed, c.currency), money(taxed, c.currency), money(total, c.currency)
	v.TaxName = "VAT"
	for _, l := range c.lines {
		for _, t := range l.taxes {
			if rate := f.objects[t.rate]; rate != nil && t.reason == "standard_rated" {
				v.TaxName = "VAT " + toText(rate["percentage"]) + "%"
			} else if t.reason == "reverse_charge" {
				v.TaxName = "VAT, reverse charge"
			}
		}
	}
}

// sessionView describes a session's page.
func (f *Fake) sessionView(session object, problem string, ask bool, card string) view {
	v := view{
		Title: "Pay " + f.cfg.Name, Seller: f.cfg.Name, Problem: problem, Ask: ask, Card: card, Cards: offered,
		CanCancel: session.str("cancel_url") != "",
	}
	if f.orders[session.id()].save != "" {
		v.Consent = "By paying you allow " + f.cfg.Name + " to charge this card later."
	}
	v.sums(f, f.carts[session.id()])
	return v
}

func (f *Fake) showSession(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	session, order, err := f.openSession(r.PathValue("id"))
	if err != nil {
		f.mu.Unlock()
		f.message(w, http.StatusNotFound, "Nothing to pay here", "This page has expired, or the payment was made already.")
		return
	}
	if order.place.auto && order.place.country == "" {
		f.locate(session, order, Payment{})
	}
	v := f.sessionView(session, "", false, CardVisa)
	f.mu.Unlock()
	f.render(w, http.StatusOK, "session", v)
}

// workSession does what a button of a session's page says.
func (f *Fake) workSession(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	id, action := r.PathValue("id"), r.PostFormValue("action")
	payment := Payment{Card: r.PostFormValue("card"), Proven: action == "authenticate"}
	f.mu.Lock()
	session, _, err := f.openSession(id)
	if err != nil {
		f.mu.Unlock()
		f.message(w, http.StatusConflict, "Nothing to pay here", "This page has expired, or the payment was made already.")
		return
	}
	target, v := "", view{}
	switch action {
	case "cancel":
		target = session.str("cancel_url")
		v = f.sessionView(session, "There is nowhere to go back to.", false, CardVisa)
	case "pay", "authenticate":
		target, v = f.payOnPage(session, payment)
	default:
		v = f.sessionView(session, "We are unable to authenticate your payment method. Please choose a different one and try again.", false, CardVisa)
	}
	f.mu.Unlock()
	if target == "" {
		f.render(w, http.StatusOK, "session", v)
		return
	}
	http.Redirect(w, r, target, http.StatusSeeOther)
}

// payOnPage pays a session; it returns where the customer is sent, or the page that says why not.
func (f *Fake) payOnPage(session object, p Payment) (string, view) {
	if kind, ok := cardNumbers[p.Card]; ok && kind.on == NeedsCustomer && !p.Proven {
		return "", f.sessionView(session, "", true, p.Card)
	}
	err := f.payNow(session.id(), p)
	var refusal *Error
	switch {
	case errors.As(err, &refusal):
		return "", f.sessionView(session, refusal.Message, false, p.Card)
	case err != nil:
		return "", f.sessionView(session, err.Error(), false, p.Card)
	}
	return strings.ReplaceAll(session.str("success_url"), "{CHECKOUT_SESSION_ID}", session.id()), view{}
}

// hosted finds an invoice by its unguessable link; with the lock held.
func (f *Fake) hosted(r *http.Request) object {
	invoice := f.objects[r.PathValue("id")]
	link := f.cfg.URL + "/i/" + r.PathValue("id") + "/" + r.PathValue("secret")
	if invoice == nil || invoice.str("hosted_invoice_url") != link {
		return nil
	}
	return invoice
}

func (f *Fake) invoiceView(invoice object, problem string, ask bool, card string) view {
	v := view{
		Title: "Invoice " + invoice.str("number"), Seller: f.cfg.Name, Buyer: invoice.str("customer_name"), Problem: problem,
		Number: invoice.str("number"), Status: invoice.str("status"), PDF: invoice.str("invoice_pdf"),
		CanPay: invoice.str("status") == "open", Cards: offered, Ask: ask, Card: card,
	}
	v.sums(f, f.drafts[invoice.id()])
	return v
}

func (f *Fake) showInvoice(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	invoice := f.hosted(r)
	var v view
	if invoice != nil {
		v = f.invoiceView(invoice, "", false, CardVisa)
	}
	f.mu.Unlock()
	if invoice == nil {
		f.message(w, http.StatusNotFound, "No such invoice", "The link is wrong, or the invoice was deleted.")
		return
	}
	f.render(w, http.StatusOK, "invoice", v)
}

func (f *Fake) workInvoice(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	action, number := r.PostFormValue("action"), r.PostFormValue("card")
	f.mu.Lock()
	invoice := f.hosted(r)
	if invoice == nil {
		f.mu.Unlock()
		f.message(w, http.StatusNotFound, "No such invoice", "The link is wrong, or the invoice was deleted.")
		return
	}
	problem, ask := "", false
	switch kind := cardNumbers[number]; {
	case action == "refuse":
		problem = "We are unable to authenticate your payment method. Please choose a different one and try again."
	case action == "pay" && kind.on == NeedsCustomer:
		ask = true
	default:
		if err := f.payHosted(invoice.id(), Payment{Card: number, Proven: action == "authenticate"}); err != nil {
			problem = err.Message
		}
	}
	v := f.invoiceView(invoice, problem, ask, number)
	f.mu.Unlock()
	f.render(w, http.StatusOK, "invoice", v)
}

func (f *Fake) showReceipt(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	charge, err := f.find("charge", r.PathValue("id"), "charge")
	f.mu.Unlock()
	if err != nil {
		f.message(w, http.StatusNotFound, "No such receipt", "The link is wrong.")
		return
	}
	f.message(w, http.StatusOK, "Receipt", money(charge.num("amount"), charge.str("currency"))+" was paid.")
}
