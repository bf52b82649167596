package account

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of the customers' API.
type Metrics struct {
	requests   *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	inFlight   prometheus.Gauge
	limited    *prometheus.CounterVec
	fallbacks  prometheus.Counter
	lookups    *prometheus.CounterVec
	fromLedger prometheus.Counter
	broken     prometheus.Counter
	panics     prometheus.Counter
}

// NewMetrics registers them with reg; a nil reg keeps them to the API.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_api_requests_total",
			Help: "Requests to the customers' API, by route and HTTP status (499: the client left)."}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "ringfence_api_request_seconds",
			Help: "Time to answer a request to the customers' API.", Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}}, []string{"route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ringfence_api_in_flight",
			Help: "Requests to the customers' API that are being answered."}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_api_rate_limited_total",
			Help: "Requests refused by the rate limit, by what they were counted under (key, address)."}, []string{"by"}),
		fallbacks: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_api_rate_limit_local_total",
			Help: "Requests of a key that this sidecar counted alone, since Redis did not answer."}),
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_api_key_lookups_total",
			Help: "API keys looked up in the ledger, by result (found, unknown, error)."}, []string{"result"}),
		fromLedger: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_api_balance_from_ledger_total",
			Help: "Balances answered from the ledger, since Redis did not have them."}),
		broken: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_api_statements_broken_total",
			Help: "Statements that broke off after their beginning was sent."}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_api_panics_total",
			Help: "Panics in the customers' API."}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.seconds, m.inFlight, m.limited, m.fallbacks, m.lookups, m.fromLedger, m.broken, m.panics)
	}
	return m
}

func (m *Metrics) request(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}
