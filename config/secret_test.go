package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const canary = "hunter2"

// secretive is a configuration that holds the canary in every place made for
// secrets.
func secretive(t testing.TB) *Config {
	return must(t, `
hook: {token: hunter2-hook}
ops: {admin_token: hunter2-ops}
redis: {url: "redis+sentinel://user:hunter2@h:1,i:2/m?db=1"}
ledger: {url: "postgres://u:hunter2@h/db?sslmode=require&sslpassword=hunter2"}
stripe: {key: sk_hunter2, webhook_secret: whsec_hunter2}
switches: [{name: a, control_url: "http://h/", token: hunter2-switch}]
`, nil)
}

// printings is everything that may end up in front of somebody's eyes.
func printings(t testing.TB, x any) map[string]string {
	out := make(map[string]string)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%08.3f", "%t", "%c", "%U", "%10s"} {
		out[verb] = fmt.Sprintf(verb, x)
	}
	out["Sprint"] = fmt.Sprint(x)
	j, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	out["json"] = string(j)
	y, err := yaml.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	out["yaml"] = string(y)
	var text, js bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", "x", x)
	slog.New(slog.NewJSONHandler(&js, nil)).Info("m", "x", x)
	out["slog text"], out["slog json"] = text.String(), js.String()
	return out
}

func TestSecretsShowThemselvesNowhere(t *testing.T) {
	t.Parallel()
	c := secretive(t)
	hex := fmt.Sprintf("%x", canary)
	check := func(how, shown string) {
		t.Helper()
		if low := strings.ToLower(shown); strings.Contains(low, canary) || strings.Contains(low, hex) {
			t.Errorf("%s: %s", how, shown)
		}
	}
	for _, x := range []any{c, *c, c.Hook.Token, &c.Hook.Token, c.Redis.URL, &c.Ledger.URL, c.Switches, c.Stripe,
		[]Secret{c.Stripe.Key}, map[string]Secret{"k": c.Stripe.Key}, struct{ S any }{c.Stripe.Key}} {
		for how, shown := range printings(t, x) {
			check(fmt.Sprintf("%T %s", x, how), shown)
		}
	}
	check("YAML", c.YAML())
	check("warnings", strings.Join(c.Warnings(), "\n"))
	reload, restart := Diff(Default(), c)
	check("Diff", fmt.Sprint(reload, restart))
	for _, s := range []string{c.Hook.Token.Reveal(), c.Redis.URL.Reveal(), c.Ledger.URL.Reveal(), c.Stripe.Key.Reveal()} {
		if !strings.Contains(s, canary) {
			t.Errorf("Reveal hides: %q", s)
		}
	}
	for how, shown := range map[string]string{
		"fmt": fmt.Sprint(c.Hook.Token), "quoted": strings.Trim(fmt.Sprintf("%q", c.Hook.Token), `"`),
		"json": printings(t, c.Hook.Token)["json"],
	} {
		if !strings.Contains(shown, Redacted) {
			t.Errorf("%s does not say that there is a secret: %q", how, shown)
		}
	}
	for _, shown := range []string{Secret("").String(), URL("").String(), fmt.Sprintf("%s", Secret(""))} {
		if shown != "" {
			t.Errorf("an empty secret shows as %q", shown)
		}
	}
	if got := fmt.Sprintf("%#v %#v", c.Hook.Token, c.Redis.URL); !strings.HasPrefix(got, `config.Secret("(redacted)") config.URL("redis+sentinel://user:(redacted)@`) {
		t.Errorf("Go syntax: %s", got)
	}
}

func TestErrorsQuoteNoSecret(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100) + "hunter2"
	for _, text := range []string{
		"stripe: hunter2",
		"stripe: [hunter2]",
		"stripe: {kye: hunter2}",
		"stripe: {key: [hunter2]}",
		"stripe: {key: ' hunter2'}",
		`stripe: {key: "hunter2\n"}`,
		"stripe: {key: pk_hunter2}",
		"stripe: {key: whsec_hunter2}",
		"stripe: {webhook_secret: sk_hunter2}",
		"stripe: {key: *hunter2}",
		"stripe: {key: !hunter2 x}",
		"stripe: {key: \"hunter2}",
		"stripe: {key: {hunter2",
		"stripe: {key: `hunter2`}",
		"stripe:\n  key: hunter2\n key: x",
		"stripe: {key: %hunter2}",
		"hook: {listen: '0.0.0.0:1', token: ' hunter2'}",
		"redis: {password: hunter2}",
		"redis: {url: 'redis://:a@h', password: hunter2}",
		"redis: {url: 'redis://u:hunter2@h:x'}",
		"redis: {url: 'redis://u:hunter2/1@h'}",
		"redis: {url: 'redis://u:1/hunter2@h'}",
		"redis: {url: 'redis://u:1?hunter2@h'}",
		"redis: {url: 'redis://u:1#hunter2@h'}",
		"redis: {url: 'redis://u:%zzhunter2@h'}",
		"redis: {url: 'redis://u:a@hunter2@h:x'}",
		"redis: {url: 'user:hunter2@h'}",
		"redis: {url: 'u:p://hunter2@h'}",
		"redis: {url: 'http://hunter2@h'}",
		"redis: {url: ' redis://u:hunter2@h'}",
		"redis: {url: 'redis://h?password=hunter2'}",
		"redis: {url: 'redis://u:" + long + "@h/x'}",
		"ledger: {url: 'host=h password=hunter2'}",
		"ledger: {url: 'mysql://u:hunter2@h'}",
		"public: {url: 'https://u:hunter2@h'}",
		"public: {url: 'https://hunter2@h'}",
		"public: {url: 'https://h/?api_token=hunter2'}",
		"switches: [{name: a, tokn: hunter2}]",
		"switches: [{name: a, token: [hunter2]}]",
		"switches: [{name: a, token: hunter2}]",
		"switches: [hunter2]",
		"switches: hunter2",
		"hunter1: hunter2",
	} {
		_, err := try(t, text, nil)
		if err == nil {
			t.Errorf("accepted: %s", text)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%s\n%v", text, err)
		}
	}
	for _, v := range []string{"RINGFENCE_STRIP_KEY=hunter2", "RINGFENCE_SWITCHES={hunter2", "RINGFENCE_SWITCHES=hunter2",
		"RINGFENCE_SWITCHES=[{name: a, token: \"hunter2", "RINGFENCE_STRIPE_KEY=pk_hunter2\x00"} {
		_, err := try(t, "", nil, v)
		if err == nil {
			t.Errorf("accepted: %s", v)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%s\n%v", v, err)
		}
	}
	if _, err := try(t, "", map[string]any{"stripe.key": struct{ S string }{canary}}); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("flag: %v", err)
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"":                                  "",
		"redis://h:6379/0":                  "redis://h:6379/0",
		"redis://u@h":                       "redis://u@h",
		"redis://u:p@h":                     "redis://u:(redacted)@h",
		"redis://:p:q@h/0?db=1":             "redis://:(redacted)@h/0?db=1",
		"redis+cluster://u:p@a:1,b:2":       "redis+cluster://u:(redacted)@a:1,b:2",
		"postgres://u:p@h/d?sslpassword=x":  "postgres://u:(redacted)@h/d?sslpassword=(redacted)",
		"postgres://h/d?user=u&PASSWORD=x":  "postgres://h/d?user=u&PASSWORD=(redacted)",
		"postgres://h/d?p%61ssword=x":       "postgres://h/d?p%61ssword=(redacted)",
		"https://token@h/x":                 "https://(redacted)@h/x",
		"https://h/hook?api_key=x&v=1":      "https://h/hook?api_key=(redacted)&v=1",
		"https://h/hook?token=":             "https://h/hook?token=",
		"redis://u:p/q@h":                   "redis://(redacted)",
		"u:p@h:6379":                        "(redacted)",
		"host=h password=p":                 "(redacted)",
		"h:6379":                            "h:6379",
		"not a scheme://u:p@h":              "(redacted)",
		"sqlite:///var/lib/ringfence.db":    "sqlite:///var/lib/ringfence.db",
		"redis://u:p@h?PASSWÖRD=x&PASSS=y#": "redis://u:(redacted)@h?PASSWÖRD=(redacted)&PASSS=(redacted)",
	} {
		if got := URL(raw).String(); got != want {
			t.Errorf("%s shows as %s, want %s", raw, got, want)
		}
	}
}

// A printed configuration that is fed back must not turn "(redacted)" into a
// password.
func TestPrintedSecretsAreRefused(t *testing.T) {
	t.Parallel()
	_, err := try(t, secretive(t).YAML(), nil)
	var got []string
	for _, e := range Problems(err) {
		got = append(got, e.Field)
	}
	want := []string{"hook.token", "ops.admin_token", "redis.url", "ledger.url", "stripe.key", "stripe.webhook_secret", "switches[0].token"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("refused %v, want %v:\n%v", got, want, err)
	}
}

func TestWorldReadableFiles(t *testing.T) {
	t.Parallel()
	load := func(text string, mode uint32, environ ...string) string {
		t.Helper()
		path := write(t, "ringfence.yaml", text, 0o600)
		chmod(t, path, mode)
		c, err := Load(path, environ, nil)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(c.Warnings(), "\n")
	}
	const secrets = "redis: {url: 'redis://u:p@h'}\nstripe: {key: sk_1, webhook_secret: whsec_1}\npublic: {url: 'https://p'}\nswitches: [{name: a, control_url: 'http://h', token: t}]"
	if w := load(secrets, 0o644); !strings.Contains(w, "holds redis.url, stripe.key, stripe.webhook_secret, switches[0].token") ||
		!strings.Contains(w, "0644") || !strings.Contains(w, "chmod 600") {
		t.Errorf("no good warning: %q", w)
	}
	for _, mode := range []uint32{0o600, 0o640} {
		if w := load(secrets, mode); w != "" {
			t.Errorf("mode %o: %q", mode, w)
		}
	}
	if w := load("redis: {url: 'redis://h'}", 0o644, "RINGFENCE_STRIPE_KEY=sk_1", "RINGFENCE_STRIPE_WEBHOOK_SECRET=whsec_1", "RINGFENCE_PUBLIC_URL=https://p"); w != "" {
		t.Errorf("no secret in the file: %q", w)
	}
	pem := write(t, "k.pem", "", 0o644)
	if w := load("hook: {tls: {cert: "+pem+", key: "+pem+"}}", 0o600); !strings.Contains(w, "hook.tls.key") {
		t.Errorf("TLS key: %q", w)
	}
}
