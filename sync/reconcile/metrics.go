package reconcile

import "github.com/prometheus/client_golang/prometheus"

// Metrics of reconciliation.
type Metrics struct {
	rebuilt  prometheus.Counter
	drift    prometheus.Gauge
	drifting prometheus.Gauge
	busy     prometheus.Gauge
	compared prometheus.Counter
	repaired prometheus.Counter
	last     prometheus.Gauge
}

// NewMetrics registers them with reg; a nil reg keeps them to the package.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		rebuilt: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_rebuilt_accounts_total",
			Help: "Accounts written to Redis anew from the ledger."}),
		drift: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ringfence_drift_units",
			Help: "Units by which Redis and the ledger differ, summed over accounts without sign, as last compared."}),
		drifting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ringfence_drift_accounts",
			Help: "Accounts that differ, as last compared."}),
		busy: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ringfence_reconcile_busy_accounts",
			Help: "Accounts that could not be compared, as last tried."}),
		compared: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_reconciled_accounts_total",
			Help: "Accounts compared."}),
		repaired: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_repaired_accounts_total",
			Help: "Accounts repaired."}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ringfence_reconciled_timestamp_seconds",
			Help: "When all accounts were last compared, Unix time."}),
	}
	if reg != nil {
		reg.MustRegister(m.rebuilt, m.drift, m.drifting, m.busy, m.compared, m.repaired, m.last)
	}
	return m
}
