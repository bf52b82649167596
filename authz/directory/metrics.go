package directory

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a directory.
type Metrics struct {
	entries    *prometheus.GaugeVec
	changes    prometheus.Counter
	loads      *prometheus.CounterVec
	failures   prometheus.Counter
	unreadable prometheus.Counter
	fresh      prometheus.Gauge
	lost       prometheus.Gauge
	synced     prometheus.Gauge
	saves      *prometheus.CounterVec
}

// NewMetrics registers them with reg; a nil reg keeps them to the directory.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		entries: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "ringfence_directory_entries",
			Help: "Accounts, numbers and tariffs that the directory knows."}, []string{"kind"}),
		changes: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_directory_changes_total",
			Help: "Changes taken into the directory."}),
		loads: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_directory_loads_total",
			Help: "Times the whole directory was read, by why: start, gap (changes were missing), lost (Redis was empty and is back), snapshot."}, []string{"reason"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_directory_errors_total",
			Help: "Questions for changes that were not answered."}),
		unreadable: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_directory_unreadable_total",
			Help: "Entries that could not be read, or name a tariff or time zone that is not known."}),
		fresh: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ringfence_directory_fresh",
			Help: "1 while the directory follows its source; 0 while it answers with what it knew before, or with nothing."}),
		lost: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ringfence_directory_lost",
			Help: "1 while the source lacks what the directory knows."}),
		synced: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ringfence_directory_synced_timestamp_seconds",
			Help: "When the source last answered, Unix time."}),
		saves: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_directory_snapshots_total",
			Help: "Snapshots written, by result."}, []string{"result"}),
	}
	if reg != nil {
		reg.MustRegister(m.entries, m.changes, m.loads, m.failures, m.unreadable, m.fresh, m.lost, m.synced, m.saves)
	}
	return m
}
