package account_test

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The customer's document, to the letter.
const documentAccount = `{
  "id": "org-uuid",
  "company_name": "Your Company",
  "minutes_balance": 500,
  "monthly_usage_minutes": 120
}`

const documentUsage = `{
  "usage": [
    {
      "id": "usage-uuid",
      "duration_sec": 84,
      "created_at": "2025-12-13T10:00:00.000Z",
      "number_id": "number-uuid"
    }
  ],
  "summary": {
    "total_seconds": 7200,
    "total_minutes": 120,
    "total_cost": 8.40
  }
}`

// The document's numbers, by its own requests: its fields come first, in its order, with its bytes.
func TestDocument(t *testing.T) {
	onLedgers(t, func(t *testing.T, r *rig) {
		key := r.open(t, "org-uuid", "UTC", 620)
		shown := used("org-uuid", time.Date(2025, 12, 13, 10, 0, 0, 0, time.UTC), 84)
		shown.UID = uuid.MustParse("019b1730-5e80-7f24-8000-0123456789ab")
		records := []authz.Record{shown, used("org-uuid", time.Date(2025, 11, 30, 23, 59, 59, 0, time.UTC), 600)}
		for i := range 60 { // 7,116 s more, before the one that is shown
			seconds := int64(118)
			if i == 0 {
				seconds = 154
			}
			records = append(records, used("org-uuid", time.Date(2025, 12, 2, 8, i, 0, 0, time.UTC), seconds))
		}
		r.ingest(t, records...)
		r.grant(t, authz.Grant{Account: "org-uuid", Units: -120 * 60_000, Kind: "adjustment", Reference: "what the calls cost"})

		got := r.get(t, key, "account")
		firstOf(t, got.body, documentAccount)
		if want := strings.TrimSuffix(documentAccount, "\n}") + ","; !strings.HasPrefix(got.body, want) {
			t.Errorf("the account's bytes are not the document's:\n%s", got.body)
		}
		golden(t, "account.json", got.body)

		got = r.get(t, key, "usage?start_date=2025-12-01&end_date=2025-12-31&limit=1")
		document := strings.NewReplacer("usage-uuid", shown.UID.String(), "number-uuid", shown.Detail.NumberID).Replace(documentUsage)
		firstOf(t, got.body, document)
		entry := document[:strings.Index(document, "\n    }")] + ","
		total := document[strings.Index(document, `  "summary"`):strings.LastIndex(document, "\n  }")] + ","
		if !strings.HasPrefix(got.body, entry) || !strings.Contains(got.body, "\n"+total) {
			t.Errorf("the usage's bytes are not the document's:\n%s", got.body)
		}
		golden(t, "usage.json", got.body)
	})
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		must(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

// node is a JSON value with its fields in their order: a literal as written, or an object's or array's parts.
type node struct {
	literal string
	names   []string
	parts   []node
}

// firstOf fails the test unless each of the document's objects has its fields first, in order, with the same values.
func firstOf(t *testing.T, got, document string) {
	t.Helper()
	compare(t, "answer", readNode(t, got), readNode(t, document))
}

func compare(t *testing.T, path string, got, want node) {
	t.Helper()
	if got.literal != want.literal || len(got.names) < len(want.names) || len(got.parts) < len(want.parts) {
		t.Errorf("%s is %+v, want %+v", path, got, want)
		return
	}
	for i := range want.parts {
		name := "[]"
		if i < len(want.names) {
			name = want.names[i]
			if got.names[i] != name {
				t.Errorf("field %d of %s is %q, want %q", i, path, got.names[i], name)
				return
			}
		}
		compare(t, path+"."+name, got.parts[i], want.parts[i])
	}
}

func readNode(t *testing.T, text string) node {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	n := nextNode(t, d)
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		t.Errorf("something follows the JSON value: %v", err)
	}
	return n
}

func nextNode(t *testing.T, d *json.Decoder) node {
	t.Helper()
	token, err := d.Token()
	must(t, err)
	delim, ok := token.(json.Delim)
	if !ok {
		b, err := json.Marshal(token) // a number as it was written
		must(t, err)
		return node{literal: string(b)}
	}
	n := node{literal: delim.String()}
	for d.More() {
		if delim == '{' {
			name, err := d.Token()
			must(t, err)
			n.names = append(n.names, name.(string))
		}
		n.parts = append(n.parts, nextNode(t, d))
	}
	_, err = d.Token()
	must(t, err)
	return n
}
