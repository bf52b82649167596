package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// AddGrant records a grant under its account's next number. An account
// uses a reference once: with the same units, kind and reason the grant that has
// it is given (created false). Errors: ErrConflict (the reference is another grant's),
// ErrNotFound (no such account), ErrInvalid (the account's grants would sum to
// more than can be counted), ErrUnavailable.
func (b *RedisBook) AddGrant(ctx context.Context, g authz.Grant) (made authz.Grant, created bool, err error) {
	what := "record grant " + g.Reference + " of account " + g.Account
	g.Number = 0 // its place in the list
	text, err := json.Marshal(g)
	if err != nil {
		return authz.Grant{}, false, fmt.Errorf("%s: %w", what, err)
	}
	reply, err := b.r.run(ctx, what, b.r.scripts.grant,
		[]string{keyAccounts, keyReferences + g.Account, keyGranted, keyGrants + g.Account, keyMeta},
		g.Account, g.Reference, int64(g.Units), string(text), int64(credit.Max), b.r.known())
	if err != nil {
		return authz.Grant{}, false, err
	}
	switch reply[0] {
	case "":
		g.Number, err = strconv.ParseInt(reply[1], 10, 64)
		return g, true, err
	case "exists":
		made, err = usedBy(g, reply)
		return made, false, err
	case "missing":
		return authz.Grant{}, false, noAccount(g.Account)
	case "range":
		return authz.Grant{}, false, problemf(ErrInvalid, "all grants of account %q together would be more than %s minutes",
			g.Account, credit.Units(credit.Max).Credits())
	}
	return authz.Grant{}, false, fmt.Errorf("%s: %w", what, ErrLost)
}

// usedBy compares a grant with the one that has its reference.
func usedBy(g authz.Grant, reply []string) (authz.Grant, error) {
	number, err := strconv.ParseInt(reply[1], 10, 64)
	if err != nil {
		return authz.Grant{}, fmt.Errorf("grant number %q: %w", reply[1], err)
	}
	old, err := parseGrant(reply[2], number)
	if err != nil {
		return authz.Grant{}, err
	}
	var differ []string
	if old.Units != g.Units {
		differ = append(differ, "of "+old.Units.Credits()+" minutes")
	}
	if old.Kind != g.Kind {
		differ = append(differ, "of kind "+old.Kind)
	}
	if old.Reason != g.Reason {
		differ = append(differ, fmt.Sprintf("for the reason %q", old.Reason))
	}
	if len(differ) > 0 {
		return authz.Grant{}, problemf(ErrConflict, "reference %q is used by grant %d of account %q, which is %s",
			g.Reference, number, g.Account, strings.Join(differ, " and "))
	}
	return old, nil
}

func parseGrant(text string, number int64) (authz.Grant, error) {
	var g authz.Grant
	if err := json.Unmarshal([]byte(text), &g); err != nil {
		return g, fmt.Errorf("read grant %d: %w", number, err)
	}
	g.Number = number
	return g, nil
}

// Grants lists at most limit grants of an account with numbers above after, in
// order; limit 0 is all of them. An account that is not known has none. Errors:
// ErrUnavailable.
func (b *RedisBook) Grants(ctx context.Context, account string, after int64, limit int) ([]authz.Grant, error) {
	stop := int64(-1)
	if limit > 0 {
		stop = after + int64(limit) - 1
	}
	texts, err := b.r.rdb.LRange(ctx, keyGrants+account, max(after, 0), stop).Result()
	if err != nil {
		return nil, unavailable("read grants of account "+account, err)
	}
	grants := make([]authz.Grant, len(texts))
	for i, text := range texts {
		if grants[i], err = parseGrant(text, max(after, 0)+int64(i)+1); err != nil {
			return nil, err
		}
	}
	return grants, nil
}

// LastGrants tells the number of each account's last grant; accounts without
// grants are left out, and one may come twice. Errors: ErrUnavailable, those of fn.
func (b *RedisBook) LastGrants(ctx context.Context, fn func(account string, last int64) error) error {
	const what = "read the numbers of the last grants"
	var cursor uint64
	for {
		page, next, err := b.r.rdb.HScan(ctx, keyGranted, cursor, "", scanCount).Result()
		if err != nil {
			return unavailable(what, err)
		}
		for i := 0; i+1 < len(page); i += 2 {
			number, _, ok := strings.Cut(page[i+1], " ")
			last, err := strconv.ParseInt(number, 10, 64)
			if err != nil || !ok {
				return fmt.Errorf("%s: account %s: %w", what, page[i], errors.New("not a number and a sum"))
			}
			if err := fn(page[i], last); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}
