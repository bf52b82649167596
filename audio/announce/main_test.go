package announce

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/hmsovereign/ringfence/audio"
	"github.com/hmsovereign/ringfence/audio/audiotest"
)

// Two recordings of the tests: one that is soon over, and whose last packet is
// not full, and one that only ends if somebody ends it.
const (
	briefPrompt = "sip:insufficient_credits@announcer.test"
	longPrompt  = "sip:too_many_calls@announcer.test"
)

var (
	brief = audiotest.Sweep(8000, 405*time.Millisecond) // 20 1/4 packets
	lib   *audio.Library

	discard = slog.New(slog.DiscardHandler)
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "announce")
	if err == nil {
		err = writePrompts(dir)
	}
	if err == nil {
		lib, err = audio.Load(audio.Options{Dir: dir})
	}
	os.RemoveAll(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func writePrompts(dir string) error {
	long := audiotest.Sweep(8000, 30*time.Second)
	for name, sound := range map[string][]int16{"insufficient_credits.en.wav": brief, "too_many_calls.en.wav": long} {
		if err := os.WriteFile(filepath.Join(dir, name), audio.EncodeWAV(sound, 8000), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// harness is a running server with its metrics and log.
type harness struct {
	*Server
	t   testing.TB
	reg *prometheus.Registry
	log *lockedBuilder
}

func serve(t testing.TB, change ...func(*Config)) *harness {
	t.Helper()
	cfg := Config{Listen: "127.0.0.1:0", StopTimeout: time.Second}
	for _, c := range change {
		c(&cfg)
	}
	h := &harness{t: t, reg: prometheus.NewRegistry(), log: &lockedBuilder{}}
	log := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := New(cfg, lib, log, NewMetrics(h.reg))
	if err != nil {
		t.Fatal(err)
	}
	h.Server = s
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if t.Failed() {
			t.Log(h.log.String())
		}
		if n := h.value("ringfence_announcer_active"); n != 0 {
			t.Errorf("%v announcements are left", n)
		}
		if n := h.value("ringfence_announcer_panics_total"); n != 0 && !strings.Contains(t.Name(), "Panic") {
			t.Errorf("%v panics", n)
		}
		if strings.Contains(h.log.String(), "31850835037") {
			t.Error("a phone number is in the log")
		}
	})
	return h
}

// value sums a metric over those of its labels that match.
func (h *harness) value(name string, labels ...string) float64 {
	h.t.Helper()
	families, err := h.reg.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			text := m.String()
			matches := true
			for _, l := range labels {
				matches = matches && strings.Contains(text, `"`+l+`"`)
			}
			if matches {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

// eventually waits until a metric has a value.
func (h *harness) eventually(want float64, name string, labels ...string) {
	h.t.Helper()
	deadline := time.Now().Add(patience)
	for got := h.value(name, labels...); got != want; got = h.value(name, labels...) {
		if time.Now().After(deadline) {
			h.t.Fatalf("%s%v is %v, want %v", name, labels, got, want)
		}
		<-time.After(5 * time.Millisecond)
	}
}
