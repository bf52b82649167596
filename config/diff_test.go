package config

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	before := must(t, "stripe: {key: sk_1, webhook_secret: whsec_1}\nswitches: [{name: a}]", nil)
	if reload, restart := Diff(before, must(t, "stripe: {key: sk_1, webhook_secret: whsec_1}\nswitches: [{name: a}]", nil)); len(reload)+len(restart) > 0 {
		t.Errorf("no change: %v %v", reload, restart)
	}
	tariff := write(t, "t.yaml", "", 0o600)
	after := must(t, "stripe: {key: sk_2, webhook_secret: whsec_1}\nredis: {url: 'redis://:p@h'}\nsip: {peers: [10.0.0.0/8]}\n"+
		"log: {level: debug}\ncalls: {slice: 90s, lost_after: 60s}\ntariffs: {file: ["+tariff+"]}\nemergency: {numbers: {GB: [999]}}", nil)
	reload, restart := Diff(before, after)
	wantReload := []Change{
		{"log.level", "info", "debug", true},
		{"emergency.numbers", "{}", `{GB: ["999"]}`, true},
		{"tariffs.file", "[]", "[" + tariff + "]", true},
	}
	wantRestart := []Change{
		{"sip.peers", "[127.0.0.0/8]", "[10.0.0.0/8]", false},
		{"redis.url", "", "redis://:(redacted)@h", false},
		{"stripe.key", "(redacted)", "(redacted)", false},
		{"calls.slice", "60s", "90s", false},
		{"calls.lost_after", "120s", "60s", false},
		{"switches", `[{name: a, dialect: http, control_url: "", token: "", list: false, heartbeat: false, on_failure: continue, rearm: false, timeout: 2s}]`, "[]", false},
	}
	if diff := cmp.Diff(wantReload, reload); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(wantRestart, restart); diff != "" {
		t.Error(diff)
	}
}

func TestReloadableKeys(t *testing.T) {
	t.Parallel()
	var got []string
	for _, k := range settings().keys {
		if k.reload {
			got = append(got, k.path)
		}
	}
	want := []string{"log.level", "hook.default_country", "calls.min_seconds", "calls.unanswered_after", "calls.max_duration",
		"policy.mode", "policy.known_allowance", "policy.open_cap", "policy.known_for", "policy.healthy_credits", "emergency.numbers", "tariffs.file"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
