package account

import (
	"bytes"
	"cmp"
	"context"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// liveHeader marks a list that lacks the calls of this moment.
const liveHeader = "X-Ringfence-Live-Calls"

// The bodies of /api/v1/calls: the notes' fields, then ours.
type (
	callsBody struct {
		Calls      []callRow  `json:"calls"`
		Pagination pagination `json:"pagination"`
	}
	callRow struct {
		ID        uuid.UUID        `json:"id"`
		Direction tariff.Direction `json:"direction"`
		Caller    string           `json:"caller_phone"`
		Agent     string           `json:"agent_phone"`
		Status    string           `json:"status"`
		Duration  int64            `json:"duration_seconds"` // of talk, so far where the call lives
		Started   *stamp           `json:"started_at"`       // the answer; null: never or not yet
		Ended     *stamp           `json:"ended_at"`         // null: not yet
		Created   stamp            `json:"created_at"`       // when it was asked for

		NumberID string  `json:"number_id"`
		Minutes  credits `json:"minutes"` // charged
		Cost     money   `json:"cost"`
		Reason   string  `json:"reason"` // cause of the end, or why the call was refused
	}
)

func (s *Server) calls(w http.ResponseWriter, r *http.Request, c Caller) *Error {
	q := readParams(r, "limit", "offset", "status")
	page := pagination{Limit: q.number("limit", callsLimit, 1, mostRows), Offset: q.number("offset", 0, 0, mostOffset)}
	status := q.choice("status", statuses...)
	if q.err != nil {
		return q.err
	}
	body := callsBody{Calls: []callRow{}, Pagination: page}
	live, known, e := s.liveRows(r.Context(), c.Account.ID, status)
	if e != nil {
		return e
	}
	if !known {
		w.Header().Set(liveHeader, "unknown")
	}
	if err := s.fill(r.Context(), &body, c.Account.ID, status, live); err != nil {
		return storeError(err)
	}
	WriteJSON(w, http.StatusOK, &body)
	return nil
}

// liveRows are the calls of this moment that have a status (any, if empty),
// newest first. Where the balance store does not answer they are not known,
// which is an error only to whoever asks for nothing else.
func (s *Server) liveRows(ctx context.Context, account, status string) (rows []callRow, known bool, e *Error) {
	wanted := states[status]
	if wanted.Final() {
		return nil, true, nil
	}
	short, cancel := context.WithTimeout(ctx, s.cfg.RedisTimeout)
	defer cancel()
	calls, err := live(short, s.cfg.Balances, account)
	if err != nil {
		if status != "" {
			return nil, false, unavailable(err, "Live calls cannot be listed right now. Please try again.")
		}
		s.calm.warn("calls are listed without the live ones", logAccount, account, logError, err)
		return nil, false, nil
	}
	slices.SortFunc(calls, func(a, b authz.Call) int {
		return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), bytes.Compare(b.UID[:], a.UID[:]))
	})
	now := s.cfg.Now().UnixMilli()
	for i := range calls {
		if status == "" || calls[i].State == wanted {
			rows = append(rows, liveRow(&calls[i], now))
		}
	}
	return rows, true, nil
}

// fill makes a page: the live calls come first, then those of the ledger.
func (s *Server) fill(ctx context.Context, body *callsBody, account, status string, live []callRow) error {
	limit, offset := body.Pagination.Limit, body.Pagination.Offset
	from := min(offset, len(live))
	to := min(offset+limit, len(live))
	body.Calls = append(body.Calls, live[from:to]...)
	body.Pagination.Total = int64(len(live))
	if status != "" && !states[status].Final() {
		return nil
	}
	var wanted []authz.State
	if status != "" {
		wanted = []authz.State{states[status]}
	}
	calls, total, err := s.cfg.Lists.Calls(ctx, account, wanted, limit-len(body.Calls), max(offset-len(live), 0))
	if err != nil {
		return err
	}
	over := make(map[uuid.UUID]bool, len(calls))
	for i := range calls {
		over[calls[i].UID] = true
	}
	// A call that ended after the live ones were read is in both.
	shown := len(body.Calls)
	body.Calls = slices.DeleteFunc(body.Calls, func(c callRow) bool { return over[c.ID] })
	body.Pagination.Total += total - int64(shown-len(body.Calls))
	for i := range calls {
		body.Calls = append(body.Calls, ledgerRow(&calls[i]))
	}
	return nil
}

func liveRow(c *authz.Call, now int64) callRow {
	row := callRow{ID: c.UID, Direction: c.Direction, Status: StatusOf(c.State), Created: *stampOf(c.CreatedAt), NumberID: c.Detail.NumberID}
	row.Caller, row.Agent = Parties(c.Direction, &c.Detail)
	if c.State == authz.StateLive {
		row.Started, row.Duration = stampOf(c.AnsweredAt), tariff.Seconds(now-c.AnsweredAt)
	}
	return row
}

func ledgerRow(c *ledger.Call) callRow {
	row := callRow{ID: c.UID, Direction: c.Key.Direction, Status: StatusOf(c.State), Duration: c.DurationSeconds(),
		Started: stampOf(c.AnsweredAt), Ended: stampOf(c.At), Created: *stampOf(c.CreatedAt), NumberID: c.Detail.NumberID,
		Minutes: credits(c.Charged()), Cost: money(c.Micros + c.ExtraMicros), Reason: c.Reason}
	row.Caller, row.Agent = Parties(c.Key.Direction, &c.Detail)
	return row
}
