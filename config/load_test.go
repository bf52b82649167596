package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// ours compares configurations by their settings alone.
var ours = cmp.Options{cmpopts.IgnoreUnexported(Config{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmpopts.EquateEmpty()}

func TestEverythingHasADefault(t *testing.T) {
	t.Parallel()
	want := &Config{
		Instance: "testhost",
		DataDir:  "ringfence-data",
		Log:      Log{Level: "info", Format: "text", Numbers: "masked"},
		Hook: Hook{Listen: "127.0.0.1:8402", Deadline: 250 * time.Millisecond, MaxBody: 64 << 10,
			MaxInFlight: 1024, DefaultCountry: "NL"},
		Public: Public{Listen: "127.0.0.1:8480"},
		Ops:    Ops{Listen: "127.0.0.1:9402"},
		SIP: SIP{Listen: "127.0.0.1:5092", Peers: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
			RTPPorts: PortRange{20000, 24999}, MaxAnnouncements: 500},
		Redis: Redis{Partitions: 64, Timeout: 250 * time.Millisecond},
		Stripe: Stripe{PriceMicros: 70_000, Packages: []string{"100", "500", "1000", "5000"}, MinMicros: 5_000_000, MaxMicros: 10_000_000_000,
			CheckoutOrigin: "https://checkout.stripe.com", PollEvery: time.Minute, Tax: StripeTax{Mode: "table", Seller: "NL"},
			Usage: StripeUsage{Report: true, Event: "ringfence_talk_seconds", Settle: 10 * time.Minute, Rate: 10}},
		Notify: Notify{Timeout: 10 * time.Second, GiveUpAfter: 24 * time.Hour, Keep: 168 * time.Hour, KeepDead: 720 * time.Hour},
		SMTP:   SMTP{TLS: "starttls", Timeout: 30 * time.Second},
		Calls: Calls{Slice: time.Minute, MinSeconds: 1, UnansweredAfter: 4 * time.Minute, ExtendBefore: 10 * time.Second,
			WarnBefore: 30 * time.Second, HangupBefore: 300 * time.Millisecond, HeartbeatEvery: 30 * time.Second, HeartbeatTimeout: 90 * time.Second,
			LostAfter: 2 * time.Minute, MaxExtraCostMicros: 100_000_000, RejectedPerMinute: 60,
			Tombstone: 15 * time.Minute, EndMark: 2 * time.Minute},
		Policy: Policy{Mode: "known", KnownAllowance: 5 * time.Minute, OpenCap: 10 * time.Minute,
			KnownFor: 24 * time.Hour, HealthyCredits: 5},
		Tariffs: Tariffs{Default: "default"},
		Meter:   Meter{Batch: 20, Lease: 10 * time.Second, SweepEvery: time.Minute},
		Audio:   Audio{Language: "en", Mode: "early"},
	}
	c := must(t, "", nil)
	if diff := cmp.Diff(want, c, ours); diff != "" {
		t.Error(diff)
	}
	if c.Path() != "" || len(c.Warnings()) > 0 || c.Validate() != nil {
		t.Errorf("path %q, warnings %q, validate %v", c.Path(), c.Warnings(), c.Validate())
	}
	d := Default()
	if host, _ := os.Hostname(); d.Instance == "" || host == "" {
		t.Errorf("instance %q on host %q", d.Instance, host)
	}
	d.Instance = "testhost"
	if diff := cmp.Diff(want, d, ours); diff != "" {
		t.Error(diff)
	}
	if path, embedded := d.SQLitePath(); path != filepath.Join("ringfence-data", "ringfence.db") || !embedded {
		t.Errorf("ledger %q %v", path, embedded)
	}
}

// These names are relied on outside this repository.
func TestVariablesOfTheContract(t *testing.T) {
	t.Parallel()
	c := must(t, "", nil,
		"RINGFENCE_HOOK_LISTEN=127.0.0.1:1001", "RINGFENCE_PUBLIC_LISTEN=127.0.0.1:1002", "RINGFENCE_OPS_LISTEN=127.0.0.1:1003",
		"RINGFENCE_SIP_LISTEN=127.0.0.1:1004", "RINGFENCE_REDIS_URL=redis://127.0.0.1:1005/3",
		"RINGFENCE_LEDGER_URL=postgres://u:p@127.0.0.1:1006/db", "RINGFENCE_STRIPE_KEY=sk_test_1",
		"RINGFENCE_STRIPE_WEBHOOK_SECRET=whsec_2", "RINGFENCE_STRIPE_URL=http://127.0.0.1:1007",
		"RINGFENCE_DATA_DIR=/var/lib/x", "RINGFENCE_ADMIN_TOKEN=t", "RINGFENCE_OPS_URL=http://127.0.0.1:1003", "PATH=/bin")
	got := []string{c.Hook.Listen, c.Public.Listen, c.Ops.Listen, c.SIP.Listen, c.Redis.URL.Reveal(), c.Ledger.URL.Reveal(),
		c.Stripe.Key.Reveal(), c.Stripe.WebhookSecret.Reveal(), c.Stripe.URL.Reveal(), c.DataDir, c.Ops.AdminToken.Reveal()}
	want := []string{"127.0.0.1:1001", "127.0.0.1:1002", "127.0.0.1:1003", "127.0.0.1:1004", "redis://127.0.0.1:1005/3",
		"postgres://u:p@127.0.0.1:1006/db", "sk_test_1", "whsec_2", "http://127.0.0.1:1007", "/var/lib/x", "t"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if w := c.Warnings(); len(w) != 1 || !strings.Contains(w[0], "public.url") {
		t.Errorf("warnings: %q", w)
	}
	if _, embedded := c.SQLitePath(); embedded {
		t.Error("a Postgres ledger is called embedded")
	}
}

func TestEveryKeyHasItsOwnVariable(t *testing.T) {
	t.Parallel()
	seen := make(map[string]string)
	add := func(name, path string) {
		if other, ok := seen[name]; ok {
			t.Errorf("%s and %s share %s", path, other, name)
		}
		seen[name] = path
		if isServiceLink(name, "tcp://10.0.0.1:1") {
			t.Errorf("%s looks like a variable of Kubernetes", name)
		}
	}
	for _, k := range settings().keys {
		add(k.env, k.path)
		if k.inFile {
			add(k.env+fileSuffix, k.path)
		}
	}
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	const file = "calls:\n  slice: 61s\n  min_seconds: 2\n  end_mark: 100s\n"
	c := must(t, file, map[string]any{"calls.slice": 63 * time.Second},
		"RINGFENCE_CALLS_SLICE=62s", "RINGFENCE_CALLS_MIN_SECONDS=3")
	want := []struct {
		key, shown string
		origin     Origin
	}{
		{"calls.slice", "63s", Origin{Source: FromFlag}},
		{"calls.min_seconds", "3", Origin{Source: FromEnv, Name: "RINGFENCE_CALLS_MIN_SECONDS"}},
		{"calls.end_mark", "100s", Origin{Source: FromFile, Name: c.Path(), Line: 4}},
		{"calls.tombstone", "15m", Origin{Source: FromDefault}},
	}
	for _, w := range want {
		got := show(settings().byPath[w.key].field(reflect.ValueOf(c).Elem()))
		if got != w.shown || c.Origin(w.key) != w.origin {
			t.Errorf("%s = %s from %+v, want %s from %+v", w.key, got, c.Origin(w.key), w.shown, w.origin)
		}
	}
}

func TestALaterPlaceReplacesLists(t *testing.T) {
	t.Parallel()
	const file = `
sip: {peers: [10.0.0.0/8, 192.0.2.7]}
emergency: {numbers: {GB: [999], AU: ["000"]}}
switches: [{name: a}, {name: b}]
`
	c := must(t, file, nil)
	if len(c.SIP.Peers) != 2 || c.SIP.Peers[1] != netip.MustParsePrefix("192.0.2.7/32") || c.Emergency.Numbers["AU"][0] != "000" || len(c.Switches) != 2 {
		t.Errorf("file: %v", c)
	}
	c = must(t, file, nil, "RINGFENCE_SIP_PEERS=::1, 10.1.0.0/16", "RINGFENCE_EMERGENCY_NUMBERS={DE: [110]}", `RINGFENCE_SWITCHES=[{"name":"c","list":false}]`)
	want := map[string][]string{"DE": {"110"}}
	if c.SIP.Peers[0].String() != "::1/128" || len(c.SIP.Peers) != 2 || !reflect.DeepEqual(c.Emergency.Numbers, want) ||
		len(c.Switches) != 1 || c.Switches[0].Name != "c" || c.Switches[0].Timeout != 2*time.Second {
		t.Errorf("env: %v", c)
	}
	c = must(t, file, map[string]any{
		"sip.peers":         []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")},
		"emergency.numbers": map[string][]string{"FR": {"15", "17"}},
		"switches":          []any{map[string]any{"name": "d", "heartbeat": true, "timeout": time.Second}},
	}, "RINGFENCE_SIP_PEERS=::1", "RINGFENCE_SWITCHES=[]")
	if c.SIP.Peers[0].String() != "10.9.0.0/16" || len(c.Emergency.Numbers["FR"]) != 2 || !c.Switches[0].Heartbeat || c.Switches[0].Timeout != time.Second {
		t.Errorf("flags: %v", c)
	}
	c = must(t, file, nil, "RINGFENCE_SWITCHES=", "RINGFENCE_EMERGENCY_NUMBERS=", "RINGFENCE_SIP_LISTEN=", "RINGFENCE_SIP_PEERS=")
	if len(c.Switches)+len(c.Emergency.Numbers)+len(c.SIP.Peers) != 0 || c.SIP.Listen != "" {
		t.Errorf("emptied: %v", c)
	}
}

func TestEveryProblemAtOnce(t *testing.T) {
	t.Parallel()
	path := write(t, "ringfence.yaml", `
hook:
  deadline: 250
  listn: 127.0.0.1:1
log: {level: verbose}
switches:
  - name: a
    timeout: soon
  - nme: b
`, 0o600)
	c, err := Load(path, []string{"RINGFENCE_REDIS_PARTITIONS=many", "RINGFENCE_HOKO_TOKEN=x"}, map[string]any{"calls.slice": "1", "callz": 1})
	if c != nil {
		t.Error("a wrong configuration was handed out")
	}
	var got []string
	for _, e := range Problems(err) {
		got = append(got, fmt.Sprintf("%s %q %s: %s; %s", e.Field, e.Value, strings.TrimPrefix(e.Origin.String(), filepath.Dir(path)+"/"), e.Problem, e.Remedy))
	}
	want := []string{
		`hook.listn "" ringfence.yaml line 4: no such setting; did you mean hook.listen?`,
		`callz "" flag: no such setting; did you mean calls?`,
		`hook.deadline "250" ringfence.yaml line 3: cannot be read; write a number with its unit, such as 250ms, 60s, 15m or 24h`,
		`redis.partitions "many" RINGFENCE_REDIS_PARTITIONS: cannot be read; write a whole number, digits only`,
		`calls.slice "1" flag: cannot be read; write a number with its unit, such as 250ms, 60s, 15m or 24h`,
		`switches[0].timeout "soon" ringfence.yaml line 8: cannot be read; write a number with its unit, such as 250ms, 60s, 15m or 24h`,
		`switches[1].nme "" ringfence.yaml line 9: no such setting; did you mean name?`,
		`RINGFENCE_HOKO_TOKEN "" RINGFENCE_HOKO_TOKEN: no such setting; did you mean RINGFENCE_HOOK_TOKEN?`,
		`log.level "verbose" ringfence.yaml line 5: is not one of the choices; write debug or info or warn or error`,
		`switches[1].name "" default: is missing; write 1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-', beginning with a letter or digit`,
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	const line = `hook.deadline = "250" (`
	if !strings.Contains(err.Error(), line) {
		t.Errorf("no %q in\n%v", line, err)
	}
}

func TestReportIsBounded(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, "%s%d: 1\n", strings.Repeat("x", 100), i)
	}
	_, err := try(t, b.String(), nil)
	if n := len(Problems(err)); n != maxProblems || len(err.Error()) > 100_000 || !strings.Contains(err.Error(), "and 4900 more problems") {
		t.Errorf("%d problems in %d bytes", n, len(err.Error()))
	}
}

func TestLoadMutatesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("RINGFENCE_HOOK_LISTEN", "127.0.0.1:1")
	before := os.Environ()
	environ := []string{"RINGFENCE_CALLS_SLICE=30s", "RINGFENCE_SWITCH_A_TIMEOUT=1s"}
	flags := map[string]any{"sip.peers": []string{"10.0.0.0/8"}, "switches": []any{map[string]any{"name": "a"}}, "log.level": "debug"}
	wantFlags := maps.Clone(flags)
	for range 2 {
		if _, err := Load("", environ, flags); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(environ, []string{"RINGFENCE_CALLS_SLICE=30s", "RINGFENCE_SWITCH_A_TIMEOUT=1s"}) ||
		!reflect.DeepEqual(flags, wantFlags) || !slices.Equal(before, os.Environ()) {
		t.Error("an argument or the environment has changed")
	}
	if files, _ := os.ReadDir(dir); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
}

func TestSearch(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if c, err := Load("", nil, nil); err != nil || c.Path() != "" {
		if c == nil || c.Path() != SystemFile { // a machine that runs ringfence has one
			t.Fatalf("no file: %v", err)
		}
	}
	system := write(t, "system.yaml", "data_dir: system", 0o600)
	load := func() (*Config, error) {
		l := loader{search: []string{LocalFile, system}, hostname: os.Hostname}
		return l.load("", nil, nil)
	}
	if c, err := load(); err != nil || c.DataDir != "system" || c.Path() != system {
		t.Errorf("second: %v %v", c, err)
	}
	if err := os.WriteFile(LocalFile, []byte("data_dir: local"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := load(); err != nil || c.DataDir != "local" || c.Path() != LocalFile {
		t.Errorf("first: %v %v", c, err)
	}
	if c, err := Load("", nil, nil); err != nil || c.DataDir != "local" {
		t.Errorf("Load: %v %v", c, err)
	}
	// What is there but cannot be read was meant for us: it is not passed over.
	if err := errors.Join(os.Remove(LocalFile), os.Mkdir(LocalFile, 0o700)); err != nil {
		t.Fatal(err)
	}
	_, err := load()
	wantProblem(t, err, "file", "not a regular file", "remove it")
}

func TestFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "no.yaml")
	// What else is wrong is told too, but no rule speaks on half a configuration.
	_, err := Load(missing, []string{"RINGFENCE_HOOK_LISTEN=0.0.0.0:1", "RINGFENCE_CALLS_SLICE=x", "RINGFENCE_SWITCH_A_TOKEN=1"}, nil)
	all := Problems(err)
	if len(all) != 2 || all[0].Field != "file" || all[0].Value != missing || all[1].Field != "calls.slice" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	_, err = Load(write(t, "big.yaml", strings.Repeat("#\n", maxFile/2+1), 0o600), nil, nil)
	wantProblem(t, err, "file", "larger than 1MiB", "")
	if c, err := Load(os.DevNull, nil, nil); err != nil || c.Path() != os.DevNull {
		t.Errorf("/dev/null: %v", err)
	}

	_, err = try(t, "hook: {tls: {cert: /nowhere/c.pem, key: /nowhere/k.pem, client_ca: /}}\ntariffs: {file: [/nowhere/t.yaml]}", nil)
	var fields []string
	for _, e := range Problems(err) {
		fields = append(fields, e.Field+" "+e.Problem)
	}
	want := []string{"hook.tls.cert cannot be read: no such file or directory", "hook.tls.key cannot be read: no such file or directory",
		"hook.tls.client_ca cannot be read: it is not a regular file", "tariffs.file cannot be read: no such file or directory"}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Error(diff)
	}
	tariff := write(t, "t.yaml", "", 0o644)
	if c := must(t, "tariffs: {file: "+tariff+"}", nil); len(c.Tariffs.File) != 1 || c.Tariffs.File[0] != tariff {
		t.Errorf("one file: %v", c.Tariffs.File)
	}
}

func TestInstance(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"node-1.example.com": "node-1.example.com", "ünï": "n-", "": "ringfence", "...": "ringfence",
		strings.Repeat("a", 80): strings.Repeat("a", 64), "a b/c": "a-b-c",
	} {
		l := loader{hostname: func() (string, error) { return host, nil }}
		c, err := l.load("", nil, nil)
		if err != nil || c.Instance != want {
			t.Errorf("host %q: instance %v, %v", host, c, err)
		}
	}
	l := loader{hostname: func() (string, error) { return "half", errors.New("no host name") }}
	if c, err := l.load("", nil, nil); err != nil || c.Instance != "ringfence" {
		t.Errorf("no host name: %v, %v", c, err)
	}
	if c := must(t, "instance: b", nil); c.Instance != "b" {
		t.Errorf("given: %q", c.Instance)
	}
}
