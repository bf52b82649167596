package account

import (
	"regexp"
	"sort"
	"strings"
	"time"
)

// span is the time [from, to).
type span struct{ from, to time.Time }

// last is the last moment of the span, as the ledger counts.
func (s span) last() time.Time {
	if !s.from.Before(s.to) {
		return s.from
	}
	return s.to.Add(-time.Millisecond)
}

// readSpan reads start_date and end_date, both inclusive: a date is the whole
// day in the account's time zone, a date-time without an offset is in it too.
//
// Without either it is the current month; without start_date it begins with the
// month of end_date; without end_date it ends with the current month.
func readSpan(q *params, loc *time.Location, now time.Time) span {
	first, okFirst := q.moment("start_date", loc)
	last, okLast := q.moment("end_date", loc)
	y, m, _ := now.In(loc).Date()
	switch {
	case !okFirst && okLast:
		ly, lm, _ := last.first.In(loc).Date()
		return span{DayStart(ly, lm, 1, loc), last.next}
	case !okFirst:
		return span{DayStart(y, m, 1, loc), DayStart(y, m+1, 1, loc)}
	case !okLast:
		// A range that has not begun is empty.
		return span{first.first, latest(first.first, DayStart(y, m+1, 1, loc))}
	}
	if last.first.Before(first.first) && !last.next.After(first.first) {
		q.fail(invalid("end_date", "%s is before start_date %s.", clip(q.text("end_date")), clip(q.text("start_date"))))
	}
	return span{first.first, latest(first.first, last.next)}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// moment reads a parameter, where it is given.
func (q *params) moment(name string, loc *time.Location) (moment, bool) {
	if !q.values.Has(name) {
		return moment{}, false
	}
	m, err := readMoment(name, q.text(name), loc)
	if err != nil {
		q.fail(err)
	}
	return m, err == nil
}

// moment is what a date or date-time covers: [first, next).
type moment struct{ first, next time.Time }

var (
	dateForm = regexp.MustCompile(`^(\d{4})-(\d{2})-(\d{2})$`)
	// In a query an unescaped "+" is a space: an offset that comes with one was
	// meant to have a plus.
	timeForm = regexp.MustCompile(`^(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2})(:\d{2}(?:[.,]\d{1,9})?)?([Zz]|[-+ ]\d{2}(?::?\d{2})?)?$`)
)

// readMoment reads an ISO 8601 date or date-time.
func readMoment(param, text string, loc *time.Location) (moment, *Error) {
	day, clock, offset := text, "", ""
	if parts := timeForm.FindStringSubmatch(text); parts != nil {
		day, clock, offset = parts[1], parts[2]+strings.ReplaceAll(parts[3], ",", "."), strings.ToUpper(parts[4])
	} else if !dateForm.MatchString(text) {
		return moment{}, invalid(param, "must be a date (2025-12-31) or a date-time (2025-12-31T23:59:59Z), not %q.", clip(text))
	}
	date, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return moment{}, invalid(param, "%s is not a day of the calendar.", day)
	}
	y, m, d := date.Date()
	if clock == "" {
		return moment{DayStart(y, m, d, loc), DayStart(y, m, d+1, loc)}, nil
	}
	zone := loc
	if offset != "" {
		if zone, err = readOffset(offset); err != nil {
			return moment{}, invalid(param, "has no offset from UTC in %q.", clip(text))
		}
	}
	if len(clock) == len("15:04") {
		clock += ":00"
	}
	at, err := time.ParseInLocation("2006-01-02T15:04:05", day+"T"+clock, zone)
	if err != nil {
		return moment{}, invalid(param, "%s is not a time of day.", clip(clock))
	}
	// The ledger keeps milliseconds: what is within the last one is included.
	return moment{at, at.Truncate(time.Millisecond).Add(time.Millisecond)}, nil
}

// readOffset reads Z, +01, +0100 or +01:00.
func readOffset(s string) (*time.Location, error) {
	if s == "Z" {
		return time.UTC, nil
	}
	s = strings.ReplaceAll(strings.Replace(s, " ", "+", 1), ":", "")
	if len(s) == len("+01") {
		s += "00"
	}
	at, err := time.Parse("-0700", s)
	if err != nil {
		return nil, err
	}
	_, seconds := at.Zone()
	return time.FixedZone("", seconds), nil
}

// DayStart is the first instant of a day (as time.Date normalizes it) in a zone:
// midnight, except where a change of the clock skips or repeats that.
func DayStart(y int, m time.Month, d int, loc *time.Location) time.Time {
	want := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	before := want.Add(-36 * time.Hour) // in no zone has the day begun
	seconds := sort.Search(72*3600, func(i int) bool {
		yy, mm, dd := before.Add(time.Duration(i) * time.Second).In(loc).Date()
		return !time.Date(yy, mm, dd, 0, 0, 0, 0, time.UTC).Before(want)
	})
	return before.Add(time.Duration(seconds) * time.Second).In(loc)
}
