package ledger

import (
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

const (
	// maxText bounds every text field, in bytes. The hook's own limits are far below.
	maxText = 4096
	// maxCallID bounds a call id, in bytes, above authz.MaxCallID for the leg tags that switches append.
	maxCallID = 4 * authz.MaxCallID
	// A time outside of these is not a call's.
	firstYear, lastYear = 2000, 9999
	// hashSize is that of SHA-256, in bytes.
	hashSize = 32
)

var (
	earliest = time.Date(firstYear, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(lastYear, 12, 31, 0, 0, 0, 0, time.UTC)
)

// field is a named value of some input.
type field struct{ name, value string }

// checkTexts finds text that a database cannot keep: Postgres takes neither NUL nor broken UTF-8. Errors: ErrInvalid.
func checkTexts(fields ...field) error {
	var errs []error
	for _, f := range fields {
		switch {
		case len(f.value) > maxText:
			errs = append(errs, invalid("%s has %d bytes, the most is %d", f.name, len(f.value), maxText))
		case strings.IndexByte(f.value, 0) >= 0:
			errs = append(errs, invalid("%s has a NUL byte", f.name))
		case !utf8.ValidString(f.value):
			errs = append(errs, invalid("%s is not UTF-8", f.name))
		}
	}
	return errors.Join(errs...)
}

// checkGiven finds fields that are empty. Errors: ErrInvalid.
func checkGiven(fields ...field) error {
	var errs []error
	for _, f := range fields {
		if f.value == "" {
			errs = append(errs, invalid("%s is missing", f.name))
		}
	}
	return errors.Join(errs...)
}

// checkRange finds a number out of [low, high]. Errors: ErrInvalid.
func checkRange(name string, n, low, high int64) error {
	if n < low || n > high {
		return invalid("%s is %d, must be from %d to %d", name, n, low, high)
	}
	return nil
}

func invalid(format string, args ...any) error { return problem(ErrInvalid, format, args...) }

// checkRecord finds what makes a record impossible to keep. Errors: ErrInvalid.
func checkRecord(r *authz.Record) error {
	d := &r.Detail
	errs := []error{
		checkGiven(field{"account", r.Account}, field{"switch", r.Key.Switch}, field{"call_id", r.Key.CallID}),
		checkTexts(field{"account", r.Account}, field{"switch", r.Key.Switch}, field{"call_id", r.Key.CallID},
			field{"flags", string(r.Flags)}, field{"reason", r.Reason}, field{"from", d.From}, field{"to", d.To},
			field{"from_raw", d.FromRaw}, field{"to_raw", d.ToRaw}, field{"number_id", d.NumberID}, field{"mode", d.Mode},
			field{"tariff", d.Tariff}, field{"prefix", d.Prefix}, field{"currency", d.Currency}),
		checkRange("call_id length", int64(len(r.Key.CallID)), 0, maxCallID),
		checkMoment("at", r.At), checkMoment("created_at", r.CreatedAt),
		checkRange("seq", r.Seq, 0, credit.Max),
		checkRange("talk_ms", r.TalkMS, 0, credit.Max),
		checkRange("units", int64(r.Units), 0, credit.Max), checkRange("micros", int64(r.Micros), 0, credit.Max),
		checkRange("extra_units", int64(r.ExtraUnits), 0, credit.Max),
		checkRange("extra_micros", int64(r.ExtraMicros), 0, credit.Max),
	}
	if r.UID == uuid.Nil {
		errs = append(errs, invalid("call uid is missing"))
	}
	if r.State.Rank() == 0 {
		errs = append(errs, invalid("state %q is not final", r.State))
	}
	if !r.Key.Direction.Valid() {
		errs = append(errs, invalid("direction is missing"))
	}
	if r.AnsweredAt != 0 {
		errs = append(errs, checkMoment("answered_at", r.AnsweredAt))
	}
	if !charged(r.State) && (r.Charged() != 0 || r.Micros != 0 || r.ExtraMicros != 0) {
		errs = append(errs, invalid("a %s call costs nothing, this one %d units", r.State, r.Charged()))
	}
	return errors.Join(errs...)
}

// checkMoment finds a time in Unix milliseconds that no call can have.
func checkMoment(name string, ms int64) error {
	return checkRange(name, ms, earliest.UnixMilli(), latest.UnixMilli())
}

// charged tells whether calls of this status are charged and count as usage.
func charged(s authz.State) bool { return s == authz.StateSettled || s == authz.StateLost }
