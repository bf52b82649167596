package page

import "github.com/prometheus/client_golang/prometheus"

// Metrics of the billing page.
type Metrics struct {
	requests *prometheus.CounterVec
	signIns  *prometheus.CounterVec
	limited  prometheus.Counter
	watching prometheus.Gauge
	panics   prometheus.Counter
}

// NewMetrics registers them with reg; a nil reg keeps them to the page.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_page_requests_total",
			Help: "Requests to the billing page, by HTTP status class (2xx, 3xx, 4xx, 5xx)."}, []string{"class"}),
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_page_sign_ins_total",
			Help: "Sign-ins to the billing page, by way (key, link) and result (in, refused, limited)."}, []string{"by", "result"}),
		limited: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_page_rate_limited_total",
			Help: "Requests to the billing page refused since their account sent too many."}),
		watching: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ringfence_page_watching",
			Help: "Browsers that watch a balance live."}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_page_panics_total",
			Help: "Panics in the billing page."}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.signIns, m.limited, m.watching, m.panics)
	}
	return m
}
