package app

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

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
	a.shopAdmin(add)
	a.usageAdmin(add)
	a.addNotices(add)
	add("POST /admin/v1/links", a.makeLink)
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
	opt := reconcile.Options{Repair: repair, Rows: true}
	if id := r.URL.Query().Get("account"); id != "" {
		a.reconcileOne(w, r, id, opt)
		return
	}
	send := stream(w)
	n, err := a.Comparer.All(r.Context(), opt, func(f reconcile.Finding) error { return send(Line{Finding: &f}) })
	_ = send(Line{End: true, Count: n, Error: failed(err)})
}

func (a *App) reconcileOne(w http.ResponseWriter, r *http.Request, id string, opt reconcile.Options) {
	switch _, err := a.Ledger.Account(r.Context(), id); {
	case errors.Is(err, ledger.ErrNotFound):
		refuse(w, http.StatusNotFound, "not_found", "there is no account "+strconv.Quote(id), "account")
		return
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, "service_unavailable", err.Error(), "")
		return
	}
	send := stream(w)
	end := Line{End: true}
	f, err := a.Comparer.Account(r.Context(), id, opt)
	if err == nil {
		err = send(Line{Finding: &f})
	}
	if err == nil && !f.Busy {
		end.Count = 1
	}
	end.Error = failed(err)
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
