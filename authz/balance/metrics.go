package balance

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of the balance store.
type Metrics struct {
	batch    prometheus.Histogram
	seconds  prometheus.Histogram
	failures *prometheus.CounterVec
	overrun  prometheus.Counter
	overruns prometheus.Counter
	clamped  prometheus.Counter
	settled  *prometheus.CounterVec
}

// NewMetrics registers them with reg; a nil reg keeps them to the store.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ringfence_redis_batch_size",
			Help: "Scripts sent to Redis in one pipeline.", Buckets: []float64{1, 2, 4, 8, 16, 32, 64}}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ringfence_redis_seconds",
			Help:    "Round trip of one pipeline to Redis.",
			Buckets: []float64{.00005, .0001, .0002, .0005, .001, .002, .005, .01, .025, .05, .1, .25, 1}}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_redis_errors_total",
			Help: "Scripts that Redis did not carry out, by script."}, []string{"script"}),
		overruns: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_overruns_total",
			Help: "Calls that cost more than was held for them."}),
		overrun: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_overrun_units_total",
			Help: "Units charged beyond holds."}),
		clamped: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_clamped_durations_total",
			Help: "Calls whose reported duration made no sense and was clamped."}),
		settled: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_calls_closed_total",
			Help: "Calls closed, by state (settled, lost, released)."}, []string{"state"}),
	}
	if reg != nil {
		reg.MustRegister(m.batch, m.seconds, m.failures, m.overruns, m.overrun, m.clamped, m.settled)
	}
	return m
}

func (m *Metrics) pipelined(n int, d time.Duration) {
	m.batch.Observe(float64(n))
	m.seconds.Observe(d.Seconds())
}

func (m *Metrics) failed(script string) { m.failures.WithLabelValues(script).Inc() }
