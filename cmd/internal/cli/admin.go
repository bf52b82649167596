package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	defaultURL  = "http://127.0.0.1:9402"
	patience    = 30 * time.Second // for one answer
	answerLimit = 64 << 20
)

// Admin are the flags by which a command finds a running sidecar's admin API.
type Admin struct {
	URL   string `name:"ops-url" env:"RINGFENCE_OPS_URL" default:"http://127.0.0.1:9402" help:"Ops listener of a running sidecar."`
	Token string `name:"admin-token" env:"RINGFENCE_ADMIN_TOKEN" help:"Admin token, where the sidecar has one."`
}

// Client makes the client. An empty URL is the default one.
func (a Admin) Client() (*Client, error) {
	base := strings.TrimSuffix(cmp.Or(a.URL, defaultURL), "/")
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("ops URL %q: write one such as %s (--ops-url or RINGFENCE_OPS_URL)", a.URL, defaultURL)
	}
	return &Client{base: base, shown: u.Redacted(), token: a.Token, http: &http.Client{Timeout: patience}, limit: answerLimit}, nil
}

// Client talks to the admin API.
type Client struct {
	base, token string
	shown       string // base without a password
	http        *http.Client
	limit       int64 // of an answer, in bytes
}

// File is a request's body as it stands in a file.
type File []byte

// Do sends in (nil: nothing; a File: as it is; else as JSON) to /admin/v1/path
// and reads the answer into out (nil: dropped). Errors: *APIError; else the
// sidecar was not reached, and the error says which address was tried.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	body, kind, err := encode(in)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/admin/v1/"+path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if in != nil {
		req.Header.Set("Content-Type", kind)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreached(ctx, method, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, c.limit+1))
	switch {
	case err != nil:
		return c.unreached(ctx, method, err)
	case int64(len(answer)) > c.limit:
		return fmt.Errorf("the answer of %s is longer than %d bytes; ask for less at a time", c.shown, c.limit)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return c.refused(resp, answer)
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s answered what is no answer of a sidecar's admin API: %w", c.shown, err)
	}
	return nil
}

func encode(in any) (body io.Reader, kind string, err error) {
	switch in := in.(type) {
	case nil:
		return nil, "", nil
	case File:
		return bytes.NewReader(in), "application/octet-stream", nil
	}
	b, err := json.Marshal(in)
	return bytes.NewReader(b), "application/json", err
}

// unreached says why there was no answer, and what to do about it.
func (c *Client) unreached(ctx context.Context, method string, err error) error {
	doubt := ""
	if method != http.MethodGet {
		doubt = "; look whether the change was made before you repeat it"
	}
	var op *net.OpError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted before %s answered%s (%w)", c.shown, doubt, ctx.Err())
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s did not answer within %s%s", c.shown, patience, doubt)
	case errors.Is(err, syscall.ECONNREFUSED), errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("no sidecar answers at %s; start one with: ringfence serve, or name another with --ops-url or RINGFENCE_OPS_URL (%w)",
			c.shown, cause(err))
	}
	return fmt.Errorf("the connection to %s broke%s (%w)", c.shown, doubt, cause(err))
}

// cause is a transport error without the address, which is named already.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// refused reads an error answer.
func (c *Client) refused(resp *http.Response, body []byte) error {
	var e struct {
		Error APIError `json:"error"`
	}
	if json.Unmarshal(body, &e) != nil || e.Error.Message == "" {
		return fmt.Errorf("%s answered %s, which is no answer of a sidecar's admin API: name its ops listener with --ops-url or RINGFENCE_OPS_URL",
			c.shown, resp.Status)
	}
	e.Error.Status = resp.StatusCode
	e.Error.Answer = bytes.TrimSpace(body)
	if resp.StatusCode == http.StatusNotFound && e.Error.Param == "" { // perhaps it is no admin API, or an older one
		e.Error.Message += fmt.Sprintf(" (asked %s)", c.shown)
	}
	return &e.Error
}
