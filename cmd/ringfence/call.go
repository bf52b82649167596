package main

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/hmsovereign/ringfence/cmd/internal/cli"
	"github.com/hmsovereign/ringfence/sync/portal"
)

type callCmd struct {
	List    callListCmd    `cmd:"" help:"List the calls that hold credit, oldest first."`
	Show    callShowCmd    `cmd:"" help:"Show a call."`
	Kill    callKillCmd    `cmd:"" help:"End a live call."`
	Explain callExplainCmd `cmd:"" help:"Tell the whole story of a call, from every store."`
	Orphans callOrphansCmd `cmd:"" help:"List events whose call was never found."`
}

// Help is shown by ringfence call --help.
func (*callCmd) Help() string {
	return `CALL is what ringfence call list shows (switch:direction:call_id), a call uid, or a bare call id where only one call has it.

  ringfence call list --account acme
  ringfence call kill default:outbound:a84b4c76e66710@pbx.example.com`
}

var callWords = cli.Words{
	Names: map[string]string{"call": "CALL", "account": "--account", "limit": "--limit"},
	Lists: map[string]string{"call": "ringfence call list", "account": listsAccounts},
}

// oneCall names a call.
type oneCall struct {
	Call    cli.ID `arg:"" name:"CALL" help:"switch:direction:call_id, a call uid, or a bare call id."`
	Account string `placeholder:"ID" help:"The call's account; with it, calls that ended in the last 15 minutes are found too."`
}

type callListCmd struct {
	Account string `placeholder:"ID" help:"Only this account's."`
	Limit   int    `default:"1000" help:"Most calls to list, up to 10000."`
	remote
}

// Run lists the calls.
func (k *callListCmd) Run(c *console) error {
	q := query("account", k.Account, "limit", strconv.Itoa(k.Limit))
	return ask(c, &k.remote, request{method: http.MethodGet, path: "calls", query: q, words: callWords}, func(l *portal.CallList) layout {
		if l.Truncated {
			c.note("there are more than these %d calls: narrow the list with --account, or raise --limit", len(l.Calls))
		}
		if len(l.Calls) == 0 {
			c.note("no calls")
			return nil
		}
		t := cli.NewTable("call", "account", "state", "from", "to", "seconds", "held", "cost", "began")
		for _, v := range l.Calls {
			t.Row(v.Call, v.Account, v.State, v.From, v.To, v.Talk, v.Held.Credits(), v.Cost.Credits(), v.Created)
		}
		return t
	})
}

type callShowCmd struct {
	oneCall
	remote
}

// Help is shown by ringfence call show --help.
func (*callShowCmd) Help() string {
	return `"held" and "cost" are minutes of credit; "bought" is the talk time that the hold pays for.

  ringfence call show a84b4c76e66710@pbx.example.com
  ringfence call show a84b4c76e66710@pbx.example.com --account acme`
}

// Run shows the call.
func (k *callShowCmd) Run(c *console) error {
	q := query("call", k.Call.String(), "account", k.Account)
	return ask(c, &k.remote, request{method: http.MethodGet, path: "calls/show", query: q, words: callWords}, showCall)
}

type callKillCmd struct {
	oneCall
	remote
}

// Help is shown by ringfence call kill --help.
func (*callKillCmd) Help() string {
	return `The switch is asked to hang up; the call is charged to the moment it does. The call is shown as it was when it was asked.

  ringfence call kill a84b4c76e66710@pbx.example.com`
}

// Run asks for the call's end.
func (k *callKillCmd) Run(c *console) error {
	body := map[string]any{"call": k.Call}
	if k.Account != "" {
		body["account"] = k.Account
	}
	return ask(c, &k.remote, request{method: http.MethodPost, path: "calls/kill", body: body, words: callWords}, showCall)
}

func showCall(v *portal.CallView) layout {
	f := &cli.Fields{}
	f.Add("call", v.Call)
	f.Add("call uid", v.UID)
	f.Add("account", v.Account)
	f.Add("state", v.State)
	f.Some("flags", strings.Join(v.Flags, ", "))
	f.Add("from", v.From)
	f.Add("to", v.To)
	f.Some("number id", v.NumberID)
	f.Some("mode", v.Mode)
	f.Some("tariff", v.Tariff)
	f.Some("prefix", v.Prefix)
	f.Add("talked", seconds(v.Talk))
	f.Add("bought", seconds(v.Bought))
	if v.Limit > 0 {
		f.Add("at most", seconds(v.Limit))
	}
	f.Add("held", v.Held.Credits())
	f.Add("cost", v.Cost.Credits())
	f.Add("began", v.Created)
	f.Some("answered", v.Answered)
	f.Some("hold lapses", v.Expires)
	f.Some("over", v.Over)
	f.Some("last proof", v.Proof)
	f.Add("owner epoch", v.Owner)
	return f
}

func seconds(n int64) string { return strconv.FormatInt(n, 10) + " s" }

type callOrphansCmd struct {
	remote
}

// Help is shown by ringfence call orphans --help.
func (*callOrphansCmd) Help() string {
	return `The latest events (answers, ends) of this sidecar that name a call which nobody had authorized, after every place was searched twice.
They are usually a sign that a switch lets calls go without asking.`
}

// Run lists the orphans.
func (k *callOrphansCmd) Run(c *console) error {
	return ask(c, &k.remote, request{method: http.MethodGet, path: "orphans"}, func(l *portal.OrphanList) layout {
		if len(l.Orphans) == 0 {
			c.note("no orphans")
			return nil
		}
		t := cli.NewTable("received", "event", "call", "account", "from", "to", "cause")
		for _, o := range l.Orphans {
			t.Row(o.Received, o.Type, o.Call, o.Account, o.From, o.To, o.Cause)
		}
		return t
	})
}
