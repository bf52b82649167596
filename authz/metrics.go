package authz

import "github.com/prometheus/client_golang/prometheus"

// Metrics of the decisions.
type Metrics struct {
	decisions *prometheus.CounterVec
	policy    *prometheus.CounterVec
	gone      prometheus.Counter

	allowed [3]prometheus.Counter // decisions to allow, by Direction
}

// NewMetrics registers them with reg; a nil reg keeps them to the Authorizer.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_decisions_total",
			Help: "Authorize requests decided, by direction and result (allow, or the code of the refusal)."}, []string{"direction", "result"}),
		policy: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_policy_decisions_total",
			Help: "Requests that the failure policy decided, by policy and result."}, []string{"policy"}),
		gone: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_askers_gone_total",
			Help: "Authorize requests whose asker left before the answer; their holds are given back."}),
	}
	for _, d := range []Direction{Inbound, Outbound} {
		m.allowed[d] = m.decisions.WithLabelValues(d.String(), allow)
	}
	if reg != nil {
		reg.MustRegister(m.decisions, m.policy, m.gone)
	}
	return m
}

// allow is the result of a decision that lets a call go.
const allow = "allow"

func (m *Metrics) decision(dir Direction, d *Decision) {
	if d.Allowed && dir.Valid() {
		m.allowed[dir].Inc()
		return
	}
	result := allow
	if !d.Allowed {
		result = string(d.Code)
	}
	direction := "unknown"
	if dir.Valid() {
		direction = dir.String()
	}
	m.decisions.WithLabelValues(direction, result).Inc()
}
