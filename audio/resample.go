package audio

import "math"

// Between 8 and 16 kHz the ideal low-pass at 4 kHz is a half-band filter: every
// second coefficient is zero but the middle one. halfBand holds one side of the
// others (offsets 1, 3, 5 ... 63), windowed after Kaiser for a stop band at
// -80 dB; pass band to 3.7 kHz, which is all a telephone carries.
const halfBandTaps = 32

var halfBand = func() (c [halfBandTaps]float64) {
	const beta = 8.0
	sum := 0.0
	for i := range c {
		n := float64(2*i + 1)
		r := n / (2 * halfBandTaps)
		c[i] = math.Sin(math.Pi*n/2) / (math.Pi * n / 2) * bessel0(beta*math.Sqrt(1-r*r)) / bessel0(beta)
		sum += 2 * c[i]
	}
	for i := range c {
		c[i] /= sum // a constant stays the constant it was
	}
	return c
}()

// bessel0 is the modified Bessel function I0, by its power series.
func bessel0(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > 1e-12*sum; k++ {
		term *= x / (2 * k) * (x / (2 * k))
		sum += term
	}
	return sum
}

// upsample doubles the rate. The given samples stay as they are, at the even
// places.
func upsample(in []int16) []int16 {
	const pad = halfBandTaps
	x := padded(in, pad)
	out := make([]int16, 2*len(in))
	for i, s := range in {
		out[2*i] = s
		left, right := x[i+1:i+1+pad], x[i+pad+1:i+2*pad+1]
		sum := 0.0
		for k, c := range halfBand {
			sum += c * (left[pad-1-k] + right[k])
		}
		out[2*i+1] = saturate(sum)
	}
	return out
}

// downsample halves the rate.
func downsample(in []int16) []int16 {
	const pad = 2 * halfBandTaps
	x := padded(in, pad)
	out := make([]int16, (len(in)+1)/2)
	for i := range out {
		at := 2*i + pad
		sum := x[at]
		for k, c := range halfBand {
			sum += c * (x[at-2*k-1] + x[at+2*k+1])
		}
		out[i] = saturate(sum / 2)
	}
	return out
}

// padded converts to float with zeros on both sides.
func padded(in []int16, pad int) []float64 {
	x := make([]float64, len(in)+2*pad)
	for i, s := range in {
		x[pad+i] = float64(s)
	}
	return x
}

func saturate(x float64) int16 {
	return int16(max(math.MinInt16, min(math.MaxInt16, math.Round(x))))
}
