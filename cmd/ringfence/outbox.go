package main

import (
	"net/http"
	"time"

	"github.com/hmsovereign/ringfence/cmd/internal/cli"
)

type outboxCmd struct {
	Refused outboxRefusedCmd `cmd:"" help:"List records that the ledger could not take."`
	Retry   outboxRetryCmd   `cmd:"" help:"Try a refused record again, its cause removed (its account created, say)."`
	Discard outboxDiscardCmd `cmd:"" help:"Forget a refused record for good."`
}

// Help is shown by ringfence outbox --help.
func (*outboxCmd) Help() string {
	return `Records of calls wait in Redis, the outbox, until the ledger has them. One that the ledger can never take is set aside, so
that it holds nothing up.`
}

type refusedRecord struct {
	ID     int64     `json:"id"`
	Record string    `json:"record"`
	Reason string    `json:"reason"`
	Count  int64     `json:"count"`
	Last   time.Time `json:"last_seen"`
}

type outboxRefusedCmd struct {
	remote
}

// Run lists them.
func (k *outboxRefusedCmd) Run(c *console) error {
	return ask(c, &k.remote, request{method: http.MethodGet, path: "refused"}, func(l *struct {
		Refused []refusedRecord `json:"refused"`
		Total   int64           `json:"total"`
	}) layout {
		if len(l.Refused) == 0 {
			c.note("no refused records")
			return nil
		}
		t := cli.NewTable("id", "reason", "seen", "last", "record")
		for _, r := range l.Refused {
			t.Row(r.ID, r.Reason, r.Count, r.Last, r.Record)
		}
		return t
	})
}

type outboxRetryCmd struct {
	ID string `arg:"" help:"As ringfence outbox refused shows it."`
	remote
}

// Run tries it again.
func (k *outboxRetryCmd) Run(c *console) error {
	return refusedDo(c, &k.remote, http.MethodPost, k.ID+"/retry")
}

type outboxDiscardCmd struct {
	ID string `arg:"" help:"As ringfence outbox refused shows it."`
	remote
}

// Run forgets it.
func (k *outboxDiscardCmd) Run(c *console) error {
	return refusedDo(c, &k.remote, http.MethodDelete, k.ID)
}

func refusedDo(c *console, r *remote, method, path string) error {
	return ask(c, r, request{method: method, path: "refused/" + path}, func(a *struct {
		Outcome string `json:"outcome"`
	}) layout {
		c.note("%s", a.Outcome)
		return nil
	})
}
