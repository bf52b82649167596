package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/portal"
)

// EnsureAccount makes an account with the deployment's default tariff where
// there is none of that id; one that is there stays as it is.
func (c *Client) EnsureAccount(ctx context.Context, id, company string) error {
	err := c.Do(ctx, http.MethodPost, "accounts", map[string]string{"id": id, "company_name": company}, nil)
	if Is(err, portal.CodeConflict) {
		return nil
	}
	return wrapped(err, "create account "+id)
}

// EnsureCredit grants units to an account under a reference; a reference that
// was used for this very grant grants nothing more. Errors: among others
// *APIError with portal.CodeConflict where the reference was used for another
// grant; the credit is recorded and cannot be spent yet.
func (c *Client) EnsureCredit(ctx context.Context, id string, units credit.Units, reference string) error {
	what := fmt.Sprintf("grant %s minutes to account %s", units.Credits(), id)
	var made portal.GrantMade
	err := c.Do(ctx, http.MethodPost, Path("accounts", id, "grants"), map[string]any{"units": units, "reference": reference}, &made)
	if err == nil && !made.Applied {
		err = fmt.Errorf("not done yet: %s; repeat it", strings.Join(made.Warnings, "; "))
	}
	return wrapped(err, what)
}

func wrapped(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Path joins the parts of a path below /admin/v1/, each escaped.
func Path(parts ...string) string {
	escaped := make([]string, len(parts))
	for i, p := range parts {
		escaped[i] = url.PathEscape(p)
	}
	return strings.Join(escaped, "/")
}
