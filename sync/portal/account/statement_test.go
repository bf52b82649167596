package account_test

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/portal/account"
)

type statementAnswer struct {
	Account string
	From    string
	To      string
	Opening float64      `json:"opening_balance"`
	Start   credit.Units `json:"opening_units"`
	Lines   []struct {
		Type    string
		At      string
		Minutes float64
		Units   credit.Units
		Left    credit.Units `json:"balance_units"`
		Grant   *struct {
			Number    int64
			Reference string
			Reason    string
		}
		Call *struct {
			ID       string
			Duration int64  `json:"duration_sec"`
			Caller   string `json:"caller_phone"`
		}
	}
	Closing float64      `json:"closing_balance"`
	End     credit.Units `json:"closing_units"`
	Total   int64        `json:"total_lines"`
	Granted credit.Units `json:"granted_units"`
	Charged credit.Units `json:"charged_units"`
}

// adds fails the test unless the statement sums from its opening to its closing balance.
func (s *statementAnswer) adds(t *testing.T) {
	t.Helper()
	left := s.Start
	for i, l := range s.Lines {
		if left += l.Units; left != l.Left {
			t.Fatalf("line %d leaves %d units, want %d", i, l.Left, left)
		}
	}
	if left != s.End || s.Start+s.Granted-s.Charged != s.End || s.Total != int64(len(s.Lines)) {
		t.Errorf("the lines add up to %d, the statement says %d: from %d, granted %d, charged %d, %d lines", left, s.End, s.Start, s.Granted, s.Charged, s.Total)
	}
}

func TestStatement(t *testing.T) {
	onLedgers(t, func(t *testing.T, r *rig) {
		key := r.open(t, "org-1", "Europe/Amsterdam", 100) // in October
		// Thirds of a credit: in minutes of any number of decimals this would not add up.
		third := used("org-1", time.Date(2025, 12, 2, 9, 0, 0, 0, time.UTC), 20)
		before := used("org-1", time.Date(2025, 11, 30, 22, 59, 59, 999e6, time.UTC), 20)
		r.ingest(t, before, third, free(used("org-1", today, 0), authz.StateRejected, "x"))
		for i := range 2 {
			c := used("org-1", time.Date(2025, 12, 3, 9, i, 0, 0, time.UTC), 20)
			c.ExtraUnits = credit.Units(i)
			r.ingest(t, c)
		}
		_, _, err := r.ledger.AddGrant(t.Context(), authz.Grant{Account: "org-1", Units: 7, Kind: ledger.KindBonus, Reference: "R-1", Reason: "sorry",
			At: time.Date(2025, 12, 2, 10, 0, 0, 0, time.UTC)})
		must(t, err)

		var got statementAnswer
		answer := r.get(t, key, "statement?start_date=2025-12-01&end_date=2025-12-31")
		answer.into(t, &got)
		got.adds(t)
		if got.Start != 6_000_000-20_000 || got.Opening != 99.66 || got.End != 6_000_000-80_000+7-1 || got.Closing != 98.66 || len(got.Lines) != 4 ||
			got.From != "2025-11-30T23:00:00.000Z" || got.To != "2025-12-31T22:59:59.999Z" || got.Account != "org-1" {
			t.Errorf("statement: %+v", got)
		}
		if l := got.Lines[0]; l.Type != "call" || l.Units != -20_000 || l.Minutes != -0.333333 || l.Call.ID != third.UID.String() || l.Call.Duration != 20 {
			t.Errorf("first line: %+v", l)
		}
		if l := got.Lines[1]; l.Type != "grant" || l.Units != 7 || l.Grant.Reference != "R-1" || l.Grant.Reason != "sorry" || l.Grant.Number != 2 {
			t.Errorf("second line: %+v", l)
		}
		if name := answer.header.Get("Content-Disposition"); name != `attachment; filename="statement-2025-12-01-2025-12-31.json"` {
			t.Errorf("name %s", name)
		}
		// The next month opens where this one closes.
		var next statementAnswer
		r.get(t, key, "statement?start_date=2026-01-01&end_date=2026-01-31").into(t, &next)
		next.adds(t)
		if next.Start != got.End || len(next.Lines) != 0 {
			t.Errorf("January opens with %d, December closed with %d", next.Start, got.End)
		}
	})
}

// The same as CSV, by parameter or by header; a formula in a caller's name stays text.
func TestStatementCSV(t *testing.T) {
	onLedgers(t, func(t *testing.T, r *rig) {
		key := r.open(t, "org-1", "UTC", 100)
		evil := used("org-1", today, 84)
		evil.Detail.From = `=HYPERLINK("http://evil.example","call me")`
		r.ingest(t, used("org-1", today.Add(-time.Hour), 20), evil)
		_, _, err := r.ledger.AddGrant(t.Context(), authz.Grant{Account: "org-1", Units: 60_000, Kind: ledger.KindBonus, Reference: "a,b\n\"c\"", At: today.Add(-time.Minute)})
		must(t, err)

		first := r.get(t, key, "statement?format=csv").body
		for _, accept := range []string{"text/csv", "text/csv, application/json;q=0.5", "text/html, TEXT/CSV"} {
			if got := r.get(t, key, "statement", "Accept", accept); got.body != first || !strings.HasPrefix(got.header.Get("Content-Type"), "text/csv") {
				t.Errorf("Accept %s: %v %s", accept, got.header, got.body)
			}
		}
		for _, accept := range []string{"", "*/*", "application/json", "text/csv;q=0", "text/csv;q=0.5, application/json", "text/*", "nonsense;;"} {
			if got := r.get(t, key, "statement", "Accept", accept); !strings.HasPrefix(got.header.Get("Content-Type"), "application/json") {
				t.Errorf("Accept %s: %v", accept, got.header)
			}
		}
		if got := r.get(t, key, "statement?format=json", "Accept", "text/csv"); !strings.HasPrefix(got.header.Get("Content-Type"), "application/json") {
			t.Errorf("the parameter goes first: %v", got.header)
		}

		rows, err := csv.NewReader(strings.NewReader(first)).ReadAll()
		must(t, err)
		if len(rows) != 6 || rows[1][0] != "opening" || rows[5][0] != "closing" {
			t.Fatalf("rows: %q", rows)
		}
		var left int64
		for i, row := range rows[1:] {
			units, err := strconv.ParseInt(row[4], 10, 64)
			must(t, err)
			balance, err := strconv.ParseInt(row[5], 10, 64)
			must(t, err)
			if i == 0 {
				left = balance
			}
			if left += units; left != balance {
				t.Errorf("row %d leaves %d, want %d", i, balance, left)
			}
		}
		if got := strings.Join(rows[2], "|"); !strings.HasPrefix(got, "call|2025-12-20T11:00:00.000Z|-0.333333|99.66|-20000|5980000|") ||
			!strings.HasSuffix(got, "|call|inbound|+4915112345678|+31850835037|0b4d7a34-6d0e-4c3e-8f53-2e8b1a6a9c11|ended|20|0.023334|EUR") {
			t.Errorf("call: %s", got)
		}
		if rows[3][7] != "bonus a,b\n\"c\"" || rows[4][9] != `'=HYPERLINK("http://evil.example","call me")` {
			t.Errorf("grant %q, caller %q", rows[3][7], rows[4][9])
		}
	})
}

// A long statement is streamed, whole.
func TestLongStatement(t *testing.T) {
	onLedgers(t, func(t *testing.T, r *rig) {
		key := r.open(t, "org-1", "UTC", 10_000)
		const calls = 2500
		var batch []authz.Record
		for i := range calls {
			batch = append(batch, used("org-1", today.Add(-time.Duration(i)*time.Minute), int64(1+i%70)))
		}
		r.ingest(t, batch...)
		var got statementAnswer
		r.get(t, key, "statement").into(t, &got)
		got.adds(t)
		if got.Total != calls {
			t.Errorf("%d lines, want %d", got.Total, calls)
		}
		rows, err := csv.NewReader(strings.NewReader(r.get(t, key, "statement?format=csv").body)).ReadAll()
		must(t, err)
		if len(rows) != calls+3 {
			t.Errorf("%d rows, want %d", len(rows), calls+3)
		}
	})
}

// breaking is a ledger whose statement fails after some lines.
type breaking struct {
	away
	after int
	hold  chan struct{} // nil: not waited for
}

func (b breaking) Statement(ctx context.Context, _ string, from, _ time.Time, fn func(ledger.Line) error) error {
	if err := fn(ledger.Line{Kind: ledger.LineOpening, At: from}); err != nil {
		return err
	}
	for i := range b.after {
		l := ledger.Line{Kind: ledger.LineGrant, At: from, Units: 1, Balance: credit.Units(i + 1),
			Grant: &authz.Grant{Number: int64(i + 1), Kind: ledger.KindBonus, Reference: strings.Repeat("x", 100)}}
		if err := fn(l); err != nil {
			return err
		}
	}
	if b.hold != nil {
		<-b.hold
	}
	return b.err
}

// A statement that breaks off never looks like a whole one, in either format: it is an error answer while it can be.
func TestBrokenStatement(t *testing.T) {
	server := services.Redis(t)
	for _, lines := range []int{0, 10, 2000} {
		r := newRig(t, sqlitetest.Open(t), server, func(c *account.Config) {
			c.Lists = breaking{away: away{err: ledger.ErrUnavailable}, after: lines}
		})
		key := r.open(t, "org-1", "UTC", 1)
		for _, format := range []string{"json", "csv"} {
			req, err := http.NewRequestWithContext(t.Context(), "GET", r.server.URL+"/api/v1/statement?format="+format, nil)
			must(t, err)
			req.Header.Set("Authorization", "Bearer "+key)
			resp, err := r.server.Client().Do(req)
			must(t, err)
			_, err = io.Copy(io.Discard, resp.Body)
			must(t, resp.Body.Close())
			if sent := lines == 2000; (resp.StatusCode == 200) != sent || (err != nil) != sent || sent == (resp.Header.Get("Content-Disposition") == "") {
				t.Errorf("%s of %d lines: status %d, %v, %v", format, lines, resp.StatusCode, resp.Header, err)
			}
		}
		// The API goes on.
		r.get(t, key, "account").into(t, new(accountAnswer))
	}
}

// Statements that are too many at once are told so, an account's own before the others'; a finished one makes room.
func TestStatementsAtOnce(t *testing.T) {
	hold := make(chan struct{})
	r := newRig(t, sqlitetest.Open(t), services.Redis(t), func(c *account.Config) {
		c.Statements = 2
		c.Lists = breaking{hold: hold, after: 1000}
	})
	key, another, third := r.open(t, "org-1", "UTC", 1), r.open(t, "org-2", "UTC", 1), r.open(t, "org-3", "UTC", 1)
	begin := func(key string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), "GET", r.server.URL+"/api/v1/statement", nil)
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+key)
		resp, err := r.server.Client().Do(req)
		must(t, err)
		return resp
	}
	refused := func(key string) {
		t.Helper()
		answer := r.get(t, key, "statement")
		answer.refused(t, "one too many", 503, "service_unavailable", "")
		if answer.header.Get("Retry-After") != "5" {
			t.Errorf("headers %v", answer.header)
		}
	}
	first := begin(key)
	refused(key)
	second := begin(another)
	refused(third)
	close(hold)
	for _, resp := range []*http.Response{first, second} {
		_, err := io.Copy(io.Discard, resp.Body)
		must(t, errors.Join(err, resp.Body.Close()))
	}
	r.client = r.server.Client() // the ledger of this test has no closing line
	eventually(t, "room for a statement", func() bool { return r.get(t, third, "statement").status == 200 })
}

// A client that stops reading does not keep its place.
func TestStalledClient(t *testing.T) {
	r := newRig(t, sqlitetest.Open(t), services.Redis(t), func(c *account.Config) {
		c.Statements, c.StalledAfter = 1, 50*time.Millisecond
		c.Lists = breaking{after: 100_000}
	})
	key := r.open(t, "org-1", "UTC", 1)
	conn, err := net.Dial("tcp", r.server.Listener.Addr().String())
	must(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET /api/v1/statement HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", key)
	must(t, err)
	head := make([]byte, 100)
	_, err = io.ReadFull(conn, head) // and no more
	must(t, err)
	r.client = r.server.Client()
	eventually(t, "room for a statement", func() bool { return r.send(t, http.MethodHead, key, "statement", nil).status == 200 })
}

func BenchmarkAccount(b *testing.B)   { benchmark(b, "account") }
func BenchmarkUsage(b *testing.B)     { benchmark(b, "usage?start_date=2025-12-01&end_date=2025-12-31") }
func BenchmarkStatement(b *testing.B) { benchmark(b, "statement") }

// benchmark answers without a network, with 20,000 calls in the month.
func benchmark(b *testing.B, path string) {
	for _, kind := range ledgers {
		b.Run(kind.name, func(b *testing.B) {
			r := newRig(b, kind.open(b), services.Redis(b))
			key := r.open(b, "org-1", "Europe/Amsterdam", 1_000_000)
			for range 20 {
				var batch []authz.Record
				for i := range 1000 {
					batch = append(batch, used("org-1", today.Add(-time.Duration(i)*time.Minute), 60))
				}
				r.ingest(b, batch...)
			}
			for i := range 100 {
				r.answer(b, r.hold(b, "org-1", fmt.Sprint("live-", i), base))
			}
			req, err := http.NewRequest("GET", "http://x/api/v1/"+path, nil)
			must(b, err)
			req.Header.Set("Authorization", "Bearer "+key)
			b.ReportAllocs()
			for b.Loop() {
				w := &nowhere{h: http.Header{}}
				r.api.ServeHTTP(w, req)
				if w.status != http.StatusOK {
					b.Fatalf("status %d", w.status)
				}
			}
		})
	}
}

// nowhere is an answer that nobody reads.
type nowhere struct {
	h      http.Header
	status int
}

func (n *nowhere) Header() http.Header    { return n.h }
func (n *nowhere) WriteHeader(status int) { n.status = status }
func (n *nowhere) Write(b []byte) (int, error) {
	n.status = max(n.status, http.StatusOK)
	return len(b), nil
}
