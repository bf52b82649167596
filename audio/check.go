package audio

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// What a recording must be. A telephone carries 200 to 3,400 Hz, so more than
// 16 kHz would only be thrown away.
const (
	MinDuration = 250 * time.Millisecond
	MaxDuration = 60 * time.Second

	silentPeak      = -40.0           // dB below full scale: nobody hears a peak lower than that
	audibleFrame    = -50.0           // dB: RMS of a 20 ms frame that counts as sound
	maxLeadSilence  = 2 * time.Second // callers hang up on silence
	clippedRun      = 4               // consecutive samples at full scale that a microphone does not make
	maxClippedRuns  = 3
	fullScale       = 32700
	maxFileBytes    = 32 << 20
	soxFormat       = "-r 8000 -c 1 -b 16 -e signed-integer"
	wantedFormat    = "RIFF WAVE, 16-bit PCM, mono, 8000 or 16000 Hz"
	checkFrame      = 20 * time.Millisecond
	minAudibleShare = 0.1
)

// FileError is one thing wrong with an operator's recording. Load joins all of
// them ([errors.Join]), so that one start finds every bad file.
type FileError struct {
	Path  string // the file
	Found string // what is there
	Want  string // what should be
	Fix   string // what to do, often a sox command
	Err   error  // the cause, when there is one
}

func (e *FileError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "audio: %s: found %s", e.Path, e.Found)
	if e.Want != "" {
		b.WriteString("; want " + e.Want)
	}
	if e.Fix != "" {
		b.WriteString("; " + e.Fix)
	}
	return b.String()
}

func (e *FileError) Unwrap() error { return e.Err }

// check decodes a recording and returns its samples and rate, or everything
// that is wrong with it.
func check(path string, file []byte) (samples []int16, rate int, problems []error) {
	format, samples, err := DecodeWAV(file)
	if err != nil {
		return nil, 0, []error{&FileError{Path: path, Found: err.Error(), Want: wantedFormat, Fix: convert(path, ""), Err: err}}
	}
	if samples == nil || format.Rate != 8000 && format.Rate != 16000 {
		return nil, 0, []error{&FileError{Path: path, Found: format.String(), Want: wantedFormat, Fix: convert(path, "")}}
	}
	length := time.Duration(len(samples)) * time.Second / time.Duration(format.Rate)
	switch {
	case length < MinDuration:
		problems = append(problems, &FileError{Path: path, Found: fmt.Sprintf("a length of %.3g s", length.Seconds()),
			Want: fmt.Sprintf("%v to %v", MinDuration, MaxDuration), Fix: "record it again"})
	case length > MaxDuration:
		problems = append(problems, &FileError{Path: path, Found: fmt.Sprintf("a length of %.1f s", length.Seconds()),
			Want: fmt.Sprintf("%v to %v", MinDuration, MaxDuration),
			Fix:  convert(path, fmt.Sprintf("trim 0 %.0f", MaxDuration.Seconds()))})
	}
	return samples, format.Rate, append(problems, checkLevel(path, samples, format.Rate)...)
}

func checkLevel(path string, samples []int16, rate int) (problems []error) {
	if len(samples) == 0 {
		return nil // too short already says it
	}
	peak, clipped, firstClip := scanPeaks(samples)
	if clipped > maxClippedRuns {
		problems = append(problems, &FileError{Path: path,
			Found: fmt.Sprintf("clipping in %d places, the first at %.2f s", clipped, float64(firstClip)/float64(rate)),
			Want:  "a peak below full scale, -3 dB being usual",
			Fix:   "record it again with less gain, or export it again from the original: " + convertCommand("ORIGINAL", path, "gain -6 rate 8000 norm -3")})
	}
	if db := decibel(float64(peak)); db < silentPeak {
		return append(problems, &FileError{Path: path, Found: fmt.Sprintf("silence (a peak of %s)", formatDB(db)),
			Want: "speech with a peak near -3 dB", Fix: "record it again, or make it louder: " + convertInPlace(path, "norm -3")})
	}
	lead, audible := scanFrames(samples, rate)
	switch {
	case lead > maxLeadSilence:
		problems = append(problems, &FileError{Path: path, Found: fmt.Sprintf("silence for the first %.1f s", lead.Seconds()),
			Want: fmt.Sprintf("sound within %v", maxLeadSilence), Fix: "trim it: " + convertInPlace(path, "silence 1 0.02 0.3% pad 0.25 0")})
	case audible < minAudibleShare:
		problems = append(problems, &FileError{Path: path, Found: fmt.Sprintf("silence in %.0f%% of it", 100*(1-audible)),
			Want: "speech", Fix: "trim it: " + convertInPlace(path, "silence 1 0.02 0.3% -1 0.5 0.3%")})
	}
	return problems
}

// scanPeaks returns the largest magnitude, the number of clipped runs and where
// the first one starts.
func scanPeaks(samples []int16) (peak, clipped, first int) {
	run := 0
	for i, s := range samples {
		m := int(s)
		if m < 0 {
			m = -m
		}
		peak = max(peak, m)
		if m < fullScale {
			run = 0
			continue
		}
		if run++; run == clippedRun {
			if clipped == 0 {
				first = i - clippedRun + 1
			}
			clipped++
		}
	}
	return peak, clipped, first
}

// scanFrames returns the length of the silence at the start, and the share of
// frames that hold sound.
func scanFrames(samples []int16, rate int) (lead time.Duration, audible float64) {
	size := int(int64(rate) * int64(checkFrame) / int64(time.Second))
	frames, loud := 0, 0
	for start := 0; start < len(samples); start += size {
		frame := samples[start:min(start+size, len(samples))]
		sum := 0.0
		for _, s := range frame {
			sum += float64(s) * float64(s)
		}
		frames++
		if decibel(math.Sqrt(sum/float64(len(frame)))) >= audibleFrame {
			loud++
		} else if loud == 0 {
			lead += checkFrame
		}
	}
	return lead, float64(loud) / float64(frames)
}

// decibel is relative to full scale.
func decibel(amplitude float64) float64 { return 20 * math.Log10(amplitude/32768) }

func formatDB(db float64) string {
	if math.IsInf(db, -1) {
		return "nothing at all"
	}
	return fmt.Sprintf("%.0f dB", db)
}

func convert(path, effects string) string { return "convert it: " + convertInPlace(path, effects) }

// convertInPlace is a command line that mends the file under its own name; sox
// cannot write the file it reads.
func convertInPlace(path, effects string) string {
	return convertCommand(quote(path), "mended.wav", effects) + " && mv mended.wav " + quote(path)
}

func convertCommand(from, to, effects string) string {
	if to != "mended.wav" {
		to = quote(to)
	}
	return strings.TrimRight(fmt.Sprintf("sox %s %s %s %s", from, soxFormat, to, effects), " ")
}

// quote makes a path safe to paste into a shell.
func quote(path string) string {
	plain := func(r rune) bool {
		return r == '/' || r == '.' || r == '_' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}
	if path != "" && strings.TrimFunc(path, plain) == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
