package cli

import (
	"errors"
	"strings"
	"testing"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/portal"
)

func TestEnsure(t *testing.T) {
	ctx, s := bounded(t), newSidecar(t, "")
	c := client(t, Admin{URL: s.url})
	for range 2 {
		if err := c.EnsureAccount(ctx, "bench-0", "Load run"); err != nil {
			t.Fatal(err)
		}
		if err := c.EnsureCredit(ctx, "bench-0", 500*credit.PerCredit, "bench"); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := s.balances.Balance(ctx, "bench-0"); err != nil || b.Available != 500*credit.PerCredit {
		t.Errorf("balance %+v, %v", b, err)
	}
	if err := c.EnsureAccount(ctx, "bench-0", "Another name"); err != nil {
		t.Errorf("one that is there: %v", err)
	}
	if a, err := s.book.Account(ctx, "bench-0"); err != nil || a.Company != "Load run" {
		t.Errorf("it was changed: %+v, %v", a, err)
	}

	if err := c.EnsureAccount(ctx, "no id", "Load run"); !Is(err, portal.CodeInvalidRequest) || !strings.HasPrefix(err.Error(), "create account no id: ") {
		t.Errorf("bad id: %v", err)
	}
	if err := c.EnsureCredit(ctx, "bench-0", 1, "bench"); !Is(err, portal.CodeConflict) {
		t.Errorf("same reference, another grant: %v", err)
	}
	if err := c.EnsureCredit(ctx, "nobody", 1, "bench"); !Is(err, portal.CodeNotFound) {
		t.Errorf("no such account: %v", err)
	}
}

// Credit that is recorded but cannot be spent is no success; asked again when
// the store is back, it is applied, once.
func TestEnsureCreditInterrupted(t *testing.T) {
	ctx, s := bounded(t), newSidecar(t, "")
	c := client(t, Admin{URL: s.url})
	if err := c.EnsureAccount(ctx, "a", "A"); err != nil {
		t.Fatal(err)
	}
	s.balances.SetFail(func(method string) error {
		if method == "Grant" {
			return authz.ErrDown
		}
		return nil
	})
	if err := c.EnsureCredit(ctx, "a", 7, "r"); err == nil || !strings.Contains(err.Error(), "cannot be spent yet") {
		t.Errorf("not applied: %v", err)
	}
	s.balances.SetFail(nil)
	if err := errors.Join(c.EnsureCredit(ctx, "a", 7, "r"), c.EnsureCredit(ctx, "a", 7, "r")); err != nil {
		t.Fatal(err)
	}
	if b, err := s.balances.Balance(ctx, "a"); err != nil || b.Available != 7 {
		t.Errorf("balance %+v, %v", b, err)
	}
}
