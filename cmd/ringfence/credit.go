package main

import (
	"fmt"
	"net/http"

	"github.com/hmsovereign/ringfence/cmd/internal/app"
	"github.com/hmsovereign/ringfence/cmd/internal/cli"
	"github.com/hmsovereign/ringfence/sync/portal"
)

type creditCmd struct {
	Add    creditAddCmd    `cmd:"" help:"Give credit to an account, or take some."`
	Refund creditRefundCmd `cmd:"" help:"Give back what a call cost."`
	Show   creditShowCmd   `cmd:"" help:"Show an account's credit and all grants."`
}

// Help is shown by ringfence credit --help.
func (*creditCmd) Help() string {
	return `One credit is one minute at the base price. Credit does not expire.

  ringfence credit add acme --minutes 500 --reference INV-1
  ringfence credit show acme`
}

var creditWords = cli.Words{
	Names: map[string]string{"id": "ID", "minutes": "--minutes", "units": "--minutes", "reference": "--reference", "reason": "--reason", "kind": "--kind"},
	Lists: map[string]string{"id": listsAccounts},
}

type creditAddCmd struct {
	ID        cli.ID      `arg:"" name:"ID" help:"The account."`
	Minutes   cli.Minutes `required:"" placeholder:"N" help:"How many minutes, such as 500 or 498.6; to take some: --minutes=-2.5."`
	Reference string      `required:"" placeholder:"TEXT" help:"What it is for, once per account: an invoice's number, a ticket's."`
	Reason    string      `placeholder:"TEXT" help:"Why."`
	Kind      string      `enum:"purchase,bonus,adjustment,refund" default:"adjustment" help:"One of ${enum}."`
	remote
}

// Help is shown by ringfence credit add --help.
func (*creditAddCmd) Help() string {
	return `A reference counts once: asked for the same grant again, nothing is added, so a command that was interrupted can be repeated.

  ringfence credit add acme --minutes 500 --reference INV-2025-0042 --kind purchase
  ringfence credit add acme --minutes=-2.5 --reference TICKET-7 --reason "charged twice by the carrier"`
}

// Run makes the grant.
func (k *creditAddCmd) Run(c *console) error {
	body := map[string]any{"units": k.Minutes, "reference": k.Reference, "kind": k.Kind}
	if k.Reason != "" {
		body["reason"] = k.Reason
	}
	return grant(c, &k.remote, k.ID.String(), body)
}

// grant asks for a grant and shows it.
func grant(c *console, r *remote, account string, body map[string]any) error {
	return ask(c, r, request{method: http.MethodPost, path: cli.Path("accounts", account, "grants"), body: body, words: creditWords},
		func(m *portal.GrantMade) layout {
			if !m.Created {
				c.note("reference %s made this very grant before: nothing was added now", m.Grant.Reference)
			}
			f := &cli.Fields{}
			f.Add("account", m.Grant.Account)
			f.Add("grant", m.Grant.Number)
			f.Add("minutes", m.Grant.Units.Credits())
			f.Add("kind", m.Grant.Kind)
			f.Add("reference", m.Grant.Reference)
			f.Some("reason", m.Grant.Reason)
			f.Add("made", m.Grant.At)
			if m.Minutes != nil {
				f.Add("minutes left", m.Minutes)
			}
			return f
		})
}

type creditRefundCmd struct {
	Call   cli.ID `arg:"" name:"CALL" help:"A call uid, switch:direction:call_id, or a call id that the ledger has once."`
	Reason string `placeholder:"TEXT" help:"Why."`
	remote
}

// Help is shown by ringfence credit refund --help.
func (*creditRefundCmd) Help() string {
	return `Gives the account all that a settled call cost, as a grant whose reference names the call: a call is refunded once, however
often this is asked.

  ringfence credit refund 01a20902-9ea8-7147-8cd9-694881c4a063 --reason "one-way audio"`
}

// Run makes the grant.
func (k *creditRefundCmd) Run(c *console) error {
	client, err := k.Client()
	if err != nil {
		return err
	}
	var call app.CDR
	if err := client.Do(c.ctx, http.MethodGet, "cdr?"+query("call", k.Call.String()).Encode(), nil, &call); err != nil {
		return k.refused(c, cli.Named(err, callWords))
	}
	units := call.CostUnits + call.ExtraUnits
	if units == 0 {
		return fmt.Errorf("call %s (%s) cost nothing: there is nothing to refund", call.ID, call.Status)
	}
	body := map[string]any{"units": units, "reference": "refund:" + call.ID, "kind": "refund"}
	if k.Reason != "" {
		body["reason"] = k.Reason
	}
	return grant(c, &k.remote, call.Account, body)
}

type creditShowCmd struct {
	ID cli.ID `arg:"" name:"ID" help:"The account."`
	remote
}

// Help is shown by ringfence credit show --help.
func (*creditShowCmd) Help() string {
	return `All amounts are minutes. "minutes" is what would be left if every live call ended now; "available" is what new calls can be
given, "held" what live calls have reserved, "settled" what ended calls have cost.

  ringfence credit show acme
  ringfence credit show acme --json`
}

// Run shows the credit.
func (k *creditShowCmd) Run(c *console) error {
	show := request{path: cli.Path("accounts", k.ID.String(), "credit"), words: creditWords}
	return list(c, &k.remote, show, "grants", func(v *portal.CreditView) layout {
		f := &cli.Fields{}
		f.Add("account", v.Account)
		f.Add("minutes", v.Minutes)
		showBalance(f, &v.Balance)
		if len(v.Grants) == 0 {
			c.note("no grants yet; add credit with: ringfence credit add %s --minutes N --reference TEXT", v.Account)
			return f
		}
		t := cli.NewTable("grant", "minutes", "kind", "reference", "reason", "made")
		for _, g := range v.Grants {
			t.Row(g.Number, g.Units.Credits(), g.Kind, g.Reference, g.Reason, g.At)
		}
		return blocks{f, t}
	})
}
