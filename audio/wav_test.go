package audio_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/audio"
	"github.com/hmsovereign/ringfence/audio/audiotest"
)

func chunk(id string, body []byte) []byte {
	b := append([]byte(id), 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(body)))
	b = append(b, body...)
	if len(body)%2 == 1 {
		b = append(b, 0)
	}
	return b
}

func fmtChunk(tag uint16, channels, rate, bits int) []byte {
	b := make([]byte, 16)
	binary.LittleEndian.PutUint16(b[0:], tag)
	binary.LittleEndian.PutUint16(b[2:], uint16(channels))
	binary.LittleEndian.PutUint32(b[4:], uint32(rate))
	binary.LittleEndian.PutUint16(b[14:], uint16(bits))
	return chunk("fmt ", b)
}

func riff(chunks ...[]byte) []byte {
	body := append([]byte("WAVE"), slices.Concat(chunks...)...)
	return chunk("RIFF", body)
}

func TestWAVRoundTrip(t *testing.T) {
	want := audiotest.Sweep(8000, 300*time.Millisecond)
	format, got, err := audio.DecodeWAV(audio.EncodeWAV(want, 8000))
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("got %d samples, %v; want the %d that went in", len(got), err, len(want))
	}
	if got, want := format.String(), "PCM, 8000 Hz, mono, 16 bits"; got != want {
		t.Errorf("format %q, want %q", got, want)
	}
}

func TestDecodeWAVAcceptsWhatRecordersWrite(t *testing.T) {
	data := []byte{1, 0, 2, 0, 3, 0}
	extensible := make([]byte, 40)
	copy(extensible, fmtChunk(0xFFFE, 1, 16000, 16)[8:])
	extensible[24] = 1 // PCM subformat
	streamed := riff(fmtChunk(1, 1, 8000, 16), chunk("data", data))
	binary.LittleEndian.PutUint32(streamed[len(streamed)-len(data)-4:], 0xFFFFFFFF)

	for name, file := range map[string][]byte{
		"odd chunk before the data":  riff(fmtChunk(1, 1, 8000, 16), chunk("LIST", []byte("abc")), chunk("data", data)),
		"chunk after the data":       riff(fmtChunk(1, 1, 8000, 16), chunk("data", data), chunk("id3 ", []byte("xx"))),
		"extensible":                 riff(chunk("fmt ", extensible), chunk("data", data)),
		"length unknown when opened": streamed,
	} {
		t.Run(name, func(t *testing.T) {
			format, samples, err := audio.DecodeWAV(file)
			if err != nil || !slices.Equal(samples, []int16{1, 2, 3}) || format.Tag != 1 {
				t.Errorf("got %v, %v, %v; want PCM with samples 1 2 3", format, samples, err)
			}
		})
	}
}

func TestDecodeWAVRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		file []byte
		want string
	}{
		"nothing":           {nil, "too short"},
		"MP3":               {[]byte("ID3\x04 and so on and so on"), "an MP3's tag"},
		"LFS pointer":       {[]byte("version https://git-lfs.github.com/spec/v1"), "a Git LFS pointer"},
		"no data":           {riff(fmtChunk(1, 1, 8000, 16)), "no sound"},
		"data first":        {riff(chunk("data", []byte{1, 0})), "before its format"},
		"cut off":           {riff(fmtChunk(1, 1, 8000, 16), chunk("data", make([]byte, 100)))[:80], "cut off: 36 of 100"},
		"tiny format chunk": {riff(chunk("fmt ", []byte{1, 0})), "fmt chunk has 2 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := audio.DecodeWAV(tc.file)
			if !errors.Is(err, audio.ErrNotWAVE) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want ErrNotWAVE saying %q", err, tc.want)
			}
		})
	}
}

func FuzzDecodeWAV(f *testing.F) {
	f.Add(audio.EncodeWAV([]int16{1, 2, 3}, 8000))
	f.Add(riff(fmtChunk(1, 2, 44100, 24), chunk("LIST", []byte("abc")), chunk("data", []byte{1, 2, 3, 4, 5, 6})))
	f.Add(riff(chunk("data", nil)))
	f.Fuzz(func(t *testing.T, file []byte) {
		format, samples, err := audio.DecodeWAV(file)
		if err != nil {
			if !errors.Is(err, audio.ErrNotWAVE) || samples != nil {
				t.Fatalf("samples %d with error %v", len(samples), err)
			}
			return
		}
		if 2*len(samples) > len(file) {
			t.Fatalf("%d samples out of %d bytes", len(samples), len(file))
		}
		if samples != nil && (format.Channels != 1 || format.Bits != 16) {
			t.Fatalf("samples of a format that has none: %v", format)
		}
	})
}
