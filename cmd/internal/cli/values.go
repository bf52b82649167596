package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hmsovereign/ringfence/authz/credit"
)

// Minutes is a flag's amount of credit, in minutes: 500, 498.6, -2.5.
type Minutes credit.Units

// UnmarshalText reads it. Errors: those of [credit.ParseCredits].
func (m *Minutes) UnmarshalText(text []byte) error {
	u, err := credit.ParseCredits(string(text))
	if err != nil {
		return err
	}
	*m = Minutes(u)
	return nil
}

// Expiry is a flag's moment in the future: after some days or hours (90d, 12h),
// at the end of a day (2026-12-31, UTC), or at a time (2026-12-31T17:00:00+01:00,
// RFC 3339).
type Expiry struct {
	after time.Duration
	at    time.Time
}

const day = 24 * time.Hour

// UnmarshalText reads it.
func (e *Expiry) UnmarshalText(text []byte) error {
	s := string(text)
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		*e = Expiry{at: at.UTC()}
		return nil
	}
	if at, err := time.Parse(time.DateOnly, s); err == nil {
		*e = Expiry{at: at.Add(day)}
		return nil
	}
	after, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int64
		if n, err = strconv.ParseInt(days, 10, 16); err == nil {
			after = time.Duration(n) * day
		}
	}
	if err != nil || after <= 0 {
		return fmt.Errorf("%.40q is no time to come: write 90d, 12h, 2026-12-31 or 2026-12-31T17:00:00Z", s)
	}
	*e = Expiry{after: after}
	return nil
}

// At gives the moment, now being what it is, to the second.
func (e *Expiry) At(now time.Time) time.Time {
	if e.after > 0 {
		return now.UTC().Add(e.after).Truncate(time.Second)
	}
	return e.at
}

// ID is an argument that names something and goes into a path.
type ID string

// UnmarshalText refuses what no path can hold.
func (id *ID) UnmarshalText(text []byte) error {
	switch s := string(text); {
	case s == "":
		return errors.New("it is empty")
	case s == ".", s == "..", !utf8.ValidString(s):
		return fmt.Errorf("%q is no id", s)
	default:
		*id = ID(s)
		return nil
	}
}

// String is the id as it was written.
func (id ID) String() string { return string(id) }
