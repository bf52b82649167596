package balance_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/deploy/services"
)

func TestDialRefuses(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"redis://:hush@[::1":                    "not a URL",
		"http://127.0.0.1:6379":                 "scheme",
		"redis+carrier-pigeon://127.0.0.1:6379": "redis+sentinel",
		"redis+cluster://127.0.0.1":             "no port",
		"redis+sentinel://127.0.0.1:26379":      "mymaster",
		"redis+sentinel://h:1/m?db=first":       "not a number",
	} {
		c, err := balance.Dial(balance.DialConfig{URL: url})
		if err == nil {
			_ = c.Close()
			t.Errorf("%s was dialled", url)
			continue
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v, want it to say %q and no password", url, err, want)
		}
	}
}

// TestDialSetsOneDeadlineAndNoRetries: the hook's deadline is the driver's, and what failed is
// not repeated behind the back of the one who asked.
func TestDialSetsOneDeadlineAndNoRetries(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"redis://user:pass@127.0.0.1:6379/3", "unix://user:pass@/run/redis.sock?db=3"} {
		c, err := balance.Dial(balance.DialConfig{URL: url, Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		o := c.(*redis.Client).Options()
		if !o.ContextTimeoutEnabled || o.MaxRetries > 0 || o.ReadTimeout != time.Second || o.DialTimeout != time.Second {
			t.Errorf("%s: %+v", url, o)
		}
		if o.Username != "user" || o.Password != "pass" || o.DB != 3 {
			t.Errorf("%s: user %q, database %d", url, o.Username, o.DB)
		}
		_ = c.Close()
	}
	c, err := balance.Dial(balance.DialConfig{URL: "redis+cluster://user@127.0.0.1:1,127.0.0.1:2", Password: "pass"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	o := c.(*redis.ClusterClient).Options()
	if !o.ContextTimeoutEnabled || len(o.Addrs) != 2 || o.Username != "user" || o.Password != "pass" || o.ReadTimeout != 250*time.Millisecond {
		t.Errorf("cluster: %+v", o)
	}
}

func TestDialWithPasswordAndOverASocket(t *testing.T) {
	t.Parallel()
	server := services.Redis(t, services.Password("not a secret"), services.UnixSocket())
	for _, url := range []string{"redis://" + server.Addr, "unix://" + server.Socket} {
		c, err := balance.Dial(balance.DialConfig{URL: url, Password: "not a secret", Timeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Ping(t.Context()).Err(); err != nil {
			t.Errorf("%s: %v", url, err)
		}
		_ = c.Close()
	}
}

func TestMetricsTellWhatTheScriptsDid(t *testing.T) {
	t.Parallel()
	r := newRig(t, onMiniredis(t), balance.Config{})
	reg := prometheus.NewRegistry()
	kept := 0
	store, err := balance.New(r.rdb, balance.Config{Embedded: true, Retain: func(string) { kept++ }}, balance.NewMetrics(reg))
	r.must(err)
	t.Cleanup(store.Close)
	r.Store = store
	r.credit(-10*minute + 20*second)
	r.talked("a")
	r.pass(30)
	r.settled("a")
	r.denied(authz.CodeInsufficientCredits, "b")
	r.fails(r.extend("none", 60).Err, authz.ErrUnknownCall) // no failure of Redis
	problems, err := testutil.GatherAndLint(reg)
	r.must(err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	want := `
# HELP ringfence_overrun_units_total Units charged beyond holds.
# TYPE ringfence_overrun_units_total counter
ringfence_overrun_units_total 10000
# HELP ringfence_calls_closed_total Calls closed, by state (settled, lost, released).
# TYPE ringfence_calls_closed_total counter
ringfence_calls_closed_total{state="settled"} 1
`
	r.must(testutil.GatherAndCompare(reg, strings.NewReader(want), "ringfence_overrun_units_total", "ringfence_calls_closed_total", "ringfence_redis_errors_total"))
	same(r, "records for the keeper", kept, 1)
}
