package page

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

type noticesData struct {
	Alerts  *alertsForm  // nil: not available here
	Webhook *webhookForm // nil: not available here
}

type alertsForm struct{ form }

type webhookForm struct {
	form
	Now     ledger.Webhook
	Problem sentence // why a test did not arrive
}

// fillNotices adds what is set now, where no form brought something else.
func (p *Page) fillNotices(v *visit, d *noticesData) error {
	if d.Alerts == nil && p.cfg.Alerting != nil {
		a, err := p.cfg.Alerting.Alerts(v.ctx, v.account.ID)
		if err != nil {
			return err
		}
		d.Alerts = &alertsForm{form{Values: map[string]string{"below": "", "email": ""}}}
		if a.Below > 0 {
			d.Alerts.Values["below"] = v.lang.exact(a.Below)
		}
		if a.Email {
			d.Alerts.Values["email"] = "on"
		}
	}
	if p.cfg.Webhooks == nil {
		return nil
	}
	now, err := p.cfg.Webhooks.Webhook(v.ctx, v.account.ID)
	if err != nil {
		return err
	}
	if d.Webhook == nil {
		d.Webhook = &webhookForm{form: form{Values: map[string]string{"url": now.URL, "secret": ""}}}
	}
	d.Webhook.Now = now
	return nil
}

func (p *Page) showNotices(v *visit) error {
	d := &noticesData{}
	if err := p.fillNotices(v, d); err != nil {
		return err
	}
	return v.render(http.StatusOK, "notices", "notices", d)
}

func (p *Page) setAlerts(v *visit) error {
	if p.cfg.Alerting == nil {
		return errMissing
	}
	d := &noticesData{Alerts: &alertsForm{v.typed("below", "email")}}
	f := &d.Alerts.form
	a := ledger.Alerts{Account: v.account.ID, Email: f.Values["email"] != ""}
	if f.Values["below"] != "" && f.Values["below"] != "0" {
		now, err := p.cfg.Alerting.Alerts(v.ctx, v.account.ID)
		if err != nil {
			return err
		}
		a.Below, _ = v.amount(f, "below", now.Below, Offer{})
	}
	if !f.Bad() {
		if err := v.take(f, p.cfg.Alerting.SetAlerts(v.ctx, a), map[string]string{"below_minutes": "below", "threshold": "below"}); err != nil {
			return err
		}
	}
	if f.Bad() {
		if err := p.fillNotices(v, d); err != nil {
			return err
		}
		return v.render(http.StatusUnprocessableEntity, "notices", "notices", d)
	}
	return v.redirect(Path + "/notices?done=alerts")
}

const (
	longestURL    = 2000
	shortestKey   = 16
	longestKey    = 200
	secretCharset = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~+/="
)

func (p *Page) setWebhook(v *visit) error {
	if p.cfg.Webhooks == nil {
		return errMissing
	}
	d := &noticesData{Webhook: &webhookForm{form: v.typed("url", "secret")}}
	f := &d.Webhook.form
	hook := ledger.Webhook{Account: v.account.ID, URL: f.Values["url"], Secret: f.Values["secret"]}
	if hook.URL != "" {
		u, err := url.Parse(hook.URL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || len(hook.URL) > longestURL || !utf8.ValidString(hook.URL) {
			f.wrong("url", v.lang.text("webhook.bad_url"))
		}
		if n := len(hook.Secret); n > 0 && (n < shortestKey || n > longestKey || strings.Trim(hook.Secret, secretCharset) != "") {
			f.wrong("secret", v.lang.text("webhook.bad_secret", "least", shortestKey, "most", longestKey))
		}
	}
	if !f.Bad() {
		if err := v.take(f, p.cfg.Webhooks.SetWebhook(v.ctx, hook), nil); err != nil {
			return err
		}
	}
	if f.Bad() {
		if err := p.fillNotices(v, d); err != nil {
			return err
		}
		return v.render(http.StatusUnprocessableEntity, "notices", "notices", d)
	}
	if hook.URL == "" {
		return v.redirect(Path + "/notices?done=webhook-off")
	}
	return v.redirect(Path + "/notices?done=webhook")
}

func (p *Page) testWebhook(v *visit) error {
	if p.cfg.Webhooks == nil {
		return errMissing
	}
	// A test of a server that hangs takes its whole time, and what is shown then needs some of its own.
	_ = http.NewResponseController(v.w).SetWriteDeadline(time.Now().Add(p.cfg.TestTimeout + 2*p.cfg.Timeout))
	test, cancel := context.WithTimeout(v.r.Context(), p.cfg.TestTimeout)
	defer cancel()
	err := p.cfg.Webhooks.TestWebhook(test, v.account.ID)
	if err == nil {
		return v.redirect(Path + "/notices?done=sent")
	}
	if errors.Is(err, ledger.ErrUnavailable) {
		return err
	}
	v.ctx, cancel = context.WithTimeout(v.r.Context(), p.cfg.Timeout)
	defer cancel()
	d := &noticesData{}
	if err := p.fillNotices(v, d); err != nil {
		return err
	}
	text := err.Error()
	if found := fieldErrors(err); len(found) > 0 { // a URL that would not be taken today
		text = found[0].Message
	}
	d.Webhook.Problem = v.lang.say(text)
	return v.render(http.StatusUnprocessableEntity, "notices", "notices", d)
}
