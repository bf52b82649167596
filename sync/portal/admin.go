package portal

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hmsovereign/ringfence/authz"
)

// AdminPath is where the admin API is mounted.
const AdminPath = "/admin/v1/"

const (
	bodyLimit   = 64 << 10
	tariffLimit = 16 << 20
	pageDefault = 100
	pageMost    = 1000
	callsMost   = 10_000
)

// AdminConfig is what the admin API works with. Completer and Orphans may be nil.
type AdminConfig struct {
	Book      Book
	Mirror    Mirror
	Directory Directory
	Balances  Balances
	Calls     CallStore
	Killer    Killer
	Completer *Completer           // takes over what a request could not finish
	Orphans   func() []authz.Event // events whose call was never found, oldest first

	Tariff  string        // of accounts that name none, default "default"
	Token   string        // bearer token; empty: peers on the loopback interface only
	Timeout time.Duration // of one request, default 10 s
	Now     func() time.Time
	Log     *slog.Logger
	Metrics *Metrics
}

// Admin is the operator's API: an http.Handler for AdminPath.
type Admin struct {
	AdminConfig
	guard Guard
	mux   *http.ServeMux
}

// NewAdmin makes the handler.
func NewAdmin(cfg AdminConfig) *Admin {
	cfg.Timeout = cmp.Or(cfg.Timeout, 10*time.Second)
	cfg.Tariff = cmp.Or(cfg.Tariff, defaultTariff)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	a := &Admin{AdminConfig: cfg, guard: NewGuard(cfg.Token), mux: http.NewServeMux()}
	a.routes()
	return a
}

// endpoint works one request. It gives the status and body of the answer.
type endpoint func(w http.ResponseWriter, r *http.Request) (status int, body any, err error)

func (a *Admin) routes() {
	for path, methods := range map[string]map[string]endpoint{
		"accounts":              {"GET": a.listAccounts, "POST": a.createAccount},
		"accounts/{id}":         {"GET": a.showAccount, "PATCH": a.updateAccount},
		"accounts/{id}/suspend": {"POST": a.suspendAccount},
		"accounts/{id}/resume":  {"POST": a.resumeAccount},
		"accounts/{id}/credit":  {"GET": a.showCredit},
		"accounts/{id}/grants":  {"POST": a.addGrant},
		"numbers":               {"GET": a.listNumbers, "POST": a.addNumber},
		"numbers/{number}":      {"DELETE": a.removeNumber},
		"tariffs":               {"GET": a.listTariffs, "PUT": a.putTariff},
		"tariffs/{id}":          {"GET": a.showTariff},
		"calls":                 {"GET": a.listCalls},
		"calls/show":            {"GET": a.showCall},
		"calls/kill":            {"POST": a.killCall},
		"orphans":               {"GET": a.listOrphans},
	} {
		a.mux.HandleFunc(AdminPath+path, a.serve("/"+path, methods))
	}
	a.mux.HandleFunc("/", a.serve("none", nil))
}

// ServeHTTP answers requests under AdminPath.
func (a *Admin) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// serve wraps the endpoints of one path: who may ask, for how long, and how the
// answer is written, counted and logged.
func (a *Admin) serve(route string, methods map[string]endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		ctx, cancel := context.WithTimeout(r.Context(), a.Timeout)
		defer cancel()
		status, body, err := a.answer(w, r.WithContext(ctx), methods)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				e = bookError(err, "", r.Method != http.MethodGet)
			}
			status, body = e.Status, map[string]*Error{"error": e}
			a.complain(r, route, e)
		}
		h := w.Header()
		h.Set("Content-Type", "application/json; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(status)
		// A peer that is gone does not need its answer.
		_ = json.NewEncoder(w).Encode(body)
		a.Metrics.request(route, status, time.Since(start))
	}
}

func (a *Admin) answer(w http.ResponseWriter, r *http.Request, methods map[string]endpoint) (int, any, error) {
	if err := a.guard.Check(r); err != nil {
		if err.Code == CodeUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		return 0, nil, err
	}
	if methods == nil {
		return 0, nil, notFound("", "there is no %.200q in the admin API", r.URL.Path)
	}
	work, ok := methods[r.Method]
	if !ok {
		allowed := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
		w.Header().Set("Allow", allowed)
		return 0, nil, &Error{Status: http.StatusMethodNotAllowed, Code: CodeMethodNotAllowed, Message: "use " + allowed + " here"}
	}
	return work(w, r)
}

// complain logs what the operator must know of: what went wrong here, and who
// was turned away. A wrong request is the peer's own business, and a directory
// that is not loaded says so itself.
func (a *Admin) complain(r *http.Request, route string, e *Error) {
	switch {
	case e.Status == http.StatusServiceUnavailable && e.cause == nil:
	case e.Status == http.StatusServiceUnavailable:
		a.Log.Warn("admin request not served", "method", r.Method, "route", route, "error", e.cause)
	case e.Status >= http.StatusInternalServerError:
		a.Log.Error("admin request failed", "method", r.Method, "route", route, "error", e.cause)
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden:
		a.Log.Warn("admin request refused", "method", r.Method, "route", route, "remote", r.RemoteAddr, "reason", e.Message)
	}
}

// done logs a change that was recorded.
func (a *Admin) done(r *http.Request, what string, attrs ...any) {
	a.Log.Info("admin: "+what, append(attrs, "remote", r.RemoteAddr)...)
}

// ready refuses what only a loaded directory can say.
func (a *Admin) ready() error {
	if a.Directory.Ready() {
		return nil
	}
	return unavailable(nil, "the directory is not loaded: Redis or the ledger is away; /readyz says which")
}

// unfinished tells what became of a change that is recorded: nil where all is
// done, else a warning, and the Completer goes on with it.
func (a *Admin) unfinished(account, what string, err error) []string {
	if err == nil {
		return nil
	}
	a.Log.Warn("a change is recorded and not done everywhere yet", "account", account, "missing", what, "error", err)
	if a.Completer != nil && account != "" {
		a.Completer.Kick(account)
	}
	return []string{"recorded, but " + what + ": it is done as soon as the store answers again"}
}

// accepted gives the status of a change: 202 while something is missing.
func accepted(status int, warnings []string) int {
	if len(warnings) > 0 {
		return http.StatusAccepted
	}
	return status
}

// now is the time as it is recorded.
func (a *Admin) now() time.Time { return a.Now().UTC().Truncate(time.Millisecond) }
