package cli

import (
	"strings"
	"testing"
	"time"
)

func TestTable(t *testing.T) {
	tab := NewTable("account", "company", "made", "note")
	tab.Row("acme", "Bäckerei Müller", time.Date(2025, 12, 13, 10, 0, 0, 5, time.FixedZone("", 3600)), "")
	tab.Row("b", "tab\there\x1b[31m", time.Time{}, 12)
	var b strings.Builder
	if err := tab.Write(&b); err != nil {
		t.Fatal(err)
	}
	want := `ACCOUNT  COMPANY          MADE                  NOTE
acme     Bäckerei Müller  2025-12-13T09:00:00Z  -
b        tab?here?[31m    -                     12
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestFields(t *testing.T) {
	f := &Fields{}
	f.Add("account", "acme")
	f.Add("language", "")
	f.Some("e-mail", "")
	f.Some("name", "Main line")
	f.Each("asked to end", []string{"a", "b"})
	f.Each("nothing", nil)
	var b strings.Builder
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	want := `account       acme
language      -
name          Main line
asked to end  a
              b
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
