package audio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// WAVE format tags (Microsoft, mmreg.h).
const (
	wavePCM        = 0x0001
	waveExtensible = 0xFFFE
)

var waveNames = map[uint16]string{
	wavePCM: "PCM", 0x0002: "MS ADPCM", 0x0003: "floating point", 0x0006: "A-law",
	0x0007: "mu-law", 0x0011: "IMA ADPCM", 0x0031: "GSM 6.10", 0x0055: "MP3",
}

// Format is what a WAVE file says about its samples.
type Format struct {
	Tag      uint16 // 1 = PCM; the subformat's tag when the file is WAVE_FORMAT_EXTENSIBLE
	Channels int
	Rate     int // samples a second
	Bits     int // bits a sample
}

// String describes the format: "PCM, 44100 Hz, 2 channels, 16 bits".
func (f Format) String() string {
	name, ok := waveNames[f.Tag]
	if !ok {
		name = fmt.Sprintf("format %#04x", f.Tag)
	}
	channels := "mono"
	if f.Channels != 1 {
		channels = fmt.Sprintf("%d channels", f.Channels)
	}
	return fmt.Sprintf("%s, %d Hz, %s, %d bits", name, f.Rate, channels, f.Bits)
}

// ErrNotWAVE is wrapped by every error of [DecodeWAV].
var ErrNotWAVE = errors.New("no readable RIFF WAVE")

func notWAVE(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrNotWAVE, fmt.Sprintf(format, args...))
}

// DecodeWAV reads a RIFF WAVE file. The samples are nil unless the file is
// 16-bit PCM with one channel; the format is returned for any readable file, so
// that the caller can say what it found. The error wraps [ErrNotWAVE].
func DecodeWAV(file []byte) (Format, []int16, error) {
	if len(file) < 12 {
		return Format{}, nil, notWAVE("%d bytes, too short for a header", len(file))
	}
	if string(file[:4]) != "RIFF" || string(file[8:12]) != "WAVE" {
		return Format{}, nil, notWAVE("it starts with %s", describeMagic(file))
	}
	var format *Format
	for rest := file[12:]; len(rest) >= 8; {
		id, size := string(rest[:4]), int64(binary.LittleEndian.Uint32(rest[4:8]))
		body := rest[8:]
		switch id {
		case "fmt ":
			if size < 16 || size > int64(len(body)) {
				return Format{}, nil, notWAVE("its fmt chunk has %d bytes", size)
			}
			f := decodeFormat(body[:size])
			format = &f
		case "data":
			if format == nil {
				return Format{}, nil, notWAVE("its data comes before its format")
			}
			// A recorder that could not seek back leaves 0 or the
			// largest number; the data then runs to the end.
			if size == 0 || size == 0xFFFFFFFF {
				size = int64(len(body))
			}
			if size > int64(len(body)) {
				return *format, nil, notWAVE("cut off: %d of %d bytes of sound are there", len(body), size)
			}
			return *format, decodePCM(*format, body[:size]), nil
		}
		size += size & 1 // chunks are padded to even length
		if size > int64(len(body)) {
			break
		}
		rest = body[size:]
	}
	return Format{}, nil, notWAVE("it has no sound (data chunk)")
}

func decodeFormat(b []byte) Format {
	f := Format{
		Tag:      binary.LittleEndian.Uint16(b[0:]),
		Channels: int(binary.LittleEndian.Uint16(b[2:])),
		Rate:     int(binary.LittleEndian.Uint32(b[4:])),
		Bits:     int(binary.LittleEndian.Uint16(b[14:])),
	}
	if f.Tag == waveExtensible && len(b) >= 26 {
		f.Tag = binary.LittleEndian.Uint16(b[24:]) // first two bytes of the subformat's GUID
	}
	return f
}

func decodePCM(f Format, data []byte) []int16 {
	if f.Tag != wavePCM || f.Channels != 1 || f.Bits != 16 {
		return nil
	}
	samples := make([]int16, len(data)/2)
	for i := range samples {
		samples[i] = int16(binary.LittleEndian.Uint16(data[2*i:]))
	}
	return samples
}

// describeMagic names the usual things found in a file called .wav.
func describeMagic(file []byte) string {
	for _, m := range []struct{ prefix, name string }{
		{"ID3", "an MP3's tag"}, {"\xff\xfb", "MP3 frames"}, {"\xff\xf3", "MP3 frames"}, {"OggS", "an Ogg header"},
		{"fLaC", "a FLAC header"}, {".snd", "an AU header"}, {"RIFX", "a big-endian RIFX header"},
		{"FORM", "an AIFF header"}, {"version https://git-lfs", "a Git LFS pointer"},
	} {
		if bytes.HasPrefix(file, []byte(m.prefix)) {
			return m.name
		}
	}
	return fmt.Sprintf("%q", strings.ToValidUTF8(string(file[:4]), "?"))
}

// wavHeaderSize is the length of the header [EncodeWAV] writes.
const wavHeaderSize = 44

// EncodeWAV writes 16-bit mono PCM as a RIFF WAVE file. The rate is in samples
// a second.
func EncodeWAV(samples []int16, rate int) []byte {
	size := 2 * len(samples)
	out := make([]byte, wavHeaderSize, wavHeaderSize+size)
	copy(out[0:], "RIFF")
	binary.LittleEndian.PutUint32(out[4:], uint32(wavHeaderSize-8+size))
	copy(out[8:], "WAVEfmt ")
	binary.LittleEndian.PutUint32(out[16:], 16)
	binary.LittleEndian.PutUint16(out[20:], wavePCM)
	binary.LittleEndian.PutUint16(out[22:], 1)
	binary.LittleEndian.PutUint32(out[24:], uint32(rate))
	binary.LittleEndian.PutUint32(out[28:], uint32(2*rate))
	binary.LittleEndian.PutUint16(out[32:], 2)
	binary.LittleEndian.PutUint16(out[34:], 16)
	copy(out[36:], "data")
	binary.LittleEndian.PutUint32(out[40:], uint32(size))
	for _, s := range samples {
		out = binary.LittleEndian.AppendUint16(out, uint16(s))
	}
	return out
}
