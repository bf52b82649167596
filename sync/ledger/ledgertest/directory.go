package ledgertest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

func diff(t testing.TB, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(tariff.Table{}, authz.Account{})); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// says fails the test unless err is of a kind, tells its word, and says a text.
func says(t testing.TB, err error, kind *ledger.Error, text string) {
	t.Helper()
	want(t, err, kind)
	var named interface{ Problem() string }
	if err != nil && (!strings.Contains(err.Error(), text) || !errors.As(err, &named) || named.Problem() != kind.Problem()) {
		t.Errorf("error is %v, want a %s that says %q", err, kind.Problem(), text)
	}
}

func create(t testing.TB, l *ledger.Ledger, ids ...string) {
	t.Helper()
	for _, id := range ids {
		_, _, err := l.CreateAccount(t.Context(), exampleAccount(id))
		must(t, err)
	}
}

func testAccounts(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := exampleAccount("org-1")
	made, rev, err := l.CreateAccount(ctx, a)
	must(t, err)
	diff(t, "made", made, a)
	if rev < 1 {
		t.Errorf("revision %d", rev)
	}
	got, err := l.Account(ctx, "org-1")
	must(t, err)
	diff(t, "account", got, a)
	_, _, err = l.CreateAccount(ctx, a)
	says(t, err, ledger.ErrExists, `account "org-1" exists already`)
	_, err = l.Account(ctx, "org-2")
	says(t, err, ledger.ErrNotFound, `no account "org-2"`)
	poor := exampleAccount("poor")
	poor.Tariff = "none"
	_, _, err = l.CreateAccount(ctx, poor)
	says(t, err, ledger.ErrNotFound, `no tariff "none"`)

	stamped := exampleAccount("org-0")
	stamped.Created = time.Time{}
	made, _, err = l.CreateAccount(ctx, stamped)
	must(t, err)
	if made.Created.IsZero() {
		t.Error("the account has no time")
	}

	changed, rev2, err := l.UpdateAccount(ctx, "org-1", func(a *authz.Account) error {
		a.Status, a.Company, a.Limits = authz.Suspended, "Other", authz.Limits{}
		a.ID, a.Created = "ignored", time.Time{}
		return nil
	})
	must(t, err)
	a.Status, a.Company, a.Limits = authz.Suspended, "Other", authz.Limits{}
	diff(t, "updated account", changed, a)
	same, rev3, err := l.UpdateAccount(ctx, "org-1", func(a *authz.Account) error { a.Company = "Other"; return nil })
	must(t, err)
	diff(t, "account after a change to the same", same, a)
	if rev2 <= rev || rev3 != rev2 {
		t.Errorf("revisions are %d, %d and, without a change, %d", rev, rev2, rev3)
	}
	all, err := l.Accounts(ctx)
	must(t, err)
	diff(t, "accounts", all, []authz.Account{made, a})

	refuse := errors.New("refuse")
	_, _, err = l.UpdateAccount(ctx, "org-1", func(a *authz.Account) error { a.Company = "Third"; return refuse })
	want(t, err, refuse)
	_, _, err = l.UpdateAccount(ctx, "org-9", func(*authz.Account) error { return nil })
	says(t, err, ledger.ErrNotFound, `no account "org-9"`)
	_, _, err = l.UpdateAccount(ctx, "org-1", func(a *authz.Account) error { a.Tariff = "none"; return nil })
	says(t, err, ledger.ErrNotFound, `no tariff "none"`)
	got, err = l.Account(ctx, "org-1")
	must(t, err)
	diff(t, "account after failed updates", got, a)

	currency := func(c string) func(*authz.Account) error {
		return func(a *authz.Account) error { a.Currency = c; return nil }
	}
	_, _, err = l.UpdateAccount(ctx, "org-1", currency("USD"))
	must(t, err)
	_, _, err = l.AddGrant(ctx, authz.Grant{Account: "org-1", Units: 1, Kind: ledger.KindBonus, Reference: "welcome"})
	must(t, err)
	_, _, err = l.UpdateAccount(ctx, "org-1", currency("EUR"))
	says(t, err, ledger.ErrConflict, "grants or calls in USD")
}

// Updates of one account at once are all kept, each under its own revision.
func testUpdateRace(t *testing.T, l *ledger.Ledger) {
	const workers, updates = 4, 10
	create(t, l, "a")
	var wg sync.WaitGroup
	revisions := make(chan int64, workers*updates)
	for range workers {
		wg.Go(func() {
			for range updates {
				_, rev, err := l.UpdateAccount(context.Background(), "a", func(a *authz.Account) error { a.Limits.MaxCalls++; return nil })
				if err != nil {
					t.Error(err)
				}
				revisions <- rev
			}
		})
	}
	wg.Wait()
	close(revisions)
	seen := make(map[int64]bool)
	for rev := range revisions {
		seen[rev] = true
	}
	a, err := l.Account(t.Context(), "a")
	must(t, err)
	equal(t, "limit", a.Limits.MaxCalls, 10+workers*updates)
	equal(t, "revisions", len(seen), workers*updates)
}

func testNumbers(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	create(t, l, "a", "b")
	n := authz.Number{ID: uuid.NewString(), E164: "+31850835037", Account: "a", Name: "Main line", Created: noon}
	added, rev, err := l.AddNumber(ctx, n)
	must(t, err)
	diff(t, "added", added, n)
	other, rev2, err := l.AddNumber(ctx, authz.Number{E164: "+31850835038", Account: "b"})
	must(t, err)
	if _, err := uuid.Parse(other.ID); err != nil || other.Created.IsZero() || rev2 <= rev {
		t.Errorf("added number is %+v at %d", other, rev2)
	}

	_, _, err = l.AddNumber(ctx, authz.Number{E164: n.E164, Account: "b"})
	says(t, err, ledger.ErrConflict, `belongs to account "a"`)
	if strings.Contains(err.Error(), n.E164) {
		t.Errorf("the error shows the number: %v", err)
	}
	_, _, err = l.AddNumber(ctx, authz.Number{E164: n.E164, Account: "a"})
	says(t, err, ledger.ErrExists, `account "a" already`)
	_, _, err = l.AddNumber(ctx, authz.Number{ID: n.ID, E164: "+31850835039", Account: "b"})
	want(t, err, ledger.ErrExists)
	_, _, err = l.AddNumber(ctx, authz.Number{E164: "+31850835039", Account: "nobody"})
	says(t, err, ledger.ErrNotFound, `no account "nobody"`)

	renamed, _, err := l.RenameNumber(ctx, n.E164, "Front desk")
	must(t, err)
	n.Name = "Front desk"
	diff(t, "renamed", renamed, n)
	_, _, err = l.RenameNumber(ctx, "+1", "x")
	want(t, err, ledger.ErrNotFound)

	all, err := l.Numbers(ctx, "")
	must(t, err)
	diff(t, "all numbers", all, []authz.Number{n, other})
	own, err := l.Numbers(ctx, "a")
	must(t, err)
	diff(t, "numbers of a", own, []authz.Number{n})
	got, err := l.Number(ctx, n.E164)
	must(t, err)
	diff(t, "number", got, n)

	removed, rev3, err := l.RemoveNumber(ctx, n.E164)
	must(t, err)
	diff(t, "removed", removed, n)
	_, _, err = l.RemoveNumber(ctx, n.E164)
	says(t, err, ledger.ErrNotFound, "no account has number +3185083****")
	_, err = l.Number(ctx, n.E164)
	want(t, err, ledger.ErrNotFound)
	again, rev4, err := l.AddNumber(ctx, authz.Number{E164: n.E164, Account: "b"})
	must(t, err)
	if again.ID == n.ID || rev4 <= rev3 || rev3 <= rev2 {
		t.Errorf("added again: %+v at %d after %d", again, rev4, rev3)
	}
}

func testKeys(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	create(t, l, "a")
	hash := func(s string) []byte { h := sha256.Sum256([]byte(s)); return h[:] }
	k := ledger.APIKey{ID: "key-1", Account: "a", Name: "CI", Prefix: "rf_live_ab12", Hash: hash("1"), Created: noon, Expires: noon.Add(time.Hour)}
	added, _, err := l.AddKey(ctx, k)
	must(t, err)
	diff(t, "added", added, k)
	second, _, err := l.AddKey(ctx, ledger.APIKey{Account: "a", Hash: hash("2"), Revoked: noon, LastUsed: noon})
	must(t, err)
	if second.ID == "" || second.Created.IsZero() || !second.Revoked.IsZero() || !second.LastUsed.IsZero() {
		t.Errorf("added key is %+v", second)
	}

	_, _, err = l.AddKey(ctx, ledger.APIKey{Account: "a", Hash: hash("1")})
	want(t, err, ledger.ErrExists)
	_, _, err = l.AddKey(ctx, ledger.APIKey{Account: "nobody", Hash: hash("3")})
	want(t, err, ledger.ErrNotFound)
	_, _, err = l.AddKey(ctx, ledger.APIKey{Account: "a", Hash: []byte("rf_live_the_key_itself")})
	want(t, err, ledger.ErrInvalid)

	got, err := l.KeyByHash(ctx, hash("1"))
	must(t, err)
	diff(t, "by hash", got, k)
	_, err = l.KeyByHash(ctx, hash("9"))
	want(t, err, ledger.ErrNotFound)

	used := noon.Add(time.Minute)
	must(t, l.TouchKeys(ctx, map[string]time.Time{k.ID: used, "gone": used}))
	must(t, l.TouchKeys(ctx, map[string]time.Time{k.ID: noon}))
	must(t, l.TouchKeys(ctx, nil))
	k.LastUsed = used
	got, _, err = l.ExpireKey(ctx, k.ID, time.Time{})
	must(t, err)
	k.Expires = time.Time{}
	diff(t, "without an end", got, k)

	revoked, rev, err := l.RevokeKey(ctx, k.ID)
	must(t, err)
	if revoked.Revoked.IsZero() || rev < 1 {
		t.Errorf("revoked: %+v at %d", revoked, rev)
	}
	again, _, err := l.RevokeKey(ctx, k.ID)
	must(t, err)
	diff(t, "revoked again", again, revoked)
	_, _, err = l.RevokeKey(ctx, "gone")
	says(t, err, ledger.ErrNotFound, `no API key "gone"`)
	_, _, err = l.ExpireKey(ctx, "gone", noon)
	want(t, err, ledger.ErrNotFound)
	_, err = l.Key(ctx, "gone")
	want(t, err, ledger.ErrNotFound)

	own, err := l.Keys(ctx, "a")
	must(t, err)
	all, err := l.Keys(ctx, "")
	must(t, err)
	equal(t, "keys", len(own), 2)
	diff(t, "all keys", all, own)
}

func table(t testing.TB, text string) *tariff.Table {
	t.Helper()
	parsed, err := tariff.Parse([]byte(text))
	must(t, err)
	return parsed
}

func testTariffs(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	priced := func(id string, version int, credits string) *tariff.Table {
		return table(t, fmt.Sprintf("id: %s\nversion: %d\nrates:\n  - credits_per_minute: %s\n", id, version, credits))
	}
	var last int64
	for _, step := range []struct {
		name     string
		put      *tariff.Table
		version  int64
		recorded bool
	}{
		{"new", priced("standard", 3, "1"), 3, true},
		{"the same again", priced("standard", 3, "1"), 3, false},
		{"the same under another version", priced("standard", 8, "1"), 3, false},
		{"other rates under the same version", priced("standard", 3, "2"), 4, true},
		{"other rates under a higher version", priced("standard", 20, "3"), 20, true},
		{"other rates under a lower version", priced("standard", 9, "1"), 21, true},
	} {
		now, rev, err := l.PutTariff(ctx, step.put)
		must(t, err)
		equal(t, step.name+": version", now.Version(), step.version)
		equal(t, step.name+": recorded", rev > last, step.recorded)
		if rev < last {
			t.Errorf("%s: revision %d after %d", step.name, rev, last)
		}
		last = rev
	}
	_, _, err := l.PutTariff(ctx, table(t, "id: standard\ncurrency: USD\ncredit_price: 0.08\nrates:\n  - free: true\n"))
	says(t, err, ledger.ErrConflict, `"standard" is in EUR`)

	now, err := l.Tariff(ctx, "standard")
	must(t, err)
	equal(t, "version in force", now.Version(), 21)
	was, err := l.TariffVersion(ctx, "standard", 4)
	must(t, err)
	rate, err := was.Lookup(tariff.Outbound, "", "31850835037")
	must(t, err)
	equal(t, "rate of version 4", rate.Rate, 2*credit.PerCredit)
	_, err = l.TariffVersion(ctx, "standard", 5)
	says(t, err, ledger.ErrNotFound, `"standard" has no version 5`)
	_, err = l.Tariff(ctx, "none")
	says(t, err, ledger.ErrNotFound, `no tariff "none"`)

	// "default" is there before it is put.
	for _, read := range []func() (*tariff.Table, error){
		func() (*tariff.Table, error) { return l.Tariff(ctx, "default") },
		func() (*tariff.Table, error) { return l.TariffVersion(ctx, "default", 1) },
	} {
		d, err := read()
		must(t, err)
		equal(t, "version of default", d.Version(), 1)
	}
	dear, rev, err := l.PutTariff(ctx, priced("default", 1, "2"))
	must(t, err)
	equal(t, "version of the first other default", dear.Version(), 2)
	if rev <= last {
		t.Errorf("revision %d after %d", rev, last)
	}
	all, err := l.Tariffs(ctx)
	must(t, err)
	if len(all) != 2 || all[0].ID() != "default" || all[0].Version() != 2 || all[1].Version() != 21 {
		t.Errorf("tariffs in force: %v", all)
	}
}

func testChanges(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	start, err := l.Revision(ctx)
	must(t, err)
	none, err := l.Changes(ctx, start)
	must(t, err)
	diff(t, "no changes", none, ledger.Changes{Revision: start})

	create(t, l, "a", "b")
	n, _, err := l.AddNumber(ctx, authz.Number{E164: "+31850835037", Account: "a"})
	must(t, err)
	k, _, err := l.AddKey(ctx, ledger.APIKey{Account: "a", Hash: make([]byte, 32)})
	must(t, err)
	_, _, err = l.PutTariff(ctx, table(t, "id: standard\nrates:\n  - free: true\n"))
	must(t, err)
	whole, err := l.Changes(ctx, 0)
	must(t, err)
	if len(whole.Accounts) != 2 || len(whole.Numbers) != 1 || len(whole.Keys) != 1 || len(whole.Tariffs) != 1 || len(whole.Removed) != 0 {
		t.Fatalf("the whole directory is %+v", whole)
	}

	must(t, l.TouchKeys(ctx, map[string]time.Time{k.ID: noon}))
	_, _, err = l.AddGrant(ctx, authz.Grant{Account: "a", Units: 1, Kind: ledger.KindBonus, Reference: "r"})
	must(t, err)
	_, _, err = l.UpdateAccount(ctx, "a", func(*authz.Account) error { return nil })
	must(t, err)
	revision, err := l.Revision(ctx)
	must(t, err)
	equal(t, "revision after what is no change of the directory", revision, whole.Revision)

	b, bRev, err := l.UpdateAccount(ctx, "b", func(a *authz.Account) error { a.Status = authz.Suspended; return nil })
	must(t, err)
	_, nRev, err := l.RemoveNumber(ctx, n.E164)
	must(t, err)
	moved, movedRev, err := l.AddNumber(ctx, authz.Number{E164: n.E164, Account: "b"})
	must(t, err)
	k, kRev, err := l.RevokeKey(ctx, k.ID)
	must(t, err)
	got, err := l.Changes(ctx, whole.Revision)
	must(t, err)
	diff(t, "changes", got, ledger.Changes{
		Revision: kRev,
		Accounts: []ledger.Revised[authz.Account]{{Revision: bRev, Value: b}},
		Numbers:  []ledger.Revised[authz.Number]{{Revision: movedRev, Value: moved}},
		Removed:  []ledger.Revised[authz.Number]{{Revision: nRev, Value: n}},
		Keys:     []ledger.Revised[ledger.APIKey]{{Revision: kRev, Value: k}},
	})

	whole, err = l.Changes(ctx, 0)
	must(t, err)
	diff(t, "numbers of the whole directory", whole.Numbers, got.Numbers)
	equal(t, "removed of the whole directory", len(whole.Removed), 1)
}

func testBadDirectoryInput(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	for name, spoil := range map[string]func(*authz.Account){
		"id is missing":            func(a *authz.Account) { a.ID = "" },
		"currency is missing":      func(a *authz.Account) { a.Currency = "" },
		"tariff is missing":        func(a *authz.Account) { a.Tariff = "" },
		"time_zone is missing":     func(a *authz.Account) { a.TimeZone = "" },
		`status "asleep"`:          func(a *authz.Account) { a.Status = "asleep" },
		"max_calls is -1":          func(a *authz.Account) { a.Limits.MaxCalls = -1 },
		"max_seconds is -1":        func(a *authz.Account) { a.Limits.MaxSeconds = -1 },
		"spend_per_day is 115":     func(a *authz.Account) { a.Limits.SpendPerDay = 1 << 60 },
		"company_name has a NUL":   func(a *authz.Account) { a.Company = "a\x00b" },
		"email is not UTF-8":       func(a *authz.Account) { a.Email = "\xff" },
		"company_name has 5000 by": func(a *authz.Account) { a.Company = strings.Repeat("x", 5000) },
	} {
		a := exampleAccount("bad")
		spoil(&a)
		_, _, err := l.CreateAccount(ctx, a)
		says(t, err, ledger.ErrInvalid, name)
	}
	create(t, l, "a")
	for _, n := range []authz.Number{{Account: "a"}, {E164: "+1"}, {E164: "+1", Account: "a", Name: "\x00"}} {
		_, _, err := l.AddNumber(ctx, n)
		want(t, err, ledger.ErrInvalid)
	}
	_, _, err := l.UpdateAccount(ctx, "a", func(a *authz.Account) error { a.TimeZone = ""; return nil })
	want(t, err, ledger.ErrInvalid)
	all, err := l.Accounts(ctx)
	must(t, err)
	diff(t, "accounts", all, []authz.Account{exampleAccount("a")})
}

// Text is only ever an argument, never a part of a statement.
func testHostileText(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	for _, text := range []string{"'; DROP TABLE calls; --", "$1", "\\'", "%_", "\u202e\U0001F4DE", strings.Repeat("'", 500), "a\tb\nc"} {
		a := exampleAccount(text)
		a.Company, a.Email, a.Language = text, text, text
		_, _, err := l.CreateAccount(ctx, a)
		must(t, err)
		got, err := l.Account(ctx, text)
		must(t, err)
		diff(t, "account", got, a)
		r := call(text, noon, 60)
		r.Key.CallID, r.Key.Switch, r.Reason = text, text, text
		r.Detail = authz.Detail{From: text, To: text, FromRaw: text, ToRaw: text, NumberID: text, Mode: text, Tariff: text, Prefix: text, Currency: text}
		equal(t, "outcome", ingest(t, l, r)[0], ledger.Inserted)
		c, err := l.CallByKey(ctx, r.Key)
		must(t, err)
		diff(t, "call", c.Record, r)
		_, err = l.KeyByHash(ctx, []byte(text))
		want(t, err, ledger.ErrNotFound)
	}
}
