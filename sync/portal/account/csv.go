package account

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"

	"github.com/hmsovereign/ringfence/authz/credit"
)

// csvColumns are a CSV statement's. units and balance_units add up exactly.
var csvColumns = []string{"type", "at", "minutes", "balance", "units", "balance_units", "id", "description",
	"direction", "caller_phone", "agent_phone", "number_id", "status", "duration_sec", "cost", "currency"}

// csvStatement writes a row to each line (RFC 4180), the opening and the closing
// balance among them.
type csvStatement struct {
	out      *csv.Writer
	currency string
}

func newCSVStatement(w io.Writer, currency string) *csvStatement {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	return &csvStatement{out: out, currency: currency}
}

func (c *csvStatement) head(h statementHead) error {
	if err := c.out.Write(csvColumns); err != nil {
		return err
	}
	return c.balance("opening", h.From, h.Units)
}

// balance writes a row that has nothing but a balance.
func (c *csvStatement) balance(kind string, at stamp, units credit.Units) error {
	row := make([]string, len(csvColumns))
	copy(row, []string{kind, at.String(), "0", credit.Minutes(units).String(), "0", strconv.FormatInt(int64(units), 10)})
	return c.out.Write(row)
}

func (c *csvStatement) line(l statementLine) error {
	row := append(make([]string, 0, len(csvColumns)), string(l.Type), l.At.String(), credit.Units(l.Minutes).Credits(),
		l.Balance.String(), strconv.FormatInt(int64(l.Units), 10), strconv.FormatInt(int64(l.Left), 10))
	seconds := func(n int64) string { return strconv.FormatInt(n, 10) }
	switch {
	case l.Grant != nil:
		text := l.Grant.Kind + " " + l.Grant.Reference
		if l.Grant.Reason != "" {
			text += ": " + l.Grant.Reason
		}
		row = append(row, seconds(l.Grant.Number), plain(text), "", "", "", "", "", "", "", "")
	case l.Call != nil:
		k := l.Call
		row = append(row, k.ID.String(), "call", k.Direction.String(), plain(k.Caller), plain(k.Agent), plain(k.NumberID), k.Status,
			seconds(k.Duration), credit.Micros(k.Cost).Money(), c.currency)
	case l.Hour != nil:
		row = append(row, "", seconds(l.Hour.Calls)+" calls, dropped by retention", "", "", "", "", "",
			seconds(l.Hour.Duration), credit.Micros(l.Hour.Cost).Money(), c.currency)
	}
	return c.out.Write(row)
}

func (c *csvStatement) tail(t statementTail, at stamp) error {
	if err := c.balance("closing", at, t.Units); err != nil {
		return err
	}
	c.out.Flush()
	return c.out.Error()
}

// plain keeps a spreadsheet from taking text that somebody else chose, such as a
// withheld number's "name", for a formula (OWASP, CSV injection). A phone number
// keeps its plus.
func plain(s string) string {
	if s == "" || !strings.ContainsRune("=+-@\t\r", rune(s[0])) || s[0] == '+' && strings.Trim(s[1:], "0123456789") == "" {
		return s
	}
	return "'" + s
}
