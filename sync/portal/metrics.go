package portal

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of the admin API and the Completer.
type Metrics struct {
	requests  *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	completed *prometheus.CounterVec
	waiting   prometheus.Gauge
	lost      prometheus.Gauge
	behind    prometheus.Gauge
	sweeps    *prometheus.CounterVec
}

// NewMetrics registers them with reg; a nil reg keeps them to the API.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_admin_requests_total",
			Help: "Requests to the admin API, by route and HTTP status."}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "ringfence_admin_request_seconds",
			Help: "Time to answer a request to the admin API.", Buckets: []float64{.001, .005, .025, .1, .5, 2, 10}}, []string{"route"}),
		completed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_changes_completed_total",
			Help: "Changes that were recorded, interrupted, and completed later: opened accounts, grants, statuses."}, []string{"what"}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ringfence_changes_waiting",
			Help: "Accounts with a change that is recorded and not done yet, as far as this sidecar knows."}),
		lost: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ringfence_accounts_lost",
			Help: "Accounts with grants that the balance store did not have at the last sweep."}),
		behind: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ringfence_accounts_book_behind",
			Help: "Accounts to which the balance store had applied more grants than the book knew at the last sweep."}),
		sweeps: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_completer_sweeps_total",
			Help: "Times all accounts were compared with the balance store, by result."}, []string{"result"}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.seconds, m.completed, m.waiting, m.lost, m.behind, m.sweeps)
	}
	return m
}

func (m *Metrics) request(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}
