package main

import (
	"net/http"
	"slices"

	"github.com/hmsovereign/ringfence/cmd/internal/cli"
	"github.com/hmsovereign/ringfence/sync/portal"
)

type numberCmd struct {
	Add    numberAddCmd    `cmd:"" help:"Give a number to an account."`
	List   numberListCmd   `cmd:"" help:"List numbers."`
	Remove numberRemoveCmd `cmd:"" help:"Take a number away from its account."`
}

// Help is shown by ringfence number --help.
func (*numberCmd) Help() string {
	return `Inbound calls find their account by the number that is called. Write numbers in international form (E.164).

  ringfence number add +31850835037 --account acme --name "Main line"
  ringfence number list --account acme`
}

var numberWords = cli.Words{
	Names: map[string]string{"number": "NUMBER", "account": "--account", "name": "--name"},
	Lists: map[string]string{"number": "ringfence number list", "account": listsAccounts},
}

type numberAddCmd struct {
	Number  cli.ID `arg:"" name:"NUMBER" help:"The number, such as +31850835037."`
	Account string `required:"" placeholder:"ID" help:"Whose number it is."`
	Name    string `placeholder:"TEXT" help:"What to call it."`
	remote
}

// Help is shown by ringfence number add --help.
func (*numberAddCmd) Help() string {
	return `A number belongs to one account: remove it there before another can have it.

  ringfence number add +31850835037 --account acme --name "Main line"
  ringfence number add "+44 20 7946 0018" --account acme`
}

// Run adds the number.
func (k *numberAddCmd) Run(c *console) error {
	body := map[string]any{"number": k.Number, "account": k.Account}
	if k.Name != "" {
		body["name"] = k.Name
	}
	return ask(c, &k.remote, request{method: http.MethodPost, path: "numbers", body: body, words: numberWords}, showNumber)
}

type numberListCmd struct {
	Account string `placeholder:"ID" help:"Only this account's."`
	remote
}

// Run lists the numbers.
func (k *numberListCmd) Run(c *console) error {
	return list(c, &k.remote, request{path: "numbers", query: query("account", k.Account), words: numberWords}, "numbers", func(l *portal.NumberList) layout {
		if len(l.Numbers) == 0 {
			c.note("no numbers; add one with: ringfence number add NUMBER --account ID")
			return nil
		}
		t := cli.NewTable("number", "account", "name", "number id", "created")
		for _, n := range l.Numbers {
			t.Row(n.E164, n.Account, n.Name, n.ID, n.Created)
		}
		return t
	})
}

type numberRemoveCmd struct {
	Number cli.ID `arg:"" name:"NUMBER" help:"The number, such as +31850835037."`
	Kill   bool   `help:"End its live calls too."`
	remote
}

// Help is shown by ringfence number remove --help.
func (*numberRemoveCmd) Help() string {
	return `Calls to it are refused from now on; live ones go on, and are charged, unless --kill ends them.

  ringfence number remove +31850835037`
}

// Run removes the number.
func (k *numberRemoveCmd) Run(c *console) error {
	return ask(c, &k.remote, request{method: http.MethodDelete, path: cli.Path("numbers", k.Number.String()),
		body: map[string]any{"kill": k.Kill}, words: numberWords}, showNumber)
}

func showNumber(n *portal.NumberView) layout {
	f := &cli.Fields{}
	f.Add("number", n.E164)
	f.Add("account", n.Account)
	f.Some("name", n.Name)
	f.Add("number id", n.ID)
	f.Each("asked to end", slices.Sorted(slices.Values(n.Killed)))
	f.Add("created", n.Created)
	return f
}
