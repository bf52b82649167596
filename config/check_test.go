package config

import (
	"strings"
	"testing"
	"time"
)

func TestRules(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text, env        string
		field, problem, remedy string // field empty: nothing is wrong
	}{
		{"hook open to strangers", "hook: {listen: '0.0.0.0:8402'}", "", "hook.listen", "nothing keeps strangers out", "RINGFENCE_HOOK_TOKEN"},
		{"hook on every address", "hook: {listen: ':8402'}", "", "hook.listen", "nothing keeps strangers out", "127.0.0.1"},
		{"hook by a name", "hook: {listen: 'sidecar:8402'}", "", "hook.listen", "not a loopback address", ""},
		{"hook with a token", "hook: {listen: '0.0.0.0:8402', token: t}", "", "", "", ""},
		{"hook on localhost", "hook: {listen: 'localhost:8402'}", "", "", "", ""},
		{"hook on ::1", "hook: {listen: '[::1]:8402'}", "", "", "", ""},
		{"hook on 127.0.0.9", "hook: {listen: '127.0.0.9:8402'}", "", "", "", ""},
		{"hook without a port", "hook: {listen: 127.0.0.1}", "", "hook.listen", "not an address", "host:port"},
		{"hook with a port too large", "hook: {listen: '127.0.0.1:70000'}", "", "hook.listen", "not an address", ""},
		{"hook with a port's name", "hook: {listen: '127.0.0.1:http'}", "", "hook.listen", "not an address", ""},
		{"hook nowhere", "hook: {listen: ''}", "", "hook.listen", "not an address", ""},
		{"hook on its socket only", "hook: {listen: '', socket: /run/rf.sock}", "", "", "", ""},
		{"socket's path too long", "hook: {socket: /" + strings.Repeat("s", 107) + "}", "", "hook.socket", "107 bytes", "shorter"},
		{"country in small letters", "hook: {default_country: nl}", "", "hook.default_country", "not a country", "write NL"},
		{"country UK", "hook: {default_country: UK}", "", "hook.default_country", "not a country", "write GB"},
		{"country NO is not false", "hook: {default_country: NO}", "", "", "", ""},
		{"country unknown", "hook: {default_country: XX}", "", "hook.default_country", "not a country", "ISO 3166-1"},
		{"audio URL", "hook: {audio_url: 'ftp://x'}", "", "hook.audio_url", "not an http", "https://"},
		{"deadline too long", "hook: {deadline: 1m}", "", "hook.deadline", "too large", "at most 10s"},
		{"deadline negative", "hook: {deadline: -1s}", "", "hook.deadline", "too small", "at least 1ms"},
		{"deadline too fine", "hook: {deadline: 1500us}", "", "hook.deadline", "finer than a millisecond", ""},
		{"body too small", "hook: {max_body: 12B}", "", "hook.max_body", "too small", "at least 1KiB"},

		{"same port twice", "public: {listen: '127.0.0.1:8402'}", "", "public.listen", "also that of hook.listen", "port of its own"},
		{"same port on every address", "public: {listen: ':9402'}", "", "ops.listen", "also that of public.listen", ""},
		{"same port by another name", "ops: {listen: 'localhost:8480'}", "", "ops.listen", "also that of public.listen", ""},
		{"same port, other address", "public: {listen: '127.0.0.2:8402'}", "", "", "", ""},
		{"any free port", "public: {listen: '127.0.0.1:0'}\nops: {listen: '127.0.0.1:0'}", "", "", "", ""},
		{"public nowhere", "public: {listen: ''}", "", "public.listen", "not an address", ""},
		{"public URL with a password", "public: {url: 'https://u:p@x.example'}", "", "public.url", "holds a user", "remove"},
		{"public URL with a query", "public: {url: 'https://x.example/?a=b'}", "", "public.url", "query", "base alone"},
		{"public URL with a bad port", "public: {url: 'https://x.example:0'}", "", "public.url", "port", ""},
		{"public URL with a path", "public: {url: 'https://x.example/calls'}", "", "", "", ""},
		{"ops open to strangers", "ops: {listen: '10.0.0.1:9402'}", "", "ops.admin_token", "10.0.0.1:9402 is not a loopback address", "RINGFENCE_ADMIN_TOKEN"},
		{"ops with a token", "ops: {listen: '10.0.0.1:9402'}", "RINGFENCE_ADMIN_TOKEN=t", "", "", ""},

		{"announcer on TCP's words", "sip: {listen: 'udp:127.0.0.1:5092'}", "", "sip.listen", "not an address", "UDP without saying so"},
		{"announcer by a name", "sip: {listen: 'sidecar:5092'}", "", "sip.listen", "not an address", "IP address"},
		{"announcer advertised as everywhere", "sip: {advertise: '0.0.0.0:5092'}", "", "sip.advertise", "no address that a switch can call", "reach this host"},
		{"announcer advertised without port", "sip: {advertise: pbx.example}", "", "sip.advertise", "not host:port", "192.0.2.7:5092"},
		{"announcer advertised by name", "sip: {listen: '0.0.0.0:5092', peers: [10.0.0.0/8], advertise: 'sidecar.example:5092'}", "", "", "", ""},
		{"announcer beside hook", "sip: {listen: '127.0.0.1:8402'}", "", "", "", ""},
		{"no announcer, no rules", "sip: {listen: '', peers: [], rtp_ports: 1-2}", "", "", "", ""},
		{"no peers", "sip: {peers: []}", "", "sip.peers", "nobody could ask", `sip.listen to ""`},
		{"peers not networks", "sip: {peers: [edge.example]}", "", "sip.peers", "not a network", "10.0.0.0/8"},
		{"peers with host bits", "sip: {peers: [10.1.0.0/8]}", "", "sip.peers", "beyond its length", "write 10.0.0.0/8"},
		{"audio ports reversed", "sip: {rtp_ports: 30000-20000}", "", "sip.rtp_ports", "cannot be read", "20000-24999"},
		{"audio ports not numbers", "sip: {rtp_ports: 20000}", "", "sip.rtp_ports", "cannot be read", ""},
		{"audio ports privileged", "sip: {rtp_ports: 1000-9000, listen: '127.0.0.1:9999'}", "", "sip.rtp_ports", "privileged", "1024"},
		{"audio ports hold the listener", "sip: {rtp_ports: 5000-7000}", "", "sip.rtp_ports", "port of sip.listen", "without it"},
		{"audio ports too few", "sip: {rtp_ports: 20001-20999}", "", "sip.rtp_ports", "fewer even ports", "widen"},
		{"audio ports just enough", "sip: {rtp_ports: 20001-21000}", "", "", "", ""},
		{"announcements none", "sip: {max_announcements: 0}", "", "sip.max_announcements", "too small", "at least 1"},

		{"Redis password twice", "redis: {url: 'redis://:p@h', password: q}", "", "redis.password", "also in redis.url", "keep one"},
		{"Redis user twice", "redis: {url: 'redis://u:p@h', username: v}", "", "redis.username", "also in redis.url", ""},
		{"Redis password for the embedded one", "redis: {password: q}", "", "redis.password", "redis.url is not", "set redis.url"},
		{"Redis user beside its URL", "redis: {url: 'redis://h', username: u, password: p}", "", "", "", ""},
		{"Redis partitions none", "redis: {partitions: 0}", "", "redis.partitions", "too small", ""},

		{"Stripe publishable key", "stripe: {key: pk_live_1}", "", "stripe.key", "publishable", "sk_"},
		{"Stripe key is something else", "stripe: {key: nonsense}", "", "stripe.key", "none of Stripe's", "sk_"},
		{"Stripe key is a webhook secret", "stripe: {key: whsec_1}", "", "stripe.key", "signing secret", "sk_"},
		{"Stripe webhook secret is a key", "stripe: {key: sk_1, webhook_secret: sk_2}", "", "stripe.webhook_secret", "API key", "whsec_"},
		{"Stripe limits crossed", "stripe: {min_micros: 20000000, max_micros: 10000000, packages: []}", "", "stripe.min_micros", "above stripe.max_micros", "lower it"},
		{"Stripe limit of half a cent", "stripe: {min_micros: 5005000}", "", "stripe.min_micros", "cents", "multiple of 10000"},
		{"Stripe package that nobody can buy", "stripe: {packages: [10]}", "", "stripe.packages", "less than stripe.min_micros", "between"},
		{"Stripe package that is none", "stripe: {packages: [many]}", "", "stripe.packages", "not a number of minutes", "500"},
		{"Stripe's page has a path", "stripe: {checkout_origin: 'https://pay.example.com/x'}", "", "stripe.checkout_origin", "not a site", "scheme and host"},
		{"Stripe leads to a page", "stripe: {return_origins: ['https://app.example.com/x']}", "", "stripe.return_origins", "not a site", "scheme and host"},
		{"Stripe meter of no name", "stripe: {usage: {event: ''}}", "", "stripe.usage.event", "not a name", "ringfence_talk_seconds"},
		{"Stripe seller", "stripe: {tax: {seller: UK}}", "", "stripe.tax.seller", "not a country code", "GB"},
		{"mail server without a port", "smtp: {server: mail.example.com, from: a@example.com}", "", "smtp.server", "not a host and a port", ":587"},
		{"mail without a sender", "smtp: {server: 'mail.example.com:587'}", "", "smtp.from", "not an e-mail address", "billing@"},
		{"mail password in the clear", "smtp: {server: 'm:25', from: a@b.c, username: u, password: p, tls: none}", "", "smtp.tls", "in the clear", "starttls"},
		{"mail password for nobody", "smtp: {server: 'm:25', from: a@b.c, password: p}", "", "smtp.username", "is empty", "the user"},
		{"mail password for no server", "smtp: {password: p}", "", "smtp.server", "is empty", "host:port"},
		{"Stripe in the clear", "stripe: {url: 'http://stripe.example'}", "", "stripe.url", "in the clear", "https"},
		{"Stripe on this machine", "stripe: {url: 'http://[::1]:12111'}", "", "", "", ""},

		{"slice in parts of a second", "calls: {slice: 60500ms}", "", "calls.slice", "whole seconds", ""},
		{"slice not longer than extend_before", "calls: {slice: 10s, warn_before: 1s}", "", "calls.extend_before", "not less than calls.slice (10s)", "less than calls.slice"},
		{"min_seconds beyond the slice", "calls: {min_seconds: 61}", "", "calls.min_seconds", "more than calls.slice", ""},
		{"warning longer than the call", "calls: {max_duration: 30s}", "", "calls.warn_before", "not less than calls.max_duration (30s)", "0 for no warning"},
		{"call shorter than its minimum", "calls: {max_duration: 1s, min_seconds: 2, warn_before: 0}", "", "calls.max_duration", "less than calls.min_seconds", ""},
		{"heartbeat time-out too short", "calls: {heartbeat_timeout: 59s}", "", "calls.heartbeat_timeout", "twice calls.heartbeat_every (30s)", "at least 60s"},
		{"heartbeat time-out just enough", "calls: {heartbeat_timeout: 60s}", "", "", "", ""},
		{"end-mark shorter than an authorize lives", "calls: {end_mark: 59s}", "", "calls.end_mark", "too small", "at least 60s"},
		{"tombstone shorter than the end-mark", "calls: {tombstone: 100s}", "", "calls.tombstone", "less than calls.end_mark", ""},
		{"extra cost negative", "calls: {max_extra_cost_micros: -1}", "", "calls.max_extra_cost_micros", "too small", ""},

		{"policy misspelt", "policy: {mode: closd}", "", "policy.mode", "not one of the choices", "did you mean closed? Write closed or known or open"},
		{"policy empty", "policy: {mode: ''}", "", "policy.mode", "not one of the choices", ""},

		{"emergency country", "emergency: {numbers: {GBR: [999]}}", "", "emergency.numbers.GBR", "not a country", ""},
		{"emergency number", "emergency: {numbers: {GB: ['+44 999']}}", "", "emergency.numbers.GB[0]", "not an emergency number", "digits"},
		{"emergency number of one digit", "emergency: {numbers: {GB: [9]}}", "", "emergency.numbers.GB[0]", "not an emergency number", ""},
		{"emergency numbers keep their zeros", "emergency: {numbers: {AU: [000], GB: [0999]}}", "", "", "", ""},
		{"emergency not a table", "emergency: {numbers: [112]}", "", "emergency.numbers", "not a table", "by country"},

		{"tariff's name", "tariffs: {default: 'a b'}", "", "tariffs.default", "not a name", ""},
		{"instance's name", "instance: 'a:b'", "", "instance", "not a name", ""},
		{"no data folder", "data_dir: ''", "", "data_dir", "is empty", ""},

		{"switch twice", "switches: [{name: a}, {name: a}]", "", "switches[1].name", "also that of switches[0]", ""},
		{"switch with a colon", "switches: [{name: 'a:b'}]", "", "switches[0].name", "not a name", ""},
		{"switch controlled by SIP", "switches: [{name: a, control_url: 'sip:a'}]", "", "switches[0].control_url", "not an http", ""},
		{"switch that lists nowhere", "switches: [{name: a, list: true}]", "", "switches[0].list", "needs a control_url", ""},
		{"switch re-armed nowhere", "switches: [{name: a, rearm: true}]", "", "switches[0].rearm", "needs a control_url", ""},
		{"switch with a useless token", "switches: [{name: a, token: t}]", "", "switches[0].token", "control_url is empty", ""},
		{"switch on failure", "switches: [{name: a, on_failure: stop}]", "", "switches[0].on_failure", "not one of the choices", "continue or terminate"},
		{"switch time-out", "switches: [{name: a, timeout: 0}]", "", "switches[0].timeout", "too small", ""},
		{"switch of no dialect", "switches: [{name: a, dialect: opensips}]", "", "switches[0].dialect", "not one of the choices", "http or kamailio"},
		{"Kamailio that cannot be reached", "switches: [{name: a, dialect: kamailio}]", "", "switches[0].control_url", "is missing", "5080/rpc"},
		{"Kamailio with heartbeats", "switches: [{name: a, dialect: kamailio, control_url: 'http://127.0.0.1:5080/rpc', heartbeat: true}]", "", "switches[0].heartbeat", "never sends", "remove it"},
		{"Kamailio complete", "switches: [{name: a, dialect: kamailio, control_url: 'http://127.0.0.1:5080/rpc', token: t, timeout: 1s}]", "", "", "", ""},
		{"switch complete", "switches: [{name: a, control_url: 'http://10.0.0.1:5060/c', token: t, list: true, heartbeat: true, on_failure: terminate, rearm: true, timeout: 1s}]", "", "", "", ""},
		{"switches not a list", "switches: {name: a}", "", "switches", "not a list", ""},
		{"switch not a table", "switches: [a]", "", "switches[0]", "not a switch", "name, dialect, control_url"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := try(t, tt.text, nil, tt.env)
			if tt.field == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				if err := c.Validate(); err != nil {
					t.Errorf("validate: %v", err)
				}
				return
			}
			wantProblem(t, err, tt.field, tt.problem, tt.remedy)
		})
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	pem := write(t, "x.pem", "", 0o600)
	_, err := try(t, "hook: {tls: {cert: "+pem+"}}", nil)
	wantProblem(t, err, "hook.tls.key", "hook.tls.cert is set", "both or neither")
	_, err = try(t, "hook: {tls: {key: "+pem+"}}", nil)
	wantProblem(t, err, "hook.tls.cert", "hook.tls.key is set", "both or neither")
	_, err = try(t, "hook: {tls: {client_ca: "+pem+"}}", nil)
	wantProblem(t, err, "hook.tls.cert", "demands client certificates", "hook.tls.key")
	c := must(t, "hook: {listen: '0.0.0.0:8402', tls: {cert: "+pem+", key: "+pem+", client_ca: "+pem+"}}", nil)
	if len(c.Warnings()) > 0 {
		t.Errorf("warnings: %q", c.Warnings())
	}
}

func TestStoreURLs(t *testing.T) {
	t.Parallel()
	for url, problem := range map[string]string{
		"redis://h":                           "",
		"redis://127.0.0.1:6379/15":           "",
		"rediss://u:p%2F@h:6380/0?db=":        "",
		"redis://[::1]:6379":                  "",
		"redis://[::1]":                       "",
		"redis://h?db=3":                      "",
		"unix:///run/redis.sock":              "",
		"unix:///run/redis.sock?db=2":         "",
		"redis+sentinel://a:1,b:2,c:3/m?db=1": "",
		"redis+cluster://:p@a:1,b:2":          "",
		"redis+cluster://a:1/0":               "",
		"localhost:6379":                      "not a URL",
		"http://h":                            "not a URL",
		"redis:/h":                            "not a URL",
		"redis://":                            "not host:port",
		"redis://h:0":                         "not host:port",
		"redis://h:":                          "not host:port",
		"redis://a:1,b:2":                     "several hosts",
		"redis://h/one":                       "not a number",
		"redis://h/-1":                        "not a number",
		"redis://h/1?db=2":                    "twice",
		"redis://h?dial_timeout=3s":           `query parameter "dial_timeout"`,
		"redis://h?db=%zz":                    "query",
		"redis://h#x":                         "not a valid URL",
		"redis://u:p/q@h":                     "not a valid URL",
		"redis://u:12/q@h":                    "@ after the host",
		"unix://h/run/redis.sock":             "socket",
		"unix:///":                            "socket",
		"redis+sentinel://a:1":                "master",
		"redis+sentinel://a:1/m/n":            "master",
		"redis+sentinel://a/m":                "not host:port",
		"redis+sentinel://,a:1/m":             "not host:port",
		"redis+cluster://a:1/1":               "only 0",
		"redis+cluster://a":                   "not host:port",
		"redis+sentinel://a:1/m?db=x":         "not a number",
	} {
		_, err := try(t, "", nil, "RINGFENCE_REDIS_URL="+url)
		checkURL(t, "redis.url", url, problem, err)
	}
	for url, problem := range map[string]string{
		"postgres://u:p@h/db":                  "",
		"postgresql://u:p@h:5432/db?sslmode=x": "",
		"postgres://a:1,b:2/db":                "",
		"postgres:///db?host=/run/postgresql":  "",
		"sqlite:///var/lib/rf.db":              "",
		"mysql://h/db":                         "not a URL",
		"host=h password=p":                    "not a URL",
		"postgres:///db":                       "not host:port",
		"postgres://h:x/db":                    "not a valid URL",
		"postgres://u:p/w@h/db":                "not a valid URL",
		"sqlite://rf.db":                       "absolute path",
		"sqlite:///":                           "absolute path",
		"sqlite:///rf.db?mode=ro":              "absolute path",
	} {
		c, err := try(t, "", nil, "RINGFENCE_LEDGER_URL="+url)
		checkURL(t, "ledger.url", url, problem, err)
		if url == "sqlite:///var/lib/rf.db" {
			if path, embedded := c.SQLitePath(); path != "/var/lib/rf.db" || !embedded {
				t.Errorf("%s: %q %v", url, path, embedded)
			}
		}
	}
}

func checkURL(t *testing.T, field, url, problem string, err error) {
	t.Helper()
	if problem == "" {
		if err != nil {
			t.Errorf("%s is refused: %v", url, err)
		}
		return
	}
	all := Problems(err)
	if len(all) != 1 || all[0].Field != field || !strings.Contains(all[0].Problem, problem) || all[0].Remedy == "" {
		t.Errorf("%s: got %v, want %q", url, err, problem)
	}
}

// Code that builds a configuration, such as the demo, can check it again.
func TestValidate(t *testing.T) {
	t.Parallel()
	c := Default()
	c.Calls.Slice, c.Calls.ExtendBefore = 2*time.Second, 5*time.Second
	c.Hook.Listen = "0.0.0.0:1"
	c.Switches = []Switch{{Name: "a", Dialect: DialectHTTP, OnFailure: "continue", Timeout: time.Second}}
	if got := len(Problems(c.Validate())); got != 2 {
		t.Errorf("%d problems: %v", got, c.Validate())
	}
	c.Calls.ExtendBefore, c.Hook.Listen = time.Second, "127.0.0.1:1"
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"hook: {listen: '0.0.0.0:8402', token: a-token-that-is-long-enough}":    "travel in the clear",
		"hook: {listen: '0.0.0.0:8402', token: short}":                          "hook.token is shorter than 16",
		"ops: {listen: '0.0.0.0:9402', admin_token: short}":                     "ops.admin_token is shorter than 16",
		"stripe: {key: sk_test_1}":                                              "polling only",
		"stripe: {webhook_secret: whsec_1}":                                     "nothing is sold",
		"sip: {listen: '0.0.0.0:5092'}":                                         "lets only this machine ask",
		"sip: {listen: ':5092'}":                                                "denials come without sip_uri",
		"sip: {listen: '0.0.0.0:5092', peers: [0.0.0.0/0]}":                     "lets everybody use the announcer",
		"calls: {slice: 20s}":                                                   "warned later",
		"switches: [{name: a}]":                                                 "switch's own timer",
		"switches: [{name: a, control_url: 'http://x', on_failure: terminate}]": "only a heartbeating switch",
	} {
		c := must(t, text, nil)
		if !strings.Contains(strings.Join(c.Warnings(), "\n"), want) {
			t.Errorf("%s: warnings %q, want %q", text, c.Warnings(), want)
		}
	}
}
