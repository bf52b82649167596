package usage

import "github.com/prometheus/client_golang/prometheus"

// Metrics of reported usage.
type Metrics struct {
	attempts *prometheus.CounterVec
	proven   prometheus.Counter
	seconds  prometheus.Counter
	wrong    prometheus.Counter
	waiting  *prometheus.GaugeVec
	oldest   prometheus.Gauge
}

// NewMetrics registers them with reg; a nil reg keeps them to the Reporter.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_usage_events_sent_total",
			Help: "Meter events sent to Stripe, by result: taken, known (an earlier attempt had worked), refused, unsure."}, []string{"result"}),
		proven: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_usage_batches_proven_total",
			Help: "Batches of usage that Stripe has been seen to have counted."}),
		seconds: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_usage_seconds_proven_total",
			Help: "Seconds of talk time in them."}),
		wrong: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_usage_batches_wrong_total",
			Help: "Looks at Stripe that found something else than the batch in its minute. Above zero: ringfence stripe status shows them."}),
		waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "ringfence_usage_waiting_batches",
			Help: "Batches of usage that are not proven, by state: frozen, sent, known, wrong."}, []string{"state"}),
		oldest: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ringfence_usage_waiting_seconds",
			Help: "Age of the oldest hour with a batch that is not proven; 0: none."}),
	}
	for _, result := range []string{taken, known, refused, unsure} {
		m.attempts.WithLabelValues(result)
	}
	if reg != nil {
		reg.MustRegister(m.attempts, m.proven, m.seconds, m.wrong, m.waiting, m.oldest)
	}
	return m
}

// The results of an attempt.
const (
	taken   = "taken"
	known   = "known"
	refused = "refused"
	unsure  = "unsure"
)
