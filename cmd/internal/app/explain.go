package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// Told is one line of a call's story.
type Told struct {
	At     time.Time `json:"at"`
	Source string    `json:"source"` // sidecar, redis, outbox or ledger
	What   string    `json:"what"`
	Text   string    `json:"text"`
}

// Story is all that the stores and this sidecar know of a call.
type Story struct {
	Call    string `json:"call"`
	CallUID string `json:"call_uid,omitempty"`
	Account string `json:"account,omitempty"`
	// Silent are sentences about stores that did not answer: what they have of the call is not told.
	Silent []string `json:"silent,omitempty"`
	Lines  []Told   `json:"story"`
}

// errSilent: nothing is known of the call, but not every store answered.
var errSilent = errors.New("nothing is known of such a call, but not every store answers; try again")

const (
	redisSilent  = "Redis does not answer: what it has of the call, and what of it waits for the ledger, is not told."
	ledgerSilent = "The ledger does not answer: whether it has the call is not known."
)

var errNoCall = errors.New("no store knows such a call; name it by its uid, by switch:direction:call_id, or by a call id the ledger has")

// Explain tells a call's story. The call is named by its key, its uid, or its
// call id alone where the ledger has one call of it. A store that does not answer
// leaves its part out, and is named.
func (a *App) Explain(ctx context.Context, name string) (Story, error) {
	k, row, err := a.identify(ctx, name)
	silent := errors.Is(err, ledger.ErrUnavailable) && k != authz.Key{}
	if err != nil && !silent {
		return Story{}, err
	}
	s := Story{Call: k.String()}
	if silent {
		s.Silent = append(s.Silent, ledgerSilent)
	}
	for _, e := range a.story.of(k) {
		s.add(e.at, "sidecar", e.what, e.line())
	}
	account := ""
	if row != nil {
		account = row.Account
		s.CallUID, s.Account = row.UID.String(), row.Account
		s.add(row.RecordedAt.UnixMilli(), "ledger", row.State.String(), recordText(&row.Record))
	}
	if err := a.explainRedis(ctx, k, account, &s); errors.Is(err, authz.ErrDown) {
		s.Silent = append(s.Silent, redisSilent)
	} else if err != nil {
		return s, err
	}
	if len(s.Lines) == 0 {
		if len(s.Silent) > 0 {
			return s, errSilent
		}
		return s, errNoCall
	}
	slices.SortStableFunc(s.Lines, func(x, y Told) int { return x.At.Compare(y.At) })
	return s, nil
}

// explainRedis adds what Redis has of a call. Errors: authz.ErrDown.
func (a *App) explainRedis(ctx context.Context, k authz.Key, account string, s *Story) error {
	var err error
	if account == "" {
		if account, err = a.Store.Find(ctx, k); err != nil {
			account = a.accountByNumbers(k)
		}
		s.Account = account
	}
	if account == "" {
		if errors.Is(err, authz.ErrDown) {
			return err
		}
		return nil
	}
	c, err := a.Store.Call(ctx, account, k)
	switch {
	case err == nil && c.State != authz.StateMark:
		s.CallUID = cmp.Or(s.CallUID, c.UID.String())
		if c.Detail.To != "" { // a settled call's tombstone has no numbers
			s.add(c.CreatedAt, "redis", "authorized", fmt.Sprintf("from %s to %s, tariff %s prefix %q mode %q, hold lapses %s if nobody answers",
				c.Detail.From, c.Detail.To, c.Detail.Tariff, c.Detail.Prefix, c.Detail.Mode, clock(c.ExpiresAt)))
		}
		s.add(cmp.Or(c.OverAt, c.ProofAt, c.CreatedAt), "redis", c.State.String(), fmt.Sprintf("%d units held, talk bought up to %d s, %d units charged, owner epoch %d, last proof of life %s%s",
			c.Held, c.UntilMS/1000, c.Charged, c.Epoch, clock(c.ProofAt), flagText(c.Flags)))
	case errors.Is(err, authz.ErrDown):
		return err
	}
	waiting, err := a.Store.WaitingRecords(ctx, account)
	for _, raw := range waiting {
		if r, err := authz.ParseRecord(raw); err == nil && r.Key == k {
			s.add(r.At, "outbox", r.State.String(), "waits for the ledger: "+recordText(&r))
		}
	}
	return err
}

func (s *Story) add(at int64, source, what, text string) {
	s.Lines = append(s.Lines, Told{At: time.UnixMilli(at).UTC(), Source: source, What: what, Text: text})
}

func clock(ms int64) string {
	if ms == 0 {
		return "none"
	}
	return time.UnixMilli(ms).UTC().Format("15:04:05.000")
}

func flagText(f authz.Flags) string {
	if f == "" {
		return ""
	}
	names := map[rune]string{authz.FlagClamped: "clamped", authz.FlagEmergency: "emergency", authz.FlagKilled: "killed", authz.FlagGone: "asker gone",
		authz.FlagOverrun: "overrun", authz.FlagUnchecked: "unchecked", authz.FlagClock: "clock"}
	var out []string
	for _, r := range f {
		out = append(out, cmp.Or(names[r], string(r)))
	}
	return ", " + strings.Join(out, ", ")
}

func recordText(r *authz.Record) string {
	return fmt.Sprintf("%d ms of talk from %s, %d units and %d micros %s, extra %d units, overrun %d units, reason %q, seq %d%s",
		r.TalkMS, clock(r.AnsweredAt), r.Units, r.Micros, r.Detail.Currency, r.ExtraUnits, r.Overrun, r.Reason, r.Seq, flagText(r.Flags))
}

// identify finds which call is meant, and its row in the ledger if it has one.
func (a *App) identify(ctx context.Context, name string) (authz.Key, *ledger.Call, error) {
	row := func(c ledger.Call, err error) (authz.Key, *ledger.Call, error) { return c.Key, &c, err }
	if uid, err := uuid.Parse(name); err == nil {
		return row(a.Ledger.Call(ctx, uid))
	}
	if k, err := authz.ParseKey(name); err == nil {
		c, err := a.Ledger.CallByKey(ctx, k)
		switch {
		case err == nil:
			return k, &c, nil
		case errors.Is(err, ledger.ErrNotFound):
			return k, nil, nil
		}
		return k, nil, err
	}
	calls, err := a.Ledger.CallsByID(ctx, name)
	switch {
	case err != nil:
		return authz.Key{}, nil, err
	case len(calls) == 0:
		return authz.Key{}, nil, errNoCall
	case len(calls) > 1:
		var keys []string
		for _, c := range calls {
			keys = append(keys, c.Key.String())
		}
		return authz.Key{}, nil, fmt.Errorf("%d calls have this call id: %s", len(calls), strings.Join(keys, ", "))
	}
	return calls[0].Key, &calls[0], nil
}

// accountByNumbers is for calls that only this sidecar's memory still names.
func (a *App) accountByNumbers(k authz.Key) string {
	for _, c := range a.Meter.Calls() {
		if c.Key == k {
			return c.Account
		}
	}
	return ""
}

func (a *App) explain(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("call")
	if name == "" {
		refuse(w, http.StatusBadRequest, "missing_field", "call is missing: a uid, switch:direction:call_id, or a call id", "call")
		return
	}
	s, err := a.Explain(r.Context(), name)
	switch {
	case errors.Is(err, errNoCall), errors.Is(err, ledger.ErrNotFound):
		refuse(w, http.StatusNotFound, "not_found", errNoCall.Error(), "call")
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, "service_unavailable", err.Error(), "")
	default:
		answer(w, s)
	}
}
