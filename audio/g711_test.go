package audio_test

import (
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/audio"
	"github.com/hmsovereign/ringfence/audio/audiotest"
)

// Values of ITU-T G.711, tables 1 and 2, at the scale of 16 bits.
func TestG711KnownValues(t *testing.T) {
	for _, tc := range []struct {
		sample     int16
		ulaw, alaw byte
	}{
		{0, 0xFF, 0xD5}, {8, 0xFE, 0xD5}, {-8, 0x7E, 0x55}, {1000, 0xCE, 0xFA}, {-1000, 0x4E, 0x7A},
		{32767, 0x80, 0xAA}, {-32768, 0x00, 0x2A},
	} {
		if got := audio.EncodeULaw(nil, []int16{tc.sample})[0]; got != tc.ulaw {
			t.Errorf("mu-law of %d is %#02x, want %#02x", tc.sample, got, tc.ulaw)
		}
		if got := audio.EncodeALaw(nil, []int16{tc.sample})[0]; got != tc.alaw {
			t.Errorf("A-law of %d is %#02x, want %#02x", tc.sample, got, tc.alaw)
		}
	}
	if got := audio.DecodeULaw(nil, []byte{0x80, 0x00, 0xFF}); got[0] != 32124 || got[1] != -32124 || got[2] != 0 {
		t.Errorf("mu-law extremes decode to %v, want 32124, -32124, 0", got)
	}
	if got := audio.DecodeALaw(nil, []byte{0xAA, 0x2A, 0xD5}); got[0] != 32256 || got[1] != -32256 || got[2] != 8 {
		t.Errorf("A-law extremes decode to %v, want 32256, -32256, 8", got)
	}
}

func TestG711EveryCodewordComesBack(t *testing.T) {
	for i := range 256 {
		b := byte(i)
		if got := audio.EncodeULaw(nil, audio.DecodeULaw(nil, []byte{b}))[0]; got != b && b != 0x7F { // 0x7F is minus zero
			t.Errorf("mu-law %#02x comes back as %#02x", b, got)
		}
		if got := audio.EncodeALaw(nil, audio.DecodeALaw(nil, []byte{b}))[0]; got != b {
			t.Errorf("A-law %#02x comes back as %#02x", b, got)
		}
	}
}

// Every sample decodes to the nearest level or its neighbour: the error stays
// within half a step, and a louder sample never decodes quieter.
func TestG711ErrorAndOrder(t *testing.T) {
	for name, code := range map[string]func(int16) int16{
		"mu-law": func(s int16) int16 { return audio.DecodeULaw(nil, audio.EncodeULaw(nil, []int16{s}))[0] },
		"A-law":  func(s int16) int16 { return audio.DecodeALaw(nil, audio.EncodeALaw(nil, []int16{s}))[0] },
	} {
		last := int16(-32768)
		for s := -32768; s <= 32767; s++ {
			got := code(int16(s))
			if got < last {
				t.Fatalf("%s: %d decodes to %d, its predecessor to %d", name, s, got, last)
			}
			last = got
			limit := max(8, abs(s)/32+8) // a segment has 16 steps, and doubles
			if s < -32635 || s > 32635 {
				limit = 1024
			}
			if d := abs(int(got) - s); d > limit {
				t.Fatalf("%s: %d decodes to %d, off by %d", name, s, got, d)
			}
		}
	}
}

func abs(x int) int {
	if x < 0 {
		return -x
	}
	return x
}

func TestG711SNR(t *testing.T) {
	want := audiotest.Sweep(8000, time.Second)
	if db := audiotest.SNR(audio.DecodeULaw(nil, audio.EncodeULaw(nil, want)), want); db < 35 {
		t.Errorf("mu-law SNR %.1f dB, want above 35", db)
	}
	if db := audiotest.SNR(audio.DecodeALaw(nil, audio.EncodeALaw(nil, want)), want); db < 35 {
		t.Errorf("A-law SNR %.1f dB, want above 35", db)
	}
}
