package directory

import (
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/hmsovereign/ringfence/authz/tariff"
)

// Look-ups go on, and are whole, while everything changes.
func TestLookupsWhileChanging(t *testing.T) {
	ctx := t.Context()
	d := New(Config{})
	d.replace(&Image{Position: Position{Gen: "g"}, Entries: many(2*repriceStep, 1)}, false)
	done := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				a, ok := d.Account(fmt.Sprintf("account-%06d", i%(2*repriceStep)))
				if !ok || a.Table == nil || a.Location == nil || a.TariffVersion() == "" {
					t.Errorf("account %d is %+v", i, a)
					return
				}
				if n, ok := d.Number("+31850000007"); ok && n.Account == "" {
					t.Error("a number without an account")
					return
				}
				d.Numbers("account-000007", "", 0)
			}
		})
	}
	writers.Go(func() {
		for rev := range int64(20) {
			if err := d.PutTariff(ctx, rev+1, tariff.Default().WithVersion(rev)); err != nil {
				t.Error(err)
			}
		}
	})
	writers.Go(func() {
		for i := range int64(300) {
			if err := d.PutAccount(ctx, 10_000+i, account(fmt.Sprintf("account-%06d", i))); err != nil {
				t.Error(err)
			}
			n := number("+31850000007", fmt.Sprintf("account-%06d", i%3))
			if i%4 == 3 {
				if err := d.DropNumber(ctx, 10_000+i, n.E164); err != nil {
					t.Error(err)
				}
			} else if err := d.PutNumber(ctx, 10_000+i, n); err != nil {
				t.Error(err)
			}
		}
	})
	writers.Go(func() {
		for range 5 {
			d.replace(&Image{Position: Position{Gen: "g"}, Entries: many(2*repriceStep, 1)}, true)
		}
	})
	writers.Wait()
	close(done)
	readers.Wait()
}

// Whatever the order in which changes come in, twice or not, the latest state
// of each stands, and the numbers of an account are those it owns.
func TestConvergence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		revs := rapid.Permutation(rapid.SliceOfN(rapid.Int64Range(1, 40), 1, 60).Draw(t, "revs")).Draw(t, "order")
		d := New(Config{})
		latest := map[string]Change{}
		for _, rev := range revs {
			// What a revision says follows from it: the same one always says the same.
			e164 := fmt.Sprintf("+3185083503%d", rev%3)
			c := Change{Kind: KindNumber, Key: e164, Rev: rev}
			if rev%5 != 0 {
				n := number(e164, fmt.Sprint("a", rev%2))
				c.Number = &n
			}
			d.apply([]Change{c})
			if latest[e164].Rev < rev {
				latest[e164] = c
			}
		}
		owned := map[string]int{}
		for e164, c := range latest {
			got, ok := d.Number(e164)
			if ok == c.Removed() || ok && got != *c.Number {
				t.Fatalf("%s is %+v, %t; want %+v", e164, got, ok, c.Number)
			}
			if ok {
				owned[got.Account]++
			}
		}
		for _, a := range []string{"a0", "a1"} {
			if n := d.NumberCount(a); n != owned[a] || len(d.Numbers(a, "", 0)) != n {
				t.Fatalf("%s has %d numbers, want %d", a, n, owned[a])
			}
		}
		if d.t.count != owned["a0"]+owned["a1"] {
			t.Fatalf("%d numbers counted", d.t.count)
		}
		// Everything given back makes the same tables.
		again, _, _ := build(d.t.changes(), nil)
		if again.count != d.t.count || len(again.numbers) != len(d.t.numbers) {
			t.Fatal("tables rebuilt from their changes differ")
		}
	})
}

func TestAccountsPaged(t *testing.T) {
	d := New(Config{})
	d.replace(&Image{Entries: many(10, 0)}, false)
	var got []string
	after := ""
	for {
		page := d.Accounts(after, 3)
		if len(page) == 0 {
			break
		}
		for _, a := range page {
			got = append(got, a.ID)
		}
		after = page[len(page)-1].ID
	}
	if len(got) != 10 || got[0] != "account-000000" || got[9] != "account-000009" {
		t.Errorf("pages: %v", got)
	}
	if a, ok := d.Account("x"); ok || a != nil {
		t.Errorf("%+v", a)
	}
}
