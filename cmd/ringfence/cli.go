package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/alecthomas/kong"
)

// The exit codes.
const (
	exitOK    = 0
	exitFail  = 1
	exitUsage = 2
)

// commands is the whole command line: one field for each subcommand, whose file
// holds its flags, its help and its Run.
type commands struct {
	Serve     serveCmd     `cmd:"" help:"Run the sidecar."`
	Demo      demoCmd      `cmd:"" help:"Show everything in a minute: an embedded sidecar and a simulated switch that places real calls over HTTP."`
	Check     checkCmd     `cmd:"" help:"Check the whole configuration, then try every connection."`
	Account   accountCmd   `cmd:"" help:"Manage accounts: who pays, and within which limits."`
	Number    numberCmd    `cmd:"" help:"Manage the numbers of accounts."`
	Credit    creditCmd    `cmd:"" help:"Add credit and see what became of it."`
	Tariff    tariffCmd    `cmd:"" help:"Manage tariffs: what calls cost."`
	Key       keyCmd       `cmd:"" help:"Manage API keys of the account API."`
	Webhook   webhookCmd   `cmd:"" help:"Manage what customers are told: webhooks and their messages."`
	Call      callCmd      `cmd:"" help:"See live calls, and end them."`
	Usage     usageCmd     `cmd:"" help:"Export usage."`
	Stripe    stripeCmd    `cmd:"" help:"See what is bought through Stripe, and mend what went wrong."`
	Outbox    outboxCmd    `cmd:"" help:"See and mend records that the ledger could not take."`
	Reconcile reconcileCmd `cmd:"" help:"Compare Redis with the ledger, and explain any difference."`
	Rebuild   rebuildCmd   `cmd:"" help:"Fill what Redis has lost from the ledger."`
	Migrate   migrateCmd   `cmd:"" help:"The ledger's schema."`
	Bench     benchCmd     `cmd:"" help:"Load a running sidecar and, in the same run, its Redis; print the ratios."`
	Version   versionCmd   `cmd:"" help:"Print the version."`
}

// console is what commands are given beside their flags.
type console struct {
	ctx     context.Context
	environ []string
	out     io.Writer
	err     io.Writer
}

// run parses, runs one command and gives the exit code.
func run(ctx context.Context, args, environ []string, out, errOut io.Writer) (code int) {
	var c commands
	exited := -1
	parser, err := kong.New(&c, kong.Name("ringfence"),
		kong.Description("Prepaid call control: reserve credit before the phone rings, meter the call, cut it off when credit ends."),
		kong.Writers(out, errOut), kong.Exit(func(n int) { exited = n }), kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		fmt.Fprintln(errOut, "ringfence:", err)
		return exitFail
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	if exited >= 0 { // --help
		return exited
	}
	if err != nil {
		fmt.Fprintf(errOut, "ringfence: %v\nTry: %s --help\n", err, misused(err))
		return exitUsage
	}
	if err := k.Run(&console{ctx: ctx, environ: environ, out: out, err: errOut}); err != nil {
		if !errors.Is(err, errShown) {
			fmt.Fprintln(errOut, "ringfence:", err)
		}
		return exitFail
	}
	return exitOK
}

// misused names the command that was not understood, as far as it was.
func misused(err error) string {
	var p *kong.ParseError
	if errors.As(err, &p) && p.Context != nil {
		if node := p.Context.Selected(); node != nil {
			return "ringfence " + node.Path()
		}
	}
	return "ringfence"
}

// errShown is an error whose text is printed already.
var errShown = errors.New("failed")
