package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/hmsovereign/ringfence/cmd/internal/cli"
	"github.com/hmsovereign/ringfence/sync/stripe"
)

type stripeCmd struct {
	Status stripeStatusCmd `cmd:"" help:"Show purchases and events, and what somebody has to look at."`
	Resync stripeResyncCmd `cmd:"" help:"Read Stripe's list of events for what no webhook brought."`
	Replay stripeReplayCmd `cmd:"" help:"Work an event again, its cause removed."`
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
		c.note("purchases: %d open, %d paid, %d failed or expired", st.Purchases.Open, st.Purchases.Paid, st.Purchases.Abandoned)
		c.note("events: %d waiting, %d aside, %d done; API version %s, tax mode %s", st.Events.Waiting, st.Events.Aside, st.Events.Done, st.APIVersion, st.TaxMode)
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
		if rows == 0 {
			return nil
		}
		return t
	})
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
