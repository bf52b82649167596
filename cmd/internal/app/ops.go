package app

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// newRegistry is the process's own, with the runtime's figures in it.
func newRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// component is one part of the sidecar as /readyz tells it.
type component struct {
	name  string
	vital bool                        // without it no call can be decided
	check func(context.Context) error // nil: well
}

// health is the answer of /readyz.
type health struct {
	Status     string            `json:"status"` // ready, degraded or unready
	Components map[string]string `json:"components"`
}

// ask checks every component, for at most a second.
func ask(ctx context.Context, parts []component) (health, int) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	h, status := health{Status: "ready", Components: map[string]string{}}, http.StatusOK
	for _, p := range parts {
		err := p.check(ctx)
		switch {
		case err == nil:
			h.Components[p.name] = "ok"
			continue
		case p.vital:
			h.Status, status = "unready", http.StatusServiceUnavailable
		case h.Status == "ready":
			h.Status = "degraded"
		}
		h.Components[p.name] = err.Error()
	}
	return h, status
}

// opsHandler serves what operators and Prometheus look at. /healthz says that
// the process runs; /readyz that it can decide calls: with Redis or the ledger
// away it is degraded, and still ready, since the failure policy decides.
// Profiles, which show memory, are behind the admin API's door.
func opsHandler(reg *prometheus.Registry, parts []component, protect func(http.Handler) http.Handler, admin http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("{\"status\":\"alive\"}\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		h, status := ask(r.Context(), parts)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(h)
	})
	for path, profile := range map[string]http.HandlerFunc{"": pprof.Index, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace} {
		mux.Handle("GET /debug/pprof/"+path, protect(profile))
	}
	mux.Handle("/admin/v1/", admin)
	return mux
}
