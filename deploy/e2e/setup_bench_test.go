package e2e

import (
	"slices"
	"testing"
	"time"
)

// BenchmarkSetUp measures how long a caller waits from INVITE to 180, with authorization and without: half of the
// calls are to an emergency number, which asks nobody and takes the same way otherwise. Both go at the same time, so
// that the machine is as busy for either. What the trace shows includes sipp on both ends.
func BenchmarkSetUp(b *testing.B) {
	const (
		calls = 400
		rate  = 20 // a second, each
	)
	s := deploy(b, options{buildFlags: []string{"-race=false"}, sidecar: settings{"calls.slice": "60s", "calls.extend_before": "10s"}})
	a := s.open(b, "bench", 100_000*credit)
	for b.Loop() {
		r := ring{from: a.number, to: someone, talk: 100 * time.Millisecond, calls: calls, rate: rate}
		asked := s.call(b, "caller.xml", r)
		r.to = "112"
		unasked := s.call(b, "caller.xml", r)
		asked.done()
		unasked.done()
		with, without := asked.setUps(), unasked.setUps()
		if len(with) != calls || len(without) != calls {
			b.Fatalf("%d and %d calls rang, want %d each", len(with), len(without), calls)
		}
		for name, q := range map[string]float64{"p50": 0.5, "p95": 0.95, "p99": 0.99} {
			w, o := quantile(with, q), quantile(without, q)
			b.ReportMetric(float64(w.Microseconds())/1000, "ms-with-"+name)
			b.ReportMetric(float64(o.Microseconds())/1000, "ms-without-"+name)
			b.ReportMetric(float64((w-o).Microseconds())/1000, "ms-added-"+name)
		}
	}
	b.ReportMetric(0, "ns/op") // says nothing here
}

// setUps are the times from INVITE to 180, sorted.
func (p *phone) setUps() []time.Duration {
	p.t.Helper()
	sent := map[string]time.Time{}
	var all []time.Duration
	for _, m := range p.messages() {
		id := m.header("Call-ID")
		switch at, known := sent[id]; {
		case m.sent && !known:
			sent[id] = m.at
		case !m.sent && m.start == "SIP/2.0 180 Ringing":
			all = append(all, m.at.Sub(at))
		}
	}
	slices.Sort(all)
	return all
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[int(q*float64(len(sorted)-1))]
}
