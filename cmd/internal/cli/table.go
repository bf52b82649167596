package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// Table lays out rows in columns.
type Table struct {
	rows [][]string
}

// NewTable begins a table with the names of its columns.
func NewTable(columns ...string) *Table {
	t := &Table{}
	for i, c := range columns {
		columns[i] = strings.ToUpper(c)
	}
	t.rows = append(t.rows, columns)
	return t
}

// Row adds a row: texts, and whatever else fmt prints.
func (t *Table) Row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = cell(c)
	}
	t.rows = append(t.rows, row)
}

// cell is a value as it is shown. What a terminal would take for a command, or
// what would break the columns, is shown as a question mark.
func cell(v any) string {
	var s string
	switch v := v.(type) {
	case time.Time:
		if !v.IsZero() {
			s = v.UTC().Format(time.RFC3339)
		}
	default:
		s = fmt.Sprint(v)
	}
	if s == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// Write prints the table.
func (t *Table) Write(w io.Writer) error { return columns(w, t.rows) }

// Fields are what is to be said of one thing: a line each, the name first.
type Fields struct {
	rows [][]string
}

// Add adds a line.
func (f *Fields) Add(name string, value any) { f.rows = append(f.rows, []string{name, cell(value)}) }

// Some adds a line unless the value is empty.
func (f *Fields) Some(name string, value any) {
	if c := cell(value); c != "-" {
		f.rows = append(f.rows, []string{name, c})
	}
}

// Each adds a line for each value, with the name at the first.
func (f *Fields) Each(name string, values []string) {
	for i, v := range values {
		if i > 0 {
			name = ""
		}
		f.Add(name, v)
	}
}

// Write prints the lines.
func (f *Fields) Write(w io.Writer) error { return columns(w, f.rows) }

// columns aligns rows, without a space at the end of any line.
func columns(w io.Writer, rows [][]string) error {
	var b bytes.Buffer
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}
