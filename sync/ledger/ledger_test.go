package ledger

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"pgregory.net/rapid"
)

func TestStatementsAreComplete(t *testing.T) {
	files := fstest.MapFS{
		"a.sql":     {Data: []byte("-- All about calls.\n\n-- name: call_columns\na,\n-- in between\nb\n-- name: call\nPICK /*=call_columns*/ FROM calls\n")},
		"b/c.sql":   {Data: []byte("-- name: call\nPICK 2\n-- name: keys\n/*=round*/\n-- name: round\n/*=keys*/\n-- name: key\n/*=nothing*/\n-- name: sums\n/*=open\n-- name: idle\nPICK 3\n")},
		"d.sql":     {Data: []byte("PICK 1\n")},
		"README.md": {Data: []byte("not SQL")},
	}
	_, err := loadStatements(files)
	if err == nil {
		t.Fatal("incomplete statements were loaded")
	}
	for _, says := range []string{`"call" is given twice`, `"keys" includes itself`, `"nothing" is missing`, `"sums" has an include without an end`,
		`d.sql: a statement without a name`, `"accounts" is missing`, `"idle" is not used`} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("the error does not say %s: %v", says, err)
		}
	}
	blocks := make(map[string]string)
	splitBlocks("a.sql", string(files["a.sql"].Data), blocks)
	text, err := expand(blocks, "call", make(map[string]bool), nil)
	if want := "PICK a,\nb FROM calls"; err != nil || text != want {
		t.Errorf("expanded to %q, %v; want %q", text, err, want)
	}
}

// The parts of a range hold each millisecond of it once and no other.
func TestSplit(t *testing.T) {
	start := time.Date(2025, 12, 13, 0, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		minute := func(name string) time.Time {
			return start.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, name)) * time.Minute)
		}
		from, to := minute("from"), minute("to")
		if to.Before(from) {
			from, to = to, from
		}
		hours, head, tail := split(from, to, time.Time{})
		if hours.from != hours.from.Truncate(time.Hour) && hours.from != hours.to || hours.to != hours.to.Truncate(time.Hour) && hours.from != hours.to {
			t.Fatalf("hours from %v to %v are not whole", hours.from, hours.to)
		}
		for at := start; at.Before(start.Add(6 * time.Hour)); at = at.Add(time.Minute) {
			n := 0
			for _, s := range []span{hours, head, tail} {
				if !at.Before(s.from) && at.Before(s.to) {
					n++
				}
			}
			want := 0
			if !at.Before(from) && at.Before(to) {
				want = 1
			}
			if n != want {
				t.Fatalf("from %v to %v: %v is in %d parts: %v %v %v", from, to, at, n, hours, head, tail)
			}
		}
	})
}

// Where the calls are gone, a range has the hours that begin in it, so that adjacent ranges share none and lose none.
func TestSplitDropped(t *testing.T) {
	start := time.Date(2025, 12, 13, 0, 0, 0, 0, time.UTC)
	keptFrom := start.Add(4 * time.Hour)
	rapid.Check(t, func(t *rapid.T) {
		cuts := []time.Time{start}
		for range 3 {
			cuts = append(cuts, cuts[len(cuts)-1].Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "minutes"))*time.Minute))
		}
		cuts = append(cuts, keptFrom)
		if cuts[3].After(keptFrom) {
			return
		}
		counted := make(map[time.Time]int)
		for i := range len(cuts) - 1 {
			if cuts[i].Equal(cuts[i+1]) {
				continue // Sum answers an empty range by itself
			}
			hours, _, _ := split(cuts[i], cuts[i+1], keptFrom)
			for h := hours.from; h.Before(hours.to); h = h.Add(time.Hour) {
				counted[h]++
			}
		}
		for h := start; h.Before(keptFrom); h = h.Add(time.Hour) {
			if counted[h] != 1 {
				t.Fatalf("cuts %v: hour %v is counted %d times", cuts, h, counted[h])
			}
		}
	})
}

func TestErrors(t *testing.T) {
	refused := error(&RefusedError{Account: "a", Reason: "no reason"})
	wrapped := fmt.Errorf("outbox: %w", refused)
	var named interface{ Problem() string }
	if !errors.Is(wrapped, ErrRefused) || !errors.As(wrapped, &named) || named.Problem() != "invalid" || errors.Is(wrapped, ErrInvalid) {
		t.Errorf("%v is not what it should be", wrapped)
	}
	err := wrap("look", problem(ErrNotFound, "there is no %s", "x"))
	if !errors.Is(err, ErrNotFound) || err.Error() != "look: there is no x" || wrap("look", nil) != nil {
		t.Errorf("%v", err)
	}
	if s := printable("a\x00b\xffc" + strings.Repeat("é", maxText)); len(s) > maxText || checkTexts(field{"s", s}) != nil {
		t.Errorf("not printable: %.20q, %d bytes", s, len(s))
	}
}
