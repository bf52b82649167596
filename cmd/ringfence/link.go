package main

import (
	"net/http"
	"time"

	"github.com/hmsovereign/ringfence/cmd/internal/app"
	"github.com/hmsovereign/ringfence/cmd/internal/cli"
)

type accountLinkCmd struct {
	ID    cli.ID         `arg:"" name:"ID" help:"The account."`
	Lasts *time.Duration `placeholder:"15m" help:"How long the link can be used, up to 168h (default: 15m)."`
	Quiet bool           `short:"q" xor:"form" help:"Print the link alone."`
	JSON  bool           `name:"json" xor:"form" help:"Print the admin API's answer, as JSON."`
	cli.Admin
}

// Help is shown by ringfence account link --help.
func (*accountLinkCmd) Help() string {
	return `Whoever opens the link and presses its button is signed in to the account's billing page. It works once.

  ringfence account link acme
  xdg-open "$(ringfence account link acme --quiet)"`
}

// Run makes the link.
func (k *accountLinkCmd) Run(c *console) error {
	body := map[string]any{"account": k.ID}
	if k.Lasts != nil {
		body["lasts_seconds"] = int64(*k.Lasts / time.Second)
	}
	words := cli.Words{Names: map[string]string{"account": "ID", "lasts_seconds": "--lasts"}, Lists: map[string]string{"account": listsAccounts}}
	return ask(c, &remote{JSON: k.JSON, Admin: k.Admin}, request{method: http.MethodPost, path: "links", body: body, words: words}, func(l *app.LinkView) layout {
		if k.Quiet {
			return line(l.URL)
		}
		c.note("Give it to nobody else: whoever opens it first is signed in.")
		f := &cli.Fields{}
		f.Add("account", l.Account)
		f.Add("link", l.URL)
		f.Add("expires", l.Expires)
		return f
	})
}
