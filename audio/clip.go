package audio

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"
	"time"
)

// Encoding is a form of the sound, named as its file extension, which is also
// what Asterisk and FreeSWITCH call it.
type Encoding string

// The encodings, all mono.
const (
	WAV   Encoding = "wav"   // RIFF WAVE, 16-bit PCM, 8 kHz
	ULaw  Encoding = "ulaw"  // G.711 mu-law, 8 kHz, no header
	ALaw  Encoding = "alaw"  // G.711 A-law, 8 kHz, no header
	SLn   Encoding = "sln"   // signed linear 16-bit little endian, 8 kHz, no header
	SLn16 Encoding = "sln16" // the same at 16 kHz
)

var encodings = []Encoding{WAV, ULaw, ALaw, SLn, SLn16}

// Encodings lists all encodings.
func Encodings() []Encoding { return slices.Clone(encodings) }

// ContentType is the media type to serve the encoding with. RFC 2046 defines
// audio/basic as exactly mu-law at 8 kHz without a header. audio/L16 would be
// big endian, so signed linear has no registered type; switches go by the
// extension there.
func (e Encoding) ContentType() string {
	switch e {
	case WAV:
		return "audio/wav"
	case ULaw:
		return "audio/basic"
	case ALaw:
		return "audio/x-alaw-basic"
	default:
		return "application/octet-stream"
	}
}

// Clip is one recording in all encodings, each made when it is first asked
// for. It never changes.
type Clip struct {
	Prompt   Prompt
	Language string        // normalized tag: "nl", "nl-be"
	Account  string        // "" unless the recording is one account's own
	Source   string        // the file, or "built-in"
	Duration time.Duration // rounded to a sample

	forms map[Encoding]func() form
}

type form struct {
	data []byte
	etag string
}

// newClip takes the samples, which are at 8 or 16 kHz and not changed any more.
func newClip(p Prompt, language, account, source string, samples []int16, rate int) *Clip {
	narrow := samples
	if rate == 16000 {
		narrow = downsample(samples)
	}
	wide := func() []int16 {
		if rate == 16000 {
			return samples
		}
		return upsample(samples)
	}
	c := &Clip{
		Prompt: p, Language: language, Account: account, Source: source,
		Duration: time.Duration(len(narrow)) * time.Second / 8000,
		forms:    make(map[Encoding]func() form, len(encodings)),
	}
	for e, encode := range map[Encoding]func() []byte{
		WAV:   func() []byte { return EncodeWAV(narrow, 8000) },
		ULaw:  func() []byte { return EncodeULaw(make([]byte, 0, len(narrow)), narrow) },
		ALaw:  func() []byte { return EncodeALaw(make([]byte, 0, len(narrow)), narrow) },
		SLn:   func() []byte { return EncodeWAV(narrow, 8000)[wavHeaderSize:] },
		SLn16: func() []byte { return EncodeWAV(wide(), 16000)[wavHeaderSize:] },
	} {
		c.forms[e] = sync.OnceValue(func() form {
			data := encode()
			sum := sha256.Sum256(data)
			return form{data: data, etag: `"` + hex.EncodeToString(sum[:12]) + `"`}
		})
	}
	return c
}

// Bytes returns the clip in one encoding, nil for an unknown one. The caller
// must not change them.
func (c *Clip) Bytes(e Encoding) []byte { return c.form(e).data }

// ETag is a strong validator of the bytes (RFC 9110), quotes included.
func (c *Clip) ETag(e Encoding) string { return c.form(e).etag }

func (c *Clip) form(e Encoding) form {
	if encoded, known := c.forms[e]; known {
		return encoded()
	}
	return form{}
}
