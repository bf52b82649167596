package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// pageSize is how many entries are asked for at a time.
const pageSize = 1000

// List asks for a list and gives the API's answer. Where that has several
// pages, it is the first one's, with what is in field of all of them.
func (c *Client) List(ctx context.Context, path string, query url.Values, field string) (json.RawMessage, error) {
	q := url.Values{"limit": {strconv.Itoa(pageSize)}}
	for name, values := range query {
		q[name] = values
	}
	var first page
	var entries []json.RawMessage
	for n := 0; ; n++ {
		var raw json.RawMessage
		if err := c.Do(ctx, http.MethodGet, path+"?"+q.Encode(), nil, &raw); err != nil {
			return nil, err
		}
		p, err := readPage(raw, field)
		if err != nil {
			return nil, fmt.Errorf("%s answered what is no list of %s: %w", c.shown, field, err)
		}
		if n == 0 {
			if p.next == "" {
				return raw, nil
			}
			first = p
		}
		entries = append(entries, p.entries...)
		if p.next == "" {
			return first.with(field, entries)
		}
		if p.next == q.Get("after") || len(p.entries) == 0 {
			return nil, fmt.Errorf("%s goes in circles: the page after %q is followed by itself", c.shown, p.next)
		}
		q.Set("after", p.next)
	}
}

// page is one answer of a list: its fields in their order.
type page struct {
	names   []string
	fields  map[string]json.RawMessage
	entries []json.RawMessage
	next    string // the after of the following page; empty: none
}

func readPage(raw json.RawMessage, field string) (page, error) {
	p := page{fields: map[string]json.RawMessage{}}
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return p, fmt.Errorf("it is no object")
	}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return p, fmt.Errorf("field name %v: %w", t, err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return p, fmt.Errorf("field %s: %w", name, err)
		}
		p.names = append(p.names, name)
		p.fields[name] = value
	}
	if err := json.Unmarshal(p.fields[field], &p.entries); err != nil {
		return p, fmt.Errorf("field %s: %w", field, err)
	}
	if next, ok := p.fields["next"]; ok {
		var n json.Number
		if json.Unmarshal(next, &p.next) != nil {
			if err := json.Unmarshal(next, &n); err != nil {
				return p, fmt.Errorf("field next: %w", err)
			}
			p.next = n.String()
		}
	}
	return p, nil
}

// with writes the page with other entries and without a next one.
func (p *page) with(field string, entries []json.RawMessage) (json.RawMessage, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for _, name := range p.names {
		if name == "next" {
			continue
		}
		value := p.fields[name]
		if name == field {
			var err error
			if value, err = json.Marshal(entries); err != nil {
				return nil, fmt.Errorf("field %s: %w", field, err)
			}
		}
		key, err := json.Marshal(name)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", name, err)
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
