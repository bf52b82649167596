package ledgertest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

func testGrants(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a, b := account(t, l), account(t, l)
	buy := authz.Grant{Account: a, Number: 99, Units: 500 * credit.PerCredit, Kind: ledger.KindPurchase, Reference: "pi:1", Reason: "card", At: noon}
	first, created, err := l.AddGrant(ctx, buy)
	must(t, err)
	buy.Number = 1
	equal(t, "created", created, true)
	diff(t, "first grant", first, buy)

	again := buy
	again.At = noon.AddDate(0, 0, 1)
	got, created, err := l.AddGrant(ctx, again)
	must(t, err)
	equal(t, "created again", created, false)
	diff(t, "the same grant again", got, first)

	for _, other := range []func(*authz.Grant){
		func(g *authz.Grant) { g.Units++ },
		func(g *authz.Grant) { g.Kind = ledger.KindBonus },
		func(g *authz.Grant) { g.Reason = "cash" },
	} {
		g := buy
		other(&g)
		_, _, err = l.AddGrant(ctx, g)
		want(t, err, ledger.ErrConflict)
	}

	second, created, err := l.AddGrant(ctx, authz.Grant{Account: a, Units: -700 * credit.PerCredit, Kind: ledger.KindRefund, Reference: "re:1"})
	must(t, err)
	if !created || second.Number != 2 || second.At.IsZero() {
		t.Errorf("second grant is %+v", second)
	}
	elsewhere := buy
	elsewhere.Account = b
	third, _, err := l.AddGrant(ctx, elsewhere)
	must(t, err)
	equal(t, "first number of another account", third.Number, 1)

	sum := totals(t, l, a)
	equal(t, "granted", sum.Granted, -200*credit.PerCredit)
	equal(t, "balance", sum.Balance(), -200*credit.PerCredit)
	equal(t, "grants", sum.Grants, 2)

	all, err := l.Grants(ctx, a, 0, 0)
	must(t, err)
	diff(t, "grants", all, []authz.Grant{first, second})
	one, err := l.Grants(ctx, a, 0, 1)
	must(t, err)
	diff(t, "one grant", one, []authz.Grant{first})
	after, err := l.Grants(ctx, a, 1, 10)
	must(t, err)
	diff(t, "grants after 1", after, []authz.Grant{second})
	newest, err := l.NewestGrants(ctx, a, 10, 0)
	must(t, err)
	diff(t, "newest grants", newest, []authz.Grant{second, first})
	page, err := l.NewestGrants(ctx, a, 1, 1)
	must(t, err)
	diff(t, "second page", page, []authz.Grant{first})
	none, err := l.NewestGrants(ctx, a, -1, -1)
	must(t, err)
	equal(t, "grants of a page below zero", len(none), 0)
	account(t, l) // without a grant
	last := make(map[string]int64)
	must(t, l.LastGrants(ctx, func(account string, number int64) error { last[account] = number; return nil }))
	diff(t, "last grants", last, map[string]int64{a: 2, b: 1})

	// A purchase and its grant in one transaction: with the former's failure the grant is undone.
	failure := fmt.Errorf("no purchase")
	err = l.Update(ctx, func(tx *ledger.Tx) error {
		if _, _, err := tx.AddGrant(ctx, authz.Grant{Account: a, Units: 5, Kind: ledger.KindBonus, Reference: "undone"}); err != nil {
			return err
		}
		during, err := tx.Totals(ctx, a)
		equal(t, "grants within", during.Grants, 3)
		must(t, err)
		return failure
	})
	want(t, err, failure)
	equal(t, "grants after an undone one", totals(t, l, a).Grants, 2)
}

func testBadGrants(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	good := authz.Grant{Account: a, Units: 1, Kind: ledger.KindBonus, Reference: "r"}
	for name, spoil := range map[string]func(*authz.Grant){
		"no account":    func(g *authz.Grant) { g.Account = "" },
		"no reference":  func(g *authz.Grant) { g.Reference = "" },
		"no units":      func(g *authz.Grant) { g.Units = 0 },
		"huge":          func(g *authz.Grant) { g.Units = credit.Max + 1 },
		"hugely less":   func(g *authz.Grant) { g.Units = -credit.Max - 1 },
		"unknown kind":  func(g *authz.Grant) { g.Kind = "gift" },
		"NUL":           func(g *authz.Grant) { g.Reason = "\x00" },
		"before calls":  func(g *authz.Grant) { g.At = noon.AddDate(-1000, 0, 0) },
		"after the end": func(g *authz.Grant) { g.At = noon.AddDate(9000, 0, 0) },
	} {
		g := good
		spoil(&g)
		_, _, err := l.AddGrant(ctx, g)
		t.Log(name, err)
		want(t, err, ledger.ErrInvalid)
	}
	lost := good
	lost.Account = "nobody"
	_, _, err := l.AddGrant(ctx, lost)
	want(t, err, ledger.ErrNotFound)

	good.Units = credit.Max
	_, _, err = l.AddGrant(ctx, good)
	must(t, err)
	_, _, err = l.AddGrant(ctx, authz.Grant{Account: a, Units: 1, Kind: ledger.KindBonus, Reference: "one too many"})
	want(t, err, ledger.ErrInvalid)
	equal(t, "granted", totals(t, l, a).Granted, credit.Max)
}

// Several sidecars work the same purchases at once: each reference once, numbers without a gap.
func testGrantsRace(t *testing.T, l *ledger.Ledger) {
	const workers, references = 4, 12
	a := account(t, l)
	var wg sync.WaitGroup
	made := make(chan int64, workers*references)
	for w := range workers {
		wg.Go(func() {
			for i := range references {
				n := (i + w*5) % references
				g, created, err := l.AddGrant(context.Background(), authz.Grant{Account: a, Units: credit.Units(n + 1),
					Kind: ledger.KindPurchase, Reference: fmt.Sprintf("pi:%d", n)})
				if err != nil {
					t.Error(err)
				}
				if created {
					made <- g.Number
				}
			}
		})
	}
	wg.Wait()
	close(made)
	seen := make(map[int64]bool)
	for n := range made {
		if seen[n] || n < 1 || n > references {
			t.Errorf("number %d was given out wrongly", n)
		}
		seen[n] = true
	}
	equal(t, "grants made", len(seen), references)
	equal(t, "granted", totals(t, l, a).Granted, references*(references+1)/2)
}
