package main

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/cmd/internal/app"
	"github.com/hmsovereign/ringfence/cmd/internal/cli"
)

type webhookCmd struct {
	Set    webhookSetCmd    `cmd:"" help:"Say where an account, or one of its numbers, is told of its calls and its credit."`
	Show   webhookShowCmd   `cmd:"" help:"Show an account's webhooks and alerts."`
	Remove webhookRemoveCmd `cmd:"" help:"Remove a webhook."`
	Test   webhookTestCmd   `cmd:"" help:"Send a test message now."`
	List   webhookListCmd   `cmd:"" help:"List messages to customers, newest first."`
	Replay webhookReplayCmd `cmd:"" help:"Send messages again."`
}

// Help is shown by ringfence webhook --help.
func (*webhookCmd) Help() string {
	return `Customers are told of their calls and their credit by signed messages (webhooks). One that does not arrive is tried for a
day, and is then a dead letter, which can be replayed.

  ringfence webhook set acme --url https://example.com/webhook
  ringfence webhook test acme
  ringfence webhook list acme --dead
  ringfence webhook replay --account acme`
}

var webhookWords = cli.Words{
	Names: map[string]string{"account": "ID", "number": "--number", "url": "--url", "secret": "--secret", "id": "DELIVERY",
		"below": "--below-minutes", "email": "--email"},
	Lists: map[string]string{"account": listsAccounts},
}

// oneWebhook names a webhook.
type oneWebhook struct {
	ID     cli.ID `arg:"" name:"ID" help:"The account."`
	Number string `placeholder:"E164" help:"The webhook of one of its numbers (default: the account's own)."`
	remote
}

func (k *oneWebhook) request(method, path string, body any) request {
	return request{method: method, path: path, query: query("account", k.ID.String(), "number", k.Number), body: body, words: webhookWords}
}

type webhookSetCmd struct {
	URL    string `required:"" placeholder:"URL" help:"Where messages are posted; https, at a public address."`
	Secret string `placeholder:"TEXT" help:"What signs them (default: the one it has, or a new one)."`
	oneWebhook
}

// Run sets it.
func (k *webhookSetCmd) Run(c *console) error {
	body := map[string]string{"url": k.URL, "secret": k.Secret}
	return ask(c, &k.remote, k.request(http.MethodPut, "webhooks", body), func(w *app.WebhookView) layout {
		t := cli.NewTable("account", "number", "url", "secret")
		t.Row(w.Account, w.Number, w.URL, w.Secret)
		c.note("The customer checks X-Webhook-Signature with the secret: sha256= and the HMAC-SHA256 of timestamp.body in hexadecimal.")
		return t
	})
}

type webhookShowCmd struct {
	ID cli.ID `arg:"" name:"ID" help:"The account."`
	remote
}

// Run shows them.
func (k *webhookShowCmd) Run(c *console) error {
	q := request{method: http.MethodGet, path: "webhooks", query: query("account", k.ID.String()), words: webhookWords}
	return ask(c, &k.remote, q, func(l *app.WebhookList) layout {
		alerts := showAlerts(&l.Alerts)
		if len(l.Webhooks) == 0 {
			c.note("no webhook; make one with: ringfence webhook set ID --url URL")
			return alerts
		}
		t := cli.NewTable("number", "url", "changed")
		for _, w := range l.Webhooks {
			number := w.Number
			if w.NumberID == "" {
				number = "all others"
			}
			t.Row(number, w.URL, w.Updated)
		}
		return blocks{t, alerts}
	})
}

func showAlerts(a *app.AlertsView) layout {
	t := cli.NewTable("alert below", "e-mail", "told low", "told used up")
	below, email := "never", "no"
	if a.Below > 0 {
		below = a.Below.String() + " minutes"
	}
	if a.Email {
		email = "yes"
	}
	t.Row(below, email, a.LowAt, a.Exhausted)
	return t
}

type webhookRemoveCmd struct {
	oneWebhook
}

// Run removes it.
func (k *webhookRemoveCmd) Run(c *console) error {
	return ask(c, &k.remote, k.request(http.MethodDelete, "webhooks", nil), func(*struct{}) layout {
		c.note("removed; what waited for it is given up")
		return nil
	})
}

type webhookTestCmd struct {
	oneWebhook
}

// Run sends the message. It fails where that does not arrive.
func (k *webhookTestCmd) Run(c *console) error {
	arrived := true
	err := ask(c, &k.remote, k.request(http.MethodPost, "webhooks/test", nil), func(a *app.TestView) layout {
		if arrived = a.Delivered; arrived {
			c.note("delivered in %d ms", a.Millis)
		} else {
			c.note("not delivered: %s", a.Error)
		}
		return nil
	})
	if err == nil && !arrived {
		return errShown
	}
	return err
}

type webhookListCmd struct {
	ID    *cli.ID `arg:"" optional:"" name:"ID" help:"The account (default: all of them)."`
	State string  `enum:",pending,delivered,dead" default:"" placeholder:"STATE" help:"Only those pending, delivered or dead."`
	Dead  bool    `help:"Only dead letters."`
	Limit int     `default:"100" placeholder:"N" help:"How many."`
	remote
}

// Run lists them.
func (k *webhookListCmd) Run(c *console) error {
	account, state := "", k.State
	if k.ID != nil {
		account = k.ID.String()
	}
	if k.Dead {
		state = "dead"
	}
	q := request{method: http.MethodGet, path: "deliveries", query: query("account", account, "state", state, "limit", strconv.Itoa(k.Limit)), words: webhookWords}
	return ask(c, &k.remote, q, func(l *app.DeliveryList) layout {
		if len(l.Deliveries) == 0 {
			c.note("no messages")
			return nil
		}
		t := cli.NewTable("delivery", "account", "event", "state", "tries", "made", "due or done", "endpoint", "error")
		for _, d := range l.Deliveries {
			at := d.Done
			if at.IsZero() {
				at = d.Due
			}
			t.Row(d.ID, d.Account, d.Event, d.State, d.Attempts, d.Created, at, d.Endpoint, d.Error)
		}
		if n := l.Total - int64(len(l.Deliveries)); n > 0 {
			c.note("and %d older", n)
		}
		return t
	})
}

type webhookReplayCmd struct {
	Delivery *cli.ID `arg:"" optional:"" name:"DELIVERY" xor:"what" help:"A message, as ringfence webhook list shows it."`
	Account  *cli.ID `xor:"what" placeholder:"ID" help:"All dead letters of an account."`
	remote
}

// Run queues them again.
func (k *webhookReplayCmd) Run(c *console) error {
	q := request{method: http.MethodPost, path: "deliveries/replay", words: webhookWords}
	switch {
	case k.Delivery != nil:
		q.path = cli.Path("deliveries", k.Delivery.String(), "replay")
	case k.Account != nil:
		q.query = query("account", k.Account.String())
	default:
		return errors.New("say what to replay: a DELIVERY, or --account ID")
	}
	return ask(c, &k.remote, q, func(a *struct {
		Replayed int64 `json:"replayed"`
	}) layout {
		c.note("%d queued again", a.Replayed)
		return nil
	})
}

type accountAlertCmd struct {
	ID    cli.ID       `arg:"" name:"ID" help:"The account."`
	Below *cli.Minutes `name:"below-minutes" placeholder:"MINUTES" help:"Tell the customer once the balance falls below this; 0: never."`
	Email *bool        `negatable:"" help:"By e-mail to the billing address too."`
	remote
}

// Help is shown by ringfence account alert --help.
func (*accountAlertCmd) Help() string {
	return `The customer is told once, through the account's webhook and by e-mail if asked for, and again after the next top-up. Only what
is given changes.

  ringfence account alert acme --below-minutes 100 --email`
}

// Run changes the alerts.
func (k *accountAlertCmd) Run(c *console) error {
	body := map[string]any{}
	if k.Below != nil {
		body["below_minutes"] = credit.Minutes(*k.Below)
	}
	put(body, "email", k.Email)
	q := request{method: http.MethodPut, path: "alerts", query: query("account", k.ID.String()), body: body, words: webhookWords}
	return ask(c, &k.remote, q, func(a *app.AlertsView) layout { return showAlerts(a) })
}
