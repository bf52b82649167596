// Package cli holds what the subcommands share: the client of the admin API.
package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Admin are the flags by which a command finds a running sidecar's admin API.
type Admin struct {
	URL   string `name:"ops-url" env:"RINGFENCE_OPS_URL" default:"http://127.0.0.1:9402" help:"Ops listener of a running sidecar."`
	Token string `name:"admin-token" env:"RINGFENCE_ADMIN_TOKEN" help:"Admin token, where the sidecar has one."`
}

// Client makes the client.
func (a Admin) Client() (*Client, error) {
	u, err := url.Parse(a.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("ops URL %q: write one such as http://127.0.0.1:9402 (--ops-url or RINGFENCE_OPS_URL)", a.URL)
	}
	return &Client{base: strings.TrimSuffix(a.URL, "/"), token: a.Token, http: &http.Client{Timeout: 30 * time.Second}}, nil
}

// Client talks to the admin API.
type Client struct {
	base, token string
	http        *http.Client
}

// APIError is what the admin API refused with.
type APIError struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Param   string `json:"param"`
}

// Error gives the message and the field concerned.
func (e *APIError) Error() string {
	if e.Param != "" {
		return fmt.Sprintf("%s (%s)", e.Message, e.Param)
	}
	return e.Message
}

// Is tells whether an error is the API's of that code.
func Is(err error, code string) bool {
	var e *APIError
	return errors.As(err, &e) && e.Code == code
}

// Do sends in (nil: nothing) to /admin/v1/path and reads the answer into out
// (nil: dropped). Errors: *APIError; else the sidecar was not reached, and the
// error says which address was tried.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/admin/v1/"+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &op) {
			return fmt.Errorf("no sidecar answers at %s; start one with: ringfence serve, or name another with --ops-url or RINGFENCE_OPS_URL (%w)", c.base, err)
		}
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.base, err)
	}
	if resp.StatusCode >= 300 {
		var e struct {
			Error APIError `json:"error"`
		}
		if json.Unmarshal(b, &e) != nil || e.Error.Message == "" {
			return fmt.Errorf("%s answered %s, which is no answer of a sidecar's admin API", c.base, resp.Status)
		}
		e.Error.Status = resp.StatusCode
		return &e.Error
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("answer of %s: %w", c.base, err)
	}
	return nil
}
