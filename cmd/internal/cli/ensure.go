package cli

import (
	"context"
	"net/http"

	"github.com/hmsovereign/ringfence/authz/credit"
)

// EnsureAccount makes an account unless it is there.
func (c *Client) EnsureAccount(ctx context.Context, id, company string) error {
	err := c.Do(ctx, http.MethodPost, "accounts", map[string]any{"id": id, "company_name": company}, nil)
	if Is(err, "conflict") {
		return nil
	}
	return err
}

// EnsureCredit gives an account credit under a reference, once.
func (c *Client) EnsureCredit(ctx context.Context, id string, units credit.Units, reference string) error {
	return c.Do(ctx, http.MethodPost, "accounts/"+id+"/grants", map[string]any{"units": units, "reference": reference, "kind": "bonus"}, nil)
}
