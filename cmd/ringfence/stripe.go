package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/hmsovereign/ringfence/cmd/internal/cli"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe"
)

type stripeCmd struct {
	Status stripeStatusCmd `cmd:"" help:"Show purchases, events and usage, and what somebody has to look at."`
	Resync stripeResyncCmd `cmd:"" help:"Read Stripe's list of events for what no webhook brought."`
	Replay stripeReplayCmd `cmd:"" help:"Work an event again, its cause removed."`
	Usage  stripeUsageCmd  `cmd:"" help:"Show what usage waits to be reported, or how far an account's is; turn that on or off."`
	Meter  stripeMeterCmd  `cmd:"" help:"The billing meter at Stripe that talk time is reported to."`
}

// Help is shown by ringfence stripe --help.
func (*stripeCmd) Help() string {
	return `Credit is bought through Stripe, which tells of payments by events. An event that nothing can be made of (an unknown account or
purchase, another amount or currency) is kept aside and credits nothing.`
}

type stripeStatusCmd struct {
	remote
}

// Run shows it.
func (k *stripeStatusCmd) Run(c *console) error {
	return ask(c, &k.remote, request{method: http.MethodGet, path: "stripe/status"}, func(st *stripe.Status) layout {
		if !st.Configured {
			c.note("no stripe.key is configured, so nothing is sold")
		}
		f := &cli.Fields{}
		f.Add("purchases", fmt.Sprintf("%d open, %d paid, %d failed or expired", st.Purchases.Open, st.Purchases.Paid, st.Purchases.Abandoned))
		f.Add("events", fmt.Sprintf("%d waiting, %d aside, %d done", st.Events.Waiting, st.Events.Aside, st.Events.Done))
		if st.Configured {
			f.Add("webhooks", webhooksSeen(st))
		}
		f.Add("usage", usageWaits(st))
		f.Add("API version", st.APIVersion)
		f.Add("tax mode", st.TaxMode)
		t := cli.NewTable("what", "id", "about", "state", "problem")
		rows := 0
		for _, e := range append(st.Aside, st.Failing...) {
			t.Row(e.Type, e.ID, e.Object, e.State, e.Problem)
			rows++
		}
		for _, p := range st.Suspicion {
			t.Row(p.Kind, p.ID, p.Account, p.State, p.Problem)
			rows++
		}
		for _, d := range st.Details {
			t.Row("billing details", "", d.Account, "failing", d.Problem)
			rows++
		}
		for _, u := range st.TopUps {
			state, problem := "off", u.Problem
			if u.Enabled {
				state = "on"
			}
			if !u.Next.IsZero() {
				problem += " Next attempt at " + u.Next.UTC().Format(time.RFC3339) + "."
			}
			t.Row("top-up", "", u.Account, state, problem)
			rows++
		}
		for _, b := range st.Usage.Wrong {
			t.Row("usage", b.ID, b.Account, b.State, b.Problem)
			rows++
		}
		if rows == 0 {
			return f
		}
		return blocks{f, t}
	})
}

// usageWaits says how much usage waits to be sent or proven.
func usageWaits(st *stripe.Status) string {
	var batches, seconds int64
	var oldest time.Time
	for _, q := range st.Usage.Waiting {
		batches, seconds = batches+q.Batches, seconds+q.Seconds
		if oldest.IsZero() || q.Oldest.Before(oldest) {
			oldest = q.Oldest
		}
	}
	if batches == 0 {
		return "no batch waits"
	}
	return fmt.Sprintf("%d seconds in %d batches wait to be reported, the oldest of %s", seconds, batches, oldest.UTC().Format(time.RFC3339))
}

// webhooksSeen says when webhooks came, and what that says of the secret.
func webhooksSeen(st *stripe.Status) string {
	signed, refused := st.Webhooks.Signed, st.Webhooks.Refused
	text := "none has come yet"
	switch {
	case !st.Webhook:
		return "refused, since stripe.webhook_secret is not set; payments are noticed by polling"
	case !signed.IsZero():
		text = "the last signed one came about " + signed.UTC().Format(time.RFC3339)
	}
	if !refused.IsZero() {
		text += ", the last that was signed with another secret about " + refused.UTC().Format(time.RFC3339)
	}
	if signed.IsZero() && !refused.IsZero() {
		text += ": unless a stranger sent that, stripe.webhook_secret is not the endpoint's"
	}
	return text
}

type stripeResyncCmd struct {
	Hours int `default:"720" help:"How far back, in hours; Stripe lists 30 days."`
	remote
}

// Run reads the list.
func (k *stripeResyncCmd) Run(c *console) error {
	path := "stripe/resync?" + query("hours", fmt.Sprint(k.Hours)).Encode()
	return ask(c, &k.remote, request{method: http.MethodPost, path: path}, func(a *struct {
		New int `json:"new_events"`
	}) layout {
		c.note("%d events were not known and are worked now", a.New)
		return nil
	})
}

type stripeReplayCmd struct {
	Event string `arg:"" help:"The event's id (evt_...), as ringfence stripe status shows it."`
	remote
}

// Run has it worked again.
func (k *stripeReplayCmd) Run(c *console) error {
	return ask(c, &k.remote, request{method: http.MethodPost, path: "stripe/events/" + url.PathEscape(k.Event) + "/replay"}, func(a *struct {
		Outcome string `json:"outcome"`
	}) layout {
		c.note("%s", a.Outcome)
		return nil
	})
}

type stripeMeterCmd struct {
	Create stripeMeterCreateCmd `cmd:"" help:"Make it, where there is none."`
}

type stripeMeterCreateCmd struct {
	remote
}

// Help is shown by ringfence stripe meter create --help.
func (*stripeMeterCreateCmd) Help() string {
	return `Talk time is reported as events of a meter that sums them up. It is for information: give the meter no price, or customers
pay twice; ringfence check looks at that.`
}

// Run makes it.
func (k *stripeMeterCreateCmd) Run(c *console) error {
	return ask(c, &k.remote, request{method: http.MethodPost, path: "stripe/meter"}, func(a *struct {
		Event string `json:"event"`
	}) layout {
		c.note("there is a meter for events named %s", a.Event)
		return nil
	})
}

type stripeUsageCmd struct {
	Account string `arg:"" optional:"" help:"Account. None: show what waits."`
	Report  string `enum:"on,off," default:"" placeholder:"on|off" help:"Report the usage of calls that end from now on, or stop. That of calls that end while it is off is never reported."`
	remote
}

// Help is shown by ringfence stripe usage --help.
func (*stripeUsageCmd) Help() string {
	return `Of an account, in seconds: what it has talked (settled), what of it is in batches for Stripe (reported), what of those Stripe has
been seen to have counted (proven), what later records took back, by which the next batches are smaller (owed), what ended while
reporting was off, and what is in no batch yet: that of an hour is some minutes after it. Then the batches that are not proven,
and why.

  ringfence stripe usage
  ringfence stripe usage acme
  ringfence stripe usage acme --report off`
}

// Run shows or sets it.
func (k *stripeUsageCmd) Run(c *console) error {
	if k.Account == "" {
		if k.Report != "" {
			return errors.New("--report is set for one account: ringfence stripe usage ACCOUNT --report " + k.Report)
		}
		return ask(c, &k.remote, request{method: http.MethodGet, path: "stripe/usage"}, func(a *struct {
			Reporting bool                `json:"reporting"`
			Waiting   []ledger.UsageQueue `json:"waiting"`
		}) layout {
			if !a.Reporting {
				c.note("usage is not reported: stripe.key and stripe.usage.report turn it on")
			}
			if len(a.Waiting) == 0 {
				c.note("no batch waits; an hour's are made some minutes after it")
				return nil
			}
			t := cli.NewTable("state", "batches", "seconds", "oldest hour")
			for _, q := range a.Waiting {
				t.Row(string(q.State), fmt.Sprint(q.Batches), fmt.Sprint(q.Seconds), q.Oldest.UTC().Format(time.RFC3339))
			}
			return t
		})
	}
	q := request{method: http.MethodGet, path: "accounts/" + url.PathEscape(k.Account) + "/usage-reporting"}
	if k.Report != "" {
		q.method, q.path = http.MethodPost, q.path+"/"+k.Report
	}
	return ask(c, &k.remote, q, func(a *struct {
		Report, Reporting bool
		Totals            ledger.UsageTotals `json:"totals"`
		Problems          []stripe.UsageLine `json:"problems"`
	}) layout {
		f := &cli.Fields{}
		f.Add("account", k.Account)
		switch {
		case !a.Report:
			f.Add("reporting", "off")
		case a.Reporting:
			f.Add("reporting", "on")
		default:
			f.Add("reporting", "on, once stripe.key and stripe.usage.report are set")
		}
		n := a.Totals
		for _, line := range []struct {
			name    string
			seconds int64
		}{{"settled", n.Settled}, {"reported", n.Reported}, {"proven", n.Proven}, {"owed", n.Owed}, {"not to be reported", n.Unreported},
			{"yet to be reported", n.Settled - n.Unreported - n.Reported + n.Owed}} {
			f.Add(line.name, fmt.Sprintf("%d s", line.seconds))
		}
		if len(a.Problems) == 0 {
			return f
		}
		t := cli.NewTable("hour", "seconds", "state", "attempts", "problem")
		for _, b := range a.Problems {
			t.Row(b.Hour, b.Seconds, b.State, b.Attempts, b.Problem)
		}
		return blocks{f, t}
	})
}
