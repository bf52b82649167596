// Package audiotest makes and compares sound for tests: of audio, of its
// announcer, and of whoever wants to prove that a caller heard the prompt.
package audiotest

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/audio"
)

// Sweep makes a tone that glides from 300 to 3,000 Hz at -6 dB: unlike a plain
// sine, no part of it equals another, so that a shifted or repeated piece shows.
func Sweep(rate int, length time.Duration) []int16 {
	const low, high = 300.0, 3000.0
	samples := make([]int16, int(int64(rate)*int64(length)/int64(time.Second)))
	total := length.Seconds()
	for i := range samples {
		t := float64(i) / float64(rate)
		phase := 2 * math.Pi * (low*t + (high-low)*t*t/(2*total))
		samples[i] = int16(16384 * math.Sin(phase))
	}
	return samples
}

// Tone makes a sine of the given frequency in Hz, with the amplitude as a share
// of full scale.
func Tone(rate int, frequency, amplitude float64, length time.Duration) []int16 {
	samples := make([]int16, int(int64(rate)*int64(length)/int64(time.Second)))
	for i := range samples {
		samples[i] = int16(math.Round(32767 * amplitude * math.Sin(2*math.Pi*frequency*float64(i)/float64(rate))))
	}
	return samples
}

// SNR is the signal-to-noise ratio in dB of what was heard against what should
// have been, sample by sample; +Inf for equal sound. Samples that one of them
// lacks count as silence there. G.711 alone gives about 37 dB.
func SNR(heard, want []int16) float64 {
	signal, noise := 0.0, 0.0
	for i := range max(len(heard), len(want)) {
		h, w := 0.0, 0.0
		if i < len(heard) {
			h = float64(heard[i])
		}
		if i < len(want) {
			w = float64(want[i])
		}
		signal += w * w
		noise += (h - w) * (h - w)
	}
	return 10 * math.Log10(signal/noise)
}

// WriteWAV writes a 16-bit mono WAVE file, making its folder.
func WriteWAV(t testing.TB, path string, samples []int16, rate int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, audio.EncodeWAV(samples, rate), 0o644); err != nil {
		t.Fatal(err)
	}
}
