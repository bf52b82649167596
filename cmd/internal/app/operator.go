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
	"github.com/hmsovereign/ringfence/sync/portal/account"
	"github.com/hmsovereign/ringfence/sync/reconcile"
)

// operator adds to the admin API what crosses the areas: the story of a call,
// comparison and rebuild (streamed, a JSON line each), export, refused records.
func (a *App) operator(protect func(http.Handler) http.Handler, rest http.Handler) http.Handler {
	mux := http.NewServeMux()
	add := func(pattern string, h http.HandlerFunc) { mux.Handle(pattern, protect(h)) }
	add("GET /admin/v1/explain", a.explain)
	add("POST /admin/v1/reconcile", a.reconcile)
	add("POST /admin/v1/rebuild", a.rebuild)
	add("GET /admin/v1/export", a.export)
	add("GET /admin/v1/cdr", a.oneCDR)
	add("GET /admin/v1/refused", a.listRefused)
	add("POST /admin/v1/refused/{id}/retry", a.retryRefused)
	add("DELETE /admin/v1/refused/{id}", a.discardRefused)
	mux.Handle(account.KeysPath, a.keys)
	mux.Handle(account.KeysPath+"/", a.keys)
	mux.Handle("/admin/v1/", rest)
	return mux
}

func refuse(w http.ResponseWriter, status int, code, message, param string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	e := map[string]string{"code": code, "message": message}
	if param != "" {
		e["param"] = param
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"error": e})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(v)
}

// Line is one line of a streamed answer; the last one says how it ended.
type Line struct {
	Finding *reconcile.Finding `json:"finding,omitempty"`
	Done    int                `json:"done,omitempty"`
	Of      int                `json:"of,omitempty"`
	Account string             `json:"account,omitempty"`
	End     bool               `json:"end,omitempty"`
	Count   int                `json:"count,omitempty"` // at the end: accounts compared, or rebuilt
	Error   string             `json:"error,omitempty"`
}

// stream writes JSON lines as they come, however long the whole takes.
func stream(w http.ResponseWriter) func(Line) error {
	w.Header().Set("Content-Type", "application/x-ndjson")
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Time{})
	_ = c.SetWriteDeadline(time.Time{})
	enc := json.NewEncoder(w)
	return func(l Line) error {
		if err := enc.Encode(l); err != nil {
			return err
		}
		return c.Flush()
	}
}

func (a *App) reconcile(w http.ResponseWriter, r *http.Request) {
	repair, err := strconv.ParseBool(r.URL.Query().Get("repair"))
	if err != nil && r.URL.Query().Get("repair") != "" {
		refuse(w, http.StatusBadRequest, "invalid_request", "repair is true or false", "repair")
		return
	}
	send := stream(w)
	end := Line{End: true}
	if id := r.URL.Query().Get("account"); id != "" {
		f, err := a.Comparer.Account(r.Context(), id, repair)
		if err == nil {
			err = send(Line{Finding: &f})
		}
		end.Count = 1
		end.Error = failed(err)
		_ = send(end)
		return
	}
	n, err := a.Comparer.All(r.Context(), repair, func(f reconcile.Finding) error { return send(Line{Finding: &f}) })
	end.Count, end.Error = n, failed(err)
	_ = send(end)
}

func (a *App) rebuild(w http.ResponseWriter, r *http.Request) {
	send := stream(w)
	last := time.Time{}
	n, err := a.Rebuilder.All(r.Context(), func(done, of int, account string) {
		if time.Since(last) > 200*time.Millisecond || done == of {
			last = time.Now()
			_ = send(Line{Done: done, Of: of, Account: account})
		}
	})
	_ = send(Line{End: true, Count: n, Error: failed(err)})
}

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

func (a *App) listRefused(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
	page, total, err := a.Ledger.RefusedRecords(r.Context(), after, 100)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, "service_unavailable", err.Error(), "")
		return
	}
	type view struct {
		ID     int64     `json:"id"`
		Record string    `json:"record"`
		Reason string    `json:"reason"`
		Count  int64     `json:"count"`
		First  time.Time `json:"first_seen"`
		Last   time.Time `json:"last_seen"`
	}
	out := struct {
		Refused []view `json:"refused"`
		Total   int64  `json:"total"`
	}{Refused: []view{}, Total: total}
	for _, x := range page {
		out.Refused = append(out.Refused, view{x.ID, string(x.Raw), x.Reason, x.Count, x.FirstSeen, x.LastSeen})
	}
	answer(w, out)
}

func (a *App) refusedID(w http.ResponseWriter, r *http.Request) (int64, bool) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		refuse(w, http.StatusBadRequest, "invalid_request", "id is a number", "id")
	}
	return id, err == nil
}

func (a *App) retryRefused(w http.ResponseWriter, r *http.Request) {
	id, ok := a.refusedID(w, r)
	if !ok {
		return
	}
	res, err := a.Ledger.RetryRefused(r.Context(), id)
	a.refusedDone(w, err, map[string]string{"outcome": string(res.Outcome), "call_uid": res.UID.String()})
}

func (a *App) discardRefused(w http.ResponseWriter, r *http.Request) {
	id, ok := a.refusedID(w, r)
	if !ok {
		return
	}
	a.refusedDone(w, a.Ledger.DiscardRefused(r.Context(), id), map[string]string{"outcome": "discarded"})
}

func (a *App) refusedDone(w http.ResponseWriter, err error, v any) {
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		refuse(w, http.StatusNotFound, "not_found", "there is no such refused record", "id")
	case errors.Is(err, ledger.ErrRefused):
		refuse(w, http.StatusConflict, "conflict", err.Error(), "id")
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, "service_unavailable", err.Error(), "")
	default:
		answer(w, v)
	}
}
