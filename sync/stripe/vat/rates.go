package vat

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrNoRate: the table has no rate of a country at a date.
var ErrNoRate = errors.New("no VAT rate is known")

// mostPercent bounds a rate against slips of the keyboard.
const mostPercent = 50_00

// Table holds the rates of countries, each valid from a date on. It does not change.
type Table struct {
	rates map[string][]dated // by date
}

type dated struct {
	from time.Time
	rate int64
}

//go:embed rates.csv
var builtIn []byte

// AsOf is the day on which the built-in table was compared with its sources.
const AsOf = "2026-01-26"

// BuiltIn is the table that the program brings, of the 27 member states.
var BuiltIn = sync.OnceValues(func() (*Table, error) { return ReadTable(bytes.NewReader(builtIn)) })

// ReadTable reads lines of country,valid from,percent, such as EE,2025-07-01,24 or FI,2024-09-01,25.5. Lines that begin
// with # are comments. Every member state of the EU must have a rate; other countries (the seller's own) may have one.
// Errors: all that is wrong, by line.
func ReadTable(r io.Reader) (*Table, error) {
	in := csv.NewReader(r)
	in.Comment, in.FieldsPerRecord, in.TrimLeadingSpace = '#', -1, true
	t := &Table{rates: make(map[string][]dated)}
	var errs []error
	for {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("VAT rates: %w", err)
		}
		line, _ := in.FieldPos(0)
		if err := t.add(record); err != nil {
			errs = append(errs, fmt.Errorf("VAT rates, line %d: %w", line, err))
		}
	}
	for country, rates := range t.rates {
		slices.SortFunc(rates, func(a, b dated) int { return a.from.Compare(b.from) })
		for i := 1; i < len(rates); i++ {
			if rates[i].from.Equal(rates[i-1].from) {
				errs = append(errs, fmt.Errorf("VAT rates: %s has two from %s on", country, rates[i].from.Format(time.DateOnly)))
			}
		}
	}
	for _, country := range Members() {
		if t.rates[country] == nil {
			errs = append(errs, fmt.Errorf("VAT rates: %s has none", country))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return t, nil
}

func (t *Table) add(record []string) error {
	if len(record) != 3 {
		return fmt.Errorf("has %d fields, want country,valid from,percent", len(record))
	}
	country := strings.TrimSpace(record[0])
	if country == prefixGreece {
		country = "GR"
	}
	if !KnownCountry(country) {
		return fmt.Errorf("%q is not a country's code (ISO 3166-1 alpha-2)", country)
	}
	from, err := time.Parse(time.DateOnly, strings.TrimSpace(record[1]))
	if err != nil {
		return fmt.Errorf("%q is not a date such as 2025-07-01", record[1])
	}
	rate, err := ParsePercent(strings.TrimSpace(record[2]))
	if err != nil {
		return err
	}
	t.rates[country] = append(t.rates[country], dated{from, rate})
	return nil
}

// ParsePercent reads 21, 25.5 or 8.25 as hundredths of a percent, from 0 to 50.
func ParsePercent(s string) (int64, error) {
	whole, part, _ := strings.Cut(s, ".")
	digits := part + "00"[:max(0, 2-len(part))]
	rate, err := strconv.ParseUint(whole+digits, 10, 32)
	if err != nil || whole == "" || len(part) > 2 || strings.HasSuffix(s, ".") || rate > mostPercent {
		return 0, fmt.Errorf("%q is not a percentage from 0 to 50 with at most two decimals", s)
	}
	return int64(rate), nil
}

// Hundredths reads a percentage of any number of decimals, such as 8.875, rounded half up: to be shown, not to be
// reckoned with. What is no percentage is 0.
func Hundredths(s string) int64 {
	whole, part, _ := strings.Cut(s, ".")
	part += "000"
	n, err := strconv.ParseInt(whole+part[:3], 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return (n + 5) / 10
}

// Percent writes hundredths of a percent as people do: 21, 25.5.
func Percent(rate int64) string {
	s := fmt.Sprintf("%d.%02d", rate/100, rate%100)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// Rate is a country's standard rate on the day (UTC) of a time. Errors: [ErrNoRate].
func (t *Table) Rate(country string, at time.Time) (int64, error) {
	rates := t.rates[country]
	for i := len(rates) - 1; i >= 0; i-- {
		if !rates[i].from.After(at) {
			return rates[i].rate, nil
		}
	}
	return 0, fmt.Errorf("%w: %s on %s", ErrNoRate, country, at.UTC().Format(time.DateOnly))
}
