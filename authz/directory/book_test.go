package directory

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

func wantErr(t testing.TB, err error, kind *Error, text string) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), text) {
		t.Errorf("got error %v, want one that is %q and says %q", err, kind.problem, text)
	}
	var named interface{ Problem() string }
	if err != nil && (!errors.As(err, &named) || named.Problem() != kind.problem) {
		t.Errorf("%v does not tell its problem as %s", err, kind.problem)
	}
}

func testBookAccounts(t *testing.T, rdb redis.UniversalClient) {
	ctx, b := bounded(t), NewRedisBook(newRedis(t, rdb))
	_, err := b.Account(ctx, "acme")
	wantErr(t, err, ErrNotFound, `no account "acme"`)
	made, rev, err := b.CreateAccount(ctx, account("acme"))
	if err != nil || rev < 1 || made.ID != "acme" {
		t.Fatalf("created %+v at %d, %v", made, rev, err)
	}
	other := account("acme")
	other.Company = "Another"
	_, _, err = b.CreateAccount(ctx, other)
	wantErr(t, err, ErrExists, `"acme" exists`)
	got, err := b.Account(ctx, "acme")
	if diff := cmp.Diff(account("acme"), got, cmp.AllowUnexported(authz.Account{})); err != nil || diff != "" {
		t.Errorf("read back: %v\n%s", err, diff)
	}

	changed, rev2, err := b.UpdateAccount(ctx, "acme", func(a *authz.Account) error {
		a.ID, a.Company, a.Limits.MaxCalls = "renamed", "Acme <b> \"&\" Söhne", 7
		return nil
	})
	if err != nil || rev2 <= rev || changed.ID != "acme" || changed.Limits.MaxCalls != 7 {
		t.Errorf("updated %+v at %d after %d, %v", changed, rev2, rev, err)
	}
	_, again, err := b.UpdateAccount(ctx, "acme", func(a *authz.Account) error { a.Limits.MaxCalls = 7; return nil })
	if err != nil || again != rev2 {
		t.Errorf("an update that changes nothing: revision %d, want %d, %v", again, rev2, err)
	}
	_, _, err = b.UpdateAccount(ctx, "acme", func(a *authz.Account) error { a.Tariff = "none"; return nil })
	wantErr(t, err, ErrNotFound, `no tariff "none"`)
	boom := errors.New("boom")
	if _, _, err = b.UpdateAccount(ctx, "acme", func(*authz.Account) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("the change's own error became %v", err)
	}
	_, _, err = b.UpdateAccount(ctx, "nobody", func(*authz.Account) error { return nil })
	wantErr(t, err, ErrNotFound, `"nobody"`)
	a := account("poor")
	a.Tariff = "none"
	_, _, err = b.CreateAccount(ctx, a)
	wantErr(t, err, ErrNotFound, `no tariff "none"`)
}

func testBookNumbers(t *testing.T, rdb redis.UniversalClient) {
	ctx, b := bounded(t), NewRedisBook(newRedis(t, rdb))
	const e164 = "+31850835037"
	_, _, err := b.AddNumber(ctx, authz.Number{E164: e164, Account: "acme"})
	wantErr(t, err, ErrNotFound, `no account "acme"`)
	for _, id := range []string{"acme", "beta"} {
		if _, _, err := b.CreateAccount(ctx, account(id)); err != nil {
			t.Fatal(err)
		}
	}
	n, rev, err := b.AddNumber(ctx, authz.Number{E164: e164, Account: "acme", Name: "Main line", Created: epoch})
	if _, bad := uuid.Parse(n.ID); err != nil || bad != nil {
		t.Fatalf("added %+v, %v: the id must be a UUID", n, err)
	}
	_, _, err = b.AddNumber(ctx, authz.Number{E164: e164, Account: "acme"})
	wantErr(t, err, ErrExists, `"acme" already`)
	_, _, err = b.AddNumber(ctx, authz.Number{E164: e164, Account: "beta"})
	wantErr(t, err, ErrConflict, `belongs to account "acme"`)

	was, rev2, err := b.RemoveNumber(ctx, e164)
	if err != nil || rev2 <= rev || was != n {
		t.Errorf("removed %+v at %d, %v; want %+v", was, rev2, err, n)
	}
	_, _, err = b.RemoveNumber(ctx, e164)
	wantErr(t, err, ErrNotFound, e164)
	moved, rev3, err := b.AddNumber(ctx, authz.Number{E164: e164, Account: "beta", Created: epoch})
	if err != nil || rev3 <= rev2 || moved.ID == n.ID {
		t.Errorf("given to another account: %+v at %d after %d, %v", moved, rev3, rev2, err)
	}
}

func testBookTariffs(t *testing.T, rdb redis.UniversalClient) {
	ctx, b := bounded(t), NewRedisBook(newRedis(t, rdb))
	if d, err := b.Tariff(ctx, DefaultTariff); err != nil || d.Version() != 1 {
		t.Errorf("the default is there without having been put: %v", err)
	}
	_, err := b.Tariff(ctx, "half")
	wantErr(t, err, ErrNotFound, `no tariff "half"`)
	half, rev, err := b.PutTariff(ctx, table(t, halfPrice))
	if err != nil || half.Version() != 1 {
		t.Fatal(half, err)
	}
	same, rev2, err := b.PutTariff(ctx, table(t, halfPrice))
	if err != nil || rev2 != rev || same.Version() != 1 {
		t.Errorf("the same rates: version %d at %d after %d, %v", same.Version(), rev2, rev, err)
	}
	const dearer = "id: half\nrates: [{credits_per_minute: 0.6}]\n"
	next, rev3, err := b.PutTariff(ctx, table(t, dearer))
	if err != nil || rev3 <= rev || next.Version() != 2 {
		t.Errorf("other rates: version %d at %d, %v", next.Version(), rev3, err)
	}
	jump, _, err := b.PutTariff(ctx, table(t, "version: 9\n"+halfPrice))
	if err != nil || jump.Version() != 9 {
		t.Errorf("a version given: %d, %v", jump.Version(), err)
	}
	_, _, err = b.PutTariff(ctx, table(t, "id: half\ncurrency: USD\ncredit_price: 0.08\nrates: [{credits_per_minute: 1}]\n"))
	wantErr(t, err, ErrConflict, "in EUR")
	_, _, err = b.PutTariff(ctx, table(t, "id: default\ncurrency: USD\ncredit_price: 0.08\nrates: [{credits_per_minute: 1}]\n"))
	wantErr(t, err, ErrConflict, "in EUR")
	dflt, _, err := b.PutTariff(ctx, table(t, "id: default\nrates: [{credits_per_minute: 2}]\n"))
	if err != nil || dflt.Version() != 2 {
		t.Errorf("another default: version %d, %v; want above the built-in 1", dflt.Version(), err)
	}
	a := account("acme")
	a.Tariff = "half"
	if _, _, err := b.CreateAccount(ctx, a); err != nil {
		t.Error(err)
	}
}

func testBookGrants(t *testing.T, rdb redis.UniversalClient) {
	ctx, b := bounded(t), NewRedisBook(newRedis(t, rdb))
	g := authz.Grant{Account: "acme", Units: 500 * credit.PerCredit, Kind: "purchase", Reference: "pi:1", Reason: "a card", At: epoch}
	_, _, err := b.AddGrant(ctx, g)
	wantErr(t, err, ErrNotFound, `"acme"`)
	for _, id := range []string{"acme", "beta"} {
		if _, _, err := b.CreateAccount(ctx, account(id)); err != nil {
			t.Fatal(err)
		}
	}
	first, created, err := b.AddGrant(ctx, g)
	if err != nil || !created || first.Number != 1 {
		t.Fatal(first, created, err)
	}
	later := g
	later.At = epoch.AddDate(0, 0, 1) // a retry
	again, created, err := b.AddGrant(ctx, later)
	if err != nil || created || again != first {
		t.Errorf("a retry gives %+v, %t, %v", again, created, err)
	}
	for text, change := range map[string]func(*authz.Grant){
		"of 500 minutes":   func(g *authz.Grant) { g.Units = 1 },
		"of kind purchase": func(g *authz.Grant) { g.Kind = "bonus" },
		`reason "a card"`:  func(g *authz.Grant) { g.Reason = "" },
	} {
		other := g
		change(&other)
		_, _, err := b.AddGrant(ctx, other)
		wantErr(t, err, ErrConflict, text)
	}
	other := g
	other.Account = "beta"
	if g, created, err := b.AddGrant(ctx, other); err != nil || !created || g.Number != 1 {
		t.Errorf("another account may use the same reference: %+v, %t, %v", g, created, err)
	}
	for i := range 4 {
		if g, _, err := b.AddGrant(ctx, authz.Grant{Account: "acme", Units: -1, Kind: "adjustment", Reference: fmt.Sprint("a", i)}); err != nil || g.Number != int64(i+2) {
			t.Error(g, err)
		}
	}
	_, _, err = b.AddGrant(ctx, authz.Grant{Account: "acme", Units: credit.Max, Kind: "bonus", Reference: "huge"})
	wantErr(t, err, ErrInvalid, "more than")
	page, err := b.Grants(ctx, "acme", 1, 2)
	if err != nil || len(page) != 2 || page[0].Number != 2 || page[1].Reference != "a1" {
		t.Errorf("a page of grants: %+v, %v", page, err)
	}
	all, err := b.Grants(ctx, "acme", 0, 0)
	if err != nil || len(all) != 5 || all[0] != first {
		t.Errorf("all grants: %+v, %v", all, err)
	}
	last := map[string]int64{}
	if err := b.LastGrants(ctx, func(a string, n int64) error { last[a] = n; return nil }); err != nil || !cmp.Equal(last, map[string]int64{"acme": 5, "beta": 1}) {
		t.Errorf("last grants: %v, %v", last, err)
	}
	if none, err := b.Grants(ctx, "gamma", 0, 10); err != nil || len(none) != 0 {
		t.Errorf("grants of an account that has none: %v, %v", none, err)
	}
}

// Changes from many sides at once: every one takes effect, none twice.
func testBookRace(t *testing.T, rdb redis.UniversalClient) {
	ctx := bounded(t)
	if _, _, err := NewRedisBook(newRedis(t, rdb)).CreateAccount(ctx, account("acme")); err != nil {
		t.Fatal(err)
	}
	const sides, each = 4, 6
	var wg sync.WaitGroup
	for side := range sides {
		b := NewRedisBook(newRedis(t, rdb))
		wg.Go(func() {
			for i := range each {
				ref := fmt.Sprint("r", i) // the same from every side
				if _, _, err := b.AddGrant(ctx, authz.Grant{Account: "acme", Units: 1, Kind: "bonus", Reference: ref}); err != nil {
					t.Error(err)
				}
				for {
					_, _, err := b.UpdateAccount(ctx, "acme", func(a *authz.Account) error { a.Limits.MaxCalls++; return nil })
					if err == nil {
						break
					}
					if !errors.Is(err, ErrUnavailable) { // given up after ten others came between
						t.Error(err)
						break
					}
				}
				_, _, err := b.AddNumber(ctx, number(fmt.Sprintf("+3185083%04d", i), "acme"))
				if err != nil && !errors.Is(err, ErrExists) {
					t.Error(side, err)
				}
			}
		})
	}
	wg.Wait()
	b := NewRedisBook(newRedis(t, rdb))
	if a, err := b.Account(ctx, "acme"); err != nil || a.Limits.MaxCalls != sides*each {
		t.Errorf("%d increments, want %d, %v", a.Limits.MaxCalls, sides*each, err)
	}
	if g, err := b.Grants(ctx, "acme", 0, 0); err != nil || len(g) != each {
		t.Errorf("%d grants, want %d, %v", len(g), each, err)
	}
}

// The answer to a write may get lost; the client then sends it again.
func testBookWriteSentTwice(t *testing.T, rdb redis.UniversalClient) {
	ctx, b := bounded(t), NewRedisBook(newRedis(t, rdb))
	a := account("acme")
	change := Change{Kind: KindAccount, Key: "acme", Account: &a}
	value, err := change.value()
	if err != nil {
		t.Fatal(err)
	}
	from := stored{Change: Change{Kind: KindAccount, Key: "acme"}}
	rev, _, done, err := b.record(ctx, "test", from, value, "", "token")
	if err != nil || !done {
		t.Fatal(done, err)
	}
	again, _, done, err := b.record(ctx, "test", from, value, "", "token")
	if err != nil || !done || again != rev {
		t.Errorf("sent twice: revision %d after %d, done %t, %v", again, rev, done, err)
	}
}
