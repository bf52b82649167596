package outbox

import "github.com/prometheus/client_golang/prometheus"

// Metrics of the outbox.
type Metrics struct {
	records  *prometheus.CounterVec
	batch    prometheus.Histogram
	commit   prometheus.Histogram
	failures prometheus.Counter
	waiting  prometheus.Gauge
	age      prometheus.Gauge
	held     prometheus.Gauge
}

// NewMetrics registers them with reg; a nil reg keeps them to the reader.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_outbox_records_total",
			Help: "Records taken from the outbox, by what the ledger did with them (inserted, replaced, duplicate, refused)."}, []string{"outcome"}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ringfence_outbox_batch_records",
			Help: "Records in one transaction of the ledger.", Buckets: []float64{1, 5, 20, 50, 100, 250, 500, 1000, 2000}}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ringfence_outbox_commit_seconds",
			Help: "Time of one transaction of the ledger.", Buckets: prometheus.ExponentialBuckets(.001, 2.5, 10)}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_outbox_errors_total",
			Help: "Batches that could not be read or committed and are tried again."}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ringfence_outbox_waiting_records",
			Help: "Records in all partitions' streams that wait for the ledger, as last counted."}),
		age: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ringfence_outbox_age_seconds",
			Help: "Age of the oldest record that waits for the ledger, in any partition, as last counted; grows while the ledger is away."}),
		held: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ringfence_outbox_partitions",
			Help: "Partitions this sidecar reads."}),
	}
	if reg != nil {
		reg.MustRegister(m.records, m.batch, m.commit, m.failures, m.waiting, m.age, m.held)
	}
	return m
}
