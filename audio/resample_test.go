package audio

import (
	"math"
	"testing"
	"time"
)

func tone(rate int, hz float64, length time.Duration) []int16 {
	out := make([]int16, int(int64(rate)*int64(length)/int64(time.Second)))
	for i := range out {
		out[i] = int16(math.Round(16000 * math.Sin(2*math.Pi*hz*float64(i)/float64(rate))))
	}
	return out
}

// power is the mean power of one frequency in the middle of the samples, away
// from the filter's start and end.
func power(samples []int16, rate int, hz float64) float64 {
	mid := samples[len(samples)/4 : 3*len(samples)/4]
	re, im := 0.0, 0.0
	for i, s := range mid {
		phi := 2 * math.Pi * hz * float64(i) / float64(rate)
		re += float64(s) * math.Cos(phi)
		im += float64(s) * math.Sin(phi)
	}
	n := float64(len(mid))
	return (re*re + im*im) / (n * n)
}

func TestResampleKeepsTheTelephoneBand(t *testing.T) {
	for _, hz := range []float64{200, 1000, 2000, 3400} {
		for name, got := range map[string][]int16{
			"up":   upsample(tone(8000, hz, time.Second)),
			"down": downsample(tone(16000, hz, time.Second)),
		} {
			rate := map[string]int{"up": 16000, "down": 8000}[name]
			if len(got) != rate {
				t.Fatalf("%s: %d samples a second, want %d", name, len(got), rate)
			}
			want := 16000.0 * 16000 / 4
			if db := 10 * math.Log10(power(got, rate, hz)/want); math.Abs(db) > 0.1 {
				t.Errorf("%s: %.0f Hz changes by %.2f dB, want within 0.1", name, hz, db)
			}
		}
	}
}

// Doubling the rate by repetition would leave a mirror image above 4 kHz, and
// halving it by dropping samples would fold what is above 4 kHz down.
func TestResampleLeavesNoImageNorAlias(t *testing.T) {
	up := upsample(tone(8000, 3000, time.Second))
	if db := 10 * math.Log10(power(up, 16000, 5000)/power(up, 16000, 3000)); db > -60 {
		t.Errorf("image of 3000 Hz at 5000 Hz is at %.0f dB, want below -60", db)
	}
	down := downsample(tone(16000, 5000, time.Second))
	if db := 10 * math.Log10(power(down, 8000, 3000)/(16000*16000/4)); db > -60 {
		t.Errorf("5000 Hz folds to 3000 Hz at %.0f dB, want below -60", db)
	}
}

func TestResampleEdges(t *testing.T) {
	for n := range 5 {
		in := make([]int16, n)
		for i := range in {
			in[i] = math.MaxInt16 // overshoot must saturate, not wrap
		}
		if got := upsample(in); len(got) != 2*n {
			t.Errorf("upsample of %d samples gives %d", n, len(got))
		}
		for _, s := range upsample(in) {
			if s < 0 {
				t.Errorf("upsample wraps around: %d", s)
			}
		}
		if got := downsample(in); len(got) != (n+1)/2 {
			t.Errorf("downsample of %d samples gives %d", n, len(got))
		}
	}
}
