package page

import (
	"io/fs"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// What is read has the contrast of WCAG 2.2 AA, in the light and in the dark.
func TestContrast(t *testing.T) {
	css, err := fs.ReadFile(static, "static/page.css")
	if err != nil {
		t.Fatal(err)
	}
	light, rest, ok := strings.Cut(string(css), "@media (prefers-color-scheme: dark)")
	dark, _, ok2 := strings.Cut(rest, "\n}\n")
	if !ok || !ok2 {
		t.Fatal("page.css has no two schemes")
	}
	for scheme, text := range map[string]string{"light": light, "dark": dark} {
		colours := map[string]float64{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6});`).FindAllStringSubmatch(text, -1) {
			colours[m[1]] = luminance(t, m[2])
		}
		for _, c := range []struct {
			ink, paper string
			least      float64
		}{
			{"text", "card", 4.5}, {"text", "ground", 4.5}, {"soft", "card", 4.5}, {"soft", "ground", 4.5}, {"soft", "tint", 4.5},
			{"accent", "card", 4.5}, {"accent", "ground", 4.5}, {"on-accent", "accent", 4.5}, {"on-accent", "accent-strong", 4.5},
			{"accent-strong", "card", 4.5}, {"accent-strong", "tint", 4.5}, {"good", "good-ground", 4.5}, {"good", "card", 4.5},
			{"bad", "bad-ground", 4.5}, {"bad", "card", 4.5}, {"card", "bad", 4.5}, {"warn", "warn-ground", 4.5},
			{"edge", "card", 3}, {"accent", "card", 3}, // borders of fields, bars of the chart
		} {
			a, okA := colours[c.ink]
			b, okB := colours[c.paper]
			if !okA || !okB {
				t.Fatalf("%s: no colour %s or %s", scheme, c.ink, c.paper)
			}
			if got := (max(a, b) + .05) / (min(a, b) + .05); got < c.least {
				t.Errorf("%s: %s on %s has a contrast of %.2f, at least %.1f is needed", scheme, c.ink, c.paper, got, c.least)
			}
		}
	}
}

// luminance is a colour's relative luminance (WCAG 2.2).
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	var sum float64
	for i, weight := range []float64{.2126, .7152, .0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		v := float64(n) / 255
		if v <= .04045 {
			v /= 12.92
		} else {
			v = math.Pow((v+.055)/1.055, 2.4)
		}
		sum += weight * v
	}
	return sum
}
