package config

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const sample = "ringfence.example.yaml"

func TestExampleShowsTheDefaults(t *testing.T) {
	t.Parallel()
	c, err := Load(sample, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), c, ours); diff != "" {
		t.Error(diff)
	}
	if len(c.Warnings()) > 0 {
		t.Errorf("warnings: %q", c.Warnings())
	}
}

// settingLine is a setting that is commented out; prose has one space after the
// sign.
var settingLine = regexp.MustCompile(`(?m)^#(\S|  )`)

func TestExampleHasEverySetting(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	whole := settingLine.ReplaceAllString(string(data), "$1")
	c := must(t, whole, nil, "RINGFENCE_REDIS_URL=redis://h")
	if len(c.Warnings()) > 0 {
		t.Errorf("warnings: %q", c.Warnings())
	}
	var tree map[string]any
	if err := yaml.Unmarshal([]byte(whole), &tree); err != nil {
		t.Fatal(err)
	}
	for _, k := range settings().keys {
		var at any = tree
		for name := range strings.SplitSeq(k.path, ".") {
			at, _ = at.(map[string]any)[name]
		}
		if at == nil {
			t.Errorf("%s is missing", k.path)
		}
	}
	for _, k := range switchFields().keys {
		if c.Origin("switches[0]."+k.path).Source != FromFile {
			t.Errorf("switches[].%s is missing", k.path)
		}
	}
	for key, secret := range map[string]Secret{"hook.token": c.Hook.Token, "stripe.key": c.Stripe.Key, "switch": c.Switches[0].Token} {
		if secret == "" {
			t.Errorf("%s is not shown", key)
		}
	}
	reload := regexp.MustCompile(`reload`)
	if n := len(reload.FindAllString(whole, -1)); n != 1+12 {
		t.Errorf("%d settings are marked reload", n-1)
	}
}
