package config

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"
)

func chmod(t testing.TB, path string, mode uint32) {
	t.Helper()
	if err := os.Chmod(path, os.FileMode(mode)); err != nil {
		t.Fatal(err)
	}
}

func TestSecretsFromFiles(t *testing.T) {
	t.Parallel()
	file := write(t, "secret", "sk_from_file\r\n", 0o600)
	url := write(t, "url", "redis://u:p@h:1\n", 0o600)
	c := must(t, "switches: [{name: kam-1, control_url: 'http://h'}]\nstripe: {key: sk_file, webhook_secret: whsec_1}\npublic: {url: 'https://p'}", nil,
		"RINGFENCE_STRIPE_KEY_FILE="+file, "RINGFENCE_SWITCH_KAM_1_TOKEN_FILE="+file, "RINGFENCE_REDIS_URL_FILE="+url)
	if c.Stripe.Key.Reveal() != "sk_from_file" || c.Switches[0].Token.Reveal() != "sk_from_file" || c.Redis.URL.Reveal() != "redis://u:p@h:1" {
		t.Errorf("%q %q %q", c.Stripe.Key.Reveal(), c.Switches[0].Token.Reveal(), c.Redis.URL.Reveal())
	}
	if o := c.Origin("stripe.key"); o.Source != FromEnv || o.Name != "RINGFENCE_STRIPE_KEY_FILE" {
		t.Errorf("origin %+v", o)
	}
	if len(c.Warnings()) > 0 {
		t.Errorf("warnings: %q", c.Warnings())
	}

	chmod(t, file, 0o644)
	c = must(t, "stripe: {webhook_secret: whsec_1}\npublic: {url: 'https://p'}", nil, "RINGFENCE_STRIPE_KEY_FILE="+file)
	if w := c.Warnings(); len(w) != 1 || !strings.Contains(w[0], file+" holds stripe.key") {
		t.Errorf("warnings: %q", w)
	}

	_, err := try(t, "", nil, "RINGFENCE_STRIPE_KEY_FILE=/nowhere/secret")
	e := wantProblem(t, err, "stripe.key", "no such file", "holds the secret alone")
	if e.Value != "/nowhere/secret" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%+v", e)
	}
	_, err = try(t, "", nil, "RINGFENCE_STRIPE_KEY_FILE="+write(t, "empty", "\n\n", 0o600))
	wantProblem(t, err, "stripe.key", "file is empty", "RINGFENCE_STRIPE_KEY_FILE")
	_, err = try(t, "", nil, "RINGFENCE_STRIPE_KEY_FILE="+write(t, "lines", "one\ntwo\n", 0o600))
	wantProblem(t, err, "stripe.key", "control character", "one line")
	_, err = try(t, "", nil, "RINGFENCE_STRIPE_KEY_FILE="+file, "RINGFENCE_STRIPE_KEY=sk_1")
	wantProblem(t, err, "stripe.key", "given twice, as RINGFENCE_STRIPE_KEY and as RINGFENCE_STRIPE_KEY_FILE", "keep one")
	_, err = try(t, "", nil, "RINGFENCE_LOG_LEVEL_FILE="+file)
	wantProblem(t, err, "RINGFENCE_LOG_LEVEL_FILE", "no such setting", "")
}

func TestVariablesOfSwitches(t *testing.T) {
	t.Parallel()
	const file = "switches:\n- {name: kam-1, control_url: 'http://h', timeout: 1s}\n- {name: fs.A, heartbeat: true}\n"
	c := must(t, file, nil, "RINGFENCE_SWITCH_KAM_1_TIMEOUT=5s", "RINGFENCE_SWITCH_FS_A_ON_FAILURE=terminate", "RINGFENCE_SWITCH_KAM_1_LIST=true")
	if c.Switches[0].Timeout != 5*time.Second || c.Switches[1].OnFailure != "terminate" || !c.Switches[0].List || c.Switches[1].Timeout != 2*time.Second {
		t.Errorf("%+v", c.Switches)
	}
	if o := c.Origin("switches[0].timeout"); o.Name != "RINGFENCE_SWITCH_KAM_1_TIMEOUT" {
		t.Errorf("origin %+v", o)
	}
	c = must(t, file, map[string]any{"switches": []map[string]any{{"name": "kam-1", "timeout": "7s"}}},
		"RINGFENCE_SWITCH_KAM_1_TIMEOUT=5s", "RINGFENCE_SWITCH_KAM_1_HEARTBEAT=true")
	if s := c.Switches[0]; len(c.Switches) != 1 || s.Timeout != 7*time.Second || !s.Heartbeat {
		t.Errorf("flags: %+v", c.Switches)
	}

	for v, want := range map[string][3]string{
		"RINGFENCE_SWITCH_KAM_1_TIMEOT=5s":  {"RINGFENCE_SWITCH_KAM_1_TIMEOT", "no such setting", "RINGFENCE_SWITCH_KAM_1_TIMEOUT"},
		"RINGFENCE_SWITCH_OTHER_TOKEN=x":    {"RINGFENCE_SWITCH_OTHER_TOKEN", "names no field of a configured switch", "unset"},
		"RINGFENCE_SWITCH_KAM_1_TIMEOUT=5":  {"switches[0].timeout", "cannot be read", "unit"},
		"RINGFENCE_SWITCH_KAM_1_NAME=other": {"RINGFENCE_SWITCH_KAM_1_NAME", "no such setting", ""},
	} {
		_, err := try(t, file, nil, v)
		name, _, _ := strings.Cut(v, "=")
		if want[0] == name && want[1] == "no such setting" && want[2] == "" {
			// The name is what a switch's variables are found by.
			if len(Problems(err)) != 1 {
				t.Errorf("%s: %v", v, err)
			}
			continue
		}
		wantProblem(t, err, want[0], want[1], want[2])
	}
	_, err := try(t, "switches: [{name: a-b}, {name: a_b}]", nil, "RINGFENCE_SWITCH_A_B_TIMEOUT=5s")
	wantProblem(t, err, "switches[1].timeout", "could also be that of switch a-b", "another name")
}

// The environment is shared: only what looks like ours is refused.
func TestUnknownVariables(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]string{
		"RINGFENCE_HOOK_LISTN=x":          "did you mean RINGFENCE_HOOK_LISTEN?",
		"RINGFENCE_OPS_ADMIN_TOKEN=x":     "did you mean RINGFENCE_ADMIN_TOKEN?",
		"RINGFENCE_STRIPE_KEYFILE=x":      "did you mean RINGFENCE_STRIPE_KEY_FILE?",
		"RINGFENCE_hook_listen=x":         "did you mean RINGFENCE_HOOK_LISTEN?",
		"RINGFENCE_HOOK_PORT=8402":        "unset it",
		"RINGFENCE_REDIS_SENTINEL_NODE=x": "unset it",
	} {
		name, _, _ := strings.Cut(v, "=")
		_, err := try(t, "", nil, v)
		wantProblem(t, err, name, "no such setting", want)
	}
	for _, v := range []string{
		"RINGFENCE_SERVICE_HOST=10.0.0.1", "RINGFENCE_SERVICE_PORT=8402", "RINGFENCE_SERVICE_PORT_HOOK=8402", "RINGFENCE_PORT=tcp://10.0.0.1:8402",
		"RINGFENCE_PORT_8402_TCP=tcp://10.0.0.1:8402", "RINGFENCE_PORT_8402_TCP_PROTO=tcp", "RINGFENCE_PORT_8402_TCP_PORT=8402",
		"RINGFENCE_PORT_5092_UDP_ADDR=10.0.0.1", "RINGFENCE_HOOK_SERVICE_HOST=10.0.0.1", "RINGFENCE_REDIS_PORT=tcp://10.0.0.1:6379",
		"RINGFENCE_OPS_URL=http://127.0.0.1:9402", "RINGFENCE_CONFIG=x", "RINGFENCEX=1", "ringfence_hook_listen=x", "RINGFENCE_HOOK_LISTEN",
	} {
		if c := must(t, "", nil, v); len(c.Warnings()) > 0 {
			t.Errorf("%s: %q", v, c.Warnings())
		}
	}
	c := must(t, "", nil, "RINGFENCE_REQUIRE_SERVICES=1")
	if w := c.Warnings(); len(w) != 1 || !strings.HasPrefix(w[0], "RINGFENCE_REQUIRE_SERVICES is set") {
		t.Errorf("warnings: %q", w)
	}
}

func TestVariablesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for v, want := range map[string][2]string{
		"RINGFENCE_CALLS_SLICE=":                        {"calls.slice", "cannot be read"},
		"RINGFENCE_DATA_DIR=\xff":                       {"data_dir", "not UTF-8"},
		"RINGFENCE_SIP_PEERS=[10.0.0.0/8":               {"sip.peers", "cannot be read"},
		"RINGFENCE_SIP_PEERS=10.0.0.0/33":               {"sip.peers", "not a network"},
		"RINGFENCE_SWITCHES=kam":                        {"switches", "cannot be read"},
		"RINGFENCE_SWITCHES={name: a}":                  {"switches", "not a list"},
		"RINGFENCE_EMERGENCY_NUMBERS=112":               {"emergency.numbers", "cannot be read"},
		"RINGFENCE_EMERGENCY_NUMBERS={GB: {a: b}}":      {"emergency.numbers.GB", "not a list"},
		"RINGFENCE_EMERGENCY_NUMBERS={GB: 1, GB: 2}":    {"emergency.numbers", "given twice"},
		"RINGFENCE_SWITCHES=[{name: a, timeout: [1s]}]": {"switches[0].timeout", "not a single value"},
	} {
		_, err := try(t, "", nil, v)
		wantProblem(t, err, want[0], want[1], "")
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	level, none := "debug", (*string)(nil)
	var noLevel *Secret
	c := must(t, "data_dir: x", map[string]any{
		"log.level": &level, "data_dir": none, "log.format": nil, "hook.token": noLevel,
		"stripe.key": Secret("sk_1"), "redis.url": URL("redis://u:p@h"), "redis.partitions": uint16(8), "calls.rejected_per_minute": int64(3),
		"hook.max_body": Size(2048), "sip.rtp_ports": PortRange{30000, 40000}, "tariffs.file": []string(nil),
		"calls.slice": 90 * time.Second, "sip.peers": "10.0.0.0/8,10.1.0.0/16",
	})
	if c.Log.Level != "debug" || c.DataDir != "x" || c.Stripe.Key.Reveal() != "sk_1" || c.Redis.URL.Reveal() != "redis://u:p@h" ||
		c.Redis.Partitions != 8 || c.Calls.RejectedPerMinute != 3 || c.Hook.MaxBody != 2048 || c.SIP.RTPPorts.High != 40000 ||
		c.Calls.Slice != 90*time.Second || len(c.SIP.Peers) != 2 {
		t.Errorf("%+v", c)
	}
	for key, x := range map[string]any{
		"log.level": 1.5, "sip.peers": []any{nil}, "tariffs.file": []any{1.5}, "emergency.numbers": map[int]string{},
		"switches": []any{map[string]any{"name": nil}}, "hook.token": make(chan int),
	} {
		_, err := try(t, "", map[string]any{key: x})
		wantProblem(t, err, key, "type that is not supported", "give ")
	}
	_, err := try(t, "", map[string]any{"hook": map[string]any{"listen": "x"}})
	wantProblem(t, err, "hook", "no such setting", "")
}
