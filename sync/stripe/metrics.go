package stripe

import "github.com/prometheus/client_golang/prometheus"

// Metrics of the shop.
type Metrics struct {
	webhooks  *prometheus.CounterVec
	events    *prometheus.CounterVec
	purchases *prometheus.CounterVec
	sold      prometheus.Counter
	taken     prometheus.Counter
	missed    prometheus.Counter
	failures  prometheus.Counter
}

// NewMetrics registers them with reg; a nil reg keeps them to the Service.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		webhooks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_stripe_webhooks_total",
			Help: "Webhooks received from Stripe, by result: saved, repeated, ignored, refused, failed."}, []string{"result"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_stripe_events_total",
			Help: "Events of Stripe's that were worked, by result: done, aside, failed."}, []string{"result"}),
		purchases: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_purchases_total",
			Help: "Purchases, by kind and what became of them."}, []string{"kind", "state"}),
		sold: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_credit_sold_units_total",
			Help: "Units granted for payments."}),
		taken: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_credit_taken_back_units_total",
			Help: "Units taken back for refunds and disputes; what came again is counted in ringfence_credit_sold_units_total."}),
		missed: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_stripe_missed_webhooks_total",
			Help: "Events that Stripe's list had and no webhook brought. Steadily rising: look at the webhook endpoint."}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_stripe_rounds_failed_total",
			Help: "Rounds of the shop's loops that failed and are tried again."}),
	}
	if reg != nil {
		reg.MustRegister(m.webhooks, m.events, m.purchases, m.sold, m.taken, m.missed, m.failures)
	}
	return m
}
