package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/hmsovereign/ringfence/cmd/internal/cli"
)

// remote are the flags of every command that asks a running sidecar.
type remote struct {
	JSON bool `name:"json" help:"Print the admin API's answer, as JSON."`
	cli.Admin
}

// remoteStream are the flags of commands whose output is the answer as it comes.
type remoteStream struct {
	cli.Admin
}

// layout is an answer as it is shown in a terminal.
type layout interface {
	Write(w io.Writer) error
}

// request is what a command asks the admin API.
type request struct {
	method, path string
	query        url.Values
	body         any
	words        cli.Words
}

// ask sends a request and shows the answer: as it is with --json, else by show.
// Warnings go to standard error.
func ask[T any](c *console, r *remote, q request, show func(answer *T) layout) error {
	client, err := r.Client()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	path := q.path
	if len(q.query) > 0 {
		path += "?" + q.query.Encode()
	}
	if err := client.Do(c.ctx, q.method, path, q.body, &raw); err != nil {
		return r.refused(c, cli.Named(err, q.words))
	}
	return present(c, r, raw, show)
}

// list asks for a list, all pages of it, whose entries are in a field.
func list[T any](c *console, r *remote, q request, field string, show func(answer *T) layout) error {
	client, err := r.Client()
	if err != nil {
		return err
	}
	raw, err := client.List(c.ctx, q.path, q.query, field)
	if err != nil {
		return r.refused(c, cli.Named(err, q.words))
	}
	return present(c, r, raw, show)
}

// refused prints the API's own words with --json; the error is shown anyway.
func (r *remote) refused(c *console, err error) error {
	var e *cli.APIError
	if r.JSON && errors.As(err, &e) {
		if err := printJSON(c.out, e.Answer); err != nil {
			return err
		}
	}
	return err
}

// printJSON prints JSON on one line.
func printJSON(w io.Writer, raw []byte) error {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

// present shows an answer. Where show gives nil, it has said all.
func present[T any](c *console, r *remote, raw json.RawMessage, show func(answer *T) layout) error {
	var answer T
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("the sidecar's answer is not understood (is it of another version?): %w", err)
	}
	var about struct {
		Warnings []string `json:"warnings"`
	}
	if json.Unmarshal(raw, &about) == nil {
		for _, w := range about.Warnings {
			fmt.Fprintln(c.err, "ringfence: warning:", w)
		}
	}
	if r.JSON {
		return printJSON(c.out, raw)
	}
	if l := show(&answer); l != nil {
		return l.Write(c.out)
	}
	return nil
}

// blocks are layouts with a blank line between them.
type blocks []layout

// Write prints them.
func (b blocks) Write(w io.Writer) error {
	for i, l := range b {
		if i > 0 {
			if _, err := fmt.Fprintln(w); err != nil {
				return err
			}
		}
		if err := l.Write(w); err != nil {
			return err
		}
	}
	return nil
}

// note tells the operator something that is no part of the answer.
func (c *console) note(format string, args ...any) {
	fmt.Fprintf(c.err, format+"\n", args...)
}

// query makes a query of names and values, without those that are empty.
func query(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

// line is a text on a line of its own.
type line string

// Write prints it.
func (l line) Write(w io.Writer) error {
	_, err := fmt.Fprintln(w, string(l))
	return err
}
