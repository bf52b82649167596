package main

import (
	"fmt"
	"io"
	"net/http"

	"github.com/hmsovereign/ringfence/cmd/internal/app"
	"github.com/hmsovereign/ringfence/cmd/internal/cli"
)

type callExplainCmd struct {
	Call cli.ID `arg:"" name:"CALL" help:"switch:direction:call_id, a call uid, or a call id that the ledger has once."`
	remote
}

// Help is shown by ringfence call explain --help.
func (*callExplainCmd) Help() string {
	return `The whole story of a call, from every store: what this sidecar did with it (as far back as its memory reaches), what Redis
has of it, what waits in the outbox, and its row in the ledger. A store that does not answer is named, and the others are asked.

  ringfence call explain default:outbound:a84b4c76e66710@pbx.example.com`
}

// Run tells the story.
func (k *callExplainCmd) Run(c *console) error {
	return ask(c, &k.remote, request{method: http.MethodGet, path: "explain", query: query("call", k.Call.String()), words: callWords},
		func(s *app.Story) layout { return told{s} })
}

type told struct{ *app.Story }

// Write prints the story, a line each.
func (s told) Write(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "call %s\nuid %s, account %s\n\n", s.Call, s.CallUID, s.Account); err != nil {
		return err
	}
	for _, sentence := range s.Silent {
		if _, err := fmt.Fprintln(w, sentence); err != nil {
			return err
		}
	}
	for _, l := range s.Lines {
		if _, err := fmt.Fprintf(w, "%s  %-8s %-16s %s\n", l.At.Format("2006-01-02 15:04:05.000"), l.Source, l.What, l.Text); err != nil {
			return err
		}
	}
	return nil
}
