package announce

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// result is how an announcement ended.
type result string

const (
	played     result = "played"         // to the end, then the final reply or BYE
	cancelled  result = "cancelled"      // CANCEL while playing
	hungUp     result = "hung_up"        // BYE from the caller
	noMedia    result = "no_media"       // nothing in common, on hold, encrypted, no SDP: final reply at once
	noPort     result = "no_port"        // no RTP port could be opened: final reply at once
	sendFailed result = "send_failed"    // RTP could not be sent: final reply early
	overLimit  result = "limit"          // refused: as many announcements as allowed
	unknown    result = "unknown_prompt" // refused: no such prompt
	noAck      result = "no_ack"         // answered, but the ACK never came
	stopped    result = "stopped"        // the server stopped, or was stopping
	failed     result = "failed"         // SIP broke down
)

var results = []result{played, cancelled, hungUp, noMedia, noPort, sendFailed, overLimit, unknown, noAck, stopped, failed}

// Metrics counts what the announcer does.
type Metrics struct {
	active        prometheus.Gauge
	announcements *prometheus.CounterVec
	requests      *prometheus.CounterVec
	replies       *prometheus.CounterVec
	packets       prometheus.Counter
	latched       prometheus.Counter
	late          prometheus.Histogram
	refused       prometheus.Counter
	malformed     prometheus.Counter
	panics        prometheus.Counter
}

// NewMetrics registers the announcer's metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		active: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ringfence_announcer_active",
			Help: "Announcements being played now.",
		}),
		announcements: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ringfence_announcer_announcements_total",
			Help: "Announcements by how they ended.",
		}, []string{"result"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ringfence_announcer_requests_total",
			Help: "SIP requests from peers, retransmissions not included.",
		}, []string{"method"}),
		replies: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ringfence_announcer_replies_total",
			Help: "Final SIP replies by status.",
		}, []string{"status"}),
		packets: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ringfence_announcer_rtp_packets_total",
			Help: "RTP packets sent.",
		}),
		latched: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ringfence_announcer_latched_total",
			Help: "Announcements redirected to where the caller's media really came from.",
		}),
		late: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "ringfence_announcer_late_seconds",
			Help:    "How late a batch of RTP frames was begun.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2},
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ringfence_announcer_refused_datagrams_total",
			Help: "Datagrams dropped because their sender is no configured peer.",
		}),
		malformed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ringfence_announcer_malformed_datagrams_total",
			Help: "Datagrams from peers that are no SIP message.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ringfence_announcer_panics_total",
			Help: "Panics caught while reading or handling a SIP message; each is a bug to report.",
		}),
	}
	reg.MustRegister(m.active, m.announcements, m.requests, m.replies, m.packets, m.latched, m.late,
		m.refused, m.malformed, m.panics)
	for _, r := range results {
		m.announcements.WithLabelValues(string(r)) // so that a rate over a new result starts at 0
	}
	return m
}

func (m *Metrics) end(r result) { m.announcements.WithLabelValues(string(r)).Inc() }

func (m *Metrics) reply(status int) { m.replies.WithLabelValues(strconv.Itoa(status)).Inc() }
