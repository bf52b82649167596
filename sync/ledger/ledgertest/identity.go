package ledgertest

import (
	"regexp"
	"testing"
)

func testIdentity(t *testing.T, d Driver) {
	ctx := t.Context()
	one, two := d.migrated(t).Ledger, d.migrated(t).Ledger
	id, err := one.Identity(ctx)
	must(t, err)
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) {
		t.Errorf("identity %q", id)
	}
	must(t, one.Migrate(ctx))
	again, err := one.Identity(ctx)
	must(t, err)
	equal(t, "identity of the same", again, id)
	other, err := two.Identity(ctx)
	must(t, err)
	if other == id {
		t.Error("two ledgers have one identity")
	}
}
