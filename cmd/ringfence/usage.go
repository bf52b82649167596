package main

import (
	"net/http"
)

type usageCmd struct {
	Export usageExportCmd `cmd:"" help:"Export call detail records (CDRs)."`
}

type usageExportCmd struct {
	Account string `placeholder:"ID" help:"Only this account's."`
	From    string `placeholder:"DATE" help:"From this date or time (UTC) on, by the hangup."`
	To      string `placeholder:"DATE" help:"Up to this date, all day, or time."`
	Format  string `enum:"jsonl,csv" default:"jsonl" help:"jsonl or csv."`
	All     bool   `help:"Rejected and released calls too."`
	remoteStream
}

// Help is shown by ringfence usage export --help.
func (*usageExportCmd) Help() string {
	return `Settled calls in the ledger, by account, oldest first; units are 60,000 to the credit, micros a millionth of the currency.

  ringfence usage export --format csv --from 2026-01-01 --to 2026-01-31 > january.csv`
}

// Run exports to standard output.
func (k *usageExportCmd) Run(c *console) error {
	client, err := k.Client()
	if err != nil {
		return err
	}
	all := ""
	if k.All {
		all = "true"
	}
	return client.Stream(c.ctx, http.MethodGet, "export?"+query("account", k.Account, "from", k.From, "to", k.To, "format", k.Format, "all", all).Encode(), c.out)
}
