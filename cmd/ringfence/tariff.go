package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hmsovereign/ringfence/cmd/internal/cli"
	"github.com/hmsovereign/ringfence/sync/portal"
)

type tariffCmd struct {
	Put  tariffPutCmd  `cmd:"" help:"Put a tariff file in force."`
	List tariffListCmd `cmd:"" help:"List the tariffs in force."`
	Show tariffShowCmd `cmd:"" help:"Print a tariff, as a file that can be put again."`
}

// Help is shown by ringfence tariff --help.
func (*tariffCmd) Help() string {
	return `A tariff says what calls cost by direction, mode and destination. The one called default always exists: one credit a minute,
by the second, everywhere.

  ringfence tariff show default > default.yaml
  ringfence tariff put eu.yaml
  ringfence account update acme --tariff eu-2025`
}

var tariffWords = cli.Words{Names: map[string]string{"id": "ID"}, Lists: map[string]string{"id": listsTariffs}}

type tariffPutCmd struct {
	File string `arg:"" name:"FILE" help:"YAML or JSON file; - reads standard input."`
	remote
}

// Help is shown by ringfence tariff put --help.
func (*tariffPutCmd) Help() string {
	return `The whole file is checked first, and every mistake told. Calls that are on keep the rate they began with. A file whose rates are in
force already changes nothing; else its version becomes one above the last, or what the file says if that is higher.

  id: eu-2025
  currency: EUR
  credit_price: 0.07            # what one credit costs
  rates:
    - credits_per_minute: 1     # both directions, everywhere
    - direction: outbound
      prefix: [44, 4420]
      credits_per_minute: 1.5
      initial: 30               # seconds: the least that is charged ...
      step: 6                   # ... and in steps of
    - direction: outbound
      prefix: 31909
      blocked: true

  ringfence tariff put eu.yaml`
}

// tariffLimit is the longest file that is read: beyond it the API refuses.
const tariffLimit = 16 << 20

// Run puts the tariff.
func (k *tariffPutCmd) Run(c *console) error {
	b, err := k.read()
	if err != nil {
		return err
	}
	return ask(c, &k.remote, request{method: http.MethodPut, path: "tariffs", body: cli.File(b)}, func(t *portal.TariffView) layout {
		f := &cli.Fields{}
		f.Add("tariff", t.ID)
		f.Add("version", t.Version)
		f.Add("currency", t.Currency)
		f.Add("credit price", t.CreditPrice)
		f.Some("modes", strings.Join(t.Modes, ", "))
		f.Some("default mode", t.DefaultMode)
		return f
	})
}

func (k *tariffPutCmd) read() ([]byte, error) {
	in := os.Stdin
	if k.File != "-" {
		f, err := os.Open(k.File)
		if err != nil {
			return nil, fmt.Errorf("tariff file: %w", err)
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, tariffLimit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("tariff file: %w", err)
	case len(b) > tariffLimit:
		return nil, fmt.Errorf("tariff file %s is longer than %d MiB", k.File, tariffLimit>>20)
	}
	return b, nil
}

type tariffListCmd struct {
	remote
}

// Run lists the tariffs.
func (k *tariffListCmd) Run(c *console) error {
	return ask(c, &k.remote, request{method: http.MethodGet, path: "tariffs"}, func(l *portal.TariffList) layout {
		t := cli.NewTable("tariff", "version", "currency", "credit price", "modes")
		for _, v := range l.Tariffs {
			t.Row(v.ID, v.Version, v.Currency, v.CreditPrice, strings.Join(v.Modes, ", "))
		}
		return t
	})
}

type tariffShowCmd struct {
	ID cli.ID `arg:"" name:"ID" help:"The tariff."`
	remote
}

// Help is shown by ringfence tariff show --help.
func (*tariffShowCmd) Help() string {
	return `Everything that was left out of the file is written out.

  ringfence tariff show eu-2025 > eu.yaml`
}

// Run prints the tariff.
func (k *tariffShowCmd) Run(c *console) error {
	return ask(c, &k.remote, request{method: http.MethodGet, path: cli.Path("tariffs", k.ID.String()), words: tariffWords},
		func(raw *json.RawMessage) layout { return yamlOf(*raw) })
}

// yamlOf is a JSON text that is written as YAML, its fields in their order.
type yamlOf json.RawMessage

// Write prints the YAML.
func (y yamlOf) Write(w io.Writer) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(y, &doc); err != nil {
		return fmt.Errorf("write as YAML: %w", err)
	}
	plain(&doc)
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return fmt.Errorf("write as YAML: %w", err)
	}
	if err := enc.Close(); err != nil {
		return fmt.Errorf("write as YAML: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// plain takes JSON's braces and needless quotes off; short lists stay on a line.
func plain(n *yaml.Node) {
	n.Style = 0
	scalars := n.Kind == yaml.SequenceNode
	for _, c := range n.Content {
		scalars = scalars && c.Kind == yaml.ScalarNode
		plain(c)
	}
	if scalars {
		n.Style = yaml.FlowStyle
	}
}
