package app

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

var exportColumns = []string{"id", "account", "switch", "direction", "call_id", "status", "from", "to", "number_id", "started_at", "answered_at", "ended_at",
	"duration_sec", "cost_units", "cost_micros", "extra_units", "extra_micros", "currency", "mode", "tariff", "prefix", "reason", "flags"}

// CDR is one exported call.
type CDR struct {
	ID          string `json:"id"`
	Account     string `json:"account"`
	Switch      string `json:"switch"`
	Direction   string `json:"direction"`
	CallID      string `json:"call_id"`
	Status      string `json:"status"`
	From        string `json:"from"`
	To          string `json:"to"`
	NumberID    string `json:"number_id"`
	StartedAt   string `json:"started_at"`
	AnsweredAt  string `json:"answered_at"`
	EndedAt     string `json:"ended_at"`
	DurationSec int64  `json:"duration_sec"`
	CostUnits   int64  `json:"cost_units"`
	CostMicros  int64  `json:"cost_micros"`
	ExtraUnits  int64  `json:"extra_units"`
	ExtraMicros int64  `json:"extra_micros"`
	Currency    string `json:"currency"`
	Mode        string `json:"mode"`
	Tariff      string `json:"tariff"`
	Prefix      string `json:"prefix"`
	Reason      string `json:"reason"`
	Flags       string `json:"flags"`
}

func stampOf(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

func cdr(c *ledger.Call) CDR {
	return CDR{ID: c.UID.String(), Account: c.Account, Switch: c.Key.Switch, Direction: c.Key.Direction.String(), CallID: c.Key.CallID,
		Status: c.State.String(), From: c.Detail.From, To: c.Detail.To, NumberID: c.Detail.NumberID,
		StartedAt: stampOf(c.CreatedAt), AnsweredAt: stampOf(c.AnsweredAt), EndedAt: stampOf(c.At), DurationSec: c.DurationSeconds(),
		CostUnits: int64(c.Units), CostMicros: int64(c.Micros), ExtraUnits: int64(c.ExtraUnits), ExtraMicros: int64(c.ExtraMicros),
		Currency: c.Detail.Currency, Mode: c.Detail.Mode, Tariff: c.Detail.Tariff, Prefix: c.Detail.Prefix, Reason: c.Reason, Flags: string(c.Flags)}
}

func (c *CDR) row() []string {
	n := func(x int64) string { return strconv.FormatInt(x, 10) }
	return []string{c.ID, c.Account, c.Switch, c.Direction, cell(c.CallID), c.Status, cell(c.From), cell(c.To), c.NumberID, c.StartedAt, c.AnsweredAt, c.EndedAt,
		n(c.DurationSec), n(c.CostUnits), n(c.CostMicros), n(c.ExtraUnits), n(c.ExtraMicros), c.Currency, cell(c.Mode), c.Tariff, c.Prefix, cell(c.Reason), c.Flags}
}

// cell keeps a spreadsheet from taking what a caller sent for a formula. A
// number with its plus is none.
func cell(s string) string {
	if s == "" {
		return s
	}
	switch s[0] {
	case '=', '-', '@':
		return "'" + s
	case '+':
		for i := 1; i < len(s); i++ {
			if s[i] < '0' || s[i] > '9' {
				return "'" + s
			}
		}
	}
	return s
}

func (a *App) export(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	sel := ledger.Selection{Account: q.Get("account"), States: []authz.State{authz.StateSettled, authz.StateLost}}
	if q.Get("all") == "true" {
		sel.States = nil
	}
	for _, p := range []struct {
		name string
		to   *time.Time
	}{{"from", &sel.From}, {"to", &sel.To}} {
		if v := q.Get(p.name); v != "" {
			t, err := time.Parse(time.RFC3339, v)
			if err != nil {
				if t, err = time.Parse(time.DateOnly, v); err == nil && p.name == "to" {
					t = t.AddDate(0, 0, 1) // a date is the whole day
				}
			}
			if err != nil {
				refuse(w, http.StatusBadRequest, "invalid_request", p.name+" is a date (2026-01-31) or a time (2026-01-31T10:00:00Z)", p.name)
				return
			}
			*p.to = t
		}
	}
	if !sel.To.IsZero() && !sel.From.Before(sel.To) {
		refuse(w, http.StatusBadRequest, "invalid_request", "to is before from", "to")
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	var err error
	switch q.Get("format") {
	case "", "jsonl":
		w.Header().Set("Content-Type", "application/x-ndjson")
		enc := json.NewEncoder(w)
		err = a.Ledger.Export(r.Context(), sel, func(c ledger.Call) error { return enc.Encode(cdr(&c)) })
	case "csv":
		w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		out := csv.NewWriter(w)
		_ = out.Write(exportColumns)
		err = a.Ledger.Export(r.Context(), sel, func(c ledger.Call) error { row := cdr(&c); return out.Write(row.row()) })
		out.Flush()
		err = errors.Join(err, out.Error())
	default:
		refuse(w, http.StatusBadRequest, "invalid_request", "format is csv or jsonl", "format")
		return
	}
	if err != nil && r.Context().Err() == nil {
		a.log.Error("export broken off", "error", err)
		panic(http.ErrAbortHandler) // so that the reader does not take it for whole
	}
}

// oneCDR is a settled call as the ledger has it, for `ringfence credit refund`.
func (a *App) oneCDR(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("call")
	if name == "" {
		refuse(w, http.StatusBadRequest, "missing_field", "call is missing: a uid, switch:direction:call_id, or a call id", "call")
		return
	}
	_, row, err := a.identify(r.Context(), name)
	switch {
	case errors.Is(err, ledger.ErrUnavailable):
		refuse(w, http.StatusServiceUnavailable, "service_unavailable", "the ledger does not answer; try again", "")
	case err != nil && !errors.Is(err, ledger.ErrNotFound) && !errors.Is(err, errNoCall):
		refuse(w, http.StatusConflict, "conflict", err.Error(), "call")
	case err != nil || row == nil:
		refuse(w, http.StatusNotFound, "not_found", "the ledger has no such call; one that has just ended is there within a second", "call")
	default:
		answer(w, cdr(row))
	}
}
