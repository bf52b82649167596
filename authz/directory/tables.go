package directory

import (
	"slices"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// tables is what a directory knows. Values are never changed in place, only
// replaced, so what a look-up gave out stays as it was.
type tables struct {
	accounts map[string]accountEntry
	numbers  map[string]numberEntry
	tariffs  map[string]tariffEntry
	owned    map[string][]string // account -> its numbers, sorted
	count    int                 // numbers that are not removed

	locations map[string]*time.Location
	fallback  *tariff.Table // the default tariff while none is put
}

type accountEntry struct {
	*authz.Account
	rev int64
}

type numberEntry struct {
	authz.Number
	rev     int64
	removed bool // kept, so that an older change does not bring it back
}

type tariffEntry struct {
	*tariff.Table
	rev int64
}

// noRates stands in for a tariff that is not known: its calls have no price, so
// none is let go.
var noRates = &tariff.Table{}

func newTables() *tables {
	return &tables{
		accounts:  make(map[string]accountEntry),
		numbers:   make(map[string]numberEntry),
		tariffs:   make(map[string]tariffEntry),
		owned:     make(map[string][]string),
		locations: make(map[string]*time.Location),
		fallback:  tariff.Default(),
	}
}

// rev is the revision known of a change's key, 0 for none.
func (t *tables) rev(c *Change) int64 {
	switch c.Kind {
	case KindAccount:
		return t.accounts[c.Key].rev
	case KindNumber:
		return t.numbers[c.Key].rev
	case KindTariff:
		return t.tariffs[c.Key].rev
	}
	return 0
}

// put takes a change in, whatever its revision. Accounts must be resolved.
func (t *tables) put(c *Change) {
	switch c.Kind {
	case KindAccount:
		if c.Account == nil {
			delete(t.accounts, c.Key)
			return
		}
		t.accounts[c.Key] = accountEntry{c.Account, c.Rev}
	case KindNumber:
		t.putNumber(c)
	case KindTariff:
		if c.Tariff == nil {
			delete(t.tariffs, c.Key)
			return
		}
		t.tariffs[c.Key] = tariffEntry{c.Tariff, c.Rev}
	}
}

func (t *tables) putNumber(c *Change) {
	old, known := t.numbers[c.Key]
	known = known && !old.removed
	if c.Number == nil {
		if known {
			t.disown(old.Account, c.Key)
			t.count--
		}
		t.numbers[c.Key] = numberEntry{rev: c.Rev, removed: true}
		return
	}
	t.numbers[c.Key] = numberEntry{Number: *c.Number, rev: c.Rev}
	switch {
	case !known:
		t.count++
	case old.Account != c.Number.Account:
		t.disown(old.Account, c.Key)
	default:
		return
	}
	own := t.owned[c.Number.Account]
	at, _ := slices.BinarySearch(own, c.Key)
	t.owned[c.Number.Account] = slices.Insert(own, at, c.Key)
}

func (t *tables) disown(account, e164 string) {
	own := t.owned[account]
	if at, ok := slices.BinarySearch(own, e164); ok {
		own = slices.Delete(own, at, at+1)
	}
	if len(own) == 0 {
		delete(t.owned, account)
		return
	}
	t.owned[account] = own
}

// table is the tariff of an id. One that is not known has no rates.
func (t *tables) table(id string) (*tariff.Table, bool) {
	if e, ok := t.tariffs[id]; ok {
		return e.Table, true
	}
	if id == DefaultTariff || id == "" {
		return t.fallback, true
	}
	return noRates, false
}

// resolve gives a copy of an account with its tariff and time zone filled in.
// Where one of them is not known the account has no rates, or UTC, and problem
// says so.
func (t *tables) resolve(a *authz.Account) (r *authz.Account, problem error) {
	c := *a
	table, ok := t.table(c.Tariff)
	if !ok {
		problem = &unresolved{account: c.ID, what: "tariff", value: c.Tariff}
	}
	// Resolve reads a zone's file each time; loading many accounts must not.
	zone := c.TimeZone
	loc, known := t.locations[zone]
	if known {
		c.TimeZone = "UTC"
	}
	err := c.Resolve(table)
	if known {
		c.TimeZone, c.Location = zone, loc
		return &c, problem
	}
	if err != nil {
		problem = &unresolved{account: c.ID, what: "time zone", value: zone}
	} else {
		t.locations[zone] = c.Location
	}
	return &c, problem
}

// unresolved: an account names something that is not known here.
type unresolved struct{ account, what, value string }

func (u *unresolved) Error() string {
	return "account " + u.account + " has an unknown " + u.what + ": " + u.value
}

// changes gives everything back as changes, tariffs first.
func (t *tables) changes() []Change {
	out := make([]Change, 0, len(t.accounts)+len(t.numbers)+len(t.tariffs))
	for id, e := range t.tariffs {
		out = append(out, Change{Kind: KindTariff, Key: id, Rev: e.rev, Tariff: e.Table})
	}
	for id, e := range t.accounts {
		out = append(out, Change{Kind: KindAccount, Key: id, Rev: e.rev, Account: e.Account})
	}
	for e164, e := range t.numbers {
		c := Change{Kind: KindNumber, Key: e164, Rev: e.rev}
		if !e.removed {
			c.Number = &e.Number
		}
		out = append(out, c)
	}
	return out
}

// build makes tables out of an image, and of those entries of old that the
// image lacks, where old is given. It tells how many were kept that way.
func build(entries []Change, old *tables) (t *tables, kept int, problems []error) {
	t = newTables()
	for i := range entries {
		if c := &entries[i]; c.Rev >= t.rev(c) {
			t.put(c)
		}
	}
	if old != nil {
		kept = t.keep(old)
	}
	for id, e := range t.accounts {
		r, err := t.resolve(e.Account)
		if err != nil {
			problems = append(problems, err)
		}
		t.accounts[id] = accountEntry{r, e.rev}
	}
	return t, kept, problems
}

// keep takes over what only old knows, and counts it; a removed number that old
// remembers is no loss. Their revisions start over: a source that has lost them
// may count from below.
func (t *tables) keep(old *tables) (kept int) {
	entries := old.changes()
	for i := range entries {
		c := &entries[i]
		if t.rev(c) != 0 {
			continue
		}
		c.Rev = 0
		t.put(c)
		if !c.Removed() {
			kept++
		}
	}
	return kept
}
