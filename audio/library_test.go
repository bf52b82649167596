package audio_test

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/audio"
	"github.com/hmsovereign/ringfence/audio/audiotest"
)

var languages = []string{"de", "en", "es", "fr", "it", "nl"}

func load(t *testing.T, o audio.Options) *audio.Library {
	t.Helper()
	l, err := audio.Load(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// The built-in recordings: complete, of a bearable length, at -3 dB, and with a
// text beside the script that made them.
func TestBuiltInRecordings(t *testing.T) {
	l := load(t, audio.Options{})
	for _, p := range audio.Prompts() {
		if got := l.Languages(p); !slices.Equal(got, languages) {
			t.Errorf("%s is in %v, want %v", p, got, languages)
		}
		for _, lang := range languages {
			clip, ok := l.Exact(p, "", lang)
			if !ok {
				t.Errorf("no %s in %s", p, lang)
				continue
			}
			least, most := 4*time.Second, 10*time.Second
			if p == audio.LowCredit {
				least, most = 2*time.Second, 4*time.Second
			}
			if clip.Duration < least || clip.Duration > most {
				t.Errorf("%s.%s lasts %v, want %v to %v", p, lang, clip.Duration, least, most)
			}
			_, samples, err := audio.DecodeWAV(clip.Bytes(audio.WAV))
			if err != nil {
				t.Fatal(err)
			}
			peak := 0.0
			for _, s := range samples {
				peak = max(peak, math.Abs(float64(s)))
			}
			if db := 20 * math.Log10(peak/32768); math.Abs(db+3) > 0.2 {
				t.Errorf("%s.%s peaks at %.2f dB, want -3", p, lang, db)
			}
			text := filepath.Join("..", "deploy", "prompts", "texts", string(p)+"."+lang+".txt")
			if b, err := os.ReadFile(text); err != nil || len(strings.TrimSpace(string(b))) == 0 {
				t.Errorf("no text for %s.%s: %v", p, lang, err)
			}
		}
	}
}

func TestEncodingsSayTheSame(t *testing.T) {
	clip, _ := load(t, audio.Options{}).Find(audio.InsufficientCredits, "", "nl")
	_, want, err := audio.DecodeWAV(clip.Bytes(audio.WAV))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(clip.Bytes(audio.SLn)); n != 2*len(want) {
		t.Errorf("sln has %d bytes, want %d", n, 2*len(want))
	}
	if n := len(clip.Bytes(audio.SLn16)); n != 4*len(want) {
		t.Errorf("sln16 has %d bytes, want %d", n, 4*len(want))
	}
	if db := audiotest.SNR(audio.DecodeULaw(nil, clip.Bytes(audio.ULaw)), want); db < 30 {
		t.Errorf("ulaw against wav: %.1f dB", db)
	}
	if db := audiotest.SNR(audio.DecodeALaw(nil, clip.Bytes(audio.ALaw)), want); db < 30 {
		t.Errorf("alaw against wav: %.1f dB", db)
	}
	if got, want := clip.Duration, time.Duration(len(want))*time.Second/8000; got != want {
		t.Errorf("duration %v, want %v", got, want)
	}
	if clip.Bytes("mp3") != nil {
		t.Error("an encoding that does not exist has bytes")
	}
}

func TestChoice(t *testing.T) {
	dir := t.TempDir()
	put := func(path string, hz float64) {
		audiotest.WriteWAV(t, filepath.Join(dir, path), audiotest.Tone(8000, hz, 0.5, time.Second), 8000)
	}
	put("insufficient_credits.nl.wav", 400)
	put("insufficient_credits.pt.wav", 410)
	put("insufficient_credits.nl_BE.wav", 420)
	put("accounts/acme/insufficient_credits.de.wav", 430)
	put("accounts/acme/too_many_calls.ja.wav", 440)
	put("accounts/.snapshot/insufficient_credits.xx.wav", 450)
	put("..data/insufficient_credits.nl.wav", 460) // a mounted volume's own folder
	if err := os.WriteFile(filepath.Join(dir, "README.txt"), []byte("ours"), 0o644); err != nil {
		t.Fatal(err)
	}

	l := load(t, audio.Options{Dir: dir, Language: "FR"})
	for _, tc := range []struct {
		name              string
		prompt            audio.Prompt
		account, language string
		want              string // suffix of the source, and the language
		wantLanguage      string
	}{
		{"built-in", audio.TooManyCalls, "", "it", "built-in", "it"},
		{"deployment's file", audio.InsufficientCredits, "", "nl", "/insufficient_credits.nl.wav", "nl"},
		{"added language", audio.InsufficientCredits, "acme", "pt", "/insufficient_credits.pt.wav", "pt"},
		{"regional language", audio.InsufficientCredits, "", "nl-be", "/insufficient_credits.nl_BE.wav", "nl-be"},
		{"region falls back to its language", audio.InsufficientCredits, "", "nl-SR", "/insufficient_credits.nl.wav", "nl"},
		{"account's own", audio.InsufficientCredits, "acme", "de", "/accounts/acme/insufficient_credits.de.wav", "de"},
		{"not another account's", audio.InsufficientCredits, "other", "de", "built-in", "de"},
		{"the language before the account", audio.InsufficientCredits, "acme", "es", "built-in", "es"},
		{"account's added language", audio.TooManyCalls, "acme", "ja", "/accounts/acme/too_many_calls.ja.wav", "ja"},
		{"no such language: the deployment's", audio.InsufficientCredits, "", "ja", "built-in", "fr"},
		{"no wish: the deployment's", audio.InsufficientCredits, "", "", "built-in", "fr"},
		{"no language at all", audio.InsufficientCredits, "", "!", "built-in", "fr"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			clip, ok := l.Find(tc.prompt, tc.account, tc.language)
			if !ok || !strings.HasSuffix(clip.Source, tc.want) || clip.Language != tc.wantLanguage {
				t.Errorf("got %+v, want %s in %s", clip, tc.want, tc.wantLanguage)
			}
		})
	}
	if _, ok := l.Find("no_such", "", "en"); ok {
		t.Error("found a prompt that does not exist")
	}

	// A deployment whose language lacks a prompt falls back to English.
	l = load(t, audio.Options{Dir: dir, Language: "pt-BR"})
	if clip, _ := l.Find(audio.LowCredit, "", ""); clip.Language != "en" {
		t.Errorf("low_credit comes in %s, want en", clip.Language)
	}
	if clip, _ := l.Find(audio.InsufficientCredits, "", ""); clip.Language != "pt" {
		t.Errorf("insufficient_credits comes in %s, want pt", clip.Language)
	}
}

func TestSixteenKilohertzRecordings(t *testing.T) {
	dir := t.TempDir()
	wide := audiotest.Sweep(16000, time.Second)
	audiotest.WriteWAV(t, filepath.Join(dir, "low_credit.en.wav"), wide, 16000)
	clip, _ := load(t, audio.Options{Dir: dir}).Find(audio.LowCredit, "", "en")
	if got := clip.Bytes(audio.SLn16); !slices.Equal(got, audio.EncodeWAV(wide, 16000)[44:]) {
		t.Error("sln16 is not the recording itself")
	}
	format, narrow, err := audio.DecodeWAV(clip.Bytes(audio.WAV))
	if err != nil || format.Rate != 8000 || clip.Duration != time.Second {
		t.Fatalf("got %v, %v, %v; want 8000 Hz and one second", format, clip.Duration, err)
	}
	if db := audiotest.SNR(narrow, audiotest.Sweep(8000, time.Second)); db < 40 {
		t.Errorf("the 8 kHz form is off by %.1f dB", db)
	}
}

func TestBadRecordingsAreAllNamed(t *testing.T) {
	dir := t.TempDir()
	raw := func(path string, data []byte) {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put := func(path string, samples []int16) { raw(path, audio.EncodeWAV(samples, 8000)) }
	good := audiotest.Tone(8000, 440, 0.5, time.Second)
	silence := make([]int16, 3*8000)

	raw("insufficient_credits.en.wav", riff(fmtChunk(1, 2, 44100, 16), chunk("data", make([]byte, 400))))
	raw("insufficient_credits.nl.wav", []byte("ID3 this is an MP3 with another name"))
	raw("insufficient_credits.fr.mp3", []byte("ID3"))
	raw("accounts/it's me/low_credit.en.wav", riff(fmtChunk(1, 1, 22050, 16), chunk("data", make([]byte, 400))))
	put("insufficient_credit.en.wav", good)
	put("low_credit.wav", good)
	put("low_credit.de.wav", good)
	put("low_credit.DE.wav", good)
	put("accounts/low_credit.es.wav", good)
	put("too_many_calls.en.wav", good[:800])
	put("too_many_calls.de.wav", make([]int16, 61*8000+1))
	put("too_many_calls.fr.wav", silence)
	put("too_many_calls.nl.wav", slices.Concat(silence, good))
	put("too_many_calls.it.wav", slices.Concat(good[:4000], silence, silence, silence, silence))
	put("service_unavailable.en.wav", clipped())

	_, err := audio.Load(audio.Options{Dir: dir, Language: "tlh"})
	if err == nil {
		t.Fatal("loaded")
	}
	for path, want := range map[string]string{
		"insufficient_credits.en.wav":        "found PCM, 44100 Hz, 2 channels, 16 bits; want RIFF WAVE, 16-bit PCM, mono, 8000 or 16000 Hz; convert it: sox ",
		"insufficient_credits.nl.wav":        "an MP3's tag",
		"insufficient_credits.fr.mp3":        "found a .mp3 file",
		"accounts/it's me/low_credit.en.wav": `it'\''s me/low_credit.en.wav' -r 8000 -c 1 -b 16`,
		"insufficient_credit.en.wav":         `no prompt called "insufficient_credit"; want <prompt>.<language>.wav; rename it; the prompts are insufficient_credits, low_credit,`,
		"low_credit.wav":                     "no language in the name",
		"low_credit.de.wav":                  "the same prompt and language as",
		"accounts/low_credit.es.wav":         "outside any account's folder",
		"too_many_calls.en.wav":              "a length of 0.1 s; want 250ms to 1m0s",
		"too_many_calls.de.wav":              "a length of 61.0 s",
		"too_many_calls.fr.wav":              "silence (a peak of nothing at all)",
		"too_many_calls.nl.wav":              "silence for the first 3.0 s",
		"too_many_calls.it.wav":              "silence in 96% of it",
		"service_unavailable.en.wav":         "clipping in 150 places, the first at 0.00 s",
		"":                                   `language "tlh" has no recording; there are de, en, es, fr, it, nl`,
	} {
		found := slices.ContainsFunc(strings.Split(err.Error(), "\n"), func(line string) bool {
			return strings.Contains(line, path) && strings.Contains(line, want)
		})
		if !found {
			t.Errorf("nothing says %q of %q", want, path)
		}
	}
	if fe, ok := errors.AsType[*audio.FileError](err); !ok || fe.Fix == "" || fe.Path == "" {
		t.Errorf("no FileError with a remedy in %v", err)
	}
	if !errors.Is(err, audio.ErrNotWAVE) {
		t.Error("the cause is lost")
	}
	if t.Failed() {
		t.Log(err)
	}
}

// clipped is a tone recorded with too much gain: its tops are flat.
func clipped() []int16 {
	out := audiotest.Tone(8000, 75, 0.5, time.Second)
	for i, s := range out {
		out[i] = int16(max(-32768, min(32767, 4*int(s))))
	}
	return out
}

func TestMissingFolderIsAnError(t *testing.T) {
	if _, err := audio.Load(audio.Options{Dir: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that the folder does not exist", err)
	}
}

func TestNormalizeLanguage(t *testing.T) {
	for in, want := range map[string]string{
		"en": "en", "EN": "en", "nl_BE": "nl-be", "pt-BR": "pt-br", "zh-Hant-TW": "zh-hant-tw", "es-419": "es-419", "gsw": "gsw",
		"": "", "e": "", "-en": "", "en-": "", "en--us": "", "e1": "", "english": "", "en.us": "", "../en": "", "e-n": "",
		"en-123456789": "", strings.Repeat("en-", 20) + "en": "",
	} {
		got, ok := audio.NormalizeLanguage(in)
		if got != want || ok != (want != "") {
			t.Errorf("NormalizeLanguage(%q) = %q, %v; want %q", in, got, ok, want)
		}
	}
}
