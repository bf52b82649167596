package notify

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the package's.
type Metrics struct {
	tries   *prometheus.CounterVec
	seconds prometheus.Histogram
	dead    prometheus.Counter
	opened  prometheus.Counter
	pending prometheus.Gauge
	letters prometheus.Gauge
	age     prometheus.Gauge
	working prometheus.Gauge
}

// NewMetrics makes and registers them; reg may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		tries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_notify_tries_total",
			Help: "Tries to deliver a message to a customer, by way (webhook, mail) and result (delivered, failed)."}, []string{"way", "result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ringfence_notify_try_seconds",
			Help: "Time one try took.", Buckets: []float64{.01, .03, .1, .3, 1, 3, 10, 30}}),
		dead: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_notify_given_up_total",
			Help: "Deliveries that became dead letters."}),
		opened: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_notify_breaker_opened_total",
			Help: "Times an endpoint's breaker opened, or stayed open after a probe."}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ringfence_notify_pending",
			Help: "Deliveries in the queue, of all sidecars."}),
		letters: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ringfence_notify_dead",
			Help: "Dead letters in the ledger."}),
		age: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ringfence_notify_oldest_seconds",
			Help: "Age of the oldest delivery in the queue; 0 where it is empty."}),
		working: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ringfence_notify_endpoints_working",
			Help: "Endpoints this sidecar is delivering to."}),
	}
	for _, way := range []string{"webhook", "mail"} {
		for _, result := range []string{"delivered", "failed"} {
			m.tries.WithLabelValues(way, result)
		}
	}
	if reg != nil {
		reg.MustRegister(m.tries, m.seconds, m.dead, m.opened, m.pending, m.letters, m.age, m.working)
	}
	return m
}
