package app

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
)

// A record that the ledger has set aside need not be kept: it is in the ledger's hands. It would be refused again after
// each rebuild of Redis.
func TestRefusedRecordsAreRecorded(t *testing.T) {
	ctx := t.Context()
	l := sqlitetest.Open(t)
	refused, unknown := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	c := authz.Call{UID: refused, Hash: "h", Price: tariff.Price{Rate: 60_000, MicrosRate: 70_000, Initial: 1, Step: 1, CreditPrice: 70_000}}
	raw := c.AppendTail(fmt.Appendf(nil, "%c\t1\t2000\t1000\t1000\t1000\t0\t0\t0\t0\t\t16\t1\tnobody\tsbc-1:outbound:call\t", byte(authz.StateSettled)))
	if _, err := authz.ParseRecord(string(raw)); err != nil {
		t.Fatal(err)
	}
	for i := range 150 { // more than a page
		if err := l.SetAside(ctx, ledger.RefusedRecord{Raw: fmt.Appendf(nil, "junk %d", i), Reason: "junk"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.SetAside(ctx, ledger.RefusedRecord{Raw: raw, Reason: "no such account"}); err != nil {
		t.Fatal(err)
	}
	has, err := recorded{l}.KnownCalls(ctx, []uuid.UUID{refused, unknown})
	if err != nil {
		t.Fatal(err)
	}
	if has[refused] != authz.StateSettled || has[unknown] != authz.StateNone {
		t.Errorf("known are %v, want the refused one as settled, and no other", has)
	}
}
