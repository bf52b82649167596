package meter

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hmsovereign/ringfence/authz"
)

// Metrics of the meter.
type Metrics struct {
	reg prometheus.Registerer

	events, extensions, warnings, cutoffs, hangups, raises, losses, claims, listings *prometheus.CounterVec
	expired, abandoned, orphans, adopted, refused, restored, vanished, fenced, breaker,
	corrupt, reaped, indexFailures, recoveryFailures, sweepFailures prometheus.Counter
	sweepSeconds prometheus.Histogram
}

// NewMetrics registers them with reg; a nil reg keeps them to the meter.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	var all []prometheus.Collector
	vec := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_meter_" + name, Help: help}, []string{label})
		all = append(all, c)
		return c
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "ringfence_meter_" + name, Help: help})
		all = append(all, c)
		return c
	}
	m := &Metrics{
		reg:        reg,
		events:     vec("events_total", "Events of switches, by what became of them.", "result"),
		extensions: vec("extensions_total", "Extensions asked for: granted, short (credit runs out), rescued (credit came after all), proof (only a sign of life), failed, ended, fenced, unknown.", "result"),
		warnings:   vec("warnings_total", "Warnings that credit runs out: sent, failed, heartbeat (told in its answer).", "result"),
		cutoffs:    vec("cutoffs_total", "Calls that were to be hung up, by reason.", "reason"),
		hangups:    vec("hangups_total", "What switches said to hang-ups: taken, unknown (no such call), no_control, failed.", "result"),
		raises:     vec("dead_man_total", "Dead-man limits raised at the switch: done, unknown, failed.", "result"),
		losses:     vec("lost_total", "Calls settled to their last proof of life: no_end, heartbeat, listing, stale.", "reason"),
		claims:     vec("claims_total", "Calls taken over from another owner: recovery, answer (heard it first).", "by"),
		listings:   vec("listings_total", "Listings of switches: done, failed.", "result"),

		expired:          counter("expired_total", "Unanswered holds that lapsed and were given back."),
		abandoned:        counter("abandoned_total", "Holds for nobody that were given back."),
		orphans:          counter("orphans_total", "Events whose call two sweeps did not find."),
		adopted:          counter("adopted_total", "Calls let go unchecked and taken in later."),
		refused:          counter("kept_refused_total", "Kept events that turned out to be wrong."),
		restored:         counter("restored_total", "Live calls that were missing from Redis and were put back."),
		vanished:         counter("vanished_total", "Calls in memory that Redis did not have any more, given up."),
		fenced:           counter("fenced_total", "Calls, or the name, that another sidecar had taken over."),
		breaker:          counter("breaker_total", "Times most calls vanished from a switch at once and that was not believed at first."),
		corrupt:          counter("corrupt_fields_total", "Call fields in Redis that the sweep could not read."),
		reaped:           counter("reaped_total", "Tombstones and end-marks removed."),
		indexFailures:    counter("index_failures_total", "Writes of the live index that failed and were tried again."),
		recoveryFailures: counter("recovery_failures_total", "Passes for calls of dead owners that were not finished."),
		sweepFailures:    counter("sweep_failures_total", "Sweeps that were not finished."),

		sweepSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ringfence_meter_sweep_seconds",
			Help: "Duration of a full sweep.", Buckets: []float64{.01, .1, 1, 10, 60, 300, 1800}}),
	}
	if reg != nil {
		reg.MustRegister(append(all, m.sweepSeconds)...)
	}
	return m
}

// observe adds the gauges of a meter.
func (x *Metrics) observe(m *Meter) {
	if x.reg == nil {
		return
	}
	gauge := func(name, help string, labels prometheus.Labels, f func(Stats) float64) {
		x.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "ringfence_meter_" + name, Help: help, ConstLabels: labels},
			func() float64 { return f(m.Stats()) }))
	}
	for state, f := range map[string]func(Stats) float64{
		"held":      func(s Stats) float64 { return float64(s.Held) },
		"live":      func(s Stats) float64 { return float64(s.Live - s.Ending) },
		"ending":    func(s Stats) float64 { return float64(s.Ending) },
		"unchecked": func(s Stats) float64 { return float64(s.Unchecked) },
	} {
		gauge("calls", "Calls of this sidecar.", prometheus.Labels{"state": state}, f)
	}
	gauge("backlog_entries", "Events and adoptions that wait for Redis or for their call.", nil, func(s Stats) float64 { return float64(s.Backlog) })
	gauge("backlog_age_seconds", "How long the oldest of them has waited.", nil, func(s Stats) float64 { return s.BacklogAge.Seconds() })
	gauge("epoch", "Fencing epoch; 0 while not registered.", nil, func(s Stats) float64 { return float64(s.Epoch) })
}

func (x *Metrics) event(ev *authz.Event, res *authz.EventResult, err error) {
	result := string(ev.Type)
	switch {
	case errors.Is(err, authz.ErrDown):
		result = "stopped"
	case err != nil:
		result = "refused"
	case res.Kept:
		result = "kept"
	}
	x.events.WithLabelValues(result).Inc()
}

func (x *Metrics) extension(result string) { x.extensions.WithLabelValues(result).Inc() }
func (x *Metrics) warned(result string)    { x.warnings.WithLabelValues(result).Inc() }
func (x *Metrics) cutoff(reason string)    { x.cutoffs.WithLabelValues(reason).Inc() }
func (x *Metrics) hangup(result string)    { x.hangups.WithLabelValues(result).Inc() }
func (x *Metrics) raised(result string)    { x.raises.WithLabelValues(result).Inc() }
func (x *Metrics) lostCall(reason string)  { x.losses.WithLabelValues(reason).Inc() }
func (x *Metrics) listing(result string)   { x.listings.WithLabelValues(result).Inc() }
