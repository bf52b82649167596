package account

import (
	"net/http"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

const (
	usageLimit = 100
	callsLimit = 50
	mostRows   = 1000
	mostOffset = 1_000_000_000
)

// The bodies of /api/v1/usage: the document's fields, then ours.
type (
	usageBody struct {
		Usage      []usageRow `json:"usage"`
		Summary    summary    `json:"summary"`
		Pagination pagination `json:"pagination"`
	}
	usageRow struct {
		ID       uuid.UUID `json:"id"`
		Duration int64     `json:"duration_sec"`
		Created  stamp     `json:"created_at"`
		NumberID string    `json:"number_id"` // empty: none of the account's numbers was in the call

		Direction tariff.Direction `json:"direction"`
		Status    string           `json:"status"`
		Minutes   credits          `json:"minutes"` // charged
		Cost      money            `json:"cost"`
	}
	summary struct {
		Seconds int64          `json:"total_seconds"`
		Minutes credit.Minutes `json:"total_minutes"`
		Cost    credit.Amount  `json:"total_cost"`

		Currency string `json:"currency"`
		Calls    int64  `json:"total_calls"`
		From     stamp  `json:"from"`
		To       stamp  `json:"to"` // the last moment of the range
	}
	pagination struct {
		Total  int64 `json:"total"`
		Limit  int   `json:"limit"`
		Offset int   `json:"offset"`
	}
)

func (s *Server) usage(w http.ResponseWriter, r *http.Request, c Caller) *Error {
	q := readParams(r, "start_date", "end_date", "limit", "offset")
	period := readSpan(q, c.Account.Location, s.cfg.Now())
	page := pagination{Limit: q.number("limit", usageLimit, 1, mostRows), Offset: q.number("offset", 0, 0, mostOffset)}
	if q.err != nil {
		return q.err
	}
	calls, sum, err := s.cfg.Lists.Usage(r.Context(), c.Account.ID, period.from, period.to, page.Limit, page.Offset)
	if err != nil {
		return storeError(err)
	}
	page.Total = sum.Calls
	body := usageBody{Usage: make([]usageRow, len(calls)), Pagination: page, Summary: summary{
		Seconds: sum.Seconds, Minutes: credit.MinutesOfSeconds(sum.Seconds), Cost: credit.Amount(sum.Cost()),
		Currency: c.Account.Currency, Calls: sum.Calls, From: stamp(period.from), To: stamp(period.last())}}
	for i := range calls {
		body.Usage[i] = usageOf(&calls[i])
	}
	WriteJSON(w, http.StatusOK, &body)
	return nil
}

func usageOf(c *ledger.Call) usageRow {
	return usageRow{ID: c.UID, Duration: c.DurationSeconds(), Created: *stampOf(c.At), NumberID: c.Detail.NumberID,
		Direction: c.Key.Direction, Status: StatusOf(c.State), Minutes: credits(c.Charged()), Cost: money(c.Micros + c.ExtraMicros)}
}
