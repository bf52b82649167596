package bench

import "time"

// sample keeps every latency of a phase; phases are bounded, so it stays small.
type sample []time.Duration

// at gives the q-quantile (0..1) of a sorted sample.
func (s sample) at(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	return s[min(len(s)-1, int(q*float64(len(s))))]
}
