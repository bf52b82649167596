package hook

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what the hook server does. No label grows with accounts,
// numbers or anything a client sends.
type Metrics struct {
	requests     *prometheus.CounterVec
	seconds      *prometheus.HistogramVec
	inFlight     prometheus.Gauge
	unknown      *prometheus.CounterVec
	shed         *prometheus.CounterVec
	decodeErrors *prometheus.CounterVec
	gone         prometheus.Counter
	emergencies  prometheus.Counter
	panics       prometheus.Counter
	contentTypes prometheus.Counter
}

// NewMetrics registers the hook server's metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_hook_" + name, Help: help})
		reg.MustRegister(c)
		return c
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_hook_" + name, Help: help}, labels)
		reg.MustRegister(c)
		return c
	}
	m := &Metrics{
		requests: vec("requests_total", "Requests answered, by endpoint, HTTP status and error code (empty: none).",
			"endpoint", "status", "code"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "ringfence_hook_request_seconds",
			Help:    "From a request's headers to its answer.",
			Buckets: []float64{.0001, .0002, .0003, .0005, .00075, .001, .002, .005, .01, .025, .05, .1, .25, .5, 1},
		}, []string{"endpoint"}),
		inFlight:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "ringfence_hook_in_flight", Help: "Requests in progress."}),
		unknown:      vec("unknown_fields_total", "Fields sent by switches that no hook knows.", "endpoint"),
		shed:         vec("shed_total", "Authorize and quote requests refused unexamined (overloaded, draining).", "endpoint", "reason"),
		decodeErrors: vec("decode_errors_total", "Requests refused for their form (body, too_large, utf8, json, type, missing, value).", "endpoint", "reason"),
		gone:         counter("client_gone_total", "Clients that left before their answer was written."),
		emergencies:  counter("emergencies_total", "Emergency calls let go."),
		panics:       counter("panics_total", "Panics while deciding, answered as balance_unavailable."),
		contentTypes: counter("content_types_total", "Requests whose Content-Type is not application/json."),
	}
	reg.MustRegister(m.seconds, m.inFlight)
	return m
}

// endpoint is a path's handler with its metrics looked up beforehand.
type endpoint struct {
	name    string
	seconds prometheus.Observer
	ok      prometheus.Counter // answers of 200, the only ones on the hot path
	handle  func(*exchange)
}

func (m *Metrics) endpoint(name string, handle func(*exchange)) endpoint {
	return endpoint{
		name: name, handle: handle,
		seconds: m.seconds.WithLabelValues(name),
		ok:      m.requests.WithLabelValues(name, strconv.Itoa(http.StatusOK), ""),
	}
}
