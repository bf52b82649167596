package portal

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

var grantKinds = []string{"purchase", "bonus", "adjustment", "refund"}

const defaultKind = "adjustment"

func (a *Admin) addGrant(w http.ResponseWriter, r *http.Request) (int, any, error) {
	id, err := pathID(r)
	if err != nil {
		return 0, nil, err
	}
	var minutes *decimal
	var units *credit.Units
	var kind, reference, why *string
	err = body(w, r, object{"minutes": &minutes, "units": &units, "kind": &kind, "reference": &reference, "reason": &why}, false)
	if err != nil {
		return 0, nil, err
	}
	g := authz.Grant{Account: id, Kind: defaultKind, Reference: value(reference), Reason: value(why), At: a.now()}
	var c checks
	g.Units = c.units(minutes, units)
	if c.given("reference", g.Reference) {
		c.text("reference", g.Reference, mostReference)
	}
	c.text("reason", g.Reason, mostReason)
	if kind != nil {
		if g.Kind = *kind; !slices.Contains(grantKinds, g.Kind) {
			c.fail("kind", "%.40q is not one of %s", g.Kind, strings.Join(grantKinds, ", "))
		}
	}
	if err := c.err(); err != nil {
		return 0, nil, err
	}
	return a.grant(r, g)
}

func (a *Admin) grant(r *http.Request, g authz.Grant) (int, any, error) {
	ctx := r.Context()
	before, known, err := a.opened(ctx, g.Account)
	if err != nil {
		return 0, nil, bookError(err, "id", false)
	}
	made, created, err := a.Book.AddGrant(ctx, g)
	if err != nil {
		param := "reference"
		switch kindOf(err) {
		case ErrNotFound:
			param = "id"
		case ErrInvalid:
			param = "minutes"
		}
		return 0, nil, bookError(err, param, true)
	}
	a.done(r, "credit granted", "account", g.Account, "number", made.Number, "units", int64(made.Units), "kind", made.Kind,
		"reference", made.Reference, "created", created)
	if known && created && made.Number <= before.GrantSeq {
		// The numbers would be taken for ones that were applied long ago.
		return 0, nil, unavailable(errors.New("the book counts grants from below the balance store"),
			"recorded as grant %d, but the balance store has applied %d grants already: the book has lost some; reconcile them before granting more",
			made.Number, before.GrantSeq)
	}
	v := GrantMade{Grant: grantView(made), Created: created}
	if err := completeGrants(ctx, a.Book, a.Balances, g.Account, made.Number, nil); err != nil {
		v.Warnings = a.unfinished(g.Account, "the credit cannot be spent yet", err)
		return http.StatusAccepted, v, nil
	}
	v.Applied = true
	if b, calls, err := readBalance(ctx, a.Balances, a.Calls, g.Account); err == nil {
		minutes := MinutesBalance(b, calls, a.Now().UnixMilli())
		v.Minutes = &minutes
	}
	if !created {
		return http.StatusOK, v, nil
	}
	return http.StatusCreated, v, nil
}

// opened makes sure that the balance store has, or has had, an account before
// it is granted anything: so one that has grants and no balance is lost, and
// never merely not opened yet. known tells whether there is a balance now.
func (a *Admin) opened(ctx context.Context, account string) (b authz.Balance, known bool, err error) {
	b, err = a.Balances.Balance(ctx, account)
	switch {
	case err == nil:
		return b, true, nil
	case errors.Is(err, authz.ErrLost):
		err = openNew(ctx, a.Book, a.Balances, account, a.Now())
		if errors.Is(err, authz.ErrLost) {
			err = nil // lost: recorded now, applied when it is rebuilt
		}
	case errors.Is(err, authz.ErrDown):
		earlier, e := a.Book.Grants(ctx, account, 0, 1)
		if e != nil || len(earlier) > 0 {
			return b, false, e
		}
		if _, e := a.Book.Account(ctx, account); e != nil {
			return b, false, e
		}
	}
	return b, false, err
}

func (a *Admin) showCredit(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	id, err := pathID(r)
	if err != nil {
		return 0, nil, err
	}
	q := readQuery(r, "after", "limit")
	after := q.number("after", 0, 0, credit.Max)
	limit := int(q.number("limit", pageDefault, 1, pageMost))
	if err := q.err(); err != nil {
		return 0, nil, err
	}
	ctx := r.Context()
	if _, err := a.account(ctx, "id", id); err != nil {
		return 0, nil, err
	}
	b, calls, err := readBalance(ctx, a.Balances, a.Calls, id)
	if err != nil {
		return 0, nil, bookError(err, "", false)
	}
	grants, err := a.Book.Grants(ctx, id, after, limit+1)
	if err != nil {
		return 0, nil, bookError(err, "", false)
	}
	v := CreditView{Account: id, Minutes: MinutesBalance(b, calls, a.Now().UnixMilli()), Balance: b, Grants: []GrantView{}}
	for i, g := range grants {
		if i == limit {
			v.Next = grants[i-1].Number
			break
		}
		v.Grants = append(v.Grants, grantView(g))
	}
	return http.StatusOK, v, nil
}

// completeGrants applies, in order, the grants up to a number (0: all) that the
// balance store has not applied yet, and calls applied for each. Errors: those
// of the book and the balance store.
func completeGrants(ctx context.Context, book GrantBook, balances Balances, account string, upTo int64, applied func()) error {
	b, err := balances.Balance(ctx, account)
	if err != nil {
		return err
	}
	const page = 100
	for at := b.GrantSeq; upTo == 0 || at < upTo; {
		grants, err := book.Grants(ctx, account, at, page)
		if err != nil {
			return err
		}
		for _, g := range grants {
			did, err := balances.Grant(ctx, account, g.Number, g.Units)
			if err != nil {
				return err
			}
			if did && applied != nil {
				applied()
			}
			at = g.Number
		}
		if len(grants) < page {
			return nil
		}
	}
	return nil
}
